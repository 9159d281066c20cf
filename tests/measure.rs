//! The program `measure` on runs of text and of images.

mod common;

use common::programs::{self, digits};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::Output;

fn program(name: &str, arguments: &str, folder: &Path) -> Output {
    programs::program(name)
        .current_dir(folder)
        .args(arguments.split_whitespace())
        .output()
        .expect("the program starts")
}

fn succeed(name: &str, arguments: &str, folder: &Path) {
    let output = program(name, arguments, folder);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// A text, and thirty training and ten test images of 8×8 pixels in idx files.
fn write_data(folder: &Path) {
    let text = "the cat sat on the mat and the dog sat on the log\n".repeat(100);
    fs::write(folder.join("text.txt"), text).unwrap();
    digits(&folder.join("images"), 30);
}

#[test]
fn runs_of_text_and_images_are_measured() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_data(folder);
    succeed(
        "lm_wikitext",
        "--device cpu --data text.txt --layers 3 --width 16 --heads 2 --context 16 --batch 4 \
         --steps 4 --eval-tokens 100 --measure-every 2 --seeds 2 --variant transformer,svformer \
         --out text",
        folder,
    );
    succeed(
        "image_classification",
        "--device cpu --data images --layers 3 --width 16 --heads 2 --patch 4 --batch 4 \
         --steps 4 --variant neutreno --out pictures",
        folder,
    );
    let report = fs::read_to_string(folder.join("text/report.html")).unwrap();
    for text in ["Inside the models", "Over training", "Attention concentration"] {
        assert!(report.contains(text), "{text}");
    }
    let metrics = fs::read_to_string(folder.join("text/svformer-seed2/metrics.jsonl")).unwrap();
    let measured = metrics.lines().filter(|line| line.contains("token_similarity"));
    assert_eq!(measured.count(), 2);

    succeed("measure", "text pictures --device cpu --sequences 5 --heads 2:1,3:2", folder);
    let page = fs::read_to_string(folder.join("text/measurements.html")).unwrap();
    for text in ["text: Transformer", "pictures: NeuTRENO", "block 3, head 2", "data:image/png"] {
        assert!(page.contains(text), "{text}");
    }
    let json = fs::read_to_string(folder.join("text/measurements.json")).unwrap();
    let models: Vec<Value> = serde_json::from_str(&json).unwrap();
    assert_eq!(models.len(), 2 * 2 + 1);
    for model in &models {
        assert_eq!(model["measured"]["residual_peak"].as_array().unwrap().len(), 4, "{model}");
        let concentration = &model["measured"]["attention_concentration"];
        assert!(concentration[2].as_f64().unwrap() < 17_f64.ln(), "{model}");
    }

    // What is wrong is said, and names what it is about.
    fs::write(folder.join("text.txt"), "other words than before\n".repeat(100)).unwrap();
    for (arguments, message) in [
        ("text", "not what text was trained on"),
        ("nowhere", "nowhere is not the folder of a run"),
        ("pictures --heads 9:1", "--heads 9:1: there are 3 blocks"),
        ("pictures --heads first", "a block and a head are needed"),
    ] {
        let output = program("measure", &format!("{arguments} --device cpu"), folder);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && error.contains(message), "{message}: {error}");
    }
}
