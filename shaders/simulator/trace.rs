//! Who touched what, access by access: what a picture of a kernel is drawn from.

use super::program::{Program, Space};

/// The most touches of a dispatch that are kept: 40 MiB.
const MOST: usize = 1 << 20;

/// All that the lanes of a dispatch did to the memory that they share, in the order in which it was done
/// here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    /// The entry point that was run.
    pub entry_point: String,
    /// The variables in memory that the entry point names.
    pub variables: Vec<Traced>,
    /// Word by word: a lane that reads a vector of four words has four.
    pub touches: Vec<Touch>,
    /// How many more there were than are kept, which are the first million.
    pub left_out: u64,
}

/// A variable in memory that lanes share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Traced {
    /// Its name in the shader.
    pub name: String,
    /// Its binding in group 0; `None` for memory of the workgroup.
    pub binding: Option<u32>,
    /// The words that it has.
    pub words: u32,
    /// Where it begins in the workgroup's memory, in words: banks are counted from there. 0 for bindings.
    pub start: u32,
}

/// Whether a word was read or written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Does {
    /// Its value went to a lane.
    Read,
    /// A lane gave it a value.
    Write,
}

/// A word that a lane read or wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Touch {
    /// The number of the workgroup in x and y.
    pub workgroup: [u32; 2],
    /// The index of the invocation in its workgroup.
    pub lane: u32,
    /// Which of the [variables](Trace::variables).
    pub variable: u32,
    /// Which word of it, from 0.
    pub word: u32,
    /// Whether it was read or written.
    pub does: Does,
    /// Whether another lane or workgroup touched it before and nothing orders the two, one of them a
    /// write.
    pub races: bool,
    /// The line of the shader, from 1.
    pub line: u32,
    /// Which access of the workgroup it was, from 0. What lanes do together has one number.
    pub step: u32,
    /// How many barriers of either kind the workgroup had come to before.
    pub epoch: u32,
}

/// Writes a trace down while a dispatch runs.
pub struct Tracer {
    trace: Trace,
    workgroup: [u32; 2],
    step: u32,
    epoch: u32,
    /// The first touch of the access that is being run.
    first: usize,
}

impl Tracer {
    /// Of a program whose variables have so many words.
    pub fn new(program: &Program, words: impl Iterator<Item = u32>) -> Tracer {
        let variables = program.variables.iter().zip(words).map(|(variable, words)| {
            let (binding, start) = match variable.space {
                Space::Workgroup { start } => (None, start),
                Space::Storage { binding, .. } => (Some(binding), 0),
            };
            Traced { name: variable.name.clone(), binding, words, start }
        });
        let (entry_point, variables) = (program.entry_point.clone(), variables.collect());
        let trace = Trace { entry_point, variables, touches: Vec::new(), left_out: 0 };
        Tracer { trace, workgroup: [0; 2], step: 0, epoch: 0, first: 0 }
    }

    pub fn begin_group(&mut self, workgroup: [u32; 2]) {
        (self.workgroup, self.step, self.epoch) = (workgroup, 0, 0);
    }

    pub fn barrier(&mut self) {
        self.epoch += 1;
    }

    /// An access: the lanes with the words that they go to.
    pub fn access(
        &mut self,
        variable: u32,
        line: u32,
        does: Does,
        places: impl Iterator<Item = (usize, u32)>,
    ) {
        self.first = self.trace.touches.len();
        for (lane, word) in places {
            if self.trace.touches.len() == MOST {
                self.trace.left_out += 1;
                continue;
            }
            let lane = lane as u32;
            let Tracer { workgroup, step, epoch, .. } = *self;
            let touch =
                Touch { workgroup, lane, variable, word, does, races: false, line, step, epoch };
            self.trace.touches.push(touch);
        }
        self.step += 1;
    }

    /// A touch of the latest access races.
    pub fn race(&mut self, lane: usize, word: usize) {
        let latest = &mut self.trace.touches[self.first..];
        let is_it = |touch: &&mut Touch| (touch.lane, touch.word) == (lane as u32, word as u32);
        latest.iter_mut().filter(is_it).for_each(|touch| touch.races = true);
    }

    pub fn end(self) -> Trace {
        self.trace
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_much_is_counted() {
        let trace = Trace {
            entry_point: "test".to_owned(),
            variables: Vec::new(),
            touches: Vec::new(),
            left_out: 0,
        };
        let mut tracer = Tracer { trace, workgroup: [0; 2], step: 0, epoch: 0, first: 0 };
        tracer.access(0, 1, Does::Read, (0..MOST - 1).map(|word| (0, word as u32)));
        tracer.access(0, 2, Does::Write, (0..3).map(|word| (1, word)));
        // One that was left out cannot be marked.
        tracer.race(1, 2);
        tracer.race(1, 0);
        let trace = tracer.end();
        assert_eq!((trace.touches.len(), trace.left_out), (MOST, 2));
        let [.., before, last] = &trace.touches[..] else { panic!("no touches") };
        assert_eq!((before.step, before.does, before.races), (0, Does::Read, false));
        assert_eq!((last.step, last.does, last.races), (1, Does::Write, true));
    }
}
