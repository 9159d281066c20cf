//! The files of a trained model that a run's models start from, as they were when it began.

use crate::error::Error;
use crate::open::{Found, Source, Wanted};
use crate::run::checkpoint::tensor_prefix;
use crate::run::disk::hash_file;
use crate::run::{self, FILES, Use, Weights, name_from_json, name_to_json};
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Where `run.json` has what its models start from.
pub const FROM: &str = "from";

/// A model's folder, which of its files matter, and what these were when the run began.
#[derive(Clone, Debug, PartialEq)]
pub struct StartFiles {
    folder: PathBuf,
    /// The SHA-256 of each file, by its path in the folder.
    files: BTreeMap<String, String>,
    /// The file of the weights where they are those of a checkpoint, and whether they are a running
    /// average.
    weights: Option<(String, bool)>,
}

/// The one model at a path: of a run, or in a folder of its own.
pub fn find(given: &Path, weights: Use) -> Result<Source, Error> {
    let path = std::path::absolute(given).unwrap_or_else(|_| given.to_owned());
    let told = |problem: String| Error::Settings(format!("--from {}{problem}", given.display()));
    if !path.is_dir() {
        return Err(told(
            ": there is no such folder; it takes a run, the folder of one of its models, or one of Hugging \
             Face's with config.json and model.safetensors"
                .into(),
        ));
    }
    let mut sources = Found::at(&path, &Wanted { weights, ..Wanted::default() })?.sources;
    if sources.len() > 1 {
        let name =
            |source: &Source| source.folder.file_name().unwrap_or_default().display().to_string();
        let names: Vec<String> = sources.iter().map(name).collect();
        return Err(told(format!(
            " is a run of several models: name the folder of one of them, {}",
            names.join(" or ")
        )));
    }
    Ok(sources.remove(0))
}

impl StartFiles {
    /// Those of a model that was found; `paths` are the files of its weights.
    pub fn of(source: &Source, paths: &[PathBuf]) -> Result<StartFiles, Error> {
        let folder = source.folder.clone();
        let name = |path: &Path| {
            let parts = path.strip_prefix(&folder).unwrap_or(path).iter();
            parts.map(|part| part.to_string_lossy()).collect::<Vec<_>>().join("/")
        };
        let mut files = BTreeMap::new();
        for path in [&folder.join("config.json")].into_iter().chain(paths) {
            files.insert(name(path), hash_file(path)?);
        }
        check_result(&folder, &files)?;
        let of_checkpoint = source.checkpoint();
        let weights = of_checkpoint.map(|Weights { path, average, .. }| (name(path), *average));
        Ok(StartFiles { folder, files, weights })
    }

    /// The folder, as an absolute path.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The file of the weights where it is none in the folder itself, and what stands before the names of
    /// its tensors.
    pub fn weights(&self) -> Option<(PathBuf, &'static str)> {
        let weights = self.weights.as_ref();
        weights.map(|(path, average)| (self.folder.join(path), tensor_prefix(*average)))
    }

    /// Finds out whether the folder is as it was when the run began.
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

    /// What a run keeps of it.
    pub fn facts(&self, config: &impl Serialize) -> Value {
        let StartFiles { folder, files, weights } = self;
        let mut facts =
            json!({ "folder": name_to_json(folder.as_os_str()), FILES: files, "config": config });
        if let Some(weights) = weights {
            facts["weights"] = json!(weights);
        }
        facts
    }

    /// What a run kept.
    pub fn of_facts(from: &Value) -> Option<StartFiles> {
        Some(StartFiles {
            folder: name_from_json(&from["folder"])?.into(),
            files: serde_json::from_value(from[FILES].clone()).ok()?,
            weights: serde_json::from_value(from["weights"].clone()).ok()?,
        })
    }
}

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
