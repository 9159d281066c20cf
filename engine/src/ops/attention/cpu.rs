//! Attention on the CPU: tiles of scores through matrix products, with the softmax of a block of
//! queries kept up as its tiles of keys go by ("online softmax": Milakov & Gimelshein 2018).

use super::sizes::Sizes;
use crate::device::ViewMut;
use crate::device::cpu::math::exp;
use crate::device::cpu::products::{Matrix, MatrixMut, multiply};
use crate::device::cpu::simd::{Body, larger, maximum, sum, vectorized};
use rayon::prelude::*;

/// The queries of a block: enough for products to run well, few enough that little work above the
/// diagonal of a causal mask is wasted.
const BLOCK: usize = 64;
/// The keys of a tile: with a block's queries, scores that stay in the L2 cache.
const KEYS: usize = 256;

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
        let blocks = output.par_chunks_mut(BLOCK * row);
        let blocks = blocks.zip(log_sums.par_chunks_mut(BLOCK * heads)).enumerate();
        let scratch = || ForwardScratch::new(sizes);
        blocks.for_each_init(scratch, |scratch, (block, (output, log_sums))| {
            let start = block * BLOCK;
            let q = &piece(q, index, queries * row)[start * row..];
            for head in 0..heads {
                let values = mixed.as_deref().unwrap_or(v);
                scratch.attend(sizes, start, head, [q, k, values], log_sums);
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

fn piece(x: &[f32], index: usize, size: usize) -> &[f32] {
    &x[index * size..(index + 1) * size]
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
    largest: [f32; BLOCK],
    /// The sum of each row's exponentials so far, relative to its largest score.
    totals: [f32; BLOCK],
}

impl ForwardScratch {
    fn new(sizes: &Sizes) -> ForwardScratch {
        let block = BLOCK.min(sizes.queries);
        ForwardScratch {
            scores: vec![0.0; block * KEYS.min(sizes.keys)],
            output: vec![0.0; block * sizes.head_size],
            largest: [0.0; BLOCK],
            totals: [0.0; BLOCK],
        }
    }

    /// One head of the block of queries that starts at `start`: leaves the sums of values,
    /// weighted by exponentials, in `output` and their totals in `totals`.
    fn attend(
        &mut self,
        sizes: &Sizes,
        start: usize,
        head: usize,
        [q, k, v]: [&[f32]; 3],
        log_sums: &mut [f32],
    ) {
        let Sizes { heads, kv_heads, head_size, .. } = *sizes;
        let rows = BLOCK.min(sizes.queries - start);
        let stride = kv_heads * head_size;
        let q = Matrix::strided(&q[head * head_size..], rows, head_size, heads * head_size);
        let end = sizes.visible(start + rows - 1);
        self.largest.fill(f32::NEG_INFINITY);
        self.totals.fill(0.0);
        for first_key in (0..end).step_by(KEYS) {
            let count = KEYS.min(end - first_key);
            let at = first_key * stride + head / sizes.group() * head_size;
            let k = Matrix::strided(&k[at..], count, head_size, stride);
            let v = Matrix::strided(&v[at..], count, head_size, stride);
            let scores = MatrixMut::new(&mut self.scores, rows, count);
            multiply(scores, q, k.transposed(), sizes.scale(), false);
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

/// A tile of scores: the rows from query `start` on by `count` keys from `first_key` on.
#[derive(Clone, Copy)]
struct Visible<'a> {
    sizes: &'a Sizes,
    start: usize,
    first_key: usize,
    count: usize,
}

impl Visible<'_> {
    /// How many keys of the tile, from its first on, a row of it sees.
    #[inline(always)]
    fn keys(&self, row: usize) -> usize {
        self.sizes.visible(self.start + row).saturating_sub(self.first_key).min(self.count)
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

/// Turns a tile of scores into P.
struct Weights<'a> {
    visible: Visible<'a>,
    scores: &'a mut [f32],
    log_sums: &'a [f32],
}

impl Body for Weights<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let rows = self.scores.chunks_exact_mut(self.visible.count).zip(self.log_sums);
        for (row, (scores, log_sum)) in rows.enumerate() {
            let (scores, hidden) = scores.split_at_mut(self.visible.keys(row));
            scores.iter_mut().for_each(|score| *score = exp(*score - log_sum));
            hidden.fill(0.0);
        }
    }
}

/// Turns a tile of dP into dS.
struct Slopes<'a> {
    slopes: &'a mut [f32],
    weights: &'a [f32],
    count: usize,
    row_sums: &'a [f32],
}

impl Body for Slopes<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let weights = self.weights.chunks_exact(self.count);
        let rows = self.slopes.chunks_exact_mut(self.count).zip(weights);
        for ((slopes, weights), row_sum) in rows.zip(self.row_sums) {
            let pairs = slopes.iter_mut().zip(weights);
            pairs.for_each(|(slope, p)| *slope = p * (*slope - row_sum));
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

/// What backward reads.
#[derive(Clone, Copy)]
pub(super) struct Operands<'a> {
    pub q: &'a [f32],
    pub k: &'a [f32],
    pub v: &'a [f32],
    pub gradient: &'a [f32],
    pub log_sums: &'a [f32],
    pub row_sums: &'a [f32],
}

/// The gradients of q, k and v, of which some may not be wanted.
pub(super) fn backward(sizes: &Sizes, from: Operands, results: [Option<&mut ViewMut>; 3]) {
    let Sizes { batch, kv_heads, head_size, .. } = *sizes;
    let add = results.each_ref().map(|result| result.as_ref().is_some_and(|view| view.add));
    let [dq, dk, dv] = results.map(|result| batches(result, batch));
    let widths = [sizes.group() * head_size, head_size, head_size];
    let all = dq.into_par_iter().zip(dk).zip(dv).enumerate();
    all.for_each(|(index, ((dq, dk), dv))| {
        let part = |x| piece(x, index, <[f32]>::len(x) / batch);
        let from = Operands {
            q: part(from.q),
            k: part(from.k),
            v: part(from.v),
            gradient: part(from.gradient),
            log_sums: part(from.log_sums),
            row_sums: part(from.row_sums),
        };
        let [dq, dk, dv] = [(dq, widths[0]), (dk, widths[1]), (dv, widths[2])]
            .map(|(x, width)| rows_by_head(x, kv_heads, width));
        let heads = dq.into_par_iter().zip(dk).zip(dv).enumerate();
        let scratch = || BackwardScratch::new(sizes);
        heads.for_each_init(scratch, |scratch, (kv_head, ((dq, dk), dv))| {
            scratch.head(sizes, kv_head, &from, [dq, dk, dv], add);
        });
    });
}

/// A result cut into batches; empty ones if it is not wanted.
fn batches<'a>(result: Option<&'a mut ViewMut>, batch: usize) -> Vec<&'a mut [f32]> {
    match result {
        Some(view) => view.data.chunks_exact_mut(view.data.len() / batch).collect(),
        None => (0..batch).map(|_| <&mut [f32]>::default()).collect(),
    }
}

