//! Attention on the CPU: tiles of scores through matrix products, with the softmax of a block of
//! queries kept up as its tiles of keys go by ("online softmax": Milakov & Gimelshein 2018).

use super::sizes::Sizes;
use super::tiles::{Columns, KEYS, LARGEST_BLOCK, Visible, block_size, piece};
use crate::device::cpu::math::exp;
use crate::device::cpu::products::{Matrix, MatrixMut, multiply};
use crate::device::cpu::simd::{Body, larger, maximum, sum, vectorized};
use rayon::prelude::*;

/// o, and the logarithm of each row's sum of exponentials. `first` has the first layer's values
/// and the three factors.
pub(super) fn forward(
    sizes: &Sizes,
    [q, k, v]: [&[f32]; 3],
    first: Option<(&[f32], [f32; 3])>,
    output: &mut [f32],
    log_sums: &mut [f32],
) {
    let Sizes { batch, queries, heads, head_size, .. } = *sizes;
    let (row, keys_size) = (heads * head_size, k.len() / batch);
    let results = output.par_chunks_mut(queries * row);
    let results = results.zip(log_sums.par_chunks_mut(queries * heads));
    results.enumerate().for_each(|(index, (output, log_sums))| {
        let of_batch = |x| piece(x, index, keys_size);
        let (k, v) = (of_batch(k), of_batch(v));
        let first = first.map(|(first, factors)| (of_batch(first), factors));
        let mixed = first.and_then(|(first, [own, weight, _])| {
            (own != 1.0 || weight != 0.0).then(|| mix(v, first, own, weight))
        });
        let keys = Columns::new(sizes, k);
        let block_size = block_size(sizes);
        let blocks = output.par_chunks_mut(block_size * row);
        let blocks = blocks.zip(log_sums.par_chunks_mut(block_size * heads)).enumerate();
        let scratch = || ForwardScratch::new(sizes);
        blocks.for_each_init(scratch, |scratch, (block, (output, log_sums))| {
            let start = block * block_size;
            let q = &piece(q, index, queries * row)[start * row..];
            for head in 0..heads {
                let values = mixed.as_deref().unwrap_or(v);
                scratch.attend(sizes, start, head, &keys, [q, values], log_sums);
                scratch.store(sizes, head, output);
            }
            if let Some((first, [_, _, fidelity])) = first
                && fidelity != 0.0
            {
                add_fidelity(sizes, start, fidelity, v, first, output);
            }
        });
    });
}

/// own · v + weight · first.
fn mix(v: &[f32], first: &[f32], own: f32, weight: f32) -> Vec<f32> {
    let mut mixed = vec![0.0; v.len()];
    vectorized(|| {
        let pairs = v.iter().zip(first);
        mixed.iter_mut().zip(pairs).for_each(|(y, (v, first))| *y = own * v + weight * first);
    });
    mixed
}

/// The memory that a thread needs for one block of queries.
struct ForwardScratch {
    scores: Vec<f32>,
    output: Vec<f32>,
    /// The largest score of each row so far.
    largest: [f32; LARGEST_BLOCK],
    /// The sum of each row's exponentials so far, relative to its largest score.
    totals: [f32; LARGEST_BLOCK],
}

impl ForwardScratch {
    fn new(sizes: &Sizes) -> ForwardScratch {
        let block = block_size(sizes);
        ForwardScratch {
            scores: vec![0.0; block * KEYS.min(sizes.keys)],
            output: vec![0.0; block * sizes.head_size],
            largest: [0.0; LARGEST_BLOCK],
            totals: [0.0; LARGEST_BLOCK],
        }
    }

