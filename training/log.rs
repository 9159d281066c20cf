//! The record of a model's training: `metrics.jsonl`, and what the observer is told.

use crate::engine::device::Reading;
use crate::error::Error;
use crate::learner::{StepResult, StepTimes};
use crate::measure::Measured;
use crate::observer::{Observer, Step};
use crate::report::describe;
use crate::run::state::LogState;
use crate::run::{
    EventWriter, MEASURED, Metric, MetricsWriter, ModelFolder, RankTimes, Values, read_metrics,
};
use crate::safety::{OnNonFinite, Safety};
use crate::settings::Settings;
use crate::task::{Best, Task};
use crate::times::Times;
use serde_json::json;
use std::time::Instant;

/// A step that is computed, with results on their way from the device.
pub struct InFlight {
    /// Its number, from 0.
    step: u64,
    /// The learning rate.
    rate: f64,
    /// The loss.
    loss: Reading,
    /// The norm of all gradients.
    gradient_norm: Reading,
    /// How long its gradients took where several ranks made them.
    times: StepTimes,
    /// What is to be noted with it.
    noted: Values,
    /// What the step took, waiting for an earlier one included.
    pub seconds: f64,
}

impl InFlight {
    /// Asks for the results of a step.
    pub fn new(step: u64, rate: f64, result: &StepResult, noted: Values) -> InFlight {
        let (loss, gradient_norm) = (result.loss.read(), result.gradient_norm.read());
        let times = result.times.clone();
        InFlight { step, rate, loss, gradient_norm, times, noted, seconds: 0.0 }
    }
}

/// Keeps `metrics.jsonl` and tells the observer.
pub struct Log<'a> {
    /// Who watches.
    pub observer: &'a mut dyn Observer,
    /// Where it stands.
    pub state: LogState,
    writer: MetricsWriter,
    /// For TensorBoard, if that is asked for and the disk takes it.
    events: Option<EventWriter>,
    /// Whether there are lines that the disk did not take.
    unwritten: bool,
    /// Whether there are checkpoints that could not be removed.
    unpruned: bool,
    folder: String,
    unit: &'static str,
    units_per_step: u64,
    total_steps: u64,
    parameters: usize,
    on_nonfinite: OnNonFinite,
    best: Best,
    /// Where the time of several ranks goes, if there are.
    times: Option<Times<'a>>,
    started: Instant,
}

