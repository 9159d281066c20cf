//! Faults of one of several ranks: all end, with its reason, and the run goes on to the bits that one process
//! comes to.

use super::{Notices, VARIANTS, comparison, settings, software_gpu, task, weights};
use crate::comparison::Comparison;
use crate::engine::device::Fault;
use crate::engine::random::Key;
use crate::engine::{Builder, Device, Tensor};
use crate::error::Error;
use crate::follower::follow;
use crate::observer::{Observer, Silent};
use crate::ranks::{Alone, Ranks, Threads};
use crate::run::disk::faults;
use crate::run::{Data, Values, read_metrics};
use crate::safety::{OnNonFinite, Safety};
use crate::scoring::Shares;
use crate::settings::Settings;
use crate::task::{Batches, Best, Extent, Task};
use crate::tasks::language::LanguageModelling;
use crate::variant::VariantConfig;
use std::path::Path;

/// Two steps of three micro-batches: rank 1 of two makes those with the numbers 1 and 4.
fn shared() -> Settings {
    Settings { accumulate: 3, ..settings() }
}

/// What one rank does: trains in `parent`/run, or goes on there.
fn run_on<T: Task>(
    task: &T,
    parent: &Path,
    device: Device,
    ranks: &dyn Ranks,
    safety: Safety,
    observer: &mut dyn Observer,
) -> Result<(), Error> {
    let safety = Safety { checkpoint_steps: 1, keep: 10, ..safety };
    if ranks.rank() > 0 {
        return follow(task, &shared(), &safety, &device, ranks);
    }
    let open = || unreachable!("of several ranks none opens a device again");
    let settings = shared();
    Comparison { settings, safety, ranks, ..comparison(task, parent, device, &open) }
        .run(observer)
        .map(drop)
}

fn cpu() -> Device {
    Device::cpu_with_threads(1)
}

/// One process, as a program without ranks.
fn alone<T: Task>(task: &T, parent: &Path, device: Device) {
    run_on(task, parent, device, &Alone, Safety::default(), &mut Silent).unwrap();
}

/// The same on several ranks, and what each says.
fn on<T: Task>(task: &T, size: usize, parent: &Path, safety: &Safety) -> Vec<Result<(), String>> {
    let work = |ranks: &Threads| run_on(task, parent, cpu(), ranks, safety.clone(), &mut Silent);
    Threads::run(size, work)
}

/// No file has a name for the time that it is written: what was begun was taken away.
fn assert_nothing_half_written(folder: &Path, what: &str) {
    for entry in std::fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        assert!(!path.to_string_lossy().ends_with("partial"), "{what}: {}", path.display());
        if path.is_dir() {
            assert_nothing_half_written(&path, what);
        }
    }
}

/// All say the reason of the one that failed, whose name and device are in it.
fn assert_ended_by(results: &[Result<(), String>], rank: usize, words: &str, what: &str) {
    for result in results {
        let said = result.as_ref().expect_err(what);
        assert!(said.contains(words), "{what}: {said}");
    }
    let name = format!("rank {rank} on thread {rank} has failed");
    for (_, result) in results.iter().enumerate().filter(|(other, _)| *other != rank) {
        let said = result.as_ref().unwrap_err();
        assert!(said.contains(&name), "{what}: {said}");
    }
}

/// Lets a fault happen on one of two ranks, at `count` of the points where it can. Returns the number of
/// points.
fn fail_on_one_rank(open: &dyn Fn() -> Device, fault: Fault, rank: usize, count: u64) -> u64 {
    let task = task();
    let whole = tempfile::tempdir().unwrap();
    alone(&task, whole.path(), open());
    let run = |parent: &Path, after| {
        // Devices are opened here, since not every way to open one may go to another thread.
        let devices = [open(), open()];
        let injection = devices[rank].inject(fault, after);
        let name = devices[rank].name();
        let results = Threads::run(2, |ranks| {
            let device = devices[ranks.rank()].clone();
            run_on(&task, parent, device, ranks, Safety::default(), &mut Silent)
        });
        (results, injection.seen(), name)
    };
    let parent = tempfile::tempdir().unwrap();
    let (results, points, name) = run(parent.path(), u64::MAX);
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    assert!(weights(parent.path()) == weights(whole.path()), "no fault");
    let count = count.min(points);
    for number in 0..count {
        let after = (2 * number + 1) * points / (2 * count);
        let what = format!("{fault:?} {after} of rank {rank}");
        let parent = tempfile::tempdir().unwrap();
        let (results, seen, _) = run(parent.path(), after);
        assert!(seen > after, "{what}: it did not happen");
        // What fails after everything was read does no harm.
        if results.iter().any(Result::is_err) {
            assert_ended_by(&results, rank, &name, &what);
            let said = results[rank].as_ref().unwrap_err();
            let memory = fault == Fault::NoMemory;
            assert!(!memory || said.contains("Less memory is needed with"), "{what}: {said}");
            assert!(!said.contains("--on-device-loss"), "{what}: {said}");
            assert_nothing_half_written(parent.path(), &what);
            alone(&task, parent.path(), open());
        }
        assert!(weights(parent.path()) == weights(whole.path()), "{what}");
    }
    points
}

