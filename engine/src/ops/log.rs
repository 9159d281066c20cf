//! Natural logarithm: y = ln x.
//!
//! Derivative: dx = dy / x. Saves x. Cost an element: 1 flop, 8 bytes; backward 1 flop, 12 bytes.

use super::elementwise::{Elementwise, Function, INPUT, ProvenFunction, cases};
use crate::Tensor;
use crate::autograd::{Saves, apply_built_in};
use crate::device::cpu::math;
use crate::proof::Case;

impl Tensor {
    /// ln x, element by element, for x > 0. (At 0 it is −∞ and below NaN on the CPU; what a GPU
    /// makes of them is up to its driver.)
    ///
    /// ```
    /// use neutreno_engine::{Device, Tensor};
    /// let x = Tensor::new(&[1.0, 4.0], [2], &Device::cpu());
    /// assert_eq!(x.log().to_vec()?, [0.0, 4.0_f32.ln()]);
    /// # Ok::<(), neutreno_engine::Error>(())
    /// ```
    pub fn log(&self) -> Tensor {
        let [y] = apply_built_in(Elementwise(Log), &[self]);
        y
    }
}

/// y = ln x.
#[derive(Clone, Debug)]
pub struct Log;

impl Function for Log {
    const NAME: &'static str = "log";
    const FORWARD: &'static str = "log_forward";
    const BACKWARD: &'static str = "log_backward";
    const SAVES: Saves = INPUT;
    const FLOPS: [u64; 2] = [1, 1];

    #[inline(always)]
    fn value(&self, x: f32) -> f32 {
        math::log(x)
    }

    #[inline(always)]
    fn slope(&self, x: f32) -> f32 {
        1.0 / x
    }
}

impl ProvenFunction for Log {
    fn reference(&self, x: f64) -> f64 {
        x.ln()
    }

    fn cases() -> Vec<Case> {
        cases(Log, [0.1, 4.0], &[1e-30, 1e-3, 1.0, 1.001, 1e30])
    }
}
