//! Runs whose models start from a trained one (`--from`): what it computes is where they begin, as far as
//! their variant allows, and a run goes on without it.

mod common;

use common::programs::{json, path_of, program, said, text_file};
use neutreno::data::corpus::Corpus;
use neutreno::data::tokenizer::{Tokenizer, TokenizerChoice};
use neutreno::engine::{Device, Parameters};
use neutreno::run::Use;
use neutreno::tasks::language::{
    LanguageModelling, LanguageSettings, Start, StartFolder, TokenizedText, evaluate,
};
use neutreno::training::{Settings, Stop, Task, needs};
use neutreno::{LanguageModel, LanguageModelConfig, Variant, VariantConfig};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

/// Tokens of the model; the tokenizer has a few less.
const VOCABULARY: usize = 300;

/// A Llama as Hugging Face's folders have it: grouped queries, a vocabulary that is padded, and a tokenizer
/// of bytes with a token of its own. Its weights are large, so that values matter.
fn llama(folder: &Path) -> PathBuf {
    let path = folder.join("llama");
    fs::create_dir(&path).unwrap();
    let mut config = LanguageModelConfig::new(VOCABULARY, 24, 4, 4, 64);
    config.num_key_value_heads = 2;
    let build = |builder: &mut _| LanguageModel::new(&config, builder);
    let (_, parameters) = Parameters::build(&Device::cpu(), 7, build);
    for (name, tensor) in parameters.iter().filter(|(name, _)| name.contains("_proj")) {
        let larger: Vec<f32> = tensor.to_vec().unwrap().iter().map(|x| 8.0 * x).collect();
        assert!(!name.contains("lambda"));
        tensor.overwrite(&larger);
    }
    parameters.save(&path.join("model.safetensors"), &Default::default()).unwrap();
    let mut file = serde_json::to_value(&config).unwrap();
    for ours in ["variant", "dropout", "embedding_deviation"] {
        assert!(file.as_object_mut().unwrap().remove(ours).is_some());
    }
    file["architectures"] = json!(["LlamaForCausalLM"]);
    file["bos_token_id"] = json!(1);
    fs::write(path.join("config.json"), file.to_string()).unwrap();
    write_tokenizer(&path, "the cat sat on the mat and the dog sat on the log\nä\n", 290);
    path
}

fn write_tokenizer(folder: &Path, text: &str, tokens: usize) {
    let path = folder.join("tokenizer.json");
    let text = text.repeat(20);
    TokenizerChoice::BytePairs(tokens).build(&text).unwrap().save(&path).unwrap();
    let mut file: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let largest = file["model"]["vocab"].as_object().unwrap().len();
    file["added_tokens"] = json!([{"id": largest, "content": "<|end|>", "special": true,
        "single_word": false, "lstrip": false, "rstrip": false, "normalized": false}]);
    fs::write(path, file.to_string()).unwrap();
}

const SHARED: &str = "--device cpu --json --batch 2 --context 32 --steps 8 --eval-every 4 --warmup 2 \
                      --eval-tokens all --lr 1e-3 --checkpoint-every 3 --keep-checkpoints 9 \
                      --hash-every 2";

struct Bench {
    folder: tempfile::TempDir,
    llama: PathBuf,
}

