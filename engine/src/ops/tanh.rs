//! Hyperbolic tangent: y = tanh x.
//!
//! Derivative: dx = dy · (1 − y²). Saves y. Cost an element: 1 flop, 8 bytes; backward 3 flops,
//! 12 bytes.

use super::elementwise::{Elementwise, Function, OUTPUT, ProvenFunction, cases};
use crate::Tensor;
use crate::autograd::{Saves, apply_built_in};
use crate::device::cpu::math;
use crate::proof::Case;

impl Tensor {
    /// tanh x, element by element.
    ///
    /// ```
    /// use neutreno_engine::{Device, Tensor};
    /// let x = Tensor::new(&[-50.0, 0.0, 50.0], [3], &Device::cpu());
    /// assert_eq!(x.tanh().to_vec()?, [-1.0, 0.0, 1.0]);
    /// # Ok::<(), neutreno_engine::Error>(())
    /// ```
    pub fn tanh(&self) -> Tensor {
        let [y] = apply_built_in(Elementwise(Tanh), &[self]);
        y
    }
}

/// y = tanh x.
#[derive(Clone, Debug)]
pub struct Tanh;

impl Function for Tanh {
    const NAME: &'static str = "tanh";
    const FORWARD: &'static str = "tanh_forward";
    const BACKWARD: &'static str = "tanh_backward";
    const SAVES: Saves = OUTPUT;
    const FLOPS: [u64; 2] = [1, 3];

    #[inline(always)]
    fn value(&self, x: f32) -> f32 {
        math::tanh(x)
    }

    #[inline(always)]
    fn slope(&self, y: f32) -> f32 {
        1.0 - y * y
    }
}

impl ProvenFunction for Tanh {
    fn reference(&self, x: f64) -> f64 {
        x.tanh()
    }

    fn cases() -> Vec<Case> {
        cases(Tanh, [-3.0, 3.0], &[-1e4, -100.0, -1e-8, 0.0, 0.349, 0.351, 100.0, 1e4])
    }
}
