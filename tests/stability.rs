//! Whether the default runs are stable on any machine: after the warm-up no gradient's norm is more
//! than three times the median (ten times for scenes), for no variant and none of four seeds; with AVX2
//! instead of the widest vector instructions of the processor, for the first seed. It takes an hour:
//! `tests/stability` runs it.

mod common;

use common::programs::{program, said};
use neutreno::report::Spread;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The programs' default runs, with what makes them so wherever this is run, and how many times the
/// median a norm may be. Batches of scenes differ more than others: where the norm is large it often is
/// so for several variants at the same batch.
const RUNS: [(&str, &str, &str, f64); 4] = [
    ("wikitext", "lm_wikitext", "--require-real-text", 3.0),
    ("generated", "lm_wikitext", "--offline", 3.0),
    ("shapes", "image_classification", "", 3.0),
    ("scenes", "image_segmentation", "", 10.0),
];

/// `NEUTRENO_STABILITY` names the folder of the runs, which go on where they were stopped;
/// `NEUTRENO_STABILITY_ONLY` one of the runs; `NEUTRENO_STABILITY_TEXT` where WikiText-2 is, if not in
/// the cache nor on the network.
#[test]
#[ignore = "an hour long; tests/stability runs it"]
fn of_the_default_runs() {
    let folder = std::env::var_os("NEUTRENO_STABILITY").map(PathBuf::from);
    let folder = folder.expect("NEUTRENO_STABILITY is set by tests/stability");
    fs::create_dir_all(&folder).unwrap();
    let only = std::env::var("NEUTRENO_STABILITY_ONLY").unwrap_or_default();
    let mut instructions = vec![None];
    if cfg!(target_arch = "x86_64") {
        instructions.push(Some("avx2"));
    }
    let runs = RUNS.iter().filter(|(name, ..)| only.is_empty() || only == *name);
    let mut leaps = Vec::new();
    for (name, its_program, flags, limit) in runs {
        // The two share the machine: results do not depend on the number of threads.
        let all = std::thread::scope(|scope| {
            let folder = &folder;
            let of = |asked: &Option<&'static str>| {
                let asked = *asked;
                scope.spawn(move || train(folder, name, its_program, flags, asked))
            };
            let running: Vec<_> = instructions.iter().map(of).collect();
            running.into_iter().map(|run| run.join().expect("a run")).collect::<Vec<_>>()
        });
        all.iter().for_each(|run| leaps.extend(report(run, *limit)));
    }
    assert!(leaps.is_empty(), "norms that leapt: {leaps:?}");
}

/// Trains every variant, with four seeds or with one, or goes on with that.
fn train(
    folder: &Path,
    name: &str,
    its_program: &str,
    flags: &str,
    instructions: Option<&str>,
) -> PathBuf {
    let run = folder.join(format!("{name}-{}", instructions.unwrap_or("widest")));
    let mut command = program(its_program);
    if run.is_dir() {
        command.arg("--resume").arg(&run);
    } else {
        command.arg("--out").arg(&run).args(["--device", "cpu"]);
        command.args(["--seeds", if instructions.is_some() { "1" } else { "4" }]);
        command.args(["--eval-every", "0", "--threads", "1"]).args(flags.split_whitespace());
    }
    command.arg("--quiet");
    if let Some(asked) = instructions {
        command.env("NEUTRENO_CPU", asked);
    }
    match std::env::var_os("NEUTRENO_STABILITY_TEXT").filter(|_| name == "wikitext") {
        Some(text) => command.arg("--data").arg(text),
        None if name == "generated" => command.env("NEUTRENO_CACHE", folder.join("no-cache")),
        None => &mut command,
    };
    let output = command.output().expect("the program starts");
    assert!(output.status.success(), "{name}: {}", said(&output));
    run
}

/// Prints every model's norms and each variant's losses; those that leapt.
fn report(run: &Path, limit: f64) -> Vec<String> {
    let json = |path: PathBuf| -> Value {
        serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
    };
    let warmup = json(run.join("run.json"))["settings"]["warmup"].as_u64().unwrap();
    let mut leaps = Vec::new();
    let mut losses: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    let models = fs::read_dir(run).unwrap().map(|entry| entry.unwrap().path());
    let mut models: Vec<PathBuf> =
        models.filter(|model| model.join("result.json").is_file()).collect();
    models.sort();
    assert!(!models.is_empty());
    println!("{}", run.display());
    for model in models {
        let name = model.file_name().unwrap().to_string_lossy().into_owned();
        let metrics = fs::read_to_string(model.join("metrics.jsonl")).unwrap();
        let lines = metrics.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let after = lines.filter(|line| line["step"].as_u64().unwrap() > warmup);
        let mut norms: Vec<f64> =
            after.map(|line| line["gradient_norm"].as_f64().unwrap_or(f64::INFINITY)).collect();
        norms.sort_by(f64::total_cmp);
        let (median, largest) = (norms[norms.len() / 2], norms[norms.len() - 1]);
        println!("  {name:<20} median {median:.3}, largest {:.2} × it", largest / median);
        if largest > limit * median {
            leaps.push(format!("{} {:.2}", model.display(), largest / median));
        }
        let result = json(model.join("result.json"));
        let variant = result["variant"].as_str().unwrap().to_owned();
        losses.entry(variant).or_default().push(result["validation_loss"].as_f64().unwrap());
    }
    for (variant, losses) in losses {
        let Spread { mean, deviation, count } = Spread::of(losses);
        let deviation = deviation.unwrap_or(f64::NAN);
        println!("  {variant:<20} validation loss {mean:.4} ± {deviation:.4} (n = {count})");
    }
    leaps
}
