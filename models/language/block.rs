//! One block of the language model: attention and a feed-forward part, each on an RMS norm of the
//! residual stream, which they add to.

use super::cache::{LayerCache, New};
use super::config::LanguageModelConfig;
use super::matrix::{Matrix, Source};
use crate::engine::ops::fused_linear::{LinearLayer, RmsNorm};
use crate::engine::ops::rope_and_cache::Keep;
use crate::engine::random::Key;
use crate::engine::{Initial, Tensor};
use crate::trace::Trace;
use crate::variant::{FirstValue, Keeps, LayerMixing, LayerValues};

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
        source: &mut Source,
    ) -> Block {
        let mut norm = |name: &str| {
            let name = format!("model.layers.{layer}.{name}.weight");
            source.parameter(&name, [config.hidden_size], Initial::Ones)
        };
        let input_norm = norm("input_layernorm");
        let post_attention_norm = norm("post_attention_layernorm");
        Block {
            attention: Attention::new(config, layer, mixing, source),
            feed_forward: FeedForward::new(config, layer, source),
            input_norm,
            post_attention_norm,
            epsilon: config.rms_norm_eps,
            dropout_sites: Dropout::sites_of_layer(layer),
        }
    }

    /// How it mixes values.
    pub fn mixing(&self) -> &LayerMixing {
        &self.attention.mixing
    }

    /// The residual stream (batch, time, width) after this block.
    #[track_caller]
    pub fn forward(
        &self,
        stream: Stream,
        first_value: &mut FirstValue,
        shared: &mut Shared,
        dropout: Dropout,
        trace: Option<&mut Trace>,
    ) -> Stream {
        let [after_attention, after_feed_forward] = self.dropout_sites;
        let [x, normed] = stream.norm(&self.input_norm, self.epsilon);
        let attended = self.attention.forward(&normed, first_value, shared, trace);
        let added = dropout.apply(attended, after_attention);
        let [x, normed] =
            Stream { x, added: Some(added) }.norm(&self.post_attention_norm, self.epsilon);
        let added = dropout.apply(self.feed_forward.forward(&normed), after_feed_forward);
        Stream { x, added: Some(added) }
    }

    /// The residual stream (rows, width) of new tokens after this block; the cache then has what the block
    /// keeps of them.
    #[track_caller]
    pub fn extend(&self, x: &Tensor, new: &mut New, cache: &LayerCache) -> Tensor {
        let norm = |weight| RmsNorm { weight, epsilon: self.epsilon };
        let x = self.attention.extend(x, norm(&self.input_norm), new, cache);
        self.feed_forward.extend(&x, norm(&self.post_attention_norm))
    }
}

/// The residual stream, to which what was made last is not added yet: the next norm does so, as one op.
pub(super) struct Stream {
    x: Tensor,
    added: Option<Tensor>,
}

impl Stream {
    pub fn new(x: Tensor) -> Stream {
        Stream { x, added: None }
    }

    /// The sum.
    pub fn sum(self) -> Tensor {
        match self.added {
            Some(added) => self.x.add(&added),
            None => self.x,
        }
    }

    /// The sum and its norm.
    #[track_caller]
    pub fn norm(self, weight: &Tensor, epsilon: f32) -> [Tensor; 2] {
        match self.added {
            Some(added) => self.x.add_rms_norm(&added, weight, epsilon),
            None => {
                let normed = self.x.rms_norm(weight, epsilon);
                [self.x, normed]
            }
        }
    }
}

/// The keys and values of the last layer that made some, for those that share them.
#[derive(Default)]
pub(super) struct Shared(Option<(Tensor, LayerValues)>);

/// A weight (outputs, inputs), and in some models a bias.
struct Linear {
    weight: Matrix,
    bias: Option<Tensor>,
}

impl Linear {
    fn new(
        name: &str,
        [outputs, inputs]: [usize; 2],
        deviation: f32,
        bias: bool,
        source: &mut Source,
    ) -> Linear {
        let weight = source.matrix(&format!("{name}.weight"), [outputs, inputs], deviation);
        let mut make = || source.parameter(&format!("{name}.bias"), [outputs], Initial::Zeros);
        Linear { weight, bias: bias.then(&mut make) }
    }

    /// It as the engine takes it.
    fn layer(&self) -> LinearLayer<'_> {
        LinearLayer { weight: self.weight.weight(), bias: self.bias.as_ref() }
    }

    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        self.layer().forward(x)
    }
}

/// Causal attention with rotary positions, grouped queries and the variant's values.
struct Attention {
    query: Linear,
    /// `None` where the layer shares another's keys and values.
    key: Option<Linear>,
    /// `None` there, and in SVFormer's layers after the first.
    value: Option<Linear>,
    output: Linear,
    mixing: LayerMixing,
    /// The channels of one head.
    head_size: usize,
    /// Of the rotary positions.
    frequencies: Vec<f64>,
}

