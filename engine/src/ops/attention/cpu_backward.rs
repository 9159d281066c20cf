//! The derivative of plain attention on the CPU, in one pass over blocks of queries for each kv
//! head: a task of its own, so that nothing is summed in an order that could change.

use super::sizes::Sizes;
use super::tiles::{Columns, KEYS, LARGEST_BLOCK, Visible, block_size, piece};
use crate::device::ViewMut;
use crate::device::cpu::math::exp;
use crate::device::cpu::products::{Matrix, MatrixMut, multiply};
use crate::device::cpu::simd::{Body, vectorized};
use rayon::prelude::*;

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
        let columns = [from.k, from.v].map(|x| Columns::new(sizes, x));
        let [dq, dk, dv] = [(dq, widths[0]), (dk, widths[1]), (dv, widths[2])]
            .map(|(x, width)| rows_by_head(x, kv_heads, width));
        let heads = dq.into_par_iter().zip(dk).zip(dv).enumerate();
        let scratch = || BackwardScratch::new(sizes);
        heads.for_each_init(scratch, |scratch, (kv_head, ((dq, dk), dv))| {
            scratch.head(sizes, kv_head, &from, &columns, [dq, dk, dv], add);
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
        let rows = block_size(sizes);
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
        columns: &[Columns; 2],
        [mut dq, dk, dv]: [Vec<&mut [f32]>; 3],
        add: [bool; 3],
    ) {
        let needs = [!dq.is_empty(), !dk.is_empty(), !dv.is_empty()];
        let head_size = sizes.head_size;
        self.dk.fill(0.0);
        self.dv.fill(0.0);
        for member in 0..sizes.group() {
            let channels = member * head_size..(member + 1) * head_size;
            for start in (0..sizes.queries).step_by(block_size(sizes)) {
                self.block(sizes, start, kv_head * sizes.group() + member, from, columns, needs);
                let rows = dq.iter_mut().skip(start).map(|row| &mut row[channels.clone()]);
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
        columns: &[Columns; 2],
        [wants_q, wants_k, wants_v]: [bool; 3],
    ) {
        let Sizes { heads, kv_heads, head_size, .. } = *sizes;
        let rows = block_size(sizes).min(sizes.queries - start);
        let (row, stride) = (heads * head_size, kv_heads * head_size);
        let block = |x| {
            let at: &[f32] = x;
            Matrix::strided(&at[start * row + head * head_size..], rows, head_size, row)
        };
        let (q, gradient) = (block(from.q), block(from.gradient));
        // A number a row of this head, side by side.
        let [mut log_sums, mut row_sums] = [[0.0; LARGEST_BLOCK]; 2];
        for index in 0..rows {
            let at = (start + index) * heads + head;
            (log_sums[index], row_sums[index]) = (from.log_sums[at], from.row_sums[at]);
        }
        let end = sizes.visible(start + rows - 1);
        for first_key in (0..end).step_by(KEYS) {
            let count = KEYS.min(end - first_key);
            let at = first_key * stride + head / sizes.group() * head_size;
            let k = Matrix::strided(&from.k[at..], count, head_size, stride);
            let [keys, values] =
                columns.each_ref().map(|x| x.tile(sizes, head, first_key, count));
            let of_keys = first_key * head_size..(first_key + count) * head_size;
            let weights = MatrixMut::new(&mut self.weights, rows, count);
            multiply(weights, q, keys, sizes.scale(), false);
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
            multiply(slopes, gradient, values, 1.0, false);
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
