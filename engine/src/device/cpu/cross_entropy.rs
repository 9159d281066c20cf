//! Linear + cross-entropy on the CPU, with the gradients made on the way.
//!
//! Rows are handled in chunks, and a chunk's logits in blocks of the vocabulary, so that a block
//! stays in a core's cache from its product to its exponentials. A block holds its logits as
//! (vocabulary, rows): each row's maximum and sum are then taken by whole vectors of rows, and
//! every product finds its operands in an order in which it can read them directly. Each block
//! keeps a maximum of its own; when all blocks are done their sums are brought together, and one
//! more visit to each block turns its exponentials into the gradient of its logits and multiplies
//! that by the weight and by x.
//!
//! Chunks, blocks and groups of blocks are cut by the shape alone.

use super::products::{Matrix, MatrixMut, multiply, transpose};
use super::{math, simd};
use crate::Ids;
use rayon::prelude::*;

/// What to compute: the loss of each row of x (rows, width) with logits x Wᵀ, W (vocabulary,
/// width).
#[derive(Clone, Copy, Debug)]
pub struct Problem<'a> {
    /// (rows, width)
    pub x: &'a [f32],
    /// (vocabulary, width)
    pub weight: &'a [f32],
    /// An id a row, below the vocabulary's size or [`Ids::IGNORED`].
    pub targets: &'a [u32],
    /// The size of x's rows.
    pub width: usize,
    /// The number of logits a row has.
    pub vocabulary: usize,
    /// The share of the target that is spread evenly over the vocabulary.
    pub label_smoothing: f32,
    /// The factor of the gradients.
    pub scale: f32,
    /// The rows of a chunk.
    pub chunk: usize,
}

/// Where the results go; a gradient that is not wanted is empty.
#[derive(Debug)]
pub struct Results<'a> {
    /// The loss of each row in nats; 0 for ignored ones.
    pub losses: &'a mut [f32],
    /// (rows, width)
    pub d_x: &'a mut [f32],
    /// (vocabulary, width)
    pub d_weight: &'a mut [f32],
    /// Room for the logits of a chunk.
    pub logits: &'a mut [f32],
}

/// What a block knows about each row of the chunk.
const STATISTICS: usize = 4;

/// The largest logit, the sum of exponentials relative to it, the target's logit if it is in this
/// block, and the sum of the logits. When the losses are made, what turns exponentials into
/// gradients takes the place of the second (a factor) and the fourth (what is subtracted).
type Statistics<'a> = [&'a mut [f32]; STATISTICS];

fn statistics(memory: &mut [f32]) -> Statistics<'_> {
    let rows = memory.len() / STATISTICS;
    let mut parts = memory.chunks_exact_mut(rows);
    [(); STATISTICS].map(|()| parts.next().expect("four parts"))
}

/// Computes the losses, and the gradients of their sum times the problem's scale.
pub fn run(problem: &Problem, results: Results) {
    let Results { losses, mut d_x, d_weight, logits } = results;
    let width = problem.width;
    let mut blocks = vec![0.0; STATISTICS * problem.chunk * problem.blocks()];
    let mut transposed = vec![0.0; problem.chunk * width];
    let groups = if d_x.is_empty() { 0 } else { problem.blocks().div_ceil(GROUP) };
    let mut partial = vec![0.0; groups * problem.chunk * width];
    let chunks = losses.chunks_mut(problem.chunk).enumerate();
    for (index, losses) in chunks {
        let (first, rows) = (index * problem.chunk, losses.len());
        let chunk = Chunk {
            problem,
            x: &problem.x[first * width..(first + rows) * width],
            targets: &problem.targets[first..first + rows],
            is_first: index == 0,
        };
        let logits = &mut logits[..problem.vocabulary * rows];
        let blocks = &mut blocks[..STATISTICS * rows * problem.blocks()];
        let transposed = &mut transposed[..rows * width];
        transpose(chunk.x, width, rows, transposed);
        chunk.make_exponentials(transposed, logits, blocks);
        chunk.make_losses(blocks, losses);
        let chunk_d_x;
        (chunk_d_x, d_x) = d_x.split_at_mut(d_x.len().min(rows * width));
        if !(chunk_d_x.is_empty() && d_weight.is_empty()) {
            let partial = &mut partial[..groups * rows * width];
            chunk.make_gradients(logits, blocks, chunk_d_x, d_weight, partial);
        }
    }
}

