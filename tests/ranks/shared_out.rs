//! An optimiser that is shared out over the ranks: the same bits, in less memory.

use super::common::training::task;
use super::common::unsteady::{Unsteady, Wrong};
use super::{Job, assert_same, text_settings};
use neutreno::engine::Device;
use neutreno::ranks::{Alone, Ranks, Threads};
use neutreno::training::{Error, Observer, OnNonFinite, Safety, Settings, Silent, Started};
use std::fs;

/// Weights, moments and averages of checkpoints, and the metrics, of a program without ranks.
fn alone<T: neutreno::training::Task>(job: &Job<T>) -> Vec<(String, Vec<u8>)> {
    let parent = tempfile::tempdir().unwrap();
    job.run_on(&Alone, parent.path(), &mut Silent).unwrap();
    job.results(parent.path())
}

/// Whole files are compared, so that a checkpoint does not tell either. The norm is clipped in most steps.
#[test]
fn a_shared_out_optimizer_comes_to_the_same_models() {
    let task = task();
    let settings = Settings { clip: 0.5, ..text_settings() };
    let mut job = Job::new(&task, settings, 5);
    let expected = alone(&job);
    job.shared_out = true;
    assert_same(&alone(&job), &expected, "asked for by a program that is alone");
    for size in [1, 2, 3, 5] {
        assert_same(&job.on(size), &expected, &format!("{size} ranks"));
    }
}

/// The norm of a gradient is made of all of it, so that all ranks leave out the same steps.
#[test]
fn all_ranks_leave_out_the_same_steps() {
    let mut wrong = [Wrong::Nothing; 12];
    // In the second step of three, made by the second rank of two or three.
    wrong[5] = Wrong::Gradients;
    let task = Unsteady::new(&wrong);
    let mut job = Job::new(&task, text_settings(), 4);
    job.variants.truncate(1);
    job.safety = Safety { on_nonfinite: OnNonFinite::Skip, ..job.safety };
    let expected = alone(&job);
    let skipped = |results: &[(String, Vec<u8>)]| {
        let is_metric = |(name, _): &&(String, Vec<u8>)| name.ends_with(", step 2");
        let line = results.iter().find(is_metric).unwrap();
        String::from_utf8_lossy(&line.1).contains("NaN")
    };
    assert!(skipped(&expected));
    job.shared_out = true;
    for size in [2, 3, 4] {
        assert_same(&job.on(size), &expected, &format!("{size} ranks"));
    }
}

/// Gone on with on other numbers of ranks than it began with, and shared out before, after or both.
#[test]
fn a_run_goes_on_with_its_moments_shared_out_or_not() {
    let task = task();
    let mut job = Job::new(&task, text_settings(), 4);
    job.variants.truncate(2);
    let expected = alone(&job);
    for (before, after) in [
        ((3, true), (1, false)),
        ((1, false), (3, true)),
        ((4, true), (2, true)),
        ((2, true), (3, true)),
        ((3, true), (2, false)),
        ((2, false), (4, true)),
    ] {
        let parent = tempfile::tempdir().unwrap();
        let mut train = |(size, shared_out): (usize, bool)| {
            job.shared_out = shared_out;
            match size {
                1 => job.run_on(&Alone, parent.path(), &mut Silent).unwrap(),
                _ => job.train(size, parent.path()),
            }
        };
        train(before);
        for variant in Job::new(&task, text_settings(), 4).variants.iter().take(2) {
            let model = parent.path().join(format!("run/{}-seed1", variant.name()));
            fs::remove_dir_all(model.join("checkpoints/step-000003")).unwrap();
            fs::remove_file(model.join("result.json")).unwrap();
            fs::remove_file(model.join("model.safetensors")).unwrap();
        }
        train(after);
        let what = format!("ranks and whether shared out: {before:?}, then {after:?}");
        assert_same(&job.results(parent.path()), &expected, &what);
    }
}

/// Keeps what was foretold.
#[derive(Default)]
struct Foretold {
    memory: u64,
    parameters: u64,
}

impl Observer for Foretold {
    fn started(&mut self, model: &Started) {
        self.memory = model.planned_memory_bytes;
        self.parameters = model.parameters;
    }
}

/// What the first of so many ranks foretold, and the most memory that each has held.
fn memory(size: usize, shared_out: bool, steps: u64) -> (Foretold, Vec<u64>) {
    let task = task();
    let devices: Vec<Device> = (0..size).map(|_| Device::cpu_with_threads(1)).collect();
    let parent = tempfile::tempdir().unwrap();
    let results = Threads::run(size, |ranks| {
        let mut job = Job::new(&task, text_settings(), 2 * size);
        job.variants.truncate(1);
        job.shared_out = shared_out;
        job.settings.steps = steps;
        job.device = Some(devices[ranks.rank()].clone());
        let mut foretold = Foretold::default();
        job.run_on(ranks, parent.path(), &mut foretold)?;
        Ok::<_, Error>(foretold)
    });
    let mut foretold = results.into_iter().map(Result::unwrap);
    (foretold.next().unwrap(), devices.iter().map(|device| device.memory().peak).collect())
}

/// What is foretold is held, on every rank, however many steps are made; and it falls by the moments of the other
/// parts, two numbers of 4 bytes for each parameter in them.
#[test]
fn memory_falls_with_ranks_as_foretold() {
    for size in [2, 3, 5] {
        let [(whole, all_of_whole), (part, all_of_part)] =
            [false, true].map(|shared_out| memory(size, shared_out, 3));
        for (foretold, held) in [(&whole, &all_of_whole), (&part, &all_of_part)] {
            let foretold = foretold.memory - foretold.memory / 20..=foretold.memory;
            assert!(foretold.contains(&held[0]), "{size} ranks: {held:?}, foretold {foretold:?}");
            assert!(held.iter().all(|held| held <= foretold.end()), "{held:?}, {foretold:?}");
        }
        let moments = 8 * whole.parameters;
        let saved = moments - moments / size as u64;
        // Parts are cut at multiples of 64 numbers, and sizes of memory a few an octave.
        let about = saved - moments / 16..=saved + moments / 16;
        let fallen = whole.memory - part.memory;
        assert!(about.contains(&fallen), "{size} ranks: {fallen} less foretold, not {saved}");
        for (whole, part) in all_of_whole.iter().zip(&all_of_part) {
            assert!(about.contains(&(whole - part)), "{size} ranks: {whole}, {part}, not {saved}");
        }
        assert_eq!(memory(size, true, 12).1, all_of_part, "{size} ranks, more steps");
    }
}

/// The limit counts a part of the moments, and the error names the flag that would help.
#[test]
fn a_limit_on_memory_counts_a_part_of_the_moments() {
    let task = task();
    let [whole, part] = [false, true].map(|shared_out| memory(3, shared_out, 3).0.memory);
    let mut job = Job::new(&task, text_settings(), 6);
    job.variants.truncate(1);
    job.safety = Safety { memory_limit: Some((whole + part) / 2), ..job.safety };
    let said = job.refusal(3);
    assert!(said.contains("--memory-limit allows") && said.contains("--shard-optimizer"), "{said}");
    job.shared_out = true;
    job.on(3);
}
