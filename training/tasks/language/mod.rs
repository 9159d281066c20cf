//! Language modelling as a task: windows of tokens, perplexity, text that the model writes.

pub mod evaluation;
pub mod sampling;
mod settings;
mod start;

pub use evaluation::{
    Score, TokenScore, TokenizedText, evaluate, evaluate_tokens, evaluate_with_stride,
};
pub use settings::LanguageSettings;
pub use start::{Start, StartFolder};

use evaluation::evaluate_shared;

use crate::data::batches::{BatchError, TrainingBatches, uniform_nats, unigram_nats};
use crate::data::corpus::Corpus;
use crate::data::tokenizer::{Tokenizer, TokenizerChoice, TokenizerError};
use crate::data::{Source, Splits};
use crate::engine::random::Key;
use crate::engine::{Builder, Device, Ids, Parameters, Tensor};
use crate::error::Error;
use crate::language::{LanguageModel, LanguageModelConfig, Pass, Transfer};
use crate::measure::probe;
use crate::run::{Data, Values, write_atomically};
use crate::scoring::Shares;
use crate::settings::Settings;
use crate::task::{Batches, Best, Extent, Task};
use crate::tasks::start_files::FROM;
use crate::trace::Trace;
use crate::variant::VariantConfig;
use std::ops::Range;
use std::path::Path;

/// Always the same, so that all models are measured on the same windows.
const PROBE_SEED: u64 = 1;

/// Learning to predict the next token of a text.
#[derive(Clone, Debug)]
pub struct LanguageModelling {
    /// The sizes.
    pub settings: LanguageSettings,
    /// How text becomes tokens.
    pub tokenizer: Tokenizer,
    /// The texts as tokens.
    pub texts: Splits<TokenizedText>,
    data: Data,
    facts: Values,
    /// Whether perplexities are a word and not a token.
    by_word: bool,
    /// A text that can be read only once, which the run keeps.
    passing: Option<String>,
    /// What models start from, if not from nothing.
    start: Option<Start>,
}

impl LanguageModelling {
    /// The task of learning a corpus, with a tokenizer made of its text.
    ///
    /// # Errors
    /// If the tokenizer cannot be made.
    pub fn new(
        corpus: &Corpus,
        tokenizer: TokenizerChoice,
        settings: LanguageSettings,
    ) -> Result<LanguageModelling, Error> {
        let tokenizer = tokenizer.build(&corpus.splits.train)?;
        Ok(LanguageModelling::with_tokenizer(corpus, tokenizer, settings))
    }

    /// The task of learning a corpus, with a tokenizer that is there already, such as that of the run
    /// that is gone on with.
    ///
    /// ```
    /// use neutreno::data::corpus::Corpus;
    /// use neutreno::data::tokenizer::Tokenizer;
    /// use neutreno::data::{Source, Splits};
    /// use neutreno::tasks::language::{LanguageModelling, LanguageSettings};
    /// let splits = Splits { train: "a b a".into(), validation: "b".into(), test: "a".into() };
    /// let corpus = Corpus::new("two words".into(), Source::Generated(0), false, splits, None);
    /// let (sizes, _) = LanguageSettings::preset("tiny").expect("a preset");
    /// let task = LanguageModelling::with_tokenizer(&corpus, Tokenizer::Bytes, sizes);
    /// assert_eq!(task.texts.train.tokens[..], [97, 32, 98, 32, 97]);
    /// ```
    pub fn with_tokenizer(
        corpus: &Corpus,
        tokenizer: Tokenizer,
        settings: LanguageSettings,
    ) -> LanguageModelling {
        LanguageModelling::with_start(corpus, tokenizer, settings, None)
    }

    /// The task of learning a corpus with models that start from one that is trained already, and have its
    /// sizes; `tokenizer` is its own.
    pub fn starting_from(
        start: Start,
        corpus: &Corpus,
        tokenizer: Tokenizer,
        mut settings: LanguageSettings,
    ) -> LanguageModelling {
        start.sizes(&mut settings);
        LanguageModelling::with_start(corpus, tokenizer, settings, Some(start))
    }

