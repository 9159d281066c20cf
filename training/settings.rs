//! The settings that all tasks share.

use crate::engine::optim::Curve;
use serde::{Deserialize, Serialize};

/// How a model is trained. The same for every variant of a comparison.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// The examples (windows of text, images) of one micro-batch.
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
    /// How much of the running average of the weights stays from step to step. The average is what
    /// is scored and saved; `None` for the weights themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub average: Option<f64>,
    /// Validate every so many steps; 0 for only at the end.
    pub evaluate_every: u64,
    /// Measure what the layers compute every so many steps; 0 for only at the end.
    #[serde(default)]
    pub measure_every: u64,
    /// Let the model show something every so many steps; 0 for only at the end.
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
