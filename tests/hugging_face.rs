//! Folders as Hugging Face's `transformers` saves them, with the logits that it finds
//! (`tests/fixtures/README.md`): one file or several, each type of weights, each key of the
//! configuration that changes what is computed. On every device.

mod common;

use common::devices;
use common::reference::{check_logits, values};
use neutreno::LanguageModel;
use neutreno::engine::{Device, Error, Ids};
use neutreno::language::Loaded;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

fn cases() -> Vec<Value> {
    let text = include_str!("fixtures/hugging_face.json");
    let fixture: Value = serde_json::from_str(text).expect("the fixture is JSON");
    fixture["cases"].as_array().expect("cases").clone()
}

fn case(name: &str) -> Value {
    cases().into_iter().find(|case| case["name"] == name).expect("a case of that name")
}

/// The bytes of a number whose lowest bits are cut off.
fn bytes(number: f32, dtype: &str) -> Vec<u8> {
    let bits = number.to_bits();
    match dtype {
        "float32" => bits.to_le_bytes().to_vec(),
        "bfloat16" => ((bits >> 16) as u16).to_le_bytes().to_vec(),
        "float16" => {
            let [sign, exponent, mantissa] = [bits >> 16 & 0x8000, bits >> 23 & 255, bits >> 13];
            // Below 2⁻¹⁴ it is 0.
            let magnitude = exponent
                .checked_sub(112)
                .filter(|exponent| *exponent > 0)
                .map_or(0, |exponent| exponent << 10 | mantissa & 1023);
            ((sign | magnitude) as u16).to_le_bytes().to_vec()
        }
        other => panic!("{other}: no such type"),
    }
}

/// A safetensors file of tensors that follow from their names.
fn weights(tensors: &[(&String, &Value)], dtype: &str) -> Vec<u8> {
    let (mut header, mut numbers) = (Map::new(), Vec::new());
    let short = BTreeMap::from([("float32", "F32"), ("bfloat16", "BF16"), ("float16", "F16")]);
    for (name, shape) in tensors {
        let count: u64 =
            shape.as_array().unwrap().iter().map(|size| size.as_u64().unwrap()).product();
        let mean = if name.ends_with("norm.weight") { 1.0 } else { 0.0 };
        let start = numbers.len();
        let all = values(name, count as usize, mean, 0.2);
        numbers.extend(all.into_iter().flat_map(|number| bytes(number, dtype)));
        let entry = json!({
            "dtype": short[dtype], "shape": shape, "data_offsets": [start, numbers.len()]
        });
        header.insert((*name).clone(), entry);
    }
    let header = Value::Object(header).to_string();
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &numbers].concat()
}

/// The folder of a case.
fn write(case: &Value, folder: &Path) {
    fs::write(folder.join("config.json"), case["config"].to_string()).unwrap();
    let dtype = case["dtype"].as_str().unwrap();
    let tensors: Vec<(&String, &Value)> = case["tensors"].as_object().unwrap().iter().collect();
    let Some(map) = case["index"]["weight_map"].as_object() else {
        return fs::write(folder.join("model.safetensors"), weights(&tensors, dtype)).unwrap();
    };
    let index = folder.join("model.safetensors.index.json");
    fs::write(index, case["index"].to_string()).unwrap();
    let mut files = BTreeMap::<&str, Vec<(&String, &Value)>>::new();
    for (name, shape) in tensors {
        files.entry(map[name].as_str().unwrap()).or_default().push((name, shape));
    }
    assert!(files.len() > 1, "{}", case["name"]);
    for (file, tensors) in files {
        fs::write(folder.join(file), weights(&tensors, dtype)).unwrap();
    }
}

fn ids(rows: &Value) -> Ids {
    let rows = rows.as_array().expect("rows");
    let of_row = |row: &Value| row.as_array().expect("a row").clone();
    let flat: Vec<u32> =
        rows.iter().flat_map(of_row).map(|id| id.as_u64().expect("an id") as u32).collect();
    let shape = [rows.len(), flat.len() / rows.len()];
    Ids::new(flat, shape)
}