impl Problem<'_> {
    /// The part of the vocabulary that one block holds.
    fn block(&self) -> usize {
        self.vocabulary.div_ceil(16).next_multiple_of(32).clamp(64, 512)
    }

    fn blocks(&self) -> usize {
        self.vocabulary.div_ceil(self.block())
    }
}

/// Some rows at a time.
struct Chunk<'a> {
    problem: &'a Problem<'a>,
    x: &'a [f32],
    targets: &'a [u32],
    is_first: bool,
}

impl Chunk<'_> {
    fn rows(&self) -> usize {
        self.targets.len()
    }

    /// The rows whose target is among `count` ids from `first` on, and how far behind `first`.
    fn targets_in(&self, first: usize, count: usize) -> impl Iterator<Item = (usize, usize)> {
        let within = move |target: &u32| (*target as usize).checked_sub(first);
        self.targets.iter().enumerate().filter_map(move |(row, target)| {
            within(target).filter(|place| *place < count).map(|place| (row, place))
        })
    }

    /// Each block's logits, as exponentials relative to the block's largest, with its statistics.
    fn make_exponentials(&self, x: &[f32], logits: &mut [f32], blocks: &mut [f32]) {
        let Problem { weight, width, .. } = *self.problem;
        let (rows, block) = (self.rows(), self.problem.block());
        let x = Matrix::new(x, width, rows);
        let tasks =
            logits.par_chunks_mut(block * rows).zip(blocks.par_chunks_mut(STATISTICS * rows));
        tasks.enumerate().for_each(|(index, (logits, memory))| {
            let first = index * block;
            let count = logits.len() / rows;
            let weight = Matrix::new(&weight[first * width..], count, width);
            multiply(MatrixMut::new(logits, count, rows), weight, x, 1.0, false);
            let [largest, sum, target, total] = statistics(memory);
            target.fill(0.0);
            for (row, place) in self.targets_in(first, count) {
                target[row] = logits[place * rows + row];
            }
            let smoothing = self.problem.label_smoothing != 0.0;
            if smoothing {
                simd::vectorized(|| sum_of_columns(logits, total));
            }
            simd::vectorized(|| largest_of_columns(logits, largest));
            simd::vectorized(Exponentials { logits, largest, sum });
        });
    }

    /// The losses from all blocks' statistics; also what turns exponentials into gradients.
    fn make_losses(&self, blocks: &mut [f32], losses: &mut [f32]) {
        let Problem { label_smoothing, vocabulary, scale, .. } = *self.problem;
        let rows = self.rows();
        let spread = label_smoothing / vocabulary as f32;
        let mut blocks: Vec<Statistics> =
            blocks.chunks_exact_mut(STATISTICS * rows).map(statistics).collect();
        for (row, loss) in losses.iter_mut().enumerate() {
            let largest = blocks.iter().fold(f32::NEG_INFINITY, |m, block| m.max(block[0][row]));
            let (mut sum, mut target, mut total) = (0.0, 0.0, 0.0);
            for block in &mut blocks {
                block[0][row] = math::exp(block[0][row] - largest);
                sum += block[0][row] * block[1][row];
                target += block[2][row];
                total += block[3][row];
            }
            let counts = self.targets[row] != Ids::IGNORED;
            let scale = if counts { scale } else { 0.0 };
            for block in &mut blocks {
                block[1][row] = scale / sum * block[0][row];
                block[3][row] = scale * spread;
            }
            let mut nats = largest + sum.ln() - (1.0 - label_smoothing) * target;
            if label_smoothing != 0.0 {
                nats -= spread * total;
            }
            *loss = if counts { nats } else { 0.0 };
        }
    }

    /// dX of this chunk and its share of dW, from the exponentials.
    fn make_gradients(
        &self,
        logits: &mut [f32],
        blocks: &mut [f32],
        d_x: &mut [f32],
        d_weight: &mut [f32],
        partial: &mut [f32],
    ) {
        let width = self.problem.width;
        let (rows, block) = (self.rows(), self.problem.block());
        let mut d_weights = d_weight.chunks_mut(GROUP * block * width);
        let mut partials = partial.chunks_exact_mut((rows * width).max(1));
        let tasks: Vec<_> = logits
            .chunks_mut(GROUP * block * rows)
            .zip(blocks.chunks_mut(GROUP * STATISTICS * rows))
            .map(|work| (work, d_weights.next(), partials.next()))
            .collect();
        tasks.into_par_iter().enumerate().for_each(|(group, ((logits, blocks), d_weight, d_x))| {
            let mut d_weights = d_weight.unwrap_or_default().chunks_mut(block * width);
            let d_x = d_x.unwrap_or_default();
            let blocks = blocks.chunks_mut(STATISTICS * rows);
            for (index, (logits, memory)) in logits.chunks_mut(block * rows).zip(blocks).enumerate()
            {
                let first = (group * GROUP + index) * block;
                let [_, factor, _, spread] = statistics(memory);
                self.make_logit_gradients(first, logits, factor, spread);
                self.multiply(first, logits, d_weights.next(), d_x, index > 0);
            }
        });
        if d_x.is_empty() {
            return;
        }
        let (total, others) = partial.split_at_mut(rows * width);
        simd::for_chunks(total, |start, total| {
            for part in others.chunks_exact(rows * width) {
                total.iter_mut().zip(&part[start..]).for_each(|(total, part)| *total += part);
            }
        });
        transpose(total, rows, width, d_x);
    }

    /// What a block's gradient `logits` (vocabulary, rows) adds to the gradients of W and x.
    fn multiply(
        &self,
        first: usize,
        logits: &[f32],
        d_weight: Option<&mut [f32]>,
        d_x: &mut [f32],
        add: bool,
    ) {
        let Problem { weight, width, .. } = *self.problem;
        let rows = self.rows();
        let count = logits.len() / rows;
        let gradient = Matrix::new(logits, count, rows);
        if let Some(d_weight) = d_weight {
            let d_weight = MatrixMut::new(d_weight, count, width);
            multiply(d_weight, gradient, Matrix::new(self.x, rows, width), 1.0, !self.is_first);
        }
        if !d_x.is_empty() {
            let weight = Matrix::new(&weight[first * width..], count, width).transposed();
            multiply(MatrixMut::new(d_x, width, rows), weight, gradient, 1.0, add);
        }
    }

    /// Exponentials to gradients of logits: (softmax − target) · scale.
    fn make_logit_gradients(
        &self,
        first: usize,
        logits: &mut [f32],
        factor: &[f32],
        spread: &[f32],
    ) {
        let Problem { label_smoothing, scale, .. } = *self.problem;
        let rows = self.rows();
        let count = logits.len() / rows;
        simd::vectorized(|| {
            for logits in logits.chunks_exact_mut(rows) {
                for ((y, factor), spread) in logits.iter_mut().zip(factor).zip(spread) {
                    let gradient = *y * factor - spread;
                    *y = if gradient.abs() < TINY { 0.0 } else { gradient };
                }
            }
        });
        for (row, place) in self.targets_in(first, count) {
            logits[place * rows + row] -= scale * (1.0 - label_smoothing);
        }
    }
}

