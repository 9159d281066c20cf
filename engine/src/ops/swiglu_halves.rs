//! SwiGLU of rows whose first half is the gate and whose second half is up, as
//! [`linear_merged`](super::linear_merged) makes them: y = silu(gate) ⊙ up, see [`swiglu`](super::swiglu).
//!
//! Derivative: as there, side by side. Saves x. Cost an element of y: 6 flops, 12 bytes; backward 11 flops,
//! 20 bytes.

use super::swiglu::{Forward, Slopes, Swiglu};
use crate::autograd::{GradientContext, Op, Saved, Saves, apply_built_in};
use crate::device::cpu::simd::{self, Body};
use crate::device::{Cost, Kernel, View, ViewMut};
use crate::gpu::{Binding, Recorder};
use crate::proof::{Array64, Case, Proven};
use crate::{Shape, Tensor, uniforms};

impl Tensor {
    /// silu(gate) ⊙ up of x (…, 2 · width): the gate is the first half of each row, up the second. It is
    /// (…, width).
    ///
    /// # Panics
    /// If the last axis has an odd size, or there is none.
    ///
    /// ```
    /// use neutreno_engine::{Device, Tensor};
    /// let x = Tensor::new(&[0.0, 50.0, 3.0, 4.0], [1, 4], &Device::cpu());
    /// assert_eq!(x.swiglu_halves().to_vec()?, [0.0, 200.0]);
    /// # Ok::<(), neutreno_engine::Error>(())
    /// ```
    #[track_caller]
    pub fn swiglu_halves(&self) -> Tensor {
        let [y] = apply_built_in(SwigluHalves, &[self]);
        y
    }
}

/// y = silu(gate) ⊙ up, of the halves of rows.
#[derive(Clone, Debug)]
pub struct SwigluHalves;

impl Kernel for SwigluHalves {
    fn name(&self) -> &'static str {
        "swiglu_halves"
    }

    fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>, String> {
        let x = inputs[0];
        if x.rank() == 0 || !x.last().is_multiple_of(2) {
            return Err("rows of two halves have an even size".into());
        }
        Ok(vec![x.with(x.rank() - 1, x.last() / 2)])
    }

    fn cost(&self, inputs: &[Shape]) -> Cost {
        let elements = inputs[0].elements() / 2;
        Cost::elementwise(elements, 6, 3 * elements)
    }

    fn cpu(&self, inputs: &[View], outputs: &mut [ViewMut]) {
        let width = outputs[0].shape.last();
        simd::for_long_rows(&mut outputs[0], width, &Rows { x: inputs[0].data, width });
    }

    fn gpu(&self, inputs: &[Binding], outputs: &[Binding], gpu: &mut Recorder) {
        let [x, y] = [&inputs[0], &outputs[0]];
        let (elements, width) = (y.shape.elements(), y.shape.last());
        let uniforms = uniforms! { elements, width };
        gpu.dispatch_elements("swiglu_halves_forward", &[x], &[y], uniforms, elements);
    }
}

/// The loop of [`SwigluHalves`].
struct Rows<'a> {
    x: &'a [f32],
    /// Of a row of y.
    width: usize,
}

impl simd::Rows for Rows<'_> {
    #[inline(always)]
    fn make(&self, first: usize, rows: &mut [f32]) {
        for (row, y) in (first..).zip(rows.chunks_exact_mut(self.width)) {
            let (gate, up) = self.x[2 * row * self.width..][..2 * self.width].split_at(self.width);
            Forward { gate, up, y }.call();
        }
    }
}

impl Op for SwigluHalves {
    fn saves(&self) -> Saves {
        Saves { inputs: &[0], outputs: &[] }
    }

    fn backward(&self, saved: &Saved, context: &mut GradientContext) {
        let gradient = context.of_output(0);
        context.accumulate_with(&Backward, &[&gradient, saved.get(0)], &[0]);
    }
}

/// The gradient of x, from dy and x.
#[derive(Clone, Debug)]
struct Backward;

impl Kernel for Backward {
    fn name(&self) -> &'static str {
        "swiglu_halves_backward"
    }

    fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>, String> {
        Ok(vec![inputs[1]])
    }

    fn cost(&self, inputs: &[Shape]) -> Cost {
        let elements = inputs[0].elements();
        Cost::elementwise(elements, 11, 5 * elements)
    }

    fn adds(&self, _output: usize) -> bool {
        true
    }

    fn cpu(&self, inputs: &[View], outputs: &mut [ViewMut]) {
        let width = inputs[0].shape.last();
        let add = outputs[0].add;
        let body = RowsBack { dy: inputs[0].data, x: inputs[1].data, width, add };
        simd::for_long_rows(&mut outputs[0], 2 * width, &body);
    }

    fn gpu(&self, inputs: &[Binding], outputs: &[Binding], gpu: &mut Recorder) {
        let [dy, x, dx] = [&inputs[0], &inputs[1], &outputs[0]];
        let (elements, width, add) = (dy.shape.elements(), dy.shape.last(), dx.add);
        let uniforms = uniforms! { elements, width, add };
        gpu.dispatch_elements("swiglu_halves_backward", &[dy, x], &[dx], uniforms, elements);
    }
}

/// The loop of [`Backward`].
struct RowsBack<'a> {
    dy: &'a [f32],
    x: &'a [f32],
    /// Of a row of dy.
    width: usize,
    add: bool,
}

impl simd::Rows for RowsBack<'_> {
    #[inline(always)]
    fn make(&self, first: usize, rows: &mut [f32]) {
        let width = self.width;
        for (row, dx) in (first..).zip(rows.chunks_exact_mut(2 * width)) {
            let (gate, up) = self.x[2 * row * width..][..2 * width].split_at(width);
            let (d_gate, d_up) = dx.split_at_mut(width);
            let dy = &self.dy[row * width..][..width];
            Slopes { dy, gate, up, d_gate, d_up, add: [self.add; 2] }.call();
        }
    }
}

impl Proven for SwigluHalves {
    fn reference(&self, inputs: &[Array64]) -> Vec<Array64> {
        let x = &inputs[0];
        let width = x.shape.last() / 2;
        let half = |first: usize| {
            let shape = x.shape.with(x.shape.rank() - 1, width);
            Array64::from_fn(shape, |i| x.row(i / width)[first + i % width])
        };
        Swiglu.reference(&[half(0), half(width)])
    }

    fn cases() -> Vec<Case> {
        let shapes: [&[usize]; 6] = [&[2], &[1, 6], &[17, 2], &[5, 130], &[2, 3, 34], &[70, 704]];
        let case = |shape: &[usize]| {
            Case::new(format!("{shape:?}"), SwigluHalves).between(Shape::new(shape), -6.0, 6.0)
        };
        shapes.map(case).into()
    }
}
