//! One block of the language model: attention and a feed-forward part, each on an RMS norm of the
//! residual stream, which they add to.

use super::config::LanguageModelConfig;
use crate::engine::random::Key;
use crate::engine::{Builder, Initial, Tensor};
use crate::trace::Trace;
use crate::variant::{FirstValue, LayerMixing};

/// The deviation of the initial weights of linear layers, as in GPT-2 and Llama.
pub(super) const DEVIATION: f32 = 0.02;

/// x + attention(norm(x)), then x + feed-forward(norm(x)).
pub(super) struct Block {
    attention: Attention,
    feed_forward: FeedForward,
    input_norm: Tensor,
    post_attention_norm: Tensor,
    epsilon: f32,
    /// Where dropout acts: on what attention adds, and on what the feed-forward part adds.
    dropout_sites: [u64; 2],
}

impl Block {
    pub fn new(
        config: &LanguageModelConfig,
        layer: usize,
        mixing: LayerMixing,
        builder: &mut Builder,
    ) -> Block {
        let mut norm = |name: &str| {
            let name = format!("model.layers.{layer}.{name}.weight");
            builder.parameter(&name, [config.hidden_size], Initial::Ones, false)
        };
        let input_norm = norm("input_layernorm");
        let post_attention_norm = norm("post_attention_layernorm");
        Block {
            attention: Attention::new(config, layer, mixing, builder),
            feed_forward: FeedForward::new(config, layer, builder),
            input_norm,
            post_attention_norm,
            epsilon: config.rms_norm_eps,
            dropout_sites: Dropout::sites_of_layer(layer),
        }
    }

    /// The residual stream (batch, time, width) after this block.
    #[track_caller]
    pub fn forward(
        &self,
        x: &Tensor,
        first_value: &mut FirstValue,
        dropout: Dropout,
        trace: Option<&mut Trace>,
    ) -> Tensor {
        let [after_attention, after_feed_forward] = self.dropout_sites;
        let normed = x.rms_norm(&self.input_norm, self.epsilon);
        let attended = self.attention.forward(&normed, first_value, trace);
        let x = x.add(&dropout.apply(attended, after_attention));
        let normed = x.rms_norm(&self.post_attention_norm, self.epsilon);
        x.add(&dropout.apply(self.feed_forward.forward(&normed), after_feed_forward))
    }
}

/// Causal attention with rotary positions, grouped queries and the variant's values.
struct Attention {
    query: Tensor,
    key: Tensor,
    /// `None` in SVFormer's layers after the first.
    value: Option<Tensor>,
    output: Tensor,
    mixing: LayerMixing,
    heads: usize,
    key_value_heads: usize,
    rope_theta: f32,
}

impl Attention {
    fn new(
        config: &LanguageModelConfig,
        layer: usize,
        mixing: LayerMixing,
        builder: &mut Builder,
    ) -> Attention {
        let width = config.hidden_size;
        let key_value_width = config.num_key_value_heads * config.head_size();
        let mut weight = |name: &str, outputs: usize, deviation: f32| {
            let name = format!("model.layers.{layer}.self_attn.{name}.weight");
            builder.parameter(&name, [outputs, width], Initial::Normal { deviation }, true)
        };
        Attention {
            query: weight("q_proj", width, DEVIATION),
            key: weight("k_proj", key_value_width, DEVIATION),
            value: config
                .variant
                .has_own_value(layer)
                .then(|| weight("v_proj", key_value_width, DEVIATION)),
            output: weight("o_proj", width, residual_deviation(config)),
            mixing,
            heads: config.num_attention_heads,
            key_value_heads: config.num_key_value_heads,
            rope_theta: config.rope_theta,
        }
    }

    fn forward(
        &self,
        x: &Tensor,
        first_value: &mut FirstValue,
        trace: Option<&mut Trace>,
    ) -> Tensor {
        let shape = x.shape();
        let split = |x: Tensor, heads: usize| x.reshape([shape[0], shape[1], heads, usize::MAX]);
        let query = split(x.linear(&self.query, None), self.heads).rope(0, self.rope_theta);
        let key = split(x.linear(&self.key, None), self.key_value_heads).rope(0, self.rope_theta);
        let own = self.value.as_ref().map(|w| split(x.linear(w, None), self.key_value_heads));
        let values = first_value.of_layer(own, &self.mixing);
        let attended = values.attend(&query, &key, true);
        if let Some(trace) = trace {
            trace.keep_attention(&query, &key, &values, &attended);
        }
        attended.reshape(shape).linear(&self.output, None)
    }
}

/// SwiGLU (Shazeer 2020): W_down · (silu(W_gate · x) ⊙ W_up · x).
struct FeedForward {
    gate: Tensor,
    up: Tensor,
    down: Tensor,
}

impl FeedForward {
    fn new(config: &LanguageModelConfig, layer: usize, builder: &mut Builder) -> FeedForward {
        let (width, inner) = (config.hidden_size, config.intermediate_size);
        let mut weight = |name: &str, outputs: usize, inputs: usize, deviation: f32| {
            let name = format!("model.layers.{layer}.mlp.{name}.weight");
            builder.parameter(&name, [outputs, inputs], Initial::Normal { deviation }, true)
        };
        FeedForward {
            gate: weight("gate_proj", inner, width, DEVIATION),
            up: weight("up_proj", inner, width, DEVIATION),
            down: weight("down_proj", width, inner, residual_deviation(config)),
        }
    }

    fn forward(&self, x: &Tensor) -> Tensor {
        let gate = x.linear(&self.gate, None);
        gate.swiglu(&x.linear(&self.up, None)).linear(&self.down, None)
    }
}

/// What adds to the residual stream starts smaller, so that the stream's size does not grow with
/// the number of layers (Radford et al. 2019).
fn residual_deviation(config: &LanguageModelConfig) -> f32 {
    DEVIATION / (2.0 * config.num_hidden_layers as f32).sqrt()
}

/// Dropout in one pass. Each site where it acts has a number of its own, and so masks of its own.
#[derive(Clone, Copy)]
pub(super) struct Dropout {
    pub probability: f32,
    pub key: Option<Key>,
}

impl Dropout {
    /// The site after the embedding.
    pub const EMBEDDING: u64 = 0;

    /// The two sites of a block.
    fn sites_of_layer(layer: usize) -> [u64; 2] {
        let attention = 2 * layer as u64 + 1;
        [attention, attention + 1]
    }

    pub fn apply(self, x: Tensor, site: u64) -> Tensor {
        match self.key {
            Some(key) if self.probability > 0.0 => x.dropout(self.probability, key.fold(site)),
            _ => x,
        }
    }
}
