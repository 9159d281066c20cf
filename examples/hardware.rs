//! What a GPU computes and how fast: every op proven, 20 steps of the four variants against the CPU, and the
//! times of training at three sizes, as one JSON and one Markdown file. `tests/hardware` builds and runs it,
//! with PyTorch's figures beside, where there is one that uses the GPU.

#[path = "common/mod.rs"]
mod common;
#[path = "bench_training/work.rs"]
#[allow(dead_code, reason = "what is timed is not needed here")]
mod work;

use clap::Parser;
use common::arguments::open;
use common::show;
use neutreno::engine::ops::OPS;
use neutreno::engine::{Device, device, proof};
use neutreno::run::write_atomically;
use neutreno::{Variant, VariantConfig};
use serde_json::{Value, json};
use std::error::Error;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;
use work::{Sizes, Work};

/// Proves every op on a GPU, trains the four variants there and on the CPU, times training, and writes
/// hardware.json and hardware.md. Its exit status is 1 where something is wrong.
#[derive(Debug, Parser)]
#[command(version, name = "hardware", max_term_width = 100)]
struct Arguments {
    /// gpu, gpu:N, or three letters or more of a GPU's name (software ones only so)
    #[arg(long, default_value = "gpu")]
    device: String,
    /// Let a software GPU that --device names run exactly what a card runs
    #[arg(long)]
    as_hardware: bool,
    /// Small sizes alone, for a software GPU
    #[arg(long)]
    quick: bool,
    /// Other programs' figures for the same work: lines of JSON as bench_training prints them
    #[arg(long, value_name = "FILE")]
    beside: Option<PathBuf>,
    /// The folder for the two files
    #[arg(long, value_name = "DIR", default_value = "hardware")]
    out: PathBuf,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    common::program::quiet_libraries();
    match run(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            show::note(format!("error: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// Whether all is well.
fn run(arguments: &Arguments) -> Result<bool, Box<dyn Error>> {
    let beside = arguments.beside.as_deref().map(lines_of).transpose()?.unwrap_or_default();
    let device = open(&arguments.device, arguments.as_hardware, 0)?;
    if device.kind() != "gpu" {
        return Err(format!("--device {} is {device}, and no GPU", arguments.device).into());
    }
    std::fs::create_dir_all(&arguments.out)?;
    show::result(format!("{device}"));
    let proofs = prove_all(&device);
    let steps = steps_of_all(&device, arguments.quick)?;
    drop(device);
    let mut times = Vec::new();
    for flags in sizes(arguments.quick) {
        times.push(time(arguments, flags)?);
    }
    let report = json!({
        "neutreno": env!("CARGO_PKG_VERSION"),
        "system": format!("{} on {}", std::env::consts::OS, std::env::consts::ARCH),
        "debug_build": cfg!(debug_assertions),
        "adapters": device::list().iter().map(ToString::to_string).collect::<Vec<_>>(),
        "device": arguments.device,
        "as_hardware": arguments.as_hardware,
        "proofs": proofs,
        "steps": steps,
        "training": times,
        "beside": beside,
    });
    let text = serde_json::to_string_pretty(&report)?;
    write_atomically(&arguments.out.join("hardware.json"), text.as_bytes())?;
    let page = arguments.out.join("hardware.md");
    write_atomically(&page, markdown(&report).as_bytes())?;
    show::result(format!("{} and hardware.json beside it", page.display()));
    let wrong =
        |part: &str| report[part]["wrong"].as_array().is_some_and(|wrong| !wrong.is_empty());
    Ok(!wrong("proofs") && !wrong("steps"))
}

/// Every case of every op.
fn prove_all(device: &Device) -> Value {
    let started = Instant::now();
    let (mut passed, mut wrong) = (0, Vec::new());
    for op in OPS {
        for case in op.cases() {
            match proof::prove(&case, device) {
                Ok(()) => passed += 1,
                Err(problem) => wrong.push(format!("{}, {}: {problem}", op.name, case.label)),
            }
        }
    }
    show::result(format!("proofs: {passed} pass, {} do not", wrong.len()));
    wrong.iter().for_each(|problem| show::result(format!("  {problem}")));
    json!({ "passed": passed, "wrong": wrong, "seconds": started.elapsed().as_secs_f64() })
}

/// The losses of 20 steps of each variant on the device, and how far they are from the CPU's.
fn steps_of_all(device: &Device, quick: bool) -> Result<Value, Box<dyn Error>> {
    let small = Sizes { layers: 2, width: 64, heads: 2, context: 64, batch: 4, ..Sizes::S };
    let sizes = if quick { small } else { Sizes::S };
    let (mut variants, mut wrong) = (Vec::new(), Vec::new());
    for variant in Variant::ALL {
        let [expected, found] =
            [&Device::cpu(), device].map(|device| losses(&sizes, variant, device));
        let (expected, found) = (expected?, found?);
        let differences = expected.iter().zip(&found).map(|(a, b)| (a - b).abs());
        // A NaN is not near anything.
        let largest =
            differences.fold(0.0_f32, |most, next| if next <= most { most } else { next });
        if largest.is_nan() || largest > 1e-3 {
            wrong.push(format!("{variant}: {largest}"));
        }
        show::result(format!("{variant}: 20 steps, losses within {largest:.1e} of the CPU's"));
        variants.push(json!({
            "variant": variant.name(), "first": found[0], "last": found[20],
            "largest_difference": largest,
        }));
    }
    Ok(json!({ "variants": variants, "wrong": wrong }))
}

/// The loss before and after each of 20 steps.
fn losses(sizes: &Sizes, variant: Variant, device: &Device) -> Result<Vec<f32>, Box<dyn Error>> {
    let mut work = Work::new(sizes, VariantConfig::new(variant), device);
    (0..=20).map(|_| Ok(work.step()?.wait()?[0])).collect()
}

/// The flags of `bench_training` for each size.
fn sizes(quick: bool) -> &'static [&'static str] {
    const ALL: [&str; 3] = [
        "--size S",
        "--size M",
        "--size M --layers 12 --width 768 --heads 12 --context 256 --batch 4 --steps 13",
    ];
    const QUICK: [&str; 1] = ["--size S --layers 2 --batch 2 --context 32 --steps 8"];
    if quick { &QUICK } else { &ALL }
}

/// What `bench_training`, which is beside this program, says of a size, with its profile.
fn time(arguments: &Arguments, flags: &str) -> Result<Value, Box<dyn Error>> {
    show::result(format!("bench_training {flags}"));
    let name = format!("bench_training{}", std::env::consts::EXE_SUFFIX);
    let program = std::env::current_exe()?.with_file_name(name);
    let mut command = Command::new(&program);
    command.args(["--json", "--profile", "--device", &arguments.device]);
    command.args(flags.split(' ')).args(arguments.as_hardware.then_some("--as-hardware"));
    let output = command.stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("{}: {error}", program.display()))?;
    let profile = String::from_utf8_lossy(&output.stderr).into_owned();
    if !output.status.success() {
        return Err(format!("bench_training {flags} failed: {profile}").into());
    }
    let mut found: Value = serde_json::from_slice(&output.stdout)?;
    found["flags"] = flags.into();
    found["profile"] = profile.into();
    Ok(found)
}

/// The values of a file of lines of JSON.
fn lines_of(file: &Path) -> Result<Vec<Value>, Box<dyn Error>> {
    let text = std::fs::read_to_string(file).map_err(|e| format!("{}: {e}", file.display()))?;
    let lines = text.lines().filter(|line| line.starts_with('{')).enumerate();
    let value = |(index, line)| {
        serde_json::from_str(line)
            .map_err(|error| format!("{}, line {}: {error}", file.display(), index + 1).into())
    };
    lines.map(value).collect()
}

/// A value as it stands in a table.
fn text(value: &Value) -> String {
    match value.as_f64() {
        Some(number) if !value.is_u64() && number.abs() < 1e-3 => format!("{number:.1e}"),
        Some(number) if !value.is_u64() => format!("{number:.4}"),
        _ => value.as_str().map_or(value.to_string(), str::to_string),
    }
}

fn markdown(report: &Value) -> String {
    let mut page = String::from("# What this GPU computes, and how fast\n\n");
    for key in ["neutreno", "system", "device", "as_hardware", "debug_build"] {
        let _ = writeln!(page, "- {}: {}", key.replace('_', " "), text(&report[key]));
    }
    for adapter in report["adapters"].as_array().into_iter().flatten() {
        let _ = writeln!(page, "- adapter: {}", text(adapter));
    }
    let proofs = &report["proofs"];
    let wrong = proofs["wrong"].as_array().map_or(0, Vec::len);
    let _ = writeln!(page, "\n{} proofs pass, {wrong} do not.\n", proofs["passed"]);
    for problem in proofs["wrong"].as_array().into_iter().flatten() {
        let _ = writeln!(page, "- {}", text(problem));
    }
    page.push_str(
        "| variant | loss at first | after 20 steps | from the CPU's |\n|---|---|---|---|\n",
    );
    for variant in report["steps"]["variants"].as_array().into_iter().flatten() {
        let keys = ["variant", "first", "last", "largest_difference"];
        let _ = writeln!(page, "| {} |", keys.map(|key| text(&variant[key])).join(" | "));
    }
    page.push_str(
        "\n| program | size | tokens/s | median step, ms | dispatches a step | GFLOP/s | % of the \
         products' | tensors, bytes | foretold |\n|---|---|---|---|---|---|---|---|---|\n",
    );
    let training = report["training"].as_array().into_iter().flatten();
    for row in training.clone().chain(report["beside"].as_array().into_iter().flatten()) {
        let size = if row["flags"].is_null() { &row["size"] } else { &row["flags"] };
        let keys = [
            &row["peer"],
            size,
            &row["tok_s"],
            &row["step_ms_median"],
            &row["dispatches_per_step"],
            &row["gflops"],
            &row["percent_of_product_peak"],
            &row["peak_tensor_bytes"],
            &row["planned_tensor_bytes"],
        ];
        let cells = keys.map(|value| if value.is_null() { "–".into() } else { text(value) });
        let _ = writeln!(page, "| {} |", cells.join(" | "));
    }
    for row in training {
        let _ = writeln!(
            page,
            "\n## {}\n\n```text\n{}\n```",
            text(&row["flags"]),
            text(&row["profile"])
        );
    }
    page
}
