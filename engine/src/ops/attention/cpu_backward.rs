//! The derivative of plain attention on the CPU, in one pass over blocks of queries for each kv
//! head: a task of its own, so that nothing is summed in an order that could change.
//!
//! Each task makes its gradients side by side, as (batch, kv heads, ...); then they are brought into
//! the order of the results.

use super::sizes::Sizes;
use super::tiles::{Columns, KEYS, LARGEST_BLOCK, Tile, block_size, part, tile_size};
use crate::device::ViewMut;
use crate::device::cpu::math::exp;
use crate::device::cpu::products::{Matrix, MatrixMut, multiply};
use crate::device::cpu::scratch::{Slots, cut};
use crate::device::cpu::simd::{self, Body, vectorized};
use crate::device::cpu::tasks::Tasks;
use rayon::prelude::*;

/// What backward reads: q, k, V′, G = dO, and two numbers a row: log Σ exp(S), and D.
#[derive(Clone, Copy)]
pub(super) struct Operands<'a> {
    pub q: &'a [f32],
    pub k: &'a [f32],
    pub v: &'a [f32],
    pub gradient: &'a [f32],
    pub log_sums: &'a [f32],
    pub row_sums: &'a [f32],
}

impl<'a> Operands<'a> {
    /// Those of one batch.
    fn of_batch(&self, index: usize, batch: usize) -> Operands<'a> {
        let of_batch = |x: &'a [f32]| part(x, index, x.len() / batch);
        Operands {
            q: of_batch(self.q),
            k: of_batch(self.k),
            v: of_batch(self.v),
            gradient: of_batch(self.gradient),
            log_sums: of_batch(self.log_sums),
            row_sums: of_batch(self.row_sums),
        }
    }
}

/// How many numbers of working memory [`backward`] takes: transposed copies of K and V′, the
/// gradients in the order of the tasks, and two tiles a thread.
pub(super) fn scratch(sizes: &Sizes, needs: [bool; 3], threads: usize) -> usize {
    let tasks = sizes.batch * sizes.kv_heads;
    let of_keys = tasks * sizes.keys * sizes.head_size;
    let copies = if Columns::are_copied(sizes) { 2 * of_keys } else { 0 };
    let made: usize = made_sizes(sizes, needs).iter().map(|size| tasks * size).sum();
    copies + made + Slots::elements(2 * tile_size(sizes), tasks, threads)
}

/// The sizes of dQ, dK and dV of one task; 0 where it isn't needed.
fn made_sizes(sizes: &Sizes, needs: [bool; 3]) -> [usize; 3] {
    let of_keys = sizes.keys * sizes.head_size;
    let all = [sizes.group() * sizes.queries * sizes.head_size, of_keys, of_keys];
    [0, 1, 2].map(|input| if needs[input] { all[input] } else { 0 })
}

/// The gradients of q, k and v, of which some may not be needed.
pub(super) fn backward(
    sizes: &Sizes,
    from: Operands,
    results: [Option<&mut ViewMut>; 3],
    mut scratch: &mut [f32],
) {
    let Sizes { batch, kv_heads, .. } = *sizes;
    let needs = results.each_ref().map(Option::is_some);
    let copied = if Columns::are_copied(sizes) { from.k.len() } else { 0 };
    let keys = Columns::new(sizes, from.k, cut(&mut scratch, copied));
    let values = Columns::new(sizes, from.v, cut(&mut scratch, copied));
    let tasks = batch * kv_heads;
    let made_sizes = made_sizes(sizes, needs);
    let made = made_sizes.map(|size| cut(&mut scratch, tasks * size));
    let slots = Slots::new(scratch, 2 * tile_size(sizes));
    let [dq, dk, dv] = [0, 1, 2].map(|input| made_sizes[input]);
    let [made_q, made_k, made_v] = made;
    let all = simd::chunks_or_empty(made_q, dq, tasks)
        .into_par_iter()
        .zip(simd::chunks_or_empty(made_k, dk, tasks))
        .zip(simd::chunks_or_empty(made_v, dv, tasks));
    all.enumerate().each(|(task, ((dq, dk), dv))| {
        let (index, kv_head) = (task / kv_heads, task % kv_heads);
        let mut memory = slots.take();
        let (p, ds) = memory.split_at_mut(tile_size(sizes));
        let from = from.of_batch(index, batch);
        let [keys, values] = [keys, values].map(|columns| columns.of_batch(sizes, index));
        Head { sizes, kv_head, from, keys, values, p, ds, dq, dk, dv }.run();
    });
    let members = [sizes.group(), 1, 1];
    for ((result, made), members) in results.into_iter().zip([made_q, made_k, made_v]).zip(members)
    {
        if let Some(result) = result {
            bring_in_order(sizes, made, members, result);
        }
    }
}

/// One kv head of one batch, with the query heads that use it.
struct Head<'a> {
    sizes: &'a Sizes,
    kv_head: usize,
    from: Operands<'a>,
    keys: Columns<'a>,
    values: Columns<'a>,
    /// A tile of P.
    p: &'a mut [f32],
    /// A tile of dP, and then of dS.
    ds: &'a mut [f32],
    /// (query heads, queries, head size); empty if it isn't needed, as are the others.
    dq: &'a mut [f32],
    /// (keys, head size)
    dk: &'a mut [f32],
    dv: &'a mut [f32],
}

