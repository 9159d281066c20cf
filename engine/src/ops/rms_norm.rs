//! RMS norm: y = w ⊙ x / r with r = √(mean(x²) + ε), over the last axis (Zhang & Sennrich 2019,
//! "Root mean square layer normalization").
//!
//! Derivative, with x̂ = x / r: dx = (w ⊙ dy − x̂ · mean(w ⊙ dy ⊙ x̂)) / r and dw = Σ dy ⊙ x̂ over
//! the rows. Saves x, w and 1/r, one number a row. Cost an element: 4 flops and 8 bytes forward;
//! 9 flops and 12 bytes backward.
//!
//! The CPU makes dx and its part of dw in one pass over each block of rows; then the parts are
//! summed in the order of the blocks.

use super::rows;
use super::sum::record_columns;
use crate::autograd::{GradientContext, Op, Saved, Saves, apply_built_in};
use crate::device::cpu::scratch::{Slots, cut};
use crate::device::cpu::simd;
use crate::device::cpu::tasks::Tasks;
use crate::device::{Cost, Kernel, View, ViewMut};
use crate::gpu::{Binding, Recorder};
use crate::proof::{Array64, Case, Proven};
use crate::{Shape, Tensor, uniforms};
use rayon::prelude::*;

impl Tensor {
    /// Each row of the last axis divided by its root mean square, times `weight` (one number a
    /// column). `epsilon` is added to the mean square, so that a row of zeros stays finite.
    ///
    /// # Panics
    /// If the weight does not have the size of the last axis.
    ///
    /// ```
    /// use neutreno_engine::{Device, Tensor};
    /// let device = Device::cpu();
    /// let x = Tensor::new(&[3.0, 4.0, 0.0, 0.0], [4], &device);
    /// let weight = Tensor::full(1.0, [4], &device);
    /// assert_eq!(x.rms_norm(&weight, 0.0).to_vec()?, [1.2, 1.6, 0.0, 0.0]);
    /// # Ok::<(), neutreno_engine::Error>(())
    /// ```
    #[track_caller]
    pub fn rms_norm(&self, weight: &Tensor, epsilon: f32) -> Tensor {
        let [y] = apply_built_in(RmsNorm { epsilon }, &[self, weight]);
        y
    }
}

/// y = w ⊙ x / r. Outputs: y, and 1/r of each row.
#[derive(Clone, Debug)]
pub struct RmsNorm {
    /// Added to the mean square.
    pub epsilon: f32,
}

impl Kernel for RmsNorm {
    fn name(&self) -> &'static str {
        "rms_norm"
    }

    fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>, String> {
        rows::check_weight("weight", &inputs[0], &inputs[1])?;
        Ok(vec![inputs[0], Shape::from([inputs[0].rows()])])
    }

    fn cost(&self, inputs: &[Shape]) -> Cost {
        Cost::elementwise(inputs[0].elements(), 4, 2 * inputs[0].elements())
    }

    fn cpu(&self, inputs: &[View], outputs: &mut [ViewMut]) {
        let [x, weight] = [inputs[0].data, inputs[1].data];
        let [y, inverse] = outputs else { unreachable!("y and 1/r") };
        normalize(x, weight, self.epsilon, y, inverse);
    }

    fn gpu(&self, inputs: &[Binding], outputs: &[Binding], gpu: &mut Recorder) {
        let shape = inputs[0].shape;
        let uniforms = uniforms! {
            rows: shape.rows(),
            width: shape.last(),
            epsilon: self.epsilon,
        };
        let [x, weight, y, inverse] = [&inputs[0], &inputs[1], &outputs[0], &outputs[1]];
        let (inputs, outputs) = ([x, weight], [y, inverse]);
        gpu.dispatch_rows("rms_norm_forward", &inputs, &outputs, uniforms, shape.rows());
    }
}

