//! Models for other programs. Here they are exported and loaded again; `tests/exchange` has them loaded
//! by `transformers`, for which it names a folder in `NEUTRENO_EXCHANGE` where they are left with what is
//! expected of them, and where it leaves models for the last test.

mod common;

use common::exchange::{Place, bits, export, write_as_trained};
use common::programs::{self, said, text_file};
use common::reference::values;
use neutreno::data::PretrainedTokenizer;
use neutreno::data::tokenizer::Tokenizer;
use neutreno::engine::half::Half;
use neutreno::engine::random::Key;
use neutreno::engine::{Device, Ids, Parameters};
use neutreno::language::{Loaded, RopeScaling};
use neutreno::run::{RunFolder, write_json};
use neutreno::{LanguageModel, LanguageModelConfig, ResformerKind, Variant, VariantConfig};
use serde_json::{Value, json};
use std::env;
use std::fs;
use std::path::{Path, PathBuf};

fn resformer(kind: ResformerKind) -> VariantConfig {
    VariantConfig { resformer_kind: Some(kind), ..VariantConfig::new(Variant::Resformer) }
}

/// Every variant, in three shapes: tied and with as many heads for keys, the opposite of everything, and
/// with layers that share keys.
fn configurations() -> Vec<(String, LanguageModelConfig)> {
    use ResformerKind::{Constant, Learnable, LearnablePlus, Sparse};
    let variants = Variant::ALL.map(VariantConfig::new).into_iter();
    let variants =
        variants.chain([Constant, Sparse, Learnable, LearnablePlus].map(resformer)).chain([
            VariantConfig::neutreno_resformer(),
            VariantConfig { resformer_layers: Some(vec![2]), ..resformer(Sparse) },
        ]);
    let tied = LanguageModelConfig::new(61, 32, 4, 4, 64);
    let llama3 = RopeScaling::Llama3 {
        factor: 8.0,
        low_freq_factor: 0.25,
        high_freq_factor: 3.0,
        original_max_position_embeddings: 32,
    };
    let everything = LanguageModelConfig {
        num_key_value_heads: 2,
        head_dim: Some(12),
        attention_bias: true,
        mlp_bias: true,
        tie_word_embeddings: false,
        rope_theta: 500.0,
        rope_scaling: Some(llama3),
        ..tied.clone()
    };
    // Five layers, of which the last has keys that no other shares.
    let sharing = LanguageModelConfig {
        share_keys: 2,
        num_hidden_layers: 5,
        num_key_value_heads: 2,
        ..tied.clone()
    };
    let shapes = [("tied", tied), ("everything", everything), ("sharing", sharing)];
    let mut all = Vec::new();
    for (number, variant) in variants.enumerate() {
        for (shape, sizes) in &shapes {
            let name = format!("{number}-{}-{shape}", variant.name().replace('+', "-"));
            all.push((name, LanguageModelConfig { variant: variant.clone(), ..sizes.clone() }));
        }
    }
    for (shape, sizes) in &shapes {
        let rule = |layer: usize| match sizes.keeps(layer).key {
            true => [1.0 - 0.1 * layer as f32, [0.0, 0.25][layer % 2], 0.1 * layer as f32],
            false => [1.0, 0.0, 0.0],
        };
        let variant = VariantConfig::given(sizes.num_hidden_layers, rule);
        all.push((format!("given-{shape}"), LanguageModelConfig { variant, ..sizes.clone() }));
    }
    all
}

/// A model of a configuration, with weights that differ from each other enough to tell them apart.
fn make(config: &LanguageModelConfig) -> (LanguageModel, Parameters) {
    let build = |builder: &mut _| LanguageModel::new(config, builder);
    let (model, parameters) = Parameters::build(&Device::cpu(), 0, build);
    for (name, tensor) in parameters.iter() {
        let (mean, scale) = match name {
            _ if name.ends_with("norm.weight") => (1.0, 0.2),
            _ if name.ends_with("lambda_logits") => (0.0, 0.5),
            _ if name.ends_with("lambda_scale") => (3.0, 0.3),
            _ if name.contains("lambda_") => (0.5, 0.3),
            _ => (0.0, 0.3),
        };
        tensor.overwrite(&values(name, tensor.elements(), mean, scale));
    }
    (model, parameters)
}

