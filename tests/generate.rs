//! The program `generate`: what it writes, on a run and on folders as Hugging Face's, and what it says
//! to what cannot be.

mod common;

use common::folder::{CONTEXT, Folder, TEMPLATE};
use common::programs::{json, path_of, program, said, text_file};
use neutreno::engine::checkpoint::{Metadata, save_tensors};
use neutreno::engine::{Device, Parameters, Tensor};
use neutreno::{LanguageModel, LanguageModelConfig};
use serde_json::{Value, json};
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Output, Stdio};

fn of(folder: &Folder, flags: &[&str]) -> Output {
    generate(folder.path(), flags, b"")
}

/// Runs the program on a model, with a pipe as its input.
fn generate(model: &Path, flags: &[&str], input: &[u8]) -> Output {
    let mut command = program("generate");
    command.args(["--device", "cpu", "--threads", "1", "--model"]).arg(model).args(flags);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut pipe = child.stdin.take().unwrap();
    // One that reads no input closes it.
    let _ = pipe.write_all(input);
    drop(pipe);
    child.wait_with_output().unwrap()
}

fn out(output: &Output) -> String {
    assert!(output.status.success(), "{}", said(output));
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// All results of `--json`, a line each.
fn results(output: &Output) -> Vec<Value> {
    out(output).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn what_is_written_is_what_the_model_finds_likeliest() {
    let folder = Folder::new();
    let expected = folder.likeliest("Hello", 12);
    let text = folder.text(&expected);
    let flags = ["--prompt", "Hello", "--greedy", "--tokens", "12"];
    let output = of(&folder, &flags);
    assert_eq!(out(&output), format!("{text}\n"));
    let told = said(&output);
    for words in
        ["read 5 tokens", "wrote 12 tokens", "cache: 12.8 KiB in f32 for 1 × 17 tokens, 768 B"]
    {
        assert!(told.contains(words), "{words}: {told}");
    }
    let [result] = &results(&of(&folder, &[&flags[..], &["--json"]].concat()))[..] else {
        panic!()
    };
    assert_eq!((&result["ids"], &result["text"]), (&json!(expected), &json!(text)));
    assert_eq!((&result["ended"], &result["prompt"]), (&json!("tokens"), &json!("Hello")));
    assert_eq!(result["settings"]["temperature"], 0.0);
    assert_eq!(result["cache_bytes"], 17 * 768);
    for speed in ["prefill_tokens_per_second", "decoding_tokens_per_second"] {
        assert!(result[speed].as_f64().unwrap() > 0.0, "{speed}");
    }
    // From a file or a pipe, without the line end that stands at the end of either.
    folder.write("prompt.txt", "Hello\r\n");
    let file = path_of(&folder.path().join("prompt.txt"));
    let rest = ["--greedy", "--tokens", "12", "--quiet"];
    let from_file = of(&folder, &[&["--prompt-file", &file], &rest[..]].concat());
    let from_pipe = generate(folder.path(), &rest, b"Hello\n");
    for output in [from_file, from_pipe] {
        assert_eq!((out(&output), said(&output)), (format!("{text}\n"), String::new()));
    }
    // The cache may have any precision, with a text that is not quite another.
    for precision in ["bf16", "f16"] {
        let flags = [&flags[..], &["--json", "--cache-precision", precision]].concat();
        let [result] = &results(&of(&folder, &flags))[..] else { panic!() };
        assert_eq!(
            (&result["cache_bytes"], &result["ids"][0]),
            (&json!(17 * 384), &json!(expected[0]))
        );
    }
}

#[test]
fn the_makers_settings_count_and_flags_change_them() {
    let folder = Folder::new();
    let settings = |flags: &[&str]| {
        let flags = [&["--prompt", "a", "--json"], flags].concat();
        results(&of(&folder, &flags)).remove(0)
    };
    let usual = settings(&[]);
    assert_eq!(
        (&usual["settings"]["temperature"], &usual["settings"]["top_k"]),
        (&json!(0.8), &json!(40))
    );
    let likeliest = folder.likeliest("a", 8);
    let end = likeliest[5];
    let before = likeliest.iter().position(|id| *id == end).unwrap();
    folder.write("generation_config.json", json!({"eos_token_id": [0, end]}).to_string());
    let greedy = settings(&[]);
    assert_eq!(
        (&greedy["ended"], &greedy["ids"]),
        (&json!("end token"), &json!(likeliest[..=before]))
    );
    assert_eq!(greedy["text"], folder.text(&likeliest[..before]));
    let file = json!({"do_sample": true, "temperature": 0.5, "top_p": 0.9, "max_new_tokens": 3});
    folder.write("generation_config.json", file.to_string());
    let of_file = settings(&[]);
    assert_eq!(
        (&of_file["settings"]["top_k"], of_file["ids"].as_array().unwrap().len()),
        (&json!(50), 3)
    );
    let changed =
        settings(&["--top-k", "0", "--temperature", "1.5", "--tokens", "4", "--min-p", "0.1"]);
    for (key, value) in [
        ("top_k", json!(null)),
        ("temperature", json!(1.5)),
        ("tokens", json!(4)),
        ("min_p", json!(0.1)),
        ("top_p", json!(0.9)),
    ] {
        assert_eq!(changed["settings"][key], value, "{key}");
    }
    assert_eq!(settings(&["--greedy"])["ids"], json!(likeliest[..3]));
}

/// Wherever the text is cut into tokens, and also when it is not there.
#[test]
fn nothing_of_a_stop_text_is_written() {
    let folder = Folder::new();
    let text = folder.text(&folder.likeliest("stop", 20));
    let written = |stop: &[&str]| {
        let stop = stop.iter().flat_map(|text| ["--stop", text]);
        let flags: Vec<&str> =
            ["--prompt", "stop", "--greedy", "--tokens", "20"].into_iter().chain(stop).collect();
        let shown = out(&of(&folder, &flags));
        let result = results(&of(&folder, &[&flags[..], &["--json"]].concat())).remove(0);
        assert_eq!(shown, format!("{}\n", result["text"].as_str().unwrap()));
        (result["text"].as_str().unwrap().to_owned(), result["ended"].as_str().unwrap().to_owned())
    };
    let letters: Vec<char> = text.chars().collect();
    let part: String = letters[6..10].iter().collect();
    let before = text[..text.find(&part).unwrap()].to_owned();
    assert_eq!(written(&[&part]), (before.clone(), "stop text".into()));
    assert_eq!(written(&["never there", &part]), (before, "stop text".into()));
    // What could have been its beginning comes at the end.
    let beginning = letters[17..].iter().collect::<String>() + "!!";
    assert_eq!(written(&[&beginning]), (text, "tokens".into()));
}

#[test]
fn a_prompt_does_not_depend_on_its_neighbours() {
    let folder = Folder::new();
    let prompts = ["one", "a longer prompt", "x", "the last, four"];
    folder.write("prompts.txt", prompts.join("\n") + "\n");
    let file = path_of(&folder.path().join("prompts.txt"));
    let all = |flags: &[&str]| {
        let flags = [&["--batch-of-prompts", &file, "--tokens", "9", "--json"], flags].concat();
        let results = results(&of(&folder, &flags));
        let texts = results.iter().map(|result| result["text"].as_str().unwrap().to_owned());
        (texts.collect::<Vec<_>>(), results)
    };
    let (texts, results) = all(&[]);
    for (number, (prompt, result)) in prompts.iter().zip(&results).enumerate() {
        assert_eq!((&result["prompt"], &result["number"]), (&json!(prompt), &json!(number + 1)));
        assert_eq!(result["ids"].as_array().unwrap().len(), 9);
    }
    assert_eq!(all(&["--batch", "1"]).0, texts);
    assert_eq!(all(&["--batch", "3"]).0, texts);
    assert_eq!(all(&["--seed", "1"]).0, texts);
    assert_ne!(all(&["--seed", "2"]).0, texts);
    // The first of them is what it is alone.
    let alone = of(&folder, &["--prompt", "one", "--tokens", "9", "--quiet"]);
    assert_eq!(out(&alone), format!("{}\n", texts[0]));
    // Without JSON they stand one after another.
    let output = of(&folder, &["--batch-of-prompts", &file, "--tokens", "9"]);
    let expected: String = (1..)
        .zip(&texts)
        .map(|(number, text)| format!("== prompt {number} ==\n{text}\n"))
        .collect();
    assert_eq!(out(&output), expected);
}

#[test]
fn a_full_context_stops_or_slides() {
    let folder = Folder::new();
    let flags = ["--prompt", "full", "--greedy", "--json", "--context", "10", "--tokens", "30"];
    let output = of(&folder, &flags);
    let result = &results(&output)[0];
    assert_eq!(
        (&result["ended"], &result["ids"]),
        (&json!("context"), &json!(folder.likeliest("full", 7)))
    );
    assert!(said(&output).contains("its context of 10 tokens is full"), "{}", said(&output));
    let output = of(&folder, &[&flags[..], &["--when-full", "slide"]].concat());
    let result = &results(&output)[0];
    assert_eq!((&result["ended"], result["ids"].as_array().unwrap().len()), (&json!("tokens"), 30));
    assert!(said(&output).contains("it went on without the oldest 23"), "{}", said(&output));
}

/// What is said, what is answered, and that the cache is filled with new tokens only.
#[test]
fn a_chat_goes_on_from_what_was_said() {
    let folder = Folder::new();
    folder.write("chat_template.jinja", TEMPLATE);
    folder.write("generation_config.json", json!({"eos_token_id": 0}).to_string());
    let chat = |flags: &[&str], input: &[u8]| {
        let flags = [&["--chat", "--greedy", "--tokens", "4"], flags].concat();
        generate(folder.path(), &flags, input)
    };
    let first = folder.text(&folder.likeliest("<turn>u Hi<end><turn>a ", 4));
    let so_far = format!("<turn>u Hi<end><turn>a {first}<end><turn>u So?<end><turn>a ");
    let second = folder.text(&folder.likeliest(&so_far, 4));
    let output = chat(&[], b"Hi\n\nSo?\n");
    assert_eq!(out(&output), format!("{first}\n{second}\n"));
    // All of it, but for three of the answer's tokens, which were read when the next was written.
    let tokens = folder.tokenizer.encode(&so_far, true).unwrap().len() - 3;
    assert!(
        said(&output).contains(&format!("read {tokens} tokens")),
        "{tokens}: {}",
        said(&output)
    );
    assert!(said(&output).contains("the answer was ended after 4 tokens"), "{}", said(&output));
    let both = results(&chat(&["--json"], b"Hi\nSo?\n"));
    assert_eq!((&both[1]["text"], &both[1]["prompt"]), (&json!(second), &json!("So?")));
    // A new chat knows nothing of the old one, and a system message comes first.
    assert_eq!(out(&chat(&["--quiet"], b"Hi\n/new\nHi\n")), format!("{first}\n{first}\n"));
    let told = folder.text(&folder.likeliest("<turn>s Be.<end><turn>u Hi<end><turn>a ", 4));
    assert_eq!(out(&chat(&["--system", "Be."], b"Hi")), format!("{told}\n"));
}

#[test]
fn a_chat_that_is_full_says_so() {
    let folder = Folder::new();
    folder.write("chat_template.jinja", TEMPLATE);
    folder.write("generation_config.json", json!({"eos_token_id": 0}).to_string());
    let chat = |flags: &[&str]| {
        let flags = [&["--chat", "--greedy", "--tokens", "3"], flags].concat();
        generate(folder.path(), &flags, b"Hello\nYou\nThere\n")
    };
    let output = chat(&[]);
    assert!(!output.status.success());
    assert!(
        said(&output).contains("and the context room for 32; /new begins"),
        "{}",
        said(&output)
    );
    let output = chat(&["--when-full", "slide"]);
    assert_eq!(out(&output).lines().count(), 3);
    assert!(said(&output).contains("the oldest 4 messages are left out"), "{}", said(&output));
    let alone = folder.text(&folder.likeliest("<turn>u There<end><turn>a ", 3));
    let both = out(&output);
    let last = both.lines().last().unwrap();
    assert_eq!(last, alone, "only the last message has room with an answer");
    let output = chat(&["--when-full", "slide", "--context", "5"]);
    assert!(said(&output).contains("and the context room for 5\n"), "{}", said(&output));
}

/// Two models of a run, its checkpoints, and averages of weights in them.
#[test]
fn the_models_of_a_run_write_side_by_side() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let mut command = program("lm_wikitext");
    command.args(
        "--device cpu --threads 1 --variant transformer,svformer --layers 4 --width 16 --heads 2 \
         --context 16 --batch 4 --steps 30 --eval-every 0 --eval-tokens 200 --average 0.5"
            .split_whitespace(),
    );
    command.args(["--data", &path_of(&text_file(folder.path())), "--out", &path_of(&run)]);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    let flags = ["--prompt", "the cat", "--tokens", "6"];
    let all = generate(&run, &flags, b"");
    let texts = out(&all);
    let parts: Vec<&str> = texts.split("== ").collect();
    assert!(
        parts[1].starts_with("Transformer ==\n") && parts[2].starts_with("SVFormer ==\n"),
        "{texts}"
    );
    // Four layers keep four keys, and four values or one.
    assert!(said(&all).contains("in f32 for 1 × 8 tokens, 512 B a token"), "{}", said(&all));
    assert!(said(&all).contains("in f32 for 1 × 8 tokens, 320 B a token"), "{}", said(&all));
    let one = |model: &Path, flags: &[&str]| {
        let flags = [&["--prompt", "the cat", "--tokens", "6", "--json"], flags].concat();
        let mut results = results(&generate(model, &flags, b""));
        assert_eq!(results.len(), 1);
        results.remove(0)
    };
    let svformer = one(&run, &["--variant", "svformer"]);
    assert_eq!((&svformer["variant"], &svformer["model_seed"]), (&json!("svformer"), &json!(1)));
    assert!(texts.ends_with(&format!("SVFormer ==\n{}\n", svformer["text"].as_str().unwrap())));
    let model = run.join("svformer-seed1");
    assert_eq!(one(&model, &[])["text"], svformer["text"]);
    assert_eq!(one(&run, &["--variant", "svformer-seed1"])["text"], svformer["text"]);
    // A model that is not trained to its end is at its latest checkpoint: here the same weights.
    fs::remove_file(model.join("result.json")).unwrap();
    fs::remove_file(model.join("model.safetensors")).unwrap();
    let at_checkpoint =
        generate(&run, &[&flags[..], &["--variant", "svformer", "--json"]].concat(), b"");
    assert_eq!(json(&at_checkpoint)["text"], svformer["text"]);
    assert!(
        said(&at_checkpoint).contains("its latest checkpoint, after 30 steps"),
        "{}",
        said(&at_checkpoint)
    );

    let refused = |flags: &[&str], words: &str| {
        let output = generate(&run, &[&["--prompt", "x"], flags].concat(), b"");
        assert_eq!(output.status.code(), Some(1), "{}", said(&output));
        assert!(said(&output).contains(words), "{words}: {}", said(&output));
    };
    refused(
        &["--variant", "resformer"],
        "has no model resformer; it has transformer-seed1, svformer-seed1",
    );
    let several = generate(&run, &["--chat"], b"Hi");
    assert!(
        said(&several).contains("Transformer, SVFormer: choose one with --variant"),
        "{}",
        said(&several)
    );
    let untaught = generate(&run, &["--chat", "--variant", "transformer"], b"Hi");
    assert!(said(&untaught).contains("has no chat template"), "{}", said(&untaught));
    fs::remove_dir_all(&model).unwrap();
    let output = generate(&run, &flags, b"");
    assert!(
        said(&output).contains("SVFormer: left out, it has no checkpoint yet"),
        "{}",
        said(&output)
    );
    refused(&["--variant", "svformer"], "has no weights yet");
    fs::write(run.join("tokenizer.json"), r#"{"kind": "bytes"}"#).unwrap();
    refused(&[], "tokenizer.json");
}

#[test]
fn what_cannot_be_is_refused_with_a_line() {
    let folder = Folder::new();
    folder.write("latin.txt", [b'a', 0xe9, b'b']);
    folder.write("empty.txt", "");
    let place = |name: &str| path_of(&folder.path().join(name));
    let [latin, empty, nowhere] = ["latin.txt", "empty.txt", "nowhere"].map(place);
    let long = "long ".repeat(7);
    for (flags, words) in [
        (&["--prompt", &long][..], "--prompt has 35 tokens, and the context of"),
        (&["--prompt", "long", "--context", "2"], "up to --context 32 would do"),
        (&["--prompt", "x", "--context", "33"], "--context 33: the longest context of"),
        (
            &["--prompt", ""],
            "--prompt is an empty prompt, and the model has no token that texts begin",
        ),
        (&["--prompt-file", &empty], "empty.txt is an empty prompt"),
        (&["--batch-of-prompts", &empty], "empty.txt has no prompts"),
        (&[], "the pipe is an empty prompt"),
        (&["--prompt-file", &latin], "latin.txt is not UTF-8 text: the byte at offset 1"),
        (&["--prompt-file", &nowhere], "no data at"),
        (&["--prompt-file", "."], "cannot read"),
        (
            &["--prompt", "x", "--variant", "svformer"],
            "--variant and --seed choose among the models of a run",
        ),
        (&["--prompt", "x", "--top-p", "1.5"], "a top-p of 1.5"),
        (&["--chat"], "has no chat template"),
    ] {
        let output = of(&folder, flags);
        let told = said(&output);
        assert!(output.status.code() == Some(1) && told.contains(words), "{flags:?}: {told}");
        assert!(output.stdout.is_empty() && !told.contains("panicked"), "{flags:?}: {told}");
    }
    for (flags, words) in [
        (&["--prompt", "x", "--tokens", "0"][..], "must be at least 1"),
        (&["--prompt", "x", "--chat"], "cannot be used with"),
        (&["--prompt", "x", "--prompt-file", "y"], "cannot be used with"),
        (&["--batch-of-prompts", "x", "--prompt-file", "y"], "cannot be used with"),
        (&["--prompt", "x", "--greedy", "--temperature", "1"], "cannot be used with"),
        (&["--prompt", "x", "--stop", ""], "an empty text is everywhere"),
        (&["--prompt", "x", "--cache-precision", "f8"], "choose f32, bf16 or f16"),
        (&["--prompt", "x", "--system", "y"], "cannot be used with"),
    ] {
        let output = of(&folder, flags);
        let told = said(&output);
        assert!(output.status.code() == Some(2) && told.contains(words), "{flags:?}: {told}");
    }
    let input = generate(folder.path(), &[], &[0xff, 0xfe, b'a', 0]);
    assert!(said(&input).contains("standard input is UTF-16"), "{}", said(&input));
    let token = json!({"bos_token_id": 1}).to_string();
    folder.write("generation_config.json", token);
    let begun = of(&folder, &["--prompt", "", "--tokens", "2", "--json"]);
    assert_eq!(results(&begun)[0]["prompt_ids"], json!([1]));
}

#[test]
fn models_that_cannot_be_are_named() {
    let folder = Folder::new();
    let refused = |path: &Path, flags: &[&str], words: &str| {
        let output = generate(path, &[&["--prompt", "x"], flags].concat(), b"");
        let told = said(&output);
        assert!(output.status.code() == Some(1) && told.contains(words), "{words}: {told}");
    };
    refused(&folder.path().join("nowhere"), &[], "there is no such folder");
    refused(&folder.path().join("config.json"), &[], "is a file: give the folder that it is in");
    let empty = tempfile::tempdir().unwrap();
    refused(empty.path(), &[], "it has no run.json, so it is no run, and no config.json");
    let sound = fs::read(folder.path().join("config.json")).unwrap();
    folder.write("config.json", json!({"model_type": "vit"}).to_string());
    refused(folder.path(), &[], "its models are of images (vit)");
    let mut other: Value = serde_json::from_slice(&sound).unwrap();
    other["colour"] = json!("blue");
    folder.write("config.json", other.to_string());
    refused(folder.path(), &["--strict"], "keys that are not known, and were not used: colour");
    let told = said(&of(&folder, &["--prompt", "x"]));
    assert!(told.contains(r#"colour ("blue")"#), "{told}");
    // One token less than the tokenizer has.
    let config = LanguageModelConfig::new(folder.model.config().vocab_size - 1, 32, 3, 2, CONTEXT);
    let build = |builder: &mut _| LanguageModel::new(&config, builder);
    let (_, parameters) = Parameters::build(&Device::cpu(), 1, build);
    let tensors: Vec<(String, Tensor)> =
        parameters.iter().map(|(name, tensor)| (name.to_owned(), tensor.clone())).collect();
    save_tensors(&folder.path().join("model.safetensors"), &tensors, &Metadata::new()).unwrap();
    folder.write("config.json", serde_json::to_string(&config).unwrap());
    refused(folder.path(), &[], "they do not belong together");
    fs::remove_file(folder.path().join("tokenizer.json")).unwrap();
    refused(folder.path(), &[], "it has no tokenizer.json, and without that no text");
    let output = program("generate").args(["--prompt", "x"]).output().unwrap();
    assert!(
        said(&output).contains("which model? Name a run, or a model's folder"),
        "{}",
        said(&output)
    );
}

#[test]
fn faults_of_a_template_are_told() {
    let folder = Folder::new();
    let told = |template: &str| {
        folder.write("chat_template.jinja", template);
        let output = generate(folder.path(), &["--chat", "--tokens", "1"], b"Hi\n");
        assert_eq!(output.status.code(), Some(1), "{}", said(&output));
        said(&output)
    };
    let fault = told("{{ messages }}\n{% endfor %}");
    assert!(fault.contains("chat_template.jinja, line 2: syntax error"), "{fault}");
    let refused = told("{{ raise_exception('Only systems.') }}");
    assert!(
        refused.contains("line 1: the template does not take this chat: Only systems."),
        "{refused}"
    );
    let empty = told("{% if false %}{% endif %}");
    assert!(empty.contains("makes no text"), "{empty}");
    folder.write("chat_template.jinja", TEMPLATE);
    let output = generate(folder.path(), &["--chat", "--tokens", "1"], b"Hi\n\xff\n");
    assert!(
        said(&output).contains("line 2 of what comes through the pipe is no text"),
        "{}",
        said(&output)
    );
}

/// For each variant, heads, shared keys and precision: as computed by hand, and as measured.
#[test]
fn the_table_of_caches_is_what_they_take() {
    let mut command = program("generate");
    let all =
        results(&command.args(["--cache-table", "--device", "cpu", "--json"]).output().unwrap());
    assert_eq!(all.len(), 4 * 4 * 2);
    let part = |variant: &str, heads: usize, share: usize| {
        let is = |row: &&Value| {
            row["variant"] == variant
                && row["num_key_value_heads"] == heads
                && row["share_keys"] == share
        };
        all.iter().find(is).unwrap()["part_of_transformer"].as_f64().unwrap()
    };
    for (variant, heads, share, expected) in [
        ("transformer", 8, 1, 1.0),
        ("resformer", 2, 1, 0.25),
        ("neutreno", 8, 2, 0.5),
        // Nine tensors where the Transformer has sixteen, and five where four layers share keys.
        ("svformer", 8, 1, 9.0 / 16.0),
        ("svformer", 2, 1, 9.0 / 64.0),
        ("svformer", 1, 2, 5.0 / 128.0),
    ] {
        assert_eq!(part(variant, heads, share), expected, "{variant}, {heads}, {share}");
    }
    for row in &all {
        let f32 = row["bytes_per_token"]["f32"]["computed"].as_u64().unwrap();
        for (precision, bytes) in [("f32", f32), ("bf16", f32 / 2), ("f16", f32 / 2)] {
            let of = &row["bytes_per_token"][precision];
            assert_eq!((&of["computed"], &of["measured"]), (&json!(bytes), &json!(bytes)), "{row}");
        }
    }
    let folder = Folder::new();
    let output = generate(folder.path(), &["--cache-table", "--quiet"], b"");
    let table = out(&output);
    assert_eq!(table.lines().count(), 2 + 4 * 2 * 2, "{table}");
    assert!(table.lines().all(|line| line.chars().count() <= 80), "{table}");
    // Three layers of 32 channels: six tensors of 128 bytes.
    assert!(
        table.contains("Transformer          2        1      768       768     384     384"),
        "{table}"
    );
}
