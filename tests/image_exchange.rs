//! Classifiers of images there and back: ViTs as Hugging Face's `transformers` saves them, with the logits
//! that it finds (`tests/fixtures/README.md`), and ours as they are exported. As in `export.rs`,
//! `tests/exchange` looks at what is left in `NEUTRENO_EXCHANGE`.

mod common;

use common::exchange::{Place, bits, export, write_as_trained};
use common::programs::{self, digits, said};
use common::reference::values;
use neutreno::engine::checkpoint::{Metadata, save_tensors};
use neutreno::engine::{Device, Error, Parameters, Tensor};
use neutreno::run::write_json;
use neutreno::vision::{ImageClassifier, ImageSize, LoadedClassifier, VisionConfig};
use neutreno::{ResformerKind, Variant, VariantConfig};
use serde_json::{Value, json};
use std::env;
use std::fs;
use std::path::{Path, PathBuf};

const TOLERANCE: f32 = 1e-4;

fn cases() -> Vec<Value> {
    let fixture: Value = serde_json::from_str(include_str!("fixtures/vit.json")).unwrap();
    fixture["cases"].as_array().unwrap().clone()
}

fn numbers<T: serde::de::DeserializeOwned>(value: &Value) -> Vec<T> {
    serde_json::from_value(value.clone()).unwrap()
}

/// The folder of a case.
fn write(case: &Value, folder: &Path) {
    fs::write(folder.join("config.json"), case["config"].to_string()).unwrap();
    let tensor = |(name, shape): (&String, &Value)| {
        let shape: Vec<usize> = numbers(shape);
        let mean = if name.contains("layernorm") && name.ends_with("weight") { 1.0 } else { 0.0 };
        let values = values(name, shape.iter().product(), mean, 0.2);
        (name.clone(), Tensor::new(&values, shape.as_slice(), &Device::cpu()))
    };
    let tensors: Vec<(String, Tensor)> =
        case["tensors"].as_object().unwrap().iter().map(tensor).collect();
    save_tensors(&folder.join("model.safetensors"), &tensors, &Metadata::new()).unwrap();
}

/// Two images for a model.
fn images(model: &ImageClassifier) -> Tensor {
    let VisionConfig { image_size, num_channels, .. } = *model.config();
    let shape = [2, num_channels, image_size.height(), image_size.width()];
    Tensor::new(&values("images", shape.iter().product(), 0.0, 1.0), shape, model.device())
}

