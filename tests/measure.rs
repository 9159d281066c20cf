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

/// The models of a measurements.json.
fn models_of(json: &str) -> Vec<Value> {
    let mut measurements: Value = serde_json::from_str(json).unwrap();
    serde_json::from_value(measurements["models"].take()).unwrap()
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
    for text in [
        "text: Transformer",
        "pictures: NeuTRENO",
        "block 3, head 2",
        "data:image/png",
        "5 models, not all measured on the same data",
        "text on 5 windows of 16 tokens of the validation text of text.txt; \
         pictures on 4 validation images of images",
    ] {
        assert!(page.contains(text), "{text}");
    }
    let json = fs::read_to_string(folder.join("text/measurements.json")).unwrap();
    let models = models_of(&json);
    assert_eq!(models.len(), 2 * 2 + 1);
    for model in &models {
        assert_eq!(model["measured"]["residual_peak"].as_array().unwrap().len(), 4, "{model}");
        let concentration = &model["measured"]["attention_concentration"];
        assert!(concentration[2].as_f64().unwrap() < 17_f64.ln(), "{model}");
    }

    // From elsewhere, beside the page of before, or where it is wished for.
    let elsewhere = tempfile::tempdir().unwrap();
    let run = folder.join("text").display().to_string();
    succeed("measure", &format!("{run} --device cpu --sequences 2"), elsewhere.path());
    assert_eq!(fs::read_to_string(folder.join("text/measurements.html")).unwrap(), page);
    let second = fs::read_to_string(folder.join("text/measurements-2.html")).unwrap();
    assert!(second.contains("4 models, each measured on the same 2 windows"));
    assert!(folder.join("text/measurements-2.json").is_file());
    // A run that is being trained has a checkpoint of one model, and nothing of others.
    fs::remove_file(folder.join("text/summary.json")).unwrap();
    fs::remove_file(folder.join("text/transformer-seed1/result.json")).unwrap();
    fs::remove_file(folder.join("text/transformer-seed1/model.safetensors")).unwrap();
    for model in ["svformer-seed1", "transformer-seed2"] {
        fs::remove_dir_all(folder.join("text").join(model)).unwrap();
    }
    let output =
        program("measure", &format!("{run} --device cpu --out new/page"), elsewhere.path());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("Transformer, seed 1: its latest checkpoint, after 4 steps"), "{said}");
    assert!(said.contains("SVFormer, seed 1: left out, it has no checkpoint yet"), "{said}");
    let json = fs::read_to_string(elsewhere.path().join("new/page/measurements.json")).unwrap();
    let of_checkpoint = models_of(&json);
    assert_eq!(of_checkpoint.len(), 2);
    assert!(!folder.join("text/svformer-seed1").exists(), "nothing is made where it looks");

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

/// A run refers to its data by an absolute path, whatever bytes that has.
#[cfg(target_os = "linux")]
#[test]
fn folders_whose_names_are_no_unicode_are_found_again() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let parent = tempfile::tempdir().unwrap();
    let data = OsStr::from_bytes(b"caf\xe9");
    fs::create_dir(parent.path().join(data)).unwrap();
    write_data(&parent.path().join(data));
    let run = OsStr::from_bytes(b"r\xfcn");
    let finish = |mut command: std::process::Command, folder: &Path| {
        let output = command.current_dir(folder).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    let mut command = programs::program("image_classification");
    let flags = "--device cpu --layers 2 --width 16 --heads 2 --patch 4 --batch 4 --steps 4 \
                 --variant neutreno --average 0.9";
    command.args(flags.split_whitespace()).arg("--out").arg(run);
    let mut joined = OsStr::new("--data=").to_owned();
    joined.push(data);
    joined.push("/images");
    finish(
        {
            command.arg(joined);
            command
        },
        parent.path(),
    );
    let path = parent.path().join(run);
    let elsewhere = tempfile::tempdir().unwrap();
    let mut resume = programs::program("image_classification");
    resume.args(["--steps", "6"]).arg("--resume").arg(&path);
    finish(resume, elsewhere.path());
    // At a checkpoint, whose average is measured.
    fs::remove_file(path.join("neutreno-seed1/result.json")).unwrap();
    let mut measure = programs::program("measure");
    measure.args(["--device", "cpu", "--sequences", "3"]).arg(&path);
    finish(measure, elsewhere.path());
    let measured = |name: &str| models_of(&fs::read_to_string(path.join(name)).unwrap())[0].clone();
    let at_checkpoint = measured("measurements.json");
    assert_eq!(at_checkpoint["step"], 6);
    // Going on from that checkpoint gives the final weights, which are the same.
    let mut resume = programs::program("image_classification");
    resume.arg("--resume").arg(&path);
    finish(resume, elsewhere.path());
    let mut measure = programs::program("measure");
    measure.args(["--device", "cpu", "--sequences", "3"]).arg(&path);
    finish(measure, elsewhere.path());
    assert_eq!(measured("measurements-2.json"), at_checkpoint);
}
