//! Matrices whose words hold two numbers of 16 bits each: the first in the lower half. A row begins with
//! a whole word.

use super::few_rows::{self, Format, Single};
use super::simd::{Body, Simd, vectorized};
use crate::half::{self, Half};

/// [`few_rows::multiply`] with matrices whose words hold numbers of 16 bits in a format, or else one of 32.
pub fn multiply_few_rows(
    half: Option<Half>,
    products: Vec<few_rows::Product>,
    x: &[f32],
    sizes: [usize; 2],
    scratch: &mut [f32],
) {
    let multiply = match half {
        None => few_rows::multiply::<Single>,
        Some(Half::Bf16) => few_rows::multiply::<Bf16>,
        Some(Half::F16) => few_rows::multiply::<F16>,
    };
    multiply(products, x, sizes, scratch);
}

/// How many numbers of working memory [`multiply_few_rows`] takes.
pub fn few_rows_scratch(half: Option<Half>, rows: usize, inputs: usize) -> usize {
    match half {
        None => few_rows::scratch::<Single>(rows, inputs),
        // Both formats order rows alike.
        Some(_) => few_rows::scratch::<Bf16>(rows, inputs),
    }
}

/// Words of two numbers in bf16.
#[derive(Clone, Copy, Debug)]
pub struct Bf16;

impl Format for Bf16 {
    const NUMBERS: usize = 2;

    #[inline(always)]
    fn numbers<S: Simd>(simd: S, words: S::u32s, which: usize) -> S::f32s {
        simd.transmute_f32s_u32s(match which {
            0 => simd.wrapping_dyn_shl_u32s(words, simd.splat_u32s(16)),
            _ => simd.and_u32s(words, simd.splat_u32s(0xffff_0000)),
        })
    }
}

/// Words of two numbers in f16.
#[derive(Clone, Copy, Debug)]
pub struct F16;

impl Format for F16 {
    const NUMBERS: usize = 2;

    /// As [`half::f16`].
    #[inline(always)]
    fn numbers<S: Simd>(simd: S, words: S::u32s, which: usize) -> S::f32s {
        let all = |bits: u32| simd.splat_u32s(bits);
        let (bits, sign) = match which {
            0 => (
                simd.wrapping_dyn_shl_u32s(simd.and_u32s(words, all(0x7fff)), all(13)),
                simd.wrapping_dyn_shl_u32s(words, all(16)),
            ),
            _ => {
                (simd.wrapping_dyn_shr_u32s(simd.and_u32s(words, all(0x7fff_0000)), all(3)), words)
            }
        };
        let sign = simd.and_u32s(sign, all(1 << 31));
        let is_finite = simd.less_than_u32s(bits, all(31 << 23));
        let larger = simd.select_u32s(is_finite, all(112 << 23), all(224 << 23));
        let offset = simd.splat_f32s(f32::from_bits(113 << 23));
        let small = simd.transmute_f32s_u32s(simd.or_u32s(bits, all(113 << 23)));
        let small = simd.transmute_u32s_f32s(simd.sub_f32s(small, offset));
        let is_small = simd.less_than_u32s(bits, all(1 << 23));
        let size = simd.select_u32s(is_small, small, simd.add_u32s(bits, larger));
        simd.transmute_f32s_u32s(simd.or_u32s(sign, size))
    }
}

/// The numbers of whole rows of `columns`, in f32.
pub fn unpack(half: Half, words: &[u32], columns: usize, numbers: &mut [f32]) {
    vectorized(Unpack { half, words, columns, numbers });
}

struct Unpack<'a> {
    half: Half,
    words: &'a [u32],
    columns: usize,
    numbers: &'a mut [f32],
}

impl Body for Unpack<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        match self.half {
            Half::Bf16 => self.unpack(half::bf16),
            Half::F16 => self.unpack(half::f16),
        }
    }
}

impl Unpack<'_> {
    #[inline(always)]
    fn unpack(self, value: impl Fn(u32) -> f32) {
        if self.columns == 0 {
            return;
        }
        let words = self.words.chunks_exact(self.columns.div_ceil(2));
        for (words, numbers) in words.zip(self.numbers.chunks_exact_mut(self.columns)) {
            let (pairs, last) = numbers.as_chunks_mut::<2>();
            for (pair, word) in pairs.iter_mut().zip(words) {
                *pair = [value(word & 0xffff), value(word >> 16)];
            }
            if let ([number], Some(word)) = (last, words.last()) {
                *number = value(word & 0xffff);
            }
        }
    }
}