    fn with_start(
        corpus: &Corpus,
        tokenizer: Tokenizer,
        settings: LanguageSettings,
        start: Option<Start>,
    ) -> LanguageModelling {
        let texts = corpus.splits.as_ref().map(|text| TokenizedText::new(text, &tokenizer));
        // Words are what a perplexity is counted in where the text itself says what a word is.
        let by_word = corpus.official_words || !tokenizer.keeps_every_byte();
        let vocabulary = start.as_ref().map(|start| start.config().vocab_size);
        let vocabulary = vocabulary.unwrap_or(tokenizer.vocabulary());
        let mut facts = facts(corpus, (&tokenizer, vocabulary), &texts, by_word);
        if let Some(start) = &start {
            facts.set(FROM, start.facts());
        }
        let present = corpus.splits.as_ref().map(|text| !text.is_empty()).named();
        let hashes = corpus.hashes.clone().named().into_iter().zip(present);
        let hashes = hashes.filter(|(_, (_, present))| *present);
        let hashes = hashes.map(|((name, hash), _)| (name.to_owned(), hash)).collect();
        let source = corpus.source.absolute();
        let (path, name) = (source.given(), corpus.name.clone());
        let data = Data { source: source.to_string(), path, name, hashes };
        let passing = matches!(corpus.source, Source::Pipe(_))
            .then(|| corpus.splits.iter().map(String::as_str).collect());
        LanguageModelling { settings, tokenizer, texts, data, facts, by_word, passing, start }
    }

    /// What models start from, if not from nothing.
    pub fn start(&self) -> Option<&Start> {
        self.start.as_ref()
    }

    /// What a model of this configuration takes of the one that it starts from, if it does.
    pub fn transfer(&self, config: &LanguageModelConfig) -> Option<Transfer> {
        let grown = if self.settings.lambda_warmup > 0 { 0.0 } else { 1.0 };
        self.start.as_ref().map(|start| Transfer::new(start.config(), config, grown))
    }

    /// The scores of a text. Those of the test text carry its name.
    fn scores(&self, split: &str, score: &Score) -> Values {
        let name = |what: &str| format!("{split}_{what}");
        let mut scores = Values::default().with(&name("loss"), score.loss());
        if self.by_word {
            scores.set(&name("perplexity"), score.perplexity());
        } else {
            scores.set(&name("token_perplexity"), score.token_perplexity());
        }
        if self.tokenizer.keeps_every_byte() {
            let bits = if split == "test" { "bits_per_byte".into() } else { name("bits_per_byte") };
            scores.set(&bits, score.bits_per_byte());
        }
        scores
    }
}

impl LanguageModelling {
    /// The tokens of each text that are scored at most. Where nothing else was asked for, so many that
    /// scoring takes about a tenth of the time of training, half of it at the end.
    fn limit(&self, settings: &Settings, extent: Extent) -> usize {
        /// Of fewer tokens a score would say little.
        const LEAST: usize = 2_000;
        let LanguageSettings { evaluation_tokens, final_evaluation_tokens, .. } = self.settings;
        let Settings { steps, evaluate_every, .. } = *settings;
        // A token that is scored goes through the model twice, as windows overlap by half, and not
        // back: two thirds of the work of one that is learnt from.
        let learnt = steps.saturating_mul(settings.units_per_step(self));
        let twentieth = (learnt as f64 / 20.0 * 3.0 / 2.0) as usize;
        let asked = final_evaluation_tokens.is_some() || self.settings.evaluate_all;
        let times = if evaluate_every > 0 { steps.div_ceil(evaluate_every).max(1) } else { 1 };
        match extent {
            Extent::Part if asked => evaluation_tokens,
            Extent::Part => evaluation_tokens.min((twentieth / times as usize).max(LEAST)),
            Extent::All if self.settings.evaluate_all => usize::MAX,
            // Of two texts.
            Extent::All => final_evaluation_tokens.unwrap_or((twentieth / 2).max(LEAST)),
        }
    }
}