/// The likeliest tokens after a prompt.
fn greedy(model: &LanguageModel, prompt: &[u32], count: usize) -> Vec<u32> {
    let mut tokens = prompt.to_vec();
    for _ in 0..count {
        let last = tokens.len() - 1;
        let ids = Ids::new(tokens.clone(), [1, tokens.len()]);
        let logits = model.next_logits(&ids, &[last]).to_vec().unwrap();
        let best = (0..logits.len()).max_by(|a, b| logits[*a].total_cmp(&logits[*b]));
        tokens.push(best.unwrap() as u32);
    }
    tokens.split_off(prompt.len())
}

/// What other programs must find.
fn expected(model: &LanguageModel) -> Value {
    let vocabulary = model.config().vocab_size as u64;
    let mut random = Key::new(1).generator();
    let inputs: Vec<Vec<u32>> =
        (0..2).map(|_| (0..11).map(|_| random.below(vocabulary) as u32).collect()).collect();
    let logits = model.logits(&Ids::new(inputs.concat(), [2, 11])).to_vec().unwrap();
    let greedy: Vec<Vec<u32>> = inputs.iter().map(|prompt| greedy(model, prompt, 16)).collect();
    let cache = model.config().kv_cache_bytes_per_token();
    json!({ "inputs": inputs, "logits": logits, "greedy": greedy, "cache_bytes_per_token": cache })
}