#[test]
fn every_folder_gives_the_logits_of_transformers() {
    let cases = cases();
    assert_eq!(cases.len(), 13);
    for (device_name, device) in devices() {
        for case in &cases {
            println!("{} on {device_name}", case["name"]);
            let folder = tempfile::tempdir().unwrap();
            write(case, folder.path());
            let Loaded { model, notices, .. } =
                LanguageModel::load(folder.path(), &device).unwrap();
            assert_eq!(notices, Vec::<String>::new(), "{}", case["name"]);
            let tokens = ids(&case["inputs"]);
            let logits = model.logits(&tokens).to_vec().unwrap();
            let shape = [tokens.shape()[0], tokens.shape()[1], model.config().vocab_size];
            check_logits(&case["logits"], &logits, &shape);
        }
    }
}

#[test]
fn end_tokens_are_one_or_several() {
    let end = |name: &str| {
        let folder = tempfile::tempdir().unwrap();
        write(&case(name), folder.path());
        LanguageModel::load(folder.path(), &Device::cpu()).unwrap().end_tokens
    };
    assert_eq!([end("untied"), end("everything")], [vec![2], vec![2, 5]]);
}

/// Each thing that can be wrong with a sound folder, and words of the line that says so.
#[test]
fn damaged_folders_are_refused_with_a_line() {
    let refused = |name: &str, damage: &dyn Fn(&Path)| {
        let folder = tempfile::tempdir().unwrap();
        write(&case(name), folder.path());
        damage(folder.path());
        match LanguageModel::load(folder.path(), &Device::cpu()) {
            Err(error @ (Error::File { .. } | Error::Parameters { .. })) => error.to_string(),
            Err(error) => panic!("{error}"),
            Ok(_) => panic!("it was loaded"),
        }
    };
    let config = |key: &str, value: Value| {
        let key = key.to_owned();
        move |folder: &Path| {
            let path = folder.join("config.json");
            let mut config: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
            config[&key] = value.clone();
            fs::write(path, config.to_string()).unwrap();
        }
    };
    let one = |change: fn(Vec<u8>) -> Vec<u8>| {
        move |folder: &Path| {
            let path = folder.join("model.safetensors");
            fs::write(&path, change(fs::read(&path).unwrap())).unwrap();
        }
    };
    // The first tensor is said to be of another type.
    let first_of = |dtype: &str| {
        let dtype = format!("\"{dtype}\"");
        move |folder: &Path| {
            let path = folder.join("model.safetensors");
            let text = fs::read(&path).unwrap();
            let place = text.windows(5).position(|word| word == b"\"F32\"").unwrap();
            let changed = [&text[..place], dtype.as_bytes(), &text[place + 5..]].concat();
            fs::write(path, changed).unwrap();
        }
    };
    for (said, words) in [
        (refused("tied", &config("vocab_size", json!(62))), "[61, 48] in the file, not [62, 48]"),
        (refused("tied", &config("num_hidden_layers", json!(2))), "layers.2."),
        (refused("tied", &config("attention_bias", json!(true))), "q_proj.bias [48] is missing"),
        (
            refused("biases", &config("mlp_bias", json!(false))),
            "down_proj.bias [48] is in the file",
        ),
        (
            refused("tied", &config("tie_word_embeddings", json!(false))),
            "lm_head.weight [61, 48] is missing",
        ),
        (refused("tied", &config("model_type", json!("gemma"))), "model_type is \"gemma\""),
        (refused("tied", &first_of("I32")), "holds I32; F32, F16 or BF16"),
        (refused("tied", &first_of("X32")), "its header is wrong: unknown variant `X32`"),
        (refused("tied", &one(|bytes| bytes[..bytes.len() - 5].to_vec())), "cut off or damaged"),
        (refused("tied", &one(|bytes| bytes[..100].to_vec())), "cut off, or no safetensors file"),
        (
            refused("tied", &one(|bytes| [&[255; 8], &bytes[8..]].concat())),
            "its header should have",
        ),
        (
            refused("tied", &|folder| fs::remove_file(folder.join("model.safetensors")).unwrap()),
            "model.safetensors: it is not there, and no model.safetensors.index.json",
        ),
        (
            refused("shards", &|folder| {
                fs::remove_file(folder.join("model-00002-of-00003.safetensors")).unwrap();
            }),
            "these are not beside it: model-00002-of-00003.safetensors; get them",
        ),
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
}
