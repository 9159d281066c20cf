//! The settings of a language model's training, and the presets.

use crate::data::tokenizer::TokenizerChoice;
use crate::engine::optim::Curve;
use crate::language::LanguageModelConfig;
use crate::settings::{Preset, Settings};
use crate::variant::VariantConfig;
use serde::{Deserialize, Serialize};

/// How large a language model is, and how it is scored. The same for every variant of a comparison.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LanguageSettings {
    /// The number of blocks.
    pub layers: usize,
    /// The width of the residual stream.
    pub width: usize,
    /// The width inside the feed-forward part; `None` for 8/3 of the width.
    pub feed_forward: Option<usize>,
    /// The number of query heads.
    pub heads: usize,
    /// The number of key and value heads; `None` for as many as query heads.
    pub key_value_heads: Option<usize>,
    /// How many layers that follow each other share the keys and values of the first of them; 1 for none.
    #[serde(default = "one")]
    pub share_keys: usize,
    /// Whether the output layer uses the embedding's weights.
    pub tied: bool,
    /// The tokens of one training window.
    pub context: usize,
    /// The probability with which dropout drops.
    pub dropout: f32,
    /// The standard deviation of the initial embeddings; `None` for 1/√`width`.
    #[serde(default = "of_older_runs")]
    pub embedding_deviation: Option<f32>,
    /// The steps in which NeuTRENO's λ grows from 0 in a straight line, at most all; 0 for one that is
    /// there from the first step.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub lambda_warmup: u64,
    /// The share of the target that label smoothing gives to all tokens alike.
    pub label_smoothing: f32,
    /// Whether blocks are run again on the way back instead of keeping what they computed.
    #[serde(default)]
    pub recompute: bool,
    /// The tokens of the validation text that are scored while training, at most.
    pub evaluation_tokens: usize,
    /// The tokens scored at the end, of each text; `None` for as many as take a twentieth of the
    /// time of training.
    pub final_evaluation_tokens: Option<usize>,
    /// Whether all tokens are scored at the end.
    #[serde(default)]
    pub evaluate_all: bool,
}

fn one() -> usize {
    1
}

/// Runs that do not say had no choice.
fn of_older_runs() -> Option<f32> {
    Some(0.02)
}

fn is_zero(steps: &u64) -> bool {
    *steps == 0
}

impl LanguageSettings {
    /// How a model that is trained already is trained on, gently. Its sizes are its own, and those here
    /// mean nothing ([`Start::sizes`](super::Start::sizes)).
    pub fn starting() -> (LanguageSettings, Settings) {
        let (sizes, training) = tiny();
        let sizes = LanguageSettings { context: 256, ..sizes };
        let training = Settings {
            batch: 4,
            steps: 200,
            learning_rate: 5e-5,
            warmup: 20,
            weight_decay: 0.0,
            evaluate_every: 50,
            evaluate_start: true,
            sample_every: 100,
            ..training
        };
        (sizes, training)
    }

    /// All presets.
    pub const PRESETS: [Preset; 5] = [
        Preset { name: "tiny", purpose: "all four variants in minutes on two CPU cores" },
        Preset {
            name: "generated",
            purpose: "the same for the generated text, whose words are few",
        },
        Preset {
            name: "wikitext2",
            purpose: "the best perplexity on WikiText-2 in 10 CPU minutes",
        },
        Preset { name: "small", purpose: "15M parameters with WikiText-2's words; hours on a CPU" },
        Preset { name: "medium", purpose: "55M parameters with WikiText-2's words; for a GPU" },
    ];

    /// The settings of a preset; `None` if there is no such preset.
    ///
    /// ```
    /// use neutreno::tasks::language::LanguageSettings;
    /// for preset in LanguageSettings::PRESETS {
    ///     assert!(LanguageSettings::preset(preset.name).is_some());
    /// }
    /// assert!(LanguageSettings::preset("huge").is_none());
    /// ```
    pub fn preset(name: &str) -> Option<(LanguageSettings, Settings)> {
        let preset = match name {
            "tiny" => tiny,
            "generated" => generated,
            "wikitext2" => wikitext2,
            "small" => small,
            "medium" => medium,
            _ => return None,
        };
        Some(preset())
    }