impl From<TokenizerError> for Error {
    fn from(error: TokenizerError) -> Error {
        Error::Data(Box::new(error))
    }
}

impl From<BatchError> for Error {
    fn from(error: BatchError) -> Error {
        Error::Data(Box::new(error))
    }
}

/// What a score can be held against. Perplexities are for each word of the text that was scored,
/// exp(nats / (words + line ends)), which do not depend on the tokenizer, or for each token.
fn facts(
    corpus: &Corpus,
    (tokenizer, vocabulary): (&Tokenizer, usize),
    texts: &Splits<TokenizedText>,
    by_word: bool,
) -> Values {
    let validation = &texts.validation;
    let perplexity = |nats: f64| {
        let score = Score::new(nats, validation);
        if by_word { score.perplexity() } else { score.token_perplexity() }
    };
    let scorable = validation.tokens.len() > 1;
    let unigram =
        |text: &TokenizedText| unigram_nats(&texts.train.tokens, &text.tokens, vocabulary);
    let mut facts = Values::default()
        .with("official_words", corpus.official_words)
        .with("tokenizer", tokenizer.name())
        .with("vocabulary", vocabulary)
        .with("perplexity_unit", if by_word { "word" } else { "token" })
        .with("tokens_per_word", validation.tokens.len() as f64 / validation.words as f64);
    if scorable {
        let uniform = uniform_nats(&validation.tokens, vocabulary);
        facts.set("uniform_perplexity", perplexity(uniform));
        let unigram = unigram(validation);
        facts.set("unigram_perplexity", perplexity(unigram));
        facts.set("unigram_loss", Score::new(unigram, validation).loss());
    }
    if !corpus.parts.is_empty() {
        facts.set("texts", corpus.parts.as_str());
    }
    if tokenizer.unknown().is_some() {
        for (name, text) in [("validation", validation), ("test", &texts.test)] {
            facts.set(&format!("unknown_words_{name}"), text.unknown_share());
        }
    }
    // The entropy of a generated text, in nats a word: no model can do better for long.
    if let Some(entropy) = corpus.entropy {
        facts.set("entropy_floor", entropy);
    }
    facts
}

impl Task for LanguageModelling {
    type Config = LanguageModelConfig;
    type Model = LanguageModel;
    type Batch = [Ids; 2];

