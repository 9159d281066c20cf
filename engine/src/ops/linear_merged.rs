//! Several linear layers of the same x as one: their outputs side by side, as one product where their
//! weights follow each other in memory. A product takes the time of reading x and a dispatch, however
//! small it is.

use super::fused_linear::{LinearLayer, Weight};
use super::linear::{Layers, Linear};
use crate::Tensor;
use crate::autograd::apply_built_in;

impl Tensor {
    /// What the layers make of x, side by side: x of shape (…, inputs) gives (…, Σ outputs).
    ///
    /// Where their weights follow each other in memory, and their biases if they have some, as those of
    /// parameters do that were made one after another, a GPU makes one product for all of them, and so are
    /// their gradients made. Elsewhere each makes its own, to be copied. On the CPU both give the bits
    /// that the layers give one by one; on a GPU they differ by rounding.
    ///
    /// # Panics
    /// If there are no layers, or the shapes do not fit.
    ///
    /// ```
    /// use neutreno_engine::ops::fused_linear::{LinearLayer, Weight};
    /// use neutreno_engine::{Device, Tensor};
    /// let device = Device::cpu();
    /// let x = Tensor::new(&[1.0, 2.0], [1, 2], &device);
    /// let weights = [1.0, 10.0].map(|number| Tensor::full(number, [1, 2], &device));
    /// let layers = weights.each_ref().map(|w| LinearLayer { weight: Weight::Full(w), bias: None });
    /// assert_eq!(x.linear_merged(&layers).to_vec()?, [3.0, 30.0]);
    /// # Ok::<(), neutreno_engine::Error>(())
    /// ```
    #[track_caller]
    pub fn linear_merged(&self, layers: &[LinearLayer]) -> Tensor {
        if let [layer] = layers {
            return layer.forward(self);
        }
        let Some((weight, bias)) = joined(layers) else {
            let each: Vec<Tensor> = layers.iter().map(|layer| layer.forward(self)).collect();
            return Tensor::concatenate(&each.iter().collect::<Vec<_>>(), -1);
        };
        let layers = Layers::new(layers.iter().map(LinearLayer::outputs));
        let inputs: Vec<&Tensor> = [self, &weight].into_iter().chain(&bias).collect();
        let [y] = apply_built_in(Linear { layers, ..Linear::default() }, &inputs);
        y
    }
}

/// The weights as one, and the biases if there are some.
fn joined(layers: &[LinearLayer]) -> Option<(Tensor, Option<Tensor>)> {
    let weights = layers.iter().map(|layer| match layer.weight {
        Weight::Full(weight) => Some(weight),
        Weight::Half(_) => None,
    });
    let weight = Tensor::joined(&weights.collect::<Option<Vec<_>>>()?)?;
    let biases: Vec<&Tensor> = layers.iter().filter_map(|layer| layer.bias).collect();
    match biases.len() {
        0 => Some((weight, None)),
        count if count == layers.len() => Some((weight, Some(Tensor::joined(&biases)?))),
        _ => None,
    }
}
