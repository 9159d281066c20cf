//! Training one model from its first step, or from a checkpoint, to its scores.

mod end;

use crate::ahead::make_ahead;
use crate::due::{Asked, Due, Latest};
use crate::engine::Device;
use crate::engine::random::Key;
use crate::error::Error;
use crate::forecast::{Forecast, Speed};
use crate::learner::Learner;
use crate::log::{InFlight, Log};
use crate::observer::Observer;
use crate::ranks::{Place, Ranks, part_of};
use crate::resumption::is_same;
use crate::run::checkpoint::{self, Found};
use crate::run::state::State;
use crate::run::{ModelFolder, RankTimes, Values};
use crate::safety::Safety;
use crate::scoring::Stop;
use crate::settings::Settings;
use crate::task::{Extent, Task, all_settings};
use crate::times::Times;
use serde_json::json;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How many steps may be in flight: computed, with results that were not read yet. So the device
/// never waits for the host.
const MOST_IN_FLIGHT: usize = 2;

/// All that training one model needs beside the model.
pub struct Training<'a, T: Task> {
    /// What is learnt.
    pub task: &'a T,
    /// The settings.
    pub settings: &'a Settings,
    /// How nothing is lost.
    pub safety: &'a Safety,
    /// The seed of weights, order of data and dropout.
    pub seed: u64,
    /// Where it runs.
    pub device: &'a Device,
    /// Those that train it together. This is the first; the others [`follow`](crate::training::follow).
    pub ranks: &'a dyn Ranks,
    /// Whether the optimiser is shared out over them.
    pub shard_optimizer: bool,
    /// Where each of several computes; empty where it is [`Alone`](crate::ranks::Alone).
    pub places: &'a [Place],
    /// Where its files go, and where its checkpoints may be.
    pub folder: &'a ModelFolder,
    /// Becomes true when the user wants to stop.
    pub interrupted: &'a AtomicBool,
    /// Becomes true when the user wants a checkpoint now, and false again once it is written.
    pub checkpoint: &'a AtomicBool,
    /// Whether an event file for TensorBoard is written too.
    pub tensorboard: bool,
    /// What is foretold once this model's speed is known.
    pub forecast: Option<Forecast>,
    /// What is shown of the model while it is trained, and how often.
    pub growing: Option<(Duration, &'a Show<'a>)>,
}

/// Shows what came out so far.
pub type Show<'a> = dyn Fn(Outcome) -> Result<(), Error> + Sync + 'a;

/// What came out of training one model.
pub struct Outcome {
    /// Whether it came to its end.
    pub finished: bool,
    /// Trained numbers.
    pub parameters: u64,
    /// The steps made.
    pub steps: u64,
    /// The training loss, averaged over the last steps.
    pub train_loss: f64,
    /// The scores; after an interruption only those made while training.
    pub scores: Values,
    /// Steps left out because a number was not finite.
    pub skipped: u64,
    /// Seconds spent in steps.
    pub training_seconds: f64,
    /// Seconds in all.
    pub seconds: f64,
    /// Where the time of each of several ranks went, since the program was started.
    pub ranks: Vec<RankTimes>,
}

