//! Letting a model write.

use crate::data::tokenizer::Tokenizer;
use crate::engine::random::{Generator, Key};
use crate::engine::{Ids, Result};
use crate::language::LanguageModel;

/// Continues `prompt` by `count` tokens drawn from the model: at temperature 0.8, from the 40
/// likeliest, and never the token `unknown`, which would tell a reader nothing.
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
    let unknown = tokenizer.unknown();
    let mut generator = key.generator();
    let mut tokens = prompt.to_vec();
    for _ in 0..count {
        let window = &tokens[tokens.len().saturating_sub(context)..];
        let ids = Ids::new(window.to_vec(), [1, window.len()]);
        let logits = model.next_logits(&ids, &[window.len() - 1]).to_vec()?;
        tokens.push(draw(&logits, unknown, &mut generator));
    }
    Ok(tokenizer.decode(&tokens))
}

fn draw(logits: &[f32], unknown: Option<u32>, generator: &mut Generator) -> u32 {
    const TEMPERATURE: f64 = 0.8;
    const LIKELIEST: usize = 40;
    let mut tokens: Vec<u32> =
        (0..logits.len() as u32).filter(|token| Some(*token) != unknown).collect();
    let logit = |token: u32| f64::from(logits[token as usize]);
    tokens.sort_by(|a, b| logit(*b).total_cmp(&logit(*a)));
    tokens.truncate(LIKELIEST);
    let largest = logit(tokens[0]);
    let weights: Vec<f64> =
        tokens.iter().map(|token| ((logit(*token) - largest) / TEMPERATURE).exp()).collect();
    let mut left = f64::from(generator.uniform()) * weights.iter().sum::<f64>();
    for (token, weight) in tokens.iter().zip(&weights) {
        left -= weight;
        if left < 0.0 {
            return *token;
        }
    }
    tokens[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_by_probability_and_never_the_unknown() {
        let logits = [0.0, 10.0, 0.8, -50.0];
        let mut generator = Key::new(1).generator();
        let drawn: Vec<u32> = (0..4000).map(|_| draw(&logits, Some(1), &mut generator)).collect();
        let share = drawn.iter().filter(|token| **token == 2).count() as f64 / 4000.0;
        // e^(0.8 / 0.8) against e^0.
        assert!((share - 0.731).abs() < 0.03, "{share}");
        assert!(!drawn.contains(&1));
    }
}
