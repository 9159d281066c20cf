//! From a trained model to what a run's models start from.

use super::program::Result;
use super::progress::Progress;
use super::resume;
use neutreno::VariantConfig;
use neutreno::data::tokenizer::Tokenizer;
use neutreno::engine::Device;
use neutreno::report::label;
use neutreno::run::RunFolder;
use neutreno::tasks::language::{LanguageModelling, Start, StartFolder};
use neutreno::training::Task;
use std::ffi::OsString;
use std::path::Path;

/// The model to start from: that of a run to go on with, by its `run.json`, without its folder being
/// looked at, unless --from is typed again; or that of the folder `from`, with its tokenizer.
///
/// # Errors
/// If it cannot be read.
pub fn start(
    from: Option<&Path>,
    run: Option<&Path>,
    progress: &Progress,
) -> Result<Option<(Start, Option<Tokenizer>)>> {
    let now: Vec<OsString> = std::env::args_os().collect();
    let again = resume::value(&now, "--from").is_some();
    if let Some(run) = run.filter(|_| !again) {
        let start = Start::of_run(&RunFolder::open(run)?)?;
        return Ok(start.map(|start| (start, None)));
    }
    let Some(from) = from else { return Ok(None) };
    let opened = progress.during("reading the model to start from", || Start::open(from))?;
    let StartFolder { start, tokenizer, notices } = opened;
    notices.iter().for_each(|notice| progress.line(notice));
    Ok(Some((start, Some(tokenizer))))
}

/// Says what each variant takes of the model that it starts from.
///
/// # Errors
/// If a variant does not fit it.
pub fn describe_start(
    task: &LanguageModelling,
    variants: &[VariantConfig],
    device: &Device,
    progress: &Progress,
) -> Result<()> {
    let Some(start) = task.start() else { return Ok(()) };
    progress.line(&format!("starting from: {}", start.folder().display()));
    for variant in variants {
        if let Some(transfer) = task.transfer(&task.config(variant, device)?) {
            progress.line(&format!("  {}: {}", label(&variant.name()), transfer.sentence()));
        }
    }
    Ok(())
}
