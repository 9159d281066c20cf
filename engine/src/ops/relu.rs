//! Rectifier: y = max(x, 0).
//!
//! Derivative: dx = dy where y > 0, else 0 (at 0 too). Saves y. Cost an element: 1 flop, 8 bytes;
//! backward 1 flop, 12 bytes.

use super::elementwise::{Elementwise, Function, OUTPUT, ProvenFunction};
use crate::Tensor;
use crate::autograd::{Saves, apply_built_in};
use crate::proof::Case;
use crate::random::Key;

impl Tensor {
    /// max(x, 0), element by element.
    ///
    /// ```
    /// use neutreno_engine::{Device, Tensor};
    /// let x = Tensor::new(&[-2.0, 0.0, 3.0], [3], &Device::cpu());
    /// assert_eq!(x.relu().to_vec()?, [0.0, 0.0, 3.0]);
    /// # Ok::<(), neutreno_engine::Error>(())
    /// ```
    pub fn relu(&self) -> Tensor {
        let [y] = apply_built_in(Elementwise(Relu), &[self]);
        y
    }
}

/// y = max(x, 0).
#[derive(Clone, Debug)]
pub struct Relu;

impl Function for Relu {
    const NAME: &'static str = "relu";
    const FORWARD: &'static str = "relu_forward";
    const BACKWARD: &'static str = "relu_backward";
    const SAVES: Saves = OUTPUT;
    const FLOPS: [u64; 2] = [1, 1];

    #[inline(always)]
    fn value(&self, x: f32) -> f32 {
        // This way round a NaN stays one.
        if x < 0.0 { 0.0 } else { x }
    }

    #[inline(always)]
    fn slope(&self, y: f32) -> f32 {
        if y > 0.0 { 1.0 } else { 0.0 }
    }
}

impl ProvenFunction for Relu {
    fn reference(&self, x: f64) -> f64 {
        x.max(0.0)
    }

    fn cases() -> Vec<Case> {
        // Away from the kink.
        let off_the_kink = |x: f32| x + 0.1 * x.signum();
        let case = |count: usize| {
            let values = Key::new(count as u64).uniforms(count, -1.0, 1.0);
            let values: Vec<f32> = values.into_iter().map(off_the_kink).collect();
            Case::new(format!("{count}"), Elementwise(Relu)).values(&values, [count])
        };
        let extremes = [-1e30, -1e-30, 0.0, 1e-30, 1e3];
        let extremes = Case::new("extremes", Elementwise(Relu)).values(&extremes, [5]);
        let sizes = [1, 3, 17, 63, 65, 257, 20_000].map(case).into_iter();
        sizes.chain([extremes.forward_only()]).collect()
    }
}