#[test]
fn memory_that_runs_out_on_one_rank_ends_all() {
    for rank in [0, 1] {
        let points = fail_on_one_rank(&cpu, Fault::NoMemory, rank, 1000);
        assert!(points > 20, "{points}");
    }
}

/// In forward and backward passes, updates and scorings: points are spread over the whole run.
#[test]
fn a_gpu_that_one_rank_loses_ends_all() {
    let Some(_) = software_gpu() else { return };
    let open = || software_gpu().expect("it was there just now");
    for (fault, rank, count) in [
        (Fault::LostAtDispatch, 1, 4),
        (Fault::LostAtSubmission, 0, 1),
        (Fault::LostAtSubmission, 1, 1),
        (Fault::LostAtReading, 1, 2),
        (Fault::Hang, 1, 1),
    ] {
        let points = fail_on_one_rank(&open, fault, rank, count);
        println!("{fault:?} on rank {rank}: at {count} of {points} points");
    }
}

/// Rank 0 alone writes; what it cannot write ends all.
#[test]
fn a_disk_that_fails_ends_all_ranks() {
    let task = task();
    let whole = tempfile::tempdir().unwrap();
    faults::plan(whole.path(), u64::MAX, 0);
    let results = on(&task, 2, whole.path(), &Safety::default());
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    let operations = faults::end(whole.path());
    for first in (0..operations).step_by(5) {
        let (parent, what) = (tempfile::tempdir().unwrap(), format!("operation {first}"));
        faults::plan(parent.path(), first, 1);
        let results = on(&task, 2, parent.path(), &Safety::default());
        faults::end(parent.path());
        if results.iter().any(Result::is_err) {
            assert_ended_by(&results, 0, "no space left on the disk", &what);
            assert_nothing_half_written(parent.path(), &what);
        }
        alone(&task, parent.path(), cpu());
        assert!(weights(parent.path()) == weights(whole.path()), "{what}");
    }
}

#[test]
fn a_limit_on_memory_is_for_rank_0_to_say() {
    let parent = tempfile::tempdir().unwrap();
    let safety = Safety { memory_limit: Some(1 << 12), ..Safety::default() };
    let results = on(&task(), 3, parent.path(), &safety);
    let said = results[0].as_ref().unwrap_err();
    assert!(said.starts_with("resformer would take"), "{said}");
    assert_ended_by(&results, 0, "--memory-limit allows 4.0 KiB", "a limit");
    assert_eq!(std::fs::read_dir(parent.path()).unwrap().count(), 0);
}

/// What goes wrong with a micro-batch.
#[derive(Clone, Copy, Debug)]
enum Wrong {
    /// Its loss is infinite.
    Loss,
    /// Its loss is as it should be, and its gradients are infinite.
    Gradients,
    /// Its data cannot be read.
    Unreadable,
    /// The task panics.
    Panic,
}

/// The number of all micro-batches that are looked at before training.
const PLANNED: u64 = u64::MAX - 1;

/// The number of no micro-batch.
const NEVER: u64 = u64::MAX;

/// A task of which one micro-batch goes wrong, by its number in the run.
struct Faulty(LanguageModelling, u64, Wrong);

impl Task for Faulty {
    type Config = <LanguageModelling as Task>::Config;
    type Model = <LanguageModelling as Task>::Model;
    type Batch = (u64, <LanguageModelling as Task>::Batch);

    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn unit(&self) -> &'static str {
        self.0.unit()
    }

    fn units(&self, batch: usize) -> u64 {
        self.0.units(batch)
    }

    fn best(&self) -> Best {
        self.0.best()
    }

    fn config(&self, variant: &VariantConfig, device: &Device) -> Result<Self::Config, Error> {
        self.0.config(variant, device)
    }

    fn build(&self, config: &Self::Config, builder: &mut Builder) -> Self::Model {
        self.0.build(config, builder)
    }

    fn batches(&self, seed: u64, batch: usize) -> Result<Batches<'_, Self::Batch>, Error> {
        let mut batches = self.0.batches(seed, batch)?;
        Ok(Box::new(move |number| match self.2 {
            // With seed 0 it is found out beforehand what a step needs.
            _ if seed == 0 => Ok((PLANNED, batches(number)?)),
            Wrong::Unreadable if number == self.1 => {
                Err(Error::Data(format!("micro-batch {number} cannot be read").into()))
            }
            _ => Ok((number, batches(number)?)),
        }))
    }

    fn loss(&self, model: &Self::Model, (number, batch): &Self::Batch, dropout: Key) -> Tensor {
        let loss = self.0.loss(model, batch, dropout);
        match self.2 {
            _ if *number != self.1 => loss,
            Wrong::Loss => loss.scale(f32::INFINITY),
            Wrong::Gradients => {
                let nothing = loss.add(&loss.detach().scale(-1.0));
                loss.add(&nothing.scale(f32::MAX).scale(2.0))
            }
            Wrong::Panic => panic!("a mistake in micro-batch {number}"),
            Wrong::Unreadable => unreachable!("it was not read"),
        }
    }

    fn evaluate(
        &self,
        model: &Self::Model,
        settings: &Settings,
        extent: Extent,
        shares: &Shares,
    ) -> Result<Values, Error> {
        self.0.evaluate(model, settings, extent, shares)
    }

    fn settings(&self) -> Values {
        Task::settings(&self.0)
    }

    fn data(&self) -> Data {
        self.0.data()
    }
}

