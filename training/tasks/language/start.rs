//! A trained model that all models of a run start from.

use super::LanguageSettings;
use crate::data::PretrainedError;
use crate::data::tokenizer::Tokenizer;
use crate::engine::{Device, Parameters};
use crate::error::Error;
use crate::language::{LanguageModel, LanguageModelConfig, Origin};
use crate::run::disk::hash_file;
use crate::run::{self, FILES, RunFolder, name_from_json, name_to_json};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// A trained model that all models of a run start from: its folder, its configuration, and what its files
/// were when the run began. The run keeps these three and the tokenizer, so it needs the folder again only
/// for models that it has not begun to train.
///
/// ```
/// use neutreno::engine::{Device, Parameters};
/// use neutreno::tasks::language::{LanguageSettings, Start, StartFolder};
/// use neutreno::{LanguageModel, LanguageModelConfig};
/// # use neutreno::data::tokenizer::Tokenizer;
/// let config = LanguageModelConfig::new(256, 16, 3, 2, 8);
/// let build = |builder: &mut _| LanguageModel::new(&config, builder);
/// let (_, parameters) = Parameters::build(&Device::cpu(), 1, build);
/// let folder = tempfile::tempdir()?;
/// std::fs::write(folder.path().join("config.json"), serde_json::to_string(&config)?)?;
/// parameters.save(&folder.path().join("model.safetensors"), &Default::default())?;
/// Tokenizer::Bytes.save(folder.path().join("tokenizer.json"))?;
///
/// let StartFolder { start, tokenizer, notices } = Start::open(folder.path())?;
/// let (mut sizes, _) = LanguageSettings::starting();
/// start.sizes(&mut sizes);
/// assert_eq!((sizes.layers, tokenizer.vocabulary(), notices.len()), (3, 256, 0));
/// std::fs::write(folder.path().join("config.json"), "{}")?;
/// assert!(start.check().unwrap_err().to_string().contains("is not what it was"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Start {
    folder: PathBuf,
    config: LanguageModelConfig,
    /// The SHA-256 of each file, by its name.
    files: BTreeMap<String, String>,
}

/// A folder that models start from, with what comes with it.
pub struct StartFolder {
    /// The model.
    pub start: Start,
    /// Its tokenizer.
    pub tokenizer: Tokenizer,
    /// What a user should know of the files, a line each.
    pub notices: Vec<String>,
}

impl Start {
    /// A folder of Hugging Face's, or that of one model of a run, with the tokenizer in it or beside it.
    ///
    /// # Errors
    /// If there is no such folder, or no Llama with a tokenizer in it; if the tokenizer has tokens that
    /// the model lacks, or a file of a run is not what the run wrote.
    pub fn open(folder: &Path) -> Result<StartFolder, Error> {
        let given = folder.display();
        let folder = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
        if !folder.is_dir() {
            return Err(Error::Settings(format!(
                "--from {given}: there is no such folder; it takes one of this machine, with \
                 config.json, model.safetensors and tokenizer.json"
            )));
        }
        if let Ok(run) = RunFolder::open(&folder) {
            let models = run.models()?.into_iter().map(|model| model.folder);
            let names: Vec<String> = models
                .map(|model| model.path().file_name().unwrap_or_default().display().to_string())
                .collect();
            return Err(Error::Settings(format!(
                "--from {given} is a run: name the folder of one of its models, {}",
                names.join(" or ")
            )));
        }
        let origin = Origin::open(&folder)?;
        let config = origin.config().clone();
        let mut files = BTreeMap::new();
        for path in [&folder.join("config.json")].into_iter().chain(origin.files()) {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            files.insert(name, hash_file(path)?);
        }
        check_result(&folder, &files)?;
        let tokenizer = tokenizer(&folder)?;
        let mut notices = origin.notices().to_vec();
        let [own, needed] = [config.vocab_size, tokenizer.vocabulary()];
        if needed > own {
            let largest = (needed - 1) as u32;
            let error = PretrainedError::Vocabulary { largest, vocabulary: own };
            return Err(Error::Data(Box::new(error)));
        }
        if needed < own {
            notices.push(format!(
                "the model has {own} tokens and the tokenizer {needed}: the last {} stand for nothing, \
                 and are never written",
                own - needed
            ));
        }
        Ok(StartFolder { start: Start { folder, config, files }, tokenizer, notices })
    }