/// How far two lists are from each other.
fn distance(ours: &[f32], theirs: &[f32]) -> f32 {
    assert_eq!(ours.len(), theirs.len());
    ours.iter().zip(theirs).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn a_vit_gives_the_logits_of_transformers() {
    let cases = cases();
    assert_eq!(cases.len(), 5);
    for case in &cases {
        let folder = tempfile::tempdir().unwrap();
        write(case, folder.path());
        for image in case["images"].as_array().unwrap() {
            let size: Vec<usize> = numbers(&image["size"]);
            let size = ImageSize::new(size[0], size[1]);
            let LoadedClassifier { model, notices, .. } =
                ImageClassifier::load(folder.path(), Some(size), &Device::cpu()).unwrap();
            let pooled = notices.iter().any(|notice| notice.contains("vit.pooler.dense.weight"));
            assert_eq!(
                (notices.len(), pooled),
                if case["name"] == "pooler" { (1, true) } else { (0, false) }
            );
            assert_eq!(model.config().id2label[&2], "bird");
            let worst = distance(
                &model.logits(&images(&model)).to_vec().unwrap(),
                &numbers(&image["logits"]),
            );
            assert!(worst < TOLERANCE, "{}, {size:?}: {worst}", case["name"]);
        }
    }
}

#[test]
fn what_does_not_fit_is_refused_with_a_line() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let refused = |change: Value, size: Option<ImageSize>| {
        let mut case = cases()[0].clone();
        for (key, value) in change.as_object().unwrap() {
            case["config"][key] = value.clone();
        }
        write(&case, folder);
        match ImageClassifier::load(folder, size, &Device::cpu()) {
            Err(error @ (Error::File { .. } | Error::Parameters { .. })) => error.to_string(),
            Err(error) => panic!("{error}"),
            Ok(_) => panic!("it was loaded"),
        }
    };
    let size = Some(ImageSize::new(25, 24));
    for (said, words) in [
        (refused(json!({}), size), "patch_size 6 does not divide images of 25 × 24"),
        (refused(json!({"hidden_act": "relu"}), None), "config.json: hidden_act is \"relu\""),
        (refused(json!({"num_hidden_layers": 3}), None), "numbers or more, and the weights"),
        (refused(json!({"num_hidden_layers": 1}), None), "layer.1."),
        (refused(json!({"hidden_size": 3_000_000_000_u64}), None), "numbers or more"),
        (
            refused(json!({"image_size": 30}), None),
            "position_embeddings is [1, 17, 24] in the file",
        ),
        (refused(json!({"model_type": "deit"}), None), "distillation token"),
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
}

/// Every variant, with a class token and without, and shapes that differ.
fn configurations() -> Vec<(String, VisionConfig)> {
    use ResformerKind::{Constant, Learnable, LearnablePlus, Sparse};
    let resformer = |kind| VariantConfig {
        resformer_kind: Some(kind),
        ..VariantConfig::of_images(Variant::Resformer)
    };
    let variants = Variant::ALL.map(VariantConfig::of_images).into_iter();
    let variants = variants
        .chain([Constant, Sparse, Learnable, LearnablePlus].map(resformer))
        .chain([VariantConfig::neutreno_resformer()]);
    let names = ["cat", "dog", "bird"].map(str::to_owned);
    let classes = VisionConfig::new(ImageSize::new(24, 24), 6, 24, 4, 3, &names);
    let mean = VisionConfig {
        class_token: false,
        num_channels: 1,
        qkv_bias: false,
        drop_path_rate: 0.1,
        image_size: ImageSize::new(12, 30),
        ..classes.clone()
    };
    let mut all = Vec::new();
    for variant in variants {
        for (shape, sizes) in [("class", &classes), ("mean", &mean)] {
            let name = format!("{}-{shape}", variant.name().replace('+', "-"));
            all.push((name, VisionConfig { variant: variant.clone(), ..sizes.clone() }));
        }
    }
    all
}

fn make(config: &VisionConfig) -> (ImageClassifier, Parameters) {
    let build = |builder: &mut _| ImageClassifier::new(config, builder);
    let (model, parameters) = Parameters::build(&Device::cpu(), 0, build);
    for (name, tensor) in parameters.iter() {
        let (mean, scale) = match name {
            _ if name.ends_with("lambda_scale") => (3.0, 0.3),
            _ if name.ends_with("lambda_logits") => (0.0, 0.5),
            _ if name.contains("lambda_") => (0.5, 0.3),
            _ if name.contains("layernorm") && name.ends_with("weight") => (1.0, 0.2),
            _ => (0.0, 0.2),
        };
        tensor.overwrite(&values(name, tensor.elements(), mean, scale));
    }
    (model, parameters)
}

/// What other programs must find, for images of the model's own size and of another.
fn expected(folder: &Path, patch: usize) -> Value {
    let found = [None, Some(ImageSize::new(6 * patch, 3 * patch))].map(|size| {
        let loaded = ImageClassifier::load(folder, size, &Device::cpu()).unwrap();
        let images = images(&loaded.model);
        json!({
            "shape": &images.shape()[..], "pixels": images.to_vec().unwrap(),
            "logits": loaded.model.logits(&images).to_vec().unwrap()
        })
    });
    json!({ "images": found })
}

#[test]
fn every_variant_is_exported_and_loaded_with_the_same_bits() {
    let place = Place::new();
    for (name, config) in configurations() {
        let (model, parameters) = make(&config);
        let trained = place.folder(&format!("image-trained/{name}"));
        write_as_trained(&trained, &config, &parameters);
        let to = place.folder("image-models").join(&name);
        let exported = export(&trained, &to, None);
        let plain = config.variant.variant == Variant::Transformer && config.class_token;
        assert_eq!(to.join("modeling_neutreno.py").is_file(), !plain, "{name}");
        assert_eq!(exported.load.contains("trust_remote_code"), !plain, "{name}");
        let LoadedClassifier { model: again, parameters: loaded, notices, .. } =
            ImageClassifier::load(&to, None, &Device::cpu()).unwrap();
        assert_eq!(notices, Vec::<String>::new(), "{name}");
        assert_eq!(again.config(), &config);
        assert_eq!(bits(&loaded), bits(&parameters), "{name}");
        let expected = expected(&to, config.patch_size);
        let logits = model.logits(&images(&model)).to_vec().unwrap();
        assert_eq!(numbers::<f32>(&expected["images"][0]["logits"]), logits);
        write_json(&to.join("expected.json"), &expected).unwrap();
    }
}

/// A run as a user makes it, with what its pictures become.
#[test]
fn a_run_is_exported_with_what_pictures_become() {
    let place = Place::new();
    let folder = place.folder("image-runs");
    let _ = fs::remove_dir_all(folder.join("images"));
    let _ = fs::remove_dir_all(folder.join("run"));
    digits(&folder.join("images"), 30);
    let run = |name: &str, arguments: &str| {
        let mut program = programs::program(name);
        let output =
            program.current_dir(&folder).args(arguments.split_whitespace()).output().unwrap();
        assert!(output.status.success(), "{}", said(&output));
    };
    run(
        "image_classification",
        "--device cpu --data images --layers 3 --width 16 --heads 2 --patch 4 --batch 4 --steps 4 \
         --variant transformer,svformer --class-token true --out run",
    );
    for variant in ["transformer", "svformer"] {
        let to = place.folder("image-models").join(format!("run-{variant}"));
        let _ = fs::remove_dir_all(&to);
        let path = programs::path_of(&to);
        run("export", &format!("--model run --variant {variant} --out {path} --quiet"));
        let loaded = ImageClassifier::load(&to, None, &Device::cpu()).unwrap();
        let preprocessing = loaded.preprocessing.unwrap();
        assert_eq!(preprocessing.size, Some(ImageSize::Square(8)));
        let facts: Value =
            serde_json::from_slice(&fs::read(folder.join("run/run.json")).unwrap()).unwrap();
        assert_eq!(json!(preprocessing.mean), facts["pixel_mean"]);
        assert_eq!(json!(preprocessing.deviation), facts["pixel_deviation"]);
        let card = fs::read_to_string(to.join("README.md")).unwrap();
        for words in ["pipeline_tag: image-classification", "| top1 accuracy |", "8 × 8 pixels"] {
            assert!(card.contains(words), "{words}: {card}");
        }
        write_json(&to.join("expected.json"), &expected(&to, 4)).unwrap();
    }
}

#[test]
#[ignore = "needs what transformers saved; tests/exchange runs it"]
fn what_transformers_saves_is_computed_alike() {
    let root = PathBuf::from(env::var_os("NEUTRENO_EXCHANGE").expect("its folder"));
    let mut count = 0;
    for entry in fs::read_dir(root.join("image-saved")).unwrap() {
        let folder = entry.unwrap().path();
        let text = fs::read(folder.join("expected.json")).unwrap();
        let expected: Value = serde_json::from_slice(&text).unwrap();
        for image in expected["images"].as_array().unwrap() {
            let shape: Vec<usize> = numbers(&image["shape"]);
            let size = ImageSize::new(shape[2], shape[3]);
            let loaded = ImageClassifier::load(&folder, Some(size), &Device::cpu()).unwrap();
            assert_eq!(loaded.notices, Vec::<String>::new(), "{}", folder.display());
            let pixels: Vec<f32> = numbers(&image["pixels"]);
            let images = Tensor::new(&pixels, shape.as_slice(), loaded.model.device());
            let ours = loaded.model.logits(&images).to_vec().unwrap();
            let worst = distance(&ours, &numbers(&image["logits"]));
            assert!(worst < TOLERANCE, "{}: {worst}", folder.display());
            println!("{}: logits within {worst:.1e}", folder.display());
        }
        count += 1;
    }
    assert!(count > 0, "nothing is there");
}
