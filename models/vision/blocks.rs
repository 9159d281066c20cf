//! Transformer blocks for images: full attention with the variant's values, and a feed-forward part
//! with GELU, each on a layer norm of the residual stream.

use super::config::VisionConfig;
use crate::engine::random::Key;
use crate::engine::{Builder, Initial, Tensor};
use crate::trace::Trace;
use crate::variant::{FirstValue, LayerMixing, VariantConfig, mixings};

/// The deviation of tokens that are learned, as in ViT and DeiT.
pub(super) const DEVIATION: f32 = 0.02;

/// A stack of blocks with a first value V₁ of its own: that of its first block.
pub struct Blocks {
    blocks: Vec<Block>,
}

impl Blocks {
    /// Makes the parameters of `layers` blocks, named `layer.N...` below the builder's scope. The
    /// sizes are those of `config`; `drop_path_rate` is that of the last block.
    pub fn new(
        config: &VisionConfig,
        variant: &VariantConfig,
        layers: usize,
        drop_path_rate: f32,
        builder: &mut Builder,
    ) -> Blocks {
        let attention = |layer: usize| format!("layer.{layer}.attention.attention");
        let mixings = mixings(variant, layers, 1, builder, attention);
        let last = (layers - 1).max(1) as f32;
        let block = |(layer, mixing): (usize, LayerMixing)| {
            let own_value = variant.has_own_value(layer);
            let drop_path = drop_path_rate * layer as f32 / last;
            let scope = builder.scope(&format!("layer.{layer}"));
            Block::new(config, own_value, mixing, drop_path, &scope)
        };
        Blocks { blocks: mixings.into_iter().enumerate().map(block).collect() }
    }

    /// The residual stream (batch, tokens, width) after all blocks.
    #[track_caller]
    pub(super) fn forward(
        &self,
        tokens: &Tensor,
        stochastic_depth: Option<Key>,
        mut trace: Option<&mut Trace>,
    ) -> Tensor {
        let mut states = tokens.clone();
        let mut first_value = FirstValue::default();
        for (layer, block) in (0..).zip(&self.blocks) {
            let key = stochastic_depth.map(|key| key.fold(layer));
            states = block.forward(&states, &mut first_value, key, trace.as_deref_mut());
            if let Some(trace) = &mut trace {
                trace.keep_states(&states);
            }
        }
        states
    }
}

/// A weight (outputs, inputs) with a bias.
pub(super) struct Linear {
    weight: Tensor,
    bias: Option<Tensor>,
}

impl Linear {
    pub fn new(
        config: &VisionConfig,
        name: &str,
        [outputs, inputs]: [usize; 2],
        bias: bool,
        scope: &Builder,
    ) -> Linear {
        let mut scope = scope.scope(name);
        let initial = Initial::Normal { deviation: config.initializer_range };
        Linear {
            weight: scope.parameter("weight", [outputs, inputs], initial, true),
            bias: bias.then(|| scope.parameter("bias", [outputs], Initial::Zeros, false)),
        }
    }

    #[track_caller]
    pub fn forward(&self, x: &Tensor) -> Tensor {
        x.linear(&self.weight, self.bias.as_ref())
    }
}

/// A layer norm.
pub(super) struct Norm {
    weight: Tensor,
    bias: Tensor,
    epsilon: f32,
}

impl Norm {
    pub fn new(name: &str, width: usize, epsilon: f32, scope: &Builder) -> Norm {
        Norm::with_weight(1.0, name, width, epsilon, scope)
    }

    /// The same with weights that start at `weight`.
    pub fn with_weight(
        weight: f32,
        name: &str,
        width: usize,
        epsilon: f32,
        scope: &Builder,
    ) -> Norm {
        let mut scope = scope.scope(name);
        let weight = scope.parameter("weight", [width], Initial::Full(weight), false);
        Norm { weight, bias: scope.parameter("bias", [width], Initial::Zeros, false), epsilon }
    }

    #[track_caller]
    pub fn forward(&self, x: &Tensor) -> Tensor {
        x.layer_norm(&self.weight, &self.bias, self.epsilon)
    }
}

/// x + attention(norm(x)), then x + feed-forward(norm(x)).
struct Block {
    norm_before: Norm,
    attention: Attention,
    norm_after: Norm,
    widen: Linear,
    narrow: Linear,
    /// The probability with which a sample skips a branch.
    drop_path: f32,
}

