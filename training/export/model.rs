//! What is exported: a model with its weights and the files beside them.

use super::card::About;
use crate::engine::Parameters;
use crate::run::Weights;
use crate::variant::VariantConfig;
use serde_json::Value;

/// A model with its weights, and what stands beside them.
pub(super) struct Model {
    /// Its `config.json`.
    pub json: Value,
    /// The class of `transformers` that loads it.
    pub class: &'static str,
    pub variant: VariantConfig,
    pub parameters: Parameters,
    pub about: About,
    /// Files, each with its text, where none of that name went along.
    pub files: Vec<(&'static str, String)>,
    pub notices: Vec<String>,
}

/// A notice of weights that are not the final ones.
pub(super) fn unfinished(weights: &Weights) -> String {
    format!("these are not its final weights, but those of its checkpoint of step {}", weights.step)
}

/// A value as indented JSON.
pub(super) fn pretty(value: &Value) -> String {
    let text = serde_json::to_string_pretty(value).expect("a value is JSON");
    text + "\n"
}
