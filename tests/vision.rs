//! The models of images, in every variant, against a PyTorch reference
//! (`tests/fixtures/README.md`): loss, logits and each parameter's gradient. On every device, DeiT-tiny's full images only on the CPU.

mod common;

use common::reference::{check_gradients, check_logits, near, values};
use common::{GOLDEN, devices, finalise};
use neutreno::engine::{Device, Ids, Parameters, Tensor};
use neutreno::vision::{ImageClassifier, ImageSegmenter, Pass, SoftTargets, VisionConfig};
use serde_json::{Value, json};

const BATCH: usize = 2;

fn weight(name: &str, count: usize) -> Vec<f32> {
    let (mean, scale) = match name {
        _ if name.contains("lambda") => (0.5, 0.3),
        _ if name.ends_with("bias") => (0.0, 0.1),
        _ if name.contains("norm") => (1.0, 0.2),
        _ if name.contains("projection") => (0.0, 0.2),
        _ => (0.0, 0.08),
    };
    values(name, count, mean, scale)
}

fn config(case: &Value) -> VisionConfig {
    let mut config = case["config"].clone();
    let segments = config["segments"] == true;
    let names = 0..config["classes"].as_u64().expect("a number");
    config["id2label"] = names.map(|class| (class.to_string(), json!("a class"))).collect();
    config["model_type"] = if segments { "segmenter" } else { "vit" }.into();
    config["hidden_act"] = "gelu".into();
    config["qkv_bias"] = true.into();
    config["num_decoder_layers"] = if segments { 2.into() } else { Value::Null };
    serde_json::from_value(config).expect("a configuration")
}

fn images(config: &VisionConfig, device: &Device) -> Tensor {
    let size = config.image_size;
    let shape = [BATCH, config.num_channels, size.height(), size.width()];
    Tensor::new(&values("images", shape.iter().product(), 0.0, 1.0), shape, device)
}

fn label(index: u64, classes: usize) -> u32 {
    (finalise((1u64 << 60).wrapping_add(index.wrapping_mul(GOLDEN))) % classes as u64) as u32
}

fn check(case: &Value, device: &Device) {
    let config = config(case);
    match config.num_decoder_layers {
        None => check_classifier(case, &config, device),
        Some(_) => check_segmenter(case, &config, device),
    }
}

fn fill(case: &Value, parameters: &Parameters) {
    assert_eq!(case["parameter_count"], parameters.count());
    for (name, tensor) in parameters.iter() {
        tensor.overwrite(&weight(name, tensor.elements()));
    }
}

fn check_classifier(case: &Value, config: &VisionConfig, device: &Device) {
    let build = |builder: &mut _| ImageClassifier::new(config, builder);
    let (model, parameters) = Parameters::build(device, 0, build);
    fill(case, &parameters);
    let (images, classes, pass) = (images(config, device), config.classes(), Pass::evaluation());
    let logits = model.logits(&images).to_vec().unwrap();
    check_logits(&case["logits"], &logits, &[BATCH, classes]);

    let labels: Vec<u32> = (0..BATCH as u64).map(|image| label(image, classes)).collect();
    let smoothing = case["label_smoothing"].as_f64().unwrap() as f32;
    let loss = model.loss(&images, &SoftTargets::new(&labels, classes, smoothing), &pass);
    near("the loss", f64::from(loss.to_scalar().unwrap()), &case["loss"], 1.0);
    check_gradients(&case["parameters"], &parameters, &loss.backward().unwrap());
}

fn check_segmenter(case: &Value, config: &VisionConfig, device: &Device) {
    let build = |builder: &mut _| ImageSegmenter::new(config, builder);
    let (model, parameters) = Parameters::build(device, 0, build);
    fill(case, &parameters);
    let (images, classes, pass) = (images(config, device), config.classes(), Pass::evaluation());
    let shape = [BATCH, config.image_size.height(), config.image_size.width()];
    let logits = model.logits(&images).to_vec().unwrap();
    check_logits(&case["logits"], &logits, &[shape[0], shape[1], shape[2], classes]);

    let label = |pixel: u64| if pixel % 7 == 3 { Ids::IGNORED } else { label(pixel, classes) };
    let labels: Vec<u32> = (0..shape.iter().product::<usize>() as u64).map(label).collect();
    let loss = model.forward(&images, &pass).cross_entropy(&Ids::new(labels, shape), 0.0);
    near("the loss", f64::from(loss.to_scalar().unwrap()), &case["loss"], 1.0);
    check_gradients(&case["parameters"], &parameters, &loss.backward().unwrap());
}

#[test]
fn every_variant_agrees_with_the_reference() {
    let fixture: Value = serde_json::from_str(include_str!("fixtures/vision.json")).unwrap();
    let cases = fixture["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 14);
    for (device_name, device) in devices() {
        for case in cases {
            // A software GPU takes too long with large images.
            if device.kind() == "gpu" && case["config"]["image_size"] == 224 {
                continue;
            }
            println!("{} on {device_name}", case["name"]);
            check(case, &device);
        }
    }
}
