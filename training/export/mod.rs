//! Trained models for other programs: a folder that Hugging Face's `transformers` loads, version 4 as
//! well as 5. [`exchange`](crate::exchange) says what is in it.

mod card;
mod source;

use crate::data::tokenizer::Tokenizer;
use crate::engine::half::Half;
use crate::engine::optim::Average;
use crate::engine::{Device, Parameters};
use crate::error::Error;
use crate::exchange::{self, Tokens};
use crate::language::{ConfigFile, LanguageModel, LanguageModelConfig};
use crate::report::label;
use crate::run::disk::replace_file;
use crate::run::{Weights, write_atomically, write_folder, write_json};
use card::{About, card};
use serde_json::{Value, json};
use source::{OfRun, Source};
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
    /// let export = Export { from, to: to.clone(), variant: None, seed: None, precision: None };
    /// export.write(&Device::cpu())?;
    /// assert!(["config.json", "model.safetensors", "README.md"].iter().all(|f| to.join(f).is_file()));
    /// # Ok::<(), neutreno::training::Error>(())
    /// ```
    ///
    /// # Errors
    /// If there is no such model, or none that `transformers` could compute; if files cannot be read or
    /// written, or are not what a run wrote; if a number is too large for the precision.
    pub fn write(&self, device: &Device) -> Result<Exported, Error> {
        let source = Source::find(&self.from, self.variant.as_deref(), self.seed)?;
        match source.of_run.as_ref().map(OfRun::task) {
            None | Some("language-modelling") => self.write_language_model(&source, device),
            Some(task) => Err(Error::Settings(format!(
                "{}: a run of {task}, and there is no such model in transformers",
                self.from.display()
            ))),
        }
    }

    fn write_language_model(&self, source: &Source, device: &Device) -> Result<Exported, Error> {
        let Model { config, parameters, tokens, mut notices } = Model::load(source, device)?;
        let tokenizer = OurTokenizer::find(source, &config)?;
        notices.extend(exchange::misgivings(&config));
        let (of_run, name) = (source.of_run.as_ref(), config.variant.name());
        let mut json = exchange::language_config(&config, self.precision, &tokens);
        if tokenizer.is_some() {
            json["tokenizer_class"] = TOKENIZER_CLASS.into();
        }
        let weights = json["dtype"].as_str().unwrap_or_default().to_owned();
        write_folder(&self.to, |folder| -> Result<(), Error> {
            let path = |name: &str| folder.join(name);
            if of_run.is_none() {
                go_along(&source.folder, folder)?;
            }
            write_json(&path("config.json"), &json)?;
            let chunks = exchange::weights(&parameters, self.precision);
            replace_file::<Error>(&path("model.safetensors"), chunks.map(|chunk| Ok(chunk?)))?;
            if !path("generation_config.json").exists() {
                let file = exchange::generation_config(&config, &tokens);
                write_json(&path("generation_config.json"), &file)?;
            }
            if let Some(tokenizer) = &tokenizer {
                tokenizer.write(folder, &config)?;
            }
            if !json["auto_map"].is_null() {
                write_atomically(&path(&exchange::modeling_file()), exchange::MODELING.as_bytes())?;
            }
            if !path("README.md").exists() {
                let kind =
                    tokenizer.as_ref().map_or("a tokenizer of its own".into(), OurTokenizer::name);
                let about = About::language_model(&config, &weights, &kind);
                let title = of_run.map_or_else(
                    || label(&name),
                    |of_run| {
                        format!(
                            "{}, {}, seed {}",
                            of_run.run.name(),
                            label(&name),
                            of_run.model.seed
                        )
                    },
                );
                write_atomically(&path("README.md"), card(&title, &about, of_run).as_bytes())?;
            }
            Ok(())
        })?;
        if !self.to.join("tokenizer.json").exists() {
            notices
                .push("there is no tokenizer.json beside the model, so none was exported".into());
        }
        let trust = if json["auto_map"].is_null() { "" } else { ", trust_remote_code=True" };
        let to = Value::from(self.to.to_string_lossy());
        Ok(Exported {
            model: format!("{}, {} numbers in {weights}", label(&name), parameters.count()),
            load: format!("AutoModelForCausalLM.from_pretrained({to}{trust})"),
            notices,
        })
    }
}

