//! The settings of a training run, and the presets.

use crate::config::LanguageModelConfig;
use crate::engine::optim::Curve;
use crate::variant::VariantConfig;
use serde::{Deserialize, Serialize};

/// How large a model is and how it is trained. The same for every variant of a comparison.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Settings {
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
    /// Whether the output layer uses the embedding's weights.
    pub tied: bool,
    /// The tokens of one training window.
    pub context: usize,
    /// The windows of one micro-batch.
    pub batch: usize,
    /// The micro-batches of one step; their gradients are averaged.
    pub accumulate: usize,
    /// The number of steps.
    pub steps: u64,
    /// The largest learning rate.
    pub learning_rate: f64,
    /// The steps in which the learning rate rises to its largest.
    pub warmup: u64,
    /// How the learning rate falls afterwards.
    pub decay: Curve,
    /// The part of the largest learning rate that is left at the end.
    pub final_fraction: f64,
    /// AdamW's weight decay (Loshchilov & Hutter 2019); norms do not decay.
    pub weight_decay: f64,
    /// AdamW's β₁ and β₂.
    pub betas: [f64; 2],
    /// The norm to which larger gradients are shortened; 0 for no clipping.
    pub clip: f64,
    /// The probability with which dropout drops.
    pub dropout: f32,
    /// The share of the target that label smoothing gives to all tokens alike.
    pub label_smoothing: f32,
    /// Validate every so many steps; 0 for only at the end.
    pub evaluate_every: u64,
    /// The tokens of the validation text that are scored while training.
    pub evaluation_tokens: usize,
    /// The tokens scored at the end, of each text; `None` for all.
    pub final_evaluation_tokens: Option<usize>,
    /// Write a sample of text every so many steps; 0 for only at the end.
    pub sample_every: u64,
}

/// A set of settings with a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Preset {
    /// What to type.
    pub name: &'static str,
    /// What it is for.
    pub purpose: &'static str,
}

impl Settings {
    /// All presets.
    pub const PRESETS: [Preset; 5] = [
        Preset { name: "tiny", purpose: "all four variants in minutes on two CPU cores" },
        Preset { name: "generated", purpose: "tiny with more steps, which few tokens make cheap" },
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
    /// use neutreno::training::Settings;
    /// for preset in Settings::PRESETS {
    ///     assert!(Settings::preset(preset.name).is_some());
    /// }
    /// assert!(Settings::preset("huge").is_none());
    /// ```
    pub fn preset(name: &str) -> Option<Settings> {
        let tiny = Settings {
            layers: 3,
            width: 64,
            feed_forward: None,
            heads: 4,
            key_value_heads: None,
            tied: true,
            context: 64,
            batch: 32,
            accumulate: 1,
            steps: 300,
            learning_rate: 4e-3,
            warmup: 20,
            decay: Curve::Cosine,
            final_fraction: 0.1,
            weight_decay: 0.1,
            betas: [0.9, 0.95],
            clip: 1.0,
            dropout: 0.0,
            label_smoothing: 0.0,
            evaluate_every: 100,
            evaluation_tokens: 20_000,
            final_evaluation_tokens: None,
            sample_every: 100,
        };
        Some(match name {
            "tiny" => tiny,
            "generated" => Settings {
                steps: 2_400,
                warmup: 50,
                evaluate_every: 400,
                sample_every: 800,
                ..tiny
            },
            // Small steps: the text is seen only about twice, and more updates gain more than the
            // time that larger batches save.
            "wikitext2" => Settings {
                layers: 4,
                width: 128,
                heads: 4,
                context: 128,
                batch: 8,
                steps: 3_200,
                learning_rate: 3e-3,
                warmup: 200,
                final_fraction: 0.0,
                evaluate_every: 500,
                sample_every: 1_000,
                ..tiny
            },
            "small" => Settings {
                layers: 8,
                width: 256,
                heads: 8,
                context: 128,
                batch: 16,
                steps: 5_000,
                learning_rate: 1e-3,
                warmup: 200,
                dropout: 0.1,
                evaluate_every: 500,
                sample_every: 500,
                ..tiny
            },
            "medium" => Settings {
                layers: 12,
                width: 512,
                heads: 8,
                context: 256,
                batch: 8,
                accumulate: 4,
                steps: 10_000,
                learning_rate: 6e-4,
                warmup: 500,
                dropout: 0.2,
                evaluate_every: 1_000,
                sample_every: 1_000,
                ..tiny
            },
            _ => return None,
        })
    }

    /// The configuration of a model of this size.
    pub fn model(&self, vocabulary: usize, variant: &VariantConfig) -> LanguageModelConfig {
        let mut config =
            LanguageModelConfig::new(vocabulary, self.width, self.layers, self.heads, self.context);
        if let Some(width) = self.feed_forward {
            config.intermediate_size = width;
        }
        config.num_key_value_heads = self.key_value_heads.unwrap_or(self.heads);
        config.tie_word_embeddings = self.tied;
        config.dropout = self.dropout;
        config.variant = variant.clone();
        config
    }

    /// The training tokens of one step.
    pub fn tokens_per_step(&self) -> u64 {
        (self.context * self.batch * self.accumulate) as u64
    }
}
