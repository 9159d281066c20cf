//! Scores trained models on text or images: those of a run, or one of Hugging Face's.
//!
//! `cargo run --release --example evaluate -- --help` tells what it can do.

#[path = "../common/mod.rs"]
mod common;
mod images;
mod per_token;
mod table;
mod text;

use clap::Parser;
use common::arguments::{Machine, place, positive};
use common::interrupts;
use common::language_models::Models;
use common::program::Result;
use common::progress::Progress;
use common::split::Split;
use neutreno::engine::half::Precision;
use neutreno::open::Kind;
use std::path::PathBuf;
use std::process::ExitCode;

/// Scores trained models on data: language models on a text (nats a token, perplexity, bits a byte),
/// classifiers and segmenters on images (loss, accuracy, IoU, class by class).
///
/// Without --data it is the data of the run, by default its test split. Every token of a text but the
/// first is scored once, in windows of --context tokens that begin --stride tokens after each other:
/// all but those of the first window are seen with at least --context − --stride tokens before them.
/// Of a run with several models there is a table.
#[derive(Debug, Parser)]
#[command(version, name = "evaluate", max_term_width = 100, after_help = AFTER_HELP)]
struct Arguments {
    #[command(flatten)]
    models: Models,
    /// What to score: a text file in UTF-8, or a folder as those that training takes [default: the
    /// data of the run]
    #[arg(long, value_name = "PATH", value_parser = place(), help_heading = "Data")]
    data: Option<PathBuf>,
    /// Which part of it [default: all of a text file that is given with --data, else test]
    #[arg(long, value_enum, help_heading = "Data")]
    split: Option<Split>,
    /// Windows or images at once [default: as many windows as have 2048 tokens together; 16 images]
    #[arg(long, value_name = "COUNT", value_parser = positive, help_heading = "Data")]
    batch: Option<usize>,
    /// Tokens in a window [default: the longest context of the model, at most 2048]
    #[arg(long, value_name = "TOKENS", value_parser = positive, help_heading = "Text")]
    context: Option<usize>,
    /// Tokens from the beginning of a window to that of the next [default: half of --context, and
    /// all of it with --by-position]
    #[arg(long, value_name = "TOKENS", value_parser = positive, help_heading = "Text")]
    stride: Option<usize>,
    /// Show the loss by how many tokens were seen before
    #[arg(long, help_heading = "Text")]
    by_position: bool,
    /// Write every token with its place, how many were seen before it, and its nats
    #[arg(long, value_name = "FILE.csv", value_parser = place(), help_heading = "Text")]
    per_token: Option<PathBuf>,
    /// Write every class with how many there are of it, how many are right, and its IoU
    #[arg(long, value_name = "FILE.csv", value_parser = place(), help_heading = "Images")]
    per_class: Option<PathBuf>,
    /// Write how often each class was taken for each: a row for every true class
    #[arg(long, value_name = "FILE.csv", value_parser = place(), help_heading = "Images")]
    confusion: Option<PathBuf>,
    /// Print a line of JSON for each model instead of the table
    #[arg(long, help_heading = "Output")]
    json: bool,
    /// Show nothing while it works
    #[arg(long, short, help_heading = "Output")]
    quiet: bool,
    #[command(flatten)]
    machine: Machine,
}

const AFTER_HELP: &str = "\
Examples:
  evaluate runs/NAME                                     all models of a run, on its test split
  evaluate runs/NAME --use best --split validation       those that scored best while they learnt
  evaluate runs/NAME --data other.txt --per-token tokens.csv
  evaluate runs/NAME --variant svformer --confusion confusion.csv
  evaluate SmolLM2-135M --data book.txt --by-position";

fn main() -> ExitCode {
    common::program::main(|arguments: &Arguments| &arguments.machine, run)
}

fn run(arguments: &Arguments) -> Result<()> {
    interrupts::catch()?;
    interrupts::nothing_is_trained();
    let progress = Progress::new(arguments.quiet);
    let models = arguments.models.which.find(&progress)?;
    let kind = models[0].kind()?;
    arguments.check(kind)?;
    match kind {
        Kind::Language => text::evaluate(arguments, &models, &progress),
        Kind::Classifier | Kind::Segmenter => images::evaluate(arguments, &models, &progress),
    }
}

impl Arguments {
    /// That nothing is asked for that models of this kind don't have.
    fn check(&self, kind: Kind) -> Result<()> {
        let of_text = kind == Kind::Language;
        let given = [
            ("--precision", self.models.precision != Precision::F32, true),
            ("--strict", self.models.strict, true),
            ("--context", self.context.is_some(), true),
            ("--stride", self.stride.is_some(), true),
            ("--by-position", self.by_position, true),
            ("--per-token", self.per_token.is_some(), true),
            ("--per-class", self.per_class.is_some(), false),
            ("--confusion", self.confusion.is_some(), false),
        ];
        match given.into_iter().find(|(_, given, for_text)| *given && *for_text != of_text) {
            Some((flag, ..)) => {
                let [needed, own] = if of_text { ["images", "text"] } else { ["text", "images"] };
                Err(format!("{flag} is for models of {needed}, and these are of {own}").into())
            }
            None => Ok(()),
        }
    }
}
