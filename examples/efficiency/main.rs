//! How many fewer parameters, and how much less data, a variant needs for the same loss.
//!
//! `cargo run --release --example efficiency -- --help` tells what it can do.

mod arguments;
#[path = "../common/mod.rs"]
mod common;

use arguments::{Arguments, Cell};
use common::program::{Result, open_device};
use common::progress::Progress;
use common::text::{describe_tokens, new_tokenizer};
use common::{interrupts, show};
use neutreno::VariantConfig;
use neutreno::data::lookup::Lookup;
use neutreno::data::tokenizer::TokenizerError;
use neutreno::engine::Device;
use neutreno::ranks::Ranks;
use neutreno::report::{Efficiency, Point};
use neutreno::run::{Summary, VariantSummary, write_atomically, write_json};
use neutreno::tasks::language::LanguageModelling;
use neutreno::training::{Comparison, Error, Safety, follow};
use serde_json::json;
use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

fn main() -> ExitCode {
    common::ranks::main(|arguments: &Arguments| (&arguments.machine, &arguments.ranks), run)
}

fn run(arguments: &Arguments, ranks: &dyn Ranks) -> Result<()> {
    let interrupted = interrupts::catch()?;
    let cells = arguments.cells();
    // Whatever is wrong with the flags comes out before anything is trained.
    let variants = arguments.variants()?;
    cells.iter().try_for_each(|cell| arguments.settings(*cell).map(drop))?;
    let mut progress = Progress::new(arguments.quiet || ranks.rank() > 0);
    let device = open_device(&arguments.machine, &progress)?;
    if ranks.rank() == 0 {
        check_out(&arguments.out)?;
    }
    let find = || arguments.text.find(Lookup::default(), None, &progress);
    let corpus = progress.during("reading the text", find)?;
    let (sizes, _) = arguments.settings(cells[0])?;
    let mut task = progress.during("cutting the text into tokens", || {
        let tokenizer = new_tokenizer(arguments.tokenizer, &corpus, &progress)?;
        Ok::<_, TokenizerError>(LanguageModelling::with_tokenizer(&corpus, tokenizer, sizes))
    })?;
    describe_tokens(&task, &progress);
    if ranks.rank() > 0 {
        return follow_cells(arguments, &mut task, &device, ranks);
    }
    // The others wait until the first one has its data.
    ranks.wait_for_all()?;
    let mut grid =
        Grid { arguments, variants, device, ranks, cells: cells.len(), results: Vec::new() };
    for cell in cells {
        grid.train(cell, &mut task, &mut progress)?;
        grid.write(&corpus.name)?;
        if interrupted.load(Ordering::Relaxed) {
            progress.line("the same command goes on from here");
            break;
        }
    }
    ranks.broadcast(vec![END])?;
    for sentence in grid.efficiency(&corpus.name).sentences() {
        show::result(sentence);
    }
    show::result(arguments.out.join("efficiency.html").display());
    if interrupted.load(Ordering::Relaxed) { Err(Error::Interrupted.into()) } else { Ok(()) }
}

/// What the first rank says before each cell, and after the last.
const GO_ON: u8 = 1;
const END: u8 = 0;

/// Trains all cells together with the first rank, until that one has come to its end.
fn follow_cells(
    arguments: &Arguments,
    task: &mut LanguageModelling,
    device: &Device,
    ranks: &dyn Ranks,
) -> Result<()> {
    for cell in arguments.cells() {
        if ranks.broadcast(Vec::new())? == [END] {
            return Ok(());
        }
        let (sizes, settings) = arguments.settings(cell)?;
        task.settings = sizes;
        follow(task, &settings, &Safety::default(), device, ranks)?;
    }
    ranks.broadcast(Vec::new())?;
    Ok(())
}

/// Checks that a folder is new, empty, or one of this program's.
fn check_out(out: &Path) -> Result<()> {
    let names = fs::read_dir(out).into_iter().flatten().flatten().map(|entry| entry.file_name());
    let names: Vec<String> = names.map(|name| name.to_string_lossy().into_owned()).collect();
    let is_ours = |name: &String| name == "efficiency.json" || name.starts_with("width-");
    if names.is_empty() || names.iter().any(is_ours) {
        return Ok(());
    }
    Err(format!(
        "{} holds something else than an earlier `efficiency`, and was left as it is. Name another \
         place with --out",
        out.display()
    )
    .into())
}

/// All cells, and what is known of them so far.
struct Grid<'a> {
    arguments: &'a Arguments,
    variants: Vec<VariantConfig>,
    device: Device,
    ranks: &'a dyn Ranks,
    cells: usize,
    results: Vec<(Cell, Summary)>,
}

impl Grid<'_> {
    /// Trains what is missing in a cell.
    fn train(
        &mut self,
        cell: Cell,
        task: &mut LanguageModelling,
        progress: &mut Progress,
    ) -> Result<()> {
        self.ranks.broadcast(vec![GO_ON])?;
        let (sizes, settings) = self.arguments.settings(cell)?;
        task.settings = sizes;
        progress.line(&format!("\nwidth {}, {} training tokens", cell.width, cell.tokens));
        let parent = self.arguments.out.clone();
        let name = format!("width-{}-tokens-{}", cell.width, cell.tokens);
        let earlier = parent.join(&name);
        let comparison = Comparison {
            task,
            variants: &self.variants,
            seeds: &self.arguments.seeds.all(),
            settings,
            minutes: None,
            device: self.device.clone(),
            ranks: self.ranks,
            open: &|| Ok(self.device.clone()),
            parent,
            name: Some(name.into()),
            resume: earlier.join("run.json").is_file().then_some(earlier),
            longer: None,
            baseline: None,
            safety: Safety::default(),
            show_every: Duration::from_secs(60),
            arguments: std::env::args_os().skip(1).collect(),
            started: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
            interrupted: interrupts::interrupted(),
            checkpoint: interrupts::checkpoint_wanted(),
            tensorboard: false,
        };
        self.results.push((cell, comparison.run(progress)?.0));
        Ok(())
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
            // An earlier call may have asked for more.
            let is_asked = |model: &&VariantSummary| {
                self.variants.iter().any(|variant| variant.name() == model.variant)
                    && self.arguments.seeds.all().contains(&model.seed)
            };
            for model in summary.variants.iter().filter(|m| m.finished).filter(is_asked) {
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