#[test]
fn every_variant_is_exported_and_loaded_with_the_same_bits() {
    let place = Place::new();
    for (name, config) in configurations() {
        let (model, parameters) = make(&config);
        let trained = place.folder(&format!("trained/{name}"));
        write_as_trained(&trained, &config, &parameters);
        let to = place.folder("models").join(&name);
        let exported = export(&trained, &to, None);
        let plain = config.model_type() == "llama";
        assert_eq!(to.join("modeling_neutreno.py").is_file(), !plain, "{name}");
        assert_eq!(exported.load.contains("trust_remote_code"), !plain, "{name}");
        let Loaded { model: again, parameters: loaded, notices, .. } =
            LanguageModel::load(&to, &Device::cpu()).unwrap();
        assert_eq!(notices, Vec::<String>::new(), "{name}");
        assert_eq!(again.config(), &config);
        assert_eq!(bits(&loaded), bits(&parameters), "{name}");
        write_json(&to.join("expected.json"), &expected(&model)).unwrap();
        // What was exported can be exported, and is the same.
        let twice = place.folder("twice").join(&name);
        export(&to, &twice, None);
        for file in ["config.json", "model.safetensors", "README.md"] {
            assert_eq!(
                fs::read(to.join(file)).unwrap(),
                fs::read(twice.join(file)).unwrap(),
                "{file}"
            );
        }
        let half = place.folder("half").join(&name);
        export(&to, &half, Some(Half::Bf16));
        let config = fs::read_to_string(half.join("config.json")).unwrap();
        assert!(config.contains(r#""torch_dtype": "bfloat16""#), "{config}");
    }
}

/// A text in which words, line ends and white space of all kinds stand.
const TEXT: &str =
    "the cat sat\n\n on the  mat , naïve → 東京 \t tab\r\n<eos> x<eos>y <unk> .\n\n\n don't\n";

fn run(name: &str, arguments: &[&str], folder: &Path) -> std::process::Output {
    programs::program(name)
        .current_dir(folder)
        .args(arguments)
        .output()
        .expect("the program starts")
}

/// A run as a user makes it, and its export as a user asks for it.
#[test]
fn a_run_is_exported_with_its_tokenizer() {
    let place = Place::new();
    let folder = place.folder("runs");
    text_file(&folder);
    for tokenizer in ["words", "bytes", "bpe:280"] {
        let name = tokenizer.replace(':', "-");
        let _ = fs::remove_dir_all(folder.join(&name));
        let sizes = "--device cpu --data text.txt --layers 3 --width 16 --heads 2 --context 32 --batch 4 \
                     --steps 30 --lr 1e-2 --eval-tokens 100 --eval-every 0 --variant transformer,neutreno";
        let arguments: Vec<&str> = sizes
            .split_whitespace()
            .chain(["--tokenizer", tokenizer, "--out", &name, "--checkpoint-every", "30"])
            .collect();
        let output = run("lm_wikitext", &arguments, &folder);
        assert!(output.status.success(), "{}", said(&output));
        let ours = Tokenizer::load(folder.join(&name).join("tokenizer.json")).unwrap();
        for variant in ["transformer", "neutreno"] {
            let to = place.folder("models").join(format!("{name}-{variant}"));
            let _ = fs::remove_dir_all(&to);
            let to = programs::path_of(&to);
            let output =
                run("export", &["--model", &name, "--variant", variant, "--out", &to], &folder);
            assert!(output.status.success(), "{}", said(&output));
            let to = Path::new(&to);
            let theirs = PretrainedTokenizer::load(&to.join("tokenizer.json")).unwrap();
            assert_eq!(theirs.encode(TEXT, true).unwrap(), ours.encode(TEXT), "{name}");
            let card = fs::read_to_string(to.join("README.md")).unwrap();
            for words in
                ["| steps | 30 |", "| validation loss |", "Token similarity", "license: ..."]
            {
                assert!(card.contains(words), "{words}: {card}");
            }
            let trained = folder.join(&name).join(format!("{variant}-seed1"));
            let [here, there] =
                [&trained, to].map(|folder| LanguageModel::load(folder, &Device::cpu()).unwrap());
            assert_eq!(bits(&here.parameters), bits(&there.parameters));
            let mut expected = expected(&here.model);
            let mut random = Key::new(2).generator();
            let vocabulary = ours.vocabulary() as u64;
            let written: Vec<u32> = (0..40).map(|_| random.below(vocabulary) as u32).collect();
            expected["texts"] = json!([
                { "text": TEXT, "ids": ours.encode(TEXT), "decoded": ours.decode(&ours.encode(TEXT)) },
                { "ids": written, "decoded": ours.decode(&written) },
            ]);
            write_json(&to.join("expected.json"), &expected).unwrap();
        }
    }
}

/// Each of the ways to say which model is meant, and each mistake.
#[test]
fn the_model_that_is_meant_is_found_or_the_mistake_told() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    text_file(folder);
    let sizes = "--device cpu --data text.txt --tokenizer bytes --layers 2 --width 16 --heads 2 \
                 --context 16 --batch 4 --steps 4 --eval-tokens 100 --eval-every 0 \
                 --variant transformer,svformer --seeds 2 --checkpoint-every 2 --out run";
    let output = run("lm_wikitext", &sizes.split_whitespace().collect::<Vec<_>>(), folder);
    assert!(output.status.success(), "{}", said(&output));
    let refused = |arguments: &str| {
        let arguments: Vec<&str> = arguments.split_whitespace().collect();
        let output = run("export", &arguments, folder);
        assert!(!output.status.success() && !folder.join("new").exists(), "{arguments:?}");
        said(&output)
    };
    fs::create_dir(folder.join("full")).unwrap();
    fs::write(folder.join("full/precious"), "data").unwrap();
    for (arguments, words) in [
        (
            "--model run --out new",
            "choose one with --variant: transformer (seed 1), svformer (seed 1)",
        ),
        (
            "--model run --variant svformer --out new",
            "one with --seed: svformer (seed 1), svformer (seed 2)",
        ),
        (
            "--model run --variant neutreno --out new",
            "has no model neutreno; it has transformer-seed1",
        ),
        ("--model nowhere --out new", "nowhere: there is no such folder"),
        ("--model full --out new", "it has no run.json, so it is no run, and no config.json"),
        (
            "--model run/svformer-seed1 --seed 1 --out new",
            "--variant and --seed choose among the models of a run",
        ),
        ("--model run/svformer-seed1 --out full", "full is there already, and was left as it is"),
    ] {
        let said = refused(arguments);
        assert!(said.contains(words), "{arguments}: {said}");
    }
    assert_eq!(fs::read_dir(folder.join("full")).unwrap().count(), 1);
    // Nothing is left of what was begun.
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["full", "run", "text.txt"]);
    let exported = |arguments: &str, out: &str| {
        let arguments: Vec<&str> = arguments.split_whitespace().chain(["--out", out]).collect();
        let output = run("export", &arguments, folder);
        assert!(output.status.success(), "{}", said(&output));
        fs::read(folder.join(out).join("model.safetensors")).unwrap()
    };
    let one = exported("--model run --variant svformer --seed 2", "a");
    assert_eq!(one, exported("--model run/svformer-seed2", "b"));
    assert_ne!(one, exported("--model run/svformer-seed1/", "c"));
    // Other weights than the final ones, with a card that says so.
    assert!(
        refused("--model run/svformer-seed2 --use 3 --out new").contains("no checkpoint of step 3")
    );
    assert_ne!(one, exported("--model run/svformer-seed2 --use 2", "of-two-steps"));
    let card = fs::read_to_string(folder.join("of-two-steps/README.md")).unwrap();
    assert!(card.contains("| steps | 2 (an earlier checkpoint of a longer training) |"), "{card}");
    assert!(!card.contains("test loss"), "{card}");
    fs::remove_dir_all(folder.join("of-two-steps")).unwrap();
    // Where training was stopped the latest checkpoint counts, here that of the last step; and an older
    // version called every model a Llama.
    let model = folder.join("run/svformer-seed2");
    for file in ["result.json", "model.safetensors"] {
        fs::remove_file(model.join(file)).unwrap();
    }
    let config = fs::read_to_string(model.join("config.json")).unwrap();
    fs::write(model.join("config.json"), config.replace("\"svformer_llama\"", "\"llama\""))
        .unwrap();
    assert_eq!(one, exported("--model run --variant svformer --seed 2", "d"));
    let card = fs::read_to_string(folder.join("d/README.md")).unwrap();
    assert!(card.contains("| steps | 4 (training had not come to its end) |"), "{card}");
    let config = fs::read_to_string(folder.join("d/config.json")).unwrap();
    assert!(config.contains("\"model_type\": \"svformer_llama\""), "{config}");
    fs::remove_dir_all(model.join("checkpoints")).unwrap();
    assert!(refused("--model run/svformer-seed2 --out new").contains("has no weights yet"));
    // A file that is not what the run wrote.
    let weights = folder.join("run/svformer-seed1/model.safetensors");
    let mut bytes = fs::read(&weights).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&weights, bytes).unwrap();
    assert!(refused("--model run/svformer-seed1 --out new").contains("is not what the run wrote"));
    assert!(RunFolder::open(&folder.join("run")).is_ok());
}

