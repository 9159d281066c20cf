//! Products of a few rows by matrices whose every row makes one output: y = x Wᵀ + b. They take the time
//! that it takes to read W, so that is read once, as it lies in memory, and each of its rows is
//! multiplied with all rows of x while it is at hand.
//!
//! Sums keep 16 running totals, in an order that is the same whatever the number of rows, of outputs or
//! of threads: a row comes out the same alone and among others, bit for bit.

use super::scratch::cut;
use super::simd::{LANES, Simd, WithSimd, with_vectors};
use super::tasks::Tasks;
use rayon::prelude::*;
use std::array::from_fn;
use std::marker::PhantomData;

/// So many rows are few. With more, the kernels for large products, which bring W in order first, are
/// faster.
pub const MOST_ROWS: usize = 8;

/// What the 32-bit words of a matrix hold.
pub trait Format: Copy + Send + Sync {
    /// How many numbers a word holds.
    const NUMBERS: usize;

    /// Number `which` of each word.
    fn numbers<S: Simd>(simd: S, words: S::u32s, which: usize) -> S::f32s;
}

/// Words that are numbers.
#[derive(Clone, Copy, Debug)]
pub struct Single;

impl Format for Single {
    const NUMBERS: usize = 1;

    #[inline(always)]
    fn numbers<S: Simd>(simd: S, words: S::u32s, _which: usize) -> S::f32s {
        simd.transmute_f32s_u32s(words)
    }
}

/// A matrix (outputs, inputs) whose rows begin with whole words.
#[derive(Clone, Copy, Debug)]
pub struct Weight<'a> {
    pub words: &'a [u32],
    pub outputs: usize,
    pub inputs: usize,
}

/// How many numbers of working memory [`multiply`] takes.
pub fn scratch<F: Format>(rows: usize, inputs: usize) -> usize {
    if rows <= MOST_ROWS { rows * prepared::<F>(inputs) } else { 0 }
}

/// The numbers of a row of x as [`prepare`] leaves them.
pub fn prepared<F: Format>(inputs: usize) -> usize {
    inputs.div_ceil(F::NUMBERS).next_multiple_of(LANES) * F::NUMBERS
}

/// Puts a row of x in the order in which the words of W hold numbers: those that meet the first number
/// of each word, and then those that meet the second. Zeros fill each up.
pub fn prepare<F: Format>(x: &[f32], prepared: &mut [f32]) {
    let length = prepared.len() / F::NUMBERS;
    for (which, part) in prepared.chunks_exact_mut(length.max(1)).enumerate() {
        part.fill(0.0);
        let numbers = x.iter().skip(which).step_by(F::NUMBERS);
        part.iter_mut().zip(numbers).for_each(|(to, from)| *to = *from);
    }
}

/// y = x Wᵀ + what is added, for one of several matrices that the same rows are multiplied with.
#[derive(Debug)]
pub struct Product<'a> {
    /// (rows, outputs).
    pub y: &'a mut [f32],
    pub weight: Weight<'a>,
    pub add: Add<'a>,
}

