//! Trains language models of the four variants on WikiText and compares them.
//!
//! `cargo run --release --example lm_wikitext -- --help` tells what it can do.

mod arguments;
mod progress;

use arguments::Arguments;
use clap::Parser;
use neutreno::data::corpus::{Corpus, Source};
use neutreno::data::lookup::{Lookup, lookup};
use neutreno::data::tokenizer::TokenizerChoice;
use neutreno::engine::{Device, device};
use neutreno::report::thousands;
use neutreno::training::comparison::Comparison;
use progress::Progress;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let result = if arguments.list_devices { list_devices(&arguments) } else { run(&arguments) };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn list_devices(arguments: &Arguments) -> Result<()> {
    println!("cpu    {}", Device::cpu_with_threads(arguments.threads.into()).name());
    for (index, description) in device::list().iter().enumerate() {
        let note = if description.is_software() { "  [used only if asked for]" } else { "" };
        println!("gpu:{index}  {description}{note}");
    }
    Ok(())
}

fn run(arguments: &Arguments) -> Result<()> {
    static INTERRUPTED: AtomicBool = AtomicBool::new(false);
    ctrlc::set_handler(|| {
        // The second time, stop at once.
        if INTERRUPTED.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
        eprintln!("\nstopping after this step; once more to stop at once");
    })?;
    // Whatever is wrong with the flags comes out before anything is loaded.
    let settings = arguments.settings("tiny")?;
    let variants = arguments.variants(settings.layers)?;
    let mut progress = Progress::new(arguments.quiet);
    let device = Device::open(&arguments.device, arguments.threads.into())?;
    let fallback = arguments.device.eq_ignore_ascii_case("auto") && device.kind() == "cpu";
    let why = if fallback { "; there is no GPU that is real hardware" } else { "" };
    progress.line(&format!("device: {device}{why}"));
    let corpus = find_text(arguments, &progress)?;
    let generated = matches!(corpus.source, Source::Generated(_));
    let settings = if generated { arguments.settings("generated")? } else { settings };
    let (parent, name) = place(arguments)?;
    let seeds: Vec<u64> = (0..arguments.seeds).map(|n| arguments.seed.wrapping_add(n)).collect();
    let comparison = Comparison {
        tokenizer: arguments.tokenizer.unwrap_or_else(|| usual_tokenizer(&corpus)),
        corpus: &corpus,
        variants: &variants,
        seeds: &seeds,
        settings,
        minutes: arguments.minutes,
        device: &device,
        parent,
        name,
        started: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
        interrupted: &INTERRUPTED,
    };
    let (summary, folder) = comparison.run(&mut progress)?;
    let table = summary.table();
    if arguments.json {
        progress.line(&format!("\n{table}"));
    } else {
        println!("\n{table}");
    }
    progress.line(&format!("The report: {}", folder.report_html().display()));
    if arguments.json {
        println!("{}", serde_json::to_string(&summary)?);
    }
    Ok(())
}

fn find_text(arguments: &Arguments, progress: &Progress) -> Result<Corpus> {
    let (corpus, notices) = lookup(&Lookup {
        data: arguments.data.clone(),
        offline: arguments.offline,
        require_real: arguments.require_real_text,
        cache: None,
    })?;
    for notice in notices {
        progress.line(&notice);
    }
    let words = corpus.splits.train.split_whitespace().count() as u64;
    progress.line(&format!(
        "text: {} ({}), {} words to learn from",
        corpus.name,
        corpus.source,
        thousands(words)
    ));
    Ok(corpus)
}

/// Words where the text comes split into words, else bytes.
fn usual_tokenizer(corpus: &Corpus) -> TokenizerChoice {
    let split = corpus.official_words || matches!(corpus.source, Source::Generated(_));
    if split { TokenizerChoice::Words } else { TokenizerChoice::Bytes }
}

/// Where the run's folder goes: the folder it is made in, and its name if that was given.
fn place(arguments: &Arguments) -> Result<(PathBuf, Option<String>)> {
    let Some(out) = &arguments.out else { return Ok(("runs".into(), None)) };
    let name = out.file_name().ok_or("--out needs the name of a folder")?;
    let parent = out.parent().map(PathBuf::from).unwrap_or_default();
    let parent = if parent.as_os_str().is_empty() { ".".into() } else { parent };
    Ok((parent, Some(name.to_string_lossy().into_owned())))
}
