//! Lets trained models of images say what is on pictures: classes, or masks and overlays.
//!
//! `cargo run --release --example predict -- --help` tells what it can do.

#[path = "../common/mod.rs"]
mod common;
mod names;
mod pictures;
mod results;

use clap::{ArgAction, Parser};
use common::arguments::{Machine, place, positive};
use common::images::colour;
use common::program::{Result, open_device};
use common::progress::Progress;
use common::which::WhichWeights;
use common::{interrupts, show};
use names::names;
use neutreno::engine::Device;
use neutreno::open::{Found, ImageModel, Source, Wanted};
use neutreno::report::thousands;
use neutreno::run::write_folder;
use pictures::{Picture, Pictures, find};
use results::Results;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Lets trained models of images say what is on pictures.
///
/// A classifier gives a probability for each class, in predictions.csv. A segmenter gives the share of
/// each class there, and for each picture a mask (PNG, the palette's indices are the classes, 255 is what
/// it did not see) and the picture with the mask over it, in the picture's own size. Pictures of any size
/// are scaled until they cover what the model sees, and cut on both sides where they are more. Of one
/// picture, seen.png is what the model was given. Of a run with several models each has a folder.
#[derive(Debug, Parser)]
#[command(version, name = "predict", max_term_width = 100, after_help = AFTER_HELP)]
struct Arguments {
    /// A run (runs/NAME), the folder of one model in it, or a folder of Hugging Face's with a ViT
    #[arg(value_name = "MODEL", required_unless_present = "list_devices", value_parser = place())]
    model: Option<PathBuf>,
    /// Pictures (PNG, JPEG, WebP, BMP), or folders with some at any depth
    #[arg(value_name = "PICTURES", required_unless_present = "list_devices", value_parser = place())]
    pictures: Vec<PathBuf>,
    /// The folder for what comes out; it must be new or empty
    #[arg(long, value_name = "DIR", required_unless_present = "list_devices", value_parser = place())]
    out: Option<PathBuf>,
    /// Only these models of a run: variants, or names of their folders [default: all]
    #[arg(long, value_name = "NAME,...", action = ArgAction::Set, value_delimiter = ',')]
    variant: Vec<String>,
    #[command(flatten)]
    weights: WhichWeights,
    /// Pictures at once
    #[arg(long, value_name = "PICTURES", default_value_t = 16, value_parser = positive)]
    batch: usize,
    /// What shows where pictures are transparent: white, black or a colour as #rrggbb
    /// [default: white]
    #[arg(long, value_parser = colour, value_name = "COLOUR")]
    ground: Option<[u8; 3]>,
    /// Leave broken pictures out and name them, instead of stopping at the first
    #[arg(long)]
    skip_broken: bool,
    /// Print a line of JSON for each picture and model instead of the likeliest classes
    #[arg(long)]
    json: bool,
    /// Show nothing while it works
    #[arg(long, short)]
    quiet: bool,
    #[command(flatten)]
    machine: Machine,
}

const AFTER_HELP: &str = "\
Examples:
  predict runs/NAME holiday/ --out said                  all models of a run on a folder
  predict runs/NAME street.jpg --variant neutreno --use best --out said
  predict vit-base-patch16-224 cat.jpg --out said";

fn main() -> ExitCode {
    common::program::main(|arguments: &Arguments| &arguments.machine, run)
}

fn run(arguments: &Arguments) -> Result<()> {
    interrupts::catch()?;
    interrupts::nothing_is_trained();
    let progress = Progress::new(arguments.quiet);
    let (Some(model), Some(out)) = (&arguments.model, &arguments.out) else {
        return Err("a model and --out DIR are needed".into());
    };
    let (variants, weights) = (arguments.variant.clone(), arguments.weights.which);
    let found = Found::at(model, &Wanted { variants, weights, seed: None })?;
    found.notices.iter().for_each(|line| progress.line(line));
    let files = find(&arguments.pictures, &progress)?;
    let device = open_device(&arguments.machine, &progress)?;
    let several = found.sources.len() > 1;
    let mut lines = Vec::new();
    // It is there whole, or not at all.
    write_folder(out, |folder| {
        for source in &found.sources {
            let folder = match several {
                true => folder.join(source.folder.file_name().unwrap_or_default()),
                false => folder.to_owned(),
            };
            std::fs::create_dir_all(&folder)
                .map_err(|error| format!("cannot create {}: {error}", folder.display()))
                .map_err(Failed)?;
            let told = of_model(arguments, source, &files, &folder, &device, &progress);
            lines.extend(told.map_err(|error| Failed(error.to_string()))?);
        }
        Ok::<_, Failed>(())
    })
    .map_err(|Failed(problem)| problem)?;
    lines.iter().for_each(|line| match arguments.json {
        true => show::json(line),
        false => show::result(line["said"].as_str().unwrap_or_default()),
    });
    progress.line(&format!(
        "{} pictures: {}",
        thousands(files.len() as u64),
        out.join(if several { "" } else { "predictions.csv" }).display()
    ));
    Ok(())
}

/// What went wrong, in words.
struct Failed(String);

impl From<neutreno::run::Error> for Failed {
    fn from(error: neutreno::run::Error) -> Failed {
        Failed(error.to_string())
    }
}

/// What one model says of all pictures, a result for each.
fn of_model(
    arguments: &Arguments,
    source: &Source,
    files: &[PathBuf],
    folder: &Path,
    device: &Device,
    progress: &Progress,
) -> Result<Vec<serde_json::Value>> {
    let opened = ImageModel::open(source, device)?;
    opened.notices.iter().for_each(|line| progress.line(line));
    let preprocessing = opened.known_preprocessing(source)?;
    let model = &opened.model;
    let pictures = Pictures::new(files, model.config(), preprocessing, arguments.ground);
    let names = names(files, &arguments.pictures);
    let mut results = Results::new(source, model, folder)?;
    let numbered: Vec<usize> = (0..files.len()).collect();
    for numbers in numbered.chunks(arguments.batch) {
        let read = pictures.read(numbers, arguments.skip_broken, progress)?;
        if read.is_empty() {
            continue;
        }
        if let ([Picture { seen, file, .. }], [_]) = (&read[..], files) {
            progress.line(&format!("{}: {}", file.display(), seen.describe()));
            pictures.write_seen(seen, &folder.join("seen.png"))?;
        }
        let batch = pictures.batch(&read);
        // As text, for errors can't leave the device's threads.
        let logits = device.install(|| {
            let images = neutreno::engine::Tensor::new(&batch.pixels, batch.shape, device);
            model.logits(&images).to_vec().map_err(|error| error.to_string())
        })?;
        results.add(&pictures, &read, &names, &logits)?;
    }
    results.finish()
}