    /// One head of the block of queries that starts at `start`: leaves the sums of values,
    /// weighted by exponentials, in `output` and their totals in `totals`.
    fn attend(
        &mut self,
        sizes: &Sizes,
        start: usize,
        head: usize,
        keys: &Columns,
        [q, v]: [&[f32]; 2],
        log_sums: &mut [f32],
    ) {
        let Sizes { heads, kv_heads, head_size, .. } = *sizes;
        let rows = block_size(sizes).min(sizes.queries - start);
        let stride = kv_heads * head_size;
        let q = Matrix::strided(&q[head * head_size..], rows, head_size, heads * head_size);
        let end = sizes.visible(start + rows - 1);
        self.largest.fill(f32::NEG_INFINITY);
        self.totals.fill(0.0);
        for first_key in (0..end).step_by(KEYS) {
            let count = KEYS.min(end - first_key);
            let at = first_key * stride + head / sizes.group() * head_size;
            let keys = keys.tile(sizes, head, first_key, count);
            let v = Matrix::strided(&v[at..], count, head_size, stride);
            let scores = MatrixMut::new(&mut self.scores, rows, count);
            multiply(scores, q, keys, sizes.scale(), false);
            let visible = Visible { sizes, start, first_key, count };
            let ForwardScratch { scores, output, largest, totals, .. } = self;
            let scores = &mut scores[..rows * count];
            vectorized(Exponentials { visible, scores, output, largest, totals });
            let scores = Matrix::new(&self.scores, rows, count);
            let output = MatrixMut::new(&mut self.output, rows, head_size);
            multiply(output, scores, v, 1.0, first_key > 0);
        }
        for row in 0..rows {
            log_sums[row * heads + head] = self.largest[row] + self.totals[row].ln();
        }
    }

    fn store(&self, sizes: &Sizes, head: usize, output: &mut [f32]) {
        let Sizes { heads, head_size, .. } = *sizes;
        let rows = output.chunks_exact_mut(heads * head_size);
        let sums = self.output.chunks_exact(head_size).zip(&self.totals);
        vectorized(|| {
            for (output, (sums, total)) in rows.zip(sums) {
                let output = &mut output[head * head_size..(head + 1) * head_size];
                let scale = 1.0 / total;
                output.iter_mut().zip(sums).for_each(|(y, sum)| *y = sum * scale);
            }
        });
    }
}

/// Turns a tile of scores into exponentials relative to the largest score so far, and what was
/// summed before to the same measure.
struct Exponentials<'a> {
    visible: Visible<'a>,
    scores: &'a mut [f32],
    output: &'a mut [f32],
    largest: &'a mut [f32],
    totals: &'a mut [f32],
}

impl Body for Exponentials<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Exponentials { visible, scores, output, largest, totals } = self;
        let rows = scores.chunks_exact_mut(visible.count);
        let sums = output.chunks_exact_mut(visible.sizes.head_size);
        let state = largest.iter_mut().zip(totals);
        for (row, ((scores, sums), (largest, total))) in rows.zip(sums).zip(state).enumerate() {
            let (scores, hidden) = scores.split_at_mut(visible.keys(row));
            hidden.fill(0.0);
            let before = *largest;
            *largest = larger(before, maximum(scores));
            scores.iter_mut().for_each(|score| *score = exp(*score - *largest));
            if visible.first_key > 0 && before < *largest {
                let shrink = exp(before - *largest);
                sums.iter_mut().for_each(|sum| *sum *= shrink);
                *total *= shrink;
            }
            *total += sum(scores);
        }
    }
}

/// o += fidelity · (first − v), position by position.
fn add_fidelity(
    sizes: &Sizes,
    start: usize,
    fidelity: f32,
    v: &[f32],
    first: &[f32],
    output: &mut [f32],
) {
    let Sizes { kv_heads, head_size, .. } = *sizes;
    let width = kv_heads * head_size;
    let begin = (sizes.keys - sizes.queries + start) * width;
    let positions = v[begin..].chunks_exact(width).zip(first[begin..].chunks_exact(width));
    let rows = output.chunks_exact_mut(sizes.heads * head_size);
    vectorized(|| {
        for (output, (v, first)) in rows.zip(positions) {
            let values = v.chunks_exact(head_size).zip(first.chunks_exact(head_size));
            let groups = output.chunks_exact_mut(sizes.group() * head_size);
            for (group, (v, first)) in groups.zip(values) {
                for output in group.chunks_exact_mut(head_size) {
                    let pairs = v.iter().zip(first);
                    output.iter_mut().zip(pairs).for_each(|(y, (v, v1))| *y += fidelity * (v1 - v));
                }
            }
        }
    });
}
