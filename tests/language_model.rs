//! The whole language model, in every variant, against a PyTorch reference
//! (`tests/fixtures/README.md`): loss, logits and each parameter's gradient. On every device.

mod common;

use common::{GOLDEN, devices, finalise};
use neutreno::engine::{Device, Ids, Parameters, no_grad};
use neutreno::language_model::Pass;
use neutreno::{LanguageModel, LanguageModelConfig, Variant, VariantConfig};
use serde_json::Value;

/// As in the reference: 1e-4 leaves room for another order of summation and none for a mistake.
const TOLERANCE: f64 = 1e-4;

fn fixture() -> Value {
    let text = include_str!("fixtures/language_model.json");
    serde_json::from_str(text).expect("the fixture is JSON")
}

fn uniform(name: &str, index: u64) -> f64 {
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let bits = finalise(hash.wrapping_add(index.wrapping_mul(GOLDEN))) >> 40;
    bits as f64 / f64::from(1 << 24)
}

fn values(name: &str, count: usize, mean: f64, scale: f64) -> Vec<f32> {
    let value = |index| mean + scale * (2.0 * uniform(name, index) - 1.0);
    (0..count as u64).map(|index| value(index) as f32).collect()
}

fn weight(name: &str, count: usize, layers: usize) -> Vec<f32> {
    let (mean, scale) = match name {
        _ if name.ends_with("norm.weight") => (1.0, 0.2),
        _ if name.ends_with("lambda_first") || name.ends_with("lambda_own") => (0.5, 0.3),
        _ if name.ends_with("lambda_logits") => (0.0, 0.3),
        _ if name.ends_with("lambda_scale") => (layers as f64, 0.3),
        _ => (0.0, 0.2),
    };
    values(name, count, mean, scale)
}

/// Σ values · probe, the probe being the numbers that go with `name`.
fn probe(name: &str, numbers: &[f32]) -> f64 {
    let name = format!("{name}.probe");
    let term =
        |(index, value): (u64, &f32)| f64::from(*value) * (2.0 * uniform(&name, index) - 1.0);
    (0..).zip(numbers).map(term).sum()
}

fn norm(numbers: &[f32]) -> f64 {
    numbers.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt()
}

fn config(case: &Value) -> LanguageModelConfig {
    let mut config = case["config"].clone();
    config["model_type"] = "llama".into();
    config["hidden_act"] = "silu".into();
    config["max_position_embeddings"] = 23.into();
    serde_json::from_value(config).expect("a configuration")
}

fn ids(rows: &Value) -> Ids {
    let rows = rows.as_array().expect("rows");
    let flat: Vec<u32> = rows
        .iter()
        .flat_map(|row| row.as_array().expect("a row"))
        .map(|id| u32::try_from(id.as_i64().expect("an id")).unwrap_or(Ids::IGNORED))
        .collect();
    let shape = [rows.len(), flat.len() / rows.len()];
    Ids::new(flat, shape)
}

fn near(what: &str, got: f64, expected: &Value, scale: f64) {
    let expected = expected.as_f64().expect("a number");
    let difference = (got - expected).abs();
    assert!(difference <= TOLERANCE * scale, "{what}: {got}, expected {expected}");
}

fn check(case: &Value, device: &Device) {
    let config = config(case);
    let build = |builder: &mut _| LanguageModel::new(&config, builder);
    let (model, parameters) = Parameters::build(device, 0, build);
    assert_eq!(case["parameter_count"], parameters.count());
    for (name, tensor) in parameters.iter() {
        tensor.overwrite(&weight(name, tensor.elements(), config.num_hidden_layers));
    }
    let (tokens, targets) = (ids(&case["inputs"]), ids(&case["targets"]));

    let logits = no_grad(|| model.logits(&tokens)).to_vec().unwrap();
    let expected = &case["logits"];
    let size = expected["norm"].as_f64().unwrap();
    near("the logits' norm", norm(&logits), &expected["norm"], size);
    near("the logits along the probe", probe("logits", &logits), &expected["probe"], size);
    let places = expected["sampled_at"].as_array().unwrap();
    for (place, value) in places.iter().zip(expected["sampled"].as_array().unwrap()) {
        let at = |axis: usize| place[axis].as_u64().unwrap() as usize;
        let index = (at(0) * tokens.shape()[1] + at(1)) * config.vocab_size + at(2);
        near("a logit", f64::from(logits[index]), value, 1.0);
    }

    let label_smoothing = case["label_smoothing"].as_f64().unwrap() as f32;
    let loss = model.loss(&tokens, &targets, &Pass { dropout: None, label_smoothing });
    near("the loss", f64::from(loss.to_scalar().unwrap()), &case["loss"], 1.0);
    let gradients = loss.backward().unwrap();
    let reference = case["parameters"].as_object().unwrap();
    assert_eq!(reference.len(), parameters.names().count());
    for (name, tensor) in parameters.iter() {
        let expected = &reference[name];
        let gradient = gradients.get(tensor).unwrap_or_else(|| panic!("{name}: no gradient"));
        let gradient = gradient.to_vec().unwrap();
        let size = expected["gradient_norm"].as_f64().unwrap();
        assert!(size > 0.0, "{name}");
        near(name, norm(&gradient), &expected["gradient_norm"], size);
        near(name, probe(name, &gradient), &expected["gradient_probe"], size);
    }
}

#[test]
fn the_rule_for_weights_is_the_fixtures() {
    let example = &fixture()["rule_example"];
    let name = example["name"].as_str().unwrap();
    let expected: Vec<f32> = example["first_weights"]
        .as_array()
        .unwrap()
        .iter()
        .map(|w| w.as_f64().unwrap() as f32)
        .collect();
    assert_eq!(weight(name, 4, 3), expected);
}

#[test]
fn every_variant_agrees_with_the_reference() {
    let fixture = fixture();
    let cases = fixture["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 12);
    for (device_name, device) in devices() {
        for case in cases {
            println!("{} on {device_name}", case["name"]);
            check(case, &device);
        }
    }
}

#[test]
fn svformer_has_fewer_parameters_and_a_smaller_cache() {
    let (layers, width) = (8, 64);
    let mut config = LanguageModelConfig::new(100, width, layers, 8, 16);
    config.num_key_value_heads = 2;
    let count = |config: &LanguageModelConfig| {
        let build = |builder: &mut _| LanguageModel::new(config, builder);
        Parameters::build(&Device::plan(), 0, build).1.count()
    };
    let (parameters, cache) = (count(&config), config.kv_cache_bytes_per_token());
    assert_eq!(cache, 2 * layers * 2 * 8 * 4);
    for variant in [Variant::Neutreno, Variant::Resformer] {
        config.variant = VariantConfig::new(variant);
        assert_eq!((count(&config), config.kv_cache_bytes_per_token()), (parameters, cache));
    }
    config.variant = VariantConfig::new(Variant::Svformer);
    assert_eq!(count(&config), parameters - (layers - 1) * width * 2 * 8);
    assert_eq!(config.kv_cache_bytes_per_token() * 2 * layers, cache * (layers + 1));
}
