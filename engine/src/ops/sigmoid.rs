//! Logistic function: y = σ(x) = 1 / (1 + e⁻ˣ).
//!
//! Derivative: dx = dy · y · (1 − y). Saves y. Cost an element: 4 flops, 8 bytes; backward
//! 3 flops, 12 bytes.

use super::elementwise::{Elementwise, Function, OUTPUT, ProvenFunction, cases};
use crate::Tensor;
use crate::autograd::{Saves, apply_built_in};
use crate::device::cpu::math;
use crate::proof::Case;

impl Tensor {
    /// 1 / (1 + e⁻ˣ), element by element.
    ///
    /// ```
    /// use neutreno_engine::{Device, Tensor};
    /// let x = Tensor::new(&[-200.0, 0.0, 200.0], [3], &Device::cpu());
    /// assert_eq!(x.sigmoid().to_vec()?, [0.0, 0.5, 1.0]);
    /// # Ok::<(), neutreno_engine::Error>(())
    /// ```
    pub fn sigmoid(&self) -> Tensor {
        let [y] = apply_built_in(Elementwise(Sigmoid), &[self]);
        y
    }
}

/// y = 1 / (1 + e⁻ˣ).
#[derive(Clone, Debug)]
pub struct Sigmoid;

impl Function for Sigmoid {
    const NAME: &'static str = "sigmoid";
    const FORWARD: &'static str = "sigmoid_forward";
    const BACKWARD: &'static str = "sigmoid_backward";
    const SAVES: Saves = OUTPUT;
    const FLOPS: [u64; 2] = [4, 3];

    #[inline(always)]
    fn value(&self, x: f32) -> f32 {
        math::sigmoid(x)
    }

    #[inline(always)]
    fn slope(&self, y: f32) -> f32 {
        y * (1.0 - y)
    }
}

impl ProvenFunction for Sigmoid {
    fn reference(&self, x: f64) -> f64 {
        1.0 / (1.0 + (-x).exp())
    }

    fn cases() -> Vec<Case> {
        cases(Sigmoid, [-6.0, 6.0], &[-1e4, -100.0, 0.0, 1e-8, 100.0, 1e4])
    }
}
