//! Letting a model write.

use crate::data::tokenizer::Tokenizer;
use crate::engine::random::Key;
use crate::engine::{Ids, Result};
use crate::language::{LanguageModel, Sampling};

/// Continues `prompt` by `count` tokens drawn from the model: at temperature 0.8, from the 40
/// likeliest, and never the token for what is unknown, which would tell a reader nothing, or one that the
/// tokenizer does not have. It ends early
/// where there is none to draw, as from logits that are no numbers.
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
    let mut generator = key.generator();
    let mut tokens = prompt.to_vec();
    for _ in 0..count {
        let window = &tokens[tokens.len().saturating_sub(context)..];
        let ids = Ids::new(window.to_vec(), [1, window.len()]);
        let logits = model.next_logits(&ids, &[window.len() - 1]).to_vec()?;
        let Some(token) = sampling.draw(&logits, &tokens, &mut generator) else { break };
        tokens.push(token);
    }
    Ok(tokenizer.decode(&tokens))
}