/// Exponentials of less are as good as 0 beside 1, the largest; so that processors meet no
/// subnormal numbers, which slow them a hundredfold, all of them are e^LOWEST.
const LOWEST: f32 = -60.0;

/// Gradients below this are 0, for the same reason.
const TINY: f32 = 1e-25;

/// How many blocks share a sum for dX.
const GROUP: usize = 2;

#[inline(always)]
fn sum_of_columns(logits: &[f32], sum: &mut [f32]) {
    sum.fill(0.0);
    for logits in logits.chunks_exact(sum.len()) {
        sum.iter_mut().zip(logits).for_each(|(sum, logit)| *sum += logit);
    }
}

#[inline(always)]
fn largest_of_columns(logits: &[f32], largest: &mut [f32]) {
    largest.fill(f32::NEG_INFINITY);
    for logits in logits.chunks_exact(largest.len()) {
        for (largest, logit) in largest.iter_mut().zip(logits) {
            *largest = if *logit > *largest { *logit } else { *largest };
        }
    }
}

/// Logits to exponentials relative to the largest of their column, and the sums of these.
struct Exponentials<'a> {
    logits: &'a mut [f32],
    largest: &'a [f32],
    sum: &'a mut [f32],
}

impl simd::Body for Exponentials<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Exponentials { logits, largest, sum } = self;
        sum.fill(0.0);
        for logits in logits.chunks_exact_mut(sum.len()) {
            for ((logit, largest), sum) in logits.iter_mut().zip(largest).zip(&mut *sum) {
                let below = *logit - largest;
                *logit = math::exp(if below < LOWEST { LOWEST } else { below });
                *sum += *logit;
            }
        }
    }
}
