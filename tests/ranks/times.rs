//! Where the time of ranks goes, and which of them is slow.

use crate::common::training::task;
use crate::{Job, assert_same, text_settings};
use neutreno::engine::random::Key;
use neutreno::engine::{Builder, Device, Ids, Tensor};
use neutreno::ranks::{Ranks, Threads};
use neutreno::run::{Data, RankTimes, Status, Summary, Values};
use neutreno::tasks::language::LanguageModelling;
use neutreno::training::{Batches, Best, Error, Extent, Observer, Settings, Shares, Silent, Task};
use neutreno::{LanguageModel, LanguageModelConfig, VariantConfig};
use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

/// A task on a machine that takes its time.
struct Slow<'a>(&'a LanguageModelling);

impl Task for Slow<'_> {
    type Config = LanguageModelConfig;
    type Model = LanguageModel;
    type Batch = [Ids; 2];

    fn loss(&self, model: &LanguageModel, batch: &[Ids; 2], dropout: Key) -> Tensor {
        std::thread::sleep(Duration::from_millis(60));
        self.0.loss(model, batch, dropout)
    }

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

    fn config(
        &self,
        variant: &VariantConfig,
        device: &Device,
    ) -> Result<LanguageModelConfig, Error> {
        self.0.config(variant, device)
    }

    fn build(&self, config: &LanguageModelConfig, builder: &mut Builder) -> LanguageModel {
        self.0.build(config, builder)
    }

    fn batches(&self, seed: u64, batch: usize) -> Result<Batches<'_, [Ids; 2]>, Error> {
        self.0.batches(seed, batch)
    }

    fn evaluate(
        &self,
        model: &LanguageModel,
        settings: &Settings,
        extent: Extent,
        shares: &Shares,
    ) -> Result<Values, Error> {
        self.0.evaluate(model, settings, extent, shares)
    }

    fn settings(&self) -> Values {
        self.0.settings()
    }

    fn data(&self) -> Data {
        self.0.data()
    }

    fn facts(&self) -> Values {
        self.0.facts()
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
    job.settings.steps = 24;
    job.settings.evaluate_every = 0;
    job.safety.checkpoint_steps = 0;
    job
}

/// It has fewer micro-batches than the first one, and takes longer for each; nothing else changes.
#[test]
fn a_slow_rank_is_named_and_changes_no_bit() {
    let task = task();
    let slow_task = Slow(&task);
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
    assert!(line.starts_with("  step 23: rank 2 on thread 2 is slow: a batch takes it "), "{line}");

    let name = job.variants[0].name();
    let run = parent.path().join("run");
    let (ranks, status, page) = told(&run, &name);
    for times in [&ranks, &status] {
        assert_eq!(times.len(), 3);
        for (rank, times) in times.iter().enumerate() {
            assert_eq!(times.host, format!("thread {rank}"));
            assert!(times.device.starts_with("cpu"), "{times:?}");
            let all = times.computing + times.waiting + times.communicating;
            assert!((all - 1.0).abs() < 1e-6, "{times:?}");
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
