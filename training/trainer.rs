//! Training one model from its first step, or from a checkpoint, to its scores.

use crate::ahead::make_ahead;
use crate::engine::Device;
use crate::engine::checkpoint::{Metadata, chunks};
use crate::engine::random::Key;
use crate::error::Error;
use crate::learner::{Learner, StepResult, handles};
use crate::log::{Log, Waiting};
use crate::observer::Observer;
use crate::probes::measure_probes;
use crate::run::checkpoint;
use crate::run::disk::replace_file;
use crate::run::state::{LogState, State};
use crate::run::{ModelFolder, Values, write_pictures};
use crate::safety::Safety;
use crate::settings::Settings;
use crate::task::{Extent, Stop, Task, all_settings};
use serde_json::json;
use std::collections::VecDeque;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

/// How many probe sequences are measured while training.
const PROBES: usize = 16;

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
    /// Where its files go, and where its checkpoints may be.
    pub folder: &'a ModelFolder,
    /// Becomes true when the user wants to stop.
    pub interrupted: &'a AtomicBool,
}

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
}

/// The results of steps on their way from the device: read some steps late, so that the device
/// never waits for the host.
type Late = VecDeque<Waiting>;

impl<T: Task> Training<'_, T> {
    /// Trains a model to the end or until interrupted, writes its `metrics.jsonl` and
    /// `model.safetensors`, and scores it. Where there is a checkpoint, it goes on from the newest
    /// whole one.
    ///
    /// # Errors
    /// If the device or the disk fails, or the loss stops being a number. What was trained until
    /// the latest checkpoint is kept.
    pub fn run(&self, config: &T::Config, observer: &mut dyn Observer) -> Result<Outcome, Error> {
        let mut learner = Learner::new(self.task, config, self.settings, self.seed, self.device);
        let (start, lines) = self.resume(&mut learner, config, observer)?;
        let names = learner.parameters.names().count();
        let mut log = Log::new(self, names, (start, &lines), observer)?;
        let trained = self.train(&mut learner, config, &mut log);
        let interrupted = matches!(trained, Err(Error::Interrupted));
        let saved = learner.with_best_weights(|_, parameters| {
            // What Hugging Face's tools look for in a file of weights.
            let metadata = Metadata::from([("format".into(), "pt".into())]);
            let chunks = chunks(handles(parameters), &metadata);
            replace_file(
                &self.folder.model_safetensors(),
                chunks.map(|chunk| Ok::<_, Error>(chunk?)),
            )
        });
        if !interrupted {
            trained?;
        }
        saved?;
        let scores = learner.with_best_weights(|model, _| self.score(model, interrupted))?;
        log.observer.evaluated(log.state.steps, &scores);
        Ok(Outcome {
            finished: !interrupted,
            parameters: learner.parameters.count() as u64,
            steps: log.state.steps,
            train_loss: log.recent_loss(),
            scores,
            skipped: log.skipped(),
            training_seconds: log.state.training_seconds,
            seconds: log.seconds(),
        })
    }

    /// Puts the newest whole checkpoint in place and tells where the log stood then; without one,
    /// everything is at its beginning.
    fn resume(
        &self,
        learner: &mut Learner<T>,
        config: &T::Config,
        observer: &mut dyn Observer,
    ) -> Result<(LogState, Vec<u8>), Error> {
        let (found, problems) = checkpoint::newest(self.folder);
        let before = if found.is_some() { "the one before is used" } else { "starting at step 0" };
        for problem in problems {
            observer.notice(&format!("{problem}: {before}"));
        }
        let Some(found) = found else { return Ok((LogState::default(), Vec::new())) };
        let State { step, seed, device, adapter, version, .. } = &found.state;
        if *seed != self.seed || found.state.config != json!(config) {
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
        learner.load(&found.path)?;
        Ok((found.state.log, found.metrics))
    }

    fn train(
        &self,
        learner: &mut Learner<T>,
        config: &T::Config,
        log: &mut Log,
    ) -> Result<(), Error> {
        let batches = self.task.batches(self.seed, self.settings.batch)?;
        std::thread::scope(|scope| {
            let first = log.state.steps * self.settings.accumulate as u64;
            let batches = make_ahead(scope, batches, first);
            self.steps(learner, config, log, batches)
        })
    }

    fn steps(
        &self,
        learner: &mut Learner<T>,
        config: &T::Config,
        log: &mut Log,
        mut batches: impl FnMut(u64) -> Result<T::Batch, Error>,
    ) -> Result<(), Error> {
        let mut late = Late::new();
        let stop = Stop::when(self.interrupted);
        let total = self.settings.steps;
        // The step of the latest checkpoint: a run that goes on stands at one.
        let mut kept = log.state.steps;
        let mut kept_at = Instant::now();
        for done in log.state.steps..=total {
            let stops = stop.now();
            let due = |every: u64| every > 0 && done > 0 && done % every == 0;
            let last = done == total;
            let evaluates = due(self.settings.evaluate_every) && !last;
            let samples = due(self.settings.sample_every) || last;
            let measures = due(self.settings.measure_every) || last;
            let hashes = due(self.safety.hash_steps);
            let minutes = kept_at.elapsed().as_secs_f64() / 60.0;
            let keeps = due(self.safety.checkpoint_steps)
                || minutes >= self.safety.checkpoint_minutes
                || stops
                || evaluates
                || last;
            if keeps || samples || measures || hashes {
                late.drain(..).try_for_each(|result| self.logged(learner, log, result))?;
            }
            // Before whatever else happens at this step, so that a resumed run repeats that.
            if keeps && done != kept {
                self.keep(learner, config, log)?;
                (kept, kept_at) = (done, Instant::now());
            }
            if stops {
                log.write();
                return Err(Error::Interrupted);
            }
            if hashes {
                log.note("parameters_hash", learner.hash()?);
            }
            if evaluates {
                self.evaluate_now(learner, log, &stop)?;
            }
            if measures {
                let measured = learner.with_best_weights(|model, _| {
                    measure_probes(self.task, model, PROBES, self.settings.batch)
                });
                log.measured(measured?);
            }
            if samples {
                let key = Key::new(self.seed).named("sample").fold(done);
                let sample = learner.with_best_weights(|model, _| self.task.sample(model, key))?;
                log.sampled(sample);
            }
            if !last {
                self.step(learner, log, done, &mut batches, &mut late)?;
            }
        }
        log.finish()
    }

    fn step(
        &self,
        learner: &mut Learner<T>,
        log: &mut Log,
        step: u64,
        batches: &mut impl FnMut(u64) -> Result<T::Batch, Error>,
        late: &mut Late,
    ) -> Result<(), Error> {
        const LATE: usize = 2;
        let started = Instant::now();
        let StepResult { loss, gradient_norm } = learner.step(step, batches)?;
        let (loss, gradient_norm) = (loss.read(), gradient_norm.read());
        if late.len() == LATE {
            let result = late.pop_front().expect("some are waiting");
            self.logged(learner, log, result)?;
        }
        let seconds = started.elapsed().as_secs_f64();
        let rate = learner.learning_rate(step);
        late.push_back(Waiting { step, rate, loss, gradient_norm, seconds });
        if self.safety.debug_nonfinite {
            // Later steps would change what is to be looked at.
            late.drain(..).try_for_each(|result| self.logged(learner, log, result))?;
        }
        Ok(())
    }

    /// Logs a step's results, and finds out where they stopped being finite if that is asked for.
    fn logged(&self, learner: &Learner<T>, log: &mut Log, result: Waiting) -> Result<(), Error> {
        let skipped = log.skipped();
        let result = log.step(result);
        let odd = matches!(result, Err(Error::NotFinite { .. })) || log.skipped() > skipped;
        if odd && self.safety.debug_nonfinite {
            let batches = self.task.batches(self.seed, self.settings.batch)?;
            let first = learner.first_not_finite(log.state.steps - 1, batches)?;
            let first = first.unwrap_or_else(|| "only the sum over all gradients".into());
            log.observer.notice(&format!("  the first that is not finite: {first}"));
        }
        result
    }

    /// Writes a checkpoint, and removes those that are no longer needed.
    fn keep(&self, learner: &Learner<T>, config: &T::Config, log: &mut Log) -> Result<(), Error> {
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
        checkpoint::save(self.folder, &state, log.lines()?, learner.files())?;
        Ok(checkpoint::prune(self.folder, self.safety.keep, log.best_step())?)
    }

    fn evaluate_now(&self, learner: &Learner<T>, log: &mut Log, stop: &Stop) -> Result<(), Error> {
        let batch = self.settings.batch;
        let scores = learner
            .with_best_weights(|model, _| self.task.evaluate(model, batch, Extent::Part, stop));
        // If that was interrupted, a resumed run scores again: the checkpoint is older.
        if matches!(scores, Err(Error::Interrupted)) {
            log.write();
        }
        log.evaluated(scores?);
        Ok(())
    }

    /// Scores the model on everything and draws its pictures; after an interruption only as while
    /// training, so that the program ends soon.
    fn score(&self, model: &T::Model, interrupted: bool) -> Result<Values, Error> {
        let extent = if interrupted { Extent::Part } else { Extent::All };
        // After the first interruption a short score is still made; after a second one the program
        // ends at once.
        let scores = self.task.evaluate(model, self.settings.batch, extent, &Stop::never())?;
        if !interrupted {
            write_pictures(self.folder, &self.task.pictures(model)?)?;
        }
        Ok(scores)
    }
}
