//! Who touched an element of memory last: a shadow of the memory that lanes share.
//!
//! Time is counted in epochs: a barrier that orders a memory begins a new one for it, and so does every
//! workgroup. Of what lanes of a workgroup do within one epoch, nothing says which comes first.

/// Who wrote and who read an element.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cell {
    /// When it was written last; 0 if never.
    write: u32,
    /// When it was read last; 0 if never.
    read: u32,
    writer: u16,
    /// Two lanes that read it in that epoch, which can be the same.
    readers: [u16; 2],
    /// Whether an earlier workgroup read it too.
    was_read: bool,
}

/// The present.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    pub epoch: u32,
    /// The epoch in which this workgroup began.
    pub begin: u32,
}

/// What two accesses to an element are to each other that nothing orders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conflict {
    /// Another lane of this workgroup wrote it.
    WrittenBy(u16),
    /// Another lane of this workgroup read it.
    ReadBy(u16),
    /// Another workgroup wrote it.
    WrittenElsewhere,
    /// Another workgroup read it.
    ReadElsewhere,
}

impl Cell {
    /// Whether this workgroup has written it.
    pub fn is_written(&self, now: Now) -> bool {
        self.write >= now.begin
    }

    /// Notes that a lane reads it.
    pub fn read(&mut self, lane: u16, now: Now) -> Option<Conflict> {
        self.was_read |= self.read != 0 && self.read < now.begin;
        if self.read == now.epoch {
            if self.readers[0] != lane {
                self.readers[1] = lane;
            }
        } else {
            self.read = now.epoch;
            self.readers = [lane; 2];
        }
        self.against_write(lane, now)
    }

    /// Notes that a lane writes it.
    pub fn write(&mut self, lane: u16, now: Now) -> Option<Conflict> {
        let other = || self.readers.into_iter().find(|reader| *reader != lane);
        let of_reads = match self.read {
            0 => None,
            _ if self.was_read || self.read < now.begin => Some(Conflict::ReadElsewhere),
            epoch if epoch == now.epoch => other().map(Conflict::ReadBy),
            _ => None,
        };
        let conflict = self.against_write(lane, now).or(of_reads);
        self.write = now.epoch;
        self.writer = lane;
        conflict
    }

    fn against_write(&self, lane: u16, now: Now) -> Option<Conflict> {
        match self.write {
            0 => None,
            epoch if epoch < now.begin => Some(Conflict::WrittenElsewhere),
            epoch if epoch == now.epoch && self.writer != lane => {
                Some(Conflict::WrittenBy(self.writer))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(epoch: u32, begin: u32) -> Now {
        Now { epoch, begin }
    }

    #[test]
    fn only_what_nothing_orders_is_a_conflict() {
        let mut cell = Cell::default();
        assert_eq!(cell.write(3, at(1, 1)), None);
        assert_eq!(cell.read(3, at(1, 1)), None);
        assert_eq!(cell.read(4, at(1, 1)), Some(Conflict::WrittenBy(3)));
        // After a barrier.
        assert_eq!(cell.read(4, at(2, 1)), None);
        assert_eq!(cell.write(4, at(2, 1)), None);
        let mut cell = Cell::default();
        assert_eq!([cell.read(1, at(1, 1)), cell.read(2, at(1, 1))], [None; 2]);
        assert_eq!(cell.write(1, at(1, 1)), Some(Conflict::ReadBy(2)));
    }

    #[test]
    fn an_earlier_workgroup_is_never_ordered() {
        let mut cell = Cell::default();
        cell.read(1, at(1, 1));
        cell.read(1, at(5, 5));
        assert_eq!(cell.write(1, at(5, 5)), Some(Conflict::ReadElsewhere));
        let mut cell = Cell::default();
        cell.write(1, at(1, 1));
        assert!(!cell.is_written(at(5, 5)));
        assert_eq!(cell.read(1, at(5, 5)), Some(Conflict::WrittenElsewhere));
    }
}
