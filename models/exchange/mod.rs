//! Models for other programs: what stands in a folder that Hugging Face's `transformers` loads,
//! version 4 as well as 5.
//!
//! A plain Transformer is a Llama there, and needs nothing. The variants bring [`MODELING`] with them,
//! a Python file with classes for them, and the key `auto_map`, which names those; `transformers` runs
//! it for whoever says `trust_remote_code=True`, and refuses to load them without.
//!
//! ```
//! use neutreno_models::engine::{Device, Parameters};
//! use neutreno_models::exchange::{self, Tokens};
//! use neutreno_models::{LanguageModel, LanguageModelConfig};
//! let config = LanguageModelConfig::new(50, 16, 3, 2, 8);
//! let build = |builder: &mut _| LanguageModel::new(&config, builder);
//! let (_, parameters) = Parameters::build(&Device::cpu(), 1, build);
//!
//! let folder = tempfile::tempdir().unwrap();
//! let write = |name: &str, text: &[u8]| std::fs::write(folder.path().join(name), text).unwrap();
//! let json = exchange::language_config(&config, None, &Tokens::default());
//! write("config.json", json.to_string().as_bytes());
//! let weights: Vec<_> = exchange::weights(&parameters, None).collect::<Result<_, _>>()?;
//! write("model.safetensors", &weights.concat());
//! let loaded = LanguageModel::load(folder.path(), &Device::cpu())?;
//! assert_eq!(loaded.model.config(), &config);
//! # Ok::<(), neutreno_models::engine::Error>(())
//! ```

mod language;
mod vision;

pub use language::{Tokens, generation_config, language_config, misgivings};
pub use vision::classifier_config;

use crate::engine::checkpoint::{Metadata, chunks_as};
use crate::engine::half::Half;
use crate::engine::{Error, Parameters, Result, Tensor};
use crate::model_type::{self, MODULE};
use serde::Serialize;
use serde_json::Value;

/// The classes of the variants for `transformers`, in Python.
pub const MODELING: &str = model_type::MODELING;

/// What the file with [`MODELING`] is called in a model's folder.
pub fn modeling_file() -> String {
    format!("{MODULE}.py")
}

/// The bytes of a `model.safetensors`, piece by piece; as 16-bit numbers each is rounded to the nearest.
///
/// # Errors
/// An item is an error if the device failed, or if a number would become infinite; that names its
/// tensor.
pub fn weights(
    parameters: &Parameters,
    precision: Option<Half>,
) -> impl Iterator<Item = Result<Vec<u8>>> + use<> {
    let tensors: Vec<(String, Tensor)> =
        parameters.iter().map(|(name, tensor)| (name.to_owned(), tensor.detach())).collect();
    let names: Vec<String> = tensors.iter().map(|(name, _)| name.clone()).collect();
    let metadata = Metadata::from([("format".into(), "pt".into())]);
    // The header comes first, then one piece a tensor.
    let named = std::iter::once(String::new()).chain(names);
    chunks_as(precision, tensors, &metadata).zip(named).map(|(chunk, name)| match chunk {
        Err(error @ Error::TooLarge { .. }) => Err(Error::File {
            path: "model.safetensors".into(),
            reason: format!("{name}: {error}; bfloat16 has the range of float32"),
        }),
        chunk => chunk,
    })
}

/// What PyTorch calls a type.
fn type_name(precision: Option<Half>) -> &'static str {
    match precision {
        None => "float32",
        Some(Half::Bf16) => "bfloat16",
        Some(Half::F16) => "float16",
    }
}

/// As JSON, by way of its text: numbers in f32 keep their few digits.
fn as_written<T: Serialize>(value: &T) -> Value {
    let text = serde_json::to_string(value).expect("a configuration is JSON");
    serde_json::from_str(&text).expect("it was written as JSON")
}