/// The metrics of a run, but for what is time, and how often a step was left out.
fn losses(parent: &Path) -> Vec<String> {
    let path = parent.join("run").join(format!("{}-seed1/metrics.jsonl", VARIANTS[0].name()));
    let line = |line: crate::run::Metric| {
        let scores =
            ["validation_loss", "skipped_steps"].map(|name| line.values.get(name).cloned());
        format!("{} {} {} {scores:?}", line.step, line.loss, line.gradient_norm)
    };
    read_metrics(&path).unwrap().into_iter().map(line).collect()
}

/// A number that is not finite in the micro-batch of one rank leaves the same step out on all, or ends all,
/// as in one process; so does looking for where it began.
#[test]
fn numbers_of_one_rank_that_are_not_finite_concern_all() {
    for wrong in [Wrong::Loss, Wrong::Gradients] {
        // Of rank 1 of two, and of rank 2 of three, in the first of two steps.
        for (number, size) in [(1, 2), (2, 3)] {
            let (task, what) =
                (Faulty(task(), number, wrong), format!("{wrong:?} on {size} ranks"));
            let safety =
                |on_nonfinite| Safety { on_nonfinite, debug_nonfinite: true, ..Safety::default() };
            let train = |size, parent: &Path, safety: &Safety| {
                let results = Threads::run(size, |ranks| {
                    let mut notices = Notices::default();
                    let result = run_on(&task, parent, cpu(), ranks, safety.clone(), &mut notices);
                    Ok::<_, Error>((result.map_err(|error| error.to_string()), notices.0))
                });
                let place = parent.display().to_string();
                let (result, said) = results[0].clone().unwrap();
                let said: Vec<String> =
                    said.into_iter().filter(|line| line.contains("not finite")).collect();
                (result.map_err(|error| error.replace(&place, "")), said)
            };
            let [one, several] = [(); 2].map(|()| tempfile::tempdir().unwrap());
            let skip = safety(OnNonFinite::Skip);
            let expected = train(1, one.path(), &skip);
            assert_eq!(train(size, several.path(), &skip), expected, "{what}");
            assert_eq!((&expected.0, expected.1.len()), (&Ok(()), 2), "{expected:?}");
            assert_eq!(losses(several.path()), losses(one.path()), "{what}");
            let first = losses(one.path()).swap_remove(0);
            assert!(first.starts_with("1 ") && first.contains("Some(Number(1))"), "{first}");
            assert!(weights(several.path()) == weights(one.path()), "{what}");
        }
    }
}

/// With `--on-nonfinite stop` rank 0 says what one process says, and ends the others.
#[test]
fn numbers_of_one_rank_that_are_not_finite_stop_all() {
    for wrong in [Wrong::Loss, Wrong::Gradients] {
        let task = Faulty(task(), 4, wrong);
        let said = |size| {
            let parent = tempfile::tempdir().unwrap();
            let results = on(&task, size, parent.path(), &Safety::default());
            assert_ended_by(&results, 0, "is not finite at step 2", "a step");
            assert_nothing_half_written(parent.path(), "a step");
            let said = results[0].clone().unwrap_err();
            said.replace(&parent.path().display().to_string(), "")
        };
        let expected = said(1);
        assert_eq!([2, 3].map(said), [expected.clone(), expected]);
    }
}

/// Data of one rank that cannot be read, and a task that panics there.
#[test]
fn a_micro_batch_that_fails_on_one_rank_ends_all() {
    let expected = tempfile::tempdir().unwrap();
    alone(&task(), expected.path(), cpu());
    for (wrong, words) in [
        (Wrong::Unreadable, "micro-batch 4 cannot be read"),
        (Wrong::Panic, "a mistake in micro-batch 4"),
    ] {
        for size in [2, 3] {
            let parent = tempfile::tempdir().unwrap();
            // Rank 1's, whether they are two or three.
            let task = Faulty(task(), 4, wrong);
            let results = on(&task, size, parent.path(), &Safety::default());
            assert_ended_by(&results, 1, words, "a micro-batch");
            assert_nothing_half_written(parent.path(), words);
            let mended = Faulty(task.0, NEVER, wrong);
            alone(&mended, parent.path(), cpu());
            assert!(
                weights(parent.path()) == weights(expected.path()),
                "{wrong:?} on {size} ranks"
            );
        }
    }
}
