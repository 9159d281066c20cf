//! `compare`: models of any runs in one table, with what chance has to do with their differences.

mod common;

use common::programs::{path_of, program, said, text_file};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

const SMALL: &str = "--offline --device cpu --threads 1 --layers 2 --width 8 --heads 2 --context 8 --batch 2 \
                     --steps 6 --warmup 2 --eval-tokens 100 --eval-every 3 --sample-every 0 --quiet \
                     --tokenizer bytes";

/// A folder with a text and some runs.
struct Bench {
    folder: tempfile::TempDir,
    text: PathBuf,
}

impl Bench {
    fn new() -> Bench {
        let folder = tempfile::tempdir().unwrap();
        let text = text_file(folder.path());
        Bench { folder, text }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Trains a run; its own flags take the place of the usual ones.
    fn train(&self, name: &str, flags: &str) {
        let mut command = program("lm_wikitext");
        let own: Vec<&str> = flags.split_whitespace().collect();
        let usual: Vec<&str> = SMALL.split_whitespace().collect();
        let mut skip = false;
        for word in usual {
            if word.starts_with("--") {
                skip = own.contains(&word);
            }
            if !skip {
                command.arg(word);
            }
        }
        let out = self.path(name);
        command.args(own).args(["--data", &path_of(&self.text), "--out", &path_of(&out)]);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", said(&output));
    }

    /// Copies what came out of a run, changed, to a file.
    fn summary(&self, run: &str, to: &str, change: impl Fn(&mut Value)) {
        let mut summary = json_of(&self.path(run).join("summary.json"));
        change(&mut summary);
        let to = self.path(to);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::write(to, summary.to_string()).unwrap();
    }

    fn compare(&self, arguments: &[&str]) -> Output {
        let mut command = program("compare");
        command.current_dir(self.folder.path()).args(arguments).output().unwrap()
    }

    /// The comparison as JSON.
    fn compared(&self, arguments: &[&str]) -> Value {
        let output = self.compare(&[arguments, &["--json"]].concat());
        assert!(output.status.success(), "{}", said(&output));
        common::programs::json(&output)
    }

    fn refused(&self, arguments: &[&str]) -> String {
        let output = self.compare(arguments);
        assert!(
            !output.status.success() && !said(&output).contains("panicked"),
            "{}",
            said(&output)
        );
        said(&output)
    }
}

fn json_of(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn rows(compared: &Value) -> Vec<&str> {
    compared["rows"].as_array().unwrap().iter().map(|row| row["row"].as_str().unwrap()).collect()
}

fn warned(compared: &Value, words: &str) -> bool {
    compared["warnings"]
        .as_array()
        .unwrap()
        .iter()
        .any(|line| line.as_str().unwrap().contains(words))
}

/// The losses of a variant in a run's own summary, by seed.
fn losses(run: &Path, variant: &str) -> Vec<f64> {
    let summary = json_of(&run.join("summary.json"));
    let all = summary["variants"].as_array().unwrap();
    let own = all.iter().filter(|model| model["variant"] == variant);
    own.map(|model| model["validation_loss"].as_f64().unwrap()).collect()
}

/// Every number of a difference, by another way: with three pairs Student's t has two degrees of freedom,
/// for which P(|T| > t) = 1 − t / √(t² + 2), and 95 % lie within 4.302653 standard errors.
#[test]
fn runs_of_different_days_are_paired_by_seed() {
    let bench = Bench::new();
    bench.train("monday", "--variant transformer,neutreno:0.2 --seeds 3");
    bench.train("friday", "--variant resformer --seeds 3");
    bench.train("longer", "--variant transformer --steps 8 --seeds 3");
    let compared = bench.compared(&["monday", "friday", "longer", "--out", "here"]);
    let expected = ["Transformer, steps 6", "NeuTRENO λ=0.2", "ResFormer", "Transformer, steps 8"];
    assert_eq!(rows(&compared), expected);
    assert_eq!(compared["baseline"], "Transformer, steps 6");
    let base = losses(&bench.path("monday"), "transformer");
    let others = [("monday", "neutreno-0.2"), ("friday", "resformer")];
    let found = compared["differences"].as_array().unwrap();
    assert_eq!(found.len(), others.len());
    // Models that made other steps make no pair.
    let made = "Transformer, steps 8 (seed 2) made 8 steps, Transformer, steps 6 6: there is no";
    assert!(warned(&compared, made), "{}", compared["warnings"]);
    let mut chances = Vec::new();
    for ((run, variant), found) in others.iter().zip(found) {
        let losses = losses(&bench.path(run), variant);
        let pairs: Vec<f64> = losses.iter().zip(&base).map(|(own, base)| own - base).collect();
        let mean = pairs.iter().sum::<f64>() / 3.0;
        let deviation = (pairs.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 2.0).sqrt();
        let error = deviation / 3_f64.sqrt();
        let t = (mean / error).abs();
        let number = |name: &str| found[name].as_f64().unwrap();
        assert_eq!(found["n"], 3);
        approx::assert_abs_diff_eq!(number("mean"), mean, epsilon = 1e-12);
        approx::assert_abs_diff_eq!(number("deviation"), deviation, epsilon = 1e-12);
        let low = found["interval"][0].as_f64().unwrap();
        approx::assert_abs_diff_eq!(low, mean - 4.302653 * error, epsilon = 1e-6 * error.max(1e-9));
        approx::assert_abs_diff_eq!(number("p"), 1.0 - t / (t * t + 2.0).sqrt(), epsilon = 1e-9);
        chances.push(number("p"));
    }
    let mut order = [0, 1];
    order.sort_by(|a, b| chances[*a].total_cmp(&chances[*b]));
    let mut largest = 0.0_f64;
    for (rank, place) in order.into_iter().enumerate() {
        largest = largest.max((2 - rank) as f64 * chances[place]).min(1.0);
        let corrected = found[place]["p_corrected"].as_f64().unwrap();
        approx::assert_abs_diff_eq!(corrected, largest, epsilon = 1e-9);
    }
    // The same in each file.
    let lines = |name: &str| {
        let text = fs::read_to_string(bench.path("here").join(name)).unwrap();
        text.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(json_of(&bench.path("here/compare.json")), compared);
    assert!(compared["version"].is_string());
    assert_eq!(lines("models.csv").len(), 1 + 12);
    assert!(
        lines("models.csv")[0].starts_with("row,run,variant,seed,"),
        "{}",
        lines("models.csv")[0]
    );
    assert!(lines("models.csv")[1].starts_with("\"Transformer, steps 6\",monday,transformer,1,"));
    assert_eq!(lines("differences.csv").len(), 1 + 2);
    let mean = found[0]["mean"].to_string();
    assert!(lines("differences.csv")[1].contains(&format!(",validation_loss,3,{mean},")));
    assert_eq!(lines("curves.csv")[0], "row,seed,step,tokens,seconds,train_loss,validation_loss");
    assert_eq!(lines("curves.csv").len(), 1 + 9 * 6 + 3 * 8);
    let page = fs::read_to_string(bench.path("here/compare.html")).unwrap();
    assert_eq!(page.matches("<svg").count(), 6, "three curves, three costs");
    assert!(expected.iter().all(|row| page.contains(row)));
    // The table, and another baseline and score.
    let arguments =
        ["monday", "friday", "longer", "--baseline", "neutreno:0.2", "--score", "test_loss"];
    let output = bench.compare(&arguments);
    let table = String::from_utf8(output.stdout).unwrap();
    assert!(table.lines().all(|line| line.chars().count() <= 80), "{table}");
    let words = table.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains("Compared by test loss with NeuTRENO λ=0.2."), "{table}");
    let last = "ResFormer: test loss";
    assert!(words.contains(last) && words.contains("after correction)"), "{table}");
    assert!(bench.path("runs/comparison/compare.html").is_file());
    let by_number = bench.compared(&["monday", "--baseline", "2"]);
    assert_eq!(by_number["baseline"], "NeuTRENO λ=0.2");
    assert!(bench.path("runs/comparison-2/compare.html").is_file());
    // A run's own report has the same.
    let report = fs::read_to_string(bench.path("monday/report.html")).unwrap();
    assert!(report.contains("corrected") && report.contains("Score and parameters"));
}

/// The same models trained in several places, each with seeds of its own, are one row.
#[test]
fn seeds_of_several_machines_come_together() {
    let bench = Bench::new();
    for seed in [1, 2, 3] {
        let run = format!("machine{seed}");
        bench.train(
            &run,
            &format!("--variant transformer,svformer --seed {seed} --eval-every {seed}"),
        );
        bench.summary(&run, &format!("class/desk{seed}.json"), |_| ());
    }
    bench.summary("machine3", "class/desk4/summary.json", |_| ());
    fs::write(bench.path("class/broken.json"), "{}").unwrap();
    fs::write(bench.path("class/notes.txt"), "no run").unwrap();
    let compared = bench.compared(&["class"]);
    assert_eq!(rows(&compared), ["Transformer", "SVFormer"]);
    assert_eq!(compared["rows"][0]["runs"], json!(["desk1", "desk2", "desk3"]));
    assert_eq!(compared["differences"][0]["n"], 3);
    assert!(warned(
        &compared,
        "Transformer with seed 3 is in desk4 as well as in desk1, desk2, desk3"
    ));
    assert!(warned(&compared, "; its scores are the same"), "{}", compared["warnings"]);
    assert!(
        warned(&compared, "broken.json is not the summary.json of a run"),
        "{}",
        compared["warnings"]
    );
    // Folders of runs have the same, with curves, and name what is missing.
    bench.train("alone", "--variant transformer --seed 9");
    let compared = bench.compared(&["machine1", "machine2", "alone"]);
    assert_eq!(compared["differences"][0]["n"], 2);
    let missing =
        "SVFormer has no model of seed 9, which Transformer has: train it (--resume RUN --seed 9)";
    assert!(warned(&compared, missing), "{}", compared["warnings"]);
    let one = bench.compared(&["machine1"]);
    assert!(warned(&one, "Each row has one seed"), "{}", one["warnings"]);
    assert_eq!(one["differences"][0]["p"], json!(null));
}

#[test]
fn what_does_not_compare_is_refused_or_said() {
    let bench = Bench::new();
    bench.train("run", "--variant transformer,svformer --seeds 2");
    bench.summary("run", "images.json", |summary| summary["task"] = "image-classification".into());
    let refused = bench.refused(&["run", "images.json"]);
    assert!(
        refused.contains("run learnt language-modelling, and images learnt image-"),
        "{refused}"
    );
    // Other data: side by side, and no difference.
    bench.summary("run", "data.json", |summary| {
        summary["data"]["hashes"] = json!({ "other": "0123456789" });
        summary["data"]["name"] = "Another text".into();
    });
    let compared = bench.compared(&["run", "data.json"]);
    assert_eq!(rows(&compared).len(), 4);
    assert_eq!(compared["differences"].as_array().unwrap().len(), 1);
    assert!(warned(&compared, "Not all learnt from the same data"), "{}", compared["warnings"]);
    assert!(warned(&compared, "Another text (01234567)"), "{}", compared["warnings"]);
    // Another part of it.
    bench.summary("run", "part.json", |summary| {
        for model in summary["variants"].as_array_mut().unwrap() {
            model["validation_tokens_scored"] = 7.into();
            model["variant"] = format!("{}-b", model["variant"].as_str().unwrap()).into();
        }
    });
    let compared = bench.compared(&["run", "part.json"]);
    assert_eq!(compared["differences"].as_array().unwrap().len(), 1);
    assert!(
        warned(&compared, "SVFormer-b (seed 2) was scored on the first 7 of"),
        "{}",
        compared["warnings"]
    );
    // Other devices; other settings, of which the name tells.
    bench.summary("run", "device.json", |summary| {
        summary["settings"]["learning_rate"] = 0.5.into();
        summary["variants"][0]["device"] = "gpu".into();
    });
    let compared = bench.compared(&["run", "device.json"]);
    assert!(rows(&compared).contains(&"SVFormer, learning rate 0.5"), "{:?}", rows(&compared));
    assert_eq!(compared["differing"], json!(["learning_rate"]));
    assert!(warned(&compared, "times and memory do not compare"), "{}", compared["warnings"]);
    assert!(!warned(&compared, "in the same order"), "{}", compared["warnings"]);
    // What gives the same seed another order of the data is named.
    bench.summary("run", "order.json", |summary| {
        summary["settings"]["batch"] = 9.into();
        summary["settings"]["accumulate"] = 7.into();
    });
    let compared = bench.compared(&["run", "order.json"]);
    assert!(
        warned(&compared, "Rows differ in accumulate, batch, so the same seed"),
        "{}",
        compared["warnings"]
    );
    // A run's name stays what it is, even where it could be that of a variant.
    bench.summary("run", "neutreno-4.json", |summary| {
        for (name, value) in [("layers", 7), ("width", 7), ("heads", 7), ("batch", 9)] {
            summary["settings"][name] = value.into();
        }
    });
    let arguments = ["run", "neutreno-4.json", "--out", "named"];
    let table = String::from_utf8(bench.compare(&arguments).stdout).unwrap();
    let page = fs::read_to_string(bench.path("named/compare.html")).unwrap();
    for text in [table, page] {
        assert!(text.contains("Transformer of neutreno-4") && !text.contains("λ"), "{text}");
    }
    // Models that started from a trained one are others.
    bench.summary("run", "start.json", |summary| {
        summary["from"] =
            json!({ "folder": "one", "files": { "model.safetensors": "äöüäöüäöüäöü" } });
    });
    let compared = bench.compared(&["run", "start.json"]);
    assert!(rows(&compared).contains(&"Transformer, start äöüäöüäö"), "{:?}", rows(&compared));
    // A run that is not done, one without results, and what is none.
    let facts = json_of(&bench.path("run/run.json"));
    let mut more = facts.clone();
    more["seeds"] = json!([1, 2, 3]);
    fs::write(bench.path("run/run.json"), more.to_string()).unwrap();
    assert!(warned(&bench.compared(&["run"]), "run is not done: 4 of its 6 models"));
    fs::rename(bench.path("run/summary.json"), bench.path("kept")).unwrap();
    let refused = bench.refused(&["run"]);
    assert!(refused.contains("run has no results yet"), "{refused}");
    fs::rename(bench.path("kept"), bench.path("run/summary.json")).unwrap();
    fs::create_dir(bench.path("empty")).unwrap();
    for (arguments, why) in [
        (&["empty"][..], "empty holds no run and no summary.json"),
        (&["nowhere"], "cannot read nowhere"),
        (&["run", "--baseline", "nobody"], "is none of the rows: 1 Transformer; 2 SVFormer"),
        (&["run", "--score", "beauty"], "is none of the scores: validation_loss"),
        (&["run", "--out", "run"], "run is there already, and was left as it is"),
        (&[], "<RUN>"),
    ] {
        let refused = bench.refused(arguments);
        assert!(refused.contains(why), "{refused}");
    }
}
