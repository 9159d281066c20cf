//! Looks at this machine: what is there, whether every op is right on it, how fast it is, and what
//! fits. Paste what it prints into a report of a problem.

#[path = "../common/mod.rs"]
mod common;

use clap::Parser;
use common::rates::{bytes_per_second, flops_per_second};
use common::show;
use neutreno::VariantConfig;
use neutreno::data::corpus::Corpus;
use neutreno::data::tokenizer::TokenizerChoice;
use neutreno::data::{Source, Splits};
use neutreno::engine::ops::OPS;
use neutreno::engine::{Device, Error, device, proof};
use neutreno::report::bytes;
use neutreno::tasks::language::{LanguageModelling, LanguageSettings};
use neutreno::training::plan;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

/// Looks at this machine: what is there, whether every op is right on it, how fast it is, and what
/// fits. Takes no flags, and up to half a minute; its exit status is 1 where something is wrong.
#[derive(Debug, Parser)]
#[command(version, name = "doctor", max_term_width = 100)]
struct Arguments {}

fn main() -> ExitCode {
    Arguments::parse();
    common::program::quiet_libraries();
    show::result(concat!("neutreno ", env!("CARGO_PKG_VERSION")));
    show::result(format!("system: {} on {}", std::env::consts::OS, std::env::consts::ARCH));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let memory = available_memory();
    show::result(format!(
        "cores: {cores}; free memory: {}",
        memory.map_or("unknown".into(), bytes)
    ));
    show::result(format!("free disk here: {}", free_disk().map_or("unknown".into(), bytes)));
    show::result("");
    let mut well = examine(Device::cpu(), &Device::cpu().name());
    let adapters = device::list();
    if adapters.is_empty() {
        show::result("no GPU: there is no driver for Vulkan, Metal or DX12, or it finds none\n");
    }
    for (number, adapter) in adapters.iter().enumerate() {
        match Device::open(&format!("gpu:{number}"), 0) {
            Ok(device) => well &= examine(device, &format!("gpu:{number} {adapter}")),
            Err(error) => {
                show::result(format!("gpu:{number} {adapter}\n  cannot be opened: {error}\n"));
                well = false;
            }
        }
    }
    if let Some(several) = common::program::several_gpus() {
        show::result(format!("{several}\n"));
    }
    presets(memory);
    show::result(if well { "All is well." } else { "Something is wrong: see above." });
    if well { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Prints what a device can do and whether its ops agree with the CPU's; false if they do not.
fn examine(device: Device, name: &str) -> bool {
    show::result(name);
    if device.kind() == "gpu" {
        show::result(format!("  largest tensor: {}", bytes(4 * device.largest_tensor() as u64)));
    }
    let speed = speed(&device);
    match &speed {
        Ok((products, memory)) => show::result(format!(
            "  products of matrices: {products:.1} GFLOP/s; memory: {memory:.1} GB/s"
        )),
        Err(error) => show::result(format!("  speed: {error}")),
    }
    let wrong = ops(&device);
    show::result("");
    speed.is_ok() && wrong == 0
}

/// Runs the ops' test cases within a limited time. Returns how many went wrong.
fn ops(device: &Device) -> usize {
    const LIMIT: Duration = Duration::from_secs(6);
    const CASES: usize = 4;
    // Farther than this from the CPU is no difference in rounding.
    const TOLERANCE: f64 = 1e-3;
    let started = Instant::now();
    let (mut checked, mut wrong, mut worst) = (0, 0, (0.0, ""));
    for op in OPS {
        if started.elapsed() > LIMIT {
            break;
        }
        checked += 1;
        let cases = op.cases();
        for case in cases.iter().filter(|case| !case.input_shapes().is_empty()).take(CASES) {
            let difference = match device.kind() {
                // The CPU is what others are held against; it is held against plain formulas.
                "cpu" => proof::prove(case, device).map(|()| 0.0),
                _ => proof::difference(case, device),
            };
            match difference {
                Ok(difference) if difference <= TOLERANCE => {
                    if difference > worst.0 {
                        worst = (difference, op.name);
                    }
                }
                Ok(difference) => {
                    show::result(format!(
                        "  {} ({}): off by {difference:.1e}",
                        op.name, case.label
                    ));
                    wrong += 1;
                }
                Err(problem) => {
                    show::result(format!("  {} ({}): {problem}", op.name, case.label));
                    wrong += 1;
                }
            }
        }
    }
    let of = OPS.len();
    if device.kind() == "cpu" {
        show::result(format!(
            "  {checked} of {of} ops checked against their formulas: {wrong} wrong cases"
        ));
    } else {
        let (error, name) = worst;
        show::result(format!(
            "  {checked} of {of} ops checked against the CPU: {wrong} wrong cases"
        ));
        show::result(format!("  the worst difference otherwise: {error:.1e} ({name})"));
    }
    wrong
}

/// GFLOP/s of products of matrices, and GB/s of memory.
fn speed(device: &Device) -> Result<(f64, f64), Error> {
    Ok((1e-9 * flops_per_second(device)?, 1e-9 * bytes_per_second(device)?))
}

/// Prints what each preset of lm_wikitext needs, and which is the largest that fits.
fn presets(memory: Option<u64>) {
    show::result("memory that lm_wikitext's presets take in training on WikiText-2:");
    let mut largest = None;
    for preset in LanguageSettings::PRESETS {
        let Some(needed) = planned(preset.name) else { continue };
        let fits = memory.is_none_or(|memory| needed < memory);
        if fits && largest.is_none_or(|(size, _)| needed > size) {
            largest = Some((needed, preset.name));
        }
        let note = if fits { "" } else { "  (more than is free)" };
        show::result(format!("  {:<12}{:>10}{note}", preset.name, bytes(needed)));
    }
    if let (Some((_, name)), Some(_)) = (largest, memory) {
        show::result(format!("  the largest that fits: {name}"));
    }
    show::result("");
}

/// The memory of a preset, by its plan.
fn planned(preset: &str) -> Option<u64> {
    let vocabulary = match LanguageSettings::tokenizer(preset, true) {
        TokenizerChoice::Words => 33_278,
        TokenizerChoice::BytePairs(tokens) => tokens,
        TokenizerChoice::Bytes => 256,
    };
    let (sizes, settings) = LanguageSettings::preset(preset)?;
    let text = || "some words\n".repeat(100);
    let splits = Splits { train: text(), validation: text(), test: text() };
    let corpus = Corpus::new("a few words".into(), Source::Generated(0), false, splits, None);
    let variant = VariantConfig::new(neutreno::Variant::Neutreno);
    let config = sizes.model(vocabulary, &variant);
    let task = LanguageModelling::new(&corpus, TokenizerChoice::Bytes, sizes).ok()?;
    plan(&task, &config, &settings, &Device::cpu()).ok().map(|plan| plan.memory.peak)
}

/// Memory that programs can have, where the system tells.
fn available_memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    Some(1024 * line.trim().trim_end_matches(" kB").parse::<u64>().ok()?)
}

/// Room on the disk of the current folder, where the system tells.
fn free_disk() -> Option<u64> {
    let output = Command::new("df").args(["-Pk", "."]).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let free = text.lines().nth(1)?.split_whitespace().nth(3)?;
    Some(1024 * free.parse::<u64>().ok()?)
}
