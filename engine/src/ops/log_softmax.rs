//! Log-softmax: y = (x − m) − log Σ exp(x − m) over the last axis, with m the maximum of the row:
//! exact where the logarithm of a softmax would be that of a number rounded to 0.
//!
//! Derivative: dx = dy − exp(y) Σ dy. Saves y. Cost an element: 4 flops and 8 bytes forward;
//! 4 flops and 12 bytes backward. The shader stands in `softmax.wgsl`.

use super::row_function::{Function, apply_along};
use crate::Tensor;
use crate::device::cpu::math::exp;
use crate::device::cpu::simd::{maximum, sum, sum_of};

impl Tensor {
    /// The logarithm of [`Tensor::softmax`] along `axis` (negative: from the end). The last axis is
    /// the fast one; another is moved to the end and back, which copies twice.
    ///
    /// # Panics
    /// If there is no such axis.
    ///
    /// ```
    /// use neutreno_engine::{Device, Tensor};
    /// let x = Tensor::new(&[1e4, 0.0], [2], &Device::cpu());
    /// assert_eq!(x.log_softmax(-1).to_vec()?, [0.0, -1e4]);
    /// # Ok::<(), neutreno_engine::Error>(())
    /// ```
    #[track_caller]
    pub fn log_softmax(&self, axis: isize) -> Tensor {
        apply_along(LogSoftmax, self, axis)
    }
}

/// The log-softmax of a row.
#[derive(Clone, Debug, Default)]
pub struct LogSoftmax;

impl Function for LogSoftmax {
    const NAME: &'static str = "log_softmax";
    const FORWARD: &'static str = "softmax_log_forward";
    const BACKWARD: &'static str = "softmax_log_backward";
    const FLOPS: [u64; 2] = [4, 4];

    #[inline(always)]
    fn forward(x: &[f32], y: &mut [f32]) {
        let largest = maximum(x);
        let log_sum = sum_of(x, |x| exp(x - largest)).ln();
        y.iter_mut().zip(x).for_each(|(y, x)| *y = (x - largest) - log_sum);
    }

    #[inline(always)]
    fn backward(y: &[f32], dy: &[f32], dx: &mut [f32]) {
        let total = sum(dy);
        let pairs = y.iter().zip(dy);
        dx.iter_mut().zip(pairs).for_each(|(dx, (y, dy))| *dx = dy - exp(*y) * total);
    }

    fn reference(x: &[f64]) -> Vec<f64> {
        let largest = x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = x.iter().map(|x| (x - largest).exp()).sum();
        x.iter().map(|x| x - largest - sum.ln()).collect()
    }
}
