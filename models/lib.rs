//! Four transformer variants on the neutreno engine: models of text and of images, and what is
//! measured of them. How they are trained is none of their business.
//!
//! [`variant`] has all of the difference between Transformer, NeuTRENO, ResFormer and SVFormer;
//! [`language`] and [`vision`] have the models around it; [`trace`] keeps what their layers compute,
//! and [`measure`] measures it. [`exchange`] makes models ready for Hugging Face's `transformers`.

pub use neutreno_engine as engine;

pub mod exchange;
pub mod language;
pub mod measure;
pub mod trace;
pub mod variant;
pub mod vision;

mod check;
mod json;
mod model_type;
mod names;
mod weights;

pub use language::{LanguageModel, LanguageModelConfig};
pub use variant::{ResformerKind, Variant, VariantConfig};
