//! The text, the training and what comes out of it, for chapter 12.

use crate::common::{Chapter, end, training};
use neutreno::data::batches::TrainingBatches;
use neutreno::data::tokenizer::TokenizerChoice;
use neutreno::data::{Splits, generated};
use neutreno::engine::optim::Schedule;
use neutreno::engine::random::Key;
use neutreno::engine::{Device, Ids, Parameters, Result};
use neutreno::language::Pass;
use neutreno::measure::{Measured, measure, probe};
use neutreno::tasks::language::{TokenizedText, evaluate};
use neutreno::training::Stop;
use neutreno::{LanguageModel, LanguageModelConfig, VariantConfig};
use std::sync::Arc;

pub const LAYERS: usize = 8;
pub const WIDTH: usize = 48;
pub const HEADS: usize = 4;
pub const CONTEXT: usize = 64;

/// What is learnt from, scored on and measured on: the same for every model.
pub struct Text {
    pub train: Arc<[u32]>,
    pub validation: TokenizedText,
    pub probes: Ids,
    pub vocabulary: usize,
}

/// How long models are trained.
pub struct Plan {
    pub steps: u64,
    pub rows: usize,
}

/// What came out for one model.
pub struct Outcome {
    pub losses: Vec<f64>,
    pub validation: f64,
    pub measured: Measured,
}

pub fn text(chapter: &Chapter) -> Text {
    let sizes = Splits { train: chapter.pick(300_000, 20_000), validation: 20_000, test: 1 };
    let splits = generated::splits(Key::new(1), sizes);
    let words = TokenizerChoice::Words.build(&splits.train);
    let words = words.unwrap_or_else(|error| end(&error.to_string()));
    let validation = TokenizedText::new(&splits.validation, &words);
    let windows = probe::windows(&validation.tokens, CONTEXT, chapter.pick(32, 4), Key::new(1));
    let windows = windows.unwrap_or_else(|| end("the validation text is shorter than a window"));
    let probes = Ids::new(windows.concat(), [windows.len(), CONTEXT]);
    let validation = validation.head(chapter.pick(8_000, 200), &words);
    let train = words.encode(&splits.train).into();
    Text { train, validation, probes, vocabulary: words.vocabulary() }
}

/// Trains one model. The seed says which numbers it begins with and in which order it reads.
pub fn train(
    variant: &VariantConfig,
    seed: u64,
    text: &Text,
    plan: &Plan,
    device: &Device,
    bar: &indicatif::ProgressBar,
) -> Result<Outcome> {
    // ANCHOR: seed
    let mut config = LanguageModelConfig::new(text.vocabulary, WIDTH, LAYERS, HEADS, CONTEXT);
    config.variant = variant.clone();
    let build = |builder: &mut _| LanguageModel::new(&config, builder);
    let (model, parameters) = Parameters::build(device, seed, build);
    let mut batches =
        TrainingBatches::new(text.train.clone(), CONTEXT, plan.rows, Key::new(seed).named("data"))
            .unwrap_or_else(|error| end(&error.to_string()));
    // ANCHOR_END: seed
    let schedule =
        Schedule { peak: 2e-3, warmup_steps: plan.steps / 10, ..Schedule::new(plan.steps) };
    let mut losses = Vec::new();
    training::train(&parameters, schedule, |step| {
        let (inputs, targets) = batches.batch(step);
        let [inputs, targets] = [inputs, targets].map(|ids| Ids::new(ids, [plan.rows, CONTEXT]));
        let loss = model.loss(&inputs, &targets, &Pass::training(None));
        losses.push(f64::from(loss.to_scalar()?));
        bar.inc(1);
        Ok(loss)
    })?;
    let score = evaluate(&model, &text.validation, CONTEXT, 8, &Stop::never());
    let validation = score.unwrap_or_else(|error| end(&error.to_string())).loss();
    let measured = measure(&model.trace(&text.probes))?;
    Ok(Outcome { losses, validation, measured })
}
