//! What functions of a row, applied along the last axis, share. Such an op is the function with its
//! derivative ([`Function`], in a file of its own) and a shader; all else is here.

use super::rows;
use crate::autograd::{GradientContext, Op, Saved, Saves, apply_built_in};
use crate::device::cpu::simd;
use crate::device::{Cost, Kernel, View, ViewMut};
use crate::gpu::{Binding, Recorder};
use crate::proof::{Array64, Case, Proven};
use crate::{Shape, Tensor, uniforms};
use std::fmt::Debug;
use std::marker::PhantomData;

/// A function y = f(x) from a row to a row of the same length, whose derivative follows from y. The
/// shader has two entry points with a workgroup a row: one with x and y, and one with y, dy and dx.
pub trait Function: Clone + Debug + Default + Send + Sync + 'static {
    /// The op's name.
    const NAME: &'static str;
    /// The shader's entry point that makes y.
    const FORWARD: &'static str;
    /// The shader's entry point that makes dx.
    const BACKWARD: &'static str;
    /// Floating-point operations an element, forward and backward; an elementary function is one.
    const FLOPS: [u64; 2];

    /// f(x), into `y`. Implement it with `#[inline(always)]`.
    fn forward(x: &[f32], y: &mut [f32]);

    /// The gradient of x, into `dx`. Implement it with `#[inline(always)]`.
    fn backward(y: &[f32], dy: &[f32], dx: &mut [f32]);

    /// f(x) once more, from the formula alone.
    fn reference(x: &[f64]) -> Vec<f64>;
}

/// Applies a function along `axis`.
#[track_caller]
pub(super) fn apply_along<F: Function>(function: F, x: &Tensor, axis: isize) -> Tensor {
    rows::along(x, axis, F::NAME, |x| {
        let [y] = apply_built_in(RowFunction(function), &[x]);
        y
    })
}

/// y = f(x), row by row.
#[derive(Clone, Debug)]
pub struct RowFunction<F>(pub F);

impl<F: Function> Kernel for RowFunction<F> {
    fn name(&self) -> &'static str {
        F::NAME
    }

    fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>, String> {
        rows::check_rows(&inputs[0])?;
        Ok(vec![inputs[0]])
    }

    fn cost(&self, inputs: &[Shape]) -> Cost {
        let elements = inputs[0].elements();
        Cost::elementwise(elements, F::FLOPS[0], 2 * elements)
    }

    fn cpu(&self, inputs: &[View], outputs: &mut [ViewMut]) {
        let (x, width) = (inputs[0].data, inputs[0].shape.last());
        simd::for_long_rows(
            &mut outputs[0],
            width,
            &Forward { function: PhantomData::<F>, x, width },
        );
    }

    fn gpu(&self, inputs: &[Binding], outputs: &[Binding], gpu: &mut Recorder) {
        dispatch(F::FORWARD, inputs, outputs, gpu);
    }
}

impl<F: Function> Op for RowFunction<F> {
    fn saves(&self) -> Saves {
        Saves { inputs: &[], outputs: &[0] }
    }

    fn backward(&self, saved: &Saved, context: &mut GradientContext) {
        let gradient = context.of_output(0);
        let operands = [saved.get(0), &gradient];
        context.accumulate_with(&RowBackward(self.0.clone()), &operands, &[0]);
    }
}

impl<F: Function> Proven for RowFunction<F> {
    fn reference(&self, inputs: &[Array64]) -> Vec<Array64> {
        let x = &inputs[0];
        let rows = (0..x.shape.rows()).flat_map(|row| F::reference(x.row(row)));
        vec![Array64::new(rows.collect(), x.shape)]
    }

    fn cases() -> Vec<Case> {
        rows::cases(RowFunction(F::default()))
    }
}

/// dx from y and dy.
#[derive(Clone, Debug)]
struct RowBackward<F>(F);

impl<F: Function> Kernel for RowBackward<F> {
    fn name(&self) -> &'static str {
        F::BACKWARD
    }

    fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>, String> {
        Ok(vec![inputs[0]])
    }

    fn cost(&self, inputs: &[Shape]) -> Cost {
        let elements = inputs[0].elements();
        Cost::elementwise(elements, F::FLOPS[1], 3 * elements)
    }

    fn cpu(&self, inputs: &[View], outputs: &mut [ViewMut]) {
        let width = inputs[0].shape.last();
        let [y, dy] = [inputs[0].data, inputs[1].data];
        let body = Backward { function: PhantomData::<F>, y, dy, width };
        simd::for_long_rows(&mut outputs[0], width, &body);
    }

    fn gpu(&self, inputs: &[Binding], outputs: &[Binding], gpu: &mut Recorder) {
        dispatch(F::BACKWARD, inputs, outputs, gpu);
    }
}

/// The loop of [`RowFunction`] over some rows.
struct Forward<'a, F> {
    function: PhantomData<F>,
    x: &'a [f32],
    width: usize,
}

impl<F: Function> simd::Rows for Forward<'_, F> {
    #[inline(always)]
    fn make(&self, first: usize, rows: &mut [f32]) {
        let x = self.x[first * self.width..].chunks_exact(self.width);
        for (y, x) in rows.chunks_exact_mut(self.width).zip(x) {
            F::forward(x, y);
        }
    }
}

/// The loop of [`RowBackward`] over some rows.
struct Backward<'a, F> {
    function: PhantomData<F>,
    y: &'a [f32],
    dy: &'a [f32],
    width: usize,
}

impl<F: Function> simd::Rows for Backward<'_, F> {
    #[inline(always)]
    fn make(&self, first: usize, rows: &mut [f32]) {
        let width = self.width;
        let [y, dy] = [self.y, self.dy].map(|values| values[first * width..].chunks_exact(width));
        for (dx, (y, dy)) in rows.chunks_exact_mut(width).zip(y.zip(dy)) {
            F::backward(y, dy, dx);
        }
    }
}

/// Records a shader with a workgroup for each row.
fn dispatch(entry_point: &str, inputs: &[Binding], outputs: &[Binding], gpu: &mut Recorder) {
    let (rows, width) = (inputs[0].shape.rows(), inputs[0].shape.last());
    let inputs: Vec<&Binding> = inputs.iter().collect();
    gpu.dispatch_rows(entry_point, &inputs, &[&outputs[0]], uniforms! { rows, width }, rows);
}
