//! The data of a run, to be read again: where it was then, and as it was read then.

use super::images;
use super::program::Result;
use super::resume;
use neutreno::data::corpus::Corpus;
use neutreno::data::images::{Broken, ImageData, ReadOptions, Task};
use neutreno::data::lookup::{Lookup, lookup};
use neutreno::run::{Data, RunFolder};
use neutreno::vision::VisionConfig;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Where a run's data was.
///
/// # Errors
/// If its `run.json` does not say so.
pub fn data_of(run: &RunFolder) -> Result<Data> {
    let unusable = |error| format!("{}: not what a run writes: {error}", run.run_json().display());
    Ok(serde_json::from_value(run.facts()?["data"].clone()).map_err(unusable)?)
}

/// The text of a run, or that at `given`.
///
/// # Errors
/// If it is not there.
pub fn text_of(run: &RunFolder, then: &Data, given: Option<&Path>) -> Result<Corpus> {
    let kept = run.kept_text().filter(|_| given.is_none());
    let path = kept.or(given.map(PathBuf::from)).or_else(|| then.path.clone());
    if path.is_none() && then.source.starts_with("generated") {
        return Ok(Corpus::generated());
    }
    Ok(lookup(&Lookup { data: path, ..Lookup::default() })?.0)
}

/// The images of a run, or those at `given`, of the size and with the classes that a model has.
///
/// # Errors
/// If they cannot be read, or do not fit the model.
pub fn images_of(
    run: Option<&RunFolder>,
    path: Option<&Path>,
    config: &VisionConfig,
) -> Result<ImageData> {
    let options = run.map(typed_options).transpose()?.unwrap_or_default();
    let size = [config.image_size.height(), config.image_size.width()];
    let task = match config.num_decoder_layers {
        Some(_) => Task::Segmentation,
        None => Task::Classification,
    };
    let classes = Some(config.id2label.values().cloned().collect());
    let options = ReadOptions { classes, ..options };
    let exact = ImageData::find(path, task, &options);
    if let Ok(data) = exact
        && [data.shape.height, data.shape.width] == size
    {
        return Ok(data);
    }
    Ok(ImageData::find(path, task, &ReadOptions { size: Some(size), ..options })?)
}

/// How a run read its images.
fn typed_options(run: &RunFolder) -> Result<ReadOptions> {
    let facts: Value = run.facts()?;
    let typed = resume::kept(&facts).unwrap_or_default();
    let value = |flag: &str| resume::value(&typed, flag)?.into_string().ok();
    let numbers =
        |values: String| values.split(',').map(|value| value.parse::<u8>().ok()).collect();
    Ok(ReadOptions {
        broken: if typed.iter().any(|flag| flag == "--skip-broken") {
            Broken::Skip
        } else {
            Broken::Stop
        },
        void: value("--void").and_then(|index| index.parse().ok()),
        label_values: value("--label-values").and_then(numbers),
        ground: value("--ground").and_then(|colour| images::colour(&colour).ok()),
        ..ReadOptions::default()
    })
}

/// That splits are those that a run was trained and scored on, by their hashes.
///
/// # Errors
/// If one is not.
pub fn check_hash(run: &RunFolder, then: &Data, found: &[(&'static str, String)]) -> Result<()> {
    let differs =
        |(name, hash): &&(&str, String)| then.hashes.get(*name).is_some_and(|then| then != hash);
    match found.iter().find(differs) {
        Some((name, _)) => Err(format!(
            "the {name} data found now is not what {} was trained on ({}): put that back, or say with \
             --data what to look at",
            run.path().display(),
            then.source
        )
        .into()),
        None => Ok(()),
    }
}
