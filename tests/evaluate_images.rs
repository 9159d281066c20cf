//! The program `evaluate` on models of images: its scores are those of training.

mod common;

use common::programs::{digits, json, path_of, program, said, scenes};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

/// A run of two variants on images in `folder`.
fn trained(name: &str, folder: &Path, flags: &str) -> PathBuf {
    let run = folder.join("run");
    let mut command = program(name);
    command.args(
        "--device cpu --threads 1 --layers 2 --width 16 --heads 2 --batch 4 --steps 8 --eval-every 4 \
         --patch 4 --variant transformer,svformer --keep-checkpoints 5"
            .split_whitespace(),
    );
    command.args(flags.split_whitespace());
    command.args(["--data", &path_of(&folder.join("data")), "--out", &path_of(&run)]);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    run
}

fn evaluate(run: &Path, flags: &[&str]) -> Output {
    let mut command = program("evaluate");
    command.args(["--device", "cpu", "--threads", "1"]).arg(run).args(flags).output().unwrap()
}

/// The results, one for each model.
fn results(run: &Path, flags: &[&str]) -> Vec<Value> {
    let output = evaluate(run, &[&["--json"], flags].concat());
    assert!(output.status.success(), "{}", said(&output));
    json(&output);
    let lines = String::from_utf8(output.stdout).unwrap();
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn near(found: &Value, expected: &Value) {
    let [found, expected] = [found, expected].map(|x| x.as_f64().unwrap());
    assert!((found - expected).abs() < 1e-5 * expected.abs().max(1e-3), "{found}, not {expected}");
}

/// Every row of a file of comma-separated values, its titles first.
fn rows(path: &Path) -> Vec<Vec<String>> {
    let mut reader = csv::ReaderBuilder::new().has_headers(false).from_path(path).unwrap();
    let row = |row: csv::StringRecord| row.iter().map(String::from).collect();
    reader.records().map(|record| row(record.unwrap())).collect()
}

#[test]
fn classifiers_are_scored_as_in_training() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    digits(&folder.join("data"), 40);
    let run = trained("image_classification", folder, "--average 0.7");
    let summary: Value =
        serde_json::from_slice(&fs::read(run.join("summary.json")).unwrap()).unwrap();
    let (confusion, classes) = (folder.join("confusion.csv"), folder.join("classes.csv"));
    let files = ["--confusion", &path_of(&confusion), "--per-class", &path_of(&classes)];
    let found = results(&run, &files);
    assert_eq!(found.len(), 2);
    for (found, expected) in found.iter().zip(summary["variants"].as_array().unwrap()) {
        assert_eq!((&found["variant"], &found["images"]), (&expected["variant"], &10.into()));
        near(&found["loss"], &expected["test_loss"]);
        near(&found["top1_accuracy"], &expected["test_top1_accuracy"]);
        let validation = results(&run, &["--split", "validation", "--variant", &name(found)]);
        near(&validation[0]["loss"], &expected["validation_loss"]);
        let best = ["--split", "validation", "--use", "best", "--variant", &name(found)];
        near(&results(&run, &best)[0]["top1_accuracy"], &expected["best_top1_accuracy"]);
        let counts = found["classes"].as_array().unwrap().iter();
        assert_eq!(counts.map(|class| class["count"].as_u64().unwrap()).sum::<u64>(), 10);
    }
    let rows_of_confusion = rows(&confusion);
    assert_eq!(rows_of_confusion[0], ["model", "variant", "seed", "class", "0", "1"]);
    assert_eq!(rows_of_confusion.len(), 1 + 2 * 2);
    let right: f64 =
        [1, 2].map(|row| rows_of_confusion[row][row + 3].parse::<f64>().unwrap()).into_iter().sum();
    near(&found[0]["top1_accuracy"], &(right / 10.0).into());
    let rows_of_classes = rows(&classes);
    assert_eq!(rows_of_classes[0][4..], ["count", "given", "accuracy", "iou"]);
    assert_eq!(rows_of_classes[1][..5], ["Transformer", "transformer", "1", "0", "5"]);
    let table = String::from_utf8(evaluate(&run, &["--quiet"]).stdout).unwrap();
    assert!(table.lines().count() == 4 && table.contains("top-1") && !table.contains("top-5"));
    let all = results(&run, &["--split", "all", "--variant", "svformer"]);
    assert_eq!(all[0]["images"], 50);
}

fn name(result: &Value) -> String {
    result["variant"].as_str().unwrap().into()
}

/// What images become is as it was in training, whatever the others of a folder are like.
#[test]
fn other_images_are_seen_as_those_of_training_were() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    digits(&folder.join("data"), 40);
    let run = trained("image_classification", folder, "");
    let other = folder.join("other");
    digits(&other, 40);
    let name = other.join("train-images-idx3-ubyte");
    let mut bytes = fs::read(&name).unwrap();
    bytes[16..].iter_mut().for_each(|byte| *byte /= 4);
    fs::write(&name, bytes).unwrap();
    let [own, others] = [&[][..], &["--data", &path_of(&other)]].map(|flags| results(&run, flags));
    assert_eq!(own[0]["loss"], others[0]["loss"]);
    // Where nothing is said, it is the run's own data, and no other.
    fs::remove_dir_all(folder.join("data")).unwrap();
    fs::rename(&other, folder.join("data")).unwrap();
    assert!(evaluate(&run, &[]).status.success(), "the test images are as they were");
    let changed = evaluate(&run, &["--split", "all"]);
    let words = "data found now is not what";
    assert!(!changed.status.success() && said(&changed).contains(words), "{}", said(&changed));
    for (flags, words) in [
        (&["--context", "8"][..], "--context is for models of text, and these are of images"),
        (&["--use", "3"], "no checkpoint of step 3"),
        (&["--data", "nowhere"], "nowhere"),
    ] {
        let output = evaluate(&run, flags);
        assert!(!output.status.success() && said(&output).contains(words), "{}", said(&output));
    }
}

#[test]
fn segmenters_are_scored_as_in_training() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    scenes(&folder.join("data"));
    let run = trained("image_segmentation", folder, "");
    let summary: Value =
        serde_json::from_slice(&fs::read(run.join("summary.json")).unwrap()).unwrap();
    for (found, expected) in results(&run, &[]).iter().zip(summary["variants"].as_array().unwrap())
    {
        near(&found["loss"], &expected["test_loss"]);
        near(&found["mean_iou"], &expected["test_mean_iou"]);
        near(&found["pixel_accuracy"], &expected["test_pixel_accuracy"]);
        for class in found["classes"].as_array().unwrap() {
            let name = class["class"].as_str().unwrap();
            assert_eq!(class["iou"], expected["test_class_iou"][name]);
        }
    }
    let table = String::from_utf8(evaluate(&run, &["--quiet", "--use", "4"]).stdout).unwrap();
    assert!(table.contains("mean IoU"), "{table}");
}