impl Head<'_> {
    fn run(&mut self) {
        self.dk.fill(0.0);
        self.dv.fill(0.0);
        for member in 0..self.sizes.group() {
            for start in (0..self.sizes.queries).step_by(block_size(self.sizes)) {
                self.block(member, start);
            }
        }
    }

    /// A query head's block of queries: makes its part of dQ, and adds to dK and dV.
    fn block(&mut self, member: usize, start: usize) {
        let (sizes, from) = (self.sizes, self.from);
        let Sizes { queries, heads, kv_heads, head_size, .. } = *sizes;
        let head = self.kv_head * sizes.group() + member;
        let rows = block_size(sizes).min(queries - start);
        let (row, stride) = (heads * head_size, kv_heads * head_size);
        let [q, g] = [from.q, from.gradient]
            .map(|x| Matrix::strided(&x[start * row + head * head_size..], rows, head_size, row));
        let [log_sums, row_sums] = self.of_rows(head, start, rows);
        let end = sizes.visible(start + rows - 1);
        for first_key in (0..end).step_by(KEYS) {
            let count = KEYS.min(end - first_key);
            let of_keys = first_key * head_size..(first_key + count) * head_size;
            let k_transposed = self.keys.tile(sizes, head, first_key, count);
            let p = &mut self.p[..rows * count];
            // S = Q Kᵀ / √d
            multiply(MatrixMut::new(p, rows, count), q, k_transposed, sizes.scale(), false);
            // P = exp(S − log Σ exp(S))
            let tile = Tile { sizes, start, first_key, count };
            vectorized(Probabilities { tile, scores: p, log_sums: &log_sums[..rows] });
            let p = Matrix::new(&self.p[..rows * count], rows, count);
            if !self.dv.is_empty() {
                // dV′ += Pᵀ G
                let dv = MatrixMut::new(&mut self.dv[of_keys.clone()], count, head_size);
                multiply(dv, p.transposed(), g, 1.0, true);
            }
            if self.dq.is_empty() && self.dk.is_empty() {
                continue;
            }
            let v_transposed = self.values.tile(sizes, head, first_key, count);
            let ds = &mut self.ds[..rows * count];
            // dP = G V′ᵀ
            multiply(MatrixMut::new(ds, rows, count), g, v_transposed, 1.0, false);
            // dS = P ⊙ (dP − D)
            let row_sums = &row_sums[..rows];
            vectorized(ScoreGradients { ds, p: &self.p[..rows * count], count, row_sums });
            let ds = Matrix::new(&self.ds[..rows * count], rows, count);
            if !self.dk.is_empty() {
                // dK += dSᵀ Q / √d
                let dk = MatrixMut::new(&mut self.dk[of_keys], count, head_size);
                multiply(dk, ds.transposed(), q, sizes.scale(), true);
            }
            if !self.dq.is_empty() {
                // dQ += dS K / √d
                let at = first_key * stride + self.kv_head * head_size;
                let k = Matrix::strided(&from.k[at..], count, head_size, stride);
                let dq = &mut self.dq[(member * queries + start) * head_size..];
                let dq = MatrixMut::new(dq, rows, head_size);
                multiply(dq, ds, k, sizes.scale(), first_key > 0);
            }
        }
    }

    /// log Σ exp(S) and D of some rows of a head, side by side.
    fn of_rows(&self, head: usize, start: usize, rows: usize) -> [[f32; LARGEST_BLOCK]; 2] {
        [self.from.log_sums, self.from.row_sums].map(|numbers| {
            let mut of_head = [0.0; LARGEST_BLOCK];
            for (row, number) in of_head[..rows].iter_mut().enumerate() {
                *number = numbers[(start + row) * self.sizes.heads + head];
            }
            of_head
        })
    }
}

/// (batch, kv heads, members, positions, head size) to (batch, positions, kv heads, members, head
/// size), written or added.
fn bring_in_order(sizes: &Sizes, made: &[f32], members: usize, result: &mut ViewMut) {
    let Sizes { batch, kv_heads, head_size, .. } = *sizes;
    let heads = kv_heads * members;
    let positions = made.len() / (batch * heads * head_size);
    let add = result.add;
    simd::for_rows(result, heads * head_size, |first, rows| {
        for (index, row) in (first..).zip(rows.chunks_exact_mut(heads * head_size)) {
            let (batch, position) = (index / positions, index % positions);
            for (head, row) in row.chunks_exact_mut(head_size).enumerate() {
                let at = ((batch * heads + head) * positions + position) * head_size;
                let made = &made[at..at + head_size];
                if add {
                    row.iter_mut().zip(made).for_each(|(y, x)| *y += x);
                } else {
                    row.copy_from_slice(made);
                }
            }
        }
    });
}

/// Turns a tile of S into P.
struct Probabilities<'a> {
    tile: Tile<'a>,
    scores: &'a mut [f32],
    log_sums: &'a [f32],
}

impl Body for Probabilities<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let rows = self.scores.chunks_exact_mut(self.tile.count).zip(self.log_sums);
        for (row, (scores, log_sum)) in rows.enumerate() {
            let (scores, hidden) = scores.split_at_mut(self.tile.visible(row));
            scores.iter_mut().for_each(|score| *score = exp(*score - log_sum));
            hidden.fill(0.0);
        }
    }
}

/// Turns a tile of dP into dS.
struct ScoreGradients<'a> {
    ds: &'a mut [f32],
    p: &'a [f32],
    count: usize,
    row_sums: &'a [f32],
}

impl Body for ScoreGradients<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let p = self.p.chunks_exact(self.count);
        let rows = self.ds.chunks_exact_mut(self.count).zip(p);
        for ((ds, p), row_sum) in rows.zip(self.row_sums) {
            let pairs = ds.iter_mut().zip(p);
            pairs.for_each(|(ds, p)| *ds = p * (*ds - row_sum));
        }
    }
}
