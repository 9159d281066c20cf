//! Cosine: y = cos x, with x in radians.
//!
//! Derivative: dx = −dy · sin x. Saves x. Cost an element: 1 flop, 8 bytes; backward 2 flops, 12 bytes.
//!
//! As accurate as [`sin`](super::sin), whose shader it shares.

use super::elementwise::{Elementwise, Function, INPUT, ProvenFunction, cases};
use super::sin::EXTREMES;
use crate::autograd::{Saves, apply_built_in};
use crate::device::cpu::math;
use crate::gpu::Uniform;
use crate::proof::Case;
use crate::{Tensor, uniforms};

impl Tensor {
    /// cos x of x in radians, element by element.
    ///
    /// ```
    /// use neutreno_engine::{Device, Tensor};
    /// let x = Tensor::new(&[0.0, std::f32::consts::PI], [2], &Device::cpu());
    /// assert_eq!(x.cos().to_vec()?, [1.0, -1.0]);
    /// # Ok::<(), neutreno_engine::Error>(())
    /// ```
    pub fn cos(&self) -> Tensor {
        let [y] = apply_built_in(Elementwise(Cos), &[self]);
        y
    }
}

/// y = cos x.
#[derive(Clone, Debug)]
pub struct Cos;

impl Function for Cos {
    const NAME: &'static str = "cos";
    const FORWARD: &'static str = "sin_forward";
    const BACKWARD: &'static str = "sin_backward";
    const SAVES: Saves = INPUT;
    const FLOPS: [u64; 2] = [1, 2];

    fn constants(&self) -> Vec<Uniform> {
        uniforms! { quarters: 1_u32 }.to_vec()
    }

    #[inline(always)]
    fn value(&self, x: f32) -> f32 {
        math::cos(x)
    }

    #[inline(always)]
    fn slope(&self, x: f32) -> f32 {
        -math::sin(x)
    }
}

impl ProvenFunction for Cos {
    fn reference(&self, x: f64) -> f64 {
        x.cos()
    }

    fn cases() -> Vec<Case> {
        let mut cases = cases(Cos, [-7.0, 7.0], &EXTREMES);
        let far = Case::new("far out", Elementwise(Cos)).between([257], -1e5, 1e5);
        cases.push(far);
        cases.into_iter().map(|case| case.tolerance(1e-6)).collect()
    }
}
