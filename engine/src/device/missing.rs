//! Which numbers of a memory are missing, because memory was refused on the way to them.
//!
//! Ops return tensors and no errors, also where there is no room. So a tensor that got no memory,
//! and whatever would have been computed from it, keeps the reason instead of numbers: its kernels
//! do not run, and reading it is an error. What was whole stays whole, and the device goes on.

use super::failure::Refusal;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard};

/// The stretches of a memory without their numbers, each with the reason; they do not overlap. Nearly
/// always there are none.
#[derive(Default)]
pub(super) struct Missing(Mutex<Vec<(Range<usize>, Refusal)>>);

impl Missing {
    /// Of a memory that there was no room for.
    pub fn all(why: Refusal) -> Missing {
        Missing(Mutex::new(vec![(0..usize::MAX, why)]))
    }

    /// Why numbers of this stretch are missing, if some are.
    pub fn of(&self, stretch: Range<usize>) -> Option<Refusal> {
        let missing = self.lock();
        let found = missing.iter().find(|(other, _)| overlap(other, &stretch));
        found.map(|(_, why)| why.clone())
    }

    /// Notes that this stretch was to be written, and was not.
    pub fn note(&self, stretch: Range<usize>, why: &Refusal) {
        self.written(stretch.clone());
        self.lock().push((stretch, why.clone()));
    }

    /// Notes that all of this stretch was written.
    pub fn written(&self, stretch: Range<usize>) {
        let mut missing = self.lock();
        let around = |(other, why): (Range<usize>, Refusal)| {
            let before = other.start..other.end.min(stretch.start);
            let after = other.start.max(stretch.end)..other.end;
            let parts = [(before, why.clone()), (after, why)];
            parts.into_iter().filter(|(part, _)| !part.is_empty())
        };
        *missing = std::mem::take(&mut *missing).into_iter().flat_map(around).collect();
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(Range<usize>, Refusal)>> {
        self.0.lock().expect("no code panics with it")
    }
}

fn overlap(one: &Range<usize>, other: &Range<usize>) -> bool {
    one.start < other.end && other.start < one.end
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::failure::Failure;

    #[test]
    fn what_is_missing_is_what_was_not_written_since() {
        let why = Failure::default().refuse(1, "why");
        let missing = Missing::default();
        let found = || -> Vec<usize> {
            (0..12).filter(|place| missing.of(*place..place + 1).is_some()).collect()
        };
        assert_eq!(found(), [0; 0]);
        missing.note(2..10, &why);
        missing.written(4..6);
        missing.written(9..12);
        assert_eq!(found(), [2, 3, 6, 7, 8]);
        missing.note(0..5, &why);
        assert_eq!(found(), [0, 1, 2, 3, 4, 6, 7, 8]);
        assert!(missing.of(5..6).is_none() && missing.of(5..7).is_some());
        missing.written(0..12);
        assert_eq!(missing.lock().len(), 0);
    }
}
