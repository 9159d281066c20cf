//! The programs for images as a user meets them: what they leave behind, what they say to bad
//! input, and that a GPU gives what the CPU gives.

mod common;

use common::programs::{json, path_of, said, scenes};
use image::{GrayImage, ImageFormat, Rgb, RgbImage};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::Output;

const SMALL: &str = "--layers 2 --width 16 --heads 2 --batch 4 --steps 4 --warmup 2 --eval-every 2 \
                     --patch 4 --eval-images 8 --json";

/// Runs a program on images in `folder`.
fn run(name: &str, folder: &Path, arguments: &[&str]) -> Output {
    common::programs::program(name)
        .args(SMALL.split_whitespace())
        .args(["--out", &path_of(&folder.join("run"))])
        .args(["--data", &path_of(&folder.join("data"))])
        .args(arguments)
        .output()
        .expect("the program starts")
}

/// An idx file of unsigned bytes.
fn idx(sizes: &[usize], bytes: &[u8]) -> Vec<u8> {
    let mut file = vec![0, 0, 8, sizes.len() as u8];
    sizes.iter().for_each(|size| file.extend((*size as u32).to_be_bytes()));
    file.extend(bytes);
    file
}

/// 8 × 8 pixels of one of three shades, in MNIST's files.
fn digits(folder: &Path) {
    fs::create_dir(folder).unwrap();
    for (name, count) in [("train", 60), ("t10k", 12)] {
        let labels: Vec<u8> = (0..count).map(|number| number % 3).collect();
        let shade = |label: u8| (0..64).map(move |place| 100 * label + place % 40);
        let pixels: Vec<u8> = labels.iter().copied().flat_map(shade).collect();
        let count = labels.len();
        let file = |kind: &str| folder.join(format!("{name}-{kind}-ubyte"));
        fs::write(file("images-idx3"), idx(&[count, 8, 8], &pixels)).unwrap();
        fs::write(file("labels-idx1"), idx(&[count], &labels)).unwrap();
    }
}

fn check_run(folder: &Path, output: &Output, scores: &[&str], pictures: &[&str]) {
    assert!(output.status.success(), "{}", said(output));
    let summary = json(output);
    let variants = summary["variants"].as_array().unwrap();
    let names: Vec<&str> = variants.iter().map(|v| v["variant"].as_str().unwrap()).collect();
    assert_eq!(names, ["transformer", "neutreno", "resformer", "svformer"]);
    for variant in variants {
        assert_eq!((&variant["steps"], &variant["images_seen"]), (&4.into(), &16.into()));
        for score in scores {
            let value = variant[score].as_f64();
            assert!(value.is_some_and(|value| (0.0..=1.0).contains(&value)), "{score}: {variant}");
        }
        assert!(variant["validation_loss"].as_f64().unwrap() > 0.0);
    }
    let run = folder.join("run");
    let report = fs::read_to_string(run.join("report.html")).unwrap();
    assert!(report.contains("data:image/svg+xml;base64,"));
    for name in names {
        let model = run.join(format!("{name}-seed1"));
        for file in ["config.json", "metrics.jsonl", "model.safetensors"] {
            assert!(model.join(file).is_file(), "{name}/{file}");
        }
        for picture in pictures {
            assert!(model.join("pictures").join(picture).is_file(), "{name}: {picture}");
        }
    }
    let kept = fs::read_to_string(run.join("summary.json")).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&kept).unwrap(), summary);
}

#[test]
fn classification_trains_all_variants_and_leaves_a_whole_folder() {
    let folder = tempfile::tempdir().unwrap();
    digits(&folder.path().join("data"));
    let mixing = ["--device", "cpu", "--mixup", "0.8", "--cutmix", "1", "--erasing", "0.2"];
    let output = run("image_classification", folder.path(), &mixing);
    let scores = ["top1_accuracy", "test_top1_accuracy"];
    check_run(folder.path(), &output, &scores, &["mistakes.svg", "confusion.svg"]);
    // The right one of three is always among five.
    assert!(
        !said(&output).contains("top-5") && json(&output)["variants"][0]["top5_accuracy"].is_null()
    );
}

#[test]
fn segmentation_trains_all_variants_and_leaves_a_whole_folder() {
    let folder = tempfile::tempdir().unwrap();
    scenes(&folder.path().join("data"));
    let output = run("image_segmentation", folder.path(), &["--device", "cpu"]);
    let scores = ["mean_iou", "pixel_accuracy", "test_mean_iou", "test_pixel_accuracy"];
    check_run(folder.path(), &output, &scores, &["scenes.svg", "confusion.svg"]);
}

