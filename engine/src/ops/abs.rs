//! Magnitude: y = |x|.
//!
//! Derivative: dx = dy where x > 0, −dy where x < 0, and 0 at 0. Saves x. Cost an element: 1 flop, 8
//! bytes; backward 1 flop, 12 bytes.

use super::elementwise::{Elementwise, Function, INPUT, ProvenFunction, cases};
use crate::Tensor;
use crate::autograd::{Saves, apply_built_in};
use crate::proof::Case;

impl Tensor {
    /// |x|, element by element.
    ///
    /// ```
    /// use neutreno_engine::{Device, Tensor};
    /// let x = Tensor::new(&[-2.0, 0.0, 3.0], [3], &Device::cpu());
    /// assert_eq!(x.abs().to_vec()?, [2.0, 0.0, 3.0]);
    /// # Ok::<(), neutreno_engine::Error>(())
    /// ```
    pub fn abs(&self) -> Tensor {
        let [y] = apply_built_in(Elementwise(Abs), &[self]);
        y
    }
}

/// y = |x|.
#[derive(Clone, Debug)]
pub struct Abs;

impl Function for Abs {
    const NAME: &'static str = "abs";
    const FORWARD: &'static str = "abs_forward";
    const BACKWARD: &'static str = "abs_backward";
    const SAVES: Saves = INPUT;
    const FLOPS: [u64; 2] = [1, 1];

    #[inline(always)]
    fn value(&self, x: f32) -> f32 {
        x.abs()
    }

    #[inline(always)]
    fn slope(&self, x: f32) -> f32 {
        if x == 0.0 { 0.0 } else { 1.0_f32.copysign(x) }
    }
}

impl ProvenFunction for Abs {
    fn reference(&self, x: f64) -> f64 {
        x.max(-x)
    }

    fn cases() -> Vec<Case> {
        // On both sides of the kink, and at it, where the difference of both sides is 0.
        let both_sides = Case::new("both sides", Elementwise(Abs));
        let both_sides = both_sides.values(&[-2.0, -0.5, 0.0, 0.5, 2.0], [5]);
        let mut cases = cases(Abs, [0.1, 1.0], &[-1e30, -1e-30, 0.0, 1e-30, 1e3]);
        cases.extend(super::elementwise::cases(Abs, [-1.0, -0.1], &[]));
        cases.push(both_sides);
        cases
    }
}
