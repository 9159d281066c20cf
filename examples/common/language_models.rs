//! The way from a path to trained language models, for programs that use them.

use super::arguments::place;
use super::program::Result;
use super::progress::Progress;
use clap::{ArgAction, Args};
use neutreno::LanguageModel;
use neutreno::data::Decoder;
use neutreno::data::tokenizer::Tokenizer;
use neutreno::engine::half::Precision;
use neutreno::engine::{Device, Parameters};
use neutreno::language::{LoadSettings, Loaded};
use neutreno::report::{bytes, label, thousands};
use neutreno::run::{RunFolder, TrainedModel, Weights};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

/// Which models, and how they are loaded.
#[derive(Debug, Args)]
pub struct Models {
    /// A run (runs/NAME), the folder of one model in it (runs/NAME/svformer-seed1), or a folder of
    /// Hugging Face's with config.json, model.safetensors and tokenizer.json
    #[arg(long, value_name = "PATH", value_parser = place(), help_heading = "Models")]
    pub model: Option<PathBuf>,
    /// Only these models of a run: variants, or names of their folders [default: all, one after
    /// another]
    #[arg(long, value_name = "NAME,...", action = ArgAction::Set, value_delimiter = ',', help_heading = "Models")]
    pub variant: Vec<String>,
    /// How weight matrices are kept: f32, bf16 or f16. Computing is done in f32
    #[arg(long, value_name = "FORMAT", default_value_t = Precision::F32, help_heading = "Models")]
    pub precision: Precision,
    /// Refuse a model whose files have keys that are not known, instead of telling them
    #[arg(long, help_heading = "Models")]
    pub strict: bool,
}

/// A model's tokenizer, as those who write with the model ask it.
pub struct AnyTokenizer(pub Tokenizer);

/// A model that was found, and is not loaded yet.
pub struct Found {
    /// What it is called here.
    pub name: String,
    /// Its variant, in a run.
    pub variant: Option<String>,
    pub folder: PathBuf,
    /// Of a run: its weights.
    weights: Option<Weights>,
    /// The seed it was trained with.
    pub seed: Option<u64>,
}

impl Models {
    /// Finds the models, and the tokenizer that they share.
    ///
    /// # Errors
    /// If the path leads to none, or to those of something else than language.
    pub fn find(&self, progress: &Progress) -> Result<(Vec<Found>, AnyTokenizer)> {
        let path =
            self.model.as_ref().ok_or("--model PATH is missing: a run, or a model's folder")?;
        let shown = path.display();
        if !path.exists() {
            return Err(format!("--model {shown}: there is no such folder").into());
        }
        if !path.is_dir() {
            return Err(format!("--model {shown} is a file: give the folder that it is in").into());
        }
        if let Ok(run) = RunFolder::open(path) {
            return self.of_run(&run, None, progress);
        }
        // The folder of one model in a run.
        let whole = fs::canonicalize(path).unwrap_or_else(|_| path.clone());
        let run = whole.parent().and_then(|parent| RunFolder::open(parent).ok());
        if let Some(run) = run {
            return self.of_run(&run, whole.file_name().and_then(|name| name.to_str()), progress);
        }
        if !self.variant.is_empty() {
            return Err(format!(
                "--variant chooses among the models of a run, and {shown} is none"
            )
            .into());
        }
        for file in ["config.json", "tokenizer.json"] {
            if !path.join(file).exists() {
                return Err(format!(
                    "--model {shown}: it has no run.json, so it is no run, and no {file}, so it is no \
                     model's folder"
                )
                .into());
            }
        }
        check_kind(path)?;
        let name = whole.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        let (folder, variant, weights, seed) = (path.clone(), None, None, None);
        Ok((vec![Found { name, variant, folder, weights, seed }], AnyTokenizer::load(path)?))
    }

    /// Those of a run, or the one in a folder of it.
    fn of_run(
        &self,
        run: &RunFolder,
        folder: Option<&str>,
        progress: &Progress,
    ) -> Result<(Vec<Found>, AnyTokenizer)> {
        let shown = run.path().display();
        let all = run.models()?;
        let folder_of = |model: &TrainedModel| -> String {
            model.folder.path().file_name().unwrap_or_default().to_string_lossy().into_owned()
        };
        let mut wanted = self.variant.clone();
        if let Some(folder) = folder {
            if !wanted.is_empty() {
                return Err(format!(
                    "--variant chooses among the models of a run, and --model is one, {folder}"
                )
                .into());
            }
            wanted.push(folder.to_owned());
        }
        let is = |model: &TrainedModel, name: &String| {
            // As it is called, or as it was typed: `neutreno:0.2`.
            let typed = name.replace(':', "-");
            typed.eq_ignore_ascii_case(&model.variant.name()) || *name == folder_of(model)
        };
        if let Some(none) = wanted.iter().find(|name| !all.iter().any(|model| is(model, name))) {
            let names: Vec<String> = all.iter().map(folder_of).collect();
            return Err(format!("{shown} has no model {none}; it has {}", names.join(", ")).into());
        }
        let several = all.iter().any(|model| model.seed != all[0].seed);
        let mut found = Vec::new();
        for model in all
            .iter()
            .filter(|model| wanted.is_empty() || wanted.iter().any(|name| is(model, name)))
        {
            let mut name = label(&model.variant.name());
            if several {
                name += &format!(", seed {}", model.seed);
            }
            let Some(weights) = model.weights.clone() else {
                progress.line(&format!("{name}: left out, it has no checkpoint yet"));
                continue;
            };
            check_kind(model.folder.path())?;
            if model.finished {
                model.folder.check_files()?;
            } else {
                progress
                    .line(&format!("{name}: its latest checkpoint, after {} steps", weights.step));
            }
            found.push(Found {
                name,
                variant: Some(model.variant.name()),
                folder: model.folder.path().to_owned(),
                weights: Some(weights),
                seed: Some(model.seed),
            });
        }
        if found.is_empty() {
            return Err(format!(
                "{shown} has no weights yet: wait for a first checkpoint, or go on with its training \
                 (--resume {shown})"
            )
            .into());
        }
        run.check_files()?;
        Ok((found, AnyTokenizer(Tokenizer::load(run.tokenizer_json())?)))
    }

