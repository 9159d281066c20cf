//! Maximum of two: y = max(a, b), element by element, with broadcasting.
//!
//! Derivative: the larger gets dy, and of two that are equal each gets half; then it is summed over the
//! axes along which the operand was repeated. Saves a and b. Cost an element: 1 flop, 12 bytes; for each
//! gradient 3 flops and 24 bytes.

use super::{broadcast, multiply::Multiply, sum::sum_to};
use crate::autograd::{GradientContext, Op, Saved, Saves, apply_built_in};
use crate::device::cpu::simd::larger;
use crate::device::{Cost, Kernel, View, ViewMut};
use crate::gpu::{Binding, Recorder};
use crate::proof::{Array64, Case, Proven};
use crate::random::Key;
use crate::tensor::launch;
use crate::{Shape, Tensor};

impl Tensor {
    /// The larger of a and b, element by element; axes of size 1 are repeated to fit. For the largest
    /// element of a tensor see [`Tensor::max`], for a bound [`Tensor::clamp`].
    ///
    /// # Panics
    /// If the shapes do not broadcast.
    ///
    /// ```
    /// use neutreno_engine::{Device, Tensor};
    /// let device = Device::cpu();
    /// let a = Tensor::new(&[1.0, 2.0, 3.0, 4.0], [2, 2], &device);
    /// let b = Tensor::new(&[2.0, 3.0], [2], &device);
    /// assert_eq!(a.maximum(&b).to_vec()?, [2.0, 3.0, 3.0, 4.0]);
    /// # Ok::<(), neutreno_engine::Error>(())
    /// ```
    #[track_caller]
    pub fn maximum(&self, other: &Tensor) -> Tensor {
        let [y] = apply_built_in(Maximum, &[self, other]);
        y
    }
}

/// y = max(a, b).
#[derive(Clone, Debug)]
pub struct Maximum;

impl Kernel for Maximum {
    fn name(&self) -> &'static str {
        "maximum"
    }

    fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>, String> {
        broadcast::shapes(inputs)
    }

    fn cost(&self, inputs: &[Shape]) -> Cost {
        broadcast::cost(inputs)
    }

    fn cpu(&self, inputs: &[View], outputs: &mut [ViewMut]) {
        broadcast::zip(&mut outputs[0], &inputs[0], &inputs[1], larger);
    }

    fn gpu(&self, inputs: &[Binding], outputs: &[Binding], gpu: &mut Recorder) {
        broadcast::dispatch("broadcast_maximum", inputs, outputs, gpu);
    }
}

impl Op for Maximum {
    fn saves(&self) -> Saves {
        Saves { inputs: &[0, 1], outputs: &[] }
    }

    fn backward(&self, saved: &Saved, context: &mut GradientContext) {
        for (input, other) in [(0, 1), (1, 0)] {
            hand_on(input, [saved.get(other), saved.get(input)], saved, context);
        }
    }
}

/// Hands dy on to an input, in so far as the first of `operands` is the smaller.
pub(super) fn hand_on(
    input: usize,
    operands: [&Tensor; 2],
    saved: &Saved,
    context: &mut GradientContext,
) {
    if context.needs(input) {
        let gradient = context.of_output(0);
        let [share] = launch(&Share, &operands, gradient.device());
        let [full] = launch(&Multiply, &[&gradient, &share], gradient.device());
        context.accumulate(input, sum_to(&full, saved.input_shape(input)));
    }
}

/// 1 where a < b, ½ where a = b, else 0.
#[derive(Clone, Debug)]
struct Share;

impl Kernel for Share {
    fn name(&self) -> &'static str {
        "share"
    }

    fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>, String> {
        broadcast::shapes(inputs)
    }

    fn cost(&self, inputs: &[Shape]) -> Cost {
        broadcast::cost(inputs)
    }

    fn cpu(&self, inputs: &[View], outputs: &mut [ViewMut]) {
        broadcast::zip(&mut outputs[0], &inputs[0], &inputs[1], |a, b| {
            let half = if a == b { 0.5 } else { 0.0 };
            if a < b { 1.0 } else { half }
        });
    }

    fn gpu(&self, inputs: &[Binding], outputs: &[Binding], gpu: &mut Recorder) {
        broadcast::dispatch("broadcast_share", inputs, outputs, gpu);
    }
}

impl Proven for Maximum {
    fn reference(&self, inputs: &[Array64]) -> Vec<Array64> {
        vec![inputs[0].zip(&inputs[1], f64::max)]
    }

    fn cases() -> Vec<Case> {
        cases(|| Maximum)
    }
}

/// Operands of different fractions, so that no two are nearly equal, and some that are equal.
pub(super) fn cases<O: Proven + Clone>(op: impl Fn() -> O) -> Vec<Case> {
    let values = |shape: &[usize], fraction: f32| -> Vec<f32> {
        let count = shape.iter().product();
        let whole = Key::new(count as u64).uniforms(count, -100.0, 100.0).into_iter();
        whole.map(|value| (value.round() + fraction) / 100.0).collect()
    };
    let case = |(a, b): (&[usize], &[usize])| {
        let case = Case::new(format!("{a:?} and {b:?}"), op());
        case.values(&values(a, 0.25), a).values(&values(b, 0.75), b)
    };
    let equal = Case::new("equal elements", op());
    let equal = equal.values(&[1.0, -2.0, 0.0, 3.0], [4]).values(&[1.0, 2.0, 0.0, -3.0], [4]);
    broadcast::SHAPES.map(case).into_iter().chain([equal]).collect()
}
