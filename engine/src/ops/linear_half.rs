//! Linear layer with a weight in half precision: y = x Wᵀ + b, with x, b, y and the sums in f32.
//!
//! There is no derivative. Few rows are multiplied with the words as they lie in memory, each number
//! widened in a register. For many rows, W is brought into f32 first, on the CPU a stretch at a time,
//! and multiplied as in [`linear`](super::linear). Cost: 2 flops for each row, input and output; 2
//! bytes for each number of W.

use super::half_rows::{HalfRows, case_words, reference_rows};
use super::linear::{fill_rows, output};
use crate::Shape;
use crate::autograd::{GradientContext, Op, Saved, Saves};
use crate::device::cpu::few_rows::{self, Add, MOST_ROWS, Weight};
use crate::device::cpu::half::{few_rows_scratch, multiply_few_rows, unpack};
use crate::device::cpu::products::{self, MatrixMut};
use crate::device::cpu::scratch::cut;
use crate::device::cpu::simd;
use crate::device::cpu::tasks::Tasks;
use crate::device::gpu::few_rows::{Extra, FewRows};
use crate::device::gpu::products::{Matrix, Product};
use crate::device::{Cost, Kernel, View, ViewMut};
use crate::gpu::{Binding, Recorder};
use crate::half::Half;
use crate::proof::{Array64, Case, Proven};
use rayon::prelude::*;

/// Inputs: x, the words of W, and perhaps b.
#[derive(Clone, Debug)]
pub struct LinearHalf {
    /// The format of W.
    pub half: Half,
    /// The numbers of a row of W.
    pub inputs: usize,
}

impl LinearHalf {
    /// How many rows of W are brought into f32 at once: 4 MiB of them.
    fn stretch(&self, outputs: usize) -> usize {
        const NUMBERS: usize = if cfg!(miri) { 64 } else { 1 << 20 };
        (NUMBERS / self.inputs.max(1)).max(1).min(outputs)
    }
}

impl Kernel for LinearHalf {
    fn name(&self) -> &'static str {
        "linear_half"
    }

    fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>, String> {
        let words = inputs[1];
        if words.rank() != 2 || words[1] != self.inputs.div_ceil(2) {
            return Err(format!("the words are not those of rows of {}", self.inputs));
        }
        output(&inputs[0], [words[0], self.inputs], inputs.get(2))
    }

    fn cost(&self, inputs: &[Shape]) -> Cost {
        let outputs = inputs[0].rows() * inputs[1][0];
        let moved = inputs.iter().map(Shape::elements).sum::<usize>() + outputs;
        Cost::elementwise(outputs, 2 * self.inputs as u64, moved)
    }

    fn scratch(&self, inputs: &[Shape], _threads: usize) -> Option<usize> {
        let rows = inputs[0].rows();
        Some(match rows {
            0..=MOST_ROWS => few_rows_scratch(Some(self.half), rows, self.inputs),
            _ => {
                let stretch = self.stretch(inputs[1][0]);
                let sizes = [rows, stretch, self.inputs];
                stretch * self.inputs + products::parallel_scratch(sizes, true)
            }
        })
    }

    fn cpu(&self, inputs: &[View], outputs: &mut [ViewMut]) {
        let (x, rows) = (inputs[0].data, inputs[0].shape.rows());
        let words: &[u32] = bytemuck::cast_slice(inputs[1].data);
        let count = inputs[1].shape[0];
        let bias = inputs.get(2).map(|bias| bias.data);
        let [y, scratch] = outputs else { unreachable!("y and the working memory") };
        if rows <= MOST_ROWS {
            let weight = Weight { words, outputs: count, inputs: self.inputs };
            let add = bias.map_or(Add::Nothing, Add::Bias);
            let products = vec![few_rows::Product { y, weight, add }];
            let sizes = [rows, self.inputs];
            return multiply_few_rows(Some(self.half), products, x, sizes, scratch);
        }
        if let Some(bias) = bias {
            fill_rows(y, bias);
        }
        self.many_rows(y, x, words, [rows, count], bias.is_some(), scratch);
    }

    fn gpu(&self, inputs: &[Binding], outputs: &[Binding], gpu: &mut Recorder) {
        let (rows, count) = (inputs[0].shape.rows(), inputs[1].shape[0]);
        let (x, bias, y) = (&inputs[0], inputs.get(2), &outputs[0]);
        if FewRows::are_few(rows, gpu) {
            let (extra, half) = (bias.map_or(Extra::Nothing, Extra::Bias), Some(self.half));
            let (sizes, matrices, y) = ([rows, self.inputs], &[&inputs[1]], &[y]);
            return FewRows { x, sizes, matrices, half, extra, swiglu: false, y }.record(gpu);
        }
        let weight = gpu.scratch([count, self.inputs]);
        let all = HalfRows { half: self.half, columns: self.inputs, ids: None };
        all.gpu(&inputs[1..2], std::slice::from_ref(&weight), gpu);
        let x = Matrix::new(x, rows, self.inputs);
        let weight = Matrix::new(&weight, count, self.inputs).transposed_if(true);
        let y = Matrix::new(y, rows, count);
        Product { bias, ..Product::new(y, x, weight) }.record(gpu);
    }
}

