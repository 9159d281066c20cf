//! Runs that are ended in the middle and gone on with: they must come to the same bits as one that
//! was left alone.

mod common;

use common::programs::{digits, program, said, text_file};
use image::{GrayImage, ImageFormat, Luma, Rgb, RgbImage};
use neutreno::engine::random::Key;
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread::sleep;
use std::time::Duration;

const SHARED: &str = "--device cpu --variant transformer,svformer --layers 2 --width 16 --heads 2 \
                      --batch 4 --accumulate 2 --steps 40 --warmup 2 --eval-every 8 \
                      --measure-every 16 --hash-every 5 --checkpoint-every 3";

/// The programs, with what only they take.
const PROGRAMS: [(&str, &str); 3] = [
    (
        "lm_wikitext",
        "--tokenizer bytes --lr 4e-3 --context 16 --dropout 0.1 --eval-tokens 200 --sample-every 10",
    ),
    ("image_classification", "--patch 4 --average 0.9 --eval-images 8 --mixup 0.5"),
    ("image_segmentation", "--patch 4 --eval-images 4"),
];

/// A folder with a text and a run that was left alone, to compare others with.
struct Bench {
    folder: tempfile::TempDir,
    program: &'static str,
    flags: &'static str,
    data: PathBuf,
}

impl Bench {
    /// For text.
    fn new() -> Bench {
        Bench::of(0)
    }

    /// For one of [`PROGRAMS`].
    fn of(number: usize) -> Bench {
        let folder = tempfile::tempdir().unwrap();
        let data = match number {
            0 => text_file(folder.path()),
            1 => small_digits(folder.path()),
            _ => scenes(folder.path()),
        };
        let (program, flags) = PROGRAMS[number];
        let bench = Bench { folder, program, flags, data };
        bench.finish(bench.begin("whole"));
        bench
    }

