//! Files from strangers: every parser is given mutated files, and must neither panic nor take more
//! memory than a small multiple of the file's size. Alone in its file, and one test, since it
//! watches the memory of the whole process.
//!
//! `NEUTRENO_FUZZ=1000000 cargo test --release --test fuzz -- --nocapture` gives each parser so
//! many files; `tests/fuzz_long` does that.

mod common;

use image::{DynamicImage, GrayImage, ImageBuffer, ImageFormat, Luma, Rgb, RgbImage, Rgba};
use neutreno::data::corpus::Corpus;
use neutreno::data::images::{ImageData, ReadOptions};
use neutreno::data::tokenizer::{Tokenizer, TokenizerChoice};
use neutreno::data::{ChatTemplate, Message, PretrainedTokenizer, decode};
use neutreno::engine::checkpoint::{Metadata, load_tensors, save_tensors};
use neutreno::engine::random::{Generator, Key};
use neutreno::engine::{Device, Parameters, Tensor};
use neutreno::exchange::classifier_config;
use neutreno::language::RopeScaling;
use neutreno::run::{
    Metric, MetricsWriter, RunFolder, Summary, read_metrics, read_pictures, write_json,
};
use neutreno::vision::{ImageClassifier, ImageSize, Preprocessing, VisionConfig};
use neutreno::{LanguageModel, LanguageModelConfig};
use peak_alloc::PeakAlloc;
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// A parser and a file that it reads.
struct Target {
    name: &'static str,
    file: PathBuf,
    /// Whether it accepts the file. It may not panic.
    read: Box<dyn Fn() -> bool>,
    /// How many inputs cost as much as one of a fast parser.
    slowness: u64,
}

/// What a parser may take beside a multiple of the file's size: buffers, tables, error messages.
const ROOM: usize = 16 << 20;

#[test]
fn mutated_files_are_read_or_refused() {
    let inputs = std::env::var("NEUTRENO_FUZZ").map_or(400, |count| count.parse().unwrap());
    let every = std::env::var_os("NEUTRENO_FUZZ").is_some();
    let only = std::env::var("NEUTRENO_FUZZ_ONLY").unwrap_or_default();
    let folder = tempfile::tempdir().unwrap();
    for target in targets(folder.path()) {
        if !target.name.contains(&only) {
            continue;
        }
        let original = fs::read(&target.file).unwrap();
        assert!((target.read)(), "{}: the sound file is refused", target.name);
        let inputs = if every { inputs } else { inputs / target.slowness };
        let started = Instant::now();
        let (mut accepted, mut largest) = (0_u64, 0);
        for number in 0..inputs {
            let mut random = Key::new(7).named(target.name).fold(number).generator();
            let mutated = mutate(&original, &mut random);
            fs::write(&target.file, &mutated).unwrap();
            let before = MEMORY.current_usage();
            MEMORY.reset_peak_usage();
            accepted += u64::from((target.read)());
            let taken = MEMORY.peak_usage().saturating_sub(before);
            let allowed = ROOM + 64 * mutated.len();
            assert!(taken < allowed, "{}, input {number}: took {taken} bytes", target.name);
            largest = largest.max(taken);
        }
        fs::write(&target.file, &original).unwrap();
        println!(
            "{}: {inputs} inputs, {accepted} accepted, at most {} KiB taken, {:.0} s",
            target.name,
            largest >> 10,
            started.elapsed().as_secs_f64()
        );
    }
}