impl LinearHalf {
    fn many_rows(
        &self,
        y: &mut [f32],
        x: &[f32],
        words: &[u32],
        [rows, count]: [usize; 2],
        add: bool,
        mut scratch: &mut [f32],
    ) {
        let (width, stride) = (self.inputs, self.inputs.div_ceil(2));
        let stretch = self.stretch(count);
        let memory = cut(&mut scratch, stretch * width);
        for first in (0..count).step_by(stretch.max(1)) {
            let outputs = stretch.min(count - first);
            let numbers = &mut memory[..outputs * width];
            let a_task = simd::rows_per_task(width);
            let chunks = numbers.par_chunks_mut((a_task * width).max(1)).enumerate();
            chunks.each(|(index, numbers)| {
                let words = &words[(first + index * a_task) * stride..];
                unpack(self.half, words, width, numbers);
            });
            let weight = products::Matrix::new(numbers, outputs, width).transposed();
            let x = products::Matrix::new(x, rows, width);
            let y = MatrixMut::strided(&mut y[first..], rows, outputs, count);
            products::multiply_parallel(y, x, weight, 1.0, add, scratch);
        }
    }
}

impl Op for LinearHalf {
    fn saves(&self) -> Saves {
        Saves::default()
    }

    fn no_derivative(&self) -> Option<&'static str> {
        Some("a matrix in half precision is only read; training keeps weights in f32")
    }

    fn backward(&self, _saved: &Saved, _context: &mut GradientContext) {
        unreachable!("it has no derivative");
    }
}

impl Proven for LinearHalf {
    fn reference(&self, inputs: &[Array64]) -> Vec<Array64> {
        let x = &inputs[0];
        let weight = reference_rows(self.half, &inputs[1], self.inputs);
        let count = weight.shape[0];
        let y = Array64::from_fn(x.shape.with(x.shape.rank() - 1, count), |index| {
            let (row, output) = (index / count, index % count);
            let bias = inputs.get(2).map_or(0.0, |bias| bias.data[output]);
            x.row(row).iter().zip(weight.row(output)).map(|(x, w)| x * w).sum::<f64>() + bias
        });
        vec![y.with_magnitude(0.25 * self.inputs as f64)]
    }

    fn cases() -> Vec<Case> {
        let mut cases = Vec::new();
        for half in [Half::Bf16, Half::F16] {
            for rows in [1, 2, 3, 5, 8, 9, 40] {
                for (count, inputs) in [(1, 1), (5, 31), (21, 64), (3, 259), (130, 1028)] {
                    let label = format!("{rows} of {inputs} to {count}, {half:?}");
                    let case = Case::new(label, LinearHalf { half, inputs })
                        .input([rows, inputs])
                        .values(&case_words(half, [count, inputs]), [count, inputs.div_ceil(2)]);
                    cases.push(if count % 2 == 1 { case.input([count]) } else { case });
                }
            }
            // More than is brought into f32 at once.
            let [count, inputs] = [1100, 1001];
            let case = Case::new(format!("many outputs, {half:?}"), LinearHalf { half, inputs });
            let words = case_words(half, [count, inputs]);
            cases.push(case.input([10, inputs]).values(&words, [count, inputs.div_ceil(2)]));
        }
        cases
    }
}
