//! From a trained model to what a run's models start from.

use super::arguments::StartFrom;
use super::program::Result;
use super::progress::Progress;
use super::resume;
use neutreno::VariantConfig;
use neutreno::data::tokenizer::Tokenizer;
use neutreno::engine::Device;
use neutreno::report::label;
use neutreno::run::RunFolder;
use neutreno::tasks::images::ImageStart;
use neutreno::tasks::language::{LanguageModelling, Start, StartFolder};
use neutreno::training::Task;
use neutreno::vision::VisionConfig;
use std::ffi::OsString;
use std::path::Path;

/// The model to start from: that of a run to go on with, by its `run.json`, without its folder being
/// looked at, unless --from is typed again; or that at --from, with its tokenizer.
///
/// # Errors
/// If it cannot be read.
pub fn start(
    typed: &StartFrom,
    run: Option<&Path>,
    progress: &Progress,
) -> Result<Option<(Start, Option<Tokenizer>)>> {
    if let Some(run) = run.filter(|_| !typed_again()) {
        let start = Start::of_run(&RunFolder::open(run)?)?;
        return Ok(start.map(|start| (start, None)));
    }
    let Some(from) = &typed.from else { return Ok(None) };
    let open = || Start::open(from, typed.weights.unwrap_or_default());
    let opened = progress.during("reading the model to start from", open)?;
    let StartFolder { start, tokenizer, notices } = opened;
    notices.iter().for_each(|notice| progress.line(notice));
    Ok(Some((start, Some(tokenizer))))
}

/// The same for models of images.
///
/// # Errors
/// If it cannot be read.
pub fn image_start(
    typed: &StartFrom,
    run: Option<&Path>,
    progress: &Progress,
) -> Result<Option<ImageStart>> {
    if let Some(run) = run.filter(|_| !typed_again()) {
        return Ok(ImageStart::of_run(&RunFolder::open(run)?)?);
    }
    let Some(from) = &typed.from else { return Ok(None) };
    let open = || ImageStart::open(from, typed.weights.unwrap_or_default());
    let (start, notices) = progress.during("reading the model to start from", open)?;
    notices.iter().for_each(|notice| progress.line(notice));
    Ok(Some(start))
}

/// Whether --from is typed now, and not only for the run that is gone on with.
fn typed_again() -> bool {
    let now: Vec<OsString> = std::env::args_os().collect();
    resume::value(&now, "--from").is_some()
}

/// Says what each variant takes of the model of images that it starts from.
///
/// # Errors
/// If a variant does not fit it.
pub fn describe_image_start<T: Task<Config = VisionConfig>>(
    task: &T,
    start: Option<&ImageStart>,
    variants: &[VariantConfig],
    device: &Device,
    progress: &Progress,
) -> Result<()> {
    let Some(start) = start else { return Ok(()) };
    progress.line(&format!("starting from: {}", start.folder().display()));
    for variant in variants {
        let transfer = start.transfer(&task.config(variant, device)?);
        progress.line(&format!("  {}: {}", label(&variant.name()), transfer.sentence()));
    }
    Ok(())
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