/// What is added to products.
#[derive(Clone, Copy, Debug)]
pub enum Add<'a> {
    Nothing,
    /// The same to each row.
    Bias(&'a [f32]),
    /// To each row its own.
    Rows(&'a [f32]),
}

/// Makes all of some products of `count` rows of x. Their tasks are shared out together: handing work over
/// takes as long as much of it.
///
/// # Panics
/// If there are more than [`MOST_ROWS`] rows.
pub fn multiply<F: Format>(
    products: Vec<Product>,
    x: &[f32],
    [count, inputs]: [usize; 2],
    mut scratch: &mut [f32],
) {
    assert!(count <= MOST_ROWS, "{count} rows are not few");
    let mut ordered: [&[f32]; MOST_ROWS] = [&[]; MOST_ROWS];
    for (row, ordered) in ordered.iter_mut().take(count).enumerate() {
        let memory = cut(&mut scratch, prepared::<F>(inputs));
        prepare::<F>(&x[row * inputs..][..inputs], memory);
        *ordered = memory;
    }
    let tasks = products.into_iter().flat_map(|product| stretches::<F>(product, ordered, count));
    tasks.collect::<Vec<_>>().into_par_iter().each(with_vectors);
}

/// The parts of a product of `count` rows.
fn stretches<'a, F: Format>(
    product: Product<'a>,
    x: [&'a [f32]; MOST_ROWS],
    count: usize,
) -> impl Iterator<Item = Stretch<'a, F>> {
    /// What one task reads of W, in words: enough to pay for the task.
    const WORDS: usize = if cfg!(miri) { 64 } else { 32 << 10 };
    let Product { y, weight: Weight { words, outputs, inputs }, add } = product;
    let stride = inputs.div_ceil(F::NUMBERS);
    let length = (WORDS / stride.max(1)).max(1);
    let parts = if count == 0 { 0 } else { outputs.div_ceil(length) };
    let mut rows: Vec<_> =
        y.chunks_exact_mut(outputs.max(1)).map(|y| y.chunks_mut(length)).collect();
    (0..parts).map(move |index| {
        let first = index * length;
        let mut part = |row: usize| rows.get_mut(row).and_then(Iterator::next).unwrap_or_default();
        let y = from_fn(&mut part);
        let words = &words[first * stride..];
        Stretch { words, stride, x, add, first, outputs, count, y, format: PhantomData }
    })
}

/// Rows of x that are multiplied at once at most: their totals stay in registers.
const AT_ONCE: usize = 4;

/// Some outputs of every row.
struct Stretch<'a, F> {
    /// From the row of the first of these outputs on.
    words: &'a [u32],
    stride: usize,
    /// As [`prepare`] leaves them.
    x: [&'a [f32]; MOST_ROWS],
    add: Add<'a>,
    /// The number of the first of these outputs, and of all that a row has.
    first: usize,
    outputs: usize,
    /// Of rows.
    count: usize,
    y: [&'a mut [f32]; MOST_ROWS],
    format: PhantomData<F>,
}

impl<F: Format> WithSimd for Stretch<'_, F> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        // So many vectors are 16 numbers.
        match S::F32_LANES {
            16 => self.rows::<S, 1>(simd),
            8 => self.rows::<S, 2>(simd),
            4 => self.rows::<S, 4>(simd),
            _ => self.rows::<S, LANES>(simd),
        }
    }
}

impl<F: Format> Stretch<'_, F> {
    #[inline(always)]
    fn rows<S: Simd, const N: usize>(mut self, simd: S) {
        assert!(N * S::F32_LANES == LANES, "vectors of {} numbers", S::F32_LANES);
        for start in (0..self.count).step_by(AT_ONCE) {
            match self.count - start {
                1 => self.outputs::<S, N, 1>(simd, start),
                2 => self.outputs::<S, N, 2>(simd, start),
                3 => self.outputs::<S, N, 3>(simd, start),
                _ => self.outputs::<S, N, AT_ONCE>(simd, start),
            }
        }
    }

    /// All outputs of `R` rows from row `start` on.
    #[inline(always)]
    fn outputs<S: Simd, const N: usize, const R: usize>(&mut self, simd: S, start: usize) {
        let x: [&[f32]; R] = from_fn(|row| self.x[start + row]);
        for output in 0..self.y[start].len() {
            let words = &self.words[output * self.stride..][..self.stride];
            let sums = dots::<F, S, N, R>(simd, x, words);
            let at = self.first + output;
            for (row, (y, sum)) in (start..).zip(self.y[start..].iter_mut().zip(sums)) {
                y[output] = match self.add {
                    Add::Nothing => sum,
                    Add::Bias(bias) => sum + bias[at],
                    Add::Rows(rows) => sum + rows[row * self.outputs + at],
                };
            }
        }
    }
}

