//! Training on disks and devices that fail.

mod over_ranks;

use crate::comparison::Comparison;
use crate::data::corpus::Corpus;
use crate::data::tokenizer::TokenizerChoice;
use crate::data::{Source, Splits};
use crate::engine::device::Fault;
use crate::engine::{self, Device, Tensor};
use crate::error::Error;
use crate::needs::needs;
use crate::observer::{Observer, Silent};
use crate::ranks::Alone;
use crate::run::Summary;
use crate::run::disk::faults;
use crate::safety::{OnDeviceLoss, Safety};
use crate::settings::Settings;
use crate::task::Task;
use crate::tasks::language::{LanguageModelling, LanguageSettings};
use crate::{Variant, VariantConfig};
use std::fs;
use std::path::Path;
use std::sync::LazyLock;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

fn task() -> LanguageModelling {
    let sizes = LanguageSettings {
        layers: 2,
        width: 4,
        heads: 1,
        context: 8,
        evaluation_tokens: 20,
        final_evaluation_tokens: Some(20),
        ..LanguageSettings::preset("tiny").expect("a preset").0
    };
    let text = || "a few words, again and again\n".repeat(10);
    let splits = Splits { train: text(), validation: text(), test: text() };
    let corpus = Corpus::new("a few words".into(), Source::Generated(0), false, splits, None);
    LanguageModelling::new(&corpus, TokenizerChoice::Words, sizes).expect("a corpus")
}

/// Trains in `parent`/run, or goes on with what is there.
fn train(task: &LanguageModelling, parent: &Path, device: &Device) -> Result<(), Error> {
    let open = || Ok(device.clone());
    let (safety, observer) = (Safety::default(), &mut Silent);
    train_with(task, parent, device.clone(), &open, safety, observer).map(drop)
}

fn settings() -> Settings {
    Settings {
        batch: 1,
        steps: 2,
        evaluate_every: 1,
        sample_every: 0,
        ..LanguageSettings::preset("tiny").expect("a preset").1
    }
}

fn train_with(
    task: &LanguageModelling,
    parent: &Path,
    device: Device,
    open: &dyn Fn() -> engine::Result<Device>,
    safety: Safety,
    observer: &mut dyn Observer,
) -> Result<Summary, Error> {
    train_and_show(task, parent, device, open, safety, Duration::MAX, observer)
}

fn train_and_show(
    task: &LanguageModelling,
    parent: &Path,
    device: Device,
    open: &dyn Fn() -> engine::Result<Device>,
    safety: Safety,
    show_every: Duration,
    observer: &mut dyn Observer,
) -> Result<Summary, Error> {
    let comparison = comparison(task, parent, device, open);
    let safety = Safety { checkpoint_steps: 1, ..safety };
    let comparison = Comparison { safety, show_every, ..comparison };
    comparison.run(observer).map(|(summary, _)| summary)
}

/// After models of different sizes, one after another, no more is taken from the system than after the last
/// of them alone.
#[test]
fn a_model_leaves_nothing_to_the_next() {
    let task = task();
    let reserved_after = |variants: &[Variant]| {
        let (parent, device) = (tempfile::tempdir().unwrap(), Device::cpu_with_threads(1));
        let open = || Ok(device.clone());
        let variants: Vec<_> = variants.iter().copied().map(VariantConfig::new).collect();
        let comparison = comparison(&task, parent.path(), device.clone(), &open);
        Comparison { variants: &variants, ..comparison }.run(&mut Silent).unwrap();
        device.memory().reserved
    };
    let alone = reserved_after(&[Variant::Svformer]);
    assert_eq!(reserved_after(&[Variant::Transformer, Variant::Svformer]), alone);
}

/// One small model.
static VARIANTS: LazyLock<[VariantConfig; 1]> =
    LazyLock::new(|| [VariantConfig::new(Variant::Resformer)]);

fn comparison<'a, T: Task>(
    task: &'a T,
    parent: &Path,
    device: Device,
    open: &'a dyn Fn() -> engine::Result<Device>,
) -> Comparison<'a, T> {
    static NEVER: AtomicBool = AtomicBool::new(false);
    let run = parent.join("run");
    Comparison {
        task,
        variants: &*VARIANTS,
        seeds: &[1],
        settings: settings(),
        minutes: None,
        device,
        ranks: &Alone,
        shard_optimizer: false,
        open,
        parent: parent.into(),
        name: Some("run".into()),
        resume: run.exists().then_some(run),
        longer: None,
        baseline: None,
        safety: Safety::default(),
        show_every: Duration::MAX,
        arguments: Vec::new(),
        started: "2031-05-07T09:30:00Z".into(),
        interrupted: &NEVER,
        checkpoint: &NEVER,
        tensorboard: true,
    }
}

