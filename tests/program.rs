//! The program `lm_wikitext` as a user meets it: what it leaves behind, and what it says to bad
//! input.

mod common;

use common::programs::{json, program, said, text_file};
use serde_json::{Value, json};
use std::io::Write;
use std::path::Path;
#[cfg(unix)]
use std::process::Command;
use std::process::{Output, Stdio};

const SMALL: &str = "--offline --device cpu --layers 3 --width 16 --heads 2 --context 16 --batch 4 \
                     --steps 6 --warmup 2 --eval-tokens 200 --eval-every 3 --sample-every 0 --json";

fn run(folder: &Path, arguments: &[&str]) -> Output {
    let out = folder.join("run");
    program("lm_wikitext")
        .args(SMALL.split_whitespace())
        .args(["--out", out.to_str().expect("a name in UTF-8")])
        .args(arguments)
        .output()
        .expect("the program starts")
}

#[test]
fn trains_all_variants_and_leaves_a_whole_folder() {
    let folder = tempfile::tempdir().unwrap();
    let output = run(folder.path(), &["--data", text_file(folder.path()).to_str().unwrap()]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let summary = json(&output);
    let variants = summary["variants"].as_array().unwrap();
    let names: Vec<&str> = variants.iter().map(|v| v["variant"].as_str().unwrap()).collect();
    assert_eq!(names, ["transformer", "neutreno", "resformer", "svformer"]);
    for variant in variants {
        assert_eq!(variant["steps"], 6);
        assert_eq!(variant["tokens_seen"], 6 * 64);
        for number in [
            "train_loss",
            "validation_loss",
            "validation_token_perplexity",
            "validation_bits_per_byte",
            "test_token_perplexity",
            "bits_per_byte",
        ] {
            assert!(variant[number].as_f64().unwrap() > 0.0, "{number} in {variant}");
        }
    }
    let cache = |index: usize| variants[index]["kv_cache_bytes_per_token"].as_u64().unwrap();
    assert_eq!((cache(0), cache(3)), (2 * 3 * 16 * 4, 4 * 16 * 4));
    let run = folder.path().join("run");
    for file in ["run.json", "tokenizer.json", "summary.json", "report.html"] {
        assert!(run.join(file).is_file(), "{file}");
    }
    for name in names {
        let model = run.join(format!("{name}-seed1"));
        for file in ["config.json", "metrics.jsonl", "model.safetensors"] {
            assert!(model.join(file).is_file(), "{name}/{file}");
        }
        let metrics = std::fs::read_to_string(model.join("metrics.jsonl")).unwrap();
        assert_eq!(metrics.lines().count(), 6);
    }
    let kept: Value =
        serde_json::from_str(&std::fs::read_to_string(run.join("summary.json")).unwrap()).unwrap();
    assert_eq!(kept, summary);
}

/// What differs between the models of a run is in every name: of results, folders and the legend.
#[test]
fn a_variant_is_trained_with_several_constants() {
    let folder = tempfile::tempdir().unwrap();
    let variants =
        "transformer,neutreno:0.2,neutreno:0.4,resformer:sparse,resformer:learnable,svformer";
    let text = text_file(folder.path());
    let flags = ["--variant", variants, "--baseline", "neutreno:0.2", "--data"];
    let output = run(folder.path(), &[&flags[..], &[text.to_str().unwrap()]].concat());
    assert!(output.status.success(), "{}", said(&output));
    let summary = json(&output);
    assert_eq!(summary["baseline"], "neutreno-0.2");
    let expected = [
        ("transformer", "Transformer", json!(null)),
        ("neutreno-0.2", "NeuTRENO λ=0.2", json!({ "neutreno_lambda": 0.2 })),
        ("neutreno-0.4", "NeuTRENO λ=0.4", json!({ "neutreno_lambda": 0.4 })),
        ("resformer-sparse", "ResFormer-sparse", json!({ "resformer_kind": "sparse" })),
        ("resformer-learnable", "ResFormer-learnable", json!({ "resformer_kind": "learnable" })),
        ("svformer", "SVFormer", json!(null)),
    ];
    let report = std::fs::read_to_string(folder.path().join("run/report.html")).unwrap();
    let mut losses = std::collections::BTreeSet::new();
    assert_eq!(summary["variants"].as_array().unwrap().len(), expected.len());
    for ((name, label, constants), model) in
        expected.iter().zip(summary["variants"].as_array().unwrap())
    {
        assert_eq!((&model["variant"], &model["constants"]), (&json!(name), constants));
        losses.insert(model["validation_loss"].to_string());
        let config = folder.path().join(format!("run/{name}-seed1/config.json"));
        let config: Value = serde_json::from_slice(&std::fs::read(config).unwrap()).unwrap();
        let lambda = |value: &Value| value["neutreno_lambda"].as_f64().map(|lambda| lambda as f32);
        assert_eq!(lambda(&config), lambda(constants), "{name}");
        assert!(report.contains(&format!("</span>{label}</li>")), "no {label} in the legend");
    }
    assert_eq!(losses.len(), expected.len(), "all are models of their own");
    // A constant that was typed with the variant is the constant of the flag: the same bits.
    let other = tempfile::tempdir().unwrap();
    let flags =
        ["--variant", "neutreno", "--neutreno-lambda", "0.2", "--data", text.to_str().unwrap()];
    assert!(run(other.path(), &flags).status.success());
    let weights = |folder: &Path, model: &str| {
        std::fs::read(folder.join("run").join(model).join("model.safetensors")).unwrap()
    };
    let as_flag = weights(other.path(), "neutreno-seed1");
    assert!(as_flag == weights(folder.path(), "neutreno-0.2-seed1"));
    assert!(as_flag != weights(folder.path(), "neutreno-0.4-seed1"));
    // Other programs find it by both names.
    for name in ["neutreno:0.2", "neutreno-0.2"] {
        let output = program("generate")
            .args([
                "--variant",
                name,
                "--tokens",
                "3",
                "--prompt",
                "the",
                "--device",
                "cpu",
                "--model",
            ])
            .arg(folder.path().join("run"))
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", said(&output));
        assert!(said(&output).contains("NeuTRENO λ=0.2"), "{}", said(&output));
    }
}

#[test]
fn the_same_command_gives_the_same_numbers() {
    let folders = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let losses = ["1", "2"].map(|threads| {
        let folder = folders[threads.parse::<usize>().unwrap() - 1].path();
        let output = run(folder, &["--variant", "resformer", "--threads", threads]);
        json(&output)["variants"][0]["validation_loss"].clone()
    });
    assert!(losses[0].is_number());
    assert_eq!(losses[0], losses[1]);
}

/// Runs with bad input and returns what is said; nothing may be left behind.
fn refused(arguments: &[&str]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let output = run(folder.path(), arguments);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{arguments:?} was accepted");
    assert!(!said.contains("panicked"), "{said}");
    assert!(!folder.path().join("run").exists(), "{arguments:?} left a folder");
    said
}

#[test]
fn bad_flags_are_named() {
    let cases: [(&[&str], &str); 17] = [
        (&["--batch", "0"], "--batch"),
        (&["--heads", "3"], "--heads 3 does not divide --width 16"),
        (&["--kv-heads", "3", "--heads", "4"], "--kv-heads 3 does not divide --heads 4"),
        (&["--variant", "reformer"], "reformer"),
        (&["--minutes", "1"], "--minutes"),
        (&["--dropout", "1.5"], "--dropout"),
        (&["--lr", "nan"], "--lr"),
        (&["--tokenizer", "bpe:3"], "--tokenizer"),
        (&["--context", "100000000"], "--context"),
        (&["--device", "no such card"], "no such card"),
        (&["--data", "/no/such/place"], "/no/such/place"),
        (&["--preset", "huge"], "--preset"),
        (&["--variant", "transformer", "--neutreno-lambda", "1"], "--neutreno-lambda"),
        (&["--resformer-kind", "sparse", "--resformer-layers", "0"], "--resformer-layers"),
        (&["--memory-limit", "much"], "--memory-limit"),
        (&["--memory-limit", "200KiB"], "--memory-limit allows 200.0 KiB. Less is needed with"),
        (&["--on-device-loss", "ignore"], "--on-device-loss"),
    ];
    for (arguments, expected) in cases {
        let said = refused(arguments);
        assert!(said.contains(expected), "{arguments:?}: {said}");
    }
}

#[test]
fn bad_text_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, contents: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, contents).unwrap();
        path.to_str().unwrap().to_string()
    };
    let empty = file("empty.txt", b"");
    assert!(refused(&["--data", &empty]).contains("empty.txt"));
    let invalid = file("invalid.txt", b"good text\nbad \xff text\n");
    assert!(refused(&["--data", &invalid]).contains("UTF-8"));
    let packed = file("text.txt.gz", b"\x1f\x8b\x08\0and more");
    assert!(refused(&["--data", &packed]).contains("compressed with gzip"));
    assert!(refused(&["--data", "~/text.txt"]).contains("$HOME"));
    assert!(refused(&["--out", "~/run"]).contains("$HOME"));
    assert!(refused(&["--data", "-"]).contains("standard input is empty"));
    let nothing = folder.path().join("nothing");
    std::fs::create_dir(&nothing).unwrap();
    assert!(refused(&["--data", nothing.to_str().unwrap()]).contains("nothing"));
}

