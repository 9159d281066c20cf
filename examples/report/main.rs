//! Writes the report of a run anew, and its figures one by one.
//!
//! `cargo run --release --example report -- --help` tells what it can do.

#[path = "../common/mod.rs"]
mod common;
mod picture;

use clap::Parser;
use common::arguments::place;
use common::program::{Result, exit};
use common::show;
use neutreno::report::{Figure, RunMetrics, figures, page};
use neutreno::run::{
    RunFolder, Summary, read_metrics, read_pictures, write_atomically, write_folder,
};
use picture::Pictures;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

/// Writes the report of a run anew, from its summary.json and metrics.jsonl.
///
/// With --figures it writes each figure as a file by itself instead, to print or to draw anew: as SVG and PNG,
/// which have a title, a legend and units and can be read at a width of 8 cm, and its numbers as CSV. Runs
/// that were measured while training (--measure-every) get heat maps over blocks and steps.
#[derive(Debug, Parser)]
#[command(version, name = "report", max_term_width = 100)]
struct Arguments {
    /// The folder of a run
    #[arg(value_name = "RUN", value_parser = place())]
    run: PathBuf,
    /// Write the figures into this new folder
    #[arg(long, value_name = "DIR", value_parser = place())]
    figures: Option<PathBuf>,
    /// Those of these names alone, as their files are called
    #[arg(long, value_name = "NAME,...", value_delimiter = ',', requires = "figures")]
    only: Vec<String>,
    /// How many pixels wide PNGs are; 945 are 300 an inch at 8 cm
    #[arg(long, value_name = "PIXELS", default_value_t = 1890, value_parser = clap::value_parser!(u32).range(100..=10_000), requires = "figures")]
    pixels: u32,
}

fn main() -> ExitCode {
    exit(run(&Arguments::parse()))
}

fn run(arguments: &Arguments) -> Result<()> {
    let run = RunFolder::open(&arguments.run)?;
    let (summary, metrics) = read(&run)?;
    let Some(folder) = &arguments.figures else {
        write_atomically(&run.report_html(), page(&summary, &metrics).as_bytes())?;
        show::result(run.report_html().display());
        return Ok(());
    };
    let figures = chosen(figures(&summary, &metrics), &arguments.only)?;
    let pictures = Pictures::new();
    write_folder(folder, |folder| -> Result<()> {
        for figure in &figures {
            let file = |kind: &str| folder.join(format!("{}.{kind}", figure.name));
            write_atomically(&file("svg"), figure.svg.as_bytes())?;
            write_atomically(&file("png"), &pictures.png(&figure.svg, arguments.pixels)?)?;
            write_atomically(&file("csv"), figure.csv.as_bytes())?;
        }
        Ok(write_atomically(&folder.join("README.md"), list(&summary.name, &figures).as_bytes())?)
    })?;
    let measured_once = !figures.iter().any(|figure| figure.name.ends_with("_by_block_and_step"));
    if arguments.only.is_empty() && measured_once {
        show::note(
            "there are no heat maps over steps: the models were measured once, at their end. Runs with \
             --measure-every have them",
        );
    }
    show::result(format!("{} figures in {}", figures.len(), folder.display()));
    Ok(())
}

/// What came out for a run so far, and the metrics of its models.
fn read(run: &RunFolder) -> Result<(Summary, Vec<RunMetrics>)> {
    let path = run.summary_json();
    if !path.is_file() {
        return Err(format!(
            "{} has no summary.json yet: no model of it is trained, and report.html shows how far it is",
            run.path().display()
        )
        .into());
    }
    let text =
        fs::read(&path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    let summary: Summary =
        serde_json::from_slice(&text).map_err(|error| format!("{}: {error}", path.display()))?;
    let mut metrics = Vec::new();
    for model in &summary.variants {
        let (variant, seed) = (model.variant.clone(), model.seed);
        let Some(folder) = run.find_model(&variant, seed) else {
            let run = run.path().display();
            return Err(format!("{run} lacks the folder of {variant}, seed {seed}").into());
        };
        let (metrics_of, pictures) =
            (read_metrics(&folder.metrics_jsonl())?, read_pictures(&folder)?);
        metrics.push(RunMetrics { variant, seed, metrics: metrics_of, pictures });
    }
    Ok((summary, metrics))
}

/// The figures that are asked for.
fn chosen(figures: Vec<Figure>, only: &[String]) -> Result<Vec<Figure>> {
    let names: Vec<&str> = figures.iter().map(|figure| &*figure.name).collect();
    if let Some(unknown) = only.iter().find(|name| !names.contains(&name.as_str())) {
        return Err(format!(
            "--only {unknown}: there is no such figure. There are: {}",
            names.join(", ")
        )
        .into());
    }
    if figures.is_empty() {
        return Err("there is nothing to draw yet: no step is logged".into());
    }
    Ok(figures
        .into_iter()
        .filter(|figure| only.is_empty() || only.contains(&figure.name))
        .collect())
}

/// What the figures show.
fn list(run: &str, figures: &[Figure]) -> String {
    let mut text =
        format!("# Figures of {run}\n\n| file | figure | what it shows |\n|---|---|---|\n");
    for Figure { name, title, caption, .. } in figures {
        text += &format!("| `{name}` | {title} | {caption} |\n");
    }
    text
}
