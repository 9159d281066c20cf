//! Sine: y = sin x, with x in radians.
//!
//! Derivative: dx = dy · cos x. Saves x. Cost an element: 1 flop, 8 bytes; backward 2 flops, 12 bytes.
//!
//! WGSL promises nothing of its own sine beyond ±π. The shader takes whole turns off first, in whole
//! numbers, so the result is within 10⁻⁶ for every x on every device; on the CPU it is within 3 units
//! in the last place.

use super::elementwise::{Elementwise, Function, INPUT, ProvenFunction, cases};
use crate::autograd::{Saves, apply_built_in};
use crate::device::cpu::math;
use crate::gpu::Uniform;
use crate::proof::Case;
use crate::{Tensor, uniforms};

impl Tensor {
    /// sin x of x in radians, element by element.
    ///
    /// ```
    /// use neutreno_engine::{Device, Tensor};
    /// let x = Tensor::new(&[0.0, std::f32::consts::FRAC_PI_2], [2], &Device::cpu());
    /// assert_eq!(x.sin().to_vec()?, [0.0, 1.0]);
    /// # Ok::<(), neutreno_engine::Error>(())
    /// ```
    pub fn sin(&self) -> Tensor {
        let [y] = apply_built_in(Elementwise(Sin), &[self]);
        y
    }
}

/// y = sin x.
#[derive(Clone, Debug)]
pub struct Sin;

impl Function for Sin {
    const NAME: &'static str = "sin";
    const FORWARD: &'static str = "sin_forward";
    const BACKWARD: &'static str = "sin_backward";
    const SAVES: Saves = INPUT;
    const FLOPS: [u64; 2] = [1, 2];

    fn constants(&self) -> Vec<Uniform> {
        uniforms! { quarters: 0_u32 }.to_vec()
    }

    #[inline(always)]
    fn value(&self, x: f32) -> f32 {
        math::sin(x)
    }

    #[inline(always)]
    fn slope(&self, x: f32) -> f32 {
        math::cos(x)
    }
}

impl ProvenFunction for Sin {
    fn reference(&self, x: f64) -> f64 {
        x.sin()
    }

    fn cases() -> Vec<Case> {
        let mut cases = cases(Sin, [-7.0, 7.0], &EXTREMES);
        let far = Case::new("far out", Elementwise(Sin)).between([257], -1e5, 1e5);
        cases.push(far);
        cases.into_iter().map(|case| case.tolerance(1e-6)).collect()
    }
}

/// Small, near multiples of π/2, and large.
pub(super) const EXTREMES: [f32; 12] = [
    0.0,
    -1e-30,
    1e-8,
    std::f32::consts::FRAC_PI_4,
    std::f32::consts::FRAC_PI_2,
    -std::f32::consts::PI,
    22.0,
    710.0,
    -1e5,
    1e7,
    -1e20,
    3e38,
];
