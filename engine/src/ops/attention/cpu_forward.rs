//! Attention on the CPU: tiles of scores through matrix products, with the softmax of a block of
//! queries kept up as its tiles of keys go by ("online softmax": Milakov & Gimelshein 2018).

use super::sizes::Sizes;
use super::tiles::{Columns, KEYS, LARGEST_BLOCK, Tile, block_size, part, tile_size};
use super::values::mix;
use crate::device::cpu::math::exp;
use crate::device::cpu::products::{Matrix, MatrixMut, multiply};
use crate::device::cpu::scratch::{Slots, cut};
use crate::device::cpu::simd::{Body, larger, maximum, sum, vectorized};
use crate::device::cpu::tasks::Tasks;
use rayon::prelude::*;

/// What forward reads: q, k, v, and the first layer's values with a, b and c.
#[derive(Clone, Copy)]
pub struct Operands<'a> {
    pub q: &'a [f32],
    pub k: &'a [f32],
    pub v: &'a [f32],
    pub first: Option<(&'a [f32], [f32; 3])>,
}

/// How many numbers of working memory [`forward`] takes: a transposed copy of K, V′ if it isn't V, and
/// what each block of queries needs.
pub fn scratch(sizes: &Sizes, mixes: bool, threads: usize) -> usize {
    let of_keys = sizes.batch * sizes.keys * sizes.kv_heads * sizes.head_size;
    let copies = usize::from(Columns::are_copied(sizes)) + usize::from(mixes);
    let blocks = sizes.batch * sizes.queries.div_ceil(block_size(sizes));
    copies * of_keys + Slots::elements(block_scratch(sizes), blocks, threads)
}

/// A tile of scores, and a block's sums of values.
fn block_scratch(sizes: &Sizes) -> usize {
    tile_size(sizes) + block_size(sizes) * sizes.head_size
}

/// O, and the logarithm of each row's sum of exponentials.
pub fn forward(
    sizes: &Sizes,
    from: Operands,
    output: &mut [f32],
    log_sums: &mut [f32],
    mut scratch: &mut [f32],
) {
    let Sizes { queries, heads, head_size, .. } = *sizes;
    let row = heads * head_size;
    let copied = if Columns::are_copied(sizes) { from.k.len() } else { 0 };
    let keys = Columns::new(sizes, from.k, cut(&mut scratch, copied));
    // V′ = a V + b V₁
    let values = match from.first {
        Some((first, [a, b, _])) if a != 1.0 || b != 0.0 => {
            let mixed = cut(&mut scratch, from.v.len());
            mix(from.v, first, [a, b], mixed);
            &*mixed
        }
        _ => from.v,
    };
    let slots = Slots::new(scratch, block_scratch(sizes));
    let of_keys = sizes.keys * sizes.kv_heads * head_size;
    let results = output.par_chunks_mut(queries * row);
    let results = results.zip(log_sums.par_chunks_mut(queries * heads));
    results.enumerate().each(|(batch, (output, log_sums))| {
        let block_size = block_size(sizes);
        let blocks = output.par_chunks_mut(block_size * row);
        let blocks = blocks.zip(log_sums.par_chunks_mut(block_size * heads)).enumerate();
        blocks.each(|(number, (output, log_sums))| {
            let start = number * block_size;
            let mut memory = slots.take();
            let (scores, sums) = memory.split_at_mut(tile_size(sizes));
            let mut block = Block {
                sizes,
                start,
                q: &part(from.q, batch, queries * row)[start * row..],
                keys: keys.of_batch(sizes, batch),
                values: part(values, batch, of_keys),
                scores,
                sums,
                largest: [0.0; LARGEST_BLOCK],
                totals: [0.0; LARGEST_BLOCK],
            };
            for head in 0..heads {
                block.attend(head, log_sums);
                block.store(head, output);
            }
            if let Some((first, [_, _, c])) = from.first
                && c != 0.0
            {
                let begin = (sizes.keys - sizes.queries + start) * sizes.kv_heads * head_size;
                let [v, first] = [from.v, first].map(|x| &part(x, batch, of_keys)[begin..]);
                add_fidelity([heads, sizes.kv_heads, head_size], c, v, first, output);
            }
        });
    });
}

