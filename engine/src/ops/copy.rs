//! Copy: y = x, or y += x. What sums of gradients are made with.
//!
//! Derivative: dx = dy. Saves nothing. Cost an element: 8 bytes (12 when adding).

use crate::Tensor;
use crate::autograd::{GradientContext, Op, Saved, Saves, apply_built_in};
pub use crate::device::Copy;
use crate::proof::{Array64, Case, Proven};

impl Tensor {
    /// The same numbers in memory of their own (PyTorch's `clone`); gradients flow through it. Where
    /// this tensor is a parameter and changes, the copy stays.
    ///
    /// ```
    /// use neutreno_engine::{Device, Tensor};
    /// let x = Tensor::new(&[1.0, 2.0], [2], &Device::cpu()).tracked();
    /// let (copy, detached) = (x.copy(), x.detach());
    /// x.overwrite(&[7.0, 8.0]);
    /// assert_eq!(copy.to_vec()?, [1.0, 2.0]);
    /// assert_eq!(detached.to_vec()?, [7.0, 8.0]);
    /// assert_eq!(copy.sum_all().backward()?.get(&x).unwrap().to_vec()?, [1.0, 1.0]);
    /// # Ok::<(), neutreno_engine::Error>(())
    /// ```
    pub fn copy(&self) -> Tensor {
        let [y] = apply_built_in(Copy, &[self]);
        y
    }
}

impl Op for Copy {
    fn saves(&self) -> Saves {
        Saves::default()
    }

    fn backward(&self, _saved: &Saved, context: &mut GradientContext) {
        let gradient = context.take_of_output(0);
        context.accumulate(0, gradient);
    }
}

impl Proven for Copy {
    fn reference(&self, inputs: &[Array64]) -> Vec<Array64> {
        vec![inputs[0].clone()]
    }

    fn cases() -> Vec<Case> {
        [1, 3, 65, 20_000].map(|n| Case::new(format!("{n}"), Copy).input([n])).into()
    }
}
