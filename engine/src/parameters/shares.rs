//! The numbers of a part of the flat pieces, block by block, and what it has of each parameter.

use super::{ALIGNMENT, Parameters, Part};
use crate::{Shape, Tensor};
use std::ops::Range;

/// What a part has of one parameter.
pub(crate) struct Overlap<'a> {
    pub name: &'a str,
    /// The shape of the parameter.
    pub shape: Shape,
    /// Those of the parameter's numbers that are in the part.
    pub range: Range<usize>,
    pub piece: usize,
    /// Where they begin in the part of that piece.
    pub offset: usize,
}

impl Parameters {
    /// The numbers of a part of the parameters that are learnt: handles to the flat pieces' own memory, in blocks of
    /// at most `length` numbers. Every part has as many blocks, in the same order, and the first one's are
    /// the longest; where a part is shorter, its blocks are shorter or empty.
    ///
    /// So machines that have each changed a part can bring all parts together.
    ///
    /// ```
    /// use neutreno_engine::{Builder, Device, Initial, Parameters, Part};
    /// let make = |p: &mut Builder| p.parameter("x", [70], Initial::Ones, true);
    /// let (x, parameters) = Parameters::build(&Device::cpu(), 1, make);
    /// let blocks = |index| parameters.blocks_of_part(Part { index, of: 2 }, 640);
    /// let [first, second] = [blocks(0), blocks(1)];
    /// assert_eq!((first[0].elements(), second[0].elements()), (64, 64));
    /// second[0].overwrite(&[2.0; 64]);
    /// assert_eq!(x.to_vec()?[62..66], [1.0, 1.0, 2.0, 2.0]);
    /// # Ok::<(), neutreno_engine::Error>(())
    /// ```
    ///
    /// # Panics
    /// If there are not so many parts, or `length` is 0 or no multiple of 64.
    #[track_caller]
    pub fn blocks_of_part(&self, part: Part, length: usize) -> Vec<Tensor> {
        let aligned = length > 0 && length.is_multiple_of(ALIGNMENT);
        assert!(aligned, "blocks of {length} numbers, no multiple of {ALIGNMENT}");
        let mut blocks = Vec::new();
        for piece in self.flat() {
            let range = part.range(piece.elements());
            let longest = Part { index: 0, ..part }.range(piece.elements()).len();
            for start in (0..longest).step_by(length) {
                let end = |numbers: usize| range.end.min(range.start + numbers);
                let block = end(start)..end(start + length);
                blocks.push(piece.window(block.start, [block.len()].into()));
            }
        }
        blocks
    }

    /// What a part has of each parameter that is learnt.
    #[track_caller]
    pub(crate) fn overlaps(&self, part: Part) -> impl Iterator<Item = Overlap<'_>> {
        let pieces: Vec<Range<usize>> =
            self.flat().map(|piece| part.range(piece.elements())).collect();
        self.learnt().map(move |parameter| {
            let (location, shape) = (parameter.location, parameter.tensor.shape());
            let part = &pieces[location.piece];
            let within = |place: usize| {
                place.clamp(location.offset, location.offset + shape.elements()) - location.offset
            };
            let range = within(part.start)..within(part.end);
            let offset = (location.offset + range.start).saturating_sub(part.start);
            // What is empty may lie anywhere.
            let offset = if range.is_empty() { 0 } else { offset };
            let name = &parameter.request.name;
            Overlap { name, shape, range, piece: location.piece, offset }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Builder, Device, Group, Initial};

    const SIZES: [usize; 5] = [3, 65, 640, 1, 1000];

    fn parameters() -> Parameters {
        let make = |p: &mut Builder| {
            for (number, size) in SIZES.iter().enumerate() {
                p.parameter(&number.to_string(), [*size], Initial::Ones, number % 2 == 0);
            }
        };
        // What is frozen belongs to no part.
        let group = |name: &str, _: Shape, decay| match name {
            "2" => Group::FROZEN,
            _ => Group::with_decay(decay),
        };
        Parameters::build_with_groups(&Device::cpu(), 1, group, make).1
    }

    #[test]
    fn blocks_of_all_parts_are_all_numbers_once() {
        for (of, length) in [(1, 64), (2, 1024), (3, 128), (5, 64), (40, 1 << 20)] {
            let parameters = parameters();
            let parts: Vec<_> = (0..of)
                .map(|index| parameters.blocks_of_part(Part { index, of }, length))
                .collect();
            for part in &parts {
                assert_eq!(part.len(), parts[0].len());
                for (block, longest) in part.iter().zip(&parts[0]) {
                    assert!(block.elements() <= longest.elements() && longest.elements() <= length);
                    let numbers = block.to_vec().unwrap();
                    block.overwrite(&numbers.iter().map(|x| x + 1.0).collect::<Vec<_>>());
                }
            }
            for (name, tensor) in parameters.iter() {
                let expected = if name == "2" { 1.0 } else { 2.0 };
                let numbers = tensor.to_vec().unwrap();
                assert!(numbers.iter().all(|number| *number == expected), "{name} of {of} parts");
            }
        }
    }

    #[test]
    fn each_number_of_a_parameter_is_in_one_part() {
        let parameters = parameters();
        for of in [1, 2, 3, 5, 40] {
            let mut next = vec![0; SIZES.len()];
            for index in 0..of {
                let part = Part { index, of };
                for overlap in parameters.overlaps(part) {
                    let name: usize = overlap.name.parse().unwrap();
                    let found = overlap.range;
                    assert_eq!(found.start, next[name], "{name}, {index} of {of}");
                    next[name] = found.end;
                    let flat: Vec<&Tensor> = parameters.flat().collect();
                    let length = part.range(flat[overlap.piece].elements()).len();
                    assert!(overlap.offset + found.len() <= length);
                }
            }
            assert_eq!(next, [3, 65, 0, 1, 1000]);
        }
    }

    #[test]
    #[should_panic(expected = "blocks of 100 numbers, no multiple of 64")]
    fn blocks_that_no_gpu_could_bind_are_refused() {
        parameters().blocks_of_part(Part { index: 0, of: 2 }, 100);
    }
}
