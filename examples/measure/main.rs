//! Measures what the layers of trained models compute, and shows it on a page.
//!
//! `cargo run --release --example measure -- --help` tells what it can do.

#[path = "../common/mod.rs"]
mod common;
mod models;

use clap::{ArgAction, Parser};
use common::arguments::{Machine, place, positive};
use common::program::{Result, open_device};
use common::progress::Progress;
use common::show;
use common::which::WhichWeights;
use models::Request;
use neutreno::report::measurements_page;
use neutreno::run::{RunFolder, write_atomically, write_json};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Measures what the layers of trained models compute: token similarity, attention concentration,
/// first-token importance, value-state drains, residual-state peaks, effective ranks, and the
/// energies J and E, block by block.
///
/// Of several runs, all models are shown side by side. Those that are not trained to their end yet
/// are measured at their latest checkpoint. measurements.html and measurements.json go into the
/// folder of the first run, with a number in their names if there are some already.
#[derive(Debug, Parser)]
#[command(version, name = "measure", max_term_width = 100)]
struct Arguments {
    /// Folders of runs, each with a summary.json
    #[arg(required_unless_present = "list_devices", value_name = "RUN", value_parser = place())]
    runs: Vec<PathBuf>,
    /// The data that the models were trained on [default: where it was then]
    #[arg(long, value_name = "DIR", value_parser = place())]
    data: Option<PathBuf>,
    #[command(flatten)]
    weights: WhichWeights,
    /// How many texts or images the numbers are means of
    #[arg(long, default_value_t = 64, value_parser = positive)]
    sequences: usize,
    /// Whose attention to draw: blocks and heads, from 1 [default: the first head of the first,
    /// middle and last block]
    #[arg(long, value_name = "BLOCK:HEAD,...", action = ArgAction::Set, value_delimiter = ',', value_parser = head)]
    heads: Vec<(usize, usize)>,
    /// The folder for measurements.html and measurements.json; made if it isn't there [default:
    /// that of the first run]
    #[arg(long, value_name = "DIR", value_parser = place())]
    out: Option<PathBuf>,
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
        weights: arguments.weights.which,
        several: runs.len() > 1,
    };
    let (mut measured, mut maps, mut probed) = (Vec::new(), Vec::new(), Vec::new());
    for run in &runs {
        // As text, for errors can't leave the device's threads.
        let work = || models::measure_run(run, &request, &progress).map_err(|e| e.to_string());
        let (probes, models) = device.install(work)?;
        for (model, of_model) in models {
            measured.push(model);
            maps.extend(of_model);
        }
        probed.push((run.name(), probes));
    }
    let names: Vec<String> = runs.iter().map(RunFolder::name).collect();
    let page = measurements_page(
        &names.join(", "),
        &models::about(measured.len(), &probed),
        &measured,
        &maps,
    );
    let entry = |model: &neutreno::report::MeasuredModel| {
        let (step, measured) = model.steps.last().expect("a model was measured once");
        json!({ "model": model.name, "seed": model.seed, "step": step, "measured": measured })
    };
    let entries: Vec<_> = measured.iter().map(entry).collect();
    let folder = arguments.out.as_deref().unwrap_or(runs[0].path());
    let failed = |error| format!("cannot create {}: {error}", folder.display());
    std::fs::create_dir_all(folder).map_err(failed)?;
    let [html, json] = free_names(folder);
    let about = models::about(measured.len(), &probed);
    let version = env!("CARGO_PKG_VERSION");
    write_json(&json, &json!({ "version": version, "about": about, "models": entries }))?;
    write_atomically(&html, page.as_bytes())?;
    show::result(html.display());
    Ok(())
}

/// Where the page and the numbers go: earlier ones are never replaced.
fn free_names(folder: &Path) -> [PathBuf; 2] {
    let names = (1u64..).map(|number| {
        let suffix = if number == 1 { String::new() } else { format!("-{number}") };
        ["html", "json"].map(|kind| folder.join(format!("measurements{suffix}.{kind}")))
    });
    let is_free = |names: &[PathBuf; 2]| names.iter().all(|name| !name.exists());
    names.into_iter().find(is_free).expect("some number is free")
}