/// y and 1/r of some rows x.
pub(super) fn normalize(
    x: &[f32],
    weight: &[f32],
    epsilon: f32,
    y: &mut [f32],
    inverse: &mut [f32],
) {
    let width = weight.len();
    let rows = simd::rows_per_task(width);
    let tasks = y.par_chunks_mut(rows * width).zip(inverse.par_chunks_mut(rows));
    tasks.enumerate().each(|(task, (y, inverse))| {
        let x = &x[task * rows * width..];
        simd::vectorized(Forward { x, weight, epsilon, y, inverse });
    });
}

/// Some rows.
pub(super) struct Forward<'a> {
    pub x: &'a [f32],
    pub weight: &'a [f32],
    pub epsilon: f32,
    pub y: &'a mut [f32],
    pub inverse: &'a mut [f32],
}

impl simd::Body for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let width = self.weight.len();
        let pairs = self.x.chunks_exact(width).zip(self.y.chunks_exact_mut(width));
        for ((x, y), inverse) in pairs.zip(self.inverse) {
            let mean_square = simd::sum_of_squares(x) / width as f32;
            *inverse = 1.0 / (mean_square + self.epsilon).sqrt();
            for ((y, x), w) in y.iter_mut().zip(x).zip(self.weight) {
                *y = x * *inverse * w;
            }
        }
    }
}

/// dx and dw, those that are needed, from x, w, 1/r and dy.
#[derive(Clone, Debug)]
pub(super) struct RmsNormBackward {
    pub needs: [bool; 2],
}

impl Kernel for RmsNormBackward {
    fn name(&self) -> &'static str {
        "rms_norm_backward"
    }

    fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>, String> {
        Ok(rows::targets(&self.needs).iter().map(|input| inputs[*input]).collect())
    }

    fn cost(&self, inputs: &[Shape]) -> Cost {
        Cost::elementwise(inputs[0].elements(), 9, 3 * inputs[0].elements())
    }

    fn adds(&self, _output: usize) -> bool {
        true
    }

    fn scratch(&self, inputs: &[Shape], threads: usize) -> Option<usize> {
        let (rows, width) = (inputs[0].rows(), inputs[0].last());
        let tasks = simd::row_tasks(rows, width);
        let weights = self.needs[1..].iter().filter(|needed| **needed).count();
        Some(
            weights * (tasks * width + rows::parts_scratch(tasks, width))
                + Slots::elements(width, tasks, threads),
        )
    }

    fn cpu(&self, inputs: &[View], outputs: &mut [ViewMut]) {
        let [x, weight, inverse, dy] = [0, 1, 2, 3].map(|input| inputs[input].data);
        let width = weight.len();
        let rows = simd::rows_per_task(width);
        let count = inverse.len().div_ceil(rows);
        let (scratch, outputs) = outputs.split_last_mut().expect("the working memory");
        let mut scratch: &mut [f32] = scratch;
        let [dx, dw] = rows::needed(self.needs, outputs.iter_mut());
        let (dx, add) = rows::elements(dx);
        let parts = cut(&mut scratch, if dw.is_some() { count * width } else { 0 });
        let of_sums = if dw.is_some() { rows::parts_scratch(count, width) } else { 0 };
        let of_sums = cut(&mut scratch, of_sums);
        let buffers = Slots::new(scratch, width);
        let dx_chunks = simd::chunks_or_empty(dx, rows * width, count).into_par_iter();
        let dw_chunks = simd::chunks_or_empty(parts, width, count).into_par_iter();
        dx_chunks.zip(dw_chunks).enumerate().each(|(task, (dx, dw))| {
            let first = task * rows;
            let inverse = &inverse[first..inverse.len().min(first + rows)];
            let [x, dy] = [x, dy].map(|values| &values[first * width..]);
            let weighted = &mut buffers.take()[..width];
            simd::vectorized(Backward { x, dy, weight, inverse, dx, dw, weighted, add });
        });
        if let Some(dw) = dw {
            rows::sum_parts(parts, dw, of_sums);
        }
    }

    fn gpu(&self, inputs: &[Binding], outputs: &[Binding], gpu: &mut Recorder) {
        let shape = inputs[0].shape;
        let (count, width) = (shape.rows(), shape.last());
        let inputs: Vec<&Binding> = inputs.iter().collect();
        let [dx, dw] = rows::needed(self.needs, outputs);
        let dx = dx.cloned().unwrap_or_else(|| gpu.scratch(shape));
        let (block, blocks) = (rows::BLOCK, count.div_ceil(rows::BLOCK));
        let parts = gpu.scratch([blocks, width]);
        let uniforms = uniforms! { rows: count, width, block, add: dx.add };
        gpu.dispatch_rows("rms_norm_backward", &inputs, &[&dx, &parts], uniforms, blocks);
        if let Some(dw) = dw {
            record_columns(&parts, [1, blocks, width], dw, gpu);
        }
    }
}

