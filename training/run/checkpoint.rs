//! Checkpoints: all that training needs to go on with the same bits.
//!
//! ```text
//! checkpoints/step-000300/
//!   model.safetensors      the weights
//!   optimizer.safetensors  its moments and the number of its steps
//!   average.safetensors    the running average of the weights, if one is made
//!   metrics.jsonl          the metrics so far
//!   state.json             step, position in the data, what was logged, settings, versions
//!   SHA256SUMS             of all of these, as `sha256sum -c` takes it
//! ```
//!
//! A checkpoint is written under another name, synced and renamed, so one that has its name is
//! whole. It is never changed; the newest whose checksums are right counts.

use super::disk::{create_folder, hash_file, remove_folder, rename, sync_folder, write_file};
use super::state::State;
use super::{Error, ModelFolder};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The files of a checkpoint, with what writes and reads them.
pub(crate) const MODEL: &str = "model.safetensors";
pub(crate) const OPTIMIZER: &str = "optimizer.safetensors";
pub(crate) const AVERAGE: &str = "average.safetensors";
const METRICS: &str = "metrics.jsonl";
const STATE: &str = "state.json";
const SUMS: &str = "SHA256SUMS";

/// The bytes of one file, chunk by chunk.
pub(crate) type Chunks<'a, E> = Box<dyn Iterator<Item = Result<Vec<u8>, E>> + 'a>;

/// Writes the checkpoint after `state.step` steps.
///
/// # Errors
/// If the disk or the device fails; then the checkpoints that were there are still there.
pub(crate) fn save<'a, E: From<Error> + 'a>(
    folder: &ModelFolder,
    state: &State,
    metrics: Vec<u8>,
    tensors: impl IntoIterator<Item = (&'static str, Chunks<'a, E>)>,
) -> Result<(), E> {
    let path = folder.checkpoint(state.step);
    if path.exists() {
        // Made before, by a process that was ended after it. Only a damaged one is replaced.
        match check(&path) {
            Ok(()) => return Ok(()),
            Err(_) => remove_folder(&path)?,
        }
    }
    let parent = folder.checkpoints();
    create_folder(&parent)?;
    let partial = parent.join(PARTIAL);
    remove_folder(&partial)?;
    create_folder(&partial)?;
    let result = fill(&partial, state, metrics, tensors).and_then(|()| {
        rename(&partial, &path)?;
        Ok(sync_folder(&parent)?)
    });
    if result.is_err() {
        // The first error is the one to report. This gives back what room it took.
        let _ = remove_folder(&partial);
    }
    result
}

/// The name of a checkpoint that is being written.
const PARTIAL: &str = ".partial";

fn fill<'a, E: From<Error> + 'a>(
    partial: &Path,
    state: &State,
    metrics: Vec<u8>,
    tensors: impl IntoIterator<Item = (&'static str, Chunks<'a, E>)>,
) -> Result<(), E> {
    let text = serde_json::to_vec_pretty(state).expect("numbers and strings are valid JSON");
    let whole = |bytes: Vec<u8>| -> Chunks<'a, E> { Box::new(std::iter::once(Ok(bytes))) };
    let files = tensors.into_iter().chain([(METRICS, whole(metrics)), (STATE, whole(text))]);
    let mut sums = String::new();
    for (name, chunks) in files {
        let hash = write_file(&partial.join(name), chunks)?;
        sums += &format!("{hash}  {name}\n");
    }
    write_file(&partial.join(SUMS), whole(sums.into_bytes()))?;
    Ok(sync_folder(partial)?)
}

/// A checkpoint that was found to be whole.
pub(crate) struct Found {
    pub path: PathBuf,
    pub state: State,
    pub metrics: Vec<u8>,
}

/// The newest whole checkpoint of a model, if there is any, and what is wrong with newer ones.
pub(crate) fn newest(folder: &ModelFolder) -> (Option<Found>, Vec<Error>) {
    let mut problems = Vec::new();
    for (_, path) in steps(folder).into_iter().rev() {
        match read(path) {
            Ok(found) => return (Some(found), problems),
            Err(error) => problems.push(error),
        }
    }
    (None, problems)
}

/// The weights of a model that is not trained to the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Weights {
    /// The steps that it was trained for.
    pub step: u64,
    /// Their file.
    pub path: PathBuf,
    /// Whether they are the running average of the weights, as
    /// [`Average::state`](crate::engine::optim::Average::state) names it.
    pub average: bool,
}

impl Weights {
    /// The file, and what stands before the names of its tensors.
    pub fn file(&self) -> (&Path, &'static str) {
        (&self.path, tensor_prefix(self.average))
    }
}

/// What stands before the names of tensors in a file of weights, which may be those of a running average.
pub(crate) fn tensor_prefix(average: bool) -> &'static str {
    if average { "average." } else { "" }
}

