//! Four transformer variants on the neutreno engine: models, data, training, reports.
//!
//! [`variant`] has all of the difference between Transformer, NeuTRENO, ResFormer and SVFormer;
//! [`language_model`] the model around it; [`training`] the loop and the comparison.

// Whether a model can be sent to another thread depends on the GPU's types, which are deeply nested.
#![recursion_limit = "256"]

pub use neutreno_engine as engine;

pub mod config;
pub mod data;
pub mod efficiency;
pub mod language_model;
pub mod measure;
pub mod report;
pub mod trace;
pub mod training;
pub mod variant;
pub mod vision;

pub use config::LanguageModelConfig;
pub use language_model::LanguageModel;
pub use variant::{ResformerKind, Variant, VariantConfig};

/// The README's example, run with the tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;
