//! The language model: Llama blocks (RMS norm, rotary positions, SwiGLU, grouped-query attention,
//! usually no biases) with one of the four variants of attention. Parameter names are Hugging Face's.

use super::block::{Block, DEVIATION, Dropout, Shared, Stream};
use super::config::LanguageModelConfig;
use super::matrix::{Matrix, Source};
use crate::engine::random::Key;
use crate::engine::{Builder, Device, Ids, Initial, Tensor, no_grad};
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
    embedding: Matrix,
    pub(super) blocks: Arc<[Block]>,
    norm: Tensor,
    /// `None` if the embedding serves as output layer too.
    head: Option<Matrix>,
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
        LanguageModel::from_source(config, &mut Source::new(builder, None))
    }

    /// The same with matrices from wherever they are.
    #[track_caller]
    pub(super) fn from_source(config: &LanguageModelConfig, source: &mut Source) -> LanguageModel {
        if let Err(problem) = config.check() {
            panic!("language model: {problem}");
        }
        let (vocabulary, width) = (config.vocab_size, config.hidden_size);
        let table = [vocabulary, width];
        let embedding =
            source.matrix("model.embed_tokens.weight", table, config.embedding_deviation);
        let attention = |layer: usize| format!("layers.{layer}.self_attn");
        let (layers, mut scope) = (config.num_hidden_layers, source.builder().scope("model"));
        let mixings = mixings(&config.variant, layers, config.share_keys, &mut scope, attention);
        let blocks = (0..)
            .zip(mixings)
            .map(|(layer, mixing)| Block::new(config, layer, mixing, source))
            .collect();
        let norm = source.parameter("model.norm.weight", [width], Initial::Ones);
        let head = (!config.tie_word_embeddings)
            .then(|| source.matrix("lm_head.weight", table, DEVIATION));
        LanguageModel { config: config.clone(), embedding, blocks, norm, head }
    }

    /// Multiplies NeuTRENO's λ with a number from 0 to 1, from now on: 0 makes it a Transformer. A model
    /// that is trained already can so be led to λ by and by. 1 is what it is at first.
    ///
    /// ```
    /// use neutreno_models::engine::{Device, Ids, Parameters};
    /// use neutreno_models::{LanguageModel, LanguageModelConfig, Variant, VariantConfig};
    /// let model = |variant| {
    ///     let mut config = LanguageModelConfig::new(50, 16, 3, 2, 8);
    ///     config.variant = VariantConfig::new(variant);
    ///     Parameters::build(&Device::cpu(), 1, |builder| LanguageModel::new(&config, builder)).0
    /// };
    /// let [transformer, neutreno] = [Variant::Transformer, Variant::Neutreno].map(model);
    /// let logits = |model: &LanguageModel| model.logits(&Ids::new(vec![1, 2, 3], [1, 3])).to_vec();
    /// assert_ne!(logits(&neutreno)?, logits(&transformer)?);
    /// neutreno.grow_fidelity(0.0);
    /// assert_eq!(logits(&neutreno)?, logits(&transformer)?);
    /// # Ok::<(), neutreno_models::engine::Error>(())
    /// ```
    pub fn grow_fidelity(&self, grown: f32) {
        self.blocks.iter().for_each(|block| block.mixing().grow_fidelity(grown));
    }

    /// The configuration.
    pub fn config(&self) -> &LanguageModelConfig {
        &self.config
    }

    /// The device that it is on.
    pub fn device(&self) -> &Device {
        self.norm.device()
    }

    /// The mean cross-entropy (nats) of the targets, (batch, time) like the tokens. Targets that
    /// are [`Ids::IGNORED`] do not count.
    ///
    /// # Panics
    /// If the shapes differ, there are more tokens in a row than the longest context has, or an id is
    /// not in the vocabulary.
    #[track_caller]
    pub fn loss(&self, tokens: &Ids, targets: &Ids, pass: &Pass) -> Tensor {
        let states = self.states(tokens, pass, None);
        let targets = targets.reshape([targets.shape().elements()]);
        states.linear_cross_entropy(
            &self.output_weight().to_tensor(),
            &targets,
            pass.label_smoothing,
        )
    }

    /// The logits of the token that follows the one at a position, from 0, of each row: (batch,
    /// vocabulary). For writing: only these are computed, rows may have different lengths, with
    /// whatever token behind, and nothing is kept for gradients.
    ///
    /// ```
    /// use neutreno_models::engine::{Device, Ids, Parameters};
    /// use neutreno_models::{LanguageModel, LanguageModelConfig};
    /// let config = LanguageModelConfig::new(50, 16, 3, 2, 8);
    /// let build = |builder: &mut _| LanguageModel::new(&config, builder);
    /// let (model, _) = Parameters::build(&Device::cpu(), 1, build);
    /// let prompts = Ids::new(vec![1, 2, 3, 4, 5, 0], [2, 3]);
    /// let next = model.next_logits(&prompts, &[2, 1]);
    /// assert_eq!(next.shape(), [2, 50].into());
    /// assert!(!next.is_tracked());
    /// ```
    ///
    /// # Panics
    /// If there is not one position for each row, or one that the row lacks; if there are more tokens
    /// in a row than the longest context has, or an id is not in the vocabulary.
    #[track_caller]
    pub fn next_logits(&self, tokens: &Ids, positions: &[usize]) -> Tensor {
        // Closures forget where the caller is, so all of this is asked before `no_grad`.
        let [batch, time] = self.check_tokens(tokens);
        assert!(positions.len() == batch, "{} positions for {batch} rows", positions.len());
        if let Some(position) = positions.iter().find(|position| **position >= time) {
            panic!("position {position} of a row of {time} tokens");
        }
        let row = |(row, position): (usize, &usize)| (row * time + position) as u32;
        let rows: Vec<u32> = positions.iter().enumerate().map(row).collect();
        no_grad(|| {
            let states = self.states(tokens, &Pass::evaluation(), None);
            self.output(&states.gather(&Ids::new(rows, [batch]), 0))
        })
    }

    /// The logits at every position, (batch · time, vocabulary), for a loss of one's own: they can be
    /// differentiated.
    ///
    /// # Panics
    /// If there are more tokens in a row than the longest context has, or an id is not in the
    /// vocabulary.
    #[track_caller]
    pub fn forward(&self, tokens: &Ids, pass: &Pass) -> Tensor {
        self.output(&self.states(tokens, pass, None))
    }

    /// The same as numbers to look at: nothing is kept for gradients, and there is no dropout.
    ///
    /// # Panics
    /// As [`LanguageModel::forward`].
    #[track_caller]
    pub fn logits(&self, tokens: &Ids) -> Tensor {
        self.check_tokens(tokens);
        no_grad(|| self.forward(tokens, &Pass::evaluation()))
    }

    /// What the layers compute of the tokens (batch, time), to be measured.
    ///
    /// # Panics
    /// If there are more tokens in a row than the longest context has, or an id is not in the
    /// vocabulary.
    #[track_caller]
    pub fn trace(&self, tokens: &Ids) -> Trace {
        self.check_tokens(tokens);
        let lambda = self.config.variant.energy_lambda(VariantConfig::NEUTRENO_LAMBDA);
        let mut trace = Trace::new(true, lambda);
        no_grad(|| self.states(tokens, &Pass::evaluation(), Some(&mut trace)));
        trace
    }

    /// What the output layer sees: (batch · time, width).
    #[track_caller]
    pub(super) fn states(
        &self,
        tokens: &Ids,
        pass: &Pass,
        mut trace: Option<&mut Trace>,
    ) -> Tensor {
        let [batch, time] = self.check_tokens(tokens);
        let dropout = Dropout { probability: self.config.dropout, key: pass.dropout };
        let states = dropout.apply(self.embed(tokens), Dropout::EMBEDDING);
        let mut first_value = FirstValue::default();
        if let Some(trace) = &mut trace {
            trace.keep_states(&states);
        }
        let mut stream = Stream::new(states);
        // Layers that share keys and values stand together: no others need to be given these.
        for first in (0..self.blocks.len()).step_by(self.config.share_keys) {
            let group = first..self.blocks.len().min(first + self.config.share_keys);
            if pass.recompute {
                let blocks = self.blocks.clone();
                stream =
                    Stream::new(first_value.recompute(&stream.sum(), move |x, first_value| {
                        let (mut shared, stream) = (Shared::default(), Stream::new(x.clone()));
                        let blocks = blocks[group.clone()].iter();
                        let after = blocks.fold(stream, |stream, block| {
                            block.forward(stream, first_value, &mut shared, dropout, None)
                        });
                        after.sum()
                    }));
                continue;
            }
            let mut shared = Shared::default();
            for block in &self.blocks[group] {
                let trace_of = trace.as_deref_mut();
                stream = block.forward(stream, &mut first_value, &mut shared, dropout, trace_of);
                if let Some(trace) = &mut trace {
                    let states = stream.sum();
                    trace.keep_states(&states);
                    stream = Stream::new(states);
                }
            }
        }
        let [_, normed] = stream.norm(&self.norm, self.config.rms_norm_eps);
        normed.reshape([batch * time, self.config.hidden_size])
    }

    /// The rows of the embedding.
    #[track_caller]
    pub(super) fn embed(&self, tokens: &Ids) -> Tensor {
        self.embedding.embedding(tokens)
    }

    /// What the output layer sees of the last block's residual stream.
    pub(super) fn normalize(&self, states: &Tensor) -> Tensor {
        states.rms_norm(&self.norm, self.config.rms_norm_eps)
    }

    /// The logits of what the output layer sees.
    pub(super) fn output(&self, states: &Tensor) -> Tensor {
        self.output_weight().linear(states)
    }

    /// The sizes of a batch of tokens. Positions are rotations, which can be computed of any, but beyond
    /// the longest context none was ever learnt from.
    #[track_caller]
    pub(super) fn check_tokens(&self, tokens: &Ids) -> [usize; 2] {
        let (shape, most) = (tokens.shape(), self.config.max_position_embeddings);
        assert!(shape.rank() == 2, "tokens are (batch, time), not {shape}");
        self.check_vocabulary(tokens.as_slice().iter());
        let [batch, time] = [shape[0], shape[1]];
        assert!(
            time <= most,
            "language model: {time} tokens in a row, and its longest context has {most} \
             (max_position_embeddings)"
        );
        [batch, time]
    }

    #[track_caller]
    pub(super) fn check_vocabulary<'a>(&self, mut tokens: impl Iterator<Item = &'a u32>) {
        let vocabulary = self.config.vocab_size;
        if let Some(id) = tokens.find(|id| **id as usize >= vocabulary) {
            panic!("language model: token {id} is outside the vocabulary of {vocabulary}");
        }
    }

    fn output_weight(&self) -> &Matrix {
        self.head.as_ref().unwrap_or(&self.embedding)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Parameters;
    use crate::engine::half::Precision;
    use crate::language::KeyValueCache;
    use crate::variant::{ResformerKind, Variant};

    #[test]
    fn a_row_longer_than_the_longest_context_is_refused() {
        let config = LanguageModelConfig::new(20, 16, 2, 2, 8);
        let build = |builder: &mut _| LanguageModel::new(&config, builder);
        let (model, _) = Parameters::build(&Device::cpu(), 1, build);
        let tokens = |time: usize| Ids::new(vec![1; 2 * time], [2, time]);
        let refused = |work: &dyn Fn()| {
            let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).unwrap_err();
            panic.downcast_ref::<String>().cloned().unwrap_or_default()
        };
        let (fits, long) = (tokens(8), tokens(9));
        drop((model.logits(&fits), model.trace(&fits), model.next_logits(&fits, &[7, 0])));
        let works: [&dyn Fn(); 4] = [
            &|| drop(model.logits(&long)),
            &|| drop(model.trace(&long)),
            &|| drop(model.next_logits(&long, &[0, 0])),
            &|| drop(model.loss(&long, &long, &Pass::evaluation())),
        ];
        for work in works {
            let said = refused(work);
            assert!(said.contains("9 tokens in a row") && said.contains("has 8"), "{said}");
        }
        let said = refused(&|| drop(model.next_logits(&fits, &[7, 8])));
        assert!(said.contains("position 8 of a row of 8"), "{said}");
        assert!(refused(&|| drop(model.next_logits(&fits, &[7]))).contains("1 positions for 2"));
    }

    /// At any position, the same bits as those of all logits, and no graph.
    #[test]
    fn the_next_logits_are_those_of_their_positions() {
        let config = LanguageModelConfig::new(20, 16, 2, 2, 8);
        let build = |builder: &mut _| LanguageModel::new(&config, builder);
        let (model, _) = Parameters::build(&Device::cpu(), 1, build);
        let tokens = Ids::new((1..=10).collect::<Vec<_>>(), [2, 5]);
        let all = model.forward(&tokens, &Pass::evaluation());
        assert!(all.is_tracked() && !model.logits(&tokens).is_tracked());
        let all = all.to_vec().unwrap();
        assert_eq!(all, model.logits(&tokens).to_vec().unwrap());
        for positions in [[4, 4], [0, 3], [2, 1]] {
            let next = model.next_logits(&tokens, &positions);
            assert!(!next.is_tracked());
            let row = |row: usize| (row * 5 + positions[row]) * 20;
            let expected = [&all[row(0)..][..20], &all[row(1)..][..20]].concat();
            for (next, expected) in next.to_vec().unwrap().iter().zip(expected) {
                assert!((next - expected).abs() < 1e-6, "{positions:?}");
            }
        }
        // What stands behind a position does not matter.
        let other = Ids::new(vec![1, 2, 3, 0, 0, 6, 7, 0, 0, 0], [2, 5]);
        let [here, there] = [&tokens, &other].map(|ids| model.next_logits(ids, &[2, 1]));
        assert_eq!(here.to_vec().unwrap(), there.to_vec().unwrap());
    }

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

    /// With the variants' own coefficients, a rule of one's own computes what they do, to the bit; with
    /// others, something else, and the same with a cache.
    #[test]
    fn given_coefficients_are_those_of_attention() {
        let device = Device::cpu();
        let model = |variant: VariantConfig| {
            let mut config = LanguageModelConfig::new(20, 16, 4, 2, 8);
            config.variant = variant;
            Parameters::build(&device, 1, |builder| LanguageModel::new(&config, builder)).0
        };
        let tokens = Ids::new(vec![1, 2, 3, 4, 5], [1, 5]);
        let logits = |model: &LanguageModel| model.next_logits(&tokens, &[4]).to_vec().unwrap();
        for variant in [Variant::Transformer, Variant::Neutreno, Variant::Resformer] {
            let variant = VariantConfig::new(variant);
            let rule = |layer| variant.coefficients(layer, 4, 1).map(Option::unwrap_or_default);
            let given = model(VariantConfig::given(4, rule));
            assert_eq!(logits(&given), logits(&model(variant.clone())), "{}", variant.name());
        }
        let mut fading = VariantConfig::given(4, |layer| [0.75, 0.5, 0.5 / layer as f32]);
        let fades = model(fading.clone());
        let mut cache = KeyValueCache::new(fades.config(), 1, 8, Precision::F32, &device).unwrap();
        fades.extend(&mut cache, &[&[1, 2, 3]]);
        let cached = fades.extend(&mut cache, &[&[4, 5]]).to_vec().unwrap();
        let near = |(a, b): (&f32, &f32)| (a - b).abs() < 1e-5;
        assert!(cached.iter().zip(&logits(&fades)).all(near));
        let coefficients = fading.resformer_coefficients.as_mut().unwrap();
        coefficients[2] = [1.0, 0.0, 0.0];
        assert_ne!(logits(&model(fading)), logits(&fades));
    }
}
