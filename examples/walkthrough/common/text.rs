//! The generated text as words and their numbers, and batches of it.

use crate::common::end;
use neutreno::data::batches::{EvaluationWindows, TrainingBatches};
use neutreno::data::tokenizer::{Tokenizer, TokenizerChoice};
use neutreno::data::{Splits, generated};
use neutreno::engine::Ids;
use neutreno::engine::random::Key;

pub const CONTEXT: usize = 64;
pub const BATCH: usize = 8;

/// A text to learn from and one that is held out, as tokens.
pub struct Text {
    pub words: Tokenizer,
    raw: String,
    pub train: Vec<u32>,
    pub validation: Vec<u32>,
}

impl Text {
    pub fn new() -> Text {
        let sizes = Splits { train: 200_000, validation: 20_000, test: 1 };
        let text = generated::splits(Key::new(8), sizes);
        let words = TokenizerChoice::Words.build(&text.train);
        let words = words.unwrap_or_else(|error| end(&error.to_string()));
        let [train, validation] = [&text.train, &text.validation].map(|text| words.encode(text));
        Text { words, raw: text.train, train, validation }
    }

    /// Says how it begins, how much there is of it, and what a batch of it is.
    pub fn show(&self) {
        let Text { words, raw, train, validation } = self;
        let beginning: Vec<&str> =
            raw.split(' ').filter(|word| !word.is_empty()).take(18).collect();
        println!("{} ...", beginning.join(" ").replace(" \n ", "\n").replace(" \n", "\n"));
        println!("\ndifferent words: {}", words.vocabulary());
        println!("words to learn from: {}", train.len());
        println!("words held out: {}", validation.len());
        let (inputs, targets) = batches(train, 1).batch(0);
        println!("\ninputs:  {} ...", words.decode(&inputs[..9]));
        println!("targets: {} ...", words.decode(&targets[..9]));
    }
}

/// Windows of a text in a random order that follows from the seed.
pub fn batches(tokens: &[u32], seed: u64) -> TrainingBatches {
    let batches = TrainingBatches::new(tokens.into(), CONTEXT, BATCH, Key::new(seed));
    batches.unwrap_or_else(|error| end(&error.to_string()))
}

/// Tokens as rows of a window each.
pub fn rows(tokens: Vec<u32>) -> Ids {
    let rows = tokens.len() / CONTEXT;
    Ids::new(tokens, [rows, CONTEXT])
}

/// Windows side by side, sixteen at a time: inputs and targets.
pub fn windows(tokens: &[u32]) -> impl Iterator<Item = (Ids, Ids)> {
    let windows = EvaluationWindows::new(tokens, CONTEXT, CONTEXT);
    let windows = windows.unwrap_or_else(|error| end(&error.to_string()));
    windows.batches(16).map(|(inputs, targets)| (rows(inputs), rows(targets)))
}
