//! Which models are meant: those of a run, or one in a folder of its own.

use crate::error::Error;
use crate::report::label;
use crate::run::{Data, RunFolder, Summary, TrainedModel, Use, VariantSummary, Weights};
use serde_json::Value;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

/// Which of a run's models are meant, and which of their weights.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Variants by their names ([`VariantConfig::name`](crate::VariantConfig::name), in whatever case), or
    /// names of models' folders; none for all.
    pub variants: Vec<String>,
    /// The seed; `None` for all.
    pub seed: Option<u64>,
    /// The weights.
    pub weights: Use,
}

/// The models that were found at a path.
pub struct Found {
    /// Those that have weights, in the order of their training.
    pub sources: Vec<Source>,
    /// What is to be known of others, a line each.
    pub notices: Vec<String>,
}

/// Where a model is.
pub struct Source {
    /// What it is called here: its variant, with its seed where the run has several; else its folder.
    pub name: String,
    /// The folder with its `config.json`.
    pub folder: PathBuf,
    /// The run that it is of, if it is of one.
    pub of_run: Option<OfRun>,
}

/// A run, and one of its models.
pub struct OfRun {
    /// The run.
    pub run: RunFolder,
    /// Its `run.json`.
    pub facts: Value,
    /// The model, with the weights that are meant.
    pub model: TrainedModel,
    /// Those weights.
    pub weights: Weights,
}

/// What a model does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It writes text.
    Language,
    /// It tells what an image shows.
    Classifier,
    /// It tells what each pixel of an image belongs to.
    Segmenter,
}

impl Found {
    /// Finds the models at a path: a run, the folder of one model in it, or one in a folder of its own.
    ///
    /// ```
    /// use neutreno::open::{Found, Wanted};
    /// let folder = tempfile::tempdir()?;
    /// let found = |path| Found::at(path, &Wanted::default()).err().map(|error| error.to_string());
    /// assert!(found(folder.path()).unwrap().contains("no run.json, so it is no run"));
    /// std::fs::write(folder.path().join("config.json"), r#"{"model_type": "llama"}"#)?;
    /// assert_eq!(found(folder.path()), None);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// If there is none, or none that is meant; if a file of the run is not what it wrote; if the weights
    /// that are meant are not there.
    pub fn at(path: &Path, wanted: &Wanted) -> Result<Found, Error> {
        let wrong = |reason: String| Err(Error::Settings(format!("{}{reason}", path.display())));
        if !path.exists() {
            return wrong(": there is no such folder".into());
        }
        if !path.is_dir() {
            return wrong(" is a file: give the folder that it is in".into());
        }
        if let Ok(run) = RunFolder::open(path) {
            return Found::of_run(run, wanted);
        }
        // Links and dots say nothing of where it is.
        let real = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let name = real.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        let run = real.parent().and_then(|parent| RunFolder::open(parent).ok());
        if !wanted.variants.is_empty() || wanted.seed.is_some() {
            return wrong(
                " is one model: --variant and --seed choose among the models of a run".into(),
            );
        }
        if let Some(run) = run {
            return Found::of_run(run, &Wanted { variants: vec![name], ..wanted.clone() });
        }
        if !path.join("config.json").is_file() {
            return wrong(
                ": it has no run.json, so it is no run, and no config.json, so it is no model's \
                 folder"
                    .into(),
            );
        }
        if wanted.weights != Use::Last {
            return wrong(format!(
                " is no model of a run, so it has no checkpoints, and no weights \"{}\"",
                wanted.weights
            ));
        }
        let source = Source { name, folder: path.to_owned(), of_run: None };
        Ok(Found { sources: vec![source], notices: Vec::new() })
    }

