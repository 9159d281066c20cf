//! A trained model that all models of a run start from.

use super::LanguageSettings;
use crate::data::PretrainedError;
use crate::data::tokenizer::Tokenizer;
use crate::engine::{Device, Parameters};
use crate::error::Error;
use crate::language::{LanguageModel, LanguageModelConfig, Origin};
use crate::run::{RunFolder, Use, Weights};
use crate::tasks::start_files::{FROM, StartFiles, find};
use serde_json::Value;
use std::path::Path;

/// A trained model that all models of a run start from: its folder, its configuration, and what its files
/// were when the run began. The run keeps these three and the tokenizer, so it needs the folder again only
/// for models that it has not begun to train.
///
/// ```
/// use neutreno::engine::{Device, Parameters};
/// use neutreno::tasks::language::{LanguageSettings, Start, StartFolder};
/// use neutreno::run::Use;
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
/// let StartFolder { start, tokenizer, notices } = Start::open(folder.path(), Use::Last)?;
/// let (mut sizes, _) = LanguageSettings::starting();
/// start.sizes(&mut sizes);
/// assert_eq!((sizes.layers, tokenizer.vocabulary(), notices.len()), (3, 256, 0));
/// std::fs::write(folder.path().join("config.json"), "{}")?;
/// assert!(start.check().unwrap_err().to_string().contains("is not what it was"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Start {
    config: LanguageModelConfig,
    files: StartFiles,
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
    /// A run of one model, the folder of one model of a run, or one of Hugging Face's; with the tokenizer in
    /// it or beside it.
    ///
    /// # Errors
    /// If there is no such folder, or no Llama with a tokenizer in it; if the tokenizer has tokens that
    /// the model lacks, a file of a run is not what the run wrote, or the weights that are meant are not
    /// there.
    pub fn open(path: &Path, weights: Use) -> Result<StartFolder, Error> {
        let source = find(path, weights)?;
        let origin = Origin::open_with(&source.folder, source.checkpoint().map(Weights::file))?;
        let config = origin.config().clone();
        let files = StartFiles::of(&source, origin.files())?;
        let tokenizer = tokenizer(&source.folder)?;
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
        Ok(StartFolder { start: Start { config, files }, tokenizer, notices })
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
            let config = serde_json::from_value(from["config"].clone()).ok()?;
            Some(Start { config, files: StartFiles::of_facts(from)? })
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
        self.files.folder()
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
        self.files.check()
    }

    /// A model that starts from this one.
    pub(super) fn model(
        &self,
        config: &LanguageModelConfig,
        seed: u64,
        device: &Device,
    ) -> Result<(LanguageModel, Parameters), Error> {
        self.check()?;
        let weights = self.files.weights();
        let weights = weights.as_ref().map(|(path, prefix)| (path.as_path(), *prefix));
        Ok(Origin::open_with(self.folder(), weights)?.start(config, device, seed)?)
    }

    /// What a run keeps of it.
    pub(super) fn facts(&self) -> Value {
        self.files.facts(&self.config)
    }
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