/// Some rows of dx and their part of dw; each is left out where its slice is empty.
struct Backward<'a> {
    x: &'a [f32],
    dy: &'a [f32],
    weight: &'a [f32],
    inverse: &'a [f32],
    dx: &'a mut [f32],
    dw: &'a mut [f32],
    /// Room for w ⊙ dy of a row.
    weighted: &'a mut [f32],
    add: bool,
}

impl simd::Body for Backward<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let width = self.weight.len();
        let weighted = self.weighted;
        self.dw.fill(0.0);
        for (row, &inverse) in self.inverse.iter().enumerate() {
            let [x, dy] = [self.x, self.dy].map(|values| &values[row * width..][..width]);
            for ((dw, x), dy) in self.dw.iter_mut().zip(x).zip(dy) {
                *dw += dy * x * inverse;
            }
            let Some(dx) = self.dx.chunks_exact_mut(width).nth(row) else { continue };
            for ((weighted, dy), w) in weighted.iter_mut().zip(dy).zip(self.weight) {
                *weighted = dy * w;
            }
            let slope = simd::dot(weighted, x) * inverse * inverse / width as f32;
            let terms = weighted.iter().zip(x);
            if self.add {
                for (dx, (g, x)) in dx.iter_mut().zip(terms) {
                    *dx += inverse * (g - x * slope);
                }
            } else {
                for (dx, (g, x)) in dx.iter_mut().zip(terms) {
                    *dx = inverse * (g - x * slope);
                }
            }
        }
    }
}

impl Op for RmsNorm {
    fn saves(&self) -> Saves {
        Saves { inputs: &[0, 1], outputs: &[1] }
    }

    fn backward(&self, saved: &Saved, context: &mut GradientContext) {
        let gradient = context.of_output(0);
        let needs = [0, 1].map(|input| context.needs(input));
        let inputs = [saved.get(0), saved.get(1), saved.get(2), &gradient];
        context.accumulate_with(&RmsNormBackward { needs }, &inputs, &rows::targets(&needs));
    }
}

impl Proven for RmsNorm {
    fn reference(&self, inputs: &[Array64]) -> Vec<Array64> {
        let [x, weight] = [&inputs[0], &inputs[1]];
        let width = x.shape.last();
        let element = |index: usize| {
            let squares: f64 = x.row(index / width).iter().map(|x| x * x).sum();
            let r = (squares / width as f64 + f64::from(self.epsilon)).sqrt();
            weight.data[index % width] * x.data[index] / r
        };
        vec![Array64::from_fn(x.shape, element)]
    }

    fn cases() -> Vec<Case> {
        let case = |shape: &[usize], size: f32| {
            Case::new(format!("{shape:?} up to {size}"), RmsNorm { epsilon: 1e-5 })
                .between(shape, -size, size)
                .input([shape[shape.len() - 1]])
        };
        let shapes: [&[usize]; 6] =
            [&[1, 1], &[17], &[2, 3, 5], &[63, 65], &[3, 257], &[1_030, 17]];
        let mut cases: Vec<Case> = shapes.iter().map(|shape| case(shape, 1.0)).collect();
        cases.push(case(&[5, 33], 1e4));
        cases.push(case(&[5, 33], 1e-3).forward_only());
        cases
    }
}
