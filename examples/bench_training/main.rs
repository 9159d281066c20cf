//! The speed and memory of training: a fixed small job, timed step by step.
//!
//! `cargo run --release --example bench_training -- --size S`

#[path = "../common/mod.rs"]
mod common;
mod measure;
mod peak;
mod profile;
mod work;

use clap::{Parser, ValueEnum};
use common::arguments::{few, open, positive};
use common::show;
use common::sizes::{check_heads, check_numbers, check_room, check_windows};
use measure::Measurement;
use neutreno::engine::{Device, Error};
use neutreno::report::{bytes, thousands};
use neutreno::{Variant, VariantConfig};
use work::Sizes;

/// Times the training of a small model on one fixed batch, with weights and tokens by a rule: the
/// losses are the same wherever the job is done right.
#[derive(Debug, Parser)]
#[command(version, name = "bench_training", max_term_width = 100)]
struct Arguments {
    /// A set of sizes; flags below change single ones
    #[arg(long, value_enum, ignore_case = true, default_value = "S")]
    size: SizeName,
    /// Blocks
    #[arg(long, value_parser = few)]
    layers: Option<usize>,
    /// The width of the residual stream
    #[arg(long, value_parser = positive)]
    width: Option<usize>,
    /// Attention heads
    #[arg(long, value_parser = positive)]
    heads: Option<usize>,
    /// Tokens in a sequence
    #[arg(long, value_parser = positive)]
    context: Option<usize>,
    /// Sequences in a step
    #[arg(long, value_parser = positive)]
    batch: Option<usize>,
    /// Different tokens
    #[arg(long, value_parser = positive)]
    vocab: Option<usize>,
    /// The embedding's weights serve as output layer too
    #[arg(long)]
    tied: bool,
    /// Run blocks again on the way back instead of keeping what they computed
    #[arg(long)]
    recompute: bool,
    /// Clip the gradients by their norm, which is also the check that all numbers are finite
    #[arg(long)]
    clip: bool,
    /// transformer, neutreno, resformer, svformer; or all: their steps take turns, and the times
    /// are compared pair by pair
    #[arg(long, default_value = "transformer", value_parser = variants)]
    variant: Variants,
    /// auto, cpu, gpu, gpu:N, or three letters or more of a GPU's name (software ones only so)
    #[arg(long, default_value = "auto")]
    device: String,
    /// Threads on the CPU; 0 for one a core
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u16).range(0..=1024))]
    threads: u16,
    /// Let a software GPU that --device names run exactly what a card runs
    #[arg(long)]
    as_hardware: bool,
    /// Steps to make; the first three are not timed
    #[arg(long, default_value_t = 31, value_parser = clap::value_parser!(u64).range(5..))]
    steps: u64,
    /// Also time each kind of kernel, over a few steps of their own
    #[arg(long)]
    profile: bool,
    /// One line of JSON for each variant
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum SizeName {
    /// 4 layers, width 128, context 128, batch 16, 256 tokens
    #[value(name = "S")]
    S,
    /// 6 layers, width 256, context 256, batch 8, 8,192 tokens
    #[value(name = "M")]
    M,
}

#[derive(Clone, Debug)]
struct Variants(Vec<Variant>);

fn variants(text: &str) -> Result<Variants, String> {
    if text == "all" {
        return Ok(Variants(Variant::ALL.into()));
    }
    match Variant::ALL.into_iter().find(|variant| variant.name() == text) {
        Some(variant) => Ok(Variants(vec![variant])),
        None => Err("one of transformer, neutreno, resformer, svformer, all".into()),
    }
}