    fn of_run(run: RunFolder, wanted: &Wanted) -> Result<Found, Error> {
        let shown = run.path().display();
        let all = run.models()?;
        let is = |model: &TrainedModel, name: &String| {
            // As it is called, or as it was typed: `neutreno:0.2`.
            name.replace(':', "-").eq_ignore_ascii_case(&model.variant.name())
                || model.folder.path().file_name() == Some(OsStr::new(name))
        };
        let names = || all.iter().map(folder_name).collect::<Vec<_>>().join(", ");
        let of_seed = |model: &&TrainedModel| wanted.seed.is_none_or(|seed| model.seed == seed);
        let missing = |what: String| {
            Error::Settings(format!("{shown} has no model {what}; it has {}", names()))
        };
        for name in &wanted.variants {
            if !all.iter().filter(of_seed).any(|model| is(model, name)) {
                let seed = wanted.seed.map(|seed| format!(" of seed {seed}")).unwrap_or_default();
                return Err(missing(format!("{name}{seed}")));
            }
        }
        if let Some(seed) = wanted.seed.filter(|_| !all.iter().any(|model| of_seed(&model))) {
            return Err(missing(format!("of seed {seed}")));
        }
        let is_meant = |model: &&TrainedModel| {
            let variants = &wanted.variants;
            of_seed(model) && (variants.is_empty() || variants.iter().any(|name| is(model, name)))
        };
        let several = all.iter().any(|model| model.seed != all[0].seed);
        let facts = run.facts()?;
        let (mut sources, mut notices) = (Vec::new(), Vec::new());
        for model in all.iter().filter(is_meant) {
            let mut name = label(&model.variant.name());
            if several {
                name += &format!(", seed {}", model.seed);
            }
            let model = model.clone().with_weights(wanted.weights)?;
            let Some(weights) = model.weights.clone() else {
                notices.push(format!("{name}: left out, it has no checkpoint yet"));
                continue;
            };
            model.folder.check_files()?;
            if weights.of_checkpoint() {
                let which = match wanted.weights {
                    Use::Last => "its latest checkpoint",
                    Use::Best => "its best checkpoint",
                    Use::Step(_) => "its checkpoint",
                };
                notices.push(format!("{name}: {which}, after {} steps", weights.step));
            }
            let folder = model.folder.path().to_owned();
            let of_run = OfRun { run: run.clone(), facts: facts.clone(), model, weights };
            sources.push(Source { name, folder, of_run: Some(of_run) });
        }
        if sources.is_empty() {
            return Err(Error::Settings(format!(
                "{shown} has no weights yet: wait for a first checkpoint, or go on with its training \
                 (--resume {shown})"
            )));
        }
        run.check_files()?;
        Ok(Found { sources, notices })
    }

    /// The one model that is meant.
    ///
    /// # Errors
    /// If there are several.
    pub fn one(mut self) -> Result<Source, Error> {
        if let [_] = &self.sources[..] {
            return Ok(self.sources.remove(0));
        }
        let of_run: Vec<&OfRun> = self.sources.iter().filter_map(|s| s.of_run.as_ref()).collect();
        let first = of_run.first().expect("several models are of a run");
        let same = of_run.iter().all(|other| other.model.variant == first.model.variant);
        let flag = if same { "--seed" } else { "--variant" };
        let name = |of: &&OfRun| format!("{} (seed {})", of.model.variant.name(), of.model.seed);
        let list = of_run.iter().map(name).collect::<Vec<_>>().join(", ");
        Err(Error::Settings(format!(
            "{} has several models; choose one with {flag}: {list}",
            first.run.path().display()
        )))
    }
}

/// The name of a model's folder.
fn folder_name(model: &TrainedModel) -> String {
    model.folder.path().file_name().unwrap_or_default().to_string_lossy().into_owned()
}

impl Source {
    /// The text of its configuration, and how a problem with it is told.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn config(&self) -> Result<(Vec<u8>, impl Fn(String) -> Error + use<>), Error> {
        let path = self.folder.join("config.json");
        let failed = move |reason: String| Error::Settings(format!("{}: {reason}", path.display()));
        let text = fs::read(self.folder.join("config.json"))
            .map_err(|error| failed(format!("cannot read it: {error}")))?;
        Ok((text, failed))
    }

    /// What the model does, by its configuration. Whatever is not known here is taken for a model of
    /// text, which is refused by name where it is loaded.
    ///
    /// # Errors
    /// If the configuration cannot be read.
    pub fn kind(&self) -> Result<Kind, Error> {
        let (text, _) = self.config()?;
        let json: Value = serde_json::from_slice(&text).unwrap_or_default();
        // Of a variant its name comes first, as in `neutreno_llama`.
        Ok(match json["model_type"].as_str().and_then(|kind| kind.rsplit('_').next()) {
            Some("segmenter") => Kind::Segmenter,
            Some("vit" | "deit") => Kind::Classifier,
            _ => Kind::Language,
        })
    }

    /// Where the weights are if they are not the final ones.
    pub fn checkpoint(&self) -> Option<&Weights> {
        let weights = self.of_run.as_ref().map(|of_run| &of_run.weights);
        weights.filter(|weights| weights.of_checkpoint())
    }

    /// The name of its variant and its seed, of a run.
    pub fn variant_and_seed(&self) -> Option<(String, u64)> {
        self.of_run.as_ref().map(|of_run| (of_run.model.variant.name(), of_run.model.seed))
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
