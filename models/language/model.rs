//! The language model: Llama blocks (RMS norm, rotary positions, SwiGLU, grouped-query attention,
//! no biases) with one of the four variants of attention. Parameter names are Hugging Face's.

use crate::engine::autograd::recompute;
use crate::engine::random::Key;
use crate::engine::{Builder, Ids, Initial, Tensor, no_grad};
use crate::language::LanguageModelConfig;
use crate::trace::{Carry, Trace};
use crate::variant::{LayerMixing, VariantConfig, mixings};
use std::sync::Arc;

/// A language model. Its tensors are windows of the parameters it was built with.
///
/// ```
/// use neutreno_models::engine::{Device, Ids, Parameters};
/// use neutreno_models::language::Pass;
/// use neutreno_models::{LanguageModel, LanguageModelConfig};
/// let config = LanguageModelConfig::new(50, 16, 3, 2, 8);
/// let (model, parameters) =
///     Parameters::build(&Device::cpu(), 1, |builder| LanguageModel::new(&config, builder));
/// let tokens = Ids::new(vec![1, 2, 3, 4], [1, 4]);
/// let targets = Ids::new(vec![2, 3, 4, 5], [1, 4]);
/// let loss = model.loss(&tokens, &targets, &Pass::training(None));
/// let gradients = loss.backward()?;
/// assert!(parameters.missing_gradients(&gradients).is_empty());
/// # Ok::<(), neutreno_models::engine::Error>(())
/// ```
pub struct LanguageModel {
    config: LanguageModelConfig,
    embedding: Tensor,
    blocks: Vec<Arc<Block>>,
    norm: Tensor,
    /// `None` if the embedding serves as output layer too.
    head: Option<Tensor>,
}

/// What one pass through the model needs to know beside the tokens.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pass {
    /// The key of this pass's dropout masks; `None` for no dropout.
    pub dropout: Option<Key>,
    /// The share of the target that label smoothing gives to all tokens alike.
    pub label_smoothing: f32,
    /// Whether blocks keep only their inputs and are run again on the way back: less memory, and
    /// about a third more time. The loss is the same, bit for bit, and gradients but for rounding.
    pub recompute: bool,
}

impl Pass {
    /// A training pass; `dropout` is the key of its masks, a fresh one for each micro-batch.
    pub fn training(dropout: Option<Key>) -> Pass {
        Pass { dropout, ..Pass::default() }
    }

    /// A pass without dropout.
    pub fn evaluation() -> Pass {
        Pass::default()
    }
}

impl LanguageModel {
    /// Makes the parameters of a model.
    ///
    /// # Panics
    /// If the configuration is not sound; [`LanguageModelConfig::check`] tells beforehand.
    pub fn new(config: &LanguageModelConfig, builder: &mut Builder) -> LanguageModel {
        config.check().unwrap_or_else(|problem| panic!("language model: {problem}"));
        let (vocabulary, width) = (config.vocab_size, config.hidden_size);
        let initial = Initial::Normal { deviation: DEVIATION };
        let embedding =
            builder.parameter("model.embed_tokens.weight", [vocabulary, width], initial, true);
        let mixings = mixings(&config.variant, config.num_hidden_layers, builder);
        let blocks = (0..)
            .zip(mixings)
            .map(|(layer, mixing)| Arc::new(Block::new(config, layer, mixing, builder)))
            .collect();
        let norm = builder.parameter("model.norm.weight", [width], Initial::Ones, false);
        let head = (!config.tie_word_embeddings)
            .then(|| builder.parameter("lm_head.weight", [vocabulary, width], initial, true));
        LanguageModel { config: config.clone(), embedding, blocks, norm, head }
    }

    /// The configuration.
    pub fn config(&self) -> &LanguageModelConfig {
        &self.config
    }

    /// The mean cross-entropy (nats) of the targets, (batch, time) like the tokens. Targets that
    /// are [`Ids::IGNORED`] do not count.
    ///
    /// # Panics
    /// If the shapes differ or an id is not in the vocabulary.
    #[track_caller]
    pub fn loss(&self, tokens: &Ids, targets: &Ids, pass: &Pass) -> Tensor {
        let states = self.states(tokens, pass);
        let targets = targets.reshape([targets.shape().elements()]);
        states.linear_cross_entropy(self.output_weight(), &targets, pass.label_smoothing)
    }

    /// The logits of the next token at the last position: (batch, vocabulary).
    #[track_caller]
    pub fn next_logits(&self, tokens: &Ids) -> Tensor {
        let [batch, time] = [tokens.shape()[0], tokens.shape()[1]];
        let states = self.states(tokens, &Pass::evaluation());
        let states = states.reshape([batch, time, self.config.hidden_size]);
        let last = states.slice(1, time - 1..time);
        last.reshape([batch, self.config.hidden_size]).linear(self.output_weight(), None)
    }

