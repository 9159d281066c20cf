//! Models of text, in the four variants: Llama blocks with Hugging Face's names.

mod block;
mod cache;
mod config;
mod extend;
mod generation;
mod generation_config;
mod hugging_face;
mod load;
mod matrix;
mod model;
mod nats;
mod origin;
mod rotary;
mod sampling;

pub use cache::KeyValueCache;
pub use config::LanguageModelConfig;
pub use generation::{End, Generation, GenerationSettings, WhenFull};
pub use generation_config::GenerationConfig;
pub use hugging_face::ConfigFile;
pub use load::{LoadSettings, Loaded};
pub use model::{LanguageModel, Pass};
pub use origin::{Origin, Transfer};
pub use rotary::RopeScaling;
pub use sampling::Sampling;