impl<'a> Log<'a> {
    /// A log that goes on from a state and the lines that belong to it. `parameters` is how many
    /// have names.
    pub fn new<T: Task>(
        task: &T,
        settings: &Settings,
        safety: &Safety,
        folder: &ModelFolder,
        parameters: usize,
        (state, lines): (LogState, Vec<u8>),
        observer: &'a mut dyn Observer,
    ) -> Result<Log<'a>, Error> {
        Ok(Log {
            observer,
            state,
            writer: MetricsWriter::begin(&folder.metrics_jsonl(), &lines)?,
            events: None,
            unwritten: false,
            unpruned: false,
            folder: folder.path().display().to_string(),
            unit: task.unit(),
            units_per_step: settings.units_per_step(task),
            total_steps: settings.steps,
            parameters,
            on_nonfinite: safety.on_nonfinite,
            best: task.best(),
            times: None,
            started: Instant::now(),
        })
    }

    /// Begins an event file for TensorBoard, of what was logged before too.
    pub fn begin_events(&mut self, folder: &ModelFolder) {
        let earlier = read_metrics(&folder.metrics_jsonl());
        let begun = earlier.and_then(|earlier| EventWriter::begin(folder, &earlier));
        self.events = begun.map_err(|error| self.observer.notice(&no_events(&error))).ok();
    }

    /// Keeps the times of ranks too.
    pub fn begin_times(&mut self, times: Times<'a>) {
        self.times = Some(times);
    }

    /// Waits for the results of a step, begins its line, and tells the observer.
    ///
    /// # Errors
    /// If the device failed, or a result is not finite and that is to end the run.
    pub fn step(&mut self, step: InFlight) -> Result<(), Error> {
        let InFlight { step, rate, loss, gradient_norm, times, noted, seconds } = step;
        let loss = f64::from(loss.wait()?[0]);
        let gradient_norm = f64::from(gradient_norm.wait()?[0]);
        self.write();
        let unit = self.unit;
        let units = self.units_per_step;
        let rate_of = |seconds: f64| units as f64 / seconds.max(1e-9);
        let total_seconds = self.seconds();
        let state = &mut self.state;
        state.training_seconds += seconds;
        state.steps = step + 1;
        state.line = Some(Metric {
            step: state.steps,
            loss,
            learning_rate: rate,
            gradient_norm,
            seconds: total_seconds,
            values: Values::default()
                .with(&format!("{unit}s"), state.steps * self.units_per_step)
                .with(&format!("{unit}s_per_second"), rate_of(seconds))
                .with_all(noted),
            ..Metric::default()
        });
        let results = [("loss", loss), ("gradient", gradient_norm)];
        match results.into_iter().find(|(_, value)| !value.is_finite()) {
            Some((what, _)) => self.not_finite(what)?,
            None => {
                self.state.recent.push_back(loss);
                if self.state.recent.len() > 20 {
                    self.state.recent.pop_front();
                }
            }
        }
        let each = self.state.training_seconds / self.state.steps as f64;
        self.observer.step(&Step {
            step: self.state.steps,
            steps: self.total_steps,
            parameters: self.parameters,
            loss: self.recent_loss(),
            units_per_second: rate_of(each),
            seconds_left: each * (self.total_steps - self.state.steps) as f64,
        });
        self.time(times, seconds);
        Ok(())
    }

    /// Notes what several ranks did in the latest step, and says which of them is slow.
    fn time(&mut self, step: StepTimes, seconds: f64) {
        let Some(times) = &mut self.times else { return };
        if times.add(step, seconds) {
            if let Some(slow) = times.slow() {
                self.observer.notice(&format!("  step {}: {slow}", self.state.steps));
            }
            self.observer.ranks(&times.all());
        }
    }

    /// Where the time of several ranks went.
    pub fn times(&self) -> Vec<RankTimes> {
        self.times.as_ref().map(Times::all).unwrap_or_default()
    }

    /// The optimiser has left this step out already: it does where the loss or the gradients' norm
    /// is not finite.
    fn not_finite(&mut self, what: &'static str) -> Result<(), Error> {
        let step = self.state.steps;
        if self.on_nonfinite == OnNonFinite::Stop {
            self.write();
            return Err(Error::NotFinite { what, step, folder: self.folder.clone() });
        }
        self.state.skipped += 1;
        let skipped = self.state.skipped;
        if let Some(line) = &mut self.state.line {
            line.values.set("skipped_steps", skipped);
        }
        self.observer.notice(&format!(
            "  step {step}: the {what} is not finite; the step is skipped ({skipped} so far)"
        ));
        Ok(())
    }

    /// The model was scored, on as much of the data as `scored` says.
    pub fn evaluated(&mut self, scores: Values, scored: Values) {
        // After the last step, the scores on everything are about to be shown.
        if self.state.steps < self.total_steps {
            self.observer.evaluated(self.state.steps, &scores.clone().with_all(scored.clone()));
        }
        self.remember(&scores, &scored);
        if self.state.steps == 0 {
            self.state.initial = Some(scores.number(self.best.name()));
            self.state.line = Some(Metric {
                loss: f64::NAN,
                learning_rate: f64::NAN,
                gradient_norm: f64::NAN,
                seconds: self.seconds(),
                ..Metric::default()
            });
        }
        if let Some(line) = &mut self.state.line {
            line.values.extend(scores);
            line.values.extend(scored);
        }
    }

    /// Keeps the score if it is the best. One of another part of the data begins anew.
    pub fn remember(&mut self, scores: &Values, scored: &Values) {
        if self.state.scored != *scored {
            self.state.best = None;
            self.state.scored = scored.clone();
        }
        let score = scores.number(self.best.name());
        let best = self.state.best.map_or(f64::NAN, |(_, score)| score);
        if self.best.prefers(score, best) {
            self.state.best = Some((self.state.steps, score));
        }
        self.state.last = Some(score);
    }

    /// The best score of training, its step, the last score, and what they are of: `best_step`,
    /// `best_validation_loss`, `last_validation_loss`, `best_validation_tokens_scored`, …; and where the
    /// model was scored before its first step, that score, `initial_validation_loss`.
    pub fn best(&self) -> Values {
        let mut values = Values::default();
        let (Some((step, score)), Some(last)) = (self.state.best, self.state.last) else {
            return values;
        };
        values.set("best_step", step);
        values.set(&format!("best_{}", self.best.name()), score);
        values.set(&format!("last_{}", self.best.name()), last);
        if let Some(initial) = self.state.initial {
            values.set(&format!("initial_{}", self.best.name()), initial);
        }
        for (name, value) in self.state.scored.iter() {
            values.set(&format!("best_{name}"), value.clone());
        }
        values
    }

    /// Says that the best score was not the last.
    pub fn tell_best(&mut self) {
        if let (Some((step, score)), Some(last)) = (self.state.best, self.state.last)
            && step < self.state.steps
        {
            let shown = |score: f64| describe(&Values::default().with(self.best.name(), score));
            let (score, last) = (shown(score), shown(last));
            self.observer.notice(&format!("  best at step {step}: {score}; at the end: {last}"));
        }
    }

    pub fn measured(&mut self, measured: Option<Measured>) {
        if let (Some(line), Some(measured)) = (&mut self.state.line, measured) {
            line.values.set(MEASURED, json!(measured));
        }
    }

    pub fn sampled(&mut self, text: Option<String>) {
        let Some(text) = text else { return };
        self.observer.sample(self.state.steps, &text);
        if let Some(line) = &mut self.state.line {
            line.sample = Some(text);
        }
    }

    /// Notes a number with the latest line.
    pub fn note(&mut self, name: &str, value: impl Into<serde_json::Value>) {
        if let Some(line) = &mut self.state.line {
            line.values.set(name, value);
        }
    }

    /// Hands the latest line on. Where the disk does not take it, it waits in memory, and training
    /// goes on.
    pub fn write(&mut self) {
        let Some(line) = self.state.line.take() else { return };
        let written = self.writer.write(&line);
        match (&written, self.unwritten) {
            (Err(error), false) => self.observer.notice(&format!(
                "{error}. The metrics are kept in memory and training goes on; they are written \
                 once there is room"
            )),
            (Ok(()), true) => self.observer.notice("the metrics could be written again"),
            _ => {}
        }
        self.unwritten = written.is_err();
        if let Some(events) = &mut self.events
            && let Err(error) = events.write(&line)
        {
            self.observer.notice(&no_events(&error));
            self.events = None;
        }
    }

    /// Old checkpoints were removed, or could not be. What is saved is safe, so training goes on.
    pub fn pruned(&mut self, result: Result<(), crate::run::Error>) {
        if let (Err(error), false) = (&result, self.unpruned) {
            self.observer.notice(&format!(
                "{error}. An old checkpoint stays for now, and training goes on; removing it is tried \
                 again after the next one"
            ));
        }
        self.unpruned = result.is_err();
    }

    /// The last line, and whatever still waits.
    ///
    /// # Errors
    /// If the disk still does not take it.
    pub fn finish(&mut self) -> Result<(), Error> {
        self.write();
        Ok(self.writer.flush()?)
    }

    /// The lines written so far, for a checkpoint.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn lines(&self) -> Result<Vec<u8>, Error> {
        Ok(self.writer.contents()?)
    }

    /// The state as it is now, for a checkpoint.
    pub fn snapshot(&self) -> LogState {
        LogState { seconds: self.seconds(), ..self.state.clone() }
    }

    /// Seconds of training in all, those before a resumption included.
    pub fn seconds(&self) -> f64 {
        self.state.seconds + self.started.elapsed().as_secs_f64()
    }

    /// Whether the model was scored so often since its best score that training ends, and the patience
    /// that came to its end.
    pub fn out_of_patience(&self, settings: &Settings) -> Option<u64> {
        let best = self.state.best.map_or(0, |(step, _)| step);
        let scored = |steps: u64| steps.checked_div(settings.evaluate_every).unwrap_or(0);
        let since = scored(self.state.steps) - scored(best);
        settings.patience.filter(|patience| since >= *patience && self.state.steps > best)
    }

    /// The step with the best score so far.
    pub fn best_step(&self) -> Option<u64> {
        self.state.best.map(|(step, _)| step)
    }

    /// Steps that were left out.
    pub fn skipped(&self) -> u64 {
        self.state.skipped
    }

    pub fn recent_loss(&self) -> f64 {
        self.state.recent.iter().sum::<f64>() / self.state.recent.len() as f64
    }
}

/// TensorBoard sees no more of this model; `metrics.jsonl` has it all.
fn no_events(error: &crate::run::Error) -> String {
    format!("{error}. Training goes on without more for TensorBoard; --resume would write it all")
}