#[test]
fn words_that_were_never_learnt_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    let learnt = "the cat sat on the mat and the dog sat on the log\n".repeat(180);
    let path = folder.path().join("text.txt");
    std::fs::write(&path, learnt + &"the horse sat on the hay and the log sat on\n".repeat(20))
        .unwrap();
    let flags = ["--variant", "svformer", "--tokenizer", "words", "--eval-tokens", "100000"];
    let output = run(folder.path(), &[&flags[..], &["--data", path.to_str().unwrap()]].concat());
    let said = said(&output);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("% of the tokens for validation"), "{said}");
    assert!(said.contains("compare with no others"), "{said}");
    let summary = json(&output);
    // Two of eleven words and a line end; validation begins with three lines of learnt words.
    let share = |text: &str| summary[format!("unknown_words_{text}")].as_f64().unwrap();
    assert!((share("test") - 2.0 / 12.0).abs() < 0.01, "{}", share("test"));
    assert!((0.1..0.16).contains(&share("validation")), "{}", share("validation"));
    let scores = &summary["variants"][0];
    assert!(scores["validation_perplexity"].is_number() && scores["bits_per_byte"].is_null());
}

/// Runs with a text in a pipe.
fn run_with_input(folder: &Path, text: &str, arguments: &[&str]) -> Output {
    let out = folder.join("run");
    let mut child = program("lm_wikitext")
        .args(SMALL.split_whitespace())
        .args(["--variant", "svformer", "--data", "-", "--out", out.to_str().unwrap()])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

#[test]
fn a_run_keeps_a_text_that_came_through_a_pipe_and_knows_its_files() {
    let folder = tempfile::tempdir().unwrap();
    let text = "\u{feff}the cat sat on the mat and the dog sat on the log\n".repeat(200);
    let output = run_with_input(folder.path(), &text, &[]);
    assert!(output.status.success(), "{}", said(&output));
    assert!(said(&output).contains("text.txt, to go on with"), "{}", said(&output));
    let run = folder.path().join("run");
    let kept = std::fs::read_to_string(run.join("text.txt")).unwrap();
    assert_eq!(kept, text.strip_prefix('\u{feff}').unwrap());
    let resume = || {
        let mut command = program("lm_wikitext");
        command.arg("--resume").arg(&run).args(["--steps", "8", "--json"]);
        command.current_dir(folder.path()).output().unwrap()
    };
    let measure = || program("measure").args(["--sequences", "2"]).arg(&run).output().unwrap();
    let resumed = resume();
    assert!(resumed.status.success(), "{}", said(&resumed));
    assert_eq!(json(&resumed)["variants"][0]["steps"], 8);
    assert_eq!(json(&resumed)["data"], json(&output)["data"]);
    assert!(measure().status.success(), "{}", said(&measure()));
    // Another configuration, which training would replace.
    let config = run.join("svformer-seed1/config.json");
    let before = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, before.replace("10000.0", "500000.0")).unwrap();
    let refused = measure();
    assert!(said(&refused).contains("config.json is not what the run wrote"), "{}", said(&refused));
    std::fs::write(&config, before).unwrap();
    // Another tokenizer under the same name.
    std::fs::write(run.join("tokenizer.json"), r#"{"kind": "words", "words": ["<unk>", "<eos>"]}"#)
        .unwrap();
    for output in [resume(), measure()] {
        let said = said(&output);
        assert!(!output.status.success() && said.contains("not what the run wrote"), "{said}");
    }
}

#[test]
fn control_characters_of_a_text_are_shown_and_not_done() {
    let folder = tempfile::tempdir().unwrap();
    let text = "\u{1b}[31m\u{0}\u{e}\u{9b}7 a\n".repeat(400);
    let output = run_with_input(folder.path(), &text, &["--sample-every", "3"]);
    assert!(output.status.success(), "{}", said(&output));
    let acts = |c: char| c.is_control() && c != '\n' && c != '\t';
    let page = std::fs::read_to_string(folder.path().join("run/report.html")).unwrap();
    for shown in [said(&output), page] {
        assert!(shown.contains("\\u{1b}") && !shown.contains(acts), "{shown}");
    }
}

#[test]
fn existing_folders_are_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    std::fs::create_dir(&out).unwrap();
    std::fs::write(out.join("precious"), "data").unwrap();
    let output = run(folder.path(), &[]);
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("--out"));
    assert_eq!(std::fs::read_dir(&out).unwrap().count(), 1);
}