impl Bench {
    fn new() -> Bench {
        let folder = tempfile::tempdir().unwrap();
        text_file(folder.path());
        let llama = llama(folder.path());
        Bench { folder, llama }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A new run that starts from a folder.
    fn start(&self, from: &Path, name: &str, flags: &str) -> Output {
        let mut command = program("lm_wikitext");
        command.args(SHARED.split_whitespace()).args(flags.split_whitespace());
        command.arg("--data").arg(self.at("text.txt")).arg("--from").arg(from);
        command.arg("--out").arg(self.at(name)).output().unwrap()
    }

    fn trained(&self, from: &Path, name: &str, flags: &str) -> Output {
        let output = self.start(from, name, flags);
        assert!(output.status.success(), "{}", said(&output));
        output
    }

    fn refused(&self, from: &Path, flags: &str) -> String {
        let output = self.start(from, "refused", flags);
        assert!(!output.status.success(), "it was not refused: {flags}");
        assert!(!self.at("refused").exists(), "{}", said(&output));
        said(&output)
    }

    fn resume(&self, name: &str, flags: &[&str]) -> Output {
        let mut command = program("lm_wikitext");
        command.arg("--resume").arg(self.at(name)).args(flags).output().unwrap()
    }

    fn metrics(&self, run: &str, model: &str) -> Vec<Value> {
        let text = fs::read_to_string(self.at(run).join(model).join("metrics.jsonl")).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The validation loss before any step.
    fn first_loss(&self, run: &str, model: &str) -> f64 {
        let line = &self.metrics(run, model)[0];
        assert_eq!((&line["step"], &line["loss"]), (&json!(0), &Value::Null));
        line["validation_loss"].as_f64().unwrap()
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        match entry.path().is_dir() {
            true => copy(&entry.path(), &to),
            false => drop(fs::copy(entry.path(), to).unwrap()),
        }
    }
}

/// The validation loss of a model as it is loaded, on the last lines of the text.
fn loss_of(folder: &Path, text: &Path) -> f64 {
    let tokenizer = Tokenizer::load(folder.join("tokenizer.json")).unwrap();
    let loaded = LanguageModel::load(folder, &Device::cpu()).unwrap();
    let text = fs::read_to_string(text).unwrap();
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let validation = lines[lines.len() * 90 / 100..lines.len() * 95 / 100].concat();
    let text = TokenizedText::new(&validation, &tokenizer);
    let score = evaluate(&loaded.model, &text, 32, 2, &Stop::never()).unwrap();
    score.loss()
}

#[test]
fn every_variant_starts_from_a_trained_model() {
    let bench = Bench::new();
    let flags = "--variant all --resformer-kind learnable --lambda-warmup 4";
    let output = bench.trained(&bench.llama, "run", flags);
    let own = loss_of(&bench.llama, &bench.at("text.txt"));
    for model in ["transformer-seed1", "neutreno-seed1", "resformer-learnable-seed1"] {
        assert_eq!(bench.first_loss("run", model), own, "{model}");
    }
    let svformer = bench.first_loss("run", "svformer-seed1");
    assert!((svformer - own).abs() > 1e-3, "{svformer} {own}");
    // They part from each other.
    let last = |model| bench.metrics("run", model)[8]["validation_loss"].as_f64().unwrap();
    let [transformer, neutreno, resformer] =
        ["transformer-seed1", "neutreno-seed1", "resformer-learnable-seed1"].map(last);
    assert!(transformer < own && neutreno != transformer && resformer != transformer);

    let said = said(&output);
    for words in [
        "the model has 300 tokens",
        "Transformer: 38 tensors are taken; it begins as the model is",
        "NeuTRENO: 38 tensors are taken; it begins as the model is",
        "6 are new: model.layers.1–3.self_attn.lambda_first, model.layers.1–3.self_attn.lambda_own; it \
         begins as the model is",
        "3 are left: model.layers.1–3.self_attn.v_proj.weight; it begins with (a, b, c) = (0, 1, 0) in \
         place of (1, 0, 0) in layers 1–3",
        "step      0: validation loss",
        "before step 1",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
    let lambdas = bench.metrics("run", "neutreno-seed1");
    let lambdas: Vec<f64> =
        lambdas[1..].iter().map(|line| line["neutreno_lambda"].as_f64().unwrap()).collect();
    assert_eq!(lambdas, [0.0, 0.1, 0.2, 0.3, 0.4, 0.4, 0.4, 0.4]);

    let run: Value = serde_json::from_slice(&fs::read(bench.at("run/run.json")).unwrap()).unwrap();
    assert_eq!(run["from"]["folder"], path_of(&bench.llama));
    assert_eq!(run["from"]["files"].as_object().unwrap().len(), 2);
    assert_eq!((&run["tokenizer"], &run["vocabulary"]), (&json!("pretrained:278"), &json!(300)));
    let [copy, its] = [bench.at("run"), bench.llama.clone()]
        .map(|folder| fs::read(folder.join("tokenizer.json")).unwrap());
    assert!(copy == its, "the tokenizer is kept as it was");
    let models = json(&output)["variants"].as_array().unwrap().clone();
    let initial: Vec<f64> =
        models.iter().map(|model| model["initial_validation_loss"].as_f64().unwrap()).collect();
    assert_eq!(initial, [own, own, own, svformer]);
}

/// The validation loss of each variant begins at step 0 in the report's figure.
#[test]
fn the_report_begins_before_the_first_step() {
    let bench = Bench::new();
    bench.trained(&bench.llama, "run", "--variant transformer,svformer");
    let page = fs::read_to_string(bench.at("run/report.html")).unwrap();
    assert!(page.contains("before step 1"));
    assert!(page.contains("nats above the model's own") || page.contains("nats below the model"));
    let figure = page.split("<h3>Validation loss</h3>").nth(1).unwrap();
    let figure = figure.split("</figure>").next().unwrap();
    let output = program("measure").arg(bench.at("run")).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    let points = |line: &str| line.split('"').next().unwrap().split_whitespace().count();
    let lines: Vec<usize> = figure.split("points=\"").skip(1).map(points).collect();
    // Steps 0, 4 and 8, for two variants; the other lines are those of the axes.
    assert_eq!(lines.iter().filter(|points| **points == 3).count(), 2, "{lines:?}");
}

#[test]
fn what_is_given_up_is_said_for_each_kind() {
    let bench = Bench::new();
    let own = loss_of(&bench.llama, &bench.at("text.txt"));
    for (number, (flags, model, words)) in [
        ("--variant neutreno", "neutreno", "(a, b, c) = (1, 0, 0.4) in place of (1, 0, 0)"),
        ("--variant resformer", "resformer", "(a, b, c) = (0.5, 0.5, 0) in place of (1, 0, 0)"),
        (
            "--variant resformer --resformer-kind sparse --resformer-layers 2",
            "resformer-sparse",
            "(a, b, c) = (1, 5, 0) in place of (1, 0, 0) in layer 2",
        ),
        (
            "--variant resformer --resformer-kind learnable-plus",
            "resformer-learnable-plus",
            "model.lambda_logits, model.lambda_scale, model.layers.1–3.self_attn.lambda_own; it begins \
             as the model is",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let run = format!("run{number}");
        let output = bench.trained(&bench.llama, &run, flags);
        assert!(said(&output).contains(words), "{}", said(&output));
        let first = bench.first_loss(&run, &format!("{model}-seed1"));
        assert_eq!(words.ends_with("as the model is"), first == own, "{model}: {first} {own}");
    }
}

/// A model that was trained here is started from like any other, and its run's tokenizer is its own.
#[test]
fn a_model_of_a_run_is_a_start_as_well() {
    let bench = Bench::new();
    let flags = "--variant resformer --resformer-kind learnable";
    bench.trained(&bench.llama, "first", flags);
    let model = bench.at("first/resformer-learnable-seed1");
    let same = bench.trained(&model, "same", flags);
    let before = bench.metrics("first", "resformer-learnable-seed1")[8]["validation_loss"].clone();
    assert_eq!(json!(bench.first_loss("same", "resformer-learnable-seed1")), before);
    assert!(said(&same).contains("44 tensors are taken; it begins as the model is"));
    let other = bench.trained(&model, "other", "--variant transformer");
    let words = "6 are left: model.layers.1–3.self_attn.lambda_first, \
                 model.layers.1–3.self_attn.lambda_own; it begins with (a, b, c) = (1, 0, 0) in place \
                 of (learned, learned, 0)";
    assert!(said(&other).contains(words), "{}", said(&other));
    // A run of one model is as good.
    let of_run = bench.trained(&bench.at("first"), "of-run", flags);
    assert!(said(&of_run).contains("44 tensors are taken; it begins as the model is"));
    // A file of the run that is not what it wrote.
    let config = model.join("config.json");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, text.replace("\"rope_theta\": 10000", "\"rope_theta\": 20000")).unwrap();
    let refused = bench.refused(&model, "");
    assert!(refused.contains("config.json"), "{refused}");
}

/// What was trained from the checkpoint on is made again, to the bit, without the folder. It is needed for
/// a model that has not begun, and must then be what it was.
#[test]
fn a_run_goes_on_without_the_folder() {
    let bench = Bench::new();
    let flags = "--variant neutreno,svformer --lambda-warmup 6";
    bench.trained(&bench.llama, "whole", flags);
    let cut = |name: &str, begun: bool| {
        copy(&bench.at("whole"), &bench.at(name));
        for file in ["summary.json", "report.html", "neutreno-seed1/result.json"] {
            fs::remove_file(bench.at(name).join(file)).unwrap();
        }
        for step in [4, 6, 8] {
            let checkpoint = format!("neutreno-seed1/checkpoints/step-{step:06}");
            fs::remove_dir_all(bench.at(name).join(checkpoint)).unwrap();
        }
        if !begun {
            fs::remove_dir_all(bench.at(name).join("svformer-seed1")).unwrap();
        }
    };
    let same = |name: &str| {
        for model in ["neutreno-seed1", "svformer-seed1"] {
            let weights = |run: &str| fs::read(bench.at(run).join(model).join("model.safetensors"));
            assert!(weights("whole").unwrap() == weights(name).unwrap(), "{name}: {model}");
            let kept = |run: &str| -> Vec<Value> {
                let mut lines = bench.metrics(run, model);
                for line in &mut lines {
                    let line = line.as_object_mut().unwrap();
                    line.retain(|key, _| !key.contains("second"));
                }
                lines
            };
            assert_eq!(kept("whole"), kept(name), "{name}: {model}");
        }
    };
    cut("begun", true);
    cut("new", false);
    let elsewhere = bench.at("elsewhere");
    fs::rename(&bench.llama, &elsewhere).unwrap();

    let output = bench.resume("begun", &[]);
    assert!(output.status.success(), "{}", said(&output));
    assert!(said(&output).contains("going on after step 3"), "{}", said(&output));
    same("begun");

    let refused = |flags: &[&str], words: &str| {
        let before = fs::read(bench.at("new/run.json")).unwrap();
        let output = bench.resume("new", flags);
        assert!(!output.status.success() && said(&output).contains(words), "{}", said(&output));
        assert!(before == fs::read(bench.at("new/run.json")).unwrap());
    };
    refused(&[], "say so with --from");
    let weights = elsewhere.join("model.safetensors");
    let before = fs::read(&weights).unwrap();
    let mut other = before.clone();
    *other.last_mut().unwrap() ^= 1;
    fs::create_dir(&bench.llama).unwrap();
    fs::copy(elsewhere.join("config.json"), bench.llama.join("config.json")).unwrap();
    fs::write(bench.llama.join("model.safetensors"), &other).unwrap();
    refused(&[], "model.safetensors is not what it was when this run began");
    fs::write(&weights, &other).unwrap();
    let moved = path_of(&elsewhere);
    refused(&["--from", &moved], "the model that it starts from is not the same");
    refused(&["--width", "32"], "--width does not go with --from");
    fs::write(&weights, &before).unwrap();
    let output = bench.resume("new", &["--from", &moved]);
    assert!(output.status.success(), "{}", said(&output));
    same("new");
}

#[test]
fn what_cannot_start_is_refused() {
    let bench = Bench::new();
    for flags in [
        "--layers 2",
        "--width 24",
        "--heads 2",
        "--kv-heads 2",
        "--share-keys 2",
        "--feed-forward 64",
        "--untied",
        "--embedding-deviation 0.1",
        "--tokenizer bytes",
        "--preset tiny",
    ] {
        let said = bench.refused(&bench.llama, flags);
        let flag = flags.split(' ').next().unwrap();
        assert!(said.contains(&format!("{flag} does not go with --from")), "{said}");
    }
    let refused = |flags: &str, words: &str| {
        let said = bench.refused(&bench.llama, flags);
        assert!(said.contains(words), "{words}: {said}");
    };
    refused("--context 65", "--context 65 is more than the 64 that the model was made for");
    refused("--variant svformer --lambda-warmup 3", "--lambda-warmup has no effect");
    refused("--lambda-warmup 9", "--lambda-warmup 9 is longer than the 8 steps");
    refused("--memory-limit 1MB", "Less is needed with --recompute, a smaller --batch");
    let missing = bench.refused(&bench.at("nowhere"), "");
    assert!(missing.contains("there is no such folder"), "{missing}");

    let words = "abcdefg hijklmn opqrstu vwxyzäö ABCDEFG HIJKLMN OPQRSTU VWXYZÄÖ 12345678\n";
    write_tokenizer(&bench.llama, words, 300);
    refused("", "the tokenizer has ids up to 300, and the model a vocabulary of 300");
    fs::remove_file(bench.llama.join("tokenizer.json")).unwrap();
    refused("", "tokenizer.json");
    let config = bench.llama.join("config.json");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, text.replace("\"llama\"", "\"gpt2\"")).unwrap();
    refused("", "model_type is \"gpt2\"");
}

/// What a model that starts from another takes is foretold as for any other: loading takes no more.
#[test]
fn the_memory_is_foretold() {
    let bench = Bench::new();
    let output = bench.trained(&bench.llama, "run", "--variant svformer");
    let peak = json(&output)["variants"][0]["peak_memory_bytes"].as_u64().unwrap();
    let corpus = Corpus::read(&bench.at("text.txt")).unwrap();
    let StartFolder { start, tokenizer, .. } = Start::open(&bench.llama, Use::Last).unwrap();
    let (sizes, settings) = LanguageSettings::starting();
    let sizes = LanguageSettings { context: 32, evaluate_all: true, ..sizes };
    let settings = Settings { batch: 2, steps: 8, evaluate_every: 4, ..settings };
    let task = LanguageModelling::starting_from(start, &corpus, tokenizer, sizes);
    let device = Device::cpu();
    let config = task.config(&VariantConfig::new(Variant::Svformer), &device).unwrap();
    let planned = needs(&task, &config, &settings, &device).unwrap().most().1;
    let ratio = peak as f64 / planned as f64;
    assert!((0.95..=1.0).contains(&ratio), "{peak} of {planned}");
}
