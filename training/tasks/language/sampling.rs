//! Letting a model write.

use crate::data::tokenizer::Tokenizer;
use crate::engine::Result;
use crate::engine::half::Precision;
use crate::engine::random::Key;
use crate::language::{
    Generation, GenerationSettings, KeyValueCache, LanguageModel, Sampling, WhenFull,
};

/// Continues `prompt` by `count` tokens drawn from the model: at temperature 0.8, from the 40
/// likeliest, and never the token for what is unknown, which would tell a reader nothing, or one that the
/// tokenizer does not have. It ends early where there is none to draw, as from logits that are no numbers.
/// Beyond the model's longest context the oldest tokens are forgotten.
///
/// # Errors
/// If the device fails.
///
/// # Panics
/// If the prompt is empty.
pub fn sample(
    model: &LanguageModel,
    tokenizer: &Tokenizer,
    prompt: &[u32],
    count: usize,
    key: Key,
) -> Result<String> {
    let context = model.config().max_position_embeddings;
    let without_text = tokenizer.vocabulary() as u32..model.config().vocab_size as u32;
    let sampling = Sampling {
        excluded: tokenizer.unknown().into_iter().chain(without_text).collect(),
        temperature: 0.8,
        top_k: Some(40),
        ..Sampling::default()
    };
    let settings = GenerationSettings {
        sampling,
        tokens: count,
        end_tokens: Vec::new(),
        when_full: WhenFull::Slide,
    };
    let seen = &prompt[prompt.len().saturating_sub(context)..];
    let room = context.min(seen.len() + count);
    let cache = KeyValueCache::new(model.config(), 1, room, Precision::F32, model.device())?;
    let mut generation = Generation::with_keys(model, cache, settings, [key]);
    generation.add(&[seen]);
    while !generation.write()?.is_empty() {}
    Ok(tokenizer.decode(&[prompt, &generation.tokens(0)[seen.len()..]].concat()))
}
