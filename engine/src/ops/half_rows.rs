//! Rows of a matrix in half precision, in f32: y\[k\] = w\[ids\[k\]\]. Along a vocabulary it is the
//! embedding of tokens.
//!
//! There is no derivative. Cost an element: 6 bytes.

use crate::autograd::{GradientContext, Op, Saved, Saves};
use crate::device::cpu::half::unpack;
use crate::device::cpu::simd;
use crate::device::cpu::tasks::Tasks;
use crate::device::{Cost, Kernel, View, ViewMut};
use crate::gpu::{Binding, Recorder};
use crate::half::{Half, packed};
use crate::proof::{Array64, Case, Proven};
use crate::{Ids, Shape, uniforms};
use rayon::prelude::*;

/// Rows of a matrix, whose words are the input.
#[derive(Clone, Debug)]
pub struct HalfRows {
    /// The format.
    pub half: Half,
    /// The numbers of a row.
    pub columns: usize,
    /// Which rows; all, if there are no ids.
    pub ids: Option<Ids>,
}

impl HalfRows {
    /// How many rows there are to be, of a matrix of so many.
    fn count(&self, rows: usize) -> usize {
        self.ids.as_ref().map_or(rows, |ids| ids.shape().elements())
    }
}

impl Kernel for HalfRows {
    fn name(&self) -> &'static str {
        "half_rows"
    }

    fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>, String> {
        let Ok([rows, words]) = <[usize; 2]>::try_from(&inputs[0][..]) else {
            return Err("the words are a matrix".into());
        };
        if words != self.columns.div_ceil(2) {
            return Err(format!("{words} words for rows of {} numbers", self.columns));
        }
        if let Some((_, id)) = self.ids.as_ref().and_then(|ids| ids.first_outside(rows)) {
            return Err(format!("id {id} is not below {rows}"));
        }
        Ok(vec![Shape::from([self.count(rows), self.columns])])
    }

    fn cost(&self, inputs: &[Shape]) -> Cost {
        let elements = (self.count(inputs[0][0]) * self.columns) as u64;
        Cost { flops: 0, bytes: 6 * elements }
    }

    fn cpu(&self, inputs: &[View], outputs: &mut [ViewMut]) {
        let columns = self.columns;
        if outputs[0].is_empty() {
            return;
        }
        let words: &[u32] = bytemuck::cast_slice(inputs[0].data);
        let stride = columns.div_ceil(2);
        let ids = self.ids.as_ref().map(Ids::as_slice);
        let rows = simd::rows_per_task(columns);
        let chunks = outputs[0].par_chunks_mut(rows * columns).enumerate();
        chunks.each(|(index, numbers)| {
            let first = index * rows;
            let Some(ids) = ids else {
                return unpack(self.half, &words[first * stride..], columns, numbers);
            };
            for (id, numbers) in ids[first..].iter().zip(numbers.chunks_exact_mut(columns)) {
                unpack(self.half, &words[*id as usize * stride..][..stride], columns, numbers);
            }
        });
    }

    fn gpu(&self, inputs: &[Binding], outputs: &[Binding], gpu: &mut Recorder) {
        let ids = self.ids.as_ref().map(|ids| gpu.ids(ids));
        let elements = self.count(inputs[0].shape[0]) * self.columns;
        let uniforms = uniforms! {
            elements,
            columns: self.columns,
            is_f16: self.half == Half::F16,
            has_ids: ids.is_some(),
        };
        let inputs = [&inputs[0], ids.as_ref().unwrap_or(&inputs[0])];
        gpu.dispatch_elements("half_rows", &inputs, &[&outputs[0]], uniforms, elements);
    }
}

impl Op for HalfRows {
    fn saves(&self) -> Saves {
        Saves::default()
    }

    fn no_derivative(&self) -> Option<&'static str> {
        Some("a matrix in half precision is only read")
    }

    fn backward(&self, _saved: &Saved, _context: &mut GradientContext) {
        unreachable!("it has no derivative");
    }
}

impl Proven for HalfRows {
    fn reference(&self, inputs: &[Array64]) -> Vec<Array64> {
        let matrix = reference_rows(self.half, &inputs[0], self.columns);
        let count = self.count(matrix.shape[0]);
        let row = |k: usize| self.ids.as_ref().map_or(k, |ids| ids.as_slice()[k] as usize);
        let element = |index: usize| matrix.row(row(index / self.columns))[index % self.columns];
        vec![Array64::from_fn([count, self.columns], element)]
    }

    fn cases() -> Vec<Case> {
        let mut cases = Vec::new();
        for half in [Half::Bf16, Half::F16] {
            for (rows, columns) in [(1, 1), (3, 7), (5, 64), (70, 501)] {
                let some: Vec<u32> = (0..9).map(|i| i * i * 7 % rows as u32).collect();
                for ids in [None, Some(Ids::new(some, [9]))] {
                    let which = ids.as_ref().map_or("all", |_| "some");
                    let label = format!("{which} of {rows} × {columns}, {half:?}");
                    let op = HalfRows { half, columns, ids };
                    let words = case_words(half, [rows, columns]);
                    let shape = [rows, columns.div_ceil(2)];
                    cases.push(Case::new(label, op).values(&words, shape).tolerance(1e-12));
                }
            }
        }
        cases
    }
}

/// Words for a case: numbers of all sizes, those with few bits and the largest too.
pub(super) fn case_words(half: Half, [rows, columns]: [usize; 2]) -> Vec<f32> {
    let extremes = match half {
        Half::Bf16 => [0x0000, 0x8000, 0x3f80, 0xbf7f, 0x0080, 0x4380],
        Half::F16 => [0x0000, 0x8000, 0x0001, 0x83ff, 0x0400, 0x57ff],
    };
    let numbers =
        crate::random::Key::new(5).fold(columns as u64).uniforms(rows * columns, -1.0, 1.0);
    let bits: Vec<u16> = (0..)
        .zip(&numbers)
        .map(|(i, number)| if i % 5 == 3 { extremes[i / 5 % 6] } else { half.nearest(*number) })
        .collect();
    packed(&bits, columns).into_iter().map(f32::from_bits).collect()
}

/// Words for a case: the nearest numbers to uniform ones in [−1, 1).
pub(super) fn uniform_case_words(half: Half, [rows, columns]: [usize; 2], seed: u64) -> Vec<f32> {
    let numbers = crate::random::Key::new(seed).uniforms(rows * columns, -1.0, 1.0);
    let bits: Vec<u16> = numbers.iter().map(|number| half.nearest(*number)).collect();
    packed(&bits, columns).into_iter().map(f32::from_bits).collect()
}

/// The matrix that words hold, by the definition of the format.
pub(super) fn reference_rows(half: Half, words: &Array64, columns: usize) -> Array64 {
    let (exponent_bits, bias) = if half == Half::F16 { (5, 15) } else { (8, 127) };
    let fraction_bits = 15 - exponent_bits;
    Array64::from_fn([words.shape[0], columns], |index| {
        let (row, column) = (index / columns, index % columns);
        let word = (words.row(row)[column / 2] as f32).to_bits();
        let bits = word >> (column % 2 * 16) & 0xffff;
        let exponent = (bits >> fraction_bits & ((1 << exponent_bits) - 1)) as i32;
        let fraction = f64::from(bits & ((1 << fraction_bits) - 1)) / f64::from(1 << fraction_bits);
        let (whole, exponent) = if exponent == 0 { (0.0, 1) } else { (1.0, exponent) };
        let sign = if bits >> 15 == 1 { -1.0 } else { 1.0 };
        sign * (whole + fraction) * 2.0_f64.powi(exponent - bias)
    })
}