/// Rows of `width` sorted by the head that they belong to: so each head's can go to its own task.
fn rows_by_head(x: &mut [f32], heads: usize, width: usize) -> Vec<Vec<&mut [f32]>> {
    let positions = x.len() / (heads * width);
    let mut rows: Vec<Vec<_>> = (0..heads).map(|_| Vec::with_capacity(positions)).collect();
    for position in x.chunks_exact_mut(heads * width) {
        rows.iter_mut().zip(position.chunks_exact_mut(width)).for_each(|(to, row)| to.push(row));
    }
    rows
}

/// The memory that a thread needs for the gradients of one kv head.
struct BackwardScratch {
    /// A tile of P.
    weights: Vec<f32>,
    /// A tile of dP, and then of dS.
    slopes: Vec<f32>,
    dq: Vec<f32>,
    dk: Vec<f32>,
    dv: Vec<f32>,
}

impl BackwardScratch {
    fn new(sizes: &Sizes) -> BackwardScratch {
        let rows = BLOCK.min(sizes.queries);
        let tile = rows * KEYS.min(sizes.keys);
        let of_keys = sizes.keys * sizes.head_size;
        BackwardScratch {
            weights: vec![0.0; tile],
            slopes: vec![0.0; tile],
            dq: vec![0.0; rows * sizes.head_size],
            dk: vec![0.0; of_keys],
            dv: vec![0.0; of_keys],
        }
    }

