//! The models that chapter 11 writes with: a small one that has learnt a little (how is told in chapter 8),
//! and larger ones that have not, whose time is taken.

use super::common::Chapter;
use neutreno::data::{Splits, generated, words::Words};
use neutreno::engine::optim::{AdamW, AdamWSettings, Optimizer, Schedule};
use neutreno::engine::random::Key;
use neutreno::engine::{Device, Ids, Parameters, Result};
use neutreno::language::Pass;
use neutreno::{LanguageModel, LanguageModelConfig, Variant, VariantConfig};

/// The tokens that the model can look back to.
pub const CONTEXT: usize = 64;

const STEPS: u64 = 240;
const BATCH: usize = 8;

/// A small model of the words of a generated text, after a little training.
pub fn learn(chapter: &Chapter, device: &Device) -> Result<(LanguageModel, Words)> {
    let sizes = Splits { train: 100_000, validation: 1, test: 1 };
    let text = generated::splits(Key::new(1), sizes).train;
    let words = Words::learn(&text);
    let ids = words.encode(&text);
    let config = LanguageModelConfig::new(words.vocabulary(), 48, 3, 3, CONTEXT);
    let build = |builder: &mut _| LanguageModel::new(&config, builder);
    let (model, parameters) = Parameters::build(device, 1, build);
    let mut optimizer = AdamW::new(&parameters, AdamWSettings::default());
    let schedule = Schedule { peak: 1e-2, warmup_steps: 20, ..Schedule::new(STEPS) };
    let (mut gradients, mut random) = (parameters.gradients(), Key::new(2).generator());
    let progress = chapter.progress("learning to write", STEPS as usize);
    for step in 1..=STEPS {
        let starts = [0; BATCH].map(|_| random.below((ids.len() - CONTEXT) as u64) as usize);
        let windows = |shift: usize| {
            let windows = starts.iter().flat_map(|start| &ids[start + shift..][..CONTEXT]);
            Ids::new(windows.copied().collect::<Vec<_>>(), [BATCH, CONTEXT])
        };
        let loss = model.loss(&windows(0), &windows(1), &Pass::training(None));
        gradients.clear();
        loss.backward_into(&mut gradients)?;
        optimizer.step(&parameters, &gradients, schedule.at(step - 1), None);
        progress.inc(1);
        if step == 1 || step % 60 == 0 {
            progress.suspend(|| {
                loss.to_scalar().map(|loss| println!("step {step:3}: loss {loss:.2}"))
            })?;
        }
    }
    progress.finish_and_clear();
    Ok((model, words))
}

/// Random weights: what a token costs does not depend on what was learnt.
pub fn untrained(
    variant: Variant,
    width: usize,
    kv_heads: usize,
    device: &Device,
) -> LanguageModel {
    let mut config = LanguageModelConfig::new(200, width, 8, width / 32, 512);
    config.variant = VariantConfig::new(variant);
    config.num_key_value_heads = kv_heads;
    Parameters::build(device, 1, |builder| LanguageModel::new(&config, builder)).0
}
