//! Training on several ranks, here threads of one process: the same bits for any number of them, whatever is
//! trained, and an end for all where one of them fails.

mod common;
#[path = "ranks/each.rs"]
mod each;
#[path = "ranks/shared_out.rs"]
mod shared_out;

use common::devices;
use common::training::task;
use neutreno::data::Splits;
use neutreno::data::images::{self, ImageData};
use neutreno::engine::Device;
use neutreno::engine::device::Fault;
use neutreno::ranks::{Alone, Ranks, Threads};
use neutreno::run::{Values, VariantSummary, read_metrics};
use neutreno::tasks::classification::ImageClassification;
use neutreno::tasks::images::ImageSettings;
use neutreno::tasks::language::LanguageModelling;
use neutreno::tasks::segmentation::ImageSegmentation;
use neutreno::training::{
    Comparison, Error, Observer, OnDeviceLoss, Safety, Settings, Silent, Task, follow,
};
use neutreno::{Variant, VariantConfig};
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

/// A run of all variants.
struct Job<'a, T> {
    task: &'a T,
    settings: Settings,
    variants: Vec<VariantConfig>,
    safety: Safety,
    minutes: Option<f64>,
    /// Whether each rank keeps only its part of the optimiser.
    shared_out: bool,
    /// What all ranks compute on; `None` for the CPU, each with a thread of its own.
    device: Option<Device>,
    /// Becomes true when the user wants to stop.
    interrupted: AtomicBool,
}