/// A model with its weights.
struct Model {
    config: LanguageModelConfig,
    parameters: Parameters,
    tokens: Tokens,
    notices: Vec<String>,
}

impl Model {
    fn load(source: &Source, device: &Device) -> Result<Model, Error> {
        let path = source.folder.join("config.json");
        let failed = |reason: String| Error::Settings(format!("{}: {reason}", path.display()));
        let unreadable = |error: std::io::Error| failed(format!("cannot read it: {error}"));
        let text = fs::read(&path).map_err(unreadable)?;
        // Where training has not come to its end, the weights are in a checkpoint.
        if let Some(OfRun { model, .. }) = source.of_run.as_ref().filter(|run| !run.model.finished)
        {
            let ConfigFile { config, .. } = ConfigFile::parse(&text).map_err(failed)?;
            let build = |builder: &mut _| LanguageModel::new(&config, builder);
            let (_, parameters) = Parameters::build(device, 0, build);
            let weights =
                model.weights.as_ref().expect("it was asked for when the model was found");
            load_weights(weights, &parameters)?;
            let step = weights.step;
            let notice =
                format!("it is not trained to its end: this is its checkpoint of step {step}");
            return Ok(Model {
                config,
                parameters,
                tokens: Tokens::default(),
                notices: vec![notice],
            });
        }
        let loaded = LanguageModel::load(&source.folder, device)?;
        let config = loaded.model.config().clone();
        let padding = serde_json::from_slice::<Value>(&text)
            .ok()
            .and_then(|json| json["pad_token_id"].as_u64().and_then(|id| u32::try_from(id).ok()));
        let tokens = Tokens { begin: loaded.begin_token, end: loaded.end_tokens, padding };
        Ok(Model { config, parameters: loaded.parameters, tokens, notices: loaded.notices })
    }
}

/// Puts a model's trained weights, the final ones or those of a checkpoint, in place of its parameters.
///
/// # Errors
/// If the file cannot be read or is of another model.
pub fn load_weights(weights: &Weights, parameters: &Parameters) -> Result<(), Error> {
    let Weights { path, average, .. } = weights;
    if !average {
        parameters.load(path)?;
        return Ok(());
    }
    let mut average = Average::new(parameters, 0.0);
    average.load(parameters, path)?;
    let read = || parameters.iter().map(|(_, tensor)| tensor.to_vec()).collect();
    let numbers: Result<Vec<Vec<f32>>, _> = average.with(parameters, read);
    for ((_, tensor), numbers) in parameters.iter().zip(numbers?) {
        tensor.overwrite(&numbers);
    }
    Ok(())
}

/// The class of `transformers` that takes everything from `tokenizer.json`, in both versions.
const TOKENIZER_CLASS: &str = "PreTrainedTokenizerFast";

/// The tokenizer of a run.
struct OurTokenizer(Tokenizer);

impl OurTokenizer {
    fn find(source: &Source, config: &LanguageModelConfig) -> Result<Option<OurTokenizer>, Error> {
        let Some(OfRun { run, .. }) = &source.of_run else { return Ok(None) };
        let tokenizer = Tokenizer::load(run.tokenizer_json())?;
        let (theirs, ours) = (tokenizer.vocabulary(), config.vocab_size);
        if theirs != ours {
            return Err(Error::Settings(format!(
                "{} has {theirs} tokens, and the model {ours}: it is not the one that it was trained \
                 with",
                run.tokenizer_json().display()
            )));
        }
        Ok(Some(OurTokenizer(tokenizer)))
    }

    fn name(&self) -> String {
        self.0.name()
    }

    fn write(&self, folder: &Path, config: &LanguageModelConfig) -> Result<(), Error> {
        let text = self.0.to_hugging_face();
        write_atomically(&folder.join("tokenizer.json"), text.as_bytes())?;
        let settings = json!({
            "tokenizer_class": TOKENIZER_CLASS,
            "model_max_length": config.max_position_embeddings,
            "model_input_names": ["input_ids", "attention_mask"],
            // Version 4 would take spaces away before full stops and commas.
            "clean_up_tokenization_spaces": false,
        });
        Ok(write_json(&folder.join("tokenizer_config.json"), &settings)?)
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
