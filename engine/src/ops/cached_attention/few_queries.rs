//! Attention of few queries over many keys: it takes the time that reading keys and values does, so each
//! is read once, as it lies in memory, by all query heads that share it.
//!
//! The keys are cut into parts of a fixed size, which threads share. A part leaves for each query head its
//! largest score, the sum of its exponentials relative to that, and the values that these weigh; in the
//! end the parts are brought to one measure and added in their order.

use crate::device::cpu::few_rows::Single;
use crate::device::cpu::half::{Bf16, F16};
use crate::device::cpu::math::exp;
use crate::device::cpu::scratch::{Slots, cut};
use crate::device::cpu::simd::{Body, maximum, sum, vectorized};
use crate::device::cpu::tasks::Tasks;
use crate::half;
use crate::ops::attention::fused::Sizes;
use rayon::prelude::*;
use std::marker::PhantomData;

/// The keys of a part.
pub(super) const PART: usize = 256;

/// One attention of one sequence. Keys and values are words, rows of (kv heads, head size).
pub(super) struct FewQueries<'a> {
    pub sizes: Sizes,
    pub q: &'a [f32],
    pub k: &'a [u32],
    pub v: &'a [u32],
}

/// How many numbers of working memory it takes.
pub(super) fn scratch(sizes: &Sizes, threads: usize) -> usize {
    let parts = sizes.keys.div_ceil(PART);
    let tasks = sizes.queries * sizes.kv_heads * parts;
    tasks * sums_size(sizes) + Slots::elements(task_size(sizes), tasks, threads)
}

/// What a part leaves: for each query head that shares the key its largest score, the sum of its
/// exponentials, and the values.
fn sums_size(sizes: &Sizes) -> usize {
    sizes.group() * (2 + sizes.head_size)
}

/// The queries, and the scores.
fn task_size(sizes: &Sizes) -> usize {
    sizes.group() * (sizes.head_size + PART)
}

impl FewQueries<'_> {
    pub fn attend<F: Words>(&self, output: &mut [f32], mut scratch: &mut [f32]) {
        let sizes = &self.sizes;
        let Sizes { queries, kv_heads, head_size, .. } = *sizes;
        let parts = sizes.keys.div_ceil(PART);
        let sums = cut(&mut scratch, queries * kv_heads * parts * sums_size(sizes));
        let slots = Slots::new(scratch, task_size(sizes));
        sums.par_chunks_exact_mut(sums_size(sizes)).enumerate().each(|(task, sums)| {
            let (part, kv_head) = (task % parts, task / parts % kv_heads);
            let query = task / parts / kv_heads;
            let first = part * PART;
            let end = sizes.visible(query).min(first + PART);
            let mut memory = slots.take();
            let task = Part::<F> {
                keys: self.head(self.k, kv_head),
                values: self.head(self.v, kv_head),
                first,
                end,
                sizes,
                q: &self.q[(query * kv_heads + kv_head) * sizes.group() * head_size..],
                memory: &mut memory,
                sums,
                format: PhantomData,
            };
            vectorized(task);
        });
        let size = sums_size(sizes) / sizes.group();
        let rows = output.chunks_exact_mut(sizes.group() * head_size);
        for (heads, sums) in rows.zip(sums.chunks_exact(parts * sums_size(sizes))) {
            for (head, output) in heads.chunks_exact_mut(head_size).enumerate() {
                let parts = sums.chunks_exact(sums_size(sizes)).map(|part| &part[head * size..]);
                vectorized(|| combine::<F>(parts.map(|part| &part[..size]), output));
            }
        }
    }

    /// The words of a kv head, from its first row on.
    fn head<'a>(&self, words: &'a [u32], kv_head: usize) -> &'a [u32] {
        &words[kv_head * words.len() / self.sizes.keys / self.sizes.kv_heads..]
    }
}

/// The numbers of a word, one after another, in plain code that becomes vector code.
pub(super) trait Words {
    /// How many there are in each.
    const COUNT: usize;

    /// Number `which`.
    fn number(word: u32, which: usize) -> f32;
}

impl Words for Single {
    const COUNT: usize = 1;

    #[inline(always)]
    fn number(word: u32, _which: usize) -> f32 {
        f32::from_bits(word)
    }
}

impl Words for Bf16 {
    const COUNT: usize = 2;

    #[inline(always)]
    fn number(word: u32, which: usize) -> f32 {
        f32::from_bits(if which == 0 { word << 16 } else { word & 0xffff_0000 })
    }
}

impl Words for F16 {
    const COUNT: usize = 2;

