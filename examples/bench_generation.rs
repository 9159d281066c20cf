//! Times writing with a model in a folder of Hugging Face's or of ours: loading, the prompt, and token after
//! token, beside how fast this machine reads memory, which is what bounds the latter.

#[path = "common/mod.rs"]
mod common;

use clap::Parser;
use common::arguments::open;
use common::rates::{bytes_per_second, median};
use neutreno::engine::device::KernelTime;
use neutreno::engine::gpu::Class;
use neutreno::engine::half::Precision;
use neutreno::engine::random::Key;
use neutreno::engine::{Device, Parameters, Tensor};
use neutreno::language::{KeyValueCache, LoadSettings, Sampling};
use neutreno::{LanguageModel, LanguageModelConfig};
use rayon::prelude::*;
use serde_json::json;
use std::collections::BTreeMap;
use std::error::Error;
use std::path::PathBuf;
use std::time::Instant;

/// Times writing with a model: loading, the prompt, and token after token.
#[derive(Debug, Parser)]
#[command(version, name = "bench_generation", max_term_width = 100)]
struct Arguments {
    /// A folder with config.json and weights
    #[arg(long)]
    model: PathBuf,
    /// What weights and cache are kept in: f32, bf16 or f16
    #[arg(long, default_value_t = Precision::F32)]
    precision: Precision,
    /// cpu, gpu, gpu:N or a part of an adapter's name
    #[arg(long, default_value = "cpu")]
    device: String,
    /// Threads of the CPU; 0 for all
    #[arg(long, default_value_t = 0)]
    threads: usize,
    /// Let a software GPU that --device names run exactly what a card runs
    #[arg(long)]
    as_hardware: bool,
    /// Tokens of the prompt
    #[arg(long, default_value_t = 512)]
    prompt: usize,
    /// Tokens to write after it
    #[arg(long, default_value_t = 64)]
    tokens: usize,
    /// How often all of it is done; medians are told
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// One line of JSON
    #[arg(long, conflicts_with = "profile")]
    json: bool,
    /// Show what each kind of kernel takes of the prompt, and of a token
    #[arg(long)]
    profile: bool,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    let Arguments { precision, prompt, tokens, rounds, .. } = arguments;
    let device = open(&arguments.device, arguments.as_hardware, arguments.threads)?;
    let started = Instant::now();
    let settings = LoadSettings { precision, ..LoadSettings::default() };
    let loaded = LanguageModel::load_with(&arguments.model, &device, &settings)?;
    let model = loaded.model;
    let config = model.config();
    let context = prompt + tokens;
    if context > config.max_position_embeddings || prompt == 0 || tokens == 0 || rounds == 0 {
        return Err(format!(
            "--prompt {prompt} and --tokens {tokens}: at least 1 each, in --rounds of at least 1, and \
             together at most the model's longest context, {}",
            config.max_position_embeddings
        )
        .into());
    }
    let numbers = Key::new(1).uniforms(prompt, 0.0, config.vocab_size as f32);
    let ids: Vec<u32> = numbers.into_iter().map(|number| number as u32).collect();
    let mut first_token = None;
    let (mut prefill, mut decoding, mut bandwidth) = (Vec::new(), Vec::new(), Vec::new());
    let mut cache = KeyValueCache::new(config, 1, context, precision, &device)?;
    for _ in 0..rounds {
        cache.truncate(0, 0);
        let mut random = Key::new(1).generator();
        let mut next = |logits: Tensor| -> Result<u32, Box<dyn Error>> {
            let token = Sampling::GREEDY.draw(&logits.to_vec()?, &[], &mut random);
            Ok(token.ok_or("logits that are no numbers")?)
        };
        let start = Instant::now();
        let mut token = next(model.extend(&mut cache, &[&ids]))?;
        prefill.push(prompt as f64 / start.elapsed().as_secs_f64());
        first_token.get_or_insert_with(|| started.elapsed().as_secs_f64());
        let start = Instant::now();
        for _ in 1..tokens {
            token = next(model.extend(&mut cache, &[&[token]]))?;
        }
        decoding.push((tokens - 1) as f64 / start.elapsed().as_secs_f64());
    }
    let peak = peak_memory();
    let dispatches = dispatches_of_a_token(config)?;
    for _ in 0..rounds {
        bandwidth.push(match device.kind() {
            "cpu" => device.install(read_memory),
            _ => bytes_per_second(&device)?,
        });
    }
    if arguments.profile {
        cache.truncate(0, 0);
        device.start_profile();
        model.extend(&mut cache, &[&ids]).to_vec()?;
        show_profile(&device.stop_profile(), "the prompt", 1);
        device.start_profile();
        for _ in 1..tokens {
            model.extend(&mut cache, &[&[1]]).to_vec()?;
        }
        show_profile(&device.stop_profile(), "a token", tokens - 1);
    }
    let [prefill, decoding, bandwidth] = [prefill, decoding, bandwidth].map(median);
    // Each token reads all weights, but for the embedding where that is not the output layer too, and
    // what the cache has.
    let read = loaded.weight_bytes as f64;
    let share = decoding * read / bandwidth;
    if arguments.json {
        let line = json!({
            "prefill_tok_s": prefill, "decode_tok_s": decoding, "first_token_s": first_token,
            "read_gb_s": bandwidth / 1e9, "of_bound": share, "weight_bytes": loaded.weight_bytes,
            "cache_bytes": cache.bytes(), "peak_rss_mib": peak, "gpu_dispatches": dispatches,
        });
        println!("{line}");
        return Ok(());
    }
    println!(
        "{device}, {precision}, {} of weights, {} of cache",
        bytes(loaded.weight_bytes),
        bytes(cache.bytes())
    );
    println!("prompt of {prompt}: {prefill:.1} tokens/s");
    println!(
        "{tokens} tokens: {decoding:.1} tokens/s, {:.0} % of what reading the weights at {:.1} GB/s allows",
        100.0 * share,
        bandwidth / 1e9
    );
    println!("from the start to the first token: {:.2} s", first_token.unwrap_or_default());
    println!(
        "a GPU would be sent {dispatches} dispatches a token, {:.1} a layer",
        dispatches as f64 / config.num_hidden_layers as f64
    );
    if let Some(peak) = peak {
        println!("at most {peak} MiB in memory");
    }
    Ok(())
}