/// The weights that were trained.
fn weights(parent: &Path) -> Vec<u8> {
    fs::read(parent.join("run/resformer-seed1/model.safetensors")).expect("trained weights")
}

/// Whatever fails on the disk, once or from then on: an error that names a file, no panic, and what
/// was there can be gone on with to the same bits.
#[test]
fn a_disk_that_fails_loses_nothing() {
    let (task, device) = (task(), Device::cpu_with_threads(1));
    let whole = tempfile::tempdir().unwrap();
    faults::plan(whole.path(), u64::MAX, 0);
    train(&task, whole.path(), &device).unwrap();
    let operations = faults::end(whole.path());
    assert!(operations > 50, "{operations}");
    println!("{operations} writes, syncs, renames, and folders made or removed");
    for first in 0..operations {
        // Once, and at some of them from then on.
        let kinds = if first % 3 == 0 { &[1, u64::MAX][..] } else { &[1] };
        for &times in kinds {
            let parent = tempfile::tempdir().unwrap();
            faults::plan(parent.path(), first, times);
            let result = train(&task, parent.path(), &device);
            faults::end(parent.path());
            if let Err(error) = result {
                let said = error.to_string();
                assert!(said.contains("no space left on the disk"), "{first}: {said}");
            }
            train(&task, parent.path(), &device).unwrap_or_else(|e| panic!("{first}: {e}"));
            assert!(weights(parent.path()) == weights(whole.path()), "{first}");
        }
    }
}

/// Keeps what a run says.
#[derive(Default)]
struct Notices(Vec<String>);

impl Observer for Notices {
    fn notice(&mut self, line: &str) {
        self.0.push(line.into());
    }
}

/// An old checkpoint that cannot be removed ends no training: that is said once and tried again.
#[test]
fn a_checkpoint_that_cannot_be_removed_stays_for_now() {
    let (task, device) = (task(), Device::cpu_with_threads(1));
    let open = || unreachable!("nothing fails");
    // How often the removal of the first one fails, and whether it is there in the end.
    for (times, stays) in [(1, false), (3, false), (u64::MAX, true)] {
        let parent = tempfile::tempdir().unwrap();
        let first = parent.path().join("run/resformer-seed1/checkpoints/step-000001");
        // After it was given its name.
        faults::plan(&first, 1, times);
        let mut notices = Notices::default();
        let comparison = Comparison {
            settings: Settings { steps: 6, evaluate_every: 0, ..settings() },
            safety: Safety { checkpoint_steps: 1, keep: 1, ..Safety::default() },
            ..comparison(&task, parent.path(), device.clone(), &open)
        };
        let result = comparison.run(&mut notices);
        faults::end(&first);
        assert!(result.unwrap().0.variants[0].finished);
        let said = notices.0.iter().filter(|line| line.contains("An old checkpoint stays")).count();
        assert_eq!(said, 1, "{:?}", notices.0);
        assert_eq!(first.is_dir(), stays);
        // The others went.
        let checkpoints = fs::read_dir(first.parent().unwrap()).unwrap();
        assert_eq!(checkpoints.count(), 1 + usize::from(stays));
    }
}

/// Where nothing can be locked, a run is trained and gone on with; that nobody is kept out is said
/// once each time.
#[test]
fn a_disk_without_locks_is_trained_on() {
    let (task, device) = (task(), Device::cpu_with_threads(1));
    let open = || unreachable!("nothing fails");
    let parent = tempfile::tempdir().unwrap();
    faults::without_locks(parent.path());
    for _ in 0..2 {
        let mut notices = Notices::default();
        comparison(&task, parent.path(), device.clone(), &open).run(&mut notices).unwrap();
        let said = notices.0.iter().filter(|line| line.contains("(no locks available)")).count();
        assert_eq!(said, 1, "{:?}", notices.0);
    }
}

/// Models of one name would share a folder.
#[test]
fn models_of_the_same_name_are_refused() {
    let (task, device) = (task(), Device::cpu_with_threads(1));
    let open = || unreachable!("nothing fails");
    let lambda = |lambda| VariantConfig {
        neutreno_lambda: Some(lambda),
        ..VariantConfig::new(Variant::Neutreno)
    };
    let variants = [lambda(0.2), lambda(0.4)];
    let parent = tempfile::tempdir().unwrap();
    let comparison = || comparison(&task, parent.path(), device.clone(), &open);
    let variants = Comparison { variants: &variants, ..comparison() };
    let seeds = Comparison { seeds: &[1, 2, 1], ..comparison() };
    for (refused, why) in [(variants, "called neutreno"), (seeds, "seed 1 is given twice")] {
        let said = refused.run(&mut Silent).unwrap_err().to_string();
        assert!(said.contains(why), "{said}");
    }
    assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 0);
}