/// The sums of products of each of some prepared rows with a row of words. Hot loops are plain here:
/// closures would not all be inlined, and so not be compiled for these vectors.
#[inline(always)]
pub fn dots<F: Format, S: Simd, const N: usize, const R: usize>(
    simd: S,
    x: [&[f32]; R],
    words: &[u32],
) -> [f32; R] {
    let mut totals = [[simd.splat_f32s(0.0); N]; R];
    // What meets the first, and the second, number of each word, in blocks of 16.
    let length = words.len().div_ceil(LANES);
    let x: [[&[[S::f32s; N]]; R]; 2] = from_fn(|which| {
        from_fn(|row| {
            let all = S::as_simd_f32s(x[row]).0.as_chunks::<N>().0;
            &all[which % F::NUMBERS * length..][..length]
        })
    });
    let (whole, rest) = words.as_chunks::<LANES>();
    let whole = S::as_simd_u32s(whole.as_flattened()).0.as_chunks::<N>().0;
    for (block, words) in whole.iter().enumerate() {
        accumulate::<F, S, N, R>(simd, &mut totals, &x, block, words);
    }
    if !rest.is_empty() {
        let mut last = [0; LANES];
        last[..rest.len()].copy_from_slice(rest);
        let words = &S::as_simd_u32s(&last).0.as_chunks::<N>().0[0];
        accumulate::<F, S, N, R>(simd, &mut totals, &x, whole.len(), words);
    }
    let mut sums = [0.0; R];
    for row in 0..R {
        sums[row] = sum_of_lanes::<S, N>(simd, totals[row]);
    }
    sums
}

/// The sum of 16 numbers, pairwise: each half added to the other, as long as there are halves.
#[inline(always)]
pub fn sum_of_lanes<S: Simd, const N: usize>(simd: S, mut totals: [S::f32s; N]) -> f32 {
    let mut count = N;
    while count > 1 {
        count /= 2;
        for n in 0..count {
            totals[n] = simd.add_f32s(totals[n], totals[n + count]);
        }
    }
    simd.reduce_sum_f32s(totals[0])
}

/// Adds the products with 16 words, which are block number `block` of their row.
#[inline(always)]
fn accumulate<F: Format, S: Simd, const N: usize, const R: usize>(
    simd: S,
    totals: &mut [[S::f32s; N]; R],
    x: &[[&[[S::f32s; N]]; R]; 2],
    block: usize,
    words: &[S::u32s; N],
) {
    for which in 0..F::NUMBERS {
        for n in 0..N {
            let numbers = F::numbers(simd, words[n], which);
            for row in 0..R {
                let x = x[which][row][block][n];
                totals[row][n] = simd.mul_add_e_f32s(numbers, x, totals[row][n]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Key;

    fn product(x: &[f32], w: &[f32], bias: Option<&[f32]>, rows: usize) -> Vec<f32> {
        let inputs = x.len() / rows;
        let outputs = w.len() / inputs;
        let mut y = vec![f32::NAN; rows * outputs];
        let weight = Weight { words: bytemuck::cast_slice(w), outputs, inputs };
        let mut memory = vec![f32::NAN; scratch::<Single>(rows, inputs)];
        let add = bias.map_or(Add::Nothing, Add::Bias);
        let product = Product { y: &mut y, weight, add };
        multiply::<Single>(vec![product], x, [rows, inputs], &mut memory);
        y
    }

    /// A row does not know its neighbours, nor an output the others, whatever is made at once.
    #[test]
    fn a_row_is_the_same_alone_and_among_others() {
        for (outputs, inputs) in [(1, 1), (7, 15), (33, 16), (70, 83), (130, 576)] {
            let numbers = |seed, count| Key::new(seed).uniforms(count, -1.0, 1.0);
            let [x, w] = [numbers(1, MOST_ROWS * inputs), numbers(2, outputs * inputs)];
            let bias = numbers(3, outputs);
            for rows in 1..=MOST_ROWS {
                let y = product(&x[..rows * inputs], &w, Some(&bias), rows);
                for row in 0..rows {
                    let x = &x[row * inputs..][..inputs];
                    let alone = product(x, &w, Some(&bias), 1);
                    assert_eq!(alone, y[row * outputs..][..outputs], "row {row} of {rows}");
                    let last = product(x, &w[(outputs - 1) * inputs..], None, 1);
                    assert_eq!(last[0] + bias[outputs - 1], alone[outputs - 1]);
                }
            }
        }
    }
}
