//! What is exported: a model with its weights and the files beside them.

use super::card::About;
use crate::engine::Parameters;
use crate::engine::optim::Average;
use crate::error::Error;
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
    format!("it is not trained to its end: this is its checkpoint of step {}", weights.step)
}

/// A value as indented JSON.
pub(super) fn pretty(value: &Value) -> String {
    let text = serde_json::to_string_pretty(value).expect("a value is JSON");
    text + "\n"
}

/// Puts a model's trained weights, the final ones or those of a checkpoint, in place of its parameters.
///
/// # Errors
/// If the file cannot be read or is of another model.
pub fn load_weights(weights: &Weights, parameters: &Parameters) -> Result<(), Error> {
    let Weights { path, average, .. } = weights;
    if !average {
        parameters.load(path)?;
        return Ok(());
    }
    let mut average = Average::new(parameters, 0.0);
    average.load(parameters, path)?;
    let read = || parameters.iter().map(|(_, tensor)| tensor.to_vec()).collect();
    let numbers: Result<Vec<Vec<f32>>, _> = average.with(parameters, read);
    for ((_, tensor), numbers) in parameters.iter().zip(numbers?) {
        tensor.overwrite(&numbers);
    }
    Ok(())
}