#[test]
fn a_place_that_cannot_be_written_is_named() {
    // A folder below a file can be made on no system and by no user.
    let folder = tempfile::tempdir().unwrap();
    let output = run(&text_file(folder.path()), &[]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(said.contains("text.txt") && said.contains("--out"), "{said}");
}

#[cfg(unix)]
#[test]
fn an_interrupt_ends_the_run_with_its_summary() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let child = program("lm_wikitext")
        .args(SMALL.replace("--steps 6", "--steps 1000000").split_whitespace())
        .args(["--out", out.to_str().unwrap()])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let metrics = out.join("transformer-seed1/metrics.jsonl");
    for _ in 0..600 {
        if std::fs::metadata(&metrics).is_ok_and(|file| file.len() > 1000) {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    let id = child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &id]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    let summary = json(&output);
    let variants = summary["variants"].as_array().unwrap();
    assert_eq!(variants.len(), 1);
    assert_eq!(variants[0]["finished"], false);
    assert!(variants[0]["steps"].as_u64().unwrap() > 0);
    assert!(variants[0]["validation_loss"].as_f64().unwrap() > 0.0);
    assert!(out.join("report.html").is_file());
    assert!(out.join("transformer-seed1/model.safetensors").is_file());
}

#[test]
fn numbers_that_are_not_finite_stop_the_run_or_are_skipped() {
    let folder = tempfile::tempdir().unwrap();
    // So large a step makes the weights infinite soon.
    let flags =
        ["--variant", "transformer", "--lr", "1e38", "--warmup", "0", "--decay", "constant"];
    let stopped = run(folder.path(), &[&flags[..], &["--debug-nonfinite"]].concat());
    let said = String::from_utf8_lossy(&stopped.stderr);
    assert!(!stopped.status.success());
    assert!(said.contains("is not finite at step") && said.contains("--lr"), "{said}");
    assert!(said.contains("the first that is not finite: "), "{said}");
    let folder = tempfile::tempdir().unwrap();
    let skipped = run(folder.path(), &[&flags[..], &["--on-nonfinite", "skip"]].concat());
    assert!(skipped.status.success(), "{}", String::from_utf8_lossy(&skipped.stderr));
    let summary = json(&skipped);
    assert_eq!(summary["variants"][0]["steps"], 6);
    assert!(summary["variants"][0]["skipped_steps"].as_u64().unwrap() > 0);
}

/// A machine can compute what a lesser processor does.
#[test]
fn fewer_instructions_can_be_asked_for() {
    let run = |asked: &str| {
        let folder = tempfile::tempdir().unwrap();
        let text = text_file(folder.path());
        let mut command = program("lm_wikitext");
        command.env("NEUTRENO_CPU", asked).args(SMALL.split_whitespace());
        command.args([
            "--variant",
            "transformer",
            "--out",
            folder.path().join("run").to_str().unwrap(),
        ]);
        command.args(["--data", text.to_str().unwrap()]).output().unwrap()
    };
    let scalar = run("scalar");
    assert!(scalar.status.success() && said(&scalar).contains(", scalar, "), "{}", said(&scalar));
    let loss = |output: &Output| json(output)["variants"][0]["train_loss"].as_f64().unwrap();
    if cfg!(target_arch = "x86_64") {
        let avx2 = run("avx2");
        assert!(avx2.status.success() && said(&avx2).contains(", AVX2, "), "{}", said(&avx2));
        assert!((loss(&avx2) - loss(&scalar)).abs() < 1e-3);
    }
    let unknown = run("widest");
    assert!(!unknown.status.success() && said(&unknown).contains("NEUTRENO_CPU"));
}