impl<T: Task> Training<'_, T> {
    /// Trains a model to the end or until interrupted, writes its `metrics.jsonl` and
    /// `model.safetensors`, and scores it. Where there is a checkpoint, it goes on from the newest
    /// whole one.
    ///
    /// # Errors
    /// If the device or the disk fails, or the loss stops being a number. What was trained until
    /// the latest checkpoint is kept.
    pub fn run(&self, config: &T::Config, observer: &mut dyn Observer) -> Result<Outcome, Error> {
        let Training { task, settings, safety, folder, .. } = self;
        let (seed, device) = (self.seed, self.device);
        let part = part_of(self.ranks, self.shard_optimizer);
        let found = self.found(config, observer)?;
        let path = found.as_ref().map(|found| found.path.clone());
        let learner = match &path {
            Some(path) => {
                Learner::from_checkpoint(part, *task, config, settings, seed, device, path)?
            }
            None => Learner::keeping(part, *task, config, settings, seed, device)?,
        };
        let start = found.map(|Found { state, metrics, .. }| (state.log, metrics));
        let start = start.unwrap_or_default();
        let mut learner = learner.lead(self.ranks, config, start.0.steps, path.as_deref())?;
        let names = learner.parameters.names().count();
        let mut log = Log::new(*task, settings, safety, folder, names, start, observer)?;
        if self.ranks.leads() {
            let units = task.units(settings.batch);
            log.begin_times(Times::new(self.places, settings.accumulate, units));
        }
        if self.tensorboard {
            log.begin_events(folder);
        }
        let trained = self.train(&mut learner, config, &mut log);
        self.finish(&learner, &mut log, trained)
    }

    /// The loop: makes the steps that are left, with what is due between them.
    fn train(
        &self,
        learner: &mut Learner<T>,
        config: &T::Config,
        log: &mut Log,
    ) -> Result<(), Error> {
        let Training { task, settings, safety, .. } = self;
        let batches = task.batches(self.seed, settings.batch)?;
        let stop = Stop::when(self.interrupted);
        let mut latest = Latest::now(log.state.steps);
        let mut speed = Speed::new(&log.state);
        let mut shown = Instant::now();
        let mut in_flight = VecDeque::new();
        std::thread::scope(|scope| {
            let numbers = learner.micro_batches_from(log.state.steps);
            let mut batches = make_ahead(scope, batches, numbers)?;
            for steps in log.state.steps..=settings.steps {
                let noted = task.at_step(&learner.model, settings, steps);
                // Before the first step there is nothing to keep: it is asked for until then.
                let wanted = steps > 0 && self.checkpoint.swap(false, Ordering::Relaxed);
                let asked = Asked { checkpoint: wanted, stop: stop.now() };
                let due = Due::after(steps, settings, safety, latest, asked);
                if due.results {
                    self.log_results(learner, log, &mut in_flight, 0)?;
                }
                if due.checkpoint {
                    self.save_checkpoint(learner, config, log)?;
                    latest = Latest::now(steps);
                }
                if wanted {
                    let path = self.folder.checkpoint(steps);
                    let written =
                        format!("  step {steps}: a checkpoint was asked for, {}", path.display());
                    log.observer.notice(&written);
                }
                if due.stop {
                    log.write();
                    return Err(Error::Interrupted);
                }
                if due.hash {
                    log.note("parameters_hash", learner.hash()?);
                }
                if due.evaluation {
                    let scores = self.evaluate(learner, log, &stop)?;
                    log.evaluated(scores, task.scored(settings, Extent::Part));
                }
                let patience = log.out_of_patience(settings).filter(|_| due.evaluation && due.step);
                if let Some(patience) = patience {
                    log.observer.notice(&format!(
                        "  stopped after step {steps}: no better score in {patience} validations \
                         (--patience)"
                    ));
                }
                let ends = patience.is_some();
                if due.measurement || ends {
                    log.measured(learner.measure(steps)?);
                }
                if due.sample || ends {
                    let key = Key::new(self.seed).named("sample").fold(steps);
                    log.sampled(learner.with_best_weights(|model, _| task.sample(model, key))?);
                }
                if ends {
                    break;
                }
                if let Some((every, show)) = self.growing
                    && due.step
                    && shown.elapsed() >= every
                {
                    // What can't be shown now is shown later; training goes on.
                    let _ = show(self.outcome(learner, log, false, log.best()));
                    shown = Instant::now();
                }
                if due.step {
                    let started = Instant::now();
                    let result = learner.step(steps, &mut batches)?;
                    let rate = learner.learning_rate(steps);
                    let mut step = InFlight::new(steps, rate, &result, noted);
                    self.log_results(learner, log, &mut in_flight, MOST_IN_FLIGHT - 1)?;
                    step.seconds = started.elapsed().as_secs_f64();
                    in_flight.push_back(step);
                    if let Some(forecast) = &self.forecast
                        && let Some(seconds) = speed.known(&log.state)
                    {
                        log.observer.notice(&forecast.sentence(seconds, settings.steps - steps));
                    }
                }
                if safety.debug_nonfinite {
                    // Later steps would change what is to be looked at.
                    self.log_results(learner, log, &mut in_flight, 0)?;
                }
            }
            log.finish()
        })
    }

    /// Waits for the results of the oldest steps and logs them, until only so many are in flight.
    fn log_results(
        &self,
        learner: &Learner<T>,
        log: &mut Log,
        in_flight: &mut VecDeque<InFlight>,
        left: usize,
    ) -> Result<(), Error> {
        while in_flight.len() > left {
            let step = in_flight.pop_front().expect("more than that are in flight");
            let skipped = log.skipped();
            let logged = log.step(step);
            let not_finite =
                matches!(logged, Err(Error::NotFinite { .. })) || log.skipped() > skipped;
            if not_finite && self.safety.debug_nonfinite {
                let batches = self.task.batches(self.seed, self.settings.batch)?;
                let first = learner.first_not_finite(log.state.steps - 1, batches)?;
                let first = first.unwrap_or_else(|| "only the sum over all gradients".into());
                log.observer.notice(&format!("  the first that is not finite: {first}"));
            }
            logged?;
        }
        Ok(())
    }

    /// Writes a checkpoint, and removes those that are no longer needed, or will after the next one.
    fn save_checkpoint(
        &self,
        learner: &Learner<T>,
        config: &T::Config,
        log: &mut Log,
    ) -> Result<(), Error> {
        learner.compare()?;
        let step = log.state.steps;
        let state = State {
            step,
            micro_batch: step * self.settings.accumulate as u64,
            seed: self.seed,
            learning_rate: learner.learning_rate(step),
            settings: all_settings(self.settings, self.task),
            config: json!(config),
            version: env!("CARGO_PKG_VERSION").into(),
            device: self.device.kind().into(),
            adapter: self.device.name(),
            log: log.snapshot(),
        };
        checkpoint::save(self.folder, &state, log.lines()?, learner.files()?)?;
        log.pruned(checkpoint::prune(self.folder, self.safety.keep, log.best_step()));
        Ok(())
    }

    /// Scores the model on a part of the validation data.
    fn evaluate(&self, learner: &Learner<T>, log: &mut Log, stop: &Stop) -> Result<Values, Error> {
        let scores = learner.score(log.state.steps, Extent::Part, stop);
        // If that was interrupted, a resumed run scores again: the checkpoint is older.
        if matches!(scores, Err(Error::Interrupted)) {
            log.write();
        }
        scores
    }

    /// The newest whole checkpoint, if there is any, and whether it is of this model; says what goes on
    /// in another way than before.
    fn found(
        &self,
        config: &T::Config,
        observer: &mut dyn Observer,
    ) -> Result<Option<Found>, Error> {
        let (found, problems) = checkpoint::newest(self.folder);
        let before = if found.is_some() { "the one before is used" } else { "starting at step 0" };
        for problem in problems {
            observer.notice(&format!("{problem}: {before}"));
        }
        let Some(found) = found else { return Ok(None) };
        let State { step, seed, device, adapter, version, .. } = &found.state;
        if *seed != self.seed || !is_same(&found.state.config, config) {
            let what = format!("{} is of another model or seed", found.path.display());
            return Err(Error::Settings(what));
        }
        if *step > self.settings.steps {
            return Err(Error::Settings(format!(
                "{step} steps are made already, more than --steps {}",
                self.settings.steps
            )));
        }
        observer.notice(&format!("going on after step {step} from {}", found.path.display()));
        let here = (self.device.kind(), self.device.name(), env!("CARGO_PKG_VERSION"));
        if (device.as_str(), adapter, version.as_str()) != (here.0, &here.1, here.2) {
            observer.notice(&format!(
                "it was written on {device} ({adapter}) by version {version}; on {} by version {} \
                 sums may be made in another order, so the last bits of results may differ",
                self.device, here.2
            ));
        }
        let (before, now) = (found.state.learning_rate, self.settings.rate(*step));
        if *step < self.settings.steps && (now - before).abs() > 1e-9 * before.abs() {
            observer.notice(&format!(
                "  the learning rate was {} here, and goes on at {}",
                rounded(before),
                rounded(now)
            ));
        }
        Ok(Some(found))
    }
}

/// A learning rate with the digits that matter.
fn rounded(rate: f64) -> f64 {
    format!("{rate:.3e}").parse().unwrap_or(rate)
}