    #[inline(always)]
    fn number(word: u32, which: usize) -> f32 {
        half::f16(if which == 0 { word & 0xffff } else { word >> 16 })
    }
}

/// One query position, one kv head and one part of the keys.
struct Part<'a, F> {
    keys: &'a [u32],
    values: &'a [u32],
    first: usize,
    end: usize,
    sizes: &'a Sizes,
    /// The queries of the group.
    q: &'a [f32],
    memory: &'a mut [f32],
    sums: &'a mut [f32],
    format: PhantomData<F>,
}

impl<F: Words> Body for Part<'_, F> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Part { keys, values, first, end, sizes, q, memory, sums, .. } = self;
        let (size, group) = (sizes.head_size, sizes.group());
        let words = size / F::COUNT;
        let stride = sizes.kv_heads * words;
        let (queries, scores) = memory.split_at_mut(group * size);
        order::<F>(&q[..group * size], size, queries);
        let count = end.saturating_sub(first);
        for key in 0..count {
            let key_words = &keys[(first + key) * stride..][..words];
            for (head, q) in queries.chunks_exact(size).enumerate() {
                scores[head * PART + key] = dot::<F>(q, key_words) * sizes.scale();
            }
        }
        for (head, sums) in sums.chunks_exact_mut(2 + size).enumerate() {
            let scores = &mut scores[head * PART..][..count];
            let largest = maximum(scores);
            scores.iter_mut().for_each(|score| *score = exp(*score - largest));
            sums[0] = largest;
            sums[1] = sum(scores);
            sums[2..].fill(0.0);
        }
        for key in 0..count {
            let value = &values[(first + key) * stride..][..words];
            for (head, sums) in sums.chunks_exact_mut(2 + size).enumerate() {
                add::<F>(&mut sums[2..], scores[head * PART + key], value);
            }
        }
    }
}

/// Puts heads in the order in which words hold numbers: those that are first in their word, and then those
/// that are second.
#[inline(always)]
fn order<F: Words>(q: &[f32], size: usize, ordered: &mut [f32]) {
    for (q, ordered) in q.chunks_exact(size).zip(ordered.chunks_exact_mut(size)) {
        for (which, part) in ordered.chunks_exact_mut(size / F::COUNT).enumerate() {
            let numbers = q.iter().skip(which).step_by(F::COUNT);
            part.iter_mut().zip(numbers).for_each(|(to, from)| *to = *from);
        }
    }
}

/// The sum of products of an ordered head with the numbers of words.
#[inline(always)]
fn dot<F: Words>(q: &[f32], words: &[u32]) -> f32 {
    const LANES: usize = 16;
    let mut totals = [0.0_f32; LANES];
    for (which, q) in q.chunks_exact(words.len()).enumerate() {
        let (blocks, rest) = words.as_chunks::<LANES>();
        let (q_blocks, q_rest) = q.as_chunks::<LANES>();
        for (words, q) in blocks.iter().zip(q_blocks) {
            for lane in 0..LANES {
                totals[lane] += F::number(words[lane], which) * q[lane];
            }
        }
        for (lane, (word, q)) in rest.iter().zip(q_rest).enumerate() {
            totals[lane] += F::number(*word, which) * q;
        }
    }
    sum(&totals)
}

/// sums += weight · the numbers of words, in the order of [`order`].
#[inline(always)]
fn add<F: Words>(sums: &mut [f32], weight: f32, words: &[u32]) {
    for (which, sums) in sums.chunks_exact_mut(words.len()).enumerate() {
        let pairs = sums.iter_mut().zip(words);
        pairs.for_each(|(sum, word)| *sum += weight * F::number(*word, which));
    }
}

/// The output of one head from what each part left.
#[inline(always)]
fn combine<'a, F: Words>(parts: impl Iterator<Item = &'a [f32]> + Clone, output: &mut [f32]) {
    let largest = parts.clone().map(|part| part[0]).fold(f32::NEG_INFINITY, f32::max);
    // A part without keys that are seen has −∞.
    let measure = |part: &[f32]| if part[0] == f32::NEG_INFINITY { 0.0 } else { exp(part[0] - largest) };
    let total: f32 = parts.clone().map(|part| measure(part) * part[1]).sum();
    output.fill(0.0);
    let half = output.len() / F::COUNT;
    for part in parts {
        let scale = measure(part) / total;
        for (which, values) in part[2..].chunks_exact(half).enumerate() {
            let output = output.iter_mut().skip(which).step_by(F::COUNT);
            output.zip(values).for_each(|(y, value)| *y += scale * value);
        }
    }
}