impl Arguments {
    /// The sizes, and their name if they have one.
    fn sizes(&self) -> (Sizes, String) {
        let named = [("S", Sizes::S), ("M", Sizes::M)];
        let mut sizes = named[self.size as usize].1;
        let changes = [
            (&mut sizes.layers, self.layers),
            (&mut sizes.width, self.width),
            (&mut sizes.heads, self.heads),
            (&mut sizes.context, self.context),
            (&mut sizes.batch, self.batch),
            (&mut sizes.vocabulary, self.vocab),
        ];
        for (size, change) in changes {
            *size = change.unwrap_or(*size);
        }
        sizes.tied = self.tied;
        sizes.recompute = self.recompute;
        sizes.clip = self.clip;
        let name = named.iter().find(|(_, known)| *known == sizes);
        (sizes, name.map_or("custom".into(), |(name, _)| (*name).to_string()))
    }
}

fn main() -> std::process::ExitCode {
    common::program::quiet_libraries();
    match run(&Arguments::parse()) {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(problem) => {
            show::note(format!("error: {problem}"));
            std::process::ExitCode::FAILURE
        }
    }
}

/// Checks that some machine could hold a job of these sizes.
fn check(sizes: &Sizes) -> Result<(), String> {
    let Sizes { layers, width, heads, context, batch, vocabulary, .. } = *sizes;
    check_heads(width, heads)?;
    let (widths, inside) = (("--width", width), ("a feed-forward part of", 4 * width));
    check_numbers("parameters", &[("--layers", layers), widths, inside])?;
    check_numbers("parameters", &[("--vocab", vocabulary), widths])?;
    check_room(
        &format!("--vocab {vocabulary} of --width {width}"),
        size_of::<f32>() * vocabulary * width,
    )?;
    let [batches, contexts] = [("--batch", batch), ("--context", context)];
    check_numbers("numbers in one tensor", &[batches, contexts, inside])?;
    check_numbers("numbers in one tensor", &[batches, contexts, ("--vocab", vocabulary)])?;
    check_windows(batch, context)
}

/// Checks that the device has the memory, where that is known: a system that gives more than it has
/// ends the program once it is used.
fn check_machine(needed: u64, device: &Device) -> Result<(), String> {
    match device.total_memory() {
        Some(memory) if needed > memory => Err(format!(
            "a step would take {} of memory, and this machine has {}. Less is needed with a smaller \
             --batch, --context or --width, with --recompute, or with fewer variants",
            bytes(needed),
            bytes(memory)
        )),
        _ => Ok(()),
    }
}

fn run(arguments: &Arguments) -> Result<(), String> {
    let started = std::time::Instant::now();
    let (sizes, size) = arguments.sizes();
    check(&sizes)?;
    let configs = arguments.variant.0.iter().map(|variant| VariantConfig::new(*variant));
    let configs: Vec<VariantConfig> = configs.collect();
    for config in &configs {
        sizes.config(config.clone()).check()?;
    }
    let failed = |error: Error| error.to_string();
    let device = open(&arguments.device, arguments.as_hardware, arguments.threads.into());
    let device = device.map_err(failed)?;
    let planned = configs.iter().map(|config| measure::planned_bytes(&sizes, config, &device));
    let planned: Vec<u64> = planned.collect::<Result<_, _>>().map_err(failed)?;
    check_machine(planned.iter().sum(), &device)?;
    let steps = arguments.steps as usize;
    let measurements =
        device.install(|| measure::run(&sizes, &configs, &planned, &device, steps, started));
    let measurements = measurements.map_err(failed)?;
    let peak = device.install(|| peak::products(&sizes, &device)).map_err(failed)?;
    for measurement in &measurements {
        let percent = 100.0 * measurement.flops_per_second(&sizes) / peak.flops_per_second();
        if arguments.json {
            show::json(&json(measurement, &sizes, &size, &device, percent));
        } else {
            print(measurement, &sizes, &size, &device, percent);
        }
    }
    if measurements.len() > 1 && !arguments.json {
        compare(&measurements);
    }
    if arguments.profile {
        for config in &configs {
            let profile = device.install(|| profile::run(&sizes, config, &device));
            show::note(profile.map_err(failed)?.to_string().trim_end());
        }
    }
    Ok(())
}

