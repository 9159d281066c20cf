//! The program `evaluate`: its scores are those of training, and of sums over tokens one by one.

mod common;

use common::programs::{json, path_of, program, said, text_file};
use neutreno::LanguageModel;
use neutreno::data::tokenizer::Tokenizer;
use neutreno::engine::{Device, Ids};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

fn trained(folder: &Path, flags: &str) -> PathBuf {
    let run = folder.join("run");
    let mut command = program("lm_wikitext");
    command.args(
        "--device cpu --threads 1 --layers 2 --width 16 --heads 2 --context 16 --batch 4"
            .split(' '),
    );
    command.args("--steps 20 --eval-every 0 --eval-tokens all".split(' ')).args(flags.split(' '));
    command.args(["--data", &path_of(folder), "--out", &path_of(&run)]);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    run
}

fn evaluate(model: &Path, data: &Path, flags: &str) -> Output {
    let mut command = program("evaluate");
    command
        .args(["--device", "cpu", "--threads", "1", "--model"])
        .arg(model)
        .arg("--data")
        .arg(data);
    command.args(flags.split_whitespace()).output().unwrap()
}

fn result(output: &Output) -> Value {
    assert!(output.status.success(), "{}", said(output));
    json(output)
}

fn near(found: &Value, expected: f64) {
    let found = found.as_f64().unwrap();
    assert!((found - expected).abs() < 1e-5 * expected.abs(), "{found}, not {expected}");
}

/// Σ −ln p of all tokens but the first, each with all that stands before it in its window.
fn one_by_one(model: &LanguageModel, tokens: &[u32], context: usize, stride: usize) -> f64 {
    let mut nats = 0.0;
    for target in 1..tokens.len() {
        // The first window scores all of its own, each later one the last `stride`.
        let window = target.saturating_sub(context).div_ceil(stride);
        let seen = &tokens[window * stride..target];
        let logits =
            model.next_logits(&Ids::new(seen.to_vec(), [1, seen.len()]), &[seen.len() - 1]);
        let logits: Vec<f64> = logits.to_vec().unwrap().into_iter().map(f64::from).collect();
        let sum = logits.iter().map(|logit| logit.exp()).sum::<f64>();
        nats += sum.ln() - logits[tokens[target] as usize];
    }
    nats
}

fn texts(folder: &Path) -> String {
    let valid = "the dog sat on the mat, näïvely, and the cat\n sat on the log 🙂\n".repeat(4);
    fs::copy(text_file(folder), folder.join("train.txt")).unwrap();
    fs::write(folder.join("valid.txt"), &valid).unwrap();
    valid
}

#[test]
fn scores_are_those_of_training() {
    for (tokenizer, bits) in [("words", false), ("bpe:280", true), ("bytes", true)] {
        let folder = tempfile::tempdir().unwrap();
        texts(folder.path());
        let run =
            trained(folder.path(), &format!("--variant neutreno,svformer --tokenizer {tokenizer}"));
        let summary = fs::read(run.join("summary.json")).unwrap();
        let summary: Value = serde_json::from_slice(&summary).unwrap();
        let of_training: Vec<&Value> = summary["variants"].as_array().unwrap().iter().collect();
        let data = folder.path().join("valid.txt");
        let output = evaluate(&run, &data, "--json");
        let lines = String::from_utf8(output.stdout.clone()).unwrap();
        let found: Vec<Value> =
            lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!((found.len(), of_training.len()), (2, 2), "{}", said(&output));
        for (found, expected) in found.iter().zip(of_training) {
            assert_eq!(found["variant"], expected["variant"]);
            near(&found["nats_per_token"], expected["validation_loss"].as_f64().unwrap());
            let loss = found["nats_per_token"].as_f64().unwrap();
            near(&found["token_perplexity"], loss.exp());
            let words =
                "the dog sat on the mat, näïvely, and the cat sat on the log 🙂".split(' ').count()
                    + 2;
            let scored = found["tokens_scored"].as_u64().unwrap() as f64;
            // With words as tokens the first of them is not scored.
            let words = 4.0 * words as f64 - f64::from(tokenizer == "words");
            near(&found["word_perplexity"], (loss * scored / words).exp());
            assert_eq!(found["bits_per_byte"].is_number(), bits, "{tokenizer}");
            if bits {
                let bytes = fs::metadata(&data).unwrap().len() as f64;
                near(&found["bits_per_byte"], loss * scored / std::f64::consts::LN_2 / bytes);
            }
        }
        assert_eq!(said(&output).contains("compare with no others"), tokenizer == "words");
        // The table has the same numbers, a line for each model.
        let table = String::from_utf8(evaluate(&run, &data, "--quiet").stdout).unwrap();
        assert_eq!(table.lines().count(), 4, "{table}");
        let shown = format!("{:.4}", found[1]["nats_per_token"].as_f64().unwrap());
        let last = table.lines().last().unwrap();
        assert!(last.starts_with("SVFormer ") && last.contains(&shown), "{table}");
    }
}

