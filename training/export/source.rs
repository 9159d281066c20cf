//! Which model to export: one of a run, or one in a folder of its own.

use crate::error::Error;
use crate::run::{Data, RunFolder, Summary, TrainedModel, VariantSummary, Weights};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

/// Where a model is.
pub(super) struct Source {
    /// The folder with its `config.json`.
    pub folder: PathBuf,
    /// The run that it is of, if it is of one.
    pub of_run: Option<OfRun>,
}

/// A run, and one of its models.
pub(super) struct OfRun {
    pub run: RunFolder,
    pub facts: Value,
    pub model: TrainedModel,
}

impl Source {
    /// Finds the model at a path: a run, one model's folder in a run, or a folder of its own.
    pub fn find(path: &Path, variant: Option<&str>, seed: Option<u64>) -> Result<Source, Error> {
        let wrong = |reason: String| Err(Error::Settings(format!("{}: {reason}", path.display())));
        if path.join("run.json").is_file() {
            return Source::choose(RunFolder::open(path)?, variant, seed);
        }
        if !path.join("config.json").is_file() {
            let what =
                if path.exists() { "has neither" } else { "is not there, so it has neither" };
            return wrong(format!(
                "it {what} a run.json nor a config.json, so it is no run and no model"
            ));
        }
        if variant.is_some() || seed.is_some() {
            return wrong(
                "it is one model; --variant and --seed choose among those of a run".into(),
            );
        }
        let folder = path.to_owned();
        // Links and dots say nothing of where it is.
        let real = fs::canonicalize(path).unwrap_or_else(|_| folder.clone());
        let Some(parent) = real.parent().filter(|parent| parent.join("run.json").is_file()) else {
            return Ok(Source { folder, of_run: None });
        };
        let run = RunFolder::open(parent)?;
        let is_it = |model: &TrainedModel| model.folder.path().file_name() == real.file_name();
        match run.models()?.into_iter().find(is_it) {
            Some(model) => Source::of_run(run, model),
            None => wrong(format!("it is no model of the run {}", parent.display())),
        }
    }

    /// The text of its configuration, and how a problem with it is told.
    pub fn config(&self) -> Result<(Vec<u8>, impl Fn(String) -> Error + use<>), Error> {
        let path = self.folder.join("config.json");
        let failed = move |reason: String| Error::Settings(format!("{}: {reason}", path.display()));
        let text = fs::read(self.folder.join("config.json"))
            .map_err(|error| failed(format!("cannot read it: {error}")))?;
        Ok((text, failed))
    }

    /// Where the weights are if training has not come to its end.
    pub fn checkpoint(&self) -> Option<&Weights> {
        let model = self.of_run.as_ref().map(|of_run| &of_run.model);
        model.filter(|model| !model.finished).and_then(|model| model.weights.as_ref())
    }

    /// The one model of a run that is meant.
    fn choose(run: RunFolder, variant: Option<&str>, seed: Option<u64>) -> Result<Source, Error> {
        let all = run.models()?;
        let names = |models: &[TrainedModel]| {
            let name =
                |model: &TrainedModel| format!("{} (seed {})", model.variant.name(), model.seed);
            models.iter().map(name).collect::<Vec<_>>().join(", ")
        };
        let is_meant = |model: &&TrainedModel| {
            variant.is_none_or(|variant| model.variant.name() == variant.replace(':', "-"))
                && seed.is_none_or(|seed| model.seed == seed)
        };
        let meant: Vec<TrainedModel> = all.iter().filter(is_meant).cloned().collect();
        let how = match &meant[..] {
            [one] => return Source::of_run(run, one.clone()),
            [] => "has no such model; these are there",
            [one, rest @ ..] if rest.iter().all(|other| other.variant == one.variant) => {
                "has several such models; choose one with --seed"
            }
            _ => "has several models; choose one with --variant",
        };
        let list = names(if meant.is_empty() { &all } else { &meant });
        Err(Error::Settings(format!("{} {how}: {list}", run.path().display())))
    }

    fn of_run(run: RunFolder, model: TrainedModel) -> Result<Source, Error> {
        run.check_files()?;
        if model.weights.is_none() {
            return Err(Error::Settings(format!(
                "{}: it has no trained weights yet, not even a checkpoint",
                model.folder.path().display()
            )));
        }
        model.folder.check_files()?;
        let facts = run.facts()?;
        let folder = model.folder.path().to_owned();
        Ok(Source { folder, of_run: Some(OfRun { run, facts, model }) })
    }
}

impl OfRun {
    /// What the model was trained to do.
    pub fn task(&self) -> &str {
        self.facts["task"].as_str().unwrap_or_default()
    }

    /// What `run.json` says under a name.
    pub fn fact(&self, name: &str) -> &Value {
        &self.facts[name]
    }

    /// What it was trained on, if that can be read.
    pub fn data(&self) -> Option<Data> {
        serde_json::from_value(self.facts["data"].clone()).ok()
    }

    /// What came out, if it is trained to the end.
    pub fn result(&self) -> Option<VariantSummary> {
        let of_file = || {
            let text = fs::read(self.run.summary_json()).ok()?;
            let summary: Summary = serde_json::from_slice(&text).ok()?;
            let (variant, seed) = (self.model.variant.name(), self.model.seed);
            summary
                .variants
                .into_iter()
                .find(|model| model.variant == variant && model.seed == seed)
        };
        self.model.folder.result().or_else(of_file)
    }
}
