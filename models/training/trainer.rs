//! Training one model from its first step to its scores.

use super::ahead::make_ahead;
use super::learner::{Learner, StepResult};
use super::log::{Log, Waiting};
use super::probes::measure_probes;
use super::task::{Extent, Stop, Task};
use super::{Error, Observer, Settings};
use crate::engine::Device;
use crate::engine::checkpoint::Metadata;
use crate::engine::random::Key;
use crate::report::{ModelFolder, Values, write_pictures};
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
    /// The seed of weights, order of data and dropout.
    pub seed: u64,
    /// Where it runs.
    pub device: &'a Device,
    /// Where its files go.
    pub folder: &'a ModelFolder,
    /// Becomes true when the user wants to stop.
    pub interrupted: &'a AtomicBool,
}

/// What came out of training one model.
pub struct Outcome {
    /// Whether it came to its end.
    pub finished: bool,
    /// The steps made.
    pub steps: u64,
    /// The training loss, averaged over the last steps.
    pub train_loss: f64,
    /// The scores; after an interruption only those made while training.
    pub scores: Values,
    /// Seconds spent in steps.
    pub training_seconds: f64,
    /// Seconds in all.
    pub seconds: f64,
}

impl<T: Task> Training<'_, T> {
    /// Trains a model to the end or until interrupted, writes its `metrics.jsonl` and
    /// `model.safetensors`, and scores it.
    ///
    /// # Errors
    /// If the device or the disk fails, or the loss stops being a number. What was trained until
    /// then is saved where that is still possible.
    pub fn run(&self, config: &T::Config, observer: &mut dyn Observer) -> Result<Outcome, Error> {
        let mut learner = Learner::new(self.task, config, self.settings, self.seed, self.device);
        let names = learner.parameters.names().count();
        let mut log = Log::new(self, names, observer)?;
        let trained = self.train(&mut learner, &mut log);
        let interrupted = matches!(trained, Err(Error::Interrupted));
        let saved = learner.with_best_weights(|_, parameters| {
            parameters.save(&self.folder.model_safetensors(), &metadata())
        });
        if !interrupted {
            trained?;
        }
        saved?;
        let scores = learner.with_best_weights(|model, _| self.score(model, interrupted))?;
        log.observer.evaluated(log.steps, &scores);
        Ok(Outcome {
            finished: !interrupted,
            steps: log.steps,
            train_loss: log.recent_loss(),
            scores,
            training_seconds: log.training_seconds,
            seconds: log.started.elapsed().as_secs_f64(),
        })
    }

    fn train(&self, learner: &mut Learner<T>, log: &mut Log) -> Result<(), Error> {
        let batches = self.task.batches(self.seed, self.settings.batch)?;
        std::thread::scope(|scope| {
            let batches = make_ahead(scope, batches, 0);
            self.steps(learner, log, batches)
        })
    }

    fn steps(
        &self,
        learner: &mut Learner<T>,
        log: &mut Log,
        mut batches: impl FnMut(u64) -> Result<T::Batch, Error>,
    ) -> Result<(), Error> {
        // Results are read some steps late, so that the device never waits for the host.
        const LATE: usize = 2;
        let mut waiting: VecDeque<Waiting> = VecDeque::new();
        let stop = Stop::when(self.interrupted);
        for step in 0..self.settings.steps {
            let interrupted = stop.now();
            if !interrupted {
                let started = Instant::now();
                let StepResult { loss, gradient_norm } = learner.step(step, &mut batches)?;
                let (loss, gradient_norm) = (loss.read(), gradient_norm.read());
                if waiting.len() == LATE {
                    log.step(waiting.pop_front().expect("some are waiting"))?;
                }
                let seconds = started.elapsed().as_secs_f64();
                let rate = learner.learning_rate(step);
                waiting.push_back(Waiting { step, rate, loss, gradient_norm, seconds });
            }
            let due = |every: u64| every > 0 && (step + 1) % every == 0;
            let last = step + 1 == self.settings.steps;
            let evaluates = due(self.settings.evaluate_every) && !last;
            let samples = due(self.settings.sample_every) || last;
            let measures = due(self.settings.measure_every) || last;
            if interrupted || evaluates || samples || measures {
                waiting.drain(..).try_for_each(|result| log.step(result))?;
            }
            if interrupted {
                log.write()?;
                return Err(Error::Interrupted);
            }
            if evaluates {
                self.evaluate_now(learner, log, &stop)?;
            }
            if measures && !stop.now() {
                let measured = learner.with_best_weights(|model, _| {
                    measure_probes(self.task, model, PROBES, self.settings.batch)
                });
                log.measured(measured?);
            }
            if samples {
                let key = Key::new(self.seed).named("sample").fold(log.steps);
                let sample = learner.with_best_weights(|model, _| self.task.sample(model, key))?;
                log.sampled(sample);
            }
        }
        log.write()
    }

    fn evaluate_now(&self, learner: &Learner<T>, log: &mut Log, stop: &Stop) -> Result<(), Error> {
        let batch = self.settings.batch;
        let scores = learner
            .with_best_weights(|model, _| self.task.evaluate(model, batch, Extent::Part, stop));
        match scores {
            // The next step sees it and ends the training.
            Err(Error::Interrupted) => Ok(()),
            scores => {
                log.evaluated(scores?);
                Ok(())
            }
        }
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

/// What Hugging Face's tools look for in a file of weights.
fn metadata() -> Metadata {
    Metadata::from([("format".into(), "pt".into())])
}
