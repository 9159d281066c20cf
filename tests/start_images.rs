//! Models of images that start from trained ones, and which weights of a run others start from.

mod common;

use common::programs::{digits, json, path_of, program, said, scenes, text_file};
use image::{ImageFormat, Rgb, RgbImage};
use neutreno::engine::{Device, Tensor};
use neutreno::open::{Found, ImageModel, Wanted};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Output;

const SMALL: &str = "--device cpu --threads 1 --batch 4 --json";
const SIZES: &str = "--layers 3 --width 16 --heads 2 --patch 4";

fn train(name: &str, folder: &Path, flags: &str) -> Output {
    let mut command = program(name);
    command.args(SMALL.split_whitespace()).args(flags.split_whitespace());
    command.current_dir(folder).output().unwrap()
}

fn trained(name: &str, folder: &Path, flags: &str) -> (Value, String) {
    let output = train(name, folder, flags);
    assert!(output.status.success(), "{flags}: {}", said(&output));
    (json(&output), said(&output))
}

fn refused(name: &str, folder: &Path, flags: &str, words: &str) {
    let output = train(name, folder, &format!("{flags} --out refused"));
    let said = said(&output);
    assert!(!output.status.success() && said.contains(words), "{flags}: {said}");
    assert!(!said.contains("panicked") && !folder.join("refused").exists(), "{said}");
}

/// The numbers of all parameters.
fn numbers(model: &Path) -> BTreeMap<String, Vec<f32>> {
    let source = Found::at(model, &Wanted::default()).unwrap().one().unwrap();
    let opened = ImageModel::open(&source, &Device::cpu()).unwrap();
    let read = |tensor: &Tensor| tensor.to_vec().unwrap();
    opened.parameters.iter().map(|(name, tensor)| (name.to_owned(), read(tensor))).collect()
}

fn scores(run: &Path, flags: &[&str]) -> Value {
    let mut command = program("evaluate");
    command.args(["--device", "cpu", "--json"]).arg(run).args(flags);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    json(&output)
}

fn near(found: &Value, expected: &Value) {
    let [found, expected] = [found, expected].map(|x| x.as_f64().unwrap());
    assert!((found - expected).abs() < 1e-5, "{found}, not {expected}");
}

#[test]
fn a_classifier_is_trained_on_from_whichever_weights() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    digits(&folder.join("data"), 40);
    let first = format!("{SIZES} --data data --steps 12 --eval-every 4 --keep-checkpoints 9");
    trained(
        "image_classification",
        folder,
        &format!("{first} --variant neutreno --average 0.8 --out first"),
    );
    // Nothing is learnt, so what it starts with is what comes out.
    let again =
        "--data data --steps 1 --lr 0 --weight-decay 0 --average 0 --variant neutreno --from first";
    for which in ["last", "best", "4"] {
        let flags = format!("{again} --use {which} --out of-{which}");
        let (summary, told) = trained("image_classification", folder, &flags);
        let expected = scores(&folder.join("first"), &["--use", which]);
        near(&summary["variants"][0]["test_loss"], &expected["loss"]);
        let all = "tensors are taken; none is new; none is left";
        assert!(told.contains(all), "{told}");
        assert!(summary["variants"][0]["start"].as_str().unwrap().contains(all));
    }
    // Another variant takes what it can.
    let flags = again.replace("--variant neutreno", "--variant svformer");
    let (_, told) = trained("image_classification", folder, &format!("{flags} --out svformer"));
    let words = "are left: vit.encoder.layer.1–2.attention.attention.value.bias";
    assert!(told.contains(words), "{told}");
    // And what others start from is kept: going on needs it no more.
    fs::rename(folder.join("first"), folder.join("moved")).unwrap();
    let on = train("image_classification", folder, "--resume of-best --steps 3");
    assert!(on.status.success(), "{}", said(&on));
    refused("image_classification", folder, again, "first: there is no such folder");

    let again = again.replace("--from first", "--from moved");
    for (flags, words) in [
        ("--layers 2", "--layers does not go with --from"),
        ("--patch 8", "--patch does not go with --from"),
        ("--class-token true", "--class-token does not go with --from"),
        ("--use 5", "there is no checkpoint of step 5"),
    ] {
        refused("image_classification", folder, &format!("{again} {flags}"), words);
    }
    let drawn = "--steps 1 --variant neutreno --from moved";
    refused("image_classification", folder, drawn, "sees images of 1 channels, and those of");
}

