//! The sum of rows of numbers that are made on all ranks, to the bits of one rank: number by number, in
//! the order of the rows, whoever has made them.
//!
//! Rows are made in rounds, row r·R + k in round r by rank k of R, and each is cut into blocks. Of each
//! block there are R parts, and rank p gets part p of all rows of the round (all-to-all), which it adds to
//! its part of the sum one after the other. At the end all ranks get all parts (all-gather). So a number is
//! always added up row by row, and how the row was cut makes no difference. Each rank sends and receives
//! (R−1)/R of a row in each round and once more at the end.

use super::spare::Memory;
use super::{Error, Ranks, own_part};
use crate::engine::{self, Device, Tensor};

/// A sum in the making.
pub(super) struct Sum<'a> {
    ranks: &'a dyn Ranks,
    device: &'a Device,
    memory: &'a Memory,
    /// This rank's part of each block of the sum; none before the first row.
    parts: Vec<Option<Part>>,
    /// Where numbers come in.
    received: Vec<f32>,
}

/// A part of a sum, where it has the bits of what one rank would have added up on its device.
enum Part {
    /// For a CPU: the host computes alike.
    Host(Vec<f32>),
    /// For others, which may take very small numbers for zero.
    Device(Tensor),
}

impl<'a> Sum<'a> {
    /// The sum of no rows as yet, of so many blocks each. They are added as `device` would.
    pub fn new(
        ranks: &'a dyn Ranks,
        device: &'a Device,
        memory: &'a Memory,
        blocks: usize,
    ) -> Sum<'a> {
        let parts = (0..blocks).map(|_| None).collect();
        Sum { ranks, device, memory, parts, received: memory.blocks.take() }
    }

    /// One block of a round: adds those of the first `members` ranks, in their order. The others bring as many
    /// numbers, which do not matter.
    ///
    /// # Errors
    /// If another rank has ended.
    pub fn add(&mut self, block: usize, numbers: &[f32], members: usize) -> Result<(), Error> {
        let (rank, size) = (self.ranks.rank(), self.ranks.size());
        let part = numbers.len().div_ceil(size);
        if numbers.len() < size * part {
            // All parts must have one length.
            let mut filled_up = self.memory.blocks.take_for(size * part);
            filled_up[..numbers.len()].copy_from_slice(numbers);
            self.add(block, &filled_up, members)?;
            self.memory.blocks.give(filled_up);
            return Ok(());
        }
        self.received.resize((size - 1) * part, 0.0);
        self.ranks.all_to_all(numbers, &mut self.received)?;
        let (before, after) = self.received.split_at(rank * part);
        let own = &numbers[own_part(self.ranks, numbers.len())];
        for numbers in before.chunks(part).chain([own]).chain(after.chunks(part)).take(members) {
            match &mut self.parts[block] {
                Some(sum) => sum.add(numbers),
                none => *none = Some(Part::new(numbers, self.device, self.memory)),
            }
        }
        Ok(())
    }

    /// This rank's part of a block, of which a row has been added. The last rank's may be filled up with
    /// numbers that do not matter.
    ///
    /// # Errors
    /// If the device has failed.
    pub fn part(&mut self, block: usize) -> engine::Result<Vec<f32>> {
        match self.parts[block].take().expect("each round has a row, and each block is taken once")
        {
            Part::Host(numbers) => Ok(numbers),
            Part::Device(sum) => sum.read_into(self.memory.parts.take()).wait(),
        }
    }

    /// Puts the whole sum of a block in its place, on every rank.
    ///
    /// # Errors
    /// If the device has failed, or another rank has ended.
    pub fn gather<E: From<Error> + From<engine::Error>>(
        &mut self,
        number: usize,
        block: &Tensor,
    ) -> Result<(), E> {
        let part = self.part(number)?;
        let (ranks, all) = (self.ranks, part.len() * self.ranks.size());
        let gather = |whole: &mut [f32]| {
            whole[own_part(ranks, all)].copy_from_slice(&part);
            ranks.all_gather(whole)
        };
        if self.device.computes_as_host() && all == block.elements() {
            block.with_numbers_mut(gather)??;
        } else {
            let mut whole = self.memory.blocks.take_for(all);
            gather(&mut whole)?;
            block.overwrite(&whole[..block.elements()]);
            self.memory.blocks.give(whole);
        }
        self.memory.parts.give(part);
        Ok(())
    }
}

impl Drop for Sum<'_> {
    fn drop(&mut self) {
        self.memory.blocks.give(std::mem::take(&mut self.received));
    }
}

impl Part {
    fn new(numbers: &[f32], device: &Device, memory: &Memory) -> Part {
        match device.computes_as_host() {
            true => {
                let mut part = memory.parts.take();
                part.clear();
                part.extend_from_slice(numbers);
                Part::Host(part)
            }
            false => Part::Device(Tensor::new(numbers, [numbers.len()], device)),
        }
    }

    fn add(&mut self, numbers: &[f32]) {
        match self {
            Part::Host(sum) => sum.iter_mut().zip(numbers).for_each(|(sum, x)| *sum += x),
            Part::Device(sum) => {
                *sum = sum.add(&Tensor::new(numbers, [numbers.len()], sum.device()));
            }
        }
    }
}