    /// The tokens that go with a preset, for a text that comes split into words or not. Byte pairs
    /// leave `tiny` the time for layers that tens of thousands of words would take for the output
    /// layer.
    ///
    /// ```
    /// use neutreno::data::tokenizer::TokenizerChoice;
    /// use neutreno::tasks::language::LanguageSettings;
    /// assert_eq!(LanguageSettings::tokenizer("tiny", true).to_string(), "bpe:2000");
    /// assert_eq!(LanguageSettings::tokenizer("small", true), TokenizerChoice::Words);
    /// assert_eq!(LanguageSettings::tokenizer("small", false), TokenizerChoice::Bytes);
    /// ```
    pub fn tokenizer(preset: &str, split_into_words: bool) -> TokenizerChoice {
        match (preset, split_into_words) {
            ("tiny", _) => TokenizerChoice::BytePairs(2_000),
            (_, true) => TokenizerChoice::Words,
            (_, false) => TokenizerChoice::Bytes,
        }
    }

    /// The configuration of a model of this size.
    pub fn model(&self, vocabulary: usize, variant: &VariantConfig) -> LanguageModelConfig {
        let mut config =
            LanguageModelConfig::new(vocabulary, self.width, self.layers, self.heads, self.context);
        if let Some(width) = self.feed_forward {
            config.intermediate_size = width;
        }
        config.num_key_value_heads = self.key_value_heads.unwrap_or(self.heads);
        config.share_keys = self.share_keys;
        config.tie_word_embeddings = self.tied;
        config.dropout = self.dropout;
        if let Some(deviation) = self.embedding_deviation {
            config.embedding_deviation = deviation;
        }
        config.variant = variant.clone();
        config
    }
}

/// Eight thin layers: in fewer, first values are carried past too little for a difference to show.
fn tiny() -> (LanguageSettings, Settings) {
    let sizes = LanguageSettings {
        layers: 8,
        width: 96,
        feed_forward: None,
        heads: 4,
        key_value_heads: None,
        share_keys: 1,
        tied: true,
        context: 64,
        dropout: 0.0,
        embedding_deviation: None,
        lambda_warmup: 0,
        label_smoothing: 0.0,
        recompute: false,
        evaluation_tokens: 20_000,
        final_evaluation_tokens: None,
        evaluate_all: false,
    };
    let training = Settings {
        batch: 16,
        accumulate: 1,
        steps: 500,
        learning_rate: 2e-3,
        warmup: 100,
        decay: Curve::Cosine,
        final_fraction: 0.1,
        weight_decay: 0.1,
        betas: [0.9, 0.95],
        clip: 1.0,
        average: None,
        evaluate_every: 100,
        patience: None,
        evaluate_start: false,
        measure_every: 0,
        sample_every: 100,
        schedules: Vec::new(),
    };
    (sizes, training)
}

/// A lower rate: the text has few words, some of them rare, whose embeddings' gradients leap at higher
/// ones.
fn generated() -> (LanguageSettings, Settings) {
    let (sizes, training) = tiny();
    let training = Settings {
        steps: 800,
        learning_rate: 1e-3,
        warmup: 200,
        evaluate_every: 200,
        sample_every: 400,
        ..training
    };
    (sizes, training)
}

/// Small steps: the text is seen only about twice, and more updates gain more than the time that
/// larger batches save.
fn wikitext2() -> (LanguageSettings, Settings) {
    let (sizes, training) = tiny();
    let sizes = LanguageSettings { layers: 4, width: 128, context: 128, ..sizes };
    let training = Settings {
        batch: 8,
        steps: 3_200,
        learning_rate: 3e-3,
        warmup: 200,
        final_fraction: 0.0,
        evaluate_every: 500,
        sample_every: 1_000,
        ..training
    };
    (sizes, training)
}

fn small() -> (LanguageSettings, Settings) {
    let (sizes, training) = tiny();
    let sizes = LanguageSettings { width: 256, heads: 8, context: 128, dropout: 0.1, ..sizes };
    let training = Settings {
        steps: 5_000,
        learning_rate: 1e-3,
        warmup: 200,
        evaluate_every: 500,
        sample_every: 500,
        ..training
    };
    (sizes, training)
}

fn medium() -> (LanguageSettings, Settings) {
    let (sizes, training) = tiny();
    let sizes =
        LanguageSettings { layers: 12, width: 512, heads: 8, context: 256, dropout: 0.2, ..sizes };
    let training = Settings {
        batch: 8,
        accumulate: 4,
        steps: 10_000,
        learning_rate: 6e-4,
        warmup: 500,
        evaluate_every: 1_000,
        sample_every: 1_000,
        ..training
    };
    (sizes, training)
}
