//! Addition: y = a + b, with broadcasting.
//!
//! Derivative: da = dy, db = dy, each summed over the axes along which the operand was repeated.
//! Saves nothing. Cost an element: 1 flop, 12 bytes.

use super::{broadcast, sum::sum_to};
use crate::autograd::{GradientContext, Op, Saved, Saves, apply_built_in};
use crate::device::{Cost, Kernel, View, ViewMut};
use crate::gpu::{Binding, Recorder};
use crate::proof::{Array64, Case, Proven};
use crate::{Shape, Tensor};

impl Tensor {
    /// a + b, element by element; axes of size 1 are repeated to fit (also written `&a + &b`).
    ///
    /// # Panics
    /// If the shapes do not broadcast.
    ///
    /// ```
    /// use neutreno_engine::{Device, Tensor};
    /// let device = Device::cpu();
    /// let a = Tensor::new(&[1.0, 2.0, 3.0, 4.0], [2, 2], &device);
    /// let b = Tensor::new(&[10.0, 20.0], [2], &device);
    /// assert_eq!(a.add(&b).to_vec()?, [11.0, 22.0, 13.0, 24.0]);
    /// # Ok::<(), neutreno_engine::Error>(())
    /// ```
    #[track_caller]
    pub fn add(&self, other: &Tensor) -> Tensor {
        let [sum] = apply_built_in(Add, &[self, other]);
        sum
    }
}

/// y = a + b.
#[derive(Clone, Debug)]
pub struct Add;

impl Kernel for Add {
    fn name(&self) -> &'static str {
        "add"
    }

    fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>, String> {
        broadcast::shapes(inputs)
    }

    fn cost(&self, inputs: &[Shape]) -> Cost {
        broadcast::cost(inputs)
    }

    fn cpu(&self, inputs: &[View], outputs: &mut [ViewMut]) {
        broadcast::zip(&mut outputs[0], &inputs[0], &inputs[1], |a, b| a + b);
    }

    fn gpu(&self, inputs: &[Binding], outputs: &[Binding], gpu: &mut Recorder) {
        broadcast::dispatch("broadcast_add", inputs, outputs, gpu);
    }
}

impl Op for Add {
    fn saves(&self) -> Saves {
        Saves::default()
    }

    fn backward(&self, saved: &Saved, context: &mut GradientContext) {
        let gradient = context.take_of_output(0);
        for input in [0, 1] {
            if context.needs(input) {
                context.accumulate(input, sum_to(&gradient, saved.input_shape(input)));
            }
        }
    }
}

impl Proven for Add {
    fn reference(&self, inputs: &[Array64]) -> Vec<Array64> {
        vec![inputs[0].zip(&inputs[1], |a, b| a + b)]
    }

    fn cases() -> Vec<Case> {
        broadcast::cases(|| Add, [-1.0, 1.0])
    }
}
