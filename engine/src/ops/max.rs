//! Maximum over axes: y = max x over the chosen axes.
//!
//! Derivative: dx = dy at the first element (in row-major order) that is the maximum, 0 at the
//! others, equal ones included; so the gradients add up to dy. Saves x and y. Cost an element:
//! 1 flop and 4 bytes forward; 1 flop and 8 bytes backward.

use super::sum::{resolve_axes, without_axes};
use crate::autograd::{GradientContext, Op, Saved, Saves, apply_built_in};
use crate::device::cpu::simd;
use crate::device::cpu::tasks::Tasks;
use crate::device::{Cost, Kernel, View, ViewMut};
use crate::gpu::{Binding, Recorder};
use crate::proof::{Array64, Case, Proven};
use crate::{Shape, Tensor, uniforms};
use rayon::prelude::*;

impl Tensor {
    /// The largest elements over `axes` (negative ones count from the end). They stay as axes of
    /// size 1 if `keep`, else they go. Of equal elements the first one gets the gradient.
    ///
    /// # Panics
    /// If an axis does not exist, is named twice or is empty.
    ///
    /// ```
    /// use neutreno_engine::{Device, Tensor};
    /// let x = Tensor::new(&[1.0, 5.0, 3.0, 4.0, 2.0, 6.0], [2, 3], &Device::cpu());
    /// assert_eq!(x.max(&[1], false).to_vec()?, [5.0, 6.0]);
    /// assert_eq!(x.max(&[0, 1], false).to_scalar()?, 6.0);
    /// # Ok::<(), neutreno_engine::Error>(())
    /// ```
    #[track_caller]
    pub fn max(&self, axes: &[isize], keep: bool) -> Tensor {
        let axes = resolve_axes("max", &self.shape(), axes);
        let mut y = self.clone();
        // Neighbouring axes together; the last ones first, so that the first of equals stays.
        for group in axes.chunk_by(|a, b| a + 1 == *b).rev() {
            let (before, ..) = y.shape().around(group[0]);
            let (.., after) = y.shape().around(group[group.len() - 1]);
            let kept = group.iter().fold(y.shape(), |shape, axis| shape.with(*axis, 1));
            let count = group.iter().map(|axis| y.shape()[*axis]).product();
            let [largest] = apply_built_in(Max, &[&y.reshape([before, count, after])]);
            y = largest.reshape(kept);
        }
        if keep { y } else { y.reshape(without_axes(&self.shape(), &axes)) }
    }
}

/// y\[i, 1, j\] = max x\[i, k, j\] over k.
#[derive(Clone, Debug)]
pub struct Max;

impl Kernel for Max {
    fn name(&self) -> &'static str {
        "max"
    }

    fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>, String> {
        if inputs[0].three_axes()?[1] == 0 {
            return Err("there is nothing to choose from".into());
        }
        Ok(vec![inputs[0].with(1, 1)])
    }

    fn cost(&self, inputs: &[Shape]) -> Cost {
        Cost::elementwise(inputs[0].elements(), 1, inputs[0].elements())
    }

    fn cpu(&self, inputs: &[View], outputs: &mut [ViewMut]) {
        let (_, count, after) = inputs[0].shape.around(1);
        let x = inputs[0].data;
        if after == 1 {
            let rows = simd::rows_per_task(count);
            return outputs[0].par_chunks_mut(rows).enumerate().each(|(task, y)| {
                let x = x[task * rows * count..].chunks_exact(count);
                simd::vectorized(|| y.iter_mut().zip(x).for_each(|(y, x)| *y = simd::maximum(x)));
            });
        }
        outputs[0].par_chunks_mut(after.max(1)).enumerate().each(|(i, y)| {
            y.fill(f32::NEG_INFINITY);
            let rows = x[i * count * after..(i + 1) * count * after].chunks_exact(after);
            simd::vectorized(|| {
                for row in rows {
                    y.iter_mut().zip(row).for_each(|(y, x)| *y = simd::larger(*y, *x));
                }
            });
        });
    }

    fn gpu(&self, inputs: &[Binding], outputs: &[Binding], gpu: &mut Recorder) {
        let (before, count, after) = inputs[0].shape.around(1);
        let elements = before * after;
        let uniforms = uniforms! { outputs: elements, count, after };
        let (inputs, outputs) = ([&inputs[0]], [&outputs[0]]);
        gpu.dispatch_rows("max_forward", &inputs, &outputs, uniforms, elements);
    }
}