#[test]
fn windows_and_strides_are_as_they_are_said_to_be() {
    let folder = tempfile::tempdir().unwrap();
    let text = texts(folder.path());
    let run = trained(folder.path(), "--variant resformer --tokenizer bpe:280");
    let (model, data) = (run.join("resformer-seed1"), folder.path().join("valid.txt"));
    let loaded = LanguageModel::load(&model, &Device::cpu()).unwrap().model;
    let tokens = Tokenizer::load(run.join("tokenizer.json")).unwrap().encode(&text);
    for (flags, context, stride) in [
        ("--context 9 --stride 9", 9, 9),
        ("--context 9 --stride 1 --batch 3", 9, 1),
        ("--context 7", 7, 4),
        ("", 16, 8),
    ] {
        let output = evaluate(&model, &data, &format!("--json {flags}"));
        let result = result(&output);
        let nats = one_by_one(&loaded, &tokens, context, stride);
        near(&result["nats_per_token"], nats / (tokens.len() - 1) as f64);
        assert_eq!((&result["context"], &result["stride"]), (&json!(context), &json!(stride)));
        let told = format!("at least {} are seen before those scored", context - stride);
        assert!(said(&output).contains(&told), "{}", said(&output));
    }
    let half = result(&evaluate(&model, &data, "--json --precision bf16"));
    let full = result(&evaluate(&model, &data, "--json"));
    let [half, full] = [half, full].map(|result| result["nats_per_token"].as_f64().unwrap());
    assert!(half != full && (half - full).abs() < 0.02 * full, "{half}, {full}");

    let refused = |data: &Path, flags: &str, words: &str| {
        let output = evaluate(&model, data, flags);
        assert!(
            !output.status.success() && said(&output).contains(words),
            "{words}: {}",
            said(&output)
        );
    };
    refused(&data, "--context 17", "--context 17: the longest context of ResFormer has 16 tokens");
    refused(&data, "--context 4 --stride 5", "an evaluation stride of 5 leaves tokens out");
    refused(&folder.path().join("nowhere"), "", "no data at");
    refused(
        &data,
        "--confusion x.csv",
        "--confusion is for models of images, and these are of text",
    );
    refused(&data, "--use 7", "no checkpoint of step 7");
    let [one, latin] = ["one.txt", "latin.txt"].map(|name| folder.path().join(name));
    fs::write(&one, "t").unwrap();
    refused(&one, "", "is a text of 1 tokens, and scoring needs at least 2");
    fs::write(&latin, [0x61, 0xe9, 0x62]).unwrap();
    refused(&latin, "", "is not UTF-8 text");
}

/// A run with checkpoints, scored every five steps.
fn scored_run(folder: &Path, flags: &str) -> PathBuf {
    let run = folder.join("run");
    let mut command = program("lm_wikitext");
    command.args(
        "--device cpu --threads 1 --layers 2 --width 16 --heads 2 --context 16 --batch 4 --steps 20 \
         --eval-every 5 --eval-tokens all --keep-checkpoints 9 --variant svformer --tokenizer bytes"
            .split_whitespace(),
    );
    command.args(flags.split_whitespace());
    command.args(["--data", &path_of(folder), "--out", &path_of(&run)]);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    run
}

fn of_run(run: &Path, flags: &str) -> Output {
    let mut command = program("evaluate");
    command.args(["--device", "cpu", "--threads", "1"]).arg(run);
    command.args(flags.split_whitespace()).output().unwrap()
}