#[test]
#[ignore = "needs what transformers saved; tests/exchange runs it"]
fn what_transformers_saves_is_computed_alike() {
    let saved = PathBuf::from(env::var_os("NEUTRENO_EXCHANGE").expect("its folder")).join("saved");
    let mut count = 0;
    for entry in fs::read_dir(&saved).unwrap() {
        let folder = entry.unwrap().path();
        let text = fs::read(folder.join("expected.json")).unwrap();
        let expected: Value = serde_json::from_slice(&text).unwrap();
        let Loaded { model, notices, .. } = LanguageModel::load(&folder, &Device::cpu()).unwrap();
        assert_eq!(notices, Vec::<String>::new(), "{}", folder.display());
        let inputs: Vec<Vec<u32>> = serde_json::from_value(expected["inputs"].clone()).unwrap();
        let logits: Vec<f32> = serde_json::from_value(expected["logits"].clone()).unwrap();
        let greedy_tokens: Vec<Vec<u32>> =
            serde_json::from_value(expected["greedy"].clone()).unwrap();
        let ids = Ids::new(inputs.concat(), [inputs.len(), inputs[0].len()]);
        let ours = model.logits(&ids).to_vec().unwrap();
        assert_eq!(ours.len(), logits.len());
        let pairs = ours.iter().zip(&logits);
        let worst = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst < 1e-4, "{}: {worst}", folder.display());
        for (prompt, tokens) in inputs.iter().zip(&greedy_tokens) {
            assert_eq!(&greedy(&model, prompt, tokens.len()), tokens, "{}", folder.display());
        }
        println!("{}: logits within {worst:.1e}", folder.display());
        count += 1;
    }
    assert!(count > 0, "nothing is in {}", saved.display());
}