    fn run(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn begin(&self, name: &str) -> Command {
        let mut command = program(self.program);
        let flags = SHARED.split_whitespace().chain(self.flags.split_whitespace());
        command.args(flags).arg("--data").arg(&self.data);
        command.arg("--out").arg(self.run(name));
        command
    }

    fn resume(&self, name: &str) -> Command {
        let mut command = program(self.program);
        command.arg("--resume").arg(self.run(name));
        command
    }

    fn finish(&self, mut command: Command) -> Output {
        let output = command.output().expect("the program starts");
        assert!(output.status.success(), "{}", said(&output));
        output
    }

    /// Ends a process after `microseconds`; false if it had come to its end by then.
    fn kill(&self, mut command: Command, microseconds: u64) -> bool {
        let output = self.folder.path().join("output.txt");
        let output = fs::File::create(output).unwrap();
        command.stdout(Stdio::null()).stderr(output);
        let mut child = command.spawn().expect("the program starts");
        sleep(Duration::from_micros(microseconds));
        let ended = child.try_wait().unwrap();
        // On Unix, this is SIGKILL.
        child.kill().unwrap();
        let status = child.wait().unwrap();
        let said = || fs::read_to_string(self.folder.path().join("output.txt")).unwrap();
        assert!(ended.is_none() || status.success(), "{}", said());
        ended.is_none() && !status.success()
    }

    /// Fails unless a run has the same weights, metrics and results as the one left alone.
    fn compare(&self, name: &str) {
        let (whole, other) = (self.run("whole"), self.run(name));
        for model in ["transformer-seed1", "svformer-seed1"] {
            let file = |run: &Path, file: &str| fs::read(run.join(model).join(file)).unwrap();
            let weights = |run| file(run, "model.safetensors");
            assert!(weights(&whole) == weights(&other), "{model}: the weights differ");
            let metrics = |run| {
                let text = String::from_utf8(file(run, "metrics.jsonl")).unwrap();
                text.lines().map(|line| comparable(line.as_bytes())).collect::<Vec<_>>()
            };
            assert_eq!(metrics(&whole), metrics(&other), "{model}");
        }
        let summary = |run: &Path| comparable(&fs::read(run.join("summary.json")).unwrap());
        assert_eq!(summary(&whole), summary(&other));
        assert!(other.join("report.html").is_file());
    }
}

/// Images in MNIST's files.
fn small_digits(folder: &Path) -> PathBuf {
    let folder = folder.join("digits");
    digits(&folder, 40);
    folder
}

/// Pictures of 12 × 8 pixels with a class for each half.
fn scenes(folder: &Path) -> PathBuf {
    let folder = folder.join("scenes");
    for (split, count) in [("train", 8), ("val", 4), ("test", 4)] {
        let [pictures, labels] =
            [split.to_string(), format!("{split}annot")].map(|name| folder.join(name));
        fs::create_dir_all(&pictures).unwrap();
        fs::create_dir_all(&labels).unwrap();
        for number in 0..count {
            let name = format!("{number}.png");
            let right = |x: u32| u8::from(x > 3 + number);
            let picture = RgbImage::from_fn(12, 8, |x, y| Rgb([200 * right(x), y as u8, 9]));
            picture.save_with_format(pictures.join(&name), ImageFormat::Png).unwrap();
            let label = GrayImage::from_fn(12, 8, |x, _| Luma([right(x)]));
            label.save_with_format(labels.join(&name), ImageFormat::Png).unwrap();
        }
    }
    folder
}

/// JSON without the fields that tell time, rate, memory, and the folder's name.
fn comparable(text: &[u8]) -> Value {
    const VARYING: [&str; 7] = [
        "seconds",
        "wall_seconds",
        "tokens_per_second",
        "images_per_second",
        "peak_memory_bytes",
        "started",
        "name",
    ];
    fn strip(value: &mut Value) {
        match value {
            Value::Object(map) => {
                VARYING.iter().for_each(|name| drop(map.remove(*name)));
                map.values_mut().for_each(strip);
            }
            Value::Array(list) => list.iter_mut().for_each(strip),
            _ => {}
        }
    }
    let mut value = serde_json::from_slice(text).unwrap();
    strip(&mut value);
    value
}

/// Ends processes at random instants of their life, goes on each time, and compares every run that
/// comes to its end. Returns how many did.
fn kill_often(program: usize, kills: u64) -> u64 {
    let bench = Bench::of(program);
    let started = std::time::Instant::now();
    bench.finish(bench.begin("timed"));
    let usual = started.elapsed().as_micros() as u64;
    let mut instants = Key::new(5).fold(program as u64).generator();
    let (mut killed, mut ended) = (0, 0);
    while killed < kills || ended == 0 {
        let name = format!("run{ended}");
        let exists = bench.run(&name).join("run.json").is_file();
        let command = if exists { bench.resume(&name) } else { bench.begin(&name) };
        // Once there were enough, the run may come to its end.
        let wait = if killed < kills { instants.below(usual) } else { 60_000_000 };
        if killed < kills && bench.kill(command, wait) {
            killed += 1;
            continue;
        }
        bench.finish(bench.resume(&name));
        bench.compare(&name);
        ended += 1;
    }
    // What was left by those that were killed before their run had a name, a later one removed.
    let entries = fs::read_dir(bench.folder.path()).unwrap().flatten();
    let mut names = entries.map(|entry| entry.file_name().into_string().unwrap());
    assert_eq!(names.find(|name| name.ends_with(".partial")), None);
    ended
}

#[test]
fn killed_at_random_instants_a_run_ends_with_the_same_bits() {
    for program in 0..PROGRAMS.len() {
        kill_often(program, 5);
    }
}

/// `NEUTRENO_KILLS=1000 cargo test --test resume -- --ignored --nocapture`
#[test]
#[ignore = "takes minutes; tests/kills runs it"]
fn killed_very_often_a_run_ends_with_the_same_bits() {
    let kills = std::env::var("NEUTRENO_KILLS").map_or(1000, |kills| kills.parse().unwrap());
    let started = std::time::Instant::now();
    for (number, (program, _)) in PROGRAMS.iter().enumerate() {
        let share = if number == 0 { kills / 2 } else { kills / 4 };
        let ended = kill_often(number, share);
        let minutes = started.elapsed().as_secs_f64() / 60.0;
        println!("{program}: {share} kills, {ended} runs ended, all alike; {minutes:.1} minutes");
    }
}

/// Starts a long run and asks it to stop once it has logged something.
#[cfg(unix)]
fn stop_by_signal(bench: &Bench, name: &str, signal: &str) -> Output {
    let mut command = bench.begin(name);
    command.args(["--steps", "100000"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().expect("the program starts");
    let metrics = bench.run(name).join("transformer-seed1/metrics.jsonl");
    while fs::metadata(&metrics).map_or(0, |file| file.len()) < 1000 {
        sleep(Duration::from_millis(5));
    }
    let id = child.id().to_string();
    assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
    child.wait_with_output().unwrap()
}

#[cfg(unix)]
#[test]
fn a_signal_leaves_a_checkpoint_to_go_on_from_in_other_threads() {
    let bench = Bench::new();
    for (signal, status) in [("-INT", 130), ("-TERM", 143)] {
        let name = signal.trim_start_matches('-');
        let output = stop_by_signal(&bench, name, signal);
        assert_eq!(output.status.code(), Some(status));
        assert!(said(&output).contains("--resume"), "{}", said(&output));
        let checkpoints = bench.run(name).join("transformer-seed1/checkpoints");
        assert!(fs::read_dir(checkpoints).unwrap().count() > 0);
        // Another number of steps is another schedule: the same bits in both ways of going on.
        let reached = said(&output).contains("interrupted");
        assert!(reached, "{}", said(&output));
    }
    let copy = |from: &Path, to: &Path| {
        assert!(Command::new("cp").arg("-r").args([from, to]).status().unwrap().success());
    };
    copy(&bench.run("INT"), &bench.run("copy"));
    let weights = [("INT", "1"), ("copy", "2")].map(|(name, threads)| {
        let mut command = bench.resume(name);
        let folder = bench.run(name).join("transformer-seed1");
        let lines = fs::read_to_string(folder.join("metrics.jsonl")).unwrap().lines().count();
        let steps = (lines + 20).to_string();
        command.args(["--variant", "transformer,svformer", "--steps", &steps]);
        bench.finish({
            command.args(["--threads", threads]);
            command
        });
        fs::read(folder.join("model.safetensors")).unwrap()
    });
    assert!(weights[0] == weights[1]);
}

/// All files of a run, but for the one that is locked.
fn files(run: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut folders = vec![run.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if !path.ends_with(".lock") {
                files.insert(path.clone(), fs::read(path).unwrap());
            }
        }
    }
    files
}

#[test]
fn what_cannot_be_gone_on_with_says_why() {
    let bench = Bench::new();
    let refused = |mut command: Command, why: &str| {
        let output = command.output().unwrap();
        assert!(!output.status.success());
        assert!(said(&output).contains(why), "{}", said(&output));
    };
    let before = files(&bench.run("whole"));
    for (flags, why) in [
        (["--steps", "20"], "transformer (seed 1) has made 40 steps already; --steps 40"),
        (["--longer", "hold"], "after the 40 steps of the run; give more with --steps"),
        (["--baseline", "resformer"], "--baseline resformer is not among the variants"),
        (["--lr", "0.5"], "learning_rate"),
        (["--width", "32"], "width"),
        (["--out", "elsewhere"], "--out"),
    ] {
        let mut command = bench.resume("whole");
        command.args(flags);
        refused(command, why);
    }
    // The average of the weights is what is scored, so it cannot go.
    let images = Bench::of(1);
    let mut command = images.resume("whole");
    command.args(["--average", "0"]);
    refused(command, "average was 0.9 and would be none");
    // Nothing was written, so the run goes on as if nothing had been asked.
    assert!(before == files(&bench.run("whole")));
    refused(bench.resume("nowhere"), "run.json");
    // The same command again names the flag.
    refused(bench.begin("whole"), "--resume");
    // A run that another process works on.
    let lock = fs::File::options().write(true).open(bench.run("whole").join(".lock")).unwrap();
    lock.lock().unwrap();
    refused(bench.resume("whole"), "another process");
    drop(lock);
    // A finished run says so, and all is well; what only guards a run may be changed.
    let mut command = bench.resume("whole");
    command.args(["--memory-limit", "1GiB", "--on-device-loss", "retry"]);
    let output = bench.finish(command);
    let facts = fs::read(bench.run("whole").join("run.json")).unwrap();
    let facts: Value = serde_json::from_slice(&facts).unwrap();
    assert_eq!(facts["safety"]["on_device_loss"], "retry");
    assert_eq!(facts["safety"]["memory_limit"], 1 << 30);
    assert!(said(&output).contains("finished already"), "{}", said(&output));
    // Another text under the same name.
    fs::write(&bench.data, "something else is written here now\n".repeat(300)).unwrap();
    refused(bench.resume("whole"), "hashes");
}

#[test]
fn a_damaged_checkpoint_is_passed_over() {
    let bench = Bench::new();
    bench.finish(bench.begin("run"));
    let model = bench.run("run/svformer-seed1");
    let checkpoints = || {
        let entries = fs::read_dir(model.join("checkpoints")).unwrap();
        let mut all: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
        all.sort();
        all
    };
    let damage = |checkpoint: &Path| {
        let file = checkpoint.join("optimizer.safetensors");
        let mut bytes = fs::read(&file).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&file, bytes).unwrap();
    };
    let resume = |why: &str| {
        // As if the process had been ended just before.
        fs::remove_file(model.join("result.json")).unwrap();
        fs::remove_file(model.join("model.safetensors")).unwrap();
        let half = model.join(".model.safetensors.41-0.partial");
        fs::write(&half, "half of it").unwrap();
        let output = bench.finish(bench.resume("run"));
        let said = said(&output);
        assert!(said.contains("damaged") && said.contains(why), "{said}");
        assert!(!half.exists());
        bench.compare("run");
    };
    let all = checkpoints();
    assert!(all.len() >= 2, "{all:?}");
    damage(all.last().unwrap());
    resume("the one before is used");
    checkpoints().iter().for_each(|checkpoint| damage(checkpoint));
    resume("starting at step 0");
    // A file that is gone, and one that was cut short.
    fs::remove_file(checkpoints().last().unwrap().join("model.safetensors")).unwrap();
    resume("model.safetensors");
    fs::write(checkpoints().last().unwrap().join("SHA256SUMS"), "").unwrap();
    resume("SHA256SUMS");
}

/// Copies a run.
fn copy(from: &Path, to: &Path) {
    for (path, contents) in files(from) {
        let path = to.join(path.strip_prefix(from).unwrap());
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, contents).unwrap();
    }
}

