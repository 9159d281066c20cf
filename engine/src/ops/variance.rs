//! Variance and standard deviation, made of other ops: the mean is taken off first, so nothing is lost
//! where it is much larger than the deviations. Saves what those ops do: the deviations from the mean.

use super::sum::resolve_axes;
use crate::Tensor;

impl Tensor {
    /// The variance over `axes`, which are given and kept as by [`Tensor::sum`]: Σ (x − mean)² /
    /// (n − correction) of n elements. A correction of 1, PyTorch's default, makes it an unbiased
    /// estimate from a sample; 0 gives the variance of the elements themselves.
    ///
    /// # Panics
    /// If an axis does not exist or is named twice, or there are no more elements than `correction`.
    ///
    /// ```
    /// use neutreno_engine::{Device, Tensor};
    /// let x = Tensor::new(&[1.0, 3.0, 2.0, 6.0], [2, 2], &Device::cpu());
    /// assert_eq!(x.variance(&[-1], 1, false).to_vec()?, [2.0, 8.0]);
    /// assert_eq!(x.variance(&[-1], 0, false).to_vec()?, [1.0, 4.0]);
    /// # Ok::<(), neutreno_engine::Error>(())
    /// ```
    #[track_caller]
    pub fn variance(&self, axes: &[isize], correction: usize, keep: bool) -> Tensor {
        let shape = self.shape();
        let count: usize =
            resolve_axes("variance", &shape, axes).iter().map(|axis| shape[*axis]).product();
        assert!(
            count > correction,
            "variance: {count} elements of {shape} along {axes:?} do not suffice for a correction \
             of {correction}"
        );
        let deviations = self.subtract(&self.mean(axes, true));
        let squares = deviations.multiply(&deviations);
        squares.sum(axes, keep).scale(1.0 / (count - correction) as f32)
    }

    /// The standard deviation over `axes`: the root of [`Tensor::variance`]. Where that is 0, so is
    /// the gradient, as in PyTorch.
    ///
    /// # Panics
    /// As [`Tensor::variance`].
    ///
    /// ```
    /// use neutreno_engine::{Device, Tensor};
    /// let x = Tensor::new(&[1.0, 3.0, 2.0, 6.0], [2, 2], &Device::cpu());
    /// assert_eq!(x.standard_deviation(&[-1], 0, false).to_vec()?, [1.0, 2.0]);
    /// # Ok::<(), neutreno_engine::Error>(())
    /// ```
    #[track_caller]
    pub fn standard_deviation(&self, axes: &[isize], correction: usize, keep: bool) -> Tensor {
        let variance = self.variance(axes, correction, keep);
        // The root's slope is infinite at 0, where 1 takes its place.
        let is_zero = variance.equal(0.0);
        variance.masked_fill(&is_zero, 1.0).sqrt().masked_fill(&is_zero, 0.0)
    }
}