impl Attention {
    fn new(
        config: &LanguageModelConfig,
        layer: usize,
        mixing: LayerMixing,
        source: &mut Source,
    ) -> Attention {
        let (width, head_size) = (config.hidden_size, config.head_size());
        let query_width = config.num_attention_heads * head_size;
        let key_value_width = config.num_key_value_heads * head_size;
        let mut linear = |name: &str, shape: [usize; 2], deviation: f32| {
            let name = format!("model.layers.{layer}.self_attn.{name}");
            Linear::new(&name, shape, deviation, config.attention_bias, source)
        };
        let Keeps { key, value } = config.keeps(layer);
        Attention {
            query: linear("q_proj", [query_width, width], DEVIATION),
            key: key.then(|| linear("k_proj", [key_value_width, width], DEVIATION)),
            value: value.then(|| linear("v_proj", [key_value_width, width], DEVIATION)),
            output: linear("o_proj", [width, query_width], residual_deviation(config)),
            mixing,
            head_size,
            frequencies: config.rope_frequencies(),
        }
    }

    fn forward(
        &self,
        x: &Tensor,
        first_value: &mut FirstValue,
        shared: &mut Shared,
        trace: Option<&mut Trace>,
    ) -> Tensor {
        let [batch, time] = [x.shape()[0], x.shape()[1]];
        let layers = self.layers();
        let merged = x.linear_merged(&layers);
        let query = if self.key.is_none() {
            let query = merged.reshape([batch, time, usize::MAX, self.head_size]);
            query.rope_by(0, &self.frequencies)
        } else {
            let heads: Vec<usize> =
                layers.iter().map(|layer| layer.outputs() / self.head_size).collect();
            let mut parts = merged.split_heads_and_turn(&heads, 0, &self.frequencies).into_iter();
            let [query, key] = [(); 2].map(|()| parts.next().expect("queries and keys"));
            *shared = Shared(Some((key, first_value.of_layer(parts.next(), &self.mixing))));
            query
        };
        let (key, values) = shared.0.as_ref().expect("the first layer of a group has keys");
        let attended = values.attend(&query, key, true);
        if let Some(trace) = trace {
            trace.keep_attention(&query, key, values, &attended);
        }
        self.output.forward(&attended.reshape([batch, time, usize::MAX]))
    }

    /// What makes queries, keys and values: those of them that it has.
    fn layers(&self) -> Vec<LinearLayer<'_>> {
        let all = [&self.query].into_iter().chain(&self.key).chain(&self.value);
        all.map(Linear::layer).collect()
    }

    /// x + what attention makes of norm(x), for new tokens (rows, width), over all that is kept of their
    /// sequences.
    #[track_caller]
    fn extend(&self, x: &Tensor, norm: RmsNorm, new: &mut New, cache: &LayerCache) -> Tensor {
        let rows = x.shape()[0];
        let made = x.norm_linear(norm, &self.layers()).into_iter();
        let mut heads = made.map(|made| made.reshape([rows, usize::MAX, self.head_size]));
        let query = heads.next().expect("a query");
        let query = match heads.next() {
            None => query.rope_at(new.places, &self.frequencies),
            Some(key) => {
                let own = heads.next();
                let has_own = own.is_some();
                let values = new.first_value.of_layer(own, &self.mixing);
                let mixed = has_own.then(|| values.mixed());
                new.values = Some(values);
                let keys = Keep { rows: &key, cache: &cache.keys };
                let values = mixed.as_ref().map(|rows| Keep { rows, cache: &cache.values });
                query.rope_and_cache(keys, values, new.places, &self.frequencies)
            }
        };
        let values = new.values.as_ref().expect("the first layer has values");
        let attended = values.attend_cached(&query, &cache.keys, &cache.values, new.places);
        attended.reshape([rows, usize::MAX]).linear_add(self.output.layer(), x)
    }
}

/// SwiGLU (Shazeer 2020): W_down · (silu(W_gate · x) ⊙ W_up · x).
struct FeedForward {
    gate: Linear,
    up: Linear,
    down: Linear,
}

impl FeedForward {
    fn new(config: &LanguageModelConfig, layer: usize, source: &mut Source) -> FeedForward {
        let (width, inner) = (config.hidden_size, config.intermediate_size);
        let mut linear = |name: &str, shape: [usize; 2], deviation: f32| {
            let name = format!("model.layers.{layer}.mlp.{name}");
            Linear::new(&name, shape, deviation, config.mlp_bias, source)
        };
        FeedForward {
            gate: linear("gate_proj", [inner, width], DEVIATION),
            up: linear("up_proj", [inner, width], DEVIATION),
            down: linear("down_proj", [width, inner], residual_deviation(config)),
        }
    }

    fn forward(&self, x: &Tensor) -> Tensor {
        let merged = x.linear_merged(&[self.gate.layer(), self.up.layer()]);
        self.down.forward(&merged.swiglu_halves())
    }

    /// x + what it makes of norm(x), for new tokens (rows, width).
    #[track_caller]
    fn extend(&self, x: &Tensor, norm: RmsNorm) -> Tensor {
        let inner = x.norm_linear_swiglu(norm, self.gate.layer(), self.up.layer());
        inner.linear_add(self.down.layer(), x)
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
