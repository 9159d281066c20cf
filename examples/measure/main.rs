//! Measures what the layers of trained models compute, and shows it on a page.
//!
//! `cargo run --release --example measure -- --help` tells what it can do.

#[path = "../common/mod.rs"]
mod common;
mod models;

use clap::{ArgAction, Parser};
use common::arguments::{Machine, positive};
use common::program::{Result, open_device};
use common::progress::Progress;
use common::show;
use models::Request;
use neutreno::report::measurements_page;
use neutreno::run::{RunFolder, write_atomically, write_json};
use serde_json::json;
use std::path::PathBuf;
use std::process::ExitCode;

/// Measures what the layers of trained models compute: token similarity, attention concentration,
/// first-token importance, value-state drains, residual-state peaks, effective ranks, and the
/// energies J and E, block by block.
///
/// Of several runs, all models are shown side by side. measurements.html and measurements.json go
/// into the folder of the first run.
#[derive(Debug, Parser)]
#[command(version, name = "measure", max_term_width = 100)]
struct Arguments {
    /// Folders of runs, each with a summary.json
    #[arg(required_unless_present = "list_devices", value_name = "RUN")]
    runs: Vec<PathBuf>,
    /// The data that the models were trained on [default: where it was then]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// How many texts or images the numbers are means of
    #[arg(long, default_value_t = 64, value_parser = positive)]
    sequences: usize,
    /// Whose attention to draw: blocks and heads, from 1 [default: the first head of the first,
    /// middle and last block]
    #[arg(long, value_name = "BLOCK:HEAD,...", action = ArgAction::Set, value_delimiter = ',', value_parser = head)]
    heads: Vec<(usize, usize)>,
    /// Show nothing while it works
    #[arg(long, short)]
    quiet: bool,
    #[command(flatten)]
    machine: Machine,
}

fn head(text: &str) -> std::result::Result<(usize, usize), String> {
    let (block, head) = text.split_once(':').ok_or("a block and a head are needed, as in 3:1")?;
    Ok((positive(block)?, positive(head)?))
}

fn main() -> ExitCode {
    common::program::main(|arguments: &Arguments| &arguments.machine, run)
}

fn run(arguments: &Arguments) -> Result<()> {
    let runs = arguments.runs.iter().map(|path| RunFolder::open(path));
    let runs = runs.collect::<std::result::Result<Vec<_>, _>>()?;
    let progress = Progress::new(arguments.quiet);
    let device = open_device(&arguments.machine, &progress)?;
    let request = Request {
        data: arguments.data.as_deref(),
        sequences: arguments.sequences,
        heads: &arguments.heads,
        device: &device,
        several: runs.len() > 1,
    };
    let (mut measured, mut maps) = (Vec::new(), Vec::new());
    for run in &runs {
        // As text, for errors can't leave the device's threads.
        let work = || models::measure_run(run, &request, &progress).map_err(|e| e.to_string());
        for (model, of_model) in device.install(work)? {
            measured.push(model);
            maps.extend(of_model);
        }
    }
    let names: Vec<String> = runs.iter().map(RunFolder::name).collect();
    let about = format!(
        "{} trained models, each measured on the same {} sequences of the validation data or on as \
         many as there are.",
        measured.len(),
        arguments.sequences
    );
    let page = measurements_page(&names.join(", "), &about, &measured, &maps);
    let path = runs[0].path().join("measurements.html");
    let entry = |model: &neutreno::report::MeasuredModel| {
        let (step, measured) = model.steps.last().expect("a model was measured once");
        json!({ "model": model.name, "seed": model.seed, "step": step, "measured": measured })
    };
    let entries: Vec<_> = measured.iter().map(entry).collect();
    write_json(&runs[0].path().join("measurements.json"), &entries)?;
    write_atomically(&path, page.as_bytes())?;
    show::result(path.display());
    Ok(())
}