    /// That of a run, by its `run.json`; `None` if its models start from nothing. The folder is not looked
    /// at.
    ///
    /// # Errors
    /// If that is not what a run writes.
    pub fn of_run(run: &RunFolder) -> Result<Option<Start>, Error> {
        let facts = run.facts()?;
        let Some(from) = facts.get(FROM) else { return Ok(None) };
        let start = || {
            Some(Start {
                folder: name_from_json(&from["folder"])?.into(),
                config: serde_json::from_value(from["config"].clone()).ok()?,
                files: serde_json::from_value(from[FILES].clone()).ok()?,
            })
        };
        let failed = || {
            let path = run.run_json();
            Error::Settings(format!(
                "{}: it does not say what its models start from",
                path.display()
            ))
        };
        start().map(Some).ok_or_else(failed)
    }

    /// The model's configuration.
    pub fn config(&self) -> &LanguageModelConfig {
        &self.config
    }

    /// The folder, as an absolute path.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Makes the sizes of these settings those of the model.
    pub fn sizes(&self, settings: &mut LanguageSettings) {
        let config = &self.config;
        settings.layers = config.num_hidden_layers;
        settings.width = config.hidden_size;
        settings.feed_forward = Some(config.intermediate_size);
        settings.heads = config.num_attention_heads;
        settings.key_value_heads = Some(config.num_key_value_heads);
        settings.share_keys = config.share_keys;
        settings.tied = config.tie_word_embeddings;
    }

    /// Finds out whether the folder is as it was when the run began.
    ///
    /// # Errors
    /// The first file that is not.
    pub fn check(&self) -> Result<(), Error> {
        for (name, expected) in &self.files {
            let path = self.folder.join(name);
            let problem = match hash_file(&path) {
                Ok(hash) if hash == *expected => continue,
                Ok(_) => format!("{} is not what it was when this run began", path.display()),
                Err(error) => error.to_string(),
            };
            return Err(Error::Settings(format!(
                "{problem}. Models of the run that were not begun yet start from it; if the folder is \
                 elsewhere now, say so with --from"
            )));
        }
        Ok(())
    }

    /// A model that starts from this one.
    pub(super) fn model(
        &self,
        config: &LanguageModelConfig,
        seed: u64,
        device: &Device,
    ) -> Result<(LanguageModel, Parameters), Error> {
        self.check()?;
        Ok(Origin::open(&self.folder)?.start(config, device, seed)?)
    }

    /// What a run keeps of it.
    pub(super) fn facts(&self) -> Value {
        let Start { folder, config, files } = self;
        json!({ "folder": name_to_json(folder.as_os_str()), FILES: files, "config": config })
    }
}

/// Where `run.json` has what its models start from.
pub(super) const FROM: &str = "from";

/// Finds out whether a model of a run is what the run wrote; others have no such file.
fn check_result(folder: &Path, files: &BTreeMap<String, String>) -> Result<(), Error> {
    let Ok(text) = fs::read(folder.join("result.json")) else { return Ok(()) };
    let result: Value = serde_json::from_slice(&text).unwrap_or_default();
    for (name, expected) in result[FILES].as_object().into_iter().flatten() {
        if files.get(name).is_some_and(|hash| Some(hash.as_str()) != expected.as_str()) {
            return Err(run::Error::Changed { path: folder.join(name) }.into());
        }
    }
    Ok(())
}

/// The tokenizer of a model: in its folder, or if it is of a run beside it.
fn tokenizer(folder: &Path) -> Result<Tokenizer, Error> {
    let own = folder.join("tokenizer.json");
    let run = folder.parent().and_then(|parent| RunFolder::open(parent).ok());
    match run.filter(|_| !own.exists()) {
        Some(run) => {
            run.check_files()?;
            Ok(Tokenizer::load(run.tokenizer_json())?)
        }
        None => Ok(Tokenizer::load(own)?),
    }
}
