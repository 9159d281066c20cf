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
        let told = format!("see at least {} before", context - stride);
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
    let [one, latin] = ["one.txt", "latin.txt"].map(|name| folder.path().join(name));
    fs::write(&one, "t").unwrap();
    refused(&one, "", "is a text of 1 tokens, and scoring needs at least 2");
    fs::write(&latin, [0x61, 0xe9, 0x62]).unwrap();
    refused(&latin, "", "is not UTF-8 text");
}