/// The loss of every step of a run with one variant.
fn losses(name: &str, folder: &Path, device: &[&str]) -> Vec<f64> {
    let output = run(name, folder, &[&["--variant", "neutreno", "--device"], device].concat());
    assert!(output.status.success(), "{}", said(&output));
    let metrics = folder.join("run/neutreno-seed1/metrics.jsonl");
    let metrics = fs::read_to_string(metrics).unwrap();
    fs::remove_dir_all(folder.join("run")).unwrap();
    let loss = |line: &str| serde_json::from_str::<Value>(line).unwrap()["loss"].as_f64().unwrap();
    metrics.lines().map(loss).collect()
}

/// On every GPU of this machine, software ones as hardware too.
#[test]
fn a_gpu_trains_as_the_cpu_does() {
    common::devices();
    let gpus = neutreno::engine::device::list();
    for (name, make) in
        [("image_classification", digits as fn(&Path)), ("image_segmentation", scenes)]
    {
        let folder = tempfile::tempdir().unwrap();
        make(&folder.path().join("data"));
        let on_cpu = losses(name, folder.path(), &["cpu"]);
        let check = |device: &[&str]| {
            let on_gpu = losses(name, folder.path(), device);
            assert_eq!(on_gpu.len(), on_cpu.len());
            for (a, b) in on_cpu.iter().zip(&on_gpu) {
                assert!((a - b).abs() < 1e-3, "{name}: {on_cpu:?} and {on_gpu:?}");
            }
        };
        for (number, gpu) in gpus.iter().enumerate() {
            let device = format!("gpu:{number}");
            check(&[&device]);
            if gpu.is_software() {
                check(&[&device, "--as-hardware"]);
            }
        }
    }
}

/// Runs with something wrong and returns what is said; nothing may be left behind.
fn refused(name: &str, folder: &Path, arguments: &[&str]) -> String {
    let output = run(name, folder, arguments);
    let said = said(&output);
    assert!(!output.status.success(), "{arguments:?} was accepted");
    assert!(!said.contains("panicked"), "{said}");
    assert!(!folder.join("run").exists(), "{arguments:?} left a folder");
    said
}

#[test]
fn bad_flags_are_named() {
    let folder = tempfile::tempdir().unwrap();
    digits(&folder.path().join("data"));
    let cases: [(&[&str], &str); 15] = [
        (&["--heads", "3"], "--heads 3 does not divide --width 16"),
        (&["--patch", "3"], "--patch 3 does not divide images of 8×8 pixels"),
        (&["--flip", "1.5"], "--flip is 1.5"),
        (&["--scale", "2,1"], "--scale is 2 to 1"),
        (&["--mixup", "9"], "--mixup has α = 9"),
        (&["--image-size", "8"], "--image-size"),
        (&["--image-size", "16x16"], "--image-size scales pictures that are files"),
        (&["--ground", "black"], "--ground is for pictures that are files"),
        (&["--ground", "#12"], "six hexadecimal digits"),
        (&["--magnitude", "0.5"], "--magnitude says how strong --operations are"),
        (&["--classes", "a,b"], "takes 3 names of classes, and 2 are given"),
        (&["--classes", "a,,b"], "the name of class 1 is empty"),
        (&["--drop-path", "1"], "--drop-path"),
        (&["--preset", "huge"], "--preset"),
        (&["--variant", "transformer", "--neutreno-lambda", "1"], "--neutreno-lambda"),
    ];
    for (arguments, expected) in cases {
        let said = refused("image_classification", folder.path(), arguments);
        assert!(said.contains(expected), "{arguments:?}: {said}");
    }
    let said = refused("image_segmentation", folder.path(), &[]);
    assert!(said.contains("images for classification"), "{said}");
}

/// Digits, which differ by side, are not mirrored unless that is asked for; scenes are, and it is said.
#[test]
fn digits_are_not_mirrored() {
    let flip = |name: &str, make: fn(&Path), flags: &[&str]| {
        let folder = tempfile::tempdir().unwrap();
        make(&folder.path().join("data"));
        let usual = ["--device", "cpu", "--variant", "transformer"];
        let output = run(name, folder.path(), &[&usual, flags].concat());
        assert!(output.status.success(), "{}", said(&output));
        let flip = json(&output)["settings"]["augmentation"]["flip"].as_f64().unwrap();
        (flip, said(&output))
    };
    let (share, said) = flip("image_classification", digits, &[]);
    assert_eq!(share, 0.0);
    assert!(said.contains("not mirrored, since its classes are digits"), "{said}");
    assert_eq!(flip("image_classification", digits, &["--flip", "0.5"]).0, 0.5);
    let (share, said) = flip("image_segmentation", scenes, &[]);
    assert_eq!(share, 0.5);
    assert!(said.contains("if left and right matter: --flip 0"), "{said}");
}

