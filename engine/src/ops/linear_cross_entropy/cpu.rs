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

use crate::Ids;
use crate::device::cpu::products::{Matrix, MatrixMut, multiply, transpose};
use crate::device::cpu::scratch::cut;
use crate::device::cpu::tasks::Tasks;
use crate::device::cpu::{math, simd};
use rayon::prelude::*;

/// What to compute: the loss of each row of x (rows, width) with logits Z = X Wᵀ, W (vocabulary,
/// width).
#[derive(Clone, Copy)]
pub(super) struct Problem<'a> {
    /// (rows, width)
    pub x: &'a [f32],
    /// (vocabulary, width)
    pub weight: &'a [f32],
    /// An id a row, below the vocabulary's size or [`Ids::IGNORED`].
    pub targets: &'a [u32],
    pub sizes: Sizes,
    /// The share of the target that is spread evenly over the vocabulary.
    pub label_smoothing: f32,
    /// The factor of the gradients.
    pub scale: f32,
}

/// The sizes that decide how the work is cut.
#[derive(Clone, Copy)]
pub(super) struct Sizes {
    /// Of x.
    pub width: usize,
    /// The number of logits a row has.
    pub vocabulary: usize,
    /// The rows of a chunk.
    pub chunk: usize,
    /// Whether dX is needed.
    pub needs_d_x: bool,
}

/// Where the results go; a gradient that is not needed is empty.
pub(super) struct Results<'a> {
    /// The loss of each row in nats; 0 for ignored ones.
    pub losses: &'a mut [f32],
    /// (rows, width)
    pub d_x: &'a mut [f32],
    /// (vocabulary, width)
    pub d_weight: &'a mut [f32],
    /// Room for the logits of a chunk.
    pub logits: &'a mut [f32],
    /// The working memory, of [`Sizes::scratch`].
    pub scratch: &'a mut [f32],
}

impl Sizes {
    /// The part of the vocabulary that one block holds.
    fn block(&self) -> usize {
        self.vocabulary.div_ceil(16).next_multiple_of(32).clamp(64, 512)
    }

    fn blocks(&self) -> usize {
        self.vocabulary.div_ceil(self.block())
    }

    /// The sums for dX, each of a group of blocks.
    fn groups(&self) -> usize {
        if self.needs_d_x { self.blocks().div_ceil(GROUP) } else { 0 }
    }

    /// How many numbers of working memory it takes.
    pub fn scratch(&self) -> usize {
        self.statistics() + self.chunk * self.width * (1 + self.groups())
    }

    fn statistics(&self) -> usize {
        STATISTICS * self.chunk * self.blocks()
    }
}

/// What a block knows about each row of the chunk.
struct Statistics<'a> {
    /// The largest logit.
    largest: &'a mut [f32],
    /// The sum of the exponentials relative to the block's largest.
    sum: &'a mut [f32],
    /// The target's logit, if it is in this block, else 0.
    target: &'a mut [f32],
    /// The sum of the logits.
    total: &'a mut [f32],
    /// What an exponential is multiplied by to become scale · softmax. Known when the losses are.
    factor: &'a mut [f32],
    /// What is subtracted then: scale times the share that label smoothing gives to each id.
    spread: &'a mut [f32],
}

/// How many numbers that is for each row.
const STATISTICS: usize = 6;