/// A file with a few changes: bits, bytes, digits, pieces left out, doubled or moved, or cut off.
fn mutate(original: &[u8], random: &mut Generator) -> Vec<u8> {
    const ODD: [u8; 12] = [0, 1, 127, 128, 255, b'0', b'9', b'-', b'"', b'{', b'[', b'\n'];
    let mut bytes = original.to_vec();
    for _ in 0..=random.below(4) {
        if bytes.is_empty() {
            bytes.push(random.below(256) as u8);
        }
        // Most of a file's meaning is at its start.
        let near = random.below(2) == 0;
        let reach = if near { bytes.len().min(64) } else { bytes.len() };
        let place = random.below(reach as u64) as usize;
        let length = random.below((bytes.len() - place).min(64) as u64 + 1) as usize;
        match random.below(8) {
            0 => bytes[place] ^= 1 << random.below(8),
            1 => bytes[place] = ODD[random.below(ODD.len() as u64) as usize],
            2 => bytes[place] = random.below(256) as u8,
            3 => drop(bytes.drain(place..place + length)),
            4 => {
                let piece = bytes[place..place + length].to_vec();
                let to = random.below(bytes.len() as u64 + 1) as usize;
                bytes.splice(to..to, piece);
            }
            5 => bytes[place..place + length].fill(ODD[random.below(5) as usize]),
            6 => bytes.truncate(place),
            _ => {
                let digits = random.below(u64::MAX).to_string();
                bytes.splice(place..place, digits.bytes());
            }
        }
    }
    bytes
}

fn targets(folder: &Path) -> Vec<Target> {
    let target = |name, file: PathBuf, slowness, read: Box<dyn Fn() -> bool>| Target {
        name,
        file,
        read,
        slowness,
    };
    let path = |name: &str| folder.join(name);
    let mut targets = Vec::new();

    let file = path("a.safetensors");
    let device = Device::cpu_with_threads(1);
    let numbers: Vec<f32> = (0..60).map(|number| number as f32).collect();
    let tensors = [
        ("model.embed".to_string(), Tensor::new(&numbers, [12, 5], &device)),
        ("b".to_string(), Tensor::new(&[1.0], [1], &device)),
    ];
    save_tensors(&file, &tensors, &Metadata::from([("steps".into(), "3".into())])).unwrap();
    let read = file.clone();
    let read = Box::new(move || load_tensors(&read, &device).is_ok());
    targets.push(target("safetensors", file, 1, read));

    let text = "the cat sat on the mat and the dog sat on the log\n".repeat(20);
    for choice in ["words", "bpe:300"] {
        let file = path(choice);
        let choice: TokenizerChoice = choice.parse().unwrap();
        choice.build(&text).unwrap().save(&file).unwrap();
        let read = file.clone();
        // What is loaded must also be usable.
        let read = Box::new(move || {
            let loaded = Tokenizer::load(&read);
            loaded.is_ok_and(|loaded| loaded.decode(&loaded.encode("the cat")).len() < 1 << 16)
        });
        let name = if file.ends_with("words") { "tokenizer of words" } else { "tokenizer of BPE" };
        targets.push(target(name, file, 4, read));
    }

    let file = path("metrics.jsonl");
    let mut writer = MetricsWriter::begin(&file, b"").unwrap();
    for step in 1..6 {
        writer.write(&Metric { step, loss: 3.5, ..Metric::default() }).unwrap();
    }
    let read = file.clone();
    targets.push(target("metrics.jsonl", file, 1, Box::new(move || read_metrics(&read).is_ok())));

    let run = path("run");
    fs::create_dir(&run).unwrap();
    write_json(&run.join("run.json"), &Summary::default()).unwrap();
    let file = run.join("run.json");
    let read = Box::new(move || RunFolder::open(&run).is_ok_and(|run| run.facts().is_ok()));
    targets.push(target("run.json", file, 1, read));

    let model = RunFolder::open(&path("run")).unwrap().model("transformer", 1).unwrap();
    fs::create_dir(model.pictures()).unwrap();
    let file = model.pictures().join("pictures.json");
    fs::write(model.pictures().join("a.png"), b"png").unwrap();
    fs::write(
        &file,
        r#"{"version": "1", "pictures": [{"file": "a.png", "title": "a", "caption": "b"}]}"#,
    )
    .unwrap();
    targets.push(target("pictures.json", file, 1, Box::new(move || read_pictures(&model).is_ok())));

    let file = path("text.txt");
    fs::write(&file, &text).unwrap();
    let read = file.clone();
    targets.push(target("text", file, 2, Box::new(move || Corpus::read(&read).is_ok())));
    targets.extend(texts(folder, &text));
    targets.extend(models(folder));
    targets.extend(chats(folder));
    targets.extend(classifiers(folder));
    targets.extend(images(folder));
    targets
}

