//! What the products of a step reach by themselves: the mark that a whole step is held against.

use crate::common::rates::seconds_each;
use crate::work::Sizes;
use neutreno::engine::{Device, Error, Tensor};

/// The work of a step's products with weights, and the time that they take alone.
pub struct Peak {
    flops: f64,
    seconds: f64,
}

impl Peak {
    pub fn flops_per_second(&self) -> f64 {
        self.flops / self.seconds
    }
}

/// Times each product of a step at its own shape: forward, and those for the gradients of the
/// input and of the weight.
pub fn products(sizes: &Sizes, device: &Device) -> Result<Peak, Error> {
    let (rows, width) = (sizes.batch * sizes.context, sizes.width);
    let inner = sizes.config(neutreno::VariantConfig::new(neutreno::Variant::Transformer));
    let inner = inner.intermediate_size;
    let layers = sizes.layers;
    // (how many, inputs, outputs)
    let weights = [
        (4 * layers, width, width),
        (2 * layers, width, inner),
        (layers, inner, width),
        (1, width, sizes.vocabulary),
    ];
    let mut peak = Peak { flops: 0.0, seconds: 0.0 };
    for (count, inputs, outputs) in weights {
        let [x, dy] = [inputs, outputs].map(|width| Tensor::full(0.5, [rows, width], device));
        let weight = Tensor::full(0.5, [outputs, inputs], device);
        let forward = || drop(x.linear(&weight, None));
        let input_gradient = || drop(dy.matmul(&weight));
        let weight_gradient = || drop(dy.matmul_with(&x, true, false));
        let all: [&dyn Fn(); 3] = [&forward, &input_gradient, &weight_gradient];
        for product in all {
            peak.seconds += count as f64 * seconds_each(device, product)?;
            peak.flops += (count * 2 * rows * inputs * outputs) as f64;
        }
    }
    Ok(peak)
}
