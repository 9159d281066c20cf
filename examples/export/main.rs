//! Makes a trained model ready for other programs: a folder that Hugging Face's `transformers` loads.
//!
//! `cargo run --release --example export -- --help` tells what it can do.

#[path = "../common/mod.rs"]
mod common;

use clap::{Parser, ValueEnum};
use common::arguments::place;
use common::program::{self, Result};
use common::show;
use common::which::WhichWeights;
use neutreno::engine::Device;
use neutreno::engine::half::Half;
use neutreno::export::Export;
use std::path::PathBuf;
use std::process::ExitCode;

/// Exports a trained model as a folder that Hugging Face's transformers load, version 4 and 5: weights,
/// configuration, tokenizer and a model card.
///
/// A plain Transformer is a Llama there and needs nothing else. The other variants come with a Python
/// file that computes them, which is run for whoever says trust_remote_code=True; without that they
/// are not loaded.
#[derive(Debug, Parser)]
#[command(version, name = "export", max_term_width = 100)]
struct Arguments {
    /// A run (runs/NAME), one model's folder in it (runs/NAME/VARIANT-seedS), or a folder of Hugging
    /// Face's
    #[arg(long, value_name = "DIR", value_parser = place())]
    model: PathBuf,
    /// The folder to make; one that is not empty is left as it is
    #[arg(long, value_name = "DIR", value_parser = place())]
    out: PathBuf,
    /// Which variant of the run, as its folder is called: transformer, resformer-learnable, ...
    #[arg(long)]
    variant: Option<String>,
    /// Which seed of the run
    #[arg(long)]
    seed: Option<u64>,
    #[command(flatten)]
    weights: WhichWeights,
    /// What the weights are written in
    #[arg(long, value_enum, default_value = "f32")]
    dtype: Precision,
    /// Show nothing but errors
    #[arg(long, short)]
    quiet: bool,
}

/// The precision of weights as typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Precision {
    /// Every bit
    F32,
    /// Half the bytes, each number rounded to 8 bits of precision
    Bf16,
    /// Half the bytes, 11 bits of precision, and nothing above 65504
    F16,
}

fn main() -> ExitCode {
    program::exit(run(&Arguments::parse()))
}

fn run(arguments: &Arguments) -> Result<()> {
    let export = Export {
        from: arguments.model.clone(),
        to: arguments.out.clone(),
        variant: arguments.variant.clone(),
        seed: arguments.seed,
        weights: arguments.weights.which,
        precision: match arguments.dtype {
            Precision::F32 => None,
            Precision::Bf16 => Some(Half::Bf16),
            Precision::F16 => Some(Half::F16),
        },
    };
    let exported = export.write(&Device::cpu())?;
    if !arguments.quiet {
        exported.notices.iter().for_each(show::note);
        show::result(format!("{}: {}", arguments.out.display(), exported.model));
        show::result(format!("in Python: {}", exported.load));
    }
    Ok(())
}
