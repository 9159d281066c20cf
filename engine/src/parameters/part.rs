//! Parts of the flat pieces: what one of several machines keeps that share out something as long as the
//! parameters.

use crate::device::ALIGNMENT;
use std::ops::Range;

/// One of several parts that together are all parameters that are learnt.
///
/// Each flat piece ([`pieces`](crate::Parameters::pieces)) is cut by itself, at multiples of 64 numbers, where any GPU can bind
/// it. All parts of a piece are of one length, but for the last ones, which may be shorter or empty.
///
/// ```
/// use neutreno_engine::Part;
/// let ranges = [0, 1, 2, 3].map(|index| Part { index, of: 4 }.range(320));
/// assert_eq!(ranges, [0..128, 128..256, 256..320, 320..320]);
/// assert_eq!(Part::WHOLE.range(320), 0..320);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Which it is, from 0.
    pub index: usize,
    /// How many there are.
    pub of: usize,
}

impl Part {
    /// The only part.
    pub const WHOLE: Part = Part { index: 0, of: 1 };

    /// Where this part lies in a flat piece of so many numbers.
    ///
    /// # Panics
    /// If there are not so many parts.
    #[track_caller]
    pub fn range(self, elements: usize) -> Range<usize> {
        let Part { index, of } = self;
        assert!(index < of, "part {index} of {of}");
        let length = elements.div_ceil(ALIGNMENT).div_ceil(of) * ALIGNMENT;
        let end = |parts: usize| elements.min(parts * length);
        end(index)..end(index + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_aligned_and_cover_everything_once() {
        for (elements, of) in [(64, 1), (640, 3), (640, 7), (128, 5), (0, 2), (1 << 20, 6)] {
            let mut next = 0;
            for index in 0..of {
                let range = Part { index, of }.range(elements);
                assert_eq!(range.start, next, "{index} of {of} parts of {elements}");
                assert!(range.start.is_multiple_of(ALIGNMENT));
                next = range.end;
            }
            assert_eq!(next, elements);
        }
    }

    #[test]
    #[should_panic(expected = "part 2 of 2")]
    fn a_part_that_is_not_there_is_refused() {
        Part { index: 2, of: 2 }.range(64);
    }
}
