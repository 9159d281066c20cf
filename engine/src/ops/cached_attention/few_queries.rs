//! Attention of few queries over many keys: it takes the time that reading keys and values does, so each
//! is read once, as it lies in memory, by all query heads that share it.
//!
//! The keys are cut into parts of a fixed size, which threads share. A part leaves for each query head its
//! largest score, the sum of its exponentials relative to that, and the values that these weigh; in the
//! end the parts are brought to one measure and added in their order.

use crate::device::cpu::few_rows::{Format, dots, prepare, prepared};
use crate::device::cpu::math::exp;
use crate::device::cpu::scratch::{Slots, cut};
use crate::device::cpu::simd::{
    Body, LANES, Simd, WithSimd, larger, maximum, sum, vectorized, with_vectors,
};
use crate::device::cpu::tasks::Tasks;
use crate::ops::attention::fused::Sizes;
use rayon::prelude::*;
use std::array::from_fn;
use std::marker::PhantomData;
use std::ops::Range;

/// The keys of a part.
pub(super) const PART: usize = 256;

/// One attention of one sequence. Keys and values are words: for each kv head the same number of rows.
pub(super) struct FewQueries<'a> {
    pub sizes: Sizes,
    pub q: &'a [f32],
    pub k: &'a [u32],
    pub v: &'a [u32],
}

/// How many numbers of working memory it takes, for words of any format.
pub(super) fn scratch(sizes: &Sizes, threads: usize) -> usize {
    let parts = sizes.keys.div_ceil(PART);
    let tasks = sizes.queries * sizes.kv_heads * parts;
    // A format of more numbers to a word may fill up more.
    let room = sizes.head_size.next_multiple_of(2 * LANES);
    let (sums, task) = (sums_size(sizes, room), task_size(sizes, room));
    tasks * sums + Slots::elements(task, tasks, threads)
}

/// What a part leaves: for each query head that shares the key its largest score, the sum of its
/// exponentials, and `room` for the values.
fn sums_size(sizes: &Sizes, room: usize) -> usize {
    sizes.group() * (2 + room)
}

/// The queries, with as much room for each, and the scores.
fn task_size(sizes: &Sizes, room: usize) -> usize {
    sizes.group() * (room + PART)
}

impl FewQueries<'_> {
    pub fn attend<F: Format>(&self, output: &mut [f32], mut scratch: &mut [f32]) {
        let sizes = &self.sizes;
        let Sizes { queries, kv_heads, head_size, .. } = *sizes;
        let (parts, room) = (sizes.keys.div_ceil(PART), prepared::<F>(head_size));
        let size = sums_size(sizes, room);
        let sums = cut(&mut scratch, queries * kv_heads * parts * size);
        let slots = Slots::new(scratch, task_size(sizes, room));
        sums.par_chunks_exact_mut(size).enumerate().each(|(task, sums)| {
            let (part, kv_head) = (task % parts, task / parts % kv_heads);
            let query = task / parts / kv_heads;
            let first = part * PART;
            let mut memory = slots.take();
            let (queries, scores) = memory.split_at_mut(sizes.group() * room);
            let q = &self.q[(query * kv_heads + kv_head) * sizes.group() * head_size..];
            let heads = q.chunks_exact(head_size).zip(queries.chunks_exact_mut(room));
            heads.for_each(|(q, ordered)| prepare::<F>(q, ordered));
            with_vectors(Part::<F> {
                keys: self.head(self.k, kv_head),
                values: self.head(self.v, kv_head),
                first,
                count: sizes.visible(query).saturating_sub(first).min(PART),
                sizes,
                room,
                queries,
                scores,
                sums,
                format: PhantomData,
            });
        });
        let groups = output.chunks_exact_mut(sizes.group() * head_size);
        for (output, sums) in groups.zip(sums.chunks_exact(parts * size)) {
            let format = PhantomData::<F>;
            vectorized(Combine { sums, size, head_size, output, format });
        }
    }

    /// The words of a kv head.
    fn head<'a>(&self, words: &'a [u32], kv_head: usize) -> &'a [u32] {
        words.chunks_exact(words.len() / self.sizes.kv_heads).nth(kv_head).expect("a head")
    }
}

/// Query heads that are computed at once: what they sum stays in registers.
const AT_ONCE: usize = 4;

/// Values that are gone through block by block while they stay in the L1 cache.
const TILE: usize = 64;

/// One query position, one kv head and one part of the keys.
struct Part<'a, F> {
    keys: &'a [u32],
    values: &'a [u32],
    /// The first key, and how many there are.
    first: usize,
    count: usize,
    sizes: &'a Sizes,
    /// The numbers of a head in the order in which words hold them, filled up.
    room: usize,
    /// The queries of the group, so ordered.
    queries: &'a [f32],
    /// Of each of them.
    scores: &'a mut [f32],
    sums: &'a mut [f32],
    format: PhantomData<F>,
}

impl<F: Format> WithSimd for Part<'_, F> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        // So many vectors are 16 numbers.
        match S::F32_LANES {
            16 => self.groups::<S, 1>(simd),
            8 => self.groups::<S, 2>(simd),
            4 => self.groups::<S, 4>(simd),
            _ => self.groups::<S, LANES>(simd),
        }
    }
}