impl<'a, T: Task> Job<'a, T> {
    fn new(task: &'a T, settings: Settings, accumulate: usize) -> Job<'a, T> {
        let settings = Settings {
            batch: 2,
            accumulate,
            steps: 3,
            warmup: 0,
            average: Some(0.9),
            evaluate_every: 2,
            ..settings
        };
        let variants = Variant::ALL.map(VariantConfig::new).to_vec();
        let safety = Safety { checkpoint_steps: 2, keep: 10, ..Safety::default() };
        let interrupted = AtomicBool::new(false);
        let (minutes, shared_out, device) = (None, false, None);
        Job { task, settings, variants, safety, minutes, shared_out, device, interrupted }
    }

    /// What one rank does.
    fn run_on(
        &self,
        ranks: &dyn Ranks,
        parent: &Path,
        observer: &mut dyn Observer,
    ) -> Result<(), Error> {
        let device = match &self.device {
            Some(device) => device.clone(),
            None => Device::cpu_with_threads(1),
        };
        if ranks.rank() > 0 {
            return follow(self.task, &self.settings, &self.safety, &device, ranks);
        }
        let run = parent.join("run");
        let comparison = Comparison {
            task: self.task,
            variants: &self.variants,
            seeds: &[1],
            settings: self.settings.clone(),
            minutes: self.minutes,
            device,
            ranks,
            shard_optimizer: self.shared_out,
            open: &|| unreachable!("nothing fails"),
            parent: parent.into(),
            name: Some("run".into()),
            resume: run.exists().then_some(run),
            longer: None,
            baseline: None,
            safety: self.safety.clone(),
            show_every: Duration::MAX,
            arguments: Vec::new(),
            started: "2031-05-07T09:30:00Z".into(),
            interrupted: &self.interrupted,
            checkpoint: &AtomicBool::new(false),
            tensorboard: false,
        };
        comparison.run(observer).map(drop)
    }

    /// Trains in `parent`/run, or goes on there.
    fn train(&self, size: usize, parent: &Path) {
        for result in Threads::run(size, |ranks| self.run_on(ranks, parent, &mut Silent)) {
            result.unwrap();
        }
    }

    /// Everything that came out and does not depend on time: weights, what checkpoints hold of them, of
    /// moments and averages, and the metrics.
    fn results(&self, parent: &Path) -> Vec<(String, Vec<u8>)> {
        let mut results = Vec::new();
        for variant in &self.variants {
            let model = parent.join("run").join(format!("{}-seed1", variant.name()));
            for step in [2, 3] {
                let checkpoint = model.join(format!("checkpoints/step-{step:06}"));
                for name in ["model", "optimizer", "average"] {
                    let path = checkpoint.join(format!("{name}.safetensors"));
                    results.push((path.display().to_string(), fs::read(&path).unwrap()));
                }
            }
            let path = model.join("model.safetensors");
            results.push((path.display().to_string(), fs::read(&path).unwrap()));
            for line in read_metrics(&model.join("metrics.jsonl")).unwrap() {
                let numbers = (line.loss, line.gradient_norm, line.learning_rate);
                let scores = scores(&line.values);
                let name = format!("{}, step {}", variant.name(), line.step);
                results.push((name, format!("{numbers:?} {scores}").into_bytes()));
            }
            let path = model.join("result.json");
            let result: VariantSummary = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
            results.push((path.display().to_string(), scores(&result.results).into_bytes()));
        }
        let place = parent.display().to_string();
        results.into_iter().map(|(name, bytes)| (name.replace(&place, ""), bytes)).collect()
    }

    /// What comes out on so many ranks.
    fn on(&self, size: usize) -> Vec<(String, Vec<u8>)> {
        let parent = tempfile::tempdir().unwrap();
        self.train(size, parent.path());
        self.results(parent.path())
    }

    /// What each rank says that cannot do this.
    fn refusal(&self, size: usize) -> String {
        let parent = tempfile::tempdir().unwrap();
        let work = |ranks: &Threads| self.run_on(ranks, parent.path(), &mut Silent);
        let results = Threads::run(size, work);
        assert!(!parent.path().join("run").exists());
        results[0].clone().unwrap_err()
    }
}

/// The scores among these values. Numbers are written with as many digits as tell their bits.
fn scores(values: &Values) -> String {
    let words = ["loss", "perplexity", "bits_per_byte", "accuracy", "iou"];
    let scores = values.iter().filter(|(name, _)| words.iter().any(|word| name.contains(word)));
    scores.map(|(name, value)| format!("{name} {value}\n")).collect()
}

fn assert_same(found: &[(String, Vec<u8>)], expected: &[(String, Vec<u8>)], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for ((name, found), (_, expected)) in found.iter().zip(expected) {
        assert!(found == expected, "{what}: {name} differs");
    }
}

fn text_settings() -> Settings {
    common::training::settings()
}

#[test]
fn any_number_of_ranks_comes_to_the_same_text_models() {
    let task = task();
    for (accumulate, sizes) in [(1, &[1][..]), (4, &[1, 2, 3, 4]), (6, &[2, 3, 5]), (8, &[3, 8])] {
        let job = Job::new(&task, text_settings(), accumulate);
        // As a program without ranks, and with one that is alone among threads.
        let parent = tempfile::tempdir().unwrap();
        job.run_on(&Alone, parent.path(), &mut Silent).unwrap();
        let expected = job.results(parent.path());
        for size in sizes {
            let what = format!("{accumulate} micro-batches on {size} ranks");
            assert_same(&job.on(*size), &expected, &what);
        }
    }
}

fn image_sizes(task: images::Task) -> (ImageSettings, Settings) {
    let (sizes, settings) = ImageSettings::preset("tiny", task).unwrap();
    let small = ImageSettings { layers: 2, width: 16, heads: 2, decoder_layers: 1, ..sizes };
    (small, settings)
}

fn some_images(task: images::Task) -> ImageData {
    ImageData::generated_of(task, Splits { train: 40, validation: 10, test: 10 })
}

#[test]
fn any_number_of_ranks_comes_to_the_same_classifiers() {
    let (sizes, settings) = image_sizes(images::Task::Classification);
    let device = Device::cpu_with_threads(1);
    let data = some_images(images::Task::Classification);
    let task = ImageClassification::new(data, sizes, &device).unwrap();
    let job = Job::new(&task, settings, 4);
    let expected = job.on(1);
    for size in [2, 3, 4] {
        assert_same(&job.on(size), &expected, &format!("{size} ranks"));
    }
}

#[test]
fn any_number_of_ranks_comes_to_the_same_segmenters() {
    let (sizes, settings) = image_sizes(images::Task::Segmentation);
    let device = Device::cpu_with_threads(1);
    let data = some_images(images::Task::Segmentation);
    let task = ImageSegmentation::new(data, sizes, &device).unwrap();
    let job = Job::new(&task, settings, 3);
    assert_same(&job.on(2), &job.on(1), "2 ranks");
}

/// A GPU adds up what ranks have made as it adds up what it has made itself.
#[test]
fn any_number_of_ranks_comes_to_the_same_bits_on_every_gpu() {
    let task = task();
    for (name, device) in devices().into_iter().skip(1) {
        let mut job = Job::new(&task, text_settings(), 3);
        job.variants.truncate(1);
        job.device = Some(device);
        let expected = job.on(1);
        assert_same(&job.on(2), &expected, &name);
        job.shared_out = true;
        assert_same(&job.on(3), &expected, &format!("{name}, shared out"));
    }
}

/// Some ranks then have nothing to score: of three images and of one in batches of two.
#[test]
fn more_ranks_than_batches_come_to_the_same_scores() {
    let device = Device::cpu_with_threads(1);
    let few = Splits { train: 40, validation: 3, test: 1 };
    let (sizes, settings) = image_sizes(images::Task::Classification);
    let data = ImageData::generated_of(images::Task::Classification, few);
    let task = ImageClassification::new(data, sizes, &device).unwrap();
    let mut job = Job::new(&task, settings, 4);
    job.variants.truncate(1);
    assert_same(&job.on(4), &job.on(1), "classification");
    let (sizes, settings) = image_sizes(images::Task::Segmentation);
    let data = ImageData::generated_of(images::Task::Segmentation, few);
    let task = ImageSegmentation::new(data, sizes, &device).unwrap();
    let mut job = Job::new(&task, settings, 4);
    job.variants.truncate(1);
    assert_same(&job.on(4), &job.on(1), "segmentation");
}

/// Each rank scores its share, with the weights of the step at which it is made: NeuTRENO's λ grows here.
#[test]
fn scores_are_made_by_all_ranks() {
    let mut task = task();
    task.settings.lambda_warmup = 3;
    let mut job = Job::new(&task, text_settings(), 4);
    job.variants.retain(|variant| variant.neutreno_lambda.is_some());
    let expected = job.on(1);
    for size in [2, 3, 4] {
        let parent = tempfile::tempdir().unwrap();
        let results = Threads::run(size, |ranks| {
            let watched = Watched::new(ranks, None);
            job.run_on(&watched, parent.path(), &mut Silent)?;
            Ok::<_, Error>(watched.scored.into_inner())
        });
        let scored: Vec<usize> = results.into_iter().map(Result::unwrap).collect();
        // Twice while training, and at the end two texts, of 25 batches each.
        let share = |rank: usize| 4 * (25 - rank).div_ceil(size);
        assert!(scored.iter().copied().eq((0..size).map(share)), "{scored:?}");
        assert_same(&job.results(parent.path()), &expected, &format!("{size} ranks"));
    }
}

/// Whether that is while training or at the end: all ranks stop in the same round of batches, make a short
/// score, and end; and the run goes on to the same scores.
#[test]
fn an_interruption_while_scoring_ends_all_ranks() {
    let task = task();
    let mut job = Job::new(&task, text_settings(), 4);
    job.variants.truncate(1);
    let expected = job.on(1);
    // A score is made in nine rounds, at two steps and, if it is not interrupted, of two texts at the end.
    for (round, steps, rounds) in [(2, 2, 2 + 9), (20, 3, 20 + 9)] {
        let parent = tempfile::tempdir().unwrap();
        let results = Threads::run(3, |ranks| {
            let watched = Watched::new(ranks, Some((&job.interrupted, round)));
            job.run_on(&watched, parent.path(), &mut Silent)?;
            Ok::<_, Error>(watched.rounds.into_inner())
        });
        // One more round is begun, to hear of it.
        for result in results {
            assert_eq!(result, Ok(rounds + 1), "interrupted after round {round}");
        }
        let model = parent.path().join(format!("run/{}-seed1", job.variants[0].name()));
        assert!(!model.join("result.json").exists());
        let last = model.join("checkpoints/step-000003").exists();
        assert_eq!(last, steps == 3, "interrupted after round {round}");
        job.interrupted.store(false, Ordering::Relaxed);
        job.train(2, parent.path());
        let what = format!("gone on with after an interruption at step {steps}");
        assert_same(&job.results(parent.path()), &expected, &what);
    }
}

/// Gone on with on other numbers of ranks than it began with.
#[test]
fn a_run_goes_on_with_any_number_of_ranks() {
    let task = task();
    let whole = Job::new(&task, text_settings(), 4);
    let expected = whole.on(1);
    for (before, after) in [(4, 1), (4, 2), (4, 3), (1, 4)] {
        let parent = tempfile::tempdir().unwrap();
        // It has come to its end, and to a checkpoint before: the end is taken away.
        whole.train(before, parent.path());
        for variant in &whole.variants {
            let model = parent.path().join(format!("run/{}-seed1", variant.name()));
            fs::remove_dir_all(model.join("checkpoints/step-000003")).unwrap();
            fs::remove_file(model.join("result.json")).unwrap();
            fs::remove_file(model.join("model.safetensors")).unwrap();
        }
        whole.train(after, parent.path());
        let what = format!("begun on {before} ranks, gone on with on {after}");
        assert_same(&whole.results(parent.path()), &expected, &what);
    }
}

/// Minutes are turned into steps on all ranks together.
#[test]
fn minutes_become_steps_on_all_ranks() {
    let task = task();
    let mut job = Job::new(&task, text_settings(), 2);
    job.variants.truncate(1);
    job.settings.evaluate_every = 0;
    job.minutes = Some(1e-6);
    for shared_out in [false, true] {
        job.shared_out = shared_out;
        let parent = tempfile::tempdir().unwrap();
        job.train(2, parent.path());
        let model = parent.path().join(format!("run/{}-seed1", job.variants[0].name()));
        assert_eq!(read_metrics(&model.join("metrics.jsonl")).unwrap().len(), 1);
    }
}

#[test]
fn what_ranks_cannot_do_is_refused_before_anything_is_written() {
    let task = task();
    let said = Job::new(&task, text_settings(), 1).refusal(3);
    assert!(
        said.contains("--accumulate 1 has fewer micro-batches than there are ranks, 3"),
        "{said}"
    );
    assert!(said.contains("a step of 2 examples is too small"), "{said}");
    let job = Job::new(&task, text_settings(), 2);
    let said = Job { settings: Settings { batch: 6, ..job.settings.clone() }, ..job }.refusal(3);
    assert!(said.contains("--accumulate 3 --batch 4 makes the same 12 examples a step"), "{said}");
    let job = Job::new(&task, text_settings(), 4);
    let safety = Safety { on_device_loss: OnDeviceLoss::Retry, ..Safety::default() };
    let said = Job { safety, ..job }.refusal(2);
    assert!(said.contains("--on-device-loss retry is for one process"), "{said}");
}

/// Runs the first job on rank 0 and the second one on the other.
fn differing<T: Task>(one: &Job<T>, other: &Job<T>) -> Vec<Result<(), String>> {
    let parent = tempfile::tempdir().unwrap();
    let results = Threads::run(2, |ranks| match ranks.rank() {
        0 => one.run_on(ranks, parent.path(), &mut Silent),
        _ => other.run_on(ranks, parent.path(), &mut Silent),
    });
    assert!(!parent.path().join("run").exists());
    results
}

#[test]
fn ranks_that_do_not_train_the_same_are_named() {
    let task = task();
    let job = || Job::new(&task, text_settings(), 4);
    let faster = Settings { learning_rate: 0.5, ..job().settings };
    let results = differing(&job(), &Job { settings: faster, ..job() });
    let said = results[0].clone().unwrap_err();
    let names = "rank 1 on thread 1 does not train the same as rank 0 on thread 0: ";
    assert!(said.contains(names) && said.contains("learning_rate is 0.5 there"), "{said}");
    // The other one waited for its first order.
    assert!(results[1].clone().unwrap_err().contains("rank 0 on thread 0 has failed"));
    // The same settings, and another text.
    let other = other_text();
    let results = differing(&job(), &Job { task: &other, ..job() });
    let said = results[0].clone().unwrap_err();
    assert!(said.contains(names) && said.contains("data, splits, the hash of train"), "{said}");
}

/// The task of a text with other letters.
fn other_text() -> LanguageModelling {
    use neutreno::data::Source;
    use neutreno::data::corpus::Corpus;
    use neutreno::data::tokenizer::TokenizerChoice;
    let text = |word: &str| format!(" {word}\n").repeat(100);
    let splits = Splits { train: text("0 "), validation: text("0/"), test: text("0/") };
    let corpus = Corpus::new("a few bytes".into(), Source::Generated(0), false, splits, None);
    LanguageModelling::new(&corpus, TokenizerChoice::Bytes, task().settings).unwrap()
}

/// A rank that fails in a step ends the others with its reason; the run goes on from its checkpoint.
#[test]
fn a_rank_that_fails_ends_all_and_the_run_goes_on() {
    let task = task();
    let job = Job::new(&task, text_settings(), 4);
    let expected = job.on(1);
    let parent = tempfile::tempdir().unwrap();
    let results = Threads::run(3, |ranks| match ranks.rank() {
        2 => {
            let failing = Failing { ranks, calls: 5.into(), wrong: false };
            job.run_on(&failing, parent.path(), &mut Silent)
        }
        _ => job.run_on(ranks, parent.path(), &mut Silent),
    });
    for result in &results {
        assert!(result.clone().unwrap_err().contains("the cable is cut"), "{result:?}");
    }
    job.train(2, parent.path());
    assert_same(&job.results(parent.path()), &expected, "gone on with after a failure");
}

/// Wherever memory runs out on one rank, or its GPU is lost, in the middle of a backward pass too: all end with
/// the reason, and none waits for ever.
#[test]
fn a_device_that_fails_ends_all() {
    let task = task();
    let mut job = Job::new(&task, text_settings(), 4);
    job.variants.truncate(1);
    let open_gpu = || Device::open("llvmpipe", 0).ok();
    let mut faults: Vec<(Fault, &dyn Fn() -> Device)> =
        vec![(Fault::NoMemory, &|| Device::cpu_with_threads(1))];
    let gpu = || open_gpu().expect("it was there just now");
    if open_gpu().is_some() {
        faults.push((Fault::LostAtDispatch, &gpu));
        faults.push((Fault::LostAtReading, &gpu));
    } else {
        assert!(std::env::var_os("NEUTRENO_EXPECT_GPU").is_none(), "no llvmpipe");
    }
    for (fault, open) in faults {
        let run = |after: u64| {
            let parent = tempfile::tempdir().unwrap();
            let device = open();
            let injection = device.inject(fault, after);
            let failing = Job { device: Some(device), ..Job::new(&task, text_settings(), 4) };
            let failing = Job { variants: job.variants.clone(), ..failing };
            let on_gpu = Job { device: Some(open()), ..Job::new(&task, text_settings(), 4) };
            let on_gpu = Job { variants: job.variants.clone(), ..on_gpu };
            let results = Threads::run(2, |ranks| match ranks.rank() {
                0 => on_gpu.run_on(ranks, parent.path(), &mut Silent),
                _ => failing.run_on(ranks, parent.path(), &mut Silent),
            });
            (results, injection.seen())
        };
        let (results, points) = run(u64::MAX);
        assert_eq!(results, [Ok(()), Ok(())]);
        let mut failed = 0;
        for number in 0..10 {
            let after = (2 * number + 1) * points / 20;
            let (results, _) = run(after);
            let errors = results.iter().filter_map(|result| result.as_ref().err());
            let errors: Vec<&String> = errors.collect();
            // What fails after everything was read does no harm.
            assert!(errors.len() != 1, "{fault:?} after {after} of {points}: {results:?}");
            failed += usize::from(!errors.is_empty());
        }
        assert!(failed > 5, "{fault:?}: {failed} of 10");
    }
}

/// A rank whose device makes other updates of the same gradients ends all before a checkpoint is written.
#[test]
fn a_rank_that_comes_to_other_weights_is_named() {
    let task = task();
    let job = Job::new(&task, text_settings(), 2);
    let parent = tempfile::tempdir().unwrap();
    let results = Threads::run(2, |ranks| {
        let wrong = Failing { ranks, calls: 1000.into(), wrong: ranks.rank() == 1 };
        job.run_on(&wrong, parent.path(), &mut Silent)
    });
    let said = results[0].clone().unwrap_err();
    assert!(said.contains("rank 1 on thread 1 has come to other weights than rank 0"), "{said}");
    let model = parent.path().join(format!("run/{}-seed1", job.variants[0].name()));
    assert!(!model.join("checkpoints/step-000002").exists());
}

/// A rank that counts what it does to score, and may be interrupted meanwhile.
struct Watched<'a> {
    ranks: &'a Threads,
    /// What becomes true after so many rounds of scoring.
    interruption: Option<(&'a AtomicBool, usize)>,
    /// The rounds so far: before each, one byte says whether it is made.
    rounds: AtomicUsize,
    /// The batches that this rank has scored.
    scored: AtomicUsize,
}

impl<'a> Watched<'a> {
    fn new(ranks: &'a Threads, interruption: Option<(&'a AtomicBool, usize)>) -> Watched<'a> {
        Watched { ranks, interruption, rounds: 0.into(), scored: 0.into() }
    }
}

