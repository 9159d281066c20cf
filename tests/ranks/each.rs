//! What each rank does: where its time goes, whether it is slow, and its share of what is measured.

use crate::common::training::task;
use crate::{Job, assert_same, text_settings};
use neutreno::engine::random::Key;
use neutreno::engine::{Builder, Device, Ids, Tensor};
use neutreno::ranks::{Alone, Ranks, Threads};
use neutreno::run::{Data, MEASURED, RankTimes, Status, Summary, Values, read_metrics};
use neutreno::tasks::language::LanguageModelling;
use neutreno::trace::Trace;
use neutreno::training::{Batches, Best, Error, Extent, Observer, Settings, Shares, Silent, Task};
use neutreno::{LanguageModel, LanguageModelConfig, VariantConfig};
use std::fs;
use std::ops::Range;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// A task as one rank has it.
struct Own<'a> {
    task: &'a LanguageModelling,
    /// How long its machine sleeps over each micro-batch.
    pause: Duration,
    /// How often a batch of sequences was looked at to be measured.
    traced: AtomicUsize,
}

impl<'a> Own<'a> {
    fn new(task: &'a LanguageModelling, pause: Duration) -> Own<'a> {
        Own { task, pause, traced: 0.into() }
    }
}

impl Task for Own<'_> {
    type Config = LanguageModelConfig;
    type Model = LanguageModel;
    type Batch = [Ids; 2];

    fn loss(&self, model: &LanguageModel, batch: &[Ids; 2], dropout: Key) -> Tensor {
        std::thread::sleep(self.pause);
        self.task.loss(model, batch, dropout)
    }

    fn name(&self) -> &'static str {
        self.task.name()
    }

    fn unit(&self) -> &'static str {
        self.task.unit()
    }

    fn units(&self, batch: usize) -> u64 {
        self.task.units(batch)
    }

    fn best(&self) -> Best {
        self.task.best()
    }

    fn config(
        &self,
        variant: &VariantConfig,
        device: &Device,
    ) -> Result<LanguageModelConfig, Error> {
        self.task.config(variant, device)
    }

    fn build(&self, config: &LanguageModelConfig, builder: &mut Builder) -> LanguageModel {
        self.task.build(config, builder)
    }

    fn batches(&self, seed: u64, batch: usize) -> Result<Batches<'_, [Ids; 2]>, Error> {
        self.task.batches(seed, batch)
    }

    fn evaluate(
        &self,
        model: &LanguageModel,
        settings: &Settings,
        extent: Extent,
        shares: &Shares,
    ) -> Result<Values, Error> {
        self.task.evaluate(model, settings, extent, shares)
    }

    fn at_step(&self, model: &LanguageModel, settings: &Settings, steps: u64) -> Values {
        self.task.at_step(model, settings, steps)
    }

    fn trace(&self, model: &LanguageModel, probes: Range<usize>) -> Result<Option<Trace>, Error> {
        // On the planning device it is looked at as well.
        if probes.start > 0 {
            self.traced.fetch_add(1, Ordering::Relaxed);
        }
        self.task.trace(model, probes)
    }

    fn settings(&self) -> Values {
        self.task.settings()
    }

    fn data(&self) -> Data {
        self.task.data()
    }

    fn facts(&self) -> Values {
        self.task.facts()
    }
}

/// Keeps what is said of slow ranks.
struct Heard<'a>(&'a Mutex<Vec<String>>);

impl Observer for Heard<'_> {
    fn notice(&mut self, line: &str) {
        if line.contains("is slow") {
            self.0.lock().unwrap().push(line.into());
        }
    }
}

/// What a run's folder says of its ranks: the first model's results, the status, and the page.
fn told(run: &Path, model: &str) -> (Vec<RankTimes>, Vec<RankTimes>, String) {
    let read = |name: &str| fs::read(run.join(name)).unwrap();
    let summary: Summary = serde_json::from_slice(&read("summary.json")).unwrap();
    let status: Status = serde_json::from_slice(&read("status.json")).unwrap();
    let result: neutreno::run::VariantSummary =
        serde_json::from_slice(&read(&format!("{model}-seed1/result.json"))).unwrap();
    assert_eq!(summary.variants[0].ranks, result.ranks);
    (result.ranks, status.ranks, String::from_utf8(read("report.html")).unwrap())
}

/// A run of one model, of enough steps.
fn short<T: Task>(task: &T) -> Job<'_, T> {
    let mut job = Job::new(task, text_settings(), 4);
    job.variants.truncate(1);
    job.settings.steps = 44;
    job.settings.evaluate_every = 0;
    job.safety.checkpoint_steps = 0;
    job
}

