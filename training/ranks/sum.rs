//! The sum of rows of numbers that are made on all ranks, to the bits of one rank: number by number, in
//! the order of the rows, whoever has made them.
//!
//! Rows are made in rounds, row r·R + k in round r by rank k of R. After each round the row is cut into R
//! parts, and rank p gets part p of all rows of the round (all-to-all), which it adds to its part of the sum
//! one after the other. At the end all ranks get all parts (all-gather). So a number is always added up
//! row by row, and how the row was cut makes no difference. Each rank sends and receives (R−1)/R of a
//! row in each round and once more at the end.

use super::{Error, Ranks};
use crate::engine::{self, Device, Tensor};

/// How many numbers one rank sends to another at once.
const MOST: usize = 1 << 20;

/// A sum in the making.
pub(crate) struct Sum<'a> {
    ranks: &'a dyn Ranks,
    device: &'a Device,
    /// The numbers of a row.
    length: usize,
    /// This rank's part of each block of the sum; none before the first row.
    parts: Vec<Tensor>,
}

impl<'a> Sum<'a> {
    /// The sum of no rows as yet, of so many numbers each. They are added on `device`, as one rank would.
    pub fn new(ranks: &'a dyn Ranks, device: &'a Device, length: usize) -> Sum<'a> {
        Sum { ranks, device, length, parts: Vec::new() }
    }

    /// A round: adds the rows of the first `members` ranks, in their order. The others have none.
    ///
    /// # Errors
    /// If another rank has ended.
    pub fn add(&mut self, mut row: Vec<f32>, members: usize) -> Result<(), Error> {
        let size = self.ranks.size();
        // The last parts are filled up with zeros, as all must have one length.
        row.resize(self.length.next_multiple_of(size), 0.0);
        for (block, numbers) in row.chunks(size * MOST).enumerate() {
            let mut received = vec![0.0; numbers.len()];
            self.ranks.all_to_all(numbers, &mut received)?;
            for part in received.chunks(numbers.len() / size).take(members) {
                let part = Tensor::new(part, [part.len()], self.device);
                match self.parts.get_mut(block) {
                    Some(sum) => *sum = sum.add(&part),
                    None => self.parts.push(part),
                }
            }
        }
        Ok(())
    }

    /// The whole sum, on every rank.
    ///
    /// # Errors
    /// If the device has failed, or another rank has ended.
    pub fn gather<E: From<Error> + From<engine::Error>>(self) -> Result<Vec<f32>, E> {
        let size = self.ranks.size();
        let mut whole = vec![0.0; self.length.next_multiple_of(size)];
        for (block, part) in whole.chunks_mut(size * MOST).zip(&self.parts) {
            self.ranks.all_gather(&part.to_vec()?, block)?;
        }
        whole.truncate(self.length);
        Ok(whole)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Threads;
    use super::*;
    use crate::engine::random::Key;

    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    struct Failed(String);

    impl From<Error> for Failed {
        fn from(error: Error) -> Failed {
            Failed(error.to_string())
        }
    }

    impl From<engine::Error> for Failed {
        fn from(error: engine::Error) -> Failed {
            Failed(error.to_string())
        }
    }

    /// Numbers of all sizes, so that another order would give other bits.
    fn row(number: usize, length: usize) -> Vec<f32> {
        let size = |x: f32| x * 10.0_f32.powi((x.abs() * 1e4) as i32 % 7);
        Key::new(number as u64).normals(length, 0.0, 1.0).into_iter().map(size).collect()
    }

    #[test]
    fn any_number_of_ranks_comes_to_the_same_bits() {
        // Of one block and of several, and lengths that ranks do not divide.
        for (rows, length) in [(1, 5), (4, 1), (6, 1001), (8, 64), (2, 2 * MOST + 3)] {
            let mut expected = row(0, length);
            for number in 1..rows {
                expected.iter_mut().zip(row(number, length)).for_each(|(sum, x)| *sum += x);
            }
            for size in (1..=8.min(rows)).chain([rows + 1]) {
                let sums = Threads::run(size, |ranks| {
                    let device = Device::open("cpu", 1)?;
                    let mut sum = Sum::new(ranks, &device, length);
                    for first in (0..rows).step_by(size) {
                        let number = first + ranks.rank();
                        let mine = if number < rows { row(number, length) } else { Vec::new() };
                        sum.add(mine, size.min(rows - first))?;
                    }
                    sum.gather::<Failed>()
                });
                for sum in sums {
                    assert!(sum.unwrap() == expected, "{rows} rows of {length} on {size} ranks");
                }
            }
        }
        // What the order does: backwards it would be other bits.
        let backwards = (0..6).rev().map(|number| row(number, 1001));
        let backwards = backwards.reduce(|sum, x| sum.iter().zip(x).map(|(a, b)| a + b).collect());
        let forwards = (0..6).map(|number| row(number, 1001));
        let forwards = forwards.reduce(|sum, x| sum.iter().zip(x).map(|(a, b)| a + b).collect());
        assert_ne!(backwards, forwards);
    }
}