#[test]
fn a_run_is_scored_on_its_own_data_at_whichever_checkpoint() {
    for flags in ["", "--average 0.8", "--lr 0.3 --decay constant"] {
        let folder = tempfile::tempdir().unwrap();
        let valid = texts(folder.path());
        fs::write(folder.path().join("test.txt"), valid.replace("log", "mat")).unwrap();
        let run = scored_run(folder.path(), flags);
        let summary = fs::read(run.join("summary.json")).unwrap();
        let summary: Value = serde_json::from_slice(&summary).unwrap();
        let result_of = |flags: &str| result(&of_run(&run, &format!("--json {flags}")));
        let trained = &summary["variants"][0];
        near(&result_of("")["nats_per_token"], trained["test_loss"].as_f64().unwrap());
        assert_eq!(result_of("")["split"], "test");
        let last = result_of("--split validation");
        near(&last["nats_per_token"], trained["validation_loss"].as_f64().unwrap());
        let metrics = fs::read_to_string(run.join("svformer-seed1/metrics.jsonl")).unwrap();
        let lines = metrics.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        for line in lines.filter(|line| line["validation_loss"].is_number()) {
            let step = line["step"].as_u64().unwrap();
            let then = result_of(&format!("--split validation --use {step}"));
            near(&then["nats_per_token"], line["validation_loss"].as_f64().unwrap());
            assert_eq!(then["step"], step);
        }
        let best = result_of("--split validation --checkpoint best");
        near(&best["nats_per_token"], trained["best_validation_loss"].as_f64().unwrap());
        assert_eq!(best["step"], trained["best_step"]);
        // The text is not the one of then.
        fs::write(folder.path().join("test.txt"), "other words\n").unwrap();
        let changed = of_run(&run, "");
        let words = "the test data found now is not what";
        assert!(!changed.status.success() && said(&changed).contains(words), "{}", said(&changed));
        assert!(of_run(&run, "--split validation").status.success());
    }
}

#[test]
fn tokens_are_told_one_by_one() {
    let folder = tempfile::tempdir().unwrap();
    let text = texts(folder.path());
    let run = trained(folder.path(), "--variant neutreno,svformer --tokenizer bpe:280");
    let (data, csv) = (folder.path().join("valid.txt"), folder.path().join("tokens.csv"));
    let flags = format!("--json --by-position --context 8 --per-token {}", path_of(&csv));
    let output = evaluate(&run, &data, &flags);
    let last = result(&output);
    let mut rows = csv::Reader::from_path(&csv).unwrap();
    let titles = "model,variant,seed,place,seen,token_id,token,nats";
    assert_eq!(rows.headers().unwrap().iter().collect::<Vec<_>>().join(","), titles);
    let rows: Vec<csv::StringRecord> = rows.records().map(Result::unwrap).collect();
    let tokens = Tokenizer::load(run.join("tokenizer.json")).unwrap().encode(&text);
    let count = tokens.len() - 1;
    assert_eq!(rows.len(), 2 * count);
    let of_last = &rows[count..];
    assert!(of_last.iter().all(|row| (&row[1], &row[2]) == ("svformer", "1")));
    let nats: Vec<f64> = of_last.iter().map(|row| row[7].parse().unwrap()).collect();
    near(&last["nats_per_token"], nats.iter().sum::<f64>() / count as f64);
    for (index, row) in of_last.iter().enumerate() {
        let numbers = [3, 4, 5].map(|column| row[column].parse::<usize>().unwrap());
        // Windows of eight tokens, none of which is scored twice.
        assert_eq!(numbers, [index + 1, index % 8 + 1, tokens[index + 1] as usize]);
    }
    // Each is what the model alone gives it.
    let loaded = LanguageModel::load(&run.join("svformer-seed1"), &Device::cpu()).unwrap().model;
    for place in [1, 5, 30] {
        let before = one_by_one(&loaded, &tokens[..place], 8, 8);
        let with = one_by_one(&loaded, &tokens[..=place], 8, 8);
        assert!((with - before - nats[place - 1]).abs() < 1e-4, "{place}");
    }
    let groups = last["by_position"].as_array().unwrap();
    let column = |name: &'static str| -> Vec<u64> {
        groups.iter().map(|group| group[name].as_u64().unwrap()).collect()
    };
    assert_eq!((column("seen_from"), column("seen_to")), (vec![1, 2, 4, 8], vec![1, 3, 7, 8]));
    assert_eq!(column("tokens").iter().sum::<u64>(), count as u64);
    let first = nats.iter().step_by(8).sum::<f64>() / nats.len().div_ceil(8) as f64;
    near(&groups[0]["nats_per_token"], first);
    let table = String::from_utf8(evaluate(&run, &data, "--quiet --by-position").stdout).unwrap();
    assert!(
        table.contains("tokens seen before") && table.contains("\n8–15")
            || table.contains("\n8–16"),
        "{table}"
    );
}
