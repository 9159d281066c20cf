//! A small training job: the settings, the model and the data.

use super::finalise;
use neutreno::data::batches::TrainingBatches;
use neutreno::data::corpus::Corpus;
use neutreno::data::tokenizer::TokenizerChoice;
use neutreno::data::{Source, Splits};
use neutreno::engine::Ids;
use neutreno::engine::random::Key;
use neutreno::tasks::language::{LanguageModelling, LanguageSettings};
use neutreno::training::{Batches, Settings};
use neutreno::{LanguageModelConfig, Variant, VariantConfig};

/// The steps that are compared.
pub const STEPS: u64 = 20;

/// Two micro-batches a step.
pub fn settings() -> Settings {
    Settings {
        batch: 4,
        accumulate: 2,
        steps: STEPS,
        learning_rate: 1e-2,
        warmup: 5,
        ..LanguageSettings::preset("tiny").expect("a preset").1
    }
}

/// Grouped queries and dropout.
pub fn task() -> LanguageModelling {
    let sizes = LanguageSettings {
        layers: 3,
        width: 32,
        heads: 4,
        key_value_heads: Some(2),
        context: 16,
        dropout: 0.1,
        embedding_deviation: Some(0.02),
        ..LanguageSettings::preset("tiny").expect("a preset").0
    };
    // Bytes below 50, the vocabulary of [`config`].
    let text = || " 0/\n".repeat(100);
    let splits = Splits { train: text(), validation: text(), test: text() };
    let corpus = Corpus::new("a few bytes".into(), Source::Generated(0), false, splits, None);
    LanguageModelling::new(&corpus, TokenizerChoice::Bytes, sizes).expect("a corpus")
}

/// The model of a variant.
pub fn config(variant: Variant) -> LanguageModelConfig {
    task().settings.model(50, &VariantConfig::new(variant))
}

/// Tokens with something to learn: mostly the successor of the token before.
pub fn batches() -> Batches<'static, [Ids; 2]> {
    let mut token = 0;
    let next = |index: u64| {
        let random = finalise(index);
        token = if random.is_multiple_of(4) { (random >> 8) % 50 } else { (token + 1) % 50 };
        token as u32
    };
    let tokens: Vec<u32> = (0..5_000).map(next).collect();
    let (context, batch) = (16, settings().batch);
    let mut batches =
        TrainingBatches::new(tokens.into(), context, batch, Key::new(1)).expect("enough tokens");
    Box::new(move |number| {
        let (inputs, targets) = batches.batch(number);
        Ok([inputs, targets].map(|ids| Ids::new(ids, [batch, context])))
    })
}