    /// Loads one, checks that it goes with the tokenizer, and says what it is.
    ///
    /// # Errors
    /// If it cannot be loaded, or does not fit.
    pub fn load(
        &self,
        found: &Found,
        tokenizer: &AnyTokenizer,
        device: &Device,
        progress: &Progress,
    ) -> Result<Loaded> {
        let settings = LoadSettings {
            strict: self.strict,
            precision: self.precision,
            ..LoadSettings::default()
        };
        let load = || found.load(device, &settings);
        let loaded = progress.during(&format!("loading {}", found.name), load)?;
        let notices = loaded.notices.iter().cloned();
        notices.chain(tokenizer.check(&loaded.model)?).for_each(|line| progress.line(&line));
        let config = loaded.model.config();
        // In half precision most of them are no parameters that could be trained.
        let build = |builder: &mut _| LanguageModel::new(config, builder);
        let (_, all) = Parameters::build(&Device::plan(), 0, build);
        progress.line(&format!(
            "{}: {} parameters, {} in {}, a context of {} tokens",
            found.name,
            thousands(all.count() as u64),
            bytes(loaded.weight_bytes),
            self.precision,
            thousands(config.max_position_embeddings as u64),
        ));
        Ok(loaded)
    }
}

/// That a folder has a language model, before anything else is looked at.
fn check_kind(folder: &Path) -> Result<()> {
    let path = folder.join("config.json");
    let text =
        fs::read(&path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    let config: Value = serde_json::from_slice(&text).unwrap_or_default();
    match config["model_type"].as_str() {
        Some(kind @ ("vit" | "segmenter")) => Err(format!(
            "{}: its models are of images ({kind}), and this program needs language models",
            folder.display()
        )
        .into()),
        // Whatever else is wrong is found where it is loaded.
        _ => Ok(()),
    }
}

impl AnyTokenizer {
    /// That of a folder of Hugging Face's, or one that a run wrote.
    fn load(folder: &Path) -> Result<AnyTokenizer> {
        Ok(AnyTokenizer(Tokenizer::load(folder.join("tokenizer.json"))?))
    }

    /// The tokens of a text, with those at its beginning that the tokenizer's file asks for if
    /// `special`.
    ///
    /// # Errors
    /// If it has no tokens for the text.
    pub fn encode(&self, text: &str, special: bool) -> Result<Vec<u32>> {
        Ok(match &self.0 {
            Tokenizer::Pretrained(tokenizer) => tokenizer.encode(text, special)?,
            own => own.encode(text),
        })
    }

    /// The id of a special token by its name.
    pub fn id_of(&self, token: &str) -> Option<u32> {
        match &self.0 {
            Tokenizer::Pretrained(tokenizer) => tokenizer.id_of(token),
            _ => None,
        }
    }

    /// How many tokens it has.
    pub fn size(&self) -> usize {
        match &self.0 {
            Tokenizer::Pretrained(tokenizer) => tokenizer.largest() as usize + 1,
            own => own.vocabulary(),
        }
    }

    /// The token that stands for what is unknown, if it says nothing to a reader.
    pub fn unknown(&self) -> Option<u32> {
        match &self.0 {
            Tokenizer::Pretrained(_) => None,
            own => own.unknown(),
        }
    }

    /// How many tokens of a text stand for words that it does not know.
    pub fn unknown_in(&self, text: &str) -> usize {
        self.0.unknown_in(text).len()
    }

    /// Whether it goes with a model; a line to tell if that has more tokens.
    fn check(&self, model: &LanguageModel) -> Result<Option<String>> {
        let vocabulary = model.config().vocab_size;
        match &self.0 {
            Tokenizer::Pretrained(tokenizer) => Ok(tokenizer.check(vocabulary)?),
            own if own.vocabulary() != vocabulary => Err(format!(
                "the tokenizer has {} tokens and the model {vocabulary}: it is not the one that it was \
                 trained with",
                own.vocabulary()
            )
            .into()),
            _ => Ok(None),
        }
    }
}

impl Decoder for AnyTokenizer {
    fn bytes(&self, id: u32) -> Option<Vec<u8>> {
        self.0.bytes(id)
    }

    fn text(&self, ids: &[u32]) -> String {
        self.0.text(ids)
    }
}

impl Found {
    fn load(&self, device: &Device, settings: &LoadSettings) -> Result<Loaded> {
        // Checkpoints have their files elsewhere, and averages their own names in them.
        let weights = self.weights.as_ref().map(|Weights { path, average, .. }| {
            (path.as_path(), if *average { "average." } else { "" })
        });
        Ok(LanguageModel::load_with(&self.folder, device, &LoadSettings { weights, ..*settings })?)
    }
}