impl Ranks for Watched<'_> {
    fn rank(&self) -> usize {
        self.ranks.rank()
    }

    fn size(&self) -> usize {
        self.ranks.size()
    }

    fn host(&self) -> String {
        self.ranks.host()
    }

    fn all_to_all(&self, mine: &[f32], theirs: &mut [f32]) -> Result<(), neutreno::ranks::Error> {
        self.ranks.all_to_all(mine, theirs)
    }

    fn all_gather(&self, all: &mut [f32]) -> Result<(), neutreno::ranks::Error> {
        self.ranks.all_gather(all)
    }

    fn broadcast(&self, bytes: Vec<u8>) -> Result<Vec<u8>, neutreno::ranks::Error> {
        let bytes = self.ranks.broadcast(bytes)?;
        if bytes.len() == 1 {
            let rounds = 1 + self.rounds.fetch_add(1, Ordering::Relaxed);
            if let Some((interrupted, after)) = self.interruption
                && rounds == after
                && self.rank() == 0
            {
                interrupted.store(true, Ordering::Relaxed);
            }
        }
        Ok(bytes)
    }

    fn gather(&self, mine: &[u8]) -> Result<Vec<Vec<u8>>, neutreno::ranks::Error> {
        if let Ok(batches) = serde_json::from_slice::<Vec<Vec<u64>>>(mine) {
            self.scored.fetch_add(batches.len(), Ordering::Relaxed);
        }
        self.ranks.gather(mine)
    }

    fn abort(&self, status: u8) {
        self.ranks.abort(status);
    }
}