fn json(
    measurement: &Measurement,
    sizes: &Sizes,
    size: &str,
    device: &Device,
    percent_of_product_peak: f64,
) -> serde_json::Value {
    let rounded = |number: f64, digits: i32| {
        let unit = 10_f64.powi(digits);
        (number * unit).round() / unit
    };
    let tokens = (sizes.batch * sizes.context) as f64;
    let (median, least) = (measurement.median(), measurement.least());
    let loss = |step: usize| measurement.losses.get(step).map(|loss| rounded((*loss).into(), 5));
    serde_json::json!({
        "peer": "neutreno",
        "device": device.kind(),
        "adapter": device.name(),
        "variant": measurement.variant.name(),
        "size": size,
        "recompute": sizes.recompute,
        "clip": sizes.clip,
        "tok_s": rounded(tokens / median, 1),
        "tok_s_best": rounded(tokens / least, 1),
        "step_ms_median": rounded(1e3 * median, 3),
        "step_ms_min": rounded(1e3 * least, 3),
        "steps_timed": measurement.timed().len(),
        "first_step_ms": rounded(1e3 * measurement.seconds[0], 1),
        "start_to_first_step_ms": rounded(1e3 * measurement.to_first_step, 1),
        "peak_rss_mib": measurement.peak_resident_bytes.map(|b| rounded(b as f64 / 1048576.0, 1)),
        "peak_tensor_bytes": measurement.peak_tensor_bytes,
        "planned_tensor_bytes": measurement.planned_tensor_bytes,
        "allocations_after_warmup": measurement.allocations_after_warmup,
        "dispatches_per_step": measurement.launches_per_step,
        "host_us_per_dispatch": measurement.host_us_per_dispatch().map(|us| rounded(us, 2)),
        "loss0": loss(0),
        "loss20": loss(20),
        "last_loss": loss(measurement.losses.len() - 1),
        "last_step": measurement.losses.len() - 1,
        "gflops": rounded(measurement.flops_per_second(sizes) / 1e9, 2),
        "percent_of_product_peak": rounded(percent_of_product_peak, 1),
    })
}

fn print(m: &Measurement, sizes: &Sizes, size: &str, device: &Device, percent: f64) {
    let tokens = (sizes.batch * sizes.context) as f64;
    let line = |name: &str, value: String| show::result(format!("  {name:32} {value}"));
    let ms = |seconds: f64| format!("{:.2} ms", 1e3 * seconds);
    show::result(format!("{} {size} on {device}", m.variant));
    line("tokens a second (median step)", thousands((tokens / m.median()).round() as u64));
    line("tokens a second (fastest step)", thousands((tokens / m.least()).round() as u64));
    line("median step", ms(m.median()));
    line("first step", ms(m.seconds[0]));
    line("program start to first loss", ms(m.to_first_step));
    let rate = m.flops_per_second(sizes) / 1e9;
    line("model's GFLOP/s", format!("{rate:.1}, {percent:.0} % of the products' rate"));
    line("peak memory of tensors", bytes(m.peak_tensor_bytes));
    line("  the same as planned", bytes(m.planned_tensor_bytes));
    if let Some(resident) = m.peak_resident_bytes {
        line("peak memory of the process", bytes(resident));
    }
    line("allocations after 3 steps", m.allocations_after_warmup.to_string());
    line("kernels or dispatches a step", m.launches_per_step.to_string());
    if let Some(us) = m.host_us_per_dispatch() {
        line("host time a dispatch", format!("{us:.2} µs"));
    }
    let loss = |step: usize| m.losses.get(step).map_or("–".into(), |loss| format!("{loss:.5}"));
    line("loss at first and after 20 steps", format!("{} {}", loss(0), loss(20)));
}

/// The step times of the variants over those of the first, pair by pair.
fn compare(measurements: &[Measurement]) {
    show::result(format!(
        "step time over that of {} (median of paired steps)",
        measurements[0].variant
    ));
    for other in &measurements[1..] {
        show::result(format!(
            "  {:32} {:.3}",
            other.variant.to_string(),
            other.median_ratio(&measurements[0])
        ));
    }
}
