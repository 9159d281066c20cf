//! A tokenizer that is brought along, `--tokenizer FILE`.

mod common;

use common::folder::Folder;
use common::programs::{json, path_of, program, said};
use neutreno::data::PretrainedTokenizer;
use std::fs;
use std::path::Path;
use std::process::Output;

const SMALL: &str = "--device cpu --threads 1 --layers 2 --width 16 --heads 2 --context 16 --batch 2 \
                     --eval-every 0 --eval-tokens all --variant svformer --json";

fn run(name: &str, folder: &Path, arguments: &[&str]) -> Output {
    program(name).current_dir(folder).args(arguments).output().unwrap()
}

fn train(folder: &Path, arguments: &[&str]) -> Output {
    let usual: Vec<&str> = SMALL.split_whitespace().chain(["--data", "text.txt"]).collect();
    run("lm_wikitext", folder, &[&usual[..], arguments].concat())
}

#[test]
fn a_run_learns_and_writes_with_a_tokenizer_from_elsewhere() {
    let model = Folder::new();
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let text = "the cat sat on the mat, and the dog too\n".repeat(100);
    fs::write(folder.join("text.txt"), &text).unwrap();
    fs::copy(model.path().join("tokenizer.json"), folder.join("its.json")).unwrap();
    let output = train(folder, &["--steps", "4", "--tokenizer", "its.json", "--out", "run"]);
    assert!(output.status.success(), "{}", said(&output));
    let summary = json(&output);
    let tokenizer = PretrainedTokenizer::load(&folder.join("its.json")).unwrap();
    assert_eq!(summary["vocabulary"], tokenizer.largest() + 1);
    // Letter by letter, since that is what it knows, and the sign for the line end that it does not.
    assert!(said(&output).contains(&format!("tokens: pretrained:{}", tokenizer.largest() + 1)));
    let kept = fs::read(folder.join("run/tokenizer.json")).unwrap();
    assert!(kept == fs::read(folder.join("its.json")).unwrap(), "the run keeps it as it is");

    // The run needs the file no more: going on, scoring and writing take its own.
    fs::rename(folder.join("its.json"), folder.join("moved.json")).unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let place = path_of(&folder.join("run"));
    let on = run("lm_wikitext", elsewhere.path(), &["--resume", &place, "--steps", "6", "--json"]);
    assert!(on.status.success(), "{}", said(&on));
    let scored = run("evaluate", folder, &["run", "--device", "cpu", "--json"]);
    assert!(scored.status.success(), "{}", said(&scored));
    let [found, expected] =
        [&json(&scored)["nats_per_token"], &json(&on)["variants"][0]["test_loss"]]
            .map(|number| number.as_f64().unwrap());
    assert!((found - expected).abs() < 1e-5, "{found}, not {expected}");
    let written =
        run("generate", folder, &["run", "--device", "cpu", "--prompt", "the", "--tokens", "3"]);
    assert!(written.status.success(), "{}", said(&written));

    // Typed again, it must be the same.
    let again = |file: &str| {
        let flags = ["--resume", "run", "--steps", "8", "--tokenizer", file];
        run("lm_wikitext", folder, &flags)
    };
    let same = again("moved.json");
    assert!(same.status.success(), "{}", said(&same));
    let text = fs::read_to_string(folder.join("moved.json")).unwrap();
    fs::write(
        folder.join("other.json"),
        text.replace("\"version\":\"1.0\"", "\"version\": \"1.0\""),
    )
    .unwrap();
    let words = "other.json is not the tokenizer that run began with";
    assert!(said(&again("other.json")).contains(words), "{}", said(&again("other.json")));
}

#[test]
fn what_is_no_tokenizer_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    fs::write(folder.join("text.txt"), "words and words\n".repeat(100)).unwrap();
    fs::write(folder.join("broken.json"), "{").unwrap();
    fs::write(folder.join("other.json"), r#"{"colour": "blue"}"#).unwrap();
    for (file, words) in [
        ("nowhere.json", "nowhere.json"),
        ("broken.json", "EOF"),
        ("other.json", "it has neither \"model\" nor a \"kind\""),
        ("letters", "or a file, tokenizer.json"),
    ] {
        let output = train(folder, &["--steps", "1", "--tokenizer", file, "--out", "run"]);
        let said = said(&output);
        assert!(!output.status.success() && said.contains(words), "{file}: {said}");
        assert!(!said.contains("panicked") && !folder.join("run").exists(), "{said}");
    }
}
