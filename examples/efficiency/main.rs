//! How many fewer parameters, and how much less data, a variant needs for the same loss.
//!
//! `cargo run --release --example efficiency -- --help` tells what it can do.

mod arguments;
#[path = "../common/mod.rs"]
mod common;

use arguments::{Arguments, Cell};
use clap::Parser;
use common::program::{Result, catch_interrupts, exit, open_device};
use common::progress::Progress;
use neutreno::VariantConfig;
use neutreno::data::lookup::Lookup;
use neutreno::engine::Device;
use neutreno::report::{Efficiency, Point};
use neutreno::run::{Summary, VariantSummary, write_atomically, write_json};
use neutreno::tasks::language::LanguageModelling;
use neutreno::training::{Comparison, Safety};
use serde_json::json;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

fn main() -> ExitCode {
    exit(run(&Arguments::parse()))
}

fn run(arguments: &Arguments) -> Result<()> {
    let interrupted = catch_interrupts()?;
    let cells = arguments.cells();
    // Whatever is wrong with the flags comes out before anything is trained.
    let variants = arguments.variants()?;
    cells.iter().try_for_each(|cell| arguments.settings(*cell).map(drop))?;
    let mut progress = Progress::new(arguments.quiet);
    let device = open_device(&arguments.machine, &progress)?;
    let corpus = arguments.text.find(Lookup::default(), &progress)?;
    let (sizes, _) = arguments.settings(cells[0])?;
    let mut task = LanguageModelling::new(&corpus, arguments.tokenizer, sizes)?;
    let mut grid = Grid { arguments, variants, cells: cells.len(), results: Vec::new() };
    for cell in cells {
        let (sizes, settings) = arguments.settings(cell)?;
        task.settings = sizes;
        progress.line(&format!("\nwidth {}, {} training tokens", cell.width, cell.tokens));
        let summary = grid.train(&task, settings, cell, &device, &mut progress, interrupted)?;
        grid.results.push((cell, summary));
        grid.write(&corpus.name)?;
        if interrupted.load(Ordering::Relaxed) {
            progress.line("the same command goes on from here");
            break;
        }
    }
    for sentence in grid.efficiency(&corpus.name).sentences() {
        println!("{sentence}");
    }
    println!("{}", arguments.out.join("efficiency.html").display());
    Ok(())
}

/// All cells, and what is known of them so far.
struct Grid<'a> {
    arguments: &'a Arguments,
    variants: Vec<VariantConfig>,
    cells: usize,
    results: Vec<(Cell, Summary)>,
}

impl Grid<'_> {
    /// Trains what is missing in a cell.
    fn train(
        &self,
        task: &LanguageModelling,
        settings: neutreno::training::Settings,
        cell: Cell,
        device: &Device,
        progress: &mut Progress,
        interrupted: &AtomicBool,
    ) -> Result<Summary> {
        let parent = self.arguments.out.clone();
        let name = format!("width-{}-tokens-{}", cell.width, cell.tokens);
        let earlier = parent.join(&name);
        let comparison = Comparison {
            task,
            variants: &self.variants,
            seeds: &self.arguments.seeds.all(),
            settings,
            minutes: None,
            device: device.clone(),
            open: &|| Ok(device.clone()),
            parent,
            name: Some(name.into()),
            resume: earlier.join("run.json").is_file().then_some(earlier),
            longer: None,
            baseline: None,
            safety: Safety::default(),
            show_every: Duration::from_secs(60),
            arguments: std::env::args_os().skip(1).collect(),
            started: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
            interrupted,
        };
        Ok(comparison.run(progress)?.0)
    }

    /// The losses so far.
    fn efficiency(&self, data: &str) -> Efficiency {
        let Arguments { layers, tokens, .. } = *self.arguments;
        let seeds = self.arguments.seeds.all().len();
        let width = self.arguments.middle_width();
        let mut efficiency = Efficiency {
            about: format!(
                "Language models of {layers} blocks on {data}, {seeds} seeds: of several widths on \
                 {tokens} tokens, and of width {width} on several amounts of tokens."
            ),
            ..Efficiency::default()
        };
        let mut trained = 0;
        for (cell, summary) in &self.results {
            for model in summary.variants.iter().filter(|model| model.finished) {
                trained += 1;
                let point = |x: u64| Point {
                    variant: model.variant.clone(),
                    seed: model.seed,
                    x: x as f64,
                    loss: model.number("validation_loss"),
                };
                if cell.tokens == tokens {
                    let parameters = without_embedding(model, summary, cell.width);
                    efficiency.parameters.push(point(parameters));
                }
                if cell.width == width {
                    efficiency.tokens.push(point(cell.tokens as u64));
                }
            }
        }
        let all = self.cells * self.variants.len() * seeds;
        efficiency.missing = all - trained;
        efficiency
    }

    fn write(&self, data: &str) -> Result<()> {
        let efficiency = self.efficiency(data);
        let points = |points: &[Point]| {
            let point = |point: &Point| {
                json!({
                    "variant": point.variant,
                    "seed": point.seed,
                    "x": point.x,
                    "validation_loss": point.loss,
                })
            };
            points.iter().map(point).collect::<Vec<_>>()
        };
        let results = json!({
            "sentences": efficiency.sentences(),
            "over_parameters": points(&efficiency.parameters),
            "over_tokens": points(&efficiency.tokens),
        });
        let out = &self.arguments.out;
        write_json(&out.join("efficiency.json"), &results)?;
        write_atomically(&out.join("efficiency.html"), efficiency.page().as_bytes())?;
        Ok(())
    }
}

/// Small models are mostly embedding, which no variant changes.
fn without_embedding(model: &VariantSummary, summary: &Summary, width: usize) -> u64 {
    model.parameters - summary.facts.number("vocabulary") as u64 * width as u64
}