impl<'a> Statistics<'a> {
    fn new(mut memory: &'a mut [f32]) -> Statistics<'a> {
        let rows = memory.len() / STATISTICS;
        let mut part = || cut(&mut memory, rows);
        Statistics {
            largest: part(),
            sum: part(),
            target: part(),
            total: part(),
            factor: part(),
            spread: part(),
        }
    }
}

/// Computes the losses, and the gradients of their sum times the problem's scale.
pub(super) fn run(problem: &Problem, results: Results) {
    let Results { losses, mut d_x, d_weight, logits, mut scratch } = results;
    let sizes = problem.sizes;
    let Sizes { width, chunk: chunk_rows, vocabulary, .. } = sizes;
    let blocks = cut(&mut scratch, sizes.statistics());
    let transposed = cut(&mut scratch, chunk_rows * width);
    let partial = scratch;
    for (index, losses) in losses.chunks_mut(chunk_rows).enumerate() {
        let (first, rows) = (index * chunk_rows, losses.len());
        let chunk = Chunk {
            problem,
            x: &problem.x[first * width..(first + rows) * width],
            targets: &problem.targets[first..first + rows],
            is_first: index == 0,
        };
        let logits = &mut logits[..vocabulary * rows];
        let blocks = &mut blocks[..STATISTICS * rows * sizes.blocks()];
        let transposed = &mut transposed[..rows * width];
        transpose(chunk.x, width, rows, transposed);
        chunk.make_exponentials(transposed, logits, blocks);
        chunk.make_losses(blocks, losses);
        let chunk_d_x;
        (chunk_d_x, d_x) = d_x.split_at_mut(d_x.len().min(rows * width));
        if !(chunk_d_x.is_empty() && d_weight.is_empty()) {
            let partial = &mut partial[..sizes.groups() * rows * width];
            chunk.make_gradients(logits, blocks, chunk_d_x, d_weight, partial);
        }
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
            within(target).filter(|offset| *offset < count).map(|offset| (row, offset))
        })
    }

    /// Each block's logits, as exponentials relative to the block's largest, with its statistics.
    fn make_exponentials(&self, x_transposed: &[f32], logits: &mut [f32], blocks: &mut [f32]) {
        let Problem { weight, sizes, label_smoothing, .. } = *self.problem;
        let (rows, block, width) = (self.rows(), sizes.block(), sizes.width);
        let x_transposed = Matrix::new(x_transposed, width, rows);
        let tasks =
            logits.par_chunks_mut(block * rows).zip(blocks.par_chunks_mut(STATISTICS * rows));
        tasks.enumerate().each(|(index, (logits, memory))| {
            let first = index * block;
            let count = logits.len() / rows;
            let weight = Matrix::new(&weight[first * width..], count, width);
            // Zᵀ = W Xᵀ
            multiply(MatrixMut::new(logits, count, rows), weight, x_transposed, 1.0, false);
            let Statistics { largest, sum, target, total, .. } = Statistics::new(memory);
            target.fill(0.0);
            for (row, offset) in self.targets_in(first, count) {
                target[row] = logits[offset * rows + row];
            }
            match label_smoothing {
                0.0 => total.fill(0.0),
                _ => simd::vectorized(|| sum_of_columns(logits, total)),
            }
            simd::vectorized(|| largest_of_columns(logits, largest));
            simd::vectorized(Exponentials { logits, largest, sum });
        });
    }

    /// The losses from all blocks' statistics; also what turns exponentials into gradients.
    fn make_losses(&self, blocks: &mut [f32], losses: &mut [f32]) {
        let Problem { label_smoothing, scale, .. } = *self.problem;
        let rows = self.rows();
        let spread = label_smoothing / self.problem.sizes.vocabulary as f32;
        let mut blocks: Vec<Statistics> =
            blocks.chunks_exact_mut(STATISTICS * rows).map(Statistics::new).collect();
        for (row, loss) in losses.iter_mut().enumerate() {
            let largest = blocks
                .iter()
                .fold(f32::NEG_INFINITY, |largest, block| largest.max(block.largest[row]));
            let (mut sum, mut target, mut total) = (0.0, 0.0, 0.0);
            for block in &mut blocks {
                block.factor[row] = math::exp(block.largest[row] - largest);
                sum += block.factor[row] * block.sum[row];
                target += block.target[row];
                total += block.total[row];
            }
            let counts = self.targets[row] != Ids::IGNORED;
            let scale = if counts { scale } else { 0.0 };
            for block in &mut blocks {
                block.factor[row] *= scale / sum;
                block.spread[row] = scale * spread;
            }
            // log Σ exp(z) − (1 − ε) z_target − (ε / V) Σ z
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
        let Sizes { width, .. } = self.problem.sizes;
        let (rows, block) = (self.rows(), self.problem.sizes.block());
        let mut d_weights = d_weight.chunks_mut(GROUP * block * width);
        let mut partials = partial.chunks_exact_mut((rows * width).max(1));
        let tasks: Vec<_> = logits
            .chunks_mut(GROUP * block * rows)
            .zip(blocks.chunks_mut(GROUP * STATISTICS * rows))
            .map(|work| (work, d_weights.next(), partials.next()))
            .collect();
        tasks.into_par_iter().enumerate().each(|(group, ((logits, blocks), d_weight, d_x))| {
            let mut d_weights = d_weight.unwrap_or_default().chunks_mut(block * width);
            let d_x = d_x.unwrap_or_default();
            let blocks = blocks.chunks_mut(STATISTICS * rows);
            for (index, (logits, memory)) in logits.chunks_mut(block * rows).zip(blocks).enumerate()
            {
                let first = (group * GROUP + index) * block;
                self.make_logit_gradients(first, logits, &Statistics::new(memory));
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

    /// What a block's dZᵀ (vocabulary, rows) adds to the gradients of W and, transposed, of x.
    fn multiply(
        &self,
        first: usize,
        d_logits: &[f32],
        d_weight: Option<&mut [f32]>,
        d_x_transposed: &mut [f32],
        add: bool,
    ) {
        let Problem { weight, sizes: Sizes { width, .. }, .. } = *self.problem;
        let rows = self.rows();
        let count = d_logits.len() / rows;
        let dz_transposed = Matrix::new(d_logits, count, rows);
        if let Some(d_weight) = d_weight {
            // dW += dZᵀ X
            let d_weight = MatrixMut::new(d_weight, count, width);
            let x = Matrix::new(self.x, rows, width);
            multiply(d_weight, dz_transposed, x, 1.0, !self.is_first);
        }
        if !d_x_transposed.is_empty() {
            // dXᵀ += Wᵀ dZᵀ
            let weight = Matrix::new(&weight[first * width..], count, width).transposed();
            let d_x_transposed = MatrixMut::new(d_x_transposed, width, rows);
            multiply(d_x_transposed, weight, dz_transposed, 1.0, add);
        }
    }

    /// Exponentials to gradients of logits: dZ = scale · (softmax(Z) − target).
    fn make_logit_gradients(&self, first: usize, logits: &mut [f32], statistics: &Statistics) {
        let Problem { label_smoothing, scale, .. } = *self.problem;
        let rows = self.rows();
        let count = logits.len() / rows;
        let Statistics { factor, spread, .. } = statistics;
        simd::vectorized(|| {
            for logits in logits.chunks_exact_mut(rows) {
                for ((y, factor), spread) in logits.iter_mut().zip(&**factor).zip(&**spread) {
                    let gradient = *y * factor - spread;
                    *y = if gradient.abs() < TINY { 0.0 } else { gradient };
                }
            }
        });
        for (row, offset) in self.targets_in(first, count) {
            logits[offset * rows + row] -= scale * (1.0 - label_smoothing);
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
