//! Compares trained models of any runs: one table, one page, and the numbers as CSV and JSON.
//!
//! `cargo run --release --example compare -- --help` tells what it can do.

#[path = "../common/mod.rs"]
mod common;
mod files;

use clap::Parser;
use common::arguments::place;
use common::program::{self, Result};
use common::show;
use neutreno::report::{SideBySide, collect};
use neutreno::run::{Error, write_folder};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Compares trained models of any runs, whenever and wherever they were trained: models that were
/// trained alike are one row, with all their seeds, and each row is compared with a baseline, seed by
/// seed.
///
/// Rows are named by what differs. Differences come with their number of pairs, 95 % interval, and the
/// p of a paired t-test, corrected for the number of comparisons. Where runs learnt other data or were
/// scored on other parts of it, it says so and takes no difference; other tasks are refused.
#[derive(Debug, Parser)]
#[command(version, name = "compare", max_term_width = 100, after_help = AFTER_HELP)]
struct Arguments {
    /// Folders of runs, files summary.json under any name, or folders that hold several of either
    #[arg(required = true, value_name = "RUN", value_parser = place())]
    runs: Vec<PathBuf>,
    /// Compare with this row: its number or its name [default: the Transformer, or the first]
    #[arg(long, value_name = "ROW")]
    baseline: Option<String>,
    /// Compare by this score, such as test_loss [default: the task's; bits a byte where tokens differ]
    #[arg(long, value_name = "NAME")]
    score: Option<String>,
    /// The folder for compare.html, compare.json, models.csv, differences.csv and curves.csv; it must be
    /// new or empty [default: runs/comparison, with a number if that is taken]
    #[arg(long, value_name = "DIR", value_parser = place())]
    out: Option<PathBuf>,
    /// Print the comparison as one line of JSON instead of the table
    #[arg(long)]
    json: bool,
}

const AFTER_HELP: &str = "\
Examples:
  compare runs/monday runs/friday             two runs of different days
  compare runs/sweep --baseline neutreno:0.4  one run, against one of its variants
  compare collected/                          a folder with the summary.json of many machines";

fn main() -> ExitCode {
    program::exit(run(&Arguments::parse()))
}

fn run(arguments: &Arguments) -> Result<()> {
    let (mut runs, mut left_out) = (Vec::new(), Vec::new());
    for path in &arguments.runs {
        let (found, without) = collect(path)?;
        runs.extend(found);
        left_out.extend(without);
    }
    let (baseline, score) = (arguments.baseline.as_deref(), arguments.score.as_deref());
    let mut compared = SideBySide::new(&runs, baseline, score)?;
    compared.warnings.splice(0..0, left_out);
    let out = write(&compared, arguments.out.as_deref())?;
    if arguments.json {
        show::json(&files::json(&compared));
    } else {
        show::result(compared.table());
    }
    show::note(format!("The page: {}", out.join("compare.html").display()));
    Ok(())
}

/// Writes the folder, which is never one that was there.
fn write(compared: &SideBySide, out: Option<&Path>) -> Result<PathBuf> {
    if let Some(out) = out {
        write_folder(out, |folder| files::write(compared, folder))?;
        return Ok(out.to_owned());
    }
    for number in 1u64.. {
        let suffix = if number == 1 { String::new() } else { format!("-{number}") };
        let out = Path::new("runs").join(format!("comparison{suffix}"));
        match write_folder(&out, |folder| files::write(compared, folder)) {
            Err(Error::Taken { .. }) => {}
            written => return Ok(written.map(|()| out)?),
        }
    }
    unreachable!("some number is free")
}
