//! Minimum of two: y = min(a, b), element by element, with broadcasting.
//!
//! Derivative: the smaller gets dy, and of two that are equal each gets half; then it is summed over the
//! axes along which the operand was repeated. Saves a and b. Cost as [`maximum`](super::maximum).

use super::broadcast;
use super::maximum::{cases, hand_on};
use crate::autograd::{GradientContext, Op, Saved, Saves, apply_built_in};
use crate::device::{Cost, Kernel, View, ViewMut};
use crate::gpu::{Binding, Recorder};
use crate::proof::{Array64, Case, Proven};
use crate::{Shape, Tensor};

impl Tensor {
    /// The smaller of a and b, element by element; axes of size 1 are repeated to fit.
    ///
    /// # Panics
    /// If the shapes do not broadcast.
    ///
    /// ```
    /// use neutreno_engine::{Device, Tensor};
    /// let device = Device::cpu();
    /// let a = Tensor::new(&[1.0, 2.0, 3.0, 4.0], [2, 2], &device);
    /// let b = Tensor::new(&[2.0, 3.0], [2], &device);
    /// assert_eq!(a.minimum(&b).to_vec()?, [1.0, 2.0, 2.0, 3.0]);
    /// # Ok::<(), neutreno_engine::Error>(())
    /// ```
    #[track_caller]
    pub fn minimum(&self, other: &Tensor) -> Tensor {
        let [y] = apply_built_in(Minimum, &[self, other]);
        y
    }
}

/// y = min(a, b).
#[derive(Clone, Debug)]
pub struct Minimum;

impl Kernel for Minimum {
    fn name(&self) -> &'static str {
        "minimum"
    }

    fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>, String> {
        broadcast::shapes(inputs)
    }

    fn cost(&self, inputs: &[Shape]) -> Cost {
        broadcast::cost(inputs)
    }

    fn cpu(&self, inputs: &[View], outputs: &mut [ViewMut]) {
        // A NaN in either stays one.
        let smaller = |a: f32, b: f32| if a <= b || a.is_nan() { a } else { b };
        broadcast::zip(&mut outputs[0], &inputs[0], &inputs[1], smaller);
    }

    fn gpu(&self, inputs: &[Binding], outputs: &[Binding], gpu: &mut Recorder) {
        broadcast::dispatch("broadcast_minimum", inputs, outputs, gpu);
    }
}

impl Op for Minimum {
    fn saves(&self) -> Saves {
        Saves { inputs: &[0, 1], outputs: &[] }
    }

    fn backward(&self, saved: &Saved, context: &mut GradientContext) {
        for (input, other) in [(0, 1), (1, 0)] {
            hand_on(input, [saved.get(input), saved.get(other)], saved, context);
        }
    }
}

impl Proven for Minimum {
    fn reference(&self, inputs: &[Array64]) -> Vec<Array64> {
        vec![inputs[0].zip(&inputs[1], f64::min)]
    }

    fn cases() -> Vec<Case> {
        cases(|| Minimum)
    }
}
