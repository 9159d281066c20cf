//! The gradients of all parameters in blocks, each of which can be sent elsewhere while a backward pass still
//! makes others.

use super::{ALIGNMENT, Parameters, fill};
use crate::autograd::Identity;
use crate::{Gradients, Result, Tensor};
use std::cmp::Reverse;
use std::ops::Range;

/// How the flat pieces of gradients are cut into blocks; see [`Parameters::blocks`].
#[derive(Clone, Debug)]
pub struct Blocks {
    blocks: Vec<Block>,
    parameters: Identity,
}

/// A part of a flat piece.
#[derive(Clone, Debug)]
struct Block {
    piece: usize,
    range: Range<usize>,
    /// The parameters that have a part of it, by their places among those that are learnt.
    parameters: Vec<usize>,
}

impl Blocks {
    /// How many numbers each has, in their order.
    pub fn lengths(&self) -> Vec<usize> {
        self.blocks.iter().map(|block| block.range.len()).collect()
    }
}

impl Block {
    /// This block's part of `flat`, which are pieces like those of the parameters.
    fn window(&self, flat: &[Tensor]) -> Tensor {
        flat[self.piece].window(self.range.start, [self.range.len()].into())
    }
}

impl Parameters {
    /// Cuts the gradients of all parameters that are learnt, with the zeros between them, into blocks of at most
    /// `most` numbers, or 64 if that is less. Their order is one in which a backward pass may well have them
    /// whole: those of parameters that were made late come first. It depends on the parameters alone, so it
    /// is the same wherever the same model is made.
    ///
    /// ```
    /// use neutreno_engine::{Builder, Device, Initial, Parameters};
    /// let make = |p: &mut Builder| ["first", "last"].map(|name| p.parameter(name, [100], Initial::Ones, true));
    /// let ([first, last], parameters) = Parameters::build(&Device::cpu(), 1, make);
    /// let mut gradients = parameters.gradients();
    /// let blocks = parameters.blocks(128); // each parameter has a place of 128
    /// assert_eq!(blocks.lengths(), [128, 128]);
    ///
    /// let loss = first.exp().multiply(&last.scale(2.0)).sum_all();
    /// let mut read = Vec::new();
    /// parameters.backward_by_blocks(&loss, &mut gradients, &blocks, |block| read.push(block.read()))?;
    /// let last_of_all = read.remove(0).wait()?;
    /// assert_eq!(last_of_all[..100], gradients.get(&last).unwrap().to_vec()?);
    ///
    /// parameters.gradient_blocks(&gradients, &blocks)[0].overwrite(&[5.0; 128]);
    /// assert_eq!(gradients.get(&last).unwrap().to_vec()?, [5.0; 100]);
    /// # Ok::<(), neutreno_engine::Error>(())
    /// ```
    pub fn blocks(&self, most: usize) -> Blocks {
        let most = (most / ALIGNMENT).max(1) * ALIGNMENT;
        let mut blocks = Vec::new();
        for (piece, flat) in self.learnt_pieces().enumerate() {
            // The end of a piece is whole first, so what is left over is at its start.
            let mut end = flat.tensor.elements();
            while end > 0 {
                let range = end.saturating_sub(most)..end;
                end = range.start;
                let overlaps = |(_, location): &(usize, Range<usize>)| {
                    location.start < range.end && range.start < location.end
                };
                let parameters = self.in_piece(piece).filter(overlaps).map(|(place, _)| place);
                let parameters = parameters.collect();
                blocks.push(Block { piece, range, parameters });
            }
        }
        // Parameters lie in their pieces as they were made, so the first of a block is whole last.
        blocks.sort_by_key(|block| Reverse(block.parameters.first().copied()));
        Blocks { blocks, parameters: self.identity }
    }

    /// The parameters of a piece that is learnt, by their places among those that are learnt, and where in it
    /// they lie.
    fn in_piece(&self, piece: usize) -> impl Iterator<Item = (usize, Range<usize>)> {
        let of_piece = self.learnt().enumerate().filter(move |(_, p)| p.location.piece == piece);
        of_piece.map(|(place, parameter)| {
            let start = parameter.location.offset;
            (place, start..start + parameter.tensor.elements())
        })
    }

    /// Goes back from `loss` ([`Tensor::backward_into`]); `ready` is given each block, to be read, as soon as it
    /// is whole and those before it are, in their order. Gradients that do not arrive count as zero. Where
    /// this fails, `ready` has been given the first blocks or none.
    ///
    /// # Errors
    /// As [`Tensor::backward_with_hook`].
    ///
    /// # Panics
    /// If `gradients` or `blocks` are not made by these parameters.
    #[track_caller]
    pub fn backward_by_blocks(
        &self,
        loss: &Tensor,
        gradients: &mut Gradients,
        blocks: &Blocks,
        mut ready: impl FnMut(&Tensor),
    ) -> Result<()> {
        let flat = self.flat_of(gradients, blocks);
        let leaves: Vec<&Tensor> = self.learnt().map(|parameter| &parameter.tensor).collect();
        let mut whole = vec![false; leaves.len()];
        let mut rest = blocks.blocks.iter().peekable();
        loss.backward_with_hook(gradients, &leaves, |place, gradient| {
            if gradient.is_none() {
                let parameter = self.learnt().nth(place).expect("it is one of them");
                fill(&parameter.window(&flat), 0.0);
            }
            whole[place] = true;
            let is_whole =
                |block: &&Block| block.parameters.iter().all(|parameter| whole[*parameter]);
            while let Some(block) = rest.next_if(is_whole) {
                ready(&block.window(&flat));
            }
        })
    }

    /// The memory of each block of these gradients.
    ///
    /// # Panics
    /// If `gradients` or `blocks` are not made by these parameters.
    #[track_caller]
    pub fn gradient_blocks(&self, gradients: &Gradients, blocks: &Blocks) -> Vec<Tensor> {
        let flat = self.flat_of(gradients, blocks);
        blocks.blocks.iter().map(|block| block.window(&flat)).collect()
    }

    /// Says that all blocks of these gradients were overwritten, so that what they hold is there for all
    /// parameters.
    pub fn note_gradients(&self, gradients: &mut Gradients) {
        self.learnt().for_each(|parameter| gradients.note_provided(&parameter.tensor));
    }

    /// The flat pieces that the gradients are windows of.
    #[track_caller]
    fn flat_of(&self, gradients: &Gradients, blocks: &Blocks) -> Vec<Tensor> {
        self.check(blocks.parameters, "blocks of gradients");
        let Some(flat) = gradients.flat(self.identity) else {
            panic!("these gradients are not made by `gradients` of these parameters");
        };
        flat.to_vec()
    }
}
