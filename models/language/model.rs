//! The language model: Llama blocks (RMS norm, rotary positions, SwiGLU, grouped-query attention,
//! no biases) with one of the four variants of attention. Parameter names are Hugging Face's.

use super::block::{Block, DEVIATION, Dropout};
use super::config::LanguageModelConfig;
use crate::engine::random::Key;
use crate::engine::{Builder, Ids, Initial, Tensor, no_grad};
use crate::trace::Trace;
use crate::variant::{FirstValue, VariantConfig, mixings};
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
        if let Err(problem) = config.check() {
            panic!("language model: {problem}");
        }
        let (vocabulary, width) = (config.vocab_size, config.hidden_size);
        let initial = Initial::Normal { deviation: config.embedding_deviation };
        let embedding =
            builder.parameter("model.embed_tokens.weight", [vocabulary, width], initial, true);
        let attention = |layer: usize| format!("layers.{layer}.self_attn");
        let (layers, mut scope) = (config.num_hidden_layers, builder.scope("model"));
        let mixings = mixings(&config.variant, layers, &mut scope, attention);
        let blocks = (0..)
            .zip(mixings)
            .map(|(layer, mixing)| Arc::new(Block::new(config, layer, mixing, builder)))
            .collect();
        let norm = builder.parameter("model.norm.weight", [width], Initial::Ones, false);
        let initial = Initial::Normal { deviation: DEVIATION };
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
        let states = self.states(tokens, pass, None);
        let targets = targets.reshape([targets.shape().elements()]);
        states.linear_cross_entropy(self.output_weight(), &targets, pass.label_smoothing)
    }

    /// The logits of the next token at the last position: (batch, vocabulary).
    #[track_caller]
    pub fn next_logits(&self, tokens: &Ids) -> Tensor {
        let [batch, time] = [tokens.shape()[0], tokens.shape()[1]];
        let states = self.states(tokens, &Pass::evaluation(), None);
        let states = states.reshape([batch, time, self.config.hidden_size]);
        let last = states.slice(1, time - 1..time);
        last.reshape([batch, self.config.hidden_size]).linear(self.output_weight(), None)
    }

    /// The logits at every position: (batch · time, vocabulary).
    #[track_caller]
    pub fn logits(&self, tokens: &Ids) -> Tensor {
        self.states(tokens, &Pass::evaluation(), None).linear(self.output_weight(), None)
    }

    /// What the layers compute of the tokens (batch, time), to be measured.
    #[track_caller]
    pub fn trace(&self, tokens: &Ids) -> Trace {
        let lambda = self.config.variant.energy_lambda(VariantConfig::NEUTRENO_LAMBDA);
        let mut trace = Trace::new(true, lambda);
        no_grad(|| self.states(tokens, &Pass::evaluation(), Some(&mut trace)));
        trace
    }

    /// What the output layer sees: (batch · time, width).
    #[track_caller]
    fn states(&self, tokens: &Ids, pass: &Pass, mut trace: Option<&mut Trace>) -> Tensor {
        let shape = tokens.shape();
        assert!(shape.rank() == 2, "tokens are (batch, time), not {shape}");
        let dropout = Dropout { probability: self.config.dropout, key: pass.dropout };
        let mut states = dropout.apply(self.embedding.embedding(tokens), Dropout::EMBEDDING);
        let mut first_value = FirstValue::default();
        if let Some(trace) = &mut trace {
            trace.keep_states(&states);
        }
        for block in &self.blocks {
            states = if pass.recompute {
                let block = block.clone();
                first_value.recompute(&states, move |states, first_value| {
                    block.forward(states, first_value, dropout, None)
                })
            } else {
                block.forward(&states, &mut first_value, dropout, trace.as_deref_mut())
            };
            if let Some(trace) = &mut trace {
                trace.keep_states(&states);
            }
        }
        let states = states.rms_norm(&self.norm, self.config.rms_norm_eps);
        states.reshape([shape.elements(), self.config.hidden_size])
    }

    fn output_weight(&self) -> &Tensor {
        self.head.as_ref().unwrap_or(&self.embedding)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{Device, Parameters};
    use crate::variant::{ResformerKind, Variant};

    /// O = P·V′ + c·(V₁ − V) with what a trace has, layer by layer, for every variant: the trace is
    /// of what the model computes.
    #[test]
    fn what_is_traced_fits_together() {
        let learnable = VariantConfig {
            resformer_kind: Some(ResformerKind::Learnable),
            ..VariantConfig::new(Variant::Resformer)
        };
        let variants = Variant::ALL.map(VariantConfig::new).into_iter().chain([learnable]);
        for variant in variants {
            let mut config = LanguageModelConfig::new(20, 16, 3, 2, 8);
            config.variant = variant;
            let build = |builder: &mut _| LanguageModel::new(&config, builder);
            let (model, _) = Parameters::build(&Device::cpu(), 1, build);
            let trace = model.trace(&Ids::new(vec![1, 2, 3, 4, 5, 6], [2, 3]));
            let first = &trace.layers[0].value;
            for (layer, of) in trace.layers.iter().enumerate() {
                let lambda = match config.variant.variant {
                    Variant::Neutreno if layer > 0 => trace.lambda,
                    _ => 0.0,
                };
                let averaged = of.query.attention(&of.key, &of.mixed_value, None, trace.causal);
                let fidelity = of.first_value.subtract(&of.value).scale(lambda);
                let rest = of.output.subtract(&averaged.add(&fidelity)).to_vec().unwrap();
                assert!(rest.iter().all(|x| x.abs() < 1e-5), "{:?}, layer {layer}", config.variant);
                assert_eq!(of.first_value.to_vec().unwrap(), first.to_vec().unwrap());
            }
        }
    }
}