/// The software GPU, if this machine has it.
///
/// # Panics
/// Where `NEUTRENO_EXPECT_GPU` is set and there is none.
fn software_gpu() -> Option<Device> {
    let device = Device::open("llvmpipe", 0).ok();
    assert!(device.is_some() || std::env::var_os("NEUTRENO_EXPECT_GPU").is_none(), "no llvmpipe");
    device
}

/// Lets a fault happen at `count` of the points where it can, one a run, and goes on: half of the
/// runs by themselves, the others by being resumed. Whatever fails is an error that says on which
/// device, and ends with the same bits. Returns the number of points.
fn fail_often(open: &dyn Fn() -> Device, fault: Fault, count: u64) -> u64 {
    let task = task();
    let whole = tempfile::tempdir().unwrap();
    let device = open();
    let injection = device.inject(fault, u64::MAX);
    train(&task, whole.path(), &device).unwrap();
    let (name, points) = (device.name(), injection.seen());
    let count = count.min(points);
    for number in 0..count {
        let after = (2 * number + 1) * points / (2 * count);
        let parent = tempfile::tempdir().unwrap();
        let device = open();
        let injection = device.inject(fault, after);
        let retries = number % 2 == 0;
        let on_device_loss = if retries { OnDeviceLoss::Retry } else { OnDeviceLoss::Stop };
        let safety = Safety { on_device_loss, ..Safety::default() };
        let mut notices = Notices::default();
        let reopen = || Ok(open());
        let result = train_with(&task, parent.path(), device, &reopen, safety, &mut notices);
        assert!(injection.seen() > after, "{fault:?} {after}: it did not happen");
        match result {
            Ok(_) if retries => {
                let said = notices.0.join("\n");
                if number == 0 {
                    println!("{said}");
                }
                assert!(said.contains(&name) && said.contains("attempt 1"), "{after}: {said}");
            }
            // What fails after everything was read does no harm.
            Ok(_) => {}
            Err(error) => {
                let said = error.to_string();
                if number == 1 {
                    println!("{said}");
                }
                assert!(!retries, "{fault:?} {after}: {said}");
                assert!(said.contains(&name) && said.contains("tensors took"), "{said}");
                let advice = if fault == Fault::NoMemory { "--batch" } else { "--on-device-loss" };
                assert!(said.contains(advice), "{said}");
                let checkpoint = parent.path().join("run/resformer-seed1/checkpoints/step-000001");
                assert!(said.contains("--resume") || !checkpoint.exists(), "{said}");
                train(&task, parent.path(), &open()).unwrap();
            }
        }
        assert!(weights(parent.path()) == weights(whole.path()), "{fault:?} {after}");
    }
    points
}

/// So many faults of each kind on the software GPU.
fn fail_on_gpu(counts: [u64; 5]) {
    let Some(_) = software_gpu() else { return };
    let open = || software_gpu().expect("it was there just now");
    let faults = [
        Fault::NoMemory,
        Fault::LostAtDispatch,
        Fault::LostAtSubmission,
        Fault::LostAtReading,
        Fault::Hang,
    ];
    for (fault, count) in faults.into_iter().zip(counts) {
        let started = std::time::Instant::now();
        let points = fail_often(&open, fault, count);
        let seconds = started.elapsed().as_secs_f64();
        println!("{fault:?}: at {} of {points} points; {seconds:.0} s", count.min(points));
    }
}

#[test]
fn a_device_that_fails_loses_nothing() {
    fail_on_gpu([2, 2, 3, 2, 2]);
}

/// `NEUTRENO_FAULTS=100 cargo test --lib fault_tests -- --ignored --nocapture`
#[test]
#[ignore = "takes minutes"]
fn a_device_that_fails_often_loses_nothing() {
    let count = std::env::var("NEUTRENO_FAULTS").map_or(100, |count| count.parse().unwrap());
    fail_on_gpu([count; 5]);
}

#[test]
fn memory_that_runs_out_on_the_cpu_loses_nothing() {
    let faults = fail_often(&|| Device::cpu_with_threads(1), Fault::NoMemory, 1000);
    println!("{faults} requests for memory");
    assert!(faults > 30, "{faults}");
}