impl<F: Format> Part<'_, F> {
    #[inline(always)]
    fn groups<S: Simd, const N: usize>(mut self, simd: S) {
        let group = self.sizes.group();
        for start in (0..group).step_by(AT_ONCE) {
            match group - start {
                1 => self.heads::<S, N, 1>(simd, start),
                2 => self.heads::<S, N, 2>(simd, start),
                3 => self.heads::<S, N, 3>(simd, start),
                _ => self.heads::<S, N, AT_ONCE>(simd, start),
            }
        }
    }

    /// `R` query heads from head `start` of the group on. Hot loops are plain, so that all of them is
    /// compiled for these vectors.
    #[inline(always)]
    fn heads<S: Simd, const N: usize, const R: usize>(&mut self, simd: S, start: usize) {
        let words = self.sizes.head_size / F::NUMBERS;
        let scale = self.sizes.scale();
        let q: [&[f32]; R] = from_fn(|row| &self.queries[(start + row) * self.room..][..self.room]);
        for key in 0..self.count {
            let key_words = &self.keys[(self.first + key) * words..][..words];
            let products = dots::<F, S, N, R>(simd, q, key_words);
            for (row, product) in products.iter().enumerate() {
                self.scores[(start + row) * PART + key] = product * scale;
            }
        }
        let head = 2 + self.room;
        for row in start..start + R {
            let scores = &mut self.scores[row * PART..][..self.count];
            let largest = maximum(scores);
            for score in scores.iter_mut() {
                *score = exp(*score - largest);
            }
            let sums = &mut self.sums[row * head..][..head];
            (sums[0], sums[1]) = (largest, sum(scores));
            sums[2..].fill(0.0);
        }
        for first in (0..self.count).step_by(TILE) {
            for block in 0..words.div_ceil(LANES) {
                let tile = first..self.count.min(first + TILE);
                self.add_values::<S, N, R>(simd, start, block, tile);
            }
        }
    }

    /// Adds block number `block` of 16 words of some values, weighted.
    #[inline(always)]
    fn add_values<S: Simd, const N: usize, const R: usize>(
        &mut self,
        simd: S,
        start: usize,
        block: usize,
        tile: Range<usize>,
    ) {
        let words = self.sizes.head_size / F::NUMBERS;
        let (begin, end) = (block * LANES, words.min((block + 1) * LANES));
        let (head, part) = (2 + self.room, self.room / F::NUMBERS);
        let place = |row: usize, which: usize| (start + row) * head + 2 + which * part + begin;
        let mut totals = [[[simd.splat_f32s(0.0); N]; 2]; R];
        for (row, totals) in totals.iter_mut().enumerate() {
            for (which, totals) in totals.iter_mut().enumerate().take(F::NUMBERS) {
                let sums = &self.sums[place(row, which)..][..LANES];
                totals.copy_from_slice(S::as_simd_f32s(sums).0);
            }
        }
        let mut last = [0; LANES];
        for key in tile {
            let value = &self.values[(self.first + key) * words..][begin..end];
            // What is no whole block is filled up with zeros.
            let value: &[u32] = if value.len() == LANES {
                value
            } else {
                last[..value.len()].copy_from_slice(value);
                &last
            };
            let value = &S::as_simd_u32s(value).0.as_chunks::<N>().0[0];
            for which in 0..F::NUMBERS {
                for n in 0..N {
                    let numbers = F::numbers(simd, value[n], which);
                    for (row, totals) in totals.iter_mut().enumerate() {
                        let weight = simd.splat_f32s(self.scores[(start + row) * PART + key]);
                        let total = &mut totals[which][n];
                        *total = simd.mul_add_e_f32s(numbers, weight, *total);
                    }
                }
            }
        }
        for (row, totals) in totals.iter().enumerate() {
            for (which, totals) in totals.iter().enumerate().take(F::NUMBERS) {
                let sums = &mut self.sums[place(row, which)..][..LANES];
                S::as_mut_simd_f32s(sums).0.copy_from_slice(totals);
            }
        }
    }
}

/// The outputs of the heads of one group from what each part left of them.
struct Combine<'a, F> {
    /// What all parts left.
    sums: &'a [f32],
    /// What one part left.
    size: usize,
    head_size: usize,
    output: &'a mut [f32],
    format: PhantomData<F>,
}

impl<F: Format> Body for Combine<'_, F> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Combine { sums, size, head_size, output, .. } = self;
        let head = size / (output.len() / head_size);
        for (index, output) in output.chunks_exact_mut(head_size).enumerate() {
            let of_head = |part: usize| &sums[part * size + index * head..][..head];
            let parts = sums.len() / size;
            let mut largest = f32::NEG_INFINITY;
            for part in 0..parts {
                largest = larger(largest, of_head(part)[0]);
            }
            let mut total = 0.0;
            output.fill(0.0);
            for part in 0..parts {
                let part = of_head(part);
                // Of a part of which no key is seen it is 0.
                let measure = exp(part[0] - largest);
                total += measure * part[1];
                let values = part[2..].chunks_exact((head - 2) / F::NUMBERS);
                for (which, values) in values.enumerate() {
                    let output = output.iter_mut().skip(which).step_by(F::NUMBERS);
                    output.zip(values).for_each(|(y, value)| *y += measure * value);
                }
            }
            output.iter_mut().for_each(|y| *y /= total);
        }
    }
}
