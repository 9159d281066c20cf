//! Power with a constant exponent: y = xᵖ.
//!
//! Derivative: dx = dy · p · xᵖ⁻¹. Saves x. Cost an element: 3 flops, 8 bytes; backward 5 flops,
//! 12 bytes. Made of a logarithm and an exponential, so for a square `&x * &x` is cheaper.

use super::elementwise::{Elementwise, Function, INPUT, ProvenFunction};
use crate::autograd::{Saves, apply_built_in};
use crate::device::cpu::math;
use crate::gpu::Uniform;
use crate::proof::Case;
use crate::{Tensor, uniforms};

impl Tensor {
    /// x raised to a constant exponent, element by element. For x < 0 the exponent must be a whole
    /// number, else the result is NaN; x = 0 with a negative exponent gives ∞ on the CPU and a very
    /// large number on a GPU.
    ///
    /// ```
    /// use neutreno_engine::{Device, Tensor};
    /// let x = Tensor::new(&[-2.0, 4.0], [2], &Device::cpu());
    /// let y = x.power(3.0).to_vec()?;
    /// assert!((y[0] + 8.0).abs() < 1e-5 && (y[1] - 64.0).abs() < 1e-4);
    /// # Ok::<(), neutreno_engine::Error>(())
    /// ```
    pub fn power(&self, exponent: f32) -> Tensor {
        let [y] = apply_built_in(Elementwise(Power::new(exponent)), &[self]);
        y
    }
}

/// y = xᵖ.
#[derive(Clone, Debug)]
pub struct Power {
    exponent: f32,
    /// What the power of |x| is multiplied by for x < 0: 1 for an even exponent, −1 for an odd one,
    /// NaN for one that is not whole.
    sign: f32,
}

impl Power {
    /// The power with this exponent.
    pub fn new(exponent: f32) -> Power {
        let sign = match exponent.rem_euclid(2.0) {
            0.0 => 1.0,
            1.0 => -1.0,
            _ => f32::NAN,
        };
        Power { exponent, sign }
    }
}

impl Function for Power {
    const NAME: &'static str = "power";
    const FORWARD: &'static str = "power_forward";
    const BACKWARD: &'static str = "power_backward";
    const SAVES: Saves = INPUT;
    const FLOPS: [u64; 2] = [3, 5];

    fn constants(&self) -> Vec<Uniform> {
        uniforms! { exponent: self.exponent, sign: self.sign }.to_vec()
    }

    #[inline(always)]
    fn value(&self, x: f32) -> f32 {
        let Power { exponent, sign } = *self;
        let sign = if x < 0.0 { sign } else { 1.0 };
        sign * raise(x.abs(), exponent)
    }

    #[inline(always)]
    fn slope(&self, x: f32) -> f32 {
        let Power { exponent, sign } = *self;
        // x⁰ has slope 0 at x = 0 too, where the formula would say 0 · ∞.
        if exponent == 0.0 {
            return 0.0;
        }
        let sign = if x < 0.0 { -sign } else { 1.0 };
        exponent * sign * raise(x.abs(), exponent - 1.0)
    }
}

impl ProvenFunction for Power {
    fn reference(&self, x: f64) -> f64 {
        x.powf(f64::from(self.exponent))
    }

    fn cases() -> Vec<Case> {
        let case = |count: usize, exponent: f32, low: f32, high: f32| {
            let label = format!("{count}, to the {exponent}");
            Case::new(label, Elementwise(Power::new(exponent))).between([count], low, high)
        };
        let extremes = Case::new("at 0 and far out", Elementwise(Power::new(0.5)))
            .values(&[0.0, 1e-30, 1.0, 1e30], [4])
            .forward_only();
        vec![
            case(1, 0.5, 0.3, 3.0),
            case(17, -1.0, 0.3, 3.0),
            case(63, 3.0, -2.0, 2.0),
            case(65, 2.0, -2.0, 2.0),
            case(257, 0.0, -2.0, 2.0),
            case(65, 1.0, -2.0, 2.0),
            case(3, -2.0, -3.0, -0.5),
            case(20_000, 2.5, 0.3, 3.0),
            extremes,
        ]
    }
}

/// xᵖ for x ≥ 0.
#[inline(always)]
fn raise(x: f32, p: f32) -> f32 {
    // 0⁰ = 1, where the formula would say e^(0 · −∞).
    if p == 0.0 { 1.0 } else { math::exp(p * math::log(x)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn corners() {
        assert!(Power::new(0.5).value(-2.0).is_nan());
        assert_eq!(Power::new(0.0).value(0.0), 1.0);
        assert_eq!(Power::new(-1.0).value(0.0), f32::INFINITY);
        assert_eq!([0.0, 1.0, 2.0].map(|p| Power::new(p).slope(0.0)), [0.0, 1.0, 0.0]);
    }
}
