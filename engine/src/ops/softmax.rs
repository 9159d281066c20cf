//! Softmax: y = exp(x − m) / Σ exp(x − m) over the last axis, with m the maximum of the row, so
//! that nothing overflows.
//!
//! Derivative: dx = y ⊙ (dy − Σ y ⊙ dy). Saves y. Cost an element: 4 flops and 8 bytes forward;
//! 4 flops and 12 bytes backward.

use super::{Op, rows};
use crate::autograd::{Saved, Saves, Sinks, apply};
use crate::device::cpu::{math, simd};
use crate::device::{Cost, Kernel, View, ViewMut};
use crate::gpu::{Binding, Recorder};
use crate::proof::{Array64, Case};
use crate::{Shape, Tensor, words};

impl Tensor {
    /// exp(x) divided by its sum along `axis` (negative: from the end). The last axis is the fast
    /// one; another is moved to the end and back, which copies twice.
    ///
    /// # Panics
    /// If there is no such axis.
    ///
    /// ```
    /// use neutreno_engine::{Device, Tensor};
    /// let x = Tensor::new(&[1e4, 1e4, 0.0], [3], &Device::cpu());
    /// assert_eq!(x.softmax(-1).to_vec()?, [0.5, 0.5, 0.0]);
    /// # Ok::<(), neutreno_engine::Error>(())
    /// ```
    #[track_caller]
    pub fn softmax(&self, axis: isize) -> Tensor {
        rows::along(self, axis, "softmax", |x| {
            let [y] = apply(Softmax, &[x]);
            y
        })
    }
}

/// The softmax of each row.
#[derive(Clone, Debug)]
pub struct Softmax;

impl Kernel for Softmax {
    fn name(&self) -> &'static str {
        "softmax"
    }

    fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>, String> {
        rows::check_rows(&inputs[0])?;
        Ok(vec![inputs[0]])
    }

    fn cost(&self, inputs: &[Shape]) -> Cost {
        Cost::elementwise(inputs[0].elements(), 4, 2 * inputs[0].elements())
    }

    fn cpu(&self, inputs: &[View], outputs: &mut [ViewMut]) {
        let (x, width) = (inputs[0].data, inputs[0].shape.last());
        simd::for_long_rows(&mut outputs[0], width, &Forward { x, width });
    }

    fn gpu(&self, inputs: &[Binding], outputs: &[Binding], gpu: &mut Recorder) {
        let (rows, width) = (inputs[0].shape.rows(), inputs[0].shape.last());
        let (inputs, outputs) = ([&inputs[0]], [&outputs[0]]);
        gpu.dispatch_rows("softmax_forward", &inputs, &outputs, words![rows, width], rows);
    }
}

struct Forward<'a> {
    x: &'a [f32],
    width: usize,
}

impl simd::Rows for Forward<'_> {
    #[inline(always)]
    fn make(&self, first: usize, rows: &mut [f32]) {
        let x = self.x[first * self.width..].chunks_exact(self.width);
        for (y, x) in rows.chunks_exact_mut(self.width).zip(x) {
            let largest = simd::maximum(x);
            for (y, x) in y.iter_mut().zip(x) {
                *y = math::exp(x - largest);
            }
            let scale = 1.0 / simd::sum(y);
            y.iter_mut().for_each(|y| *y *= scale);
        }
    }
}

/// dx from y and dy.
#[derive(Clone, Debug)]
struct SoftmaxBackward;

impl Kernel for SoftmaxBackward {
    fn name(&self) -> &'static str {
        "softmax_backward"
    }

    fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>, String> {
        Ok(vec![inputs[0]])
    }

    fn cost(&self, inputs: &[Shape]) -> Cost {
        Cost::elementwise(inputs[0].elements(), 4, 3 * inputs[0].elements())
    }

    fn cpu(&self, inputs: &[View], outputs: &mut [ViewMut]) {
        let width = inputs[0].shape.last();
        let [y, dy] = [inputs[0].data, inputs[1].data];
        simd::for_long_rows(&mut outputs[0], width, &Backward { y, dy, width });
    }

    fn gpu(&self, inputs: &[Binding], outputs: &[Binding], gpu: &mut Recorder) {
        let (rows, width) = (inputs[0].shape.rows(), inputs[0].shape.last());
        let (inputs, outputs) = ([&inputs[0], &inputs[1]], [&outputs[0]]);
        gpu.dispatch_rows("softmax_backward", &inputs, &outputs, words![rows, width], rows);
    }
}

struct Backward<'a> {
    y: &'a [f32],
    dy: &'a [f32],
    width: usize,
}

impl simd::Rows for Backward<'_> {
    #[inline(always)]
    fn make(&self, first: usize, rows: &mut [f32]) {
        let width = self.width;
        let [y, dy] = [self.y, self.dy].map(|values| values[first * width..].chunks_exact(width));
        for (dx, (y, dy)) in rows.chunks_exact_mut(width).zip(y.zip(dy)) {
            let mean = simd::dot(y, dy);
            for (dx, (y, dy)) in dx.iter_mut().zip(y.iter().zip(dy)) {
                *dx = y * (dy - mean);
            }
        }
    }
}

impl Op for Softmax {
    fn saves(&self) -> Saves {
        Saves { inputs: &[], outputs: &[0] }
    }

    fn backward(&self, saved: &Saved, sinks: &mut Sinks) {
        let gradient = sinks.gradient(0);
        sinks.run(&SoftmaxBackward, &[saved.get(0), &gradient], &[0]);
    }

    fn reference(&self, inputs: &[Array64]) -> Vec<Array64> {
        let x = &inputs[0];
        let width = x.shape.last();
        let row = |row: usize| {
            let x = x.row(row);
            let largest = x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let sum: f64 = x.iter().map(|x| (x - largest).exp()).sum();
            x.iter().map(move |x| (x - largest).exp() / sum)
        };
        vec![Array64::new((0..x.data.len() / width).flat_map(row).collect(), x.shape)]
    }

    fn cases() -> Vec<Case> {
        rows::cases(Softmax)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Device;

    #[test]
    fn another_axis() {
        let x = Tensor::new(&[0.0, 1.0, 2.0, 0.0, 1.0, 2.0], [2, 3], &Device::cpu());
        assert_eq!(x.softmax(0).to_vec().unwrap(), [0.5; 6]);
    }
}