    /// The gradients of one kv head and of the query heads that use it, into rows of dq, dk, dv.
    fn head(
        &mut self,
        sizes: &Sizes,
        kv_head: usize,
        from: &Operands,
        [mut dq, dk, dv]: [Vec<&mut [f32]>; 3],
        add: [bool; 3],
    ) {
        let wants = [!dq.is_empty(), !dk.is_empty(), !dv.is_empty()];
        let head_size = sizes.head_size;
        self.dk.fill(0.0);
        self.dv.fill(0.0);
        for member in 0..sizes.group() {
            let columns = member * head_size..(member + 1) * head_size;
            for start in (0..sizes.queries).step_by(BLOCK) {
                self.block(sizes, start, kv_head * sizes.group() + member, from, wants);
                let rows = dq.iter_mut().skip(start).map(|row| &mut row[columns.clone()]);
                write_rows(rows, &self.dq, head_size, add[0]);
            }
        }
        write_rows(dk.into_iter(), &self.dk, head_size, add[1]);
        write_rows(dv.into_iter(), &self.dv, head_size, add[2]);
    }

    /// One query head's block of queries: makes its part of dq, and adds to dk and dv.
    fn block(
        &mut self,
        sizes: &Sizes,
        start: usize,
        head: usize,
        from: &Operands,
        [wants_q, wants_k, wants_v]: [bool; 3],
    ) {
        let Sizes { heads, kv_heads, head_size, .. } = *sizes;
        let rows = BLOCK.min(sizes.queries - start);
        let (row, stride) = (heads * head_size, kv_heads * head_size);
        let block = |x| {
            let at: &[f32] = x;
            Matrix::strided(&at[start * row + head * head_size..], rows, head_size, row)
        };
        let (q, gradient) = (block(from.q), block(from.gradient));
        // A number a row of this head, side by side.
        let [mut log_sums, mut row_sums] = [[0.0; BLOCK]; 2];
        for index in 0..rows {
            let at = (start + index) * heads + head;
            (log_sums[index], row_sums[index]) = (from.log_sums[at], from.row_sums[at]);
        }
        let end = sizes.visible(start + rows - 1);
        for first_key in (0..end).step_by(KEYS) {
            let count = KEYS.min(end - first_key);
            let at = first_key * stride + head / sizes.group() * head_size;
            let k = Matrix::strided(&from.k[at..], count, head_size, stride);
            let v = Matrix::strided(&from.v[at..], count, head_size, stride);
            let of_keys = first_key * head_size..(first_key + count) * head_size;
            let weights = MatrixMut::new(&mut self.weights, rows, count);
            multiply(weights, q, k.transposed(), sizes.scale(), false);
            let visible = Visible { sizes, start, first_key, count };
            let scores = &mut self.weights[..rows * count];
            vectorized(Weights { visible, scores, log_sums: &log_sums[..rows] });
            let weights = Matrix::new(&self.weights, rows, count);
            if wants_v {
                let dv = MatrixMut::new(&mut self.dv[of_keys.clone()], count, head_size);
                multiply(dv, weights.transposed(), gradient, 1.0, true);
            }
            if !wants_q && !wants_k {
                continue;
            }
            let slopes = MatrixMut::new(&mut self.slopes, rows, count);
            multiply(slopes, gradient, v.transposed(), 1.0, false);
            let slopes = &mut self.slopes[..rows * count];
            let row_sums = &row_sums[..rows];
            vectorized(Slopes { slopes, weights: &self.weights, count, row_sums });
            let slopes = Matrix::new(&self.slopes, rows, count);
            if wants_k {
                let dk = MatrixMut::new(&mut self.dk[of_keys], count, head_size);
                multiply(dk, slopes.transposed(), q, sizes.scale(), true);
            }
            if wants_q {
                let dq = MatrixMut::new(&mut self.dq, rows, head_size);
                multiply(dq, slopes, k, sizes.scale(), first_key > 0);
            }
        }
    }
}

/// Writes `from`, row by row, to rows that lie apart, or adds it to them.
fn write_rows<'a>(
    rows: impl Iterator<Item = &'a mut [f32]>,
    from: &[f32],
    width: usize,
    add: bool,
) {
    for (row, from) in rows.zip(from.chunks_exact(width)) {
        if add {
            row.iter_mut().zip(from).for_each(|(y, x)| *y += x);
        } else {
            row.copy_from_slice(from);
        }
    }
}