/// It has fewer micro-batches than the first one, and takes longer for each; nothing else changes.
#[test]
fn a_slow_rank_is_named_and_changes_no_bit() {
    let task = task();
    let slow_task = Own::new(&task, Duration::from_millis(60));
    let (job, slow) = (short(&task), short(&slow_task));
    let parent = tempfile::tempdir().unwrap();
    let heard = Mutex::new(Vec::new());
    let results = Threads::run(3, |ranks| match ranks.rank() {
        0 => job.run_on(ranks, parent.path(), &mut Heard(&heard)),
        2 => slow.run_on(ranks, parent.path(), &mut Silent),
        _ => job.run_on(ranks, parent.path(), &mut Silent),
    });
    results.into_iter().for_each(|result| result.unwrap());
    let heard = heard.into_inner().unwrap();
    let [line] = &heard[..] else { panic!("{heard:?}") };
    assert!(line.starts_with("  step 43: rank 2 on thread 2 is slow: a batch takes it "), "{line}");

    let name = job.variants[0].name();
    let run = parent.path().join("run");
    let (ranks, status, page) = told(&run, &name);
    for times in [&ranks, &status] {
        assert_eq!(times.len(), 3);
        for (rank, times) in times.iter().enumerate() {
            assert_eq!(times.host, format!("thread {rank}"));
            assert!(times.device.starts_with("cpu"), "{times:?}");
            let all = times.computing + times.waiting + times.communicating;
            // The rest is the update.
            assert!(all > 0.5 && all < 1.0 + 1e-6, "{times:?}");
        }
        let [first, second, slow] = &times[..] else { panic!("three") };
        assert!(slow.waiting < 0.2 && slow.computing > 0.3, "{times:?}");
        assert!(first.waiting > slow.waiting && second.waiting > slow.waiting, "{times:?}");
        assert!(slow.units_per_second < second.units_per_second, "{times:?}");
    }
    assert!(page.contains("Where the time of the ranks went"));

    let alone = tempfile::tempdir().unwrap();
    job.train(1, alone.path());
    let weights = |parent: &Path| {
        let model = parent.join(format!("run/{name}-seed1"));
        vec![("weights".to_owned(), fs::read(model.join("model.safetensors")).unwrap())]
    };
    assert_same(&weights(parent.path()), &weights(alone.path()), "with a slow rank");
    // Who trains alone is told nothing of ranks.
    let run = alone.path().join("run");
    let (ranks, status, page) = told(&run, &name);
    assert!(ranks.is_empty() && status.is_empty() && !page.contains("rank 0"));
    for file in ["summary.json", "status.json"] {
        assert!(!fs::read_to_string(run.join(file)).unwrap().contains("\"ranks\""), "{file}");
    }
}

/// Each rank measures its share, with the weights of the step at which it is made: NeuTRENO's λ grows here.
#[test]
fn measurements_are_made_by_all_ranks_and_have_the_same_bits() {
    let mut task = task();
    task.settings.lambda_warmup = 3;
    fn job<'a>(task: &'a Own<'a>) -> Job<'a, Own<'a>> {
        let mut job = Job::new(task, text_settings(), 4);
        job.variants.retain(|variant| variant.neutreno_lambda.is_some());
        job.settings.measure_every = 1;
        job
    }
    let own = || Own::new(&task, Duration::ZERO);
    let measured = |parent: &Path, variant: &str| {
        let lines = parent.join(format!("run/{variant}-seed1/metrics.jsonl"));
        let lines = read_metrics(&lines).unwrap();
        // Numbers are written with as many digits as tell their bits.
        let all = lines.iter().filter_map(|line| line.values.get(MEASURED).cloned());
        all.collect::<Vec<_>>()
    };
    let alone = tempfile::tempdir().unwrap();
    let one = own();
    job(&one).run_on(&Alone, alone.path(), &mut Silent).unwrap();
    let variant = job(&one).variants[0].name();
    let expected = measured(alone.path(), &variant);
    assert_eq!(expected.len(), 3);
    assert_ne!(expected[0], expected[2]);
    // Sixteen sequences in batches of two, but for the first one of them.
    assert_eq!(one.traced.load(Ordering::Relaxed), 3 * 7);
    for size in [2, 3, 4] {
        let parent = tempfile::tempdir().unwrap();
        let tasks: Vec<Own> = (0..size).map(|_| own()).collect();
        let results = Threads::run(size, |ranks| {
            job(&tasks[ranks.rank()]).run_on(ranks, parent.path(), &mut Silent)
        });
        results.into_iter().for_each(|result| result.unwrap());
        assert_eq!(measured(parent.path(), &variant), expected, "{size} ranks");
        for (rank, task) in tasks.iter().enumerate() {
            let share = (8 - rank).div_ceil(size) - usize::from(rank == 0);
            assert_eq!(task.traced.load(Ordering::Relaxed), 3 * share, "rank {rank} of {size}");
        }
    }
}
