//! `summary.json`: what ran, and what came out for each variant and seed.

use super::Values;
use super::values::null_is_nan;
use crate::variant::VariantConfig;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// The results of a run. What depends on the task is in [`Summary::facts`] and
/// [`VariantSummary::results`], whose entries stand beside the others in JSON.
///
/// A number that is not finite, or was never measured, is NaN; it becomes null in JSON and NaN
/// again when it is read.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// The name of the run's folder.
    pub name: String,
    /// What was learnt, such as `language-modelling`.
    pub task: String,
    /// Version of this program.
    pub version: String,
    /// When the run began, in RFC 3339.
    pub started: String,
    /// What was learnt from.
    pub data: Data,
    /// What a loss is the mean over, and speed is counted in: `token`, `image`.
    pub unit: String,
    /// All settings, as in `run.json`.
    pub settings: serde_json::Value,
    /// What is known of the task and its data, such as `vocabulary`.
    #[serde(flatten)]
    pub facts: Values,
    /// The variant that the others are to be compared with; without a wish the Transformer, else
    /// the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub baseline: Option<String>,
    /// Whether the last of the models is still being trained.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub growing: bool,
    /// One entry for each trained model, in the order of training.
    pub variants: Vec<VariantSummary>,
}

/// Where the data came from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Data {
    /// How it was found, in words: `folder /data/wikitext-2`, `generated from seed 2016`.
    pub source: String,
    /// The absolute path of the folder or file, if it was one that was given.
    #[serde(default, with = "super::paths", skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
    /// What it is, such as `WikiText-2`.
    pub name: String,
    /// Hash of each file, by its name.
    pub hashes: BTreeMap<String, String>,
}

/// Where the results of a model say with which patience it was stopped before all its steps were made.
pub const STOPPED_EARLY: &str = "stopped_early_with_patience";

/// Where the results of a model have the step up to which its learning rates were others than those of its
/// schedule, which was stretched then; and where `run.json` has the last such step of its models.
pub(crate) const STRETCHED: &str = "stretched_after";

/// What came out for one variant and seed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct VariantSummary {
    /// Version of the program that trained it to here.
    #[serde(default)]
    pub version: String,
    /// The variant, as on the command line: `transformer`, `neutreno`, `resformer`, `svformer`.
    pub variant: String,
    /// The seed of weights, order of data and dropout.
    pub seed: u64,
    /// Whether training came to its end; false when it was interrupted.
    pub finished: bool,
    /// Number of trained numbers.
    pub parameters: u64,
    /// Updates made.
    pub steps: u64,
    /// Training loss at the end, in nats.
    #[serde(deserialize_with = "null_is_nan")]
    pub train_loss: f64,
    /// The most memory in use at once, in bytes.
    pub peak_memory_bytes: u64,
    /// Seconds that training took, evaluation included.
    #[serde(deserialize_with = "null_is_nan")]
    pub wall_seconds: f64,
    /// The kind of device: `cpu` or `gpu`.
    pub device: String,
    /// The name of the GPU's adapter; none on the CPU.
    pub adapter: Option<String>,
    /// Where the time of each rank went, if several trained it: in the steps since the program was last
    /// started.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ranks: Vec<RankTimes>,
    /// What depends on the task: its scores, such as `validation_loss`, and the training tokens or
    /// images seen in all (`tokens_seen`) and a second (`tokens_per_second`). A variant's constants, if it
    /// has any, are in `constants`, as in `{"neutreno_lambda": 0.4}`.
    #[serde(flatten)]
    pub results: Values,
}

/// Where the time of one of several ranks went while they trained a model together.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RankTimes {
    /// The machine that it ran on.
    pub host: String,
    /// What it computed on.
    pub device: String,
    /// The tokens or images that it went through in a second of computing.
    #[serde(deserialize_with = "null_is_nan")]
    pub units_per_second: f64,
    /// The part of the time in which it made gradients.
    #[serde(deserialize_with = "null_is_nan")]
    pub computing: f64,
    /// The part in which it waited for the slowest of its step to have made theirs.
    #[serde(deserialize_with = "null_is_nan")]
    pub waiting: f64,
    /// The part in which gradients were still brought together after the slowest had made its own, the same
    /// for all. What is left of the time is what each does with their sum.
    #[serde(deserialize_with = "null_is_nan")]
    pub communicating: f64,
}

impl VariantSummary {
    /// The result of that name; NaN if there is none.
    pub fn number(&self, name: &str) -> f64 {
        self.results.number(name)
    }
}

/// Where the results of a model have the constants of its variant.
pub(crate) const CONSTANTS: &str = "constants";

/// The constants of a variant by their names. Numbers are as they are typed: 0.2, and not the double
/// that is nearest to the single-precision 0.2.
pub(crate) fn constants(variant: &VariantConfig) -> Map<String, Value> {
    let text = serde_json::to_string(variant).expect("numbers and names are valid JSON");
    let mut constants: Map<String, Value> = serde_json::from_str(&text).expect("a struct's fields");
    constants.retain(|name, _| name != "variant" && name != "constants_in_name");
    constants
}
