//! A sum and its RMS norm at once: s = x + a, y = w ⊙ s / r, see [`rms_norm`](super::rms_norm). In a
//! transformer every norm but the first is one of a residual stream to which something was just added.
//!
//! Derivative: the norm's, added to the gradient of s, is that of both x and a. Saves s, w and 1/r. Cost an
//! element: 5 flops, 16 bytes; backward 9 flops, 12 bytes.

use super::rms_norm::{Forward, RmsNorm, RmsNormBackward};
use crate::autograd::{GradientContext, Op, Saved, Saves, apply_built_in};
use crate::device::cpu::simd::{self, Body, vectorized};
use crate::device::cpu::tasks::Tasks;
use crate::device::{Cost, Kernel, View, ViewMut};
use crate::gpu::{Binding, Recorder};
use crate::proof::{Array64, Case, Proven};
use crate::{Shape, Tensor, uniforms};
use rayon::prelude::*;

impl Tensor {
    /// x + `other`, and the RMS norm of that over the last axis, as [`Tensor::add`] and [`Tensor::rms_norm`]
    /// give them, bit for bit on the CPU.
    ///
    /// # Panics
    /// If x and `other` differ in shape, or `weight` does not have the size of their last axis.
    ///
    /// ```
    /// use neutreno_engine::{Device, Tensor};
    /// let device = Device::cpu();
    /// let x = Tensor::new(&[1.0, 4.0], [1, 2], &device);
    /// let other = Tensor::new(&[2.0, 0.0], [1, 2], &device);
    /// let [sum, normed] = x.add_rms_norm(&other, &Tensor::full(1.0, [2], &device), 0.0);
    /// assert_eq!(sum.to_vec()?, [3.0, 4.0]);
    /// assert!((normed.to_vec()?[0] - 3.0 / 12.5_f32.sqrt()).abs() < 1e-6);
    /// # Ok::<(), neutreno_engine::Error>(())
    /// ```
    #[track_caller]
    pub fn add_rms_norm(&self, other: &Tensor, weight: &Tensor, epsilon: f32) -> [Tensor; 2] {
        apply_built_in(AddRmsNorm { epsilon }, &[self, other, weight])
    }
}

/// s = x + a and y = w ⊙ s / r. Inputs: x, a, w. Outputs: s, y, and 1/r of each row.
#[derive(Clone, Debug)]
pub struct AddRmsNorm {
    /// Added to the mean square.
    pub epsilon: f32,
}

impl AddRmsNorm {
    fn norm(&self) -> RmsNorm {
        RmsNorm { epsilon: self.epsilon }
    }
}

impl Kernel for AddRmsNorm {
    fn name(&self) -> &'static str {
        "add_rms_norm"
    }

    fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>, String> {
        if inputs[0] != inputs[1] {
            return Err("what is added must have the same shape".into());
        }
        let made = self.norm().shapes(&[inputs[0], inputs[2]])?;
        Ok([inputs[0]].into_iter().chain(made).collect())
    }

    fn cost(&self, inputs: &[Shape]) -> Cost {
        Cost::elementwise(inputs[0].elements(), 5, 4 * inputs[0].elements())
    }

    fn cpu(&self, inputs: &[View], outputs: &mut [ViewMut]) {
        let [x, other, weight] = [0, 1, 2].map(|input| inputs[input].data);
        let [sum, y, inverse] = outputs else { unreachable!("s, y and 1/r") };
        let (width, epsilon) = (weight.len(), self.epsilon);
        let rows = simd::rows_per_task(width);
        let sums = sum.par_chunks_mut(rows * width);
        let tasks = sums.zip(y.par_chunks_mut(rows * width)).zip(inverse.par_chunks_mut(rows));
        tasks.enumerate().each(|(task, ((sum, y), inverse))| {
            let [x, other] = [x, other].map(|operand| &operand[task * rows * width..]);
            vectorized(Rows { x, other, sum, weight, epsilon, y, inverse });
        });
    }

    fn gpu(&self, inputs: &[Binding], outputs: &[Binding], gpu: &mut Recorder) {
        let shape = inputs[0].shape;
        let (rows, width, epsilon) = (shape.rows(), shape.last(), self.epsilon);
        let uniforms = uniforms! { rows, width, epsilon };
        let inputs = [&inputs[0], &inputs[2], &inputs[1]];
        let outputs = [&outputs[0], &outputs[1], &outputs[2]];
        gpu.dispatch_rows("rms_norm_add_forward", &inputs, &outputs, uniforms, rows);
    }
}

/// Some rows.
struct Rows<'a> {
    x: &'a [f32],
    other: &'a [f32],
    sum: &'a mut [f32],
    weight: &'a [f32],
    epsilon: f32,
    y: &'a mut [f32],
    inverse: &'a mut [f32],
}

impl Body for Rows<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Rows { x, other, sum, weight, epsilon, y, inverse } = self;
        for ((sum, x), other) in sum.iter_mut().zip(x).zip(other) {
            *sum = x + other;
        }
        Forward { x: sum, weight, epsilon, y, inverse }.call();
    }
}

impl Op for AddRmsNorm {
    fn results(&self) -> usize {
        2
    }

    fn saves(&self) -> Saves {
        Saves { inputs: &[2], outputs: &[0, 2] }
    }

    fn backward(&self, saved: &Saved, context: &mut GradientContext) {
        let [weight, sum, inverse] = [0, 1, 2].map(|value| saved.get(value));
        let of_normed = context.of_output(1);
        let needs = [context.needs(0) || context.needs(1), context.needs(2)];
        let kernel = RmsNormBackward { needs };
        let operands = [sum, weight, inverse, &of_normed];
        let of_weight: &[usize] = if needs[1] { &[2] } else { &[] };
        if !needs[0] {
            return context.accumulate_with(&kernel, &operands, of_weight);
        }
        let gradient = context.add_to_output(0, &kernel, &operands, of_weight);
        for input in [0, 1] {
            if context.needs(input) {
                context.accumulate(input, gradient.clone());
            }
        }
    }
}

impl Proven for AddRmsNorm {
    fn reference(&self, inputs: &[Array64]) -> Vec<Array64> {
        let sum = inputs[0].zip(&inputs[1], |x, other| x + other);
        let normed = self.norm().reference(&[sum.clone(), inputs[2].clone()]).remove(0);
        vec![sum, normed]
    }

    fn cases() -> Vec<Case> {
        let shapes: [&[usize]; 5] = [&[1, 1], &[17], &[2, 3, 5], &[63, 65], &[1_030, 17]];
        let case = |shape: &[usize]| {
            let case = Case::new(format!("{shape:?}"), AddRmsNorm { epsilon: 1e-5 });
            case.input(shape).input(shape).input([shape[shape.len() - 1]])
        };
        shapes.map(case).into()
    }
}