/// dx from x, y and dy.
#[derive(Clone, Debug)]
struct MaxBackward;

impl Kernel for MaxBackward {
    fn name(&self) -> &'static str {
        "max_backward"
    }

    fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>, String> {
        Ok(vec![inputs[0]])
    }

    fn cost(&self, inputs: &[Shape]) -> Cost {
        Cost::elementwise(inputs[0].elements(), 1, 2 * inputs[0].elements())
    }

    fn adds(&self, _output: usize) -> bool {
        true
    }

    fn cpu(&self, inputs: &[View], outputs: &mut [ViewMut]) {
        let (_, count, after) = inputs[0].shape.around(1);
        let [x, y, dy] = [0, 1, 2].map(|input| inputs[input].data);
        let add = outputs[0].add;
        simd::for_rows(&mut outputs[0], count * after, |first, blocks| {
            for (i, dx) in (first..).zip(blocks.chunks_exact_mut(count * after)) {
                if !add {
                    dx.fill(0.0);
                }
                let x = &x[i * count * after..(i + 1) * count * after];
                for j in 0..after {
                    let output = i * after + j;
                    let mut column = x[j..].iter().step_by(after);
                    if let Some(k) = column.position(|x| *x == y[output]) {
                        dx[k * after + j] += dy[output];
                    }
                }
            }
        });
    }

    fn gpu(&self, inputs: &[Binding], outputs: &[Binding], gpu: &mut Recorder) {
        let (before, count, after) = inputs[0].shape.around(1);
        let elements = before * after;
        let uniforms = uniforms! { outputs: elements, count, after, add: outputs[0].add };
        let inputs: Vec<&Binding> = inputs.iter().collect();
        let outputs = [&outputs[0]];
        gpu.dispatch_elements("max_backward", &inputs, &outputs, uniforms, elements);
    }
}

impl Op for Max {
    fn saves(&self) -> Saves {
        Saves { inputs: &[0], outputs: &[0] }
    }

    fn backward(&self, saved: &Saved, context: &mut GradientContext) {
        let gradient = context.of_output(0);
        context.accumulate_with(&MaxBackward, &[saved.get(0), saved.get(1), &gradient], &[0]);
    }
}

impl Proven for Max {
    fn reference(&self, inputs: &[Array64]) -> Vec<Array64> {
        let x = &inputs[0];
        let (before, count, after) = x.shape.around(1);
        let largest = |output: usize| {
            let at = |k: usize| x.data[(output / after * count + k) * after + output % after];
            (0..count).map(at).fold(f64::NEG_INFINITY, f64::max)
        };
        vec![Array64::from_fn([before, 1, after], largest)]
    }

    fn cases() -> Vec<Case> {
        [[1, 1, 1], [3, 17, 1], [2, 3, 5], [1, 65, 1], [5, 257, 3], [63, 300, 1], [1, 9, 2_001]]
            .map(|shape| Case::new(format!("{shape:?}"), Max).distinct(shape, -3.0, 3.0))
            .into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Device;

    #[test]
    fn the_first_of_equals_gets_the_gradient() {
        let x = Tensor::new(&[1.0, 2.0, 2.0, 0.0, 2.0, 1.0], [3, 1, 2], &Device::cpu()).tracked();
        let gradients = x.max(&[0, 2], false).sum_all().backward().unwrap();
        assert_eq!(gradients.get(&x).unwrap().to_vec().unwrap(), [0.0, 1.0, 0.0, 0.0, 0.0, 0.0]);
    }
}
