//! Square root: y = √x.
//!
//! Derivative: dx = dy / (2y). Saves y. Cost an element: 1 flop, 8 bytes; backward 2 flops,
//! 12 bytes.

use super::elementwise::{Elementwise, Function, OUTPUT, ProvenFunction, cases};
use crate::Tensor;
use crate::autograd::{Saves, apply_built_in};
use crate::proof::Case;

impl Tensor {
    /// √x, element by element, for x ≥ 0. The derivative is infinite at 0.
    ///
    /// ```
    /// use neutreno_engine::{Device, Tensor};
    /// let x = Tensor::new(&[4.0, 9.0], [2], &Device::cpu());
    /// assert_eq!(x.sqrt().to_vec()?, [2.0, 3.0]);
    /// # Ok::<(), neutreno_engine::Error>(())
    /// ```
    pub fn sqrt(&self) -> Tensor {
        let [y] = apply_built_in(Elementwise(Sqrt), &[self]);
        y
    }
}

/// y = √x.
#[derive(Clone, Debug)]
pub struct Sqrt;

impl Function for Sqrt {
    const NAME: &'static str = "sqrt";
    const FORWARD: &'static str = "sqrt_forward";
    const BACKWARD: &'static str = "sqrt_backward";
    const SAVES: Saves = OUTPUT;
    const FLOPS: [u64; 2] = [1, 2];

    #[inline(always)]
    fn value(&self, x: f32) -> f32 {
        x.sqrt()
    }

    #[inline(always)]
    fn slope(&self, y: f32) -> f32 {
        0.5 / y
    }
}

impl ProvenFunction for Sqrt {
    fn reference(&self, x: f64) -> f64 {
        x.sqrt()
    }

    fn cases() -> Vec<Case> {
        cases(Sqrt, [0.1, 4.0], &[0.0, 1e-30, 1.0, 2.0, 1e6])
    }
}