    fn name(&self) -> &'static str {
        "language-modelling"
    }

    fn unit(&self) -> &'static str {
        "token"
    }

    fn units(&self, batch: usize) -> u64 {
        (self.settings.context * batch) as u64
    }

    fn best(&self) -> Best {
        Best::Lowest("validation_loss")
    }

    fn config(
        &self,
        variant: &VariantConfig,
        device: &Device,
    ) -> Result<LanguageModelConfig, Error> {
        let context = self.settings.context;
        let config = match &self.start {
            None => self.settings.model(self.tokenizer.vocabulary(), variant),
            Some(start) => {
                let (variant, dropout) = (variant.clone(), self.settings.dropout);
                LanguageModelConfig { variant, dropout, ..start.config().clone() }
            }
        };
        config.check().map_err(Error::Settings)?;
        let (vocabulary, width) = (config.vocab_size, config.hidden_size);
        if vocabulary * width > device.largest_tensor() {
            return Err(Error::Settings(format!(
                "{vocabulary} tokens of width {width} are more than one tensor can hold on \
                 {device}; choose a smaller --width, or fewer tokens with --tokenizer bpe:N"
            )));
        }
        if context > config.max_position_embeddings {
            return Err(Error::Settings(format!(
                "--context {context} is more than the {} that the model was made for \
                 (max_position_embeddings)",
                config.max_position_embeddings
            )));
        }
        Ok(config)
    }

    fn memory_flags(&self) -> &'static str {
        if self.start.is_some() {
            return "--recompute, a smaller --batch (with a larger --accumulate the steps stay the \
                    same), or a smaller --context";
        }
        "--recompute, a smaller --batch (with a larger --accumulate the steps stay the same), a \
         smaller --context, or a smaller model (--layers, --width)"
    }

    fn check(&self) -> Result<(), Error> {
        let context = self.settings.context;
        let Splits { train, validation, test } = &self.texts;
        for (name, text) in [("training", train), ("validation", validation), ("test", test)] {
            let needed = match name {
                "training" => context + 1,
                // A corpus may have none.
                "test" if text.bytes == 0 => 0,
                _ => 2,
            };
            if text.tokens.len() < needed {
                return Err(Error::Settings(format!(
                    "the {name} text has {} tokens and needs at least {needed} with a context of \
                     {context}; choose a smaller --context or more text (--data)",
                    text.tokens.len()
                )));
            }
        }
        Ok(())
    }

    fn build(&self, config: &LanguageModelConfig, builder: &mut Builder) -> LanguageModel {
        LanguageModel::new(config, builder)
    }

    fn start(
        &self,
        config: &LanguageModelConfig,
        seed: u64,
        device: &Device,
    ) -> Result<(LanguageModel, Parameters), Error> {
        match &self.start {
            Some(start) => start.model(config, seed, device),
            None => Ok(Parameters::build(device, seed, |builder| self.build(config, builder))),
        }
    }

    fn check_start(&self) -> Result<(), Error> {
        self.start.as_ref().map_or(Ok(()), Start::check)
    }

    /// NeuTRENO's λ grows.
    fn at_step(&self, model: &LanguageModel, settings: &Settings, steps: u64) -> Values {
        let warmup = self.settings.lambda_warmup.min(settings.steps);
        let lambda = model.config().variant.neutreno_lambda.filter(|_| warmup > 0);
        let Some(lambda) = lambda else { return Values::default() };
        let grown = (steps as f64 / warmup as f64).min(1.0) as f32;
        model.grow_fidelity(grown);
        // As many digits as an f32 has.
        let shown = (f64::from(grown * lambda) * 1e7).round() / 1e7;
        Values::default().with("neutreno_lambda", shown)
    }

    fn batches(&self, seed: u64, batch: usize) -> Result<Batches<'_, [Ids; 2]>, Error> {
        let key = Key::new(seed).named("data");
        let context = self.settings.context;
        let tokens = self.texts.train.tokens.clone();
        let mut batches = TrainingBatches::new(tokens, context, batch, key)?;
        Ok(Box::new(move |number| {
            let (inputs, targets) = batches.batch(number);
            Ok([inputs, targets].map(|ids| Ids::new(ids, [batch, context])))
        }))
    }

    fn loss(&self, model: &LanguageModel, batch: &[Ids; 2], dropout: Key) -> Tensor {
        let [inputs, targets] = batch;
        let LanguageSettings { label_smoothing, recompute, .. } = self.settings;
        model.loss(inputs, targets, &Pass { dropout: Some(dropout), label_smoothing, recompute })
    }

    /// Every token but the first.
    fn scored(&self, settings: &Settings, extent: Extent) -> Values {
        let limit = self.limit(settings, extent);
        let mut values = Values::default();
        let splits = [("validation", &self.texts.validation), ("test", &self.texts.test)];
        for (name, text) in splits.into_iter().take(if extent == Extent::All { 2 } else { 1 }) {
            let all = text.tokens.len();
            if all > 1 {
                values.set(&format!("{name}_tokens_scored"), all.min(limit) - 1);
                values.set(&format!("{name}_tokens"), all - 1);
            }
        }
        values
    }

    /// While training, the first tokens of the validation text; at the end both texts.
    fn evaluate(
        &self,
        model: &LanguageModel,
        settings: &Settings,
        extent: Extent,
        shares: &Shares,
    ) -> Result<Values, Error> {
        let limit = self.limit(settings, extent);
        // In batches as large as those of training, so that it takes no more memory.
        let score = |text: &TokenizedText| {
            let text = text.head(limit, &self.tokenizer);
            let context = self.settings.context;
            let windows = [context, context.div_ceil(2)];
            evaluate_shared(model, &text, windows, settings.batch, shares)
        };
        let mut scores = self.scores("validation", &score(&self.texts.validation)?);
        if extent == Extent::All && !self.texts.test.tokens.is_empty() {
            scores.extend(self.scores("test", &score(&self.texts.test)?));
        }
        Ok(scores)
    }

    fn sample(&self, model: &LanguageModel, key: Key) -> Result<Option<String>, Error> {
        const PROMPT: usize = 8;
        let length = if matches!(self.tokenizer, Tokenizer::Bytes) { 160 } else { 40 };
        let prompt = &self.texts.validation.tokens;
        let prompt = &prompt[..PROMPT.min(prompt.len()).min(self.settings.context)];
        Ok(Some(sampling::sample(model, &self.tokenizer, prompt, length, key)?))
    }

    /// Windows of the validation text that begin with the same token.
    fn trace(&self, model: &LanguageModel, probes: Range<usize>) -> Result<Option<Trace>, Error> {
        let (tokens, context) = (&self.texts.validation.tokens, self.settings.context);
        let length = context.min(tokens.len());
        let windows = probe::windows(tokens, length, probes.end, Key::new(PROBE_SEED));
        let windows = windows.unwrap_or_default();
        let Some(chosen) = windows.get(probes.start..).filter(|chosen| !chosen.is_empty()) else {
            return Ok(None);
        };
        Ok(Some(model.trace(&Ids::new(chosen.concat(), [chosen.len(), length]))))
    }

    fn settings(&self) -> Values {
        Values::of(&self.settings)
    }

    fn data(&self) -> Data {
        self.data.clone()
    }

    fn facts(&self) -> Values {
        self.facts.clone()
    }

    fn model_facts(&self, config: &LanguageModelConfig) -> Values {
        let cache = config.kv_cache_bytes_per_token();
        let mut facts = Values::default().with("kv_cache_bytes_per_token", cache);
        if let Some(transfer) = self.transfer(config) {
            facts.set("start", transfer.sentence());
            facts.set("starts_as_it_was", transfer.change.is_none());
        }
        facts
    }

    fn save(&self, folder: &Path) -> Result<(), Error> {
        self.tokenizer.save(folder.join("tokenizer.json"))?;
        if let Some(text) = &self.passing {
            write_atomically(&folder.join("text.txt"), text.as_bytes())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Source;

    /// Without a wish, all scores together take a tenth of the work of training.
    #[test]
    fn scoring_takes_a_tenth_of_the_time() {
        let (sizes, settings) = LanguageSettings::preset("tiny").expect("a preset");
        let text = || "a few words, again and again\n".repeat(40_000);
        let splits = Splits { train: text(), validation: text(), test: text() };
        let corpus = Corpus::new("words".into(), Source::Generated(0), false, splits, None);
        let mut task = LanguageModelling::new(&corpus, TokenizerChoice::Words, sizes).unwrap();
        let settings = Settings { steps: 1_000, evaluate_every: 50, ..settings };
        let scored = |task: &LanguageModelling, extent| {
            let scored = task.scored(&settings, extent);
            ["validation_tokens_scored", "test_tokens_scored"].map(|name| scored.number(name))
        };
        let [part, _] = scored(&task, Extent::Part);
        let [validation, test] = scored(&task, Extent::All);
        let learnt = 1_000.0 * settings.units_per_step(&task) as f64;
        let share = (20.0 * part + validation + test) * 2.0 / 3.0 / learnt;
        assert!((0.0999..=0.1).contains(&share), "{share}");
        task.settings.evaluate_all = true;
        assert_eq!(scored(&task, Extent::All), [task.texts.test.tokens.len() as f64 - 1.0; 2]);
        task.settings.evaluate_all = false;
        task.settings.final_evaluation_tokens = Some(500);
        assert_eq!(scored(&task, Extent::All), [499.0; 2]);
    }
}