/// Learned coefficients that no layer uses would have no gradient.
#[test]
fn one_layer_is_trained_in_every_kind() {
    for kind in ["identity", "constant", "sparse", "learnable", "learnable-plus"] {
        for (name, make, flags) in [
            ("image_classification", digits as fn(&Path), &["--layers", "1"][..]),
            ("image_classification", digits, &["--layers", "2", "--class-token", "true"]),
            ("image_segmentation", scenes, &["--layers", "1", "--decoder-layers", "1"]),
            ("image_segmentation", scenes, &["--layers", "2", "--decoder-layers", "2"]),
        ] {
            let folder = tempfile::tempdir().unwrap();
            make(&folder.path().join("data"));
            let variant = ["--device", "cpu", "--variant", "resformer", "--resformer-kind", kind];
            let output = run(name, folder.path(), &[&variant, flags].concat());
            assert!(output.status.success(), "{kind}, {flags:?}: {}", said(&output));
        }
    }
}

/// As many validation images are scored as was asked for, whole batches or not.
#[test]
fn so_many_images_are_scored() {
    let scores = |count: &str, batch: &str| {
        let folder = tempfile::tempdir().unwrap();
        digits(&folder.path().join("data"));
        let flags = ["--device", "cpu", "--variant", "transformer", "--eval-images", count];
        let output =
            run("image_classification", folder.path(), &[&flags[..], &["--batch", batch]].concat());
        assert!(output.status.success(), "{}", said(&output));
        let metrics = fs::read_to_string(folder.path().join("run/transformer-seed1/metrics.jsonl"));
        let lines = metrics.unwrap();
        let mut lines = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let accuracy = lines.find_map(|line| line["top1_accuracy"].as_f64()).unwrap();
        accuracy * count.parse::<f64>().unwrap()
    };
    for (count, batch) in [("5", "4"), ("3", "4")] {
        let right = scores(count, batch);
        assert!((right - right.round()).abs() < 1e-9, "{right} of {count} images");
    }
}

/// Sides without a common divisor would be a patch a pixel.
#[test]
fn patches_that_cannot_be_meant_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    for class in ["cat", "dog"] {
        let place = folder.path().join("data").join(class);
        fs::create_dir_all(&place).unwrap();
        for number in 0..4 {
            let picture = RgbImage::from_pixel(101, 67, Rgb([number; 3]));
            picture
                .save_with_format(place.join(format!("{number}.png")), ImageFormat::Png)
                .unwrap();
        }
    }
    // Those of `run` name a patch.
    let output = common::programs::program("image_classification")
        .args(["--device", "cpu", "--data", &path_of(&folder.path().join("data"))])
        .args(["--out", &path_of(&folder.path().join("run"))])
        .output()
        .unwrap();
    let said = said(&output);
    assert!(!output.status.success() && !folder.path().join("run").exists(), "{said}");
    assert!(
        said.contains("6767 patches of 1×1 pixels") && said.contains("--image-size 64x104"),
        "{said}"
    );
}

#[test]
fn flags_for_data_need_data() {
    for (name, flag) in [
        ("image_classification", &["--image-size", "8x8"][..]),
        ("image_classification", &["--classes", "a,b"]),
        ("image_classification", &["--skip-broken"]),
        ("image_classification", &["--ground", "white"]),
        ("image_segmentation", &["--void", "0"]),
        ("image_segmentation", &["--label-values", "0,255"]),
    ] {
        let output = common::programs::program(name).args(flag).output().unwrap();
        let expected = flag[0];
        assert!(!output.status.success());
        assert!(said(&output).contains("needs --data"), "{expected}: {}", said(&output));
    }
}

#[test]
fn bad_images_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let refused = |expected: [&str; 2]| {
        let said = refused("image_segmentation", folder.path(), &["--device", "cpu"]);
        assert!(expected.iter().all(|part| said.contains(part)), "{expected:?}: {said}");
    };
    scenes(&data);
    let file = data.join("valannot/2.png");
    GrayImage::new(6, 8).save_with_format(&file, ImageFormat::Png).unwrap();
    refused(["2.png", "6"]);
    let skipping = ["--device", "cpu", "--skip-broken", "--variant", "svformer"];
    fs::write(&file, b"no PNG at all").unwrap();
    refused(["2.png", "--skip-broken"]);
    let output = run("image_segmentation", folder.path(), &skipping);
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(json(&output)["skipped_images"], 1);
}
