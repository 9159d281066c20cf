//! neutreno: four transformer variants, trained on text and images, with no machine-learning framework
//! underneath.
//!
//! Four floors, each of which knows only the one below it: the shaders, the [`engine`] on them, the
//! models on that ([`variant`], [`language`], [`vision`]), and here their training:
//!
//! - [`data`] finds text and images and deals them out in batches;
//! - [`tasks`] say what a model learns from them, and how it is scored;
//! - [`training`] is the loop, the same for every task;
//! - [`ranks`] are the processes that train together, where there are several;
//! - [`run`] is the folder that a run leaves behind, with its checkpoints and metrics;
//! - [`report`] makes tables and pages of it;
//! - [`open`] finds trained models again, whichever are meant, and opens them;
//! - [`export`] makes a trained model ready for other programs.
//!
//! # The walkthrough
//!
//! Twelve chapters, each a page in `docs/walkthrough/` and a program in `examples/walkthrough/`, lead through all of
//! it, for people who know Rust and school calculus. `docs/walkthrough/index.md` is where it begins.
//!
//! | chapter | `cargo run --release --example` |
//! |---|---|
//! | 1. A derivative | `01_derivative` |
//! | 2. The whole thing in one file | `02_one_file` |
//! | 3. Tensors | `03_tensors` |
//! | 4. A kernel | `04_kernel` |
//! | 5. The ladder | `05_ladder` |
//! | 6. Attention | `06_attention` |
//! | 7. A block, a model | `07_model` |
//! | 8. Training | `08_training` |
//! | 9. Smoothing | `09_smoothing` |
//! | 10. First values | `10_first_values` |
//! | 11. Generation | `11_generation` |
//! | 12. Your figures | `12_figures` |
//! | Exercises | `exercises` |
//!
//! # To read
//!
//! Without the walkthrough: `examples/first_transformer.rs`, a transformer of one block in 120 lines; then some
//! ops, in this order: [`silu`](engine::ops::silu), [`softmax`](engine::ops::softmax),
//! attention made of small ops ([`attention_unfused`](engine::Tensor::attention_unfused)),
//! [`rms_norm`](engine::ops::rms_norm), and attention fused into one op
//! ([`attention`](engine::ops::attention)).

// Whether a model can be sent to another thread depends on the GPU's types, which are deeply nested.
#![recursion_limit = "256"]

pub use neutreno_models::{
    LanguageModel, LanguageModelConfig, ResformerKind, Variant, VariantConfig, engine, exchange,
    language, measure, trace, variant, vision,
};

pub mod data;
pub mod export;
pub mod open;
pub mod ranks;
pub mod report;
pub mod run;
pub mod tasks;

mod ahead;
mod comparison;
mod due;
mod error;
mod extension;
#[cfg(test)]
mod fault_tests;
mod follower;
mod forecast;
mod learner;
mod log;
mod models;
mod needs;
mod observer;
mod order;
mod probes;
mod recovery;
mod resumption;
mod safety;
mod scoring;
mod settings;
mod status;
mod task;
mod times;
mod trainer;

/// The training loop, one for every [`Task`](training::Task): [`Learner`](training::Learner) makes
/// one step, [`Training`](training::Training) trains one model, and
/// [`Comparison`](training::Comparison) several.
pub mod training {
    pub use crate::comparison::Comparison;
    pub use crate::error::Error;
    pub use crate::follower::follow;
    pub use crate::forecast::Forecast;
    pub use crate::learner::{Learner, StepResult, StepTimes};
    pub use crate::needs::{Needs, Plan, needs, plan, seconds_per_step};
    pub use crate::observer::{Observer, Silent, Started, Step};
    pub use crate::probes::measure_probes;
    pub use crate::safety::{OnDeviceLoss, OnNonFinite, Safety};
    pub use crate::scoring::{Shares, Stop};
    pub use crate::settings::{Longer, Preset, Settings, Span};
    pub use crate::task::{Batches, Best, Extent, Task};
    pub use crate::trainer::{Outcome, Show, Training};
}

/// The README's example, run with the tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;