/// How many dispatches a GPU would be sent for one token, found out without one.
fn dispatches_of_a_token(config: &LanguageModelConfig) -> Result<usize, Box<dyn Error>> {
    let device = Device::plan_for_gpu(Class::HARDWARE);
    let build = |builder: &mut _| LanguageModel::new(config, builder);
    let (model, _) = Parameters::build(&device, 0, build);
    let mut cache = KeyValueCache::new(config, 1, 2, Precision::F32, &device)?;
    device.planned_dispatches();
    model.extend(&mut cache, &[&[0]]);
    Ok(device.planned_dispatches().len())
}

/// Launches and time of each kind of kernel, the longest first, for each of `count` times that something
/// was done.
fn show_profile(times: &[KernelTime], what: &str, count: usize) {
    let mut kinds: BTreeMap<&str, (f64, f64)> = BTreeMap::new();
    for time in times {
        let (launches, seconds) = kinds.entry(time.name).or_default();
        *launches += time.launches as f64 / count as f64;
        *seconds += time.time.as_secs_f64() / count as f64;
    }
    let mut kinds: Vec<_> = kinds.into_iter().collect();
    kinds.sort_by(|one, other| other.1.1.total_cmp(&one.1.1));
    println!("{:24} {:>8} {:>14}", "kernel", "launches", format!("ms {what}"));
    for (name, (launches, seconds)) in &kinds {
        println!("{name:24} {launches:8.1} {:14.3}", 1e3 * seconds);
    }
    let [launches, seconds] = kinds
        .iter()
        .fold([0.0, 0.0], |[launches, seconds], (_, kind)| [launches + kind.0, seconds + kind.1]);
    println!("{:24} {launches:8.1} {:14.3}", "together", 1e3 * seconds);
}

fn bytes(count: u64) -> String {
    neutreno::report::bytes(count)
}

/// How many bytes a second all threads of the CPU read together.
fn read_memory() -> f64 {
    // More than any cache holds.
    let numbers = vec![1_u64; 32 << 20];
    let mut best = 0.0_f64;
    for _ in 0..4 {
        let start = Instant::now();
        let sum: u64 = numbers
            .par_chunks(1 << 16)
            .map(|chunk| {
                let mut sums = [0_u64; 16];
                for block in chunk.as_chunks::<16>().0 {
                    for (sum, number) in sums.iter_mut().zip(block) {
                        *sum ^= *number;
                    }
                }
                sums.iter().fold(0, |all, sum| all ^ sum)
            })
            .reduce(|| 0, |a, b| a ^ b);
        std::hint::black_box(sum);
        best = best.max(8.0 * numbers.len() as f64 / start.elapsed().as_secs_f64());
    }
    best
}

/// The most memory that this process had so far, in MiB, where the system tells.
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kilobytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kilobytes >> 10)
}