/// The files of a model's folder, with weights in two files, and a tokenizer that came from
/// SentencePiece.
fn models(folder: &Path) -> Vec<Target> {
    let device = Device::cpu_with_threads(1);
    let folder = folder.join("model");
    fs::create_dir(&folder).unwrap();
    let config = LanguageModelConfig {
        head_dim: Some(6),
        rope_scaling: Some(RopeScaling::Linear { factor: 2.0 }),
        ..LanguageModelConfig::new(20, 8, 2, 2, 16)
    };
    let write =
        |name: &str, value: &Value| fs::write(folder.join(name), value.to_string()).unwrap();
    write("config.json", &serde_json::to_value(&config).unwrap());
    let build = |builder: &mut _| LanguageModel::new(&config, builder);
    let (_, parameters) = Parameters::build(&device, 1, build);
    let all: Vec<(String, Tensor)> =
        parameters.iter().map(|(name, tensor)| (name.to_owned(), tensor.clone())).collect();
    let mut map = serde_json::Map::new();
    for (file, tensors) in ["one.safetensors", "two.safetensors"].into_iter().zip(all.chunks(10)) {
        save_tensors(&folder.join(file), tensors, &Metadata::new()).unwrap();
        map.extend(tensors.iter().map(|(name, _)| (name.clone(), file.into())));
    }
    assert_eq!(map.len(), all.len());
    write("model.safetensors.index.json", &json!({"metadata": {}, "weight_map": map}));
    let generation = json!({"do_sample": true, "temperature": 0.6, "top_k": 5, "top_p": 0.9,
        "eos_token_id": [2, 3], "repetition_penalty": 1.1, "max_new_tokens": 9});
    write("generation_config.json", &generation);
    let mut targets = Vec::new();
    for (name, file) in [
        ("a model's configuration", "config.json"),
        ("index of a model's weights", "model.safetensors.index.json"),
        ("a model's settings of generation", "generation_config.json"),
        ("one of two files of a model's weights", "one.safetensors"),
    ] {
        let (read, device) = (folder.clone(), device.clone());
        let read = Box::new(move || LanguageModel::load(&read, &device).is_ok());
        targets.push(Target { name, file: folder.join(file), read, slowness: 4 });
    }

    let vocabulary = ["<unk>", "<0xC3>", "<0xA9>", "▁", "a", "b", "▁a"];
    let vocabulary: serde_json::Map<String, Value> =
        (0..).zip(vocabulary).map(|(id, token): (u32, _)| (token.to_owned(), id.into())).collect();
    write(
        "tokenizer.json",
        &json!({
            "version": "1.0",
            "added_tokens": [{"id": 0, "content": "<unk>", "single_word": false, "lstrip": false,
                "rstrip": false, "normalized": false, "special": true}],
            "normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
            "pre_tokenizer": null, "post_processor": null,
            "decoder": {"type": "Sequence", "decoders": [
                {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
                {"type": "ByteFallback"}, {"type": "Fuse"}]},
            "model": {"type": "BPE", "unk_token": "<unk>", "byte_fallback": true,
                "vocab": vocabulary, "merges": [["▁", "a"]]}
        }),
    );
    let file = folder.join("tokenizer.json");
    let read = file.clone();
    // What is loaded must also be usable.
    let read = Box::new(move || {
        let of_a_run = Tokenizer::load(&read);
        let usable =
            |tokenizer: &Tokenizer| tokenizer.decode(&tokenizer.encode("a aé")).len() < 1 << 16;
        PretrainedTokenizer::load(&read).is_ok_and(|tokenizer| {
            let ids = tokenizer.encode("a aé", true).unwrap_or_default();
            of_a_run.as_ref().is_ok_and(usable) && decode(&tokenizer, &ids).len() < 1 << 16
        })
    });
    targets.push(Target { name: "a model's tokenizer", file, read, slowness: 4 });
    targets
}

/// The template of a model that chats, and the file with the special tokens that it names.
fn chats(folder: &Path) -> [Target; 2] {
    let folder = folder.join("chat");
    fs::create_dir(&folder).unwrap();
    let template = "\
        {%- set ns = namespace(last='') %}{% macro turn(role) %}<|{{ role }}|>{% endmacro %}\n\
        {% for message in messages if message.content is string %}\n    \
        {%- if message['role'] == 'system' and not loop.first %}\
        {{ raise_exception('No: ' ~ loop.index0 % 2) }}{% endif %}\n\
        {{- turn(message.role) ~ message.content.strip().split('a')[-1] | trim + eos_token }}\n\
        {% generation %}{% set ns.last = message | tojson(indent=2) %}{% endgeneration %}\n\
        {% if loop.index > 90 %}{% break %}{% endif %}{% endfor %}\n\
        {{- ns.last[1:9] ~ strftime_now('%Y') | length ~ range(3) | list }}\n\
        {%- if add_generation_prompt %}{{ turn('assistant') }}{% endif %}\n";
    fs::write(folder.join("chat_template.jinja"), template).unwrap();
    let config = json!({"eos_token": {"content": "</s>"}, "bos_token": "<s>"});
    fs::write(folder.join("tokenizer_config.json"), config.to_string()).unwrap();
    let chat = [("system", "Be a bit brief."), ("user", "What is 2 + 2?"), ("assistant", "4")];
    let chat = chat.map(|(role, content)| Message::new(role, content));
    [
        ("a chat's template", "chat_template.jinja"),
        ("special tokens of a chat", "tokenizer_config.json"),
    ]
    .map(|(name, file)| {
        let (read, chat) = (folder.clone(), chat.clone());
        let read = move || {
            let template = ChatTemplate::load(&read);
            template.is_ok_and(|template| template.is_some_and(|it| it.render(&chat).is_ok()))
        };
        Target { name, file: folder.join(file), read: Box::new(read), slowness: 4 }
    })
}

/// The files of a classifier's folder.
fn classifiers(folder: &Path) -> Vec<Target> {
    let device = Device::cpu_with_threads(1);
    let folder = folder.join("classifier");
    fs::create_dir(&folder).unwrap();
    let names = ["cat", "dog"].map(str::to_owned);
    let config = VisionConfig::new(ImageSize::new(4, 6), 2, 8, 2, 2, &names);
    let write =
        |name: &str, value: &Value| fs::write(folder.join(name), value.to_string()).unwrap();
    write("config.json", &classifier_config(&config, None));
    let (mean, deviation) = (vec![0.25; 3], vec![0.5; 3]);
    let size = Some(config.image_size);
    let preprocessing = Preprocessing { size, mean, deviation, unused: Vec::new() };
    write("preprocessor_config.json", &preprocessing.to_json());
    let build = |builder: &mut _| ImageClassifier::new(&config, builder);
    let (_, parameters) = Parameters::build(&device, 1, build);
    parameters.save(&folder.join("model.safetensors"), &Metadata::new()).unwrap();
    let target = |(name, file): (&'static str, &str)| {
        let (read, device) = (folder.clone(), device.clone());
        let size = Some(ImageSize::new(6, 4));
        let read = Box::new(move || ImageClassifier::load(&read, size, &device).is_ok());
        Target { name, file: folder.join(file), read, slowness: 4 }
    };
    [
        ("a classifier's configuration", "config.json"),
        ("what pictures become", "preprocessor_config.json"),
    ]
    .map(target)
    .into()
}

/// Texts that are read in other ways: marked, in one line, in another encoding, beside others.
fn texts(folder: &Path, text: &str) -> Vec<Target> {
    let marked = format!("\u{feff}{text}");
    let one_line = text.replace('\n', " ");
    let utf16 = text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
    let cases = [
        ("text with a mark", "marked.txt", marked.into_bytes()),
        ("text of one line", "one-line.txt", one_line.into_bytes()),
        ("text in UTF-16", "utf16.txt", utf16),
    ];
    let alone = cases.map(|(name, file, bytes)| {
        let file = folder.join(file);
        fs::write(&file, bytes).unwrap();
        let read = file.clone();
        // In UTF-16 nothing is accepted, which is as it should be.
        let refused = name == "text in UTF-16";
        let read = Box::new(move || Corpus::read(&read).is_ok() != refused);
        Target { name, file, read, slowness: 2 }
    });
    let together = folder.join("corpus");
    fs::create_dir(&together).unwrap();
    for name in ["train.txt", "dev.txt"] {
        fs::write(together.join(name), text).unwrap();
    }
    let file = together.join("dev.txt");
    let read = Box::new(move || Corpus::read(&together).is_ok());
    let together = Target { name: "folder of texts", file, read, slowness: 4 };
    alone.into_iter().chain([together]).collect()
}

/// Files of images, each in a folder that is read whole.
fn images(folder: &Path) -> Vec<Target> {
    let target = |name, data: PathBuf, file: &str, slowness| {
        let file = data.join(file);
        let options = ReadOptions::default();
        let read = Box::new(move || ImageData::read(&data, &options).is_ok());
        Target { name, file, read, slowness }
    };
    let digits = folder.join("digits");
    common::programs::digits(&digits, 30);
    let classes = folder.join("classes");
    for (class, shade) in [("cats", 20), ("dogs", 200)] {
        for split in ["train", "test"] {
            let place = classes.join(split).join(class);
            fs::create_dir_all(&place).unwrap();
            for number in 0..2 {
                let picture = RgbImage::from_fn(6, 6, |x, y| Rgb([shade, x as u8, y as u8]));
                let name = place.join(format!("{number}.png"));
                picture.save_with_format(name, ImageFormat::Png).unwrap();
            }
        }
    }
    let formats = [
        ("JPEG picture", "jpg", ImageFormat::Jpeg),
        ("WebP picture", "webp", ImageFormat::WebP),
        ("BMP picture", "bmp", ImageFormat::Bmp),
        ("PNG picture of 16 bits with alpha", "png", ImageFormat::Png),
    ];
    let others = formats.map(|(name, ending, format)| {
        let data = folder.join(ending);
        for (class, shade) in [("cats", 20), ("dogs", 200)] {
            fs::create_dir_all(data.join(class)).unwrap();
            for number in 0..4 {
                let picture = RgbImage::from_fn(6, 6, |x, y| Rgb([shade, x as u8, y as u8]));
                let picture = match format {
                    ImageFormat::Png => {
                        DynamicImage::ImageRgba16(ImageBuffer::from_fn(6, 6, |x, y| {
                            Rgba([shade.into(), 9, 9, (x * y) as u16])
                        }))
                    }
                    _ => DynamicImage::ImageRgb8(picture),
                };
                let name = data.join(class).join(format!("{number}.{ending}"));
                picture.save_with_format(name, format).unwrap();
            }
        }
        target(name, data, &format!("cats/0.{ending}"), 8)
    });
    let scenes = folder.join("scenes");
    for split in ["train", "val", "test"] {
        let [pictures, labels] =
            [split.to_string(), format!("{split}annot")].map(|name| scenes.join(name));
        fs::create_dir_all(&pictures).unwrap();
        fs::create_dir_all(&labels).unwrap();
        let picture = RgbImage::from_fn(6, 6, |x, y| Rgb([9, x as u8, y as u8]));
        picture.save_with_format(pictures.join("a.png"), ImageFormat::Png).unwrap();
        let label = GrayImage::from_fn(6, 6, |x, _| Luma([u8::from(x > 2)]));
        label.save_with_format(labels.join("a.png"), ImageFormat::Png).unwrap();
    }
    let mut targets = vec![
        target("idx images", digits.clone(), "train-images-idx3-ubyte", 4),
        target("idx labels", digits, "train-labels-idx1-ubyte", 4),
        target("PNG picture", classes, "train/cats/0.png", 8),
        target("PNG labels", scenes, "trainannot/a.png", 8),
    ];
    targets.extend(others);
    targets
}