impl Block {
    fn new(
        config: &VisionConfig,
        own_value: bool,
        mixing: LayerMixing,
        drop_path: f32,
        scope: &Builder,
    ) -> Block {
        let (width, inner) = (config.hidden_size, config.intermediate_size);
        let norm = |name: &str| Norm::new(name, width, config.layer_norm_eps, scope);
        Block {
            norm_before: norm("layernorm_before"),
            attention: Attention::new(config, own_value, mixing, &scope.scope("attention")),
            norm_after: norm("layernorm_after"),
            widen: Linear::new(config, "intermediate.dense", [inner, width], true, scope),
            narrow: Linear::new(config, "output.dense", [width, inner], true, scope),
            drop_path,
        }
    }

    fn forward(
        &self,
        x: &Tensor,
        first_value: &mut FirstValue,
        key: Option<Key>,
        trace: Option<&mut Trace>,
    ) -> Tensor {
        let skip = |branch: Tensor, number: u64| match key {
            Some(key) => drop_path(&branch, self.drop_path, key.fold(number)),
            None => branch,
        };
        let attended = self.attention.forward(&self.norm_before.forward(x), first_value, trace);
        let x = x.add(&skip(attended, 0));
        let inner = self.widen.forward(&self.norm_after.forward(&x)).gelu();
        x.add(&skip(self.narrow.forward(&inner), 1))
    }
}

/// Stochastic depth (Huang et al. 2016): with the probability given a sample's branch (batch, ...)
/// is 0, and otherwise divided by 1 − probability.
fn drop_path(branch: &Tensor, probability: f32, key: Key) -> Tensor {
    if probability == 0.0 {
        return branch.clone();
    }
    let batch = branch.shape()[0];
    let kept = Tensor::full(1.0, [batch, 1], branch.device()).dropout(probability, key);
    branch.reshape([batch, usize::MAX]).multiply(&kept).reshape(branch.shape())
}

/// Full attention with the variant's values.
struct Attention {
    query: Linear,
    key: Linear,
    /// `None` in SVFormer's layers after the first.
    value: Option<Linear>,
    output: Linear,
    mixing: LayerMixing,
    heads: usize,
}

impl Attention {
    fn new(
        config: &VisionConfig,
        own_value: bool,
        mixing: LayerMixing,
        scope: &Builder,
    ) -> Attention {
        let sizes = [config.hidden_size; 2];
        let inner = scope.scope("attention");
        let projection = |name: &str| Linear::new(config, name, sizes, config.qkv_bias, &inner);
        Attention {
            query: projection("query"),
            key: projection("key"),
            value: own_value.then(|| projection("value")),
            output: Linear::new(config, "output.dense", sizes, true, scope),
            mixing,
            heads: config.num_attention_heads,
        }
    }

    fn forward(
        &self,
        x: &Tensor,
        first_value: &mut FirstValue,
        trace: Option<&mut Trace>,
    ) -> Tensor {
        let shape = x.shape();
        let split = |x: Tensor| x.reshape([shape[0], shape[1], self.heads, usize::MAX]);
        let [query, key] = [&self.query, &self.key].map(|linear| split(linear.forward(x)));
        let own = self.value.as_ref().map(|linear| split(linear.forward(x)));
        let values = first_value.of_layer(own, &self.mixing);
        let attended = values.attend(&query, &key, false);
        if let Some(trace) = trace {
            trace.keep_attention(&query, &key, &values, &attended);
        }
        self.output.forward(&attended.reshape(shape))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Device;

    #[test]
    fn a_sample_skips_a_branch_whole_and_the_mean_stays() {
        let (batch, probability) = (2_000, 0.3);
        let branch = Tensor::full(1.0, [batch, 2, 3], &Device::cpu());
        let kept = drop_path(&branch, probability, Key::new(4)).to_vec().unwrap();
        let samples: Vec<f32> = kept.chunks(6).map(|sample| sample[0]).collect();
        assert!(kept.chunks(6).zip(&samples).all(|(all, first)| all.iter().all(|x| x == first)));
        let mean = samples.iter().sum::<f32>() / batch as f32;
        assert!((mean - 1.0).abs() < 0.06, "{mean}");
        assert!(samples.contains(&0.0) && samples.contains(&(1.0 / (1.0 - probability))));
    }
}
