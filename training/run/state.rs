//! What a checkpoint says beside its tensors.

use super::{Metric, Values};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::VecDeque;

/// What a checkpoint says beside its tensors. Random numbers are functions of the seed and the
/// step, so these two are all of the random state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// The steps made.
    pub step: u64,
    /// The number of the next micro-batch: the position in the data.
    pub micro_batch: u64,
    /// The seed of weights, order of data, dropout and samples.
    pub seed: u64,
    /// The learning rate of the next step.
    pub learning_rate: f64,
    /// The settings of the run.
    pub settings: Value,
    /// The configuration of the model.
    pub config: Value,
    /// The version of this program.
    pub version: String,
    /// The kind of device: `cpu` or `gpu`.
    pub device: String,
    /// The device's name.
    pub adapter: String,
    /// Where the log stands.
    pub log: LogState,
}

/// What the log must know to go on: part of a checkpoint.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LogState {
    /// The steps whose results are known.
    pub steps: u64,
    /// The latest losses, whose mean is shown.
    pub recent: VecDeque<f64>,
    /// The latest line, kept until the next one in case a score or a sample belongs to it.
    pub line: Option<Metric>,
    /// Seconds spent in steps.
    pub training_seconds: f64,
    /// Seconds in all.
    pub seconds: f64,
    /// Steps that were left out because a number was not finite.
    pub skipped: u64,
    /// The step with the best score so far, and that score.
    pub best: Option<(u64, f64)>,
    /// The latest score.
    #[serde(default)]
    pub last: Option<f64>,
    /// The score before the first step.
    #[serde(default)]
    pub initial: Option<f64>,
    /// What these are of.
    #[serde(default)]
    pub scored: Values,
}
