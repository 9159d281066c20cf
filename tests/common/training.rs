//! A small training job: the settings, the model and the data.

use super::finalise;
use neutreno::data::batches::TrainingBatches;
use neutreno::engine::random::Key;
use neutreno::training::Settings;
use neutreno::{LanguageModelConfig, Variant, VariantConfig};

/// The steps that are compared.
pub const STEPS: u64 = 20;

/// Grouped queries, dropout and two micro-batches a step.
pub fn settings() -> Settings {
    Settings {
        layers: 3,
        width: 32,
        heads: 4,
        key_value_heads: Some(2),
        context: 16,
        batch: 4,
        accumulate: 2,
        steps: STEPS,
        learning_rate: 1e-2,
        warmup: 5,
        dropout: 0.1,
        ..Settings::preset("tiny").expect("a preset")
    }
}

/// The model of a variant.
pub fn config(variant: Variant) -> LanguageModelConfig {
    settings().model(50, &VariantConfig::new(variant))
}

/// Tokens with something to learn: mostly the successor of the token before.
pub fn batches() -> TrainingBatches {
    let mut token = 0;
    let next = |index: u64| {
        let random = finalise(index);
        token = if random.is_multiple_of(4) { (random >> 8) % 50 } else { (token + 1) % 50 };
        token as u32
    };
    let tokens: Vec<u32> = (0..5_000).map(next).collect();
    let Settings { context, batch, .. } = settings();
    TrainingBatches::new(tokens.into(), context, batch, Key::new(1)).expect("enough tokens")
}