#[test]
fn a_device_that_keeps_failing_ends_the_run() {
    let task = task();
    let failing = || {
        let device = Device::cpu_with_threads(1);
        device.inject(Fault::NoMemory, 9);
        device
    };
    let none = || Device::open("no such card", 0);
    let opens: [(&dyn Fn() -> engine::Result<Device>, _); 2] =
        [(&|| Ok(failing()), "ran out of memory"), (&none, "no such card")];
    for (open, what) in opens {
        let parent = tempfile::tempdir().unwrap();
        let mut notices = Notices::default();
        let safety = Safety { on_device_loss: OnDeviceLoss::Retry, ..Safety::default() };
        let result = train_with(&task, parent.path(), failing(), open, safety, &mut notices);
        let said = result.unwrap_err().to_string();
        assert!(said.contains(what) && said.contains("3 attempts"), "{said}");
        assert_eq!(notices.0.iter().filter(|line| line.contains("attempt")).count(), 3);
    }
}

#[test]
fn a_tensor_too_large_for_a_driver_is_refused_for_good() {
    let Some(device) = software_gpu() else { return };
    let error = Tensor::zeros([device.largest_tensor() + 1], &device).to_vec().unwrap_err();
    assert!(matches!(error, engine::Error::OutOfMemory { lasting: true, .. }), "{error}");
    assert!(error.to_string().contains("the limit of one tensor on this device"), "{error}");
}

/// What a limit stands against would be refused again.
#[test]
fn a_device_at_its_limit_is_not_opened_again() {
    for device in [Some(Device::cpu_with_threads(1)), software_gpu()].into_iter().flatten() {
        device.set_memory_limit(1 << 14);
        let parent = tempfile::tempdir().unwrap();
        let safety = Safety { on_device_loss: OnDeviceLoss::Retry, ..Safety::default() };
        let open = || unreachable!("it is not tried");
        let result = train_with(&task(), parent.path(), device, &open, safety, &mut Silent);
        let said = result.unwrap_err().to_string();
        assert!(said.contains("the limit of all tensors is 16.0 KiB"), "{said}");
        assert!(said.contains("--batch") && !said.contains("attempts"), "{said}");
    }
}

#[test]
fn a_run_that_would_not_fit_is_refused() {
    let (task, device) = (task(), Device::cpu_with_threads(1));
    let config = task.config(&VariantConfig::new(Variant::Resformer), &device).unwrap();
    let (_, most) = needs(&task, &config, &settings(), &device).unwrap().most();
    let limited = |parent: &Path, device: &Device, limit| {
        let safety = Safety { memory_limit: Some(limit), ..Safety::default() };
        let open = || unreachable!("nothing fails");
        train_with(&task, parent, device.clone(), &open, safety, &mut Silent)
    };
    let whole = tempfile::tempdir().unwrap();
    let said = limited(whole.path(), &device, most - 1).unwrap_err().to_string();
    for part in ["resformer", "--memory-limit", "--batch", "--recompute"] {
        assert!(said.contains(part), "{said}");
    }
    assert!(!whole.path().join("run").exists());
    train(&task, whole.path(), &Device::cpu()).unwrap();
    for device in [Some(device), software_gpu()].into_iter().flatten() {
        // What was planned is enough, for scoring, measuring and sampling too.
        let parent = tempfile::tempdir().unwrap();
        let (_, most) = needs(&task, &config, &settings(), &device).unwrap().most();
        limited(parent.path(), &device, most).unwrap();
        let memory = device.memory();
        assert!((most - most / 20..=most).contains(&memory.peak), "{memory:?}, planned {most}");
        assert!(memory.reserved <= most + most / 16, "{memory:?}, planned {most}");
        if device.kind() == "cpu" {
            assert!(weights(parent.path()) == weights(whole.path()));
        }
    }
}

/// Looks at the page after each step.
struct Reader(std::path::PathBuf, Vec<String>);

impl Observer for Reader {
    fn step(&mut self, _step: &crate::observer::Step) {
        self.1.extend(fs::read_to_string(&self.0).ok());
    }
}

#[test]
fn a_run_can_be_looked_at_while_it_is_trained() {
    let (task, device) = (task(), Device::cpu_with_threads(1));
    let parent = tempfile::tempdir().unwrap();
    let report = parent.path().join("run/report.html");
    let mut reader = Reader(report.clone(), Vec::new());
    let (open, safety) = (|| unreachable!("nothing fails"), Safety::default());
    let every = Duration::ZERO;
    train_and_show(&task, parent.path(), device, &open, safety, every, &mut reader).unwrap();
    let seen = reader.1.last().expect("a page while it is trained");
    assert!(
        seen.contains("this page grows") && seen.contains("ResFormer (seed 1) is being trained")
    );
    assert!(!fs::read_to_string(report).unwrap().contains("grows"));
}
