//! Stopping early, and the best of what was trained.

mod common;

use common::programs::{json, path_of, program, said, text_file};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::Output;

/// A rate at which a model becomes worse after a while.
const FLAGS: &str = "--device cpu --threads 1 --layers 2 --width 16 --heads 2 --context 16 --batch 2 \
                     --tokenizer bytes --steps 60 --eval-every 5 --lr 0.2 --decay constant --warmup 0 \
                     --variant transformer,svformer --keep-checkpoints 1 --eval-tokens 200 --json";

fn train(folder: &Path, flags: &str) -> Output {
    let mut command = program("lm_wikitext");
    command.current_dir(folder).args(flags.split_whitespace());
    command.output().unwrap()
}

fn begin(folder: &Path, name: &str, flags: &str) -> Output {
    let data = path_of(&text_file(folder));
    train(folder, &format!("{FLAGS} --data {data} --out {name} {flags}"))
}

fn metrics(model: &Path) -> Vec<Value> {
    let text = fs::read_to_string(model.join("metrics.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The losses of all steps, and the scores.
fn learnt(model: &Path) -> Vec<(Value, Value)> {
    let of = |line: Value| (line["loss"].clone(), line["validation_loss"].clone());
    metrics(model).into_iter().map(of).collect()
}

#[test]
fn a_model_that_becomes_no_better_is_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let whole = begin(folder, "whole", "");
    assert!(whole.status.success(), "{}", said(&whole));
    let output = begin(folder, "run", "--patience 2");
    assert!(output.status.success(), "{}", said(&output));
    let summary = json(&output);
    let mut early = 0;
    for model in summary["variants"].as_array().unwrap() {
        let name = format!("{}-seed1", model["variant"].as_str().unwrap());
        let [steps, best] = ["steps", "best_step"].map(|key| model[key].as_u64().unwrap());
        assert_eq!(model["finished"], true);
        let [here, there] = ["run", "whole"].map(|run| learnt(&folder.join(run).join(&name)));
        assert_eq!(here[..], there[..steps as usize], "the same steps, as far as they were made");
        // By hand: the first score after which two others were no better.
        let scores = metrics(&folder.join("whole").join(&name)).into_iter();
        let scores: Vec<(u64, f64)> = scores
            .filter_map(|line| Some((line["step"].as_u64()?, line["validation_loss"].as_f64()?)))
            .collect();
        let least = |scores: &[(u64, f64)]| {
            scores
                .iter()
                .copied()
                .fold((0, f64::INFINITY), |least, one| if one.1 < least.1 { one } else { least })
        };
        let end =
            (1..=scores.len()).find(|count| scores[count - 1].0 - least(&scores[..*count]).0 >= 10);
        let expected = end.map_or(60, |count| scores[count - 1].0);
        assert_eq!((steps, best), (expected, least(&scores[..expected as usize / 5]).0), "{name}");
        if steps < 60 {
            early += 1;
            assert_eq!(model["stopped_early_with_patience"], 2);
            let told = format!("stopped after step {steps}: no better score in 2 validations");
            assert!(said(&output).contains(&told), "{}", said(&output));
        }
        // The best one is still there, with the score of then.
        let mut evaluate = program("evaluate");
        evaluate.current_dir(folder).args(["--device", "cpu", "--json", "--split", "validation"]);
        evaluate.arg(format!("run/{name}")).args(["--use", "best"]);
        let of_best = evaluate.output().unwrap();
        assert!(of_best.status.success(), "{}", said(&of_best));
        assert_eq!(json(&of_best)["step"], best);
    }
    assert!(early > 0, "no model became worse: {summary}");
    let report = fs::read_to_string(folder.join("run/report.html")).unwrap();
    assert!(report.contains("was stopped after"), "the report says so");

    // It is at its end, unless more patience is asked for; then it is as if that had been so from the
    // first.
    let again = train(folder, "--resume run --json");
    assert!(said(&again).contains("this run is finished already"), "{}", said(&again));
    assert_eq!(json(&again)["variants"], summary["variants"]);
    let on = train(folder, "--resume run --patience 0");
    assert!(on.status.success(), "{}", said(&on));
    for name in ["transformer-seed1", "svformer-seed1"] {
        let [here, there] = ["run", "whole"].map(|run| folder.join(run).join(name));
        assert_eq!(learnt(&here), learnt(&there));
        let [here, there] =
            [here, there].map(|model| fs::read(model.join("model.safetensors")).unwrap());
        assert!(here == there, "{name}: the same bits");
    }
}

#[test]
fn stopping_early_is_the_same_after_an_interruption() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let output = begin(folder, "run", "--patience 1");
    assert!(output.status.success(), "{}", said(&output));
    let model = folder.join("run/transformer-seed1");
    let weights = fs::read(model.join("model.safetensors")).unwrap();
    let before = learnt(&model);
    for file in ["model.safetensors", "result.json", "metrics.jsonl"] {
        fs::remove_file(model.join(file)).unwrap();
    }
    let resumed = train(folder, "--resume run --json");
    assert!(resumed.status.success(), "{}", said(&resumed));
    assert_eq!(learnt(&model), before);
    assert!(fs::read(model.join("model.safetensors")).unwrap() == weights, "the same bits");
    for key in ["steps", "best_step", "stopped_early_with_patience", "validation_loss"] {
        let of = |output| json(output)["variants"][0][key].clone();
        assert_eq!(of(&resumed), of(&output), "{key}");
    }
}
