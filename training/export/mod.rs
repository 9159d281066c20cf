//! Trained models for other programs: a folder that Hugging Face's `transformers` loads, version 4 as
//! well as 5. [`exchange`] says what is in it.

mod card;
mod classifier;
mod language;
mod model;

use crate::engine::Device;
use crate::engine::half::Half;
use crate::error::Error;
use crate::exchange;
use crate::open::{Found, Kind, OfRun, Source, Wanted};
use crate::report::label;
use crate::run::disk::replace_file;
use crate::run::{Use, write_atomically, write_folder, write_json};
use card::card;
use model::Model;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

/// Files that a folder of Hugging Face's may have beside its weights, and that go along as they are.
const GO_ALONG: [&str; 17] = [
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template.json",
    "chat_template.jinja",
    "generation_config.json",
    "preprocessor_config.json",
    "README.md",
    "LICENSE",
    "LICENSE.md",
    "LICENSE.txt",
    "NOTICE",
    "NOTICE.txt",
];

/// What to export, and where to.
#[derive(Clone, Debug)]
pub struct Export {
    /// A run, one model's folder in it, or a folder of Hugging Face's.
    pub from: PathBuf,
    /// The new folder; one that is empty may be there.
    pub to: PathBuf,
    /// Which variant of a run, by its name ([`VariantConfig::name`](crate::VariantConfig::name)).
    pub variant: Option<String>,
    /// Which seed of a run.
    pub seed: Option<u64>,
    /// Which weights of a model of a run.
    pub weights: Use,
    /// What weights are written in: `None` for f32.
    pub precision: Option<Half>,
}

/// What was exported.
#[derive(Clone, Debug, PartialEq)]
pub struct Exported {
    /// What the model is, in a few words.
    pub model: String,
    /// The Python expression that loads it.
    pub load: String,
    /// What a user should know, a line each.
    pub notices: Vec<String>,
}

impl Export {
    /// Writes the folder: it is there whole, or not at all.
    ///
    /// ```
    /// use neutreno::engine::{Device, Parameters};
    /// use neutreno::export::Export;
    /// use neutreno::run::Use;
    /// use neutreno::{LanguageModel, LanguageModelConfig};
    /// # let parent = tempfile::tempdir().unwrap();
    /// # let [from, to] = ["model", "exported"].map(|name| parent.path().join(name));
    /// let config = LanguageModelConfig::new(50, 16, 3, 2, 8);
    /// let build = |builder: &mut _| LanguageModel::new(&config, builder);
    /// let (_, parameters) = Parameters::build(&Device::cpu(), 1, build);
    /// std::fs::create_dir(&from).unwrap();
    /// std::fs::write(from.join("config.json"), serde_json::to_string(&config).unwrap()).unwrap();
    /// parameters.save(&from.join("model.safetensors"), &Default::default())?;
    ///
    /// let export = Export { from, to: to.clone(), variant: None, seed: None,
    ///     weights: Use::Last, precision: None };
    /// export.write(&Device::cpu())?;
    /// assert!(["config.json", "model.safetensors", "README.md"].iter().all(|f| to.join(f).is_file()));
    /// # Ok::<(), neutreno::training::Error>(())
    /// ```
    ///
    /// # Errors
    /// If there is no such model, or none that `transformers` could compute; if files cannot be read or
    /// written, or are not what a run wrote; if a number is too large for the precision.
    pub fn write(&self, device: &Device) -> Result<Exported, Error> {
        let (seed, weights) = (self.seed, self.weights);
        let wanted = Wanted { variants: self.variant.iter().cloned().collect(), seed, weights };
        let source = Found::at(&self.from, &wanted)?.one()?;
        let model = match source.kind()? {
            Kind::Language => language::model(&source, self.precision, device)?,
            Kind::Classifier => classifier::model(&source, self.precision, device)?,
            Kind::Segmenter => {
                let task = source.of_run.as_ref().map_or("image-segmentation", OfRun::task);
                return Err(Error::Settings(format!(
                    "{}: a run of {task}, and there is no such model in transformers",
                    self.from.display()
                )));
            }
        };
        write_folder(&self.to, |folder| self.fill(&model, &source, folder))?;
        let Model { json, class, parameters, variant, .. } = model;
        let trust = if json["auto_map"].is_null() { "" } else { ", trust_remote_code=True" };
        let to = Value::from(self.to.to_string_lossy());
        let dtype = json["dtype"].as_str().unwrap_or_default();
        Ok(Exported {
            model: format!("{}, {} numbers in {dtype}", label(&variant.name()), parameters.count()),
            load: format!("{class}.from_pretrained({to}{trust})"),
            notices: model.notices,
        })
    }

    /// Writes all files.
    fn fill(&self, model: &Model, source: &Source, folder: &Path) -> Result<(), Error> {
        let path = |name: &str| folder.join(name);
        if source.of_run.is_none() {
            go_along(&source.folder, folder)?;
        }
        write_json(&path("config.json"), &model.json)?;
        let chunks = exchange::weights(&model.parameters, self.precision);
        replace_file::<Error>(&path("model.safetensors"), chunks.map(|chunk| Ok(chunk?)))?;
        if !model.json["auto_map"].is_null() {
            write_atomically(&path(&exchange::modeling_file()), exchange::MODELING.as_bytes())?;
        }
        let name = label(&model.variant.name());
        let title = source.of_run.as_ref().map_or_else(
            || name.clone(),
            |of_run| format!("{}, {name}, seed {}", of_run.run.name(), of_run.model.seed),
        );
        let card = card(&title, &model.about, source.of_run.as_ref());
        let more = model.files.iter().map(|(name, text)| (*name, text.as_str()));
        for (name, text) in more.chain([("README.md", card.as_str())]) {
            if !path(name).exists() {
                write_atomically(&path(name), text.as_bytes())?;
            }
        }
        Ok(())
    }
}

/// Copies what a folder of Hugging Face's has beside its weights.
fn go_along(from: &Path, to: &Path) -> Result<(), Error> {
    for name in GO_ALONG {
        let path = from.join(name);
        if path.is_file() {
            let failed =
                |error| Error::Settings(format!("cannot read {}: {error}", path.display()));
            write_atomically(&to.join(name), &fs::read(&path).map_err(failed)?)?;
        }
    }
    Ok(())
}
