//! Keeps a run's `status.json` while somebody else watches the run.

use crate::observer::{Observer, Started, Step};
use crate::run::{Going, RankTimes, RunFolder, Status, Values, VariantSummary};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How often the file is written while steps are made.
const EVERY: Duration = Duration::from_secs(5);

/// Hands everything on to an observer, and keeps `status.json`. If it goes away before it is told how the
/// run ended, an error was the end.
pub struct Reporter<'a> {
    observer: &'a mut dyn Observer,
    status: Status,
    path: PathBuf,
    written: Instant,
}

impl<'a> Reporter<'a> {
    /// Begins to report on a run of so many models.
    pub fn new(observer: &'a mut dyn Observer, folder: &RunFolder, models: usize) -> Reporter<'a> {
        let status = Status {
            version: env!("CARGO_PKG_VERSION").into(),
            name: folder.name(),
            process: std::process::id(),
            models,
            loss: f64::NAN,
            units_per_second: f64::NAN,
            seconds_left: f64::NAN,
            ..Status::default()
        };
        let mut reporter =
            Reporter { observer, status, path: folder.status_json(), written: Instant::now() };
        reporter.write();
        reporter
    }

    /// The run came to its end, or was interrupted.
    pub fn ended(mut self, finished: bool) {
        self.status.state = if finished { Going::Finished } else { Going::Interrupted };
    }

    /// There was nothing left to train: what the file said of the last model stays.
    pub fn had_nothing_to_do(mut self, before: Option<Status>) {
        if let Some(before) = before {
            self.status = Status { process: self.status.process, ..before };
        }
        self.status.state = Going::Finished;
    }

    /// Writes the file. Where it can't be written now, the next one can, and training goes on.
    fn write(&mut self) {
        self.status.updated = jiff::Timestamp::now()
            .round(jiff::Unit::Second)
            .map_or_else(|_| String::new(), |time| time.to_string());
        self.written = Instant::now();
        let _ = crate::run::disk::replace_unsynced(&self.path, &self.status);
    }
}

impl Drop for Reporter<'_> {
    fn drop(&mut self) {
        if self.status.state == Going::Training {
            self.status.state = Going::Failed;
        }
        self.write();
    }
}

impl Observer for Reporter<'_> {
    fn notice(&mut self, line: &str) {
        self.observer.notice(line);
    }

    fn started(&mut self, model: &Started) {
        let Status { version, name, process, models, .. } = std::mem::take(&mut self.status);
        self.status = Status {
            version,
            name,
            process,
            models,
            number: model.number,
            variant: model.variant.clone(),
            seed: model.seed,
            steps: model.steps,
            loss: f64::NAN,
            unit: model.unit.into(),
            units_per_second: f64::NAN,
            seconds_left: f64::NAN,
            ..Status::default()
        };
        self.write();
        self.observer.started(model);
    }

    fn step(&mut self, step: &Step) {
        self.status.step = step.step;
        self.status.loss = step.loss;
        self.status.units_per_second = step.units_per_second;
        self.status.seconds_left = step.seconds_left;
        if self.written.elapsed() >= EVERY {
            self.write();
        }
        self.observer.step(step);
    }

    fn ranks(&mut self, ranks: &[RankTimes]) {
        self.status.ranks = ranks.to_vec();
        self.observer.ranks(ranks);
    }

    fn evaluated(&mut self, step: u64, scores: &Values) {
        self.status.scores_step = Some(step);
        self.status.scores = scores.clone();
        self.write();
        self.observer.evaluated(step, scores);
    }

    fn sample(&mut self, step: u64, text: &str) {
        self.observer.sample(step, text);
    }

    fn finished(&mut self, summary: &VariantSummary) {
        self.status.step = summary.steps;
        self.write();
        self.observer.finished(summary);
    }
}