    /// The logits at every position: (batch · time, vocabulary).
    #[track_caller]
    pub fn logits(&self, tokens: &Ids) -> Tensor {
        self.states(tokens, &Pass::evaluation()).linear(self.output_weight(), None)
    }

    /// What the layers compute of the tokens (batch, time), to be measured.
    #[track_caller]
    pub fn trace(&self, tokens: &Ids) -> Trace {
        let lambda = self.config.variant.energy_lambda(VariantConfig::NEUTRENO_LAMBDA);
        let mut carry = Carry::recording(true, lambda);
        no_grad(|| self.carried_states(tokens, &Pass::evaluation(), &mut carry));
        carry.into_trace()
    }

    /// What the output layer sees: (batch · time, width).
    #[track_caller]
    fn states(&self, tokens: &Ids, pass: &Pass) -> Tensor {
        self.carried_states(tokens, pass, &mut Carry::default())
    }

    #[track_caller]
    fn carried_states(&self, tokens: &Ids, pass: &Pass, carry: &mut Carry) -> Tensor {
        let shape = tokens.shape();
        assert!(shape.rank() == 2, "tokens are (batch, time), not {shape}");
        let dropout = Dropout { probability: self.config.dropout, key: pass.dropout };
        let embedded = self.embedding.embedding(tokens);
        let mut states = dropout.apply(embedded, 0);
        carry.record(&states);
        for (layer, block) in self.blocks.iter().enumerate() {
            let place = 2 * layer as u64 + 1;
            states = match pass.recompute && !carry.is_recording() {
                true => run_again_on_the_way_back(block, &states, carry, dropout, place),
                false => block.forward(&states, carry, &dropout, place),
            };
            carry.record(&states);
        }
        let states = states.rms_norm(&self.norm, self.config.rms_norm_eps);
        states.reshape([shape.elements(), self.config.hidden_size])
    }

    fn output_weight(&self) -> &Tensor {
        self.head.as_ref().unwrap_or(&self.embedding)
    }
}

/// The deviation of initial weights, as in GPT-2 and Llama.
const DEVIATION: f32 = 0.02;

/// A block that keeps nothing but its inputs: the residual stream, and after the first block V₁.
#[track_caller]
fn run_again_on_the_way_back(
    block: &Arc<Block>,
    states: &Tensor,
    carry: &mut Carry,
    dropout: Dropout,
    place: u64,
) -> Tensor {
    let block = block.clone();
    let inputs: Vec<&Tensor> = [states].into_iter().chain(carry.first_value()).collect();
    let is_first = carry.first_value().is_none();
    let mut outputs = recompute(&inputs, move |inputs| {
        let mut carry = Carry::with_first_value(inputs.get(1).cloned());
        let states = block.forward(&inputs[0], &mut carry, &dropout, place);
        let first_value = carry.first_value().filter(|_| is_first);
        [states].into_iter().chain(first_value.cloned()).collect()
    });
    if is_first {
        carry.set_first_value(outputs.pop().expect("the first block makes the first value"));
    }
    outputs.pop().expect("a block makes states")
}

/// Dropout in one pass; each place where it acts has a number of its own.
#[derive(Clone, Copy)]
struct Dropout {
    probability: f32,
    key: Option<Key>,
}

impl Dropout {
    fn apply(&self, x: Tensor, place: u64) -> Tensor {
        match self.key {
            Some(key) if self.probability > 0.0 => x.dropout(self.probability, key.fold(place)),
            _ => x,
        }
    }
}

/// x + attention(norm(x)), then x + feed-forward(norm(x)).
struct Block {
    attention: Attention,
    feed_forward: FeedForward,
    input_norm: Tensor,
    post_attention_norm: Tensor,
    epsilon: f32,
}

impl Block {
    fn new(
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
        }
    }

    fn forward(&self, x: &Tensor, carry: &mut Carry, dropout: &Dropout, place: u64) -> Tensor {
        let normed = x.rms_norm(&self.input_norm, self.epsilon);
        let attended = self.attention.forward(&normed, carry);
        let x = x.add(&dropout.apply(attended, place));
        let normed = x.rms_norm(&self.post_attention_norm, self.epsilon);
        x.add(&dropout.apply(self.feed_forward.forward(&normed), place + 1))
    }
}

/// Causal attention with rotary positions, grouped queries and the variant's mix of values.
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

    fn forward(&self, x: &Tensor, carry: &mut Carry) -> Tensor {
        let shape = x.shape();
        let split = |x: Tensor, heads: usize| x.reshape([shape[0], shape[1], heads, usize::MAX]);
        let query = split(x.linear(&self.query, None), self.heads).rope(0, self.rope_theta);
        let key = split(x.linear(&self.key, None), self.key_value_heads).rope(0, self.rope_theta);
        let own = self.value.as_ref().map(|w| split(x.linear(w, None), self.key_value_heads));
        let mixed = carry.attend(&query, &key, own.as_ref(), &self.mixing, true);
        mixed.reshape(shape).linear(&self.output, None)
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
