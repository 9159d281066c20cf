//! A learner whose optimiser is shared out over the ranks (stage 1 of ZeRO: Rajbhandari et al. 2020, section 5.1).
//! Each keeps the moments of a part of the parameters alone, makes the update of that part, and has the
//! other parts from those that made them. A checkpoint holds whole moments all the same, to the bits of one
//! rank's, so that any number of ranks can go on with it, shared out or not.

use super::Learner;
use crate::engine::checkpoint::{Checkpoint, Metadata, head};
use crate::engine::optim::Share;
use crate::engine::{Part, Tensor};
use crate::error::Error;
use crate::order::{Order, give};
use crate::ranks::{self, Ranks};
use crate::run::checkpoint::Chunks;
use crate::task::Task;
use std::iter::{once, once_with};
use std::ops::Range;

/// How many numbers of each part, or of a whole tensor, go between ranks at once.
const BLOCK: usize = 1 << 20;

impl<T: Task> Learner<'_, T> {
    /// Whether the optimiser is shared out.
    pub(super) fn is_shared_out(&self) -> bool {
        self.optimizer.part() != Part::WHOLE
    }

    /// Brings the parts of the parameters together that the ranks have changed.
    pub(super) fn bring_together(&self) -> Result<(), Error> {
        let Part { index, of } = self.optimizer.part();
        let blocks = |index| self.parameters.blocks_of_part(Part { index, of }, BLOCK);
        let parts: Vec<Vec<Tensor>> = (0..of).map(blocks).collect();
        for (number, longest) in parts[0].iter().enumerate() {
            let length = longest.elements();
            let mut all = self.memory.blocks.take_for(of * length);
            // Where parts end earlier, what fills up the one length that all must have does not matter.
            let own = &mut all[ranks::own_part(self.ranks, of * length)];
            let place = |numbers: &[f32]| own[..numbers.len()].copy_from_slice(numbers);
            parts[index][number].with_numbers(place)?;
            self.ranks.all_gather(&mut all)?;
            for (rank, numbers) in all.chunks(length).enumerate().filter(|(rank, _)| *rank != index)
            {
                let block = &parts[rank][number];
                block.overwrite(&numbers[..block.elements()]);
            }
            self.memory.blocks.give(all);
        }
        Ok(())
    }

    /// The bytes of a checkpoint's file of whole moments, after so many updates. The other ranks are told to
    /// bring theirs once the first byte is asked for.
    pub(super) fn whole_moments(&self, updates: u64) -> Chunks<'_, Error> {
        let shares = self.optimizer.shares(&self.parameters);
        let metadata = Metadata::from([("steps".into(), updates.to_string())]);
        let head = head(shares.iter().map(|share| (share.name.clone(), share.shape)), &metadata);
        let told = once_with(move || give(self.ranks, &Order::BringMoments).map(|()| head));
        Box::new(told.chain(shares.into_iter().flat_map(|share| whole(self.ranks, share))))
    }

    /// Brings the moments that this rank keeps to the first one, which writes a checkpoint.
    ///
    /// # Errors
    /// If the device has failed, or another rank has ended.
    pub(crate) fn bring_moments(&self) -> Result<(), Error> {
        let shares = self.optimizer.shares(&self.parameters);
        shares.into_iter().flat_map(|share| whole(self.ranks, share)).try_for_each(|bytes| {
            bytes?;
            Ok(())
        })
    }

    /// Lets each rank have its moments of a checkpoint's, which the first one reads.
    pub(super) fn deal_moments(&self, mut file: Option<Checkpoint>) -> Result<(), Error> {
        for share in self.optimizer.shares(&self.parameters) {
            let mut own = Vec::with_capacity(share.range.len());
            for block in blocks(&share) {
                let read = match &mut file {
                    Some(file) => ranks::bytes_of(&file.read_range(&share.name, block.clone())?),
                    None => Vec::new(),
                };
                let numbers = ranks::numbers_of(&self.ranks.broadcast(read)?);
                if numbers.len() != block.len() {
                    let why = format!("{} numbers of {} came", numbers.len(), share.name);
                    return Err(ranks::Error::Connection(why).into());
                }
                own.extend(&numbers[within(&block, &share.range)]);
            }
            share.numbers.overwrite(&own);
        }
        Ok(())
    }
}

/// The whole of what ranks have shares of, block by block, as bytes; all of them must ask for it together.
fn whole(ranks: &dyn Ranks, share: Share) -> Chunks<'_, Error> {
    let own = match share.numbers.to_vec() {
        Ok(own) => own,
        Err(error) => return Box::new(once(Err(error.into()))),
    };
    Box::new(blocks(&share).map(move |block| {
        let mine = &own[within(&share.range, &block)];
        Ok(ranks.gather(&ranks::bytes_of(mine))?.concat())
    }))
}

/// The blocks of the whole.
fn blocks(share: &Share) -> impl Iterator<Item = Range<usize>> + use<> {
    let numbers = share.shape.elements();
    (0..numbers).step_by(BLOCK).map(move |start| start..numbers.min(start + BLOCK))
}

/// Where in `one` the numbers are that are in `other` too.
fn within(one: &Range<usize>, other: &Range<usize>) -> Range<usize> {
    let place = |place: usize| place.clamp(one.start, one.end) - one.start;
    place(other.start)..place(other.end)
}