/// Pictures of 16 × 8 pixels, red ones and blue ones.
fn colours(folder: &Path) {
    for (class, colour) in [("blue", [20, 30, 200]), ("red", [210, 40, 10])] {
        let place = folder.join(class);
        fs::create_dir_all(&place).unwrap();
        for number in 0..12_u8 {
            let picture = RgbImage::from_fn(16, 8, |x, y| {
                Rgb(colour.map(|part: u8| part.wrapping_add(number + (x * y) as u8)))
            });
            let path = place.join(format!("{number}.png"));
            picture.save_with_format(path, ImageFormat::Png).unwrap();
        }
    }
}

#[test]
fn the_encoder_of_a_classifier_goes_into_a_segmenter() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    colours(&folder.join("pictures"));
    scenes(&folder.join("scenes"));
    let flags = format!("{SIZES} --data pictures --steps 6 --variant transformer --out classifier");
    trained("image_classification", folder, &flags);
    let flags = "--data scenes --steps 1 --lr 0 --weight-decay 0 --average 0 --variant transformer \
                 --from classifier/transformer-seed1 --out segmenter";
    let (summary, told) = trained("image_segmentation", folder, flags);
    for words in [
        "starting from: ",
        "positions are fitted to other patches: vit.embeddings.position_embeddings",
        "are new: ",
        " of decoder; ",
        "2 are left: classifier.bias, classifier.weight",
    ] {
        assert!(told.contains(words), "{words}: {told}");
    }
    let sizes =
        ["layers", "width", "heads", "patch"].map(|name| summary["settings"][name].as_u64());
    assert_eq!(sizes, [3, 16, 2, 4].map(Some));
    let [from, to] =
        ["classifier", "segmenter"].map(|run| numbers(&folder.join(run).join("transformer-seed1")));
    for (name, of_segmenter) in to.iter().filter(|(name, _)| name.starts_with("vit.")) {
        match name.as_str() {
            // 4 × 2 patches there, 3 × 2 here.
            "vit.embeddings.position_embeddings" => assert_eq!(of_segmenter.len(), 6 * 16),
            name => assert_eq!(*of_segmenter, from[name], "{name}"),
        }
    }
    // And back, with a head of its own.
    let flags = "--data pictures --steps 1 --variant transformer --from segmenter --out back";
    let (_, told) = trained("image_classification", folder, flags);
    assert!(told.contains("2 are new: classifier.bias, classifier.weight"), "{told}");
    let data = "--data scenes --steps 1 --variant transformer --from classifier";
    refused("image_segmentation", folder, &format!("{data} --image-size 9x9"), "do not divide");
}

#[test]
fn a_text_starts_from_a_run_at_its_best() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    text_file(folder);
    let first = "--layers 2 --width 16 --heads 2 --context 16 --data text.txt --tokenizer bytes --steps 12 \
                 --eval-every 4 --keep-checkpoints 9 --eval-tokens all";
    let (summary, _) = trained(
        "lm_wikitext",
        folder,
        &format!("{first} --lr 0.2 --warmup 0 --decay constant --variant transformer --out first"),
    );
    let again = "--data text.txt --context 16 --steps 1 --lr 0 --weight-decay 0 --eval-tokens all \
                 --variant transformer --from first";
    let (of_best, told) =
        trained("lm_wikitext", folder, &format!("{again} --use best --out of-best"));
    assert!(told.contains("it begins as the model is"), "{told}");
    let best = &summary["variants"][0]["best_validation_loss"];
    near(&of_best["variants"][0]["validation_loss"], best);
    let (of_last, _) = trained("lm_wikitext", folder, &format!("{again} --out of-last"));
    let last = &summary["variants"][0]["validation_loss"];
    near(&of_last["variants"][0]["validation_loss"], last);
    // A weight that changed since is not what the run began with.
    let resumed = train("lm_wikitext", folder, "--resume of-best --steps 2");
    assert!(resumed.status.success(), "{}", said(&resumed));
    refused("lm_wikitext", folder, &format!("{again} --use 5"), "there is no checkpoint of step 5");
    let (_, _) = trained(
        "lm_wikitext",
        folder,
        &format!("{first} --variant transformer,svformer --out two"),
    );
    let words = "is a run of several models: name the folder of one of them, transformer-seed1 or \
                 svformer-seed1";
    refused("lm_wikitext", folder, &again.replace("first", "two"), words);
    scenes(&folder.join("scenes"));
    let data = path_of(&folder.join("scenes"));
    let flags = format!("--data {data} --steps 1 --from first");
    refused("image_segmentation", folder, &flags, "model_type is \"llama\"");
}
