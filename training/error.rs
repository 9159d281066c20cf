//! Why a run stopped.

use crate::{engine, ranks, run};

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
         warm-up (--warmup) often helps, --on-nonfinite skip leaves such steps out, and \
         --debug-nonfinite tells where it began. The model's folder is {folder}"
    )]
    NotFinite {
        /// `loss` or `gradient`.
        what: &'static str,
        /// The step, from 1.
        step: u64,
        /// The model's folder.
        folder: String,
    },
    /// The device failed, and the run does not go on by itself.
    #[error("{source}. {advice}")]
    Device {
        /// What the device says.
        source: engine::Error,
        /// What helps.
        advice: String,
    },
    /// A run that stopped, but can go on.
    #[error("{source}\nwhat was learnt until step {step} is kept; go on with --resume {}", folder.display())]
    Resumable {
        /// Why it stopped.
        source: Box<Error>,
        /// The step of the latest checkpoint.
        step: u64,
        /// The run's folder.
        folder: std::path::PathBuf,
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
    /// The task's data, or what is made of it: a text without words, a tokenizer that cannot be
    /// saved.
    #[error(transparent)]
    Data(Box<dyn std::error::Error + Send + Sync>),
    /// The run's files.
    #[error(transparent)]
    Files(#[from] run::Error),
    /// The ranks that train together.
    #[error(transparent)]
    Ranks(#[from] ranks::Error),
}
