//! The whole language model, in every variant, against a PyTorch reference
//! (`tests/fixtures/README.md`): loss, logits and each parameter's gradient. On every device.

mod common;

use common::devices;
use common::reference::{check_gradients, check_logits, near, values};
use neutreno::engine::{Device, Ids, Parameters};
use neutreno::language::Pass;
use neutreno::{LanguageModel, LanguageModelConfig, Variant, VariantConfig};
use serde_json::Value;

fn fixture() -> Value {
    let text = include_str!("fixtures/language_model.json");
    serde_json::from_str(text).expect("the fixture is JSON")
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

fn check(case: &Value, device: &Device) {
    let config = config(case);
    let build = |builder: &mut _| LanguageModel::new(&config, builder);
    let (model, parameters) = Parameters::build(device, 0, build);
    assert_eq!(case["parameter_count"], parameters.count());
    for (name, tensor) in parameters.iter() {
        tensor.overwrite(&weight(name, tensor.elements(), config.num_hidden_layers));
    }
    let (tokens, targets) = (ids(&case["inputs"]), ids(&case["targets"]));

    let logits = model.logits(&tokens).to_vec().unwrap();
    let [batch, time] = [tokens.shape()[0], tokens.shape()[1]];
    check_logits(&case["logits"], &logits, &[batch, time, config.vocab_size]);

    let label_smoothing = case["label_smoothing"].as_f64().unwrap() as f32;
    let loss = model.loss(&tokens, &targets, &Pass { label_smoothing, ..Pass::default() });
    near("the loss", f64::from(loss.to_scalar().unwrap()), &case["loss"], 1.0);
    let gradients = loss.backward().unwrap();
    check_gradients(&case["parameters"], &parameters, &gradients);
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
    assert_eq!(cases.len(), 18);
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
