//! Exponential: y = eˣ.
//!
//! Derivative: dx = dy · y. Saves y. Cost an element: 1 flop, 8 bytes; backward 1 flop, 12 bytes.

use super::elementwise::{Elementwise, Function, OUTPUT, ProvenFunction, cases};
use crate::Tensor;
use crate::autograd::{Saves, apply_built_in};
use crate::device::cpu::math;
use crate::proof::Case;

impl Tensor {
    /// eˣ, element by element; ∞ above about 88.7.
    ///
    /// ```
    /// use neutreno_engine::{Device, Tensor};
    /// let x = Tensor::new(&[0.0, 1.0], [2], &Device::cpu());
    /// assert_eq!(x.exp().to_vec()?, [1.0, std::f32::consts::E]);
    /// # Ok::<(), neutreno_engine::Error>(())
    /// ```
    pub fn exp(&self) -> Tensor {
        let [y] = apply_built_in(Elementwise(Exp), &[self]);
        y
    }
}

/// y = eˣ.
#[derive(Clone, Debug)]
pub struct Exp;

impl Function for Exp {
    const NAME: &'static str = "exp";
    const FORWARD: &'static str = "exp_forward";
    const BACKWARD: &'static str = "exp_backward";
    const SAVES: Saves = OUTPUT;
    const FLOPS: [u64; 2] = [1, 1];

    #[inline(always)]
    fn value(&self, x: f32) -> f32 {
        math::exp(x)
    }

    #[inline(always)]
    fn slope(&self, y: f32) -> f32 {
        y
    }
}

impl ProvenFunction for Exp {
    fn reference(&self, x: f64) -> f64 {
        x.exp()
    }

    fn cases() -> Vec<Case> {
        cases(Exp, [-4.0, 2.0], &[-1e4, -87.0, -1e-8, 0.0, 1e-8, 3.0])
    }
}