/// The weights of the newest whole checkpoint of a model, those that would be scored; `None` without
/// one.
pub fn newest_weights(folder: &ModelFolder) -> Option<Weights> {
    newest(folder).0.map(|found| weights(&found))
}

/// The weights of a checkpoint, those that would be scored.
fn weights(Found { path, state, .. }: &Found) -> Weights {
    let average = path.join(AVERAGE);
    match average.is_file() {
        true => Weights { step: state.step, path: average, average: true },
        false => Weights { step: state.step, path: path.join(MODEL), average: false },
    }
}

/// Those of the checkpoint after so many steps.
///
/// # Errors
/// If it is not there, or not whole.
pub(crate) fn weights_at(folder: &ModelFolder, step: u64) -> Result<Weights, Error> {
    Ok(weights(&read(folder.checkpoint(step))?))
}

/// The steps of all checkpoints, whole or not.
pub(crate) fn kept_steps(folder: &ModelFolder) -> impl Iterator<Item = u64> + use<> {
    steps(folder).into_keys()
}

/// The step with the best score of those that were made while training, as far as that went.
pub(crate) fn best_step(folder: &ModelFolder) -> Option<u64> {
    match folder.result() {
        Some(result) => result.results.get("best_step")?.as_u64(),
        None => newest(folder).0?.state.log.best.map(|(step, _)| step),
    }
}

/// The step of the latest checkpoint that a model has, whole or not.
pub(crate) fn latest_step(folder: &ModelFolder) -> Option<u64> {
    steps(folder).into_keys().next_back()
}

/// Removes all checkpoints but the latest `keep` and the best.
///
/// # Errors
/// If some cannot be removed, for the first of them; the others are.
pub(crate) fn prune(folder: &ModelFolder, keep: usize, best: Option<u64>) -> Result<(), Error> {
    let all = steps(folder);
    let old = all.len().saturating_sub(keep.max(1));
    let old = all.into_iter().take(old).filter(|(step, _)| Some(*step) != best);
    let remove = |path: PathBuf| {
        // Without its sums a checkpoint that is half removed counts as damaged.
        let _ = fs::remove_file(path.join(SUMS));
        remove_folder(&path)
    };
    old.map(|(_, path)| remove(path)).fold(Ok(()), Result::and)
}

/// The checkpoints there are, damaged ones too, by their step.
fn steps(folder: &ModelFolder) -> BTreeMap<u64, PathBuf> {
    let Ok(entries) = fs::read_dir(folder.checkpoints()) else { return BTreeMap::new() };
    let step = |path: PathBuf| {
        let name = path.file_name()?.to_str()?.strip_prefix("step-")?;
        Some((name.parse().ok()?, path))
    };
    entries.flatten().filter_map(|entry| step(entry.path())).collect()
}

fn read(path: PathBuf) -> Result<Found, Error> {
    check(&path)?;
    let file = |name: &str| {
        let path = path.join(name);
        fs::read(&path).map_err(|source| Error::File { action: "read", path, source })
    };
    let state = serde_json::from_slice(&file(STATE)?)
        .map_err(|error| damaged(&path, format!("{STATE}: {error}")))?;
    let metrics = file(METRICS)?;
    Ok(Found { path, state, metrics })
}

/// Finds out whether all files are there with the contents they were written with.
fn check(path: &Path) -> Result<(), Error> {
    const LONGEST: u64 = 10_000;
    let sums = path.join(SUMS);
    let length = fs::metadata(&sums).map_or(0, |file| file.len());
    let text = match fs::read_to_string(&sums) {
        Ok(text) if length <= LONGEST => text,
        Ok(_) => return Err(damaged(path, format!("{SUMS} is {length} bytes long"))),
        Err(error) => return Err(damaged(path, format!("{SUMS}: {error}"))),
    };
    let mut names = Vec::new();
    for line in text.lines() {
        let known = |name: &&str| [MODEL, OPTIMIZER, AVERAGE, METRICS, STATE].contains(name);
        let Some((expected, name)) = line.split_once("  ").filter(|(_, name)| known(name)) else {
            return Err(damaged(path, format!("{SUMS} has a line that is no checksum")));
        };
        match hash_file(&path.join(name)) {
            Ok(hash) if hash == expected => names.push(name),
            Ok(_) => return Err(damaged(path, format!("{name} is not what was written"))),
            Err(error) => return Err(damaged(path, error.to_string())),
        }
    }
    match [MODEL, OPTIMIZER, METRICS, STATE].iter().find(|name| !names.contains(name)) {
        Some(name) => Err(damaged(path, format!("{SUMS} does not list {name}"))),
        None => Ok(()),
    }
}

fn damaged(path: &Path, reason: String) -> Error {
    Error::Damaged { path: path.into(), reason }
}