/// The JSON in a file.
fn json_of(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

#[test]
fn a_longer_run_says_how_the_learning_rate_goes_on() {
    let bench = Bench::new();
    let rates = |name: &str, flags: &[&str], why: &str| -> Vec<f64> {
        copy(&bench.run("whole"), &bench.run(name));
        let mut command = bench.resume(name);
        command.args(["--steps", "60"]).args(flags);
        let output = bench.finish(command);
        assert!(said(&output).contains(why), "{}", said(&output));
        // What was chosen stays.
        let output = bench.finish(bench.resume(name));
        assert!(said(&output).contains("finished already"), "{}", said(&output));
        let metrics = bench.run(name).join("svformer-seed1/metrics.jsonl");
        let lines = fs::read_to_string(metrics).unwrap();
        let lines = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.map(|line| line["learning_rate"].as_f64().unwrap()).collect()
    };
    let stretched = rates("stretched", &[], "--longer hold would keep the rate of the end");
    assert_eq!(stretched.len(), 60);
    assert!(stretched[40] > 2.0 * stretched[39]);
    let jump = rates("jump", &["--longer", "stretch"], "the learning rate was 0.0004 here");
    assert_eq!(jump, stretched);
    let held = rates("held", &["--longer", "hold"], "stays what it is after 40");
    assert!(held[40..].iter().all(|rate| *rate == held[40]) && held[40] < held[39]);
    let again = rates("again", &["--longer", "restart"], "after 40 the learning rate's schedule");
    let peak = stretched.iter().copied().fold(0.0, f64::max);
    assert_eq!([again[40], again[41]], [0.5 * peak, peak]);
    assert_eq!(held[..40], again[..40]);
}

#[test]
fn scores_of_one_table_are_of_the_same_data_or_it_says_so() {
    let bench = Bench::new();
    let run = bench.run("whole");
    let scored = || {
        let summary = json_of(&run.join("summary.json"));
        [0, 1].map(|model| {
            let model = &summary["variants"][model];
            [&model["validation_tokens_scored"], &model["validation_tokens"]]
                .map(|count| count.as_u64().unwrap())
        })
    };
    let [[first, all], other] = scored();
    assert_eq!((first, other), (199, [199, all]));
    let metrics = fs::read_to_string(run.join("svformer-seed1/metrics.jsonl")).unwrap();
    let of_part = |line: &&str| line.contains("\"validation_tokens_scored\":199");
    // After steps 8, 16, 24, 32 and the last one.
    assert_eq!(metrics.lines().filter(of_part).count(), 5);
    // Another extent: both are scored anew, and neither is trained again.
    let again = |tokens: &str| {
        let mut command = bench.resume("whole");
        command.args(["--eval-tokens", tokens]);
        let output = bench.finish(command);
        said(&output) + &String::from_utf8_lossy(&output.stdout)
    };
    let weights = || fs::read(run.join("svformer-seed1/model.safetensors")).unwrap();
    let before = weights();
    let shown = again("100");
    assert!(shown.contains("svformer (seed 1) is scored anew"), "{shown}");
    assert!(shown.contains("The scores are of a part: the first 99 of"), "{shown}");
    assert!(before == weights());
    assert_eq!(scored(), [[99, all]; 2]);
    // A model that cannot be scored again keeps its scores, and is compared with nothing.
    fs::remove_dir_all(run.join("transformer-seed1/checkpoints")).unwrap();
    let shown = again("all");
    assert!(shown.contains("transformer (seed 1) keeps its scores"), "{shown}");
    assert!(shown.contains("Not all models were scored on the same data"), "{shown}");
    assert!(!shown.contains("below the Transformer") && !shown.contains("above the Transformer"));
    assert_eq!(scored(), [[99, all], [all, all]]);
}

/// The SHA-256 of the weights of each model of a run, by its folder.
fn weights(run: &Path) -> BTreeMap<String, Vec<u8>> {
    let files = files(run).into_iter().filter(|(path, _)| {
        path.ends_with("model.safetensors") && !path.to_string_lossy().contains("checkpoints")
    });
    let model = |path: &Path| path.parent().unwrap().file_name().unwrap().to_str().unwrap().into();
    files.map(|(path, bytes)| (model(&path), Sha256::digest(bytes).to_vec())).collect()
}

/// More variants and seeds, one after the other, come to the bits of all at once, and nothing that is
/// there is trained again.
#[test]
fn a_run_that_is_extended_ends_with_the_same_bits() {
    const ALL: &str = "transformer,neutreno,svformer,neutreno:0.2";
    for number in 0..PROGRAMS.len() {
        let bench = Bench::of(number);
        let mut command = bench.begin("at once");
        command.args(["--seeds", "2", "--variant", ALL]);
        bench.finish(once(command));
        let mut command = bench.begin("extended");
        command.args(["--neutreno-lambda", "0.6", "--variant", "transformer,neutreno"]);
        bench.finish(once(command));
        let before = weights(&bench.run("extended"));
        let extend = |flags: &[&str]| {
            let mut command = bench.resume("extended");
            command.args(flags);
            said(&bench.finish(command))
        };
        // The flag for NeuTRENO still has its use, though it is not typed again.
        let shown = extend(&["--variant", "svformer"]);
        assert!(shown.contains("new in this run: svformer\n"), "{shown}");
        let shown = extend(&["--variant", "neutreno:0.2", "--seed", "2"]);
        assert!(shown.contains("new in this run: neutreno-0.2, seed 2\n"), "{shown}");
        let shown = extend(&["--seeds", "1"]);
        assert!(shown.contains("finished already"), "{shown}");
        let (extended, mut whole) =
            (weights(&bench.run("extended")), weights(&bench.run("at once")));
        assert_eq!((before.len(), extended.len(), whole.len()), (2, 8, 8));
        assert!(before.iter().all(|(name, hash)| extended[name] == *hash));
        // λ of text is 0.4 and of images 0.6, so NeuTRENO's are of another run.
        if number == 0 {
            let other = |name: &str| name.starts_with("neutreno-seed");
            assert!(whole.iter().all(|(name, hash)| (extended[name] != *hash) == other(name)));
            whole.retain(|name, _| !other(name));
        }
        assert!(whole.iter().all(|(name, hash)| extended[name] == *hash));
        let [one, other] = ["at once", "extended"].map(|run| {
            let summary = json_of(&bench.run(run).join("summary.json"));
            let models = summary["variants"].as_array().unwrap().clone();
            models.iter().map(|m| format!("{}, {}", m["variant"], m["seed"])).collect::<Vec<_>>()
        });
        assert_eq!(one, other);
    }
}

/// A command in which the last value of each flag is the only one.
fn once(command: Command) -> Command {
    let mut flags: BTreeMap<String, String> = BTreeMap::new();
    let typed: Vec<String> =
        command.get_args().map(|argument| argument.to_str().unwrap().to_owned()).collect();
    for pair in typed.chunks(2) {
        flags.insert(pair[0].clone(), pair[1].clone());
    }
    let mut once = Command::new(command.get_program());
    once.args(flags.into_iter().flat_map(|(flag, value)| [flag, value])).stdin(Stdio::null());
    once
}

/// What is new is compared with what is there only where both learn by one schedule.
#[test]
fn an_extension_that_would_not_compare_is_refused_or_said() {
    let bench = Bench::new();
    let resumed = |name: &str, flags: &[&str]| {
        let mut command = bench.resume(name);
        let output = command.args(flags).output().unwrap();
        (output.status.success(), said(&output))
    };
    let begin = |name: &str| copy(&bench.run("whole"), &bench.run(name));
    begin("extended");
    let untouched = files(&bench.run("extended"));
    for (flags, why) in [
        (&["--seeds", "2", "--steps", "60"][..], "seed 2 would learn by the stretched schedule"),
        (&["--variant", "neutreno", "--steps", "60", "--longer", "stretch"], "first what is new"),
        (&["--variant", "neutreno:0.4,neutreno"], "are the same model"),
    ] {
        let (good, said) = resumed("extended", flags);
        assert!(!good && said.contains(why), "{said}");
    }
    assert!(untouched == files(&bench.run("extended")));
    // The constants of a model that is there cannot change; as another model they can.
    let (good, said) = resumed("extended", &["--variant", "neutreno"]);
    assert!(good, "{said}");
    let (good, said) = resumed("extended", &["--neutreno-lambda", "0.2"]);
    assert!(!good && said.contains("neutreno has other constants in this run"), "{said}");
    assert!(said.contains("like neutreno:0.2"), "{said}");
    // A schedule that is the same for all: longer and wider at once, or one after the other.
    begin("longer");
    let longer = ["--steps", "60", "--longer", "restart"];
    let (good, said) = resumed("longer", &[&longer[..], &["--variant", "neutreno"]].concat());
    assert!(good, "{said}");
    let (good, said) = resumed("extended", &longer);
    assert!(good, "{said}");
    assert_eq!(weights(&bench.run("longer")), weights(&bench.run("extended")));
    // Where it was stretched once, it says so.
    begin("stretched");
    assert!(resumed("stretched", &["--steps", "60"]).0);
    let (good, said) = resumed("stretched", &["--seed", "9"]);
    assert!(good && said.contains("was stretched after 40 steps; what is new has it"), "{said}");
    // So do the results, and the page.
    let summary = fs::read(bench.run("stretched").join("summary.json")).unwrap();
    let summary: Value = serde_json::from_slice(&summary).unwrap();
    for model in summary["variants"].as_array().unwrap() {
        let expected = if model["seed"] == 9 { Value::Null } else { 40.into() };
        assert_eq!(model["stretched_after"], expected, "{model}");
    }
    let page = fs::read_to_string(bench.run("stretched").join("report.html")).unwrap();
    assert!(page.contains("schedule was not stretched at the same step for all"));
}

/// The run's own tokenizer cuts the text, and is not trained again: one that lacks a word that was
/// learnt, with its hash noted as if it had been so from the start, is what the program uses.
#[test]
fn the_tokenizer_of_a_run_is_read_and_not_trained_again() {
    let bench = Bench::new();
    let mut command = bench.begin("words");
    command.args(["--tokenizer", "words"]);
    bench.finish(command);
    let (file, facts) = (bench.run("words/tokenizer.json"), bench.run("words/run.json"));
    let resumed = |flags: &[&str]| said(&bench.resume("words").args(flags).output().unwrap());
    let learnt = resumed(&[]);
    assert!(learnt.contains("words, 10 different") && learnt.contains("finished"), "{learnt}");
    let mut tokenizer = json_of(&file);
    tokenizer["words"].as_array_mut().unwrap().remove(0);
    fs::write(&file, tokenizer.to_string()).unwrap();
    assert!(resumed(&[]).contains("tokenizer.json is not what the run wrote"));
    let mut noted = json_of(&facts);
    let hash = Sha256::digest(tokenizer.to_string());
    let hash: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    noted["files"]["tokenizer.json"] = hash.into();
    fs::write(&facts, noted.to_string()).unwrap();
    assert!(resumed(&[]).contains("words, 9 different"));
    // Typed again, it is made again.
    assert!(resumed(&["--tokenizer", "words"]).contains("words, 10 different"));
    assert!(resumed(&["--tokenizer", "bytes"]).contains("tokenizer was"));
}
