//! Runs as they are read to be compared: folders of runs, files `summary.json`, and folders of either.

use super::RunMetrics;
use crate::run::{
    CONSTANTS, RunFolder, Summary, TrainedModel, VariantSummary, constants, read_metrics,
};
use std::path::{Path, PathBuf};
use std::{fs, io};

/// A run, as far as it can be read.
#[derive(Clone, Debug)]
pub struct Collected {
    /// What it is called: its folder's name, or that of the file.
    pub name: String,
    /// What came out for the models that are trained to the end.
    pub summary: Summary,
    /// Their metrics; none where there is but a `summary.json`.
    pub metrics: Vec<RunMetrics>,
    /// What there is to know of it beside the others.
    pub notes: Vec<String>,
}

/// Reads a run's folder, a `summary.json` under any name, or all of them in a folder.
///
/// Comes with a sentence for each run or JSON file of such a folder that is left out. Nothing is written or locked.
///
/// # Errors
/// In words: there is no such thing, or it has no results yet.
pub fn collect(path: &Path) -> Result<(Vec<Collected>, Vec<String>), String> {
    let shown = path.display();
    if path.is_file() || path.join("run.json").is_file() || path.join("summary.json").is_file() {
        return Ok((vec![one(path)?], Vec::new()));
    }
    let entries = fs::read_dir(path).and_then(|entries| {
        entries.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<Vec<PathBuf>>>()
    });
    let mut paths = entries.map_err(|error| format!("cannot read {shown}: {error}"))?;
    paths.sort();
    let is_json = |path: &Path| path.extension().is_some_and(|ending| ending == "json");
    let is_run = |path: &PathBuf| {
        let holds = |name: &str| path.join(name).is_file();
        is_json(path) || holds("run.json") || holds("summary.json")
    };
    let (mut runs, mut left_out) = (Vec::new(), Vec::new());
    for path in paths.iter().filter(|path| is_run(path)) {
        match one(path) {
            Ok(run) => runs.push(run),
            Err(problem) => left_out.push(format!("Left out: {problem}.")),
        }
    }
    if runs.is_empty() {
        let why = left_out.first().map_or_else(String::new, |why| format!(" {why}"));
        return Err(format!(
            "{shown} holds no run and no summary.json that could be compared.{why}"
        ));
    }
    Ok((runs, left_out))
}

/// One run, or what is known of it.
fn one(path: &Path) -> Result<Collected, String> {
    let shown = path.display();
    let (file, name) = match path.is_file() {
        true => (path.to_owned(), path.file_stem()),
        false => (path.join("summary.json"), path.file_name()),
    };
    let name = name.map(|name| name.to_string_lossy().into_owned());
    if !file.is_file() {
        return Err(format!(
            "{shown} has no results yet: summary.json is written when the first of its models is \
             trained to the end"
        ));
    }
    let text =
        fs::read(&file).map_err(|error| format!("cannot read {}: {error}", file.display()))?;
    let mut summary: Summary = serde_json::from_slice(&text)
        .map_err(|error| format!("{} is not the summary.json of a run: {error}", file.display()))?;
    let name = name.unwrap_or_else(|| summary.name.clone());
    let mut notes = Vec::new();
    let mut planned = summary.variants.len();
    let mut metrics = Vec::new();
    if let Ok(folder) = RunFolder::open(path) {
        let models = folder.models().map_err(|error| error.to_string())?;
        planned = planned.max(models.len());
        summary.variants.iter_mut().for_each(|run| add_constants(run, &models));
        for model in &models {
            let path = model.folder.metrics_jsonl();
            if path.is_file() {
                let metrics_of = read_metrics(&path).map_err(|error| error.to_string())?;
                let variant = model.variant.name();
                metrics.push(RunMetrics {
                    variant,
                    seed: model.seed,
                    metrics: metrics_of,
                    pictures: Vec::new(),
                });
            }
        }
    }
    summary.variants.retain(|run| run.finished);
    let finished = summary.variants.len();
    if finished == 0 {
        return Err(format!("{shown} has no model that is trained to the end yet"));
    }
    if finished < planned {
        notes.push(format!(
            "{name} is not done: {finished} of its {planned} models are trained to the end, and these \
             are compared."
        ));
    }
    let is_there = |of: &RunMetrics| {
        summary.variants.iter().any(|run| (&run.variant, run.seed) == (&of.variant, of.seed))
    };
    metrics.retain(is_there);
    Ok(Collected { name, summary, metrics, notes })
}

/// Older runs have their constants in `run.json` alone.
fn add_constants(run: &mut VariantSummary, models: &[TrainedModel]) {
    let model = models.iter().find(|model| model.variant.name() == run.variant);
    if let (Some(model), None) = (model, run.results.get(CONSTANTS)) {
        run.results.set(CONSTANTS, constants(&model.variant));
    }
}
