//! Clamp: y = low where x < low, high where x > high, and x between them.
//!
//! Derivative: dx = dy where low ≤ x ≤ high, else 0. Saves x. Cost an element: 2 flops, 8 bytes;
//! backward 3 flops, 12 bytes.

use super::elementwise::{Elementwise, Function, INPUT, ProvenFunction};
use crate::autograd::{Saves, apply_built_in};
use crate::gpu::Uniform;
use crate::proof::Case;
use crate::random::Key;
use crate::{Tensor, uniforms};

impl Tensor {
    /// x, element by element, but no less than `low` and no more than `high`. A bound may be infinite.
    ///
    /// # Panics
    /// If `low` is above `high`, or one of them is NaN.
    ///
    /// ```
    /// use neutreno_engine::{Device, Tensor};
    /// let x = Tensor::new(&[-2.0, 0.5, 3.0], [3], &Device::cpu());
    /// assert_eq!(x.clamp(0.0, 1.0).to_vec()?, [0.0, 0.5, 1.0]);
    /// assert_eq!(x.clamp(0.0, f32::INFINITY).to_vec()?, [0.0, 0.5, 3.0]);
    /// # Ok::<(), neutreno_engine::Error>(())
    /// ```
    #[track_caller]
    pub fn clamp(&self, low: f32, high: f32) -> Tensor {
        assert!(low <= high, "clamp: there is nothing from {low} to {high}");
        let [y] = apply_built_in(Elementwise(Clamp { low, high }), &[self]);
        y
    }
}

/// y = min(max(x, low), high).
#[derive(Clone, Debug)]
pub struct Clamp {
    /// What y is at least.
    pub low: f32,
    /// What y is at most.
    pub high: f32,
}

impl Function for Clamp {
    const NAME: &'static str = "clamp";
    const FORWARD: &'static str = "clamp_forward";
    const BACKWARD: &'static str = "clamp_backward";
    const SAVES: Saves = INPUT;
    const FLOPS: [u64; 2] = [2, 3];

    fn constants(&self) -> Vec<Uniform> {
        uniforms! { low: self.low, high: self.high }.to_vec()
    }

    #[inline(always)]
    fn value(&self, x: f32) -> f32 {
        // This way round a NaN stays one.
        let x = if x < self.low { self.low } else { x };
        if x > self.high { self.high } else { x }
    }

    #[inline(always)]
    fn slope(&self, x: f32) -> f32 {
        if self.low <= x && x <= self.high { 1.0 } else { 0.0 }
    }
}

impl ProvenFunction for Clamp {
    fn reference(&self, x: f64) -> f64 {
        f64::from(self.low).max(f64::from(self.high).min(x))
    }

    fn cases() -> Vec<Case> {
        // Away from the kinks.
        let off_the_kinks = |x: f32| if (x.abs() - 0.5).abs() < 0.05 { 0.8 * x } else { x };
        let case = |count: usize| {
            let values = Key::new(count as u64).uniforms(count, -1.0, 1.0);
            let values: Vec<f32> = values.into_iter().map(off_the_kinks).collect();
            let op = Elementwise(Clamp { low: -0.5, high: 0.5 });
            Case::new(format!("{count}"), op).values(&values, [count])
        };
        let one_sided = Elementwise(Clamp { low: -0.5, high: f32::INFINITY });
        let one_sided = Case::new("above a bound", one_sided);
        let extremes = Elementwise(Clamp { low: -2.0, high: 1e-3 });
        let extremes = Case::new("extremes", extremes).forward_only();
        let mut cases: Vec<Case> = [1, 3, 17, 63, 65, 257, 20_000].map(case).into();
        cases.push(one_sided.values(&[-7.0, -0.4, 0.0, 1e3], [4]));
        cases.push(extremes.values(&[-1e30, -2.0, -1e-30, 0.0, 1e-3, 1e-2, 1e30], [7]));
        cases
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_the_bounds_the_slope_is_1() {
        let clamp = Clamp { low: -1.0, high: 2.0 };
        let slopes = [-1.1, -1.0, 0.0, 2.0, 2.1].map(|x| clamp.slope(x));
        assert_eq!(slopes, [0.0, 1.0, 1.0, 1.0, 0.0]);
        assert!(clamp.value(f32::NAN).is_nan());
    }
}
