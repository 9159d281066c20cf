//! Vectorised loops. `vectorized` compiles its closure for each set of instructions (AVX2, AVX-512,
//! NEON) and runs the one that `instructions` chose, so that no compile flags are needed; plain
//! loops inside it become vector code. Sums keep 16 running totals, since a compiler may not
//! reorder additions by itself, in an order that does not depend on the instructions.

use super::instructions::arch;
use super::tasks::Tasks;

// Without links: rustdoc stumbles over those of what is re-exported in a private module.

/// What `with_vectors` runs, and the vectors that it is given.
pub use pulp::{Simd, WithSimd};

/// What `vectorized` runs: any closure without arguments, or a type of one's own.
pub use pulp::NullaryFnOnce as Body;
use rayon::prelude::*;

/// The elements that one task of a parallel loop handles: large enough to pay for the task, small
/// enough to stay in the L2 cache.
pub const CHUNK: usize = 16 * 1024;

/// The running totals of a sum.
pub const LANES: usize = 16;

/// Runs `body`, usually a closure, compiled for the processor's widest vectors.
///
/// Only what is inlined into it is. A compiler inlines a short closure; for a long one, write a
/// type that implements [`Body`] and mark its `call` with `#[inline(always)]`.
#[inline]
pub fn vectorized<R>(body: impl Body<Output = R>) -> R {
    arch().dispatch(body)
}

/// Runs loops that are written in vectors, for the processor's widest: where a compiler does not find
/// the vectors in plain loops.
#[inline]
pub fn with_vectors<R>(body: impl WithSimd<Output = R>) -> R {
    arch().dispatch(body)
}

/// Calls `body(start, chunk)` for fixed chunks of `output`, in parallel, vectorised.
pub fn for_chunks(output: &mut [f32], body: impl Fn(usize, &mut [f32]) + Sync) {
    if output.len() <= CHUNK {
        return vectorized(|| body(0, output));
    }
    output
        .par_chunks_mut(CHUNK)
        .enumerate()
        .each(|(index, chunk)| vectorized(|| body(index * CHUNK, chunk)));
}

/// Calls `body(first row, rows)` for fixed groups of whole rows of `width`, in parallel,
/// vectorised.
pub fn for_rows(output: &mut [f32], width: usize, body: impl Fn(usize, &mut [f32]) + Sync) {
    if output.is_empty() {
        return;
    }
    let rows = rows_per_task(width);
    if output.len() <= rows * width {
        return vectorized(|| body(0, output));
    }
    output
        .par_chunks_mut(rows * width)
        .enumerate()
        .each(|(index, chunk)| vectorized(|| body(index * rows, chunk)));
}

/// A loop over rows that is too long for a closure to be inlined (see [`vectorized`]).
pub trait Rows: Sync {
    /// Makes whole rows of the output, of which the first is number `first`. Implement it with
    /// `#[inline(always)]`.
    fn make(&self, first: usize, rows: &mut [f32]);
}

/// The same as [`for_rows`] for a long loop.
pub fn for_long_rows(output: &mut [f32], width: usize, body: &impl Rows) {
    let count = rows_per_task(width);
    let groups = output.par_chunks_mut((count * width).max(1)).enumerate();
    groups.each(|(index, rows)| vectorized(Group { body, first: index * count, rows }));
}

struct Group<'a, B> {
    body: &'a B,
    first: usize,
    rows: &'a mut [f32],
}

impl<B: Rows> Body for Group<'_, B> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        self.body.make(self.first, self.rows);
    }
}

/// How many tasks [`for_long_rows`] makes of so many rows.
pub fn row_tasks(rows: usize, width: usize) -> usize {
    rows.div_ceil(rows_per_task(width))
}

/// How many rows of `width` elements one task handles.
pub fn rows_per_task(width: usize) -> usize {
    (CHUNK / width.max(1)).max(1)
}

/// Cuts `data` into `count` chunks of `length` elements, the last perhaps shorter. What is not there
/// gives empty chunks, so that an output that nobody needs is cut like the others.
pub fn chunks_or_empty(data: &mut [f32], length: usize, count: usize) -> Vec<&mut [f32]> {
    let mut chunks = data.chunks_mut(length.max(1));
    (0..count).map(|_| chunks.next().unwrap_or_default()).collect()
}

/// The largest element; −∞ for none. A NaN is passed on.
#[inline(always)]
pub fn maximum(x: &[f32]) -> f32 {
    fold(x, f32::NEG_INFINITY, larger, larger)
}

/// The larger of two; NaN if one of them is.
#[inline(always)]
pub fn larger(a: f32, b: f32) -> f32 {
    if a >= b || a.is_nan() { a } else { b }
}

/// The sum.
#[inline(always)]
pub fn sum(x: &[f32]) -> f32 {
    fold(x, 0.0, |total, value| total + value, |a, b| a + b)
}

/// The sum of squares.
#[inline(always)]
pub fn sum_of_squares(x: &[f32]) -> f32 {
    sum_of(x, |value| value * value)
}

/// The sum of `f` of each element.
#[inline(always)]
pub fn sum_of(x: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    fold(x, 0.0, |total, value| total + f(value), |a, b| a + b)
}

/// The sum of products.
#[inline(always)]
pub fn dot(x: &[f32], y: &[f32]) -> f32 {
    let mut totals = [0.0; LANES];
    let (heads, tail) = x.as_chunks::<LANES>();
    let (other_heads, other_tail) = y[..x.len()].as_chunks::<LANES>();
    for (head, other) in heads.iter().zip(other_heads) {
        for lane in 0..LANES {
            totals[lane] += head[lane] * other[lane];
        }
    }
    for (lane, (a, b)) in tail.iter().zip(other_tail).enumerate() {
        totals[lane] += a * b;
    }
    combine(totals, |a, b| a + b)
}

/// A reduction with 16 running totals, combined pairwise at the end.
#[inline(always)]
fn fold(
    x: &[f32],
    start: f32,
    step: impl Fn(f32, f32) -> f32,
    merge: impl Fn(f32, f32) -> f32,
) -> f32 {
    let mut totals = [start; LANES];
    let (heads, tail) = x.as_chunks::<LANES>();
    for head in heads {
        for lane in 0..LANES {
            totals[lane] = step(totals[lane], head[lane]);
        }
    }
    for (lane, value) in tail.iter().enumerate() {
        totals[lane] = step(totals[lane], *value);
    }
    combine(totals, merge)
}

/// The running totals together, pairwise.
#[inline(always)]
fn combine(mut totals: [f32; LANES], merge: impl Fn(f32, f32) -> f32) -> f32 {
    let mut width = LANES;
    while width > 1 {
        width /= 2;
        for lane in 0..width {
            totals[lane] = merge(totals[lane], totals[lane + width]);
        }
    }
    totals[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reductions_of_every_length() {
        for length in 0..70 {
            let x: Vec<f32> = (0..length).map(|i| (i as f32 * 37.0) % 11.0 - 5.0).collect();
            let expected: f32 = x.iter().sum();
            assert_eq!(vectorized(|| sum(&x)), expected);
            assert_eq!(vectorized(|| dot(&x, &x)), x.iter().map(|v| v * v).sum::<f32>());
            let largest = x.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            assert_eq!(vectorized(|| maximum(&x)), largest);
        }
    }

    #[test]
    fn maximum_passes_nan_on() {
        let mut x = vec![1.0; 40];
        x[21] = f32::NAN;
        assert!(maximum(&x).is_nan());
    }
}
