//! Training: settings, the loop, scores, samples, and the comparison of several models.

pub mod comparison;
pub mod evaluation;
mod log;
mod observer;
pub mod sampling;
mod settings;
pub mod trainer;

pub use observer::{Observer, Silent, Started, Step};
pub use settings::{Preset, Settings};

use crate::{data, engine, report};

/// Why a run stopped.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The user asked for it.
    #[error("interrupted")]
    Interrupted,
    /// The settings contradict each other, or the data.
    #[error("{0}")]
    Settings(String),
    /// The loss or a gradient stopped being a number.
    #[error(
        "the {what} is not finite at step {step}. A smaller learning rate (--lr) or a longer \
         warm-up (--warmup) often helps; what was trained until then is in {folder}"
    )]
    NotFinite {
        /// `loss` or `gradient`.
        what: &'static str,
        /// The step, from 1.
        step: u64,
        /// The model's folder.
        folder: String,
    },
    /// Parameters that the loss does not depend on: a mistake in the model.
    #[error("at step 1, {} of {total} parameters got no gradient: {}", names.len(), names.join(", "))]
    NoGradient {
        /// Their names.
        names: Vec<String>,
        /// All parameters.
        total: usize,
    },
    /// The engine.
    #[error(transparent)]
    Engine(#[from] engine::Error),
    /// The text.
    #[error(transparent)]
    Data(#[from] data::corpus::DataError),
    /// The tokenizer.
    #[error(transparent)]
    Tokenizer(#[from] data::tokenizer::TokenizerError),
    /// Too little text.
    #[error(transparent)]
    Batches(#[from] data::batches::BatchError),
    /// The run's files.
    #[error(transparent)]
    Report(#[from] report::Error),
}