/// A block of queries of one batch, and what is known of it after some tiles of keys.
struct Block<'a> {
    sizes: &'a Sizes,
    /// Its first query.
    start: usize,
    /// From that query on.
    q: &'a [f32],
    keys: Columns<'a>,
    values: &'a [f32],
    /// A tile of S, and then of its exponentials.
    scores: &'a mut [f32],
    /// Of values, weighted by the exponentials.
    sums: &'a mut [f32],
    /// The largest score of each row so far.
    largest: [f32; LARGEST_BLOCK],
    /// The sum of each row's exponentials so far, relative to its largest score.
    totals: [f32; LARGEST_BLOCK],
}

impl Block<'_> {
    /// One head: leaves the sums of values, weighted by exponentials, and the totals of these.
    fn attend(&mut self, head: usize, log_sums: &mut [f32]) {
        let (sizes, start) = (self.sizes, self.start);
        let Sizes { heads, kv_heads, head_size, .. } = *sizes;
        let rows = block_size(sizes).min(sizes.queries - start);
        let stride = kv_heads * head_size;
        let q = Matrix::strided(&self.q[head * head_size..], rows, head_size, heads * head_size);
        let end = sizes.visible(start + rows - 1);
        self.largest.fill(f32::NEG_INFINITY);
        self.totals.fill(0.0);
        for first_key in (0..end).step_by(KEYS) {
            let count = KEYS.min(end - first_key);
            let k_transposed = self.keys.tile(sizes, head, first_key, count);
            let at = first_key * stride + head / sizes.group() * head_size;
            let v = Matrix::strided(&self.values[at..], count, head_size, stride);
            let scores = &mut self.scores[..rows * count];
            // S = Q Kᵀ / √d
            let s = MatrixMut::new(scores, rows, count);
            multiply(s, q, k_transposed, sizes.scale(), false);
            // P, but for its rows' totals: exp(S − the largest so far)
            let tile = Tile { sizes, start, first_key, count };
            let Block { largest, totals, sums, .. } = self;
            vectorized(Exponentials { tile, scores, sums, largest, totals });
            // O += P V′, likewise
            let p = Matrix::new(scores, rows, count);
            let sums = MatrixMut::new(self.sums, rows, head_size);
            multiply(sums, p, v, 1.0, first_key > 0);
        }
        for row in 0..rows {
            log_sums[row * heads + head] = self.largest[row] + self.totals[row].ln();
        }
    }

    /// O = sums / totals.
    fn store(&self, head: usize, output: &mut [f32]) {
        let Sizes { heads, head_size, .. } = *self.sizes;
        let rows = output.chunks_exact_mut(heads * head_size);
        let sums = self.sums.chunks_exact(head_size).zip(&self.totals);
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
    tile: Tile<'a>,
    scores: &'a mut [f32],
    sums: &'a mut [f32],
    largest: &'a mut [f32],
    totals: &'a mut [f32],
}

impl Body for Exponentials<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Exponentials { tile, scores, sums, largest, totals } = self;
        let rows = scores.chunks_exact_mut(tile.count);
        let sums = sums.chunks_exact_mut(tile.sizes.head_size);
        let state = largest.iter_mut().zip(totals);
        for (row, ((scores, sums), (largest, total))) in rows.zip(sums).zip(state).enumerate() {
            let (scores, hidden) = scores.split_at_mut(tile.visible(row));
            hidden.fill(0.0);
            let before = *largest;
            *largest = larger(before, maximum(scores));
            scores.iter_mut().for_each(|score| *score = exp(*score - *largest));
            if tile.first_key > 0 && before < *largest {
                let shrink = exp(before - *largest);
                sums.iter_mut().for_each(|sum| *sum *= shrink);
                *total *= shrink;
            }
            *total += sum(scores);
        }
    }
}

/// O += c (V₁ − V), position by position; `sizes` are heads, kv heads and the head size.
pub fn add_fidelity(sizes: [usize; 3], c: f32, v: &[f32], first: &[f32], output: &mut [f32]) {
    let [heads, kv_heads, head_size] = sizes;
    let width = kv_heads * head_size;
    let positions = v.chunks_exact(width).zip(first.chunks_exact(width));
    let rows = output.chunks_exact_mut(heads * head_size);
    vectorized(|| {
        for (output, (v, first)) in rows.zip(positions) {
            let values = v.chunks_exact(head_size).zip(first.chunks_exact(head_size));
            let groups = output.chunks_exact_mut(heads / kv_heads * head_size);
            for (group, (v, first)) in groups.zip(values) {
                for output in group.chunks_exact_mut(head_size) {
                    let pairs = v.iter().zip(first);
                    output.iter_mut().zip(pairs).for_each(|(y, (v, v1))| *y += c * (v1 - v));
                }
            }
        }
    });
}