/// A rank that is cut off after so many sums, or whose numbers are a little wrong.
struct Failing<'a> {
    ranks: &'a Threads,
    calls: std::sync::atomic::AtomicI64,
    wrong: bool,
}

impl Ranks for Failing<'_> {
    fn rank(&self) -> usize {
        self.ranks.rank()
    }

    fn size(&self) -> usize {
        self.ranks.size()
    }

    fn host(&self) -> String {
        self.ranks.host()
    }

    fn all_to_all(&self, mine: &[f32], theirs: &mut [f32]) -> Result<(), neutreno::ranks::Error> {
        match self.calls.fetch_sub(1, std::sync::atomic::Ordering::Relaxed) {
            ..1 => Err(neutreno::ranks::Error::Connection("the cable is cut".into())),
            _ => self.ranks.all_to_all(mine, theirs),
        }
    }

    fn all_gather(&self, all: &mut [f32]) -> Result<(), neutreno::ranks::Error> {
        self.ranks.all_gather(all)?;
        if self.wrong {
            all.iter_mut().for_each(|number| *number *= 1.000001);
        }
        Ok(())
    }

    fn broadcast(&self, bytes: Vec<u8>) -> Result<Vec<u8>, neutreno::ranks::Error> {
        self.ranks.broadcast(bytes)
    }

    fn gather(&self, mine: &[u8]) -> Result<Vec<Vec<u8>>, neutreno::ranks::Error> {
        self.ranks.gather(mine)
    }

    fn abort(&self, status: u8) {
        self.ranks.abort(status);
    }
}
