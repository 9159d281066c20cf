//! The record of a model's training: `metrics.jsonl`, and what the observer is told.

use super::task::Task;
use super::trainer::Training;
use super::{Error, Observer, Step};
use crate::engine::device::Reading;
use crate::measure::Measured;
use crate::report::{MEASURED, Metric, MetricsWriter, Values};
use serde_json::json;
use std::collections::VecDeque;
use std::time::Instant;

/// The results of a step on their way from the device.
pub(super) struct Waiting {
    /// Its number, from 0.
    pub step: u64,
    /// The learning rate.
    pub rate: f64,
    /// The loss.
    pub loss: Reading,
    /// The norm of all gradients.
    pub gradient_norm: Reading,
    /// What the step took, waiting for an earlier one included.
    pub seconds: f64,
}

/// Keeps `metrics.jsonl` and tells the observer.
pub(super) struct Log<'a> {
    /// Who watches.
    pub observer: &'a mut dyn Observer,
    writer: MetricsWriter,
    folder: String,
    unit: &'static str,
    units_per_step: u64,
    total_steps: u64,
    parameters: usize,
    /// The steps whose results are known.
    pub steps: u64,
    recent: VecDeque<f64>,
    /// The latest line, kept until the next one in case a score or a sample belongs to it.
    line: Option<Metric>,
    /// When training began.
    pub started: Instant,
    /// Seconds spent in steps.
    pub training_seconds: f64,
}

impl<'a> Log<'a> {
    pub fn new<T: Task>(
        training: &Training<T>,
        parameters: usize,
        observer: &'a mut dyn Observer,
    ) -> Result<Log<'a>, Error> {
        Ok(Log {
            observer,
            writer: MetricsWriter::create(&training.folder.metrics_jsonl())?,
            folder: training.folder.path().display().to_string(),
            unit: training.task.unit(),
            units_per_step: training.settings.units_per_step(training.task),
            total_steps: training.settings.steps,
            parameters,
            steps: 0,
            recent: VecDeque::new(),
            line: None,
            started: Instant::now(),
            training_seconds: 0.0,
        })
    }

    pub fn step(&mut self, result: Waiting) -> Result<(), Error> {
        let Waiting { step, rate, loss, gradient_norm, seconds } = result;
        let loss = f64::from(loss.wait()?[0]);
        let gradient_norm = f64::from(gradient_norm.wait()?[0]);
        self.training_seconds += seconds;
        self.steps = step + 1;
        self.recent.push_back(loss);
        if self.recent.len() > 20 {
            self.recent.pop_front();
        }
        self.write()?;
        let rate_of = |seconds: f64| self.units_per_step as f64 / seconds.max(1e-9);
        self.line = Some(Metric {
            step: self.steps,
            loss,
            learning_rate: rate,
            gradient_norm,
            seconds: self.started.elapsed().as_secs_f64(),
            values: Values::default()
                .with(&format!("{}s", self.unit), self.steps * self.units_per_step)
                .with(&format!("{}s_per_second", self.unit), rate_of(seconds)),
            ..Metric::default()
        });
        for (what, value) in [("loss", loss), ("gradient", gradient_norm)] {
            if !value.is_finite() {
                self.write()?;
                let folder = self.folder.clone();
                return Err(Error::NotFinite { what, step: self.steps, folder });
            }
        }
        let each = self.training_seconds / self.steps as f64;
        self.observer.step(&Step {
            step: self.steps,
            steps: self.total_steps,
            parameters: self.parameters,
            loss: self.recent_loss(),
            units_per_second: rate_of(each),
            seconds_left: each * (self.total_steps - self.steps) as f64,
        });
        Ok(())
    }

    pub fn evaluated(&mut self, scores: Values) {
        self.observer.evaluated(self.steps, &scores);
        if let Some(line) = &mut self.line {
            line.values.extend(scores);
        }
    }

    pub fn measured(&mut self, measured: Option<Measured>) {
        if let (Some(line), Some(measured)) = (&mut self.line, measured) {
            line.values.set(MEASURED, json!(measured));
        }
    }

    pub fn sampled(&mut self, text: Option<String>) {
        let Some(text) = text else { return };
        self.observer.sample(self.steps, &text);
        if let Some(line) = &mut self.line {
            line.sample = Some(text);
        }
    }

    pub fn write(&mut self) -> Result<(), Error> {
        if let Some(line) = self.line.take() {
            self.writer.write(&line)?;
        }
        Ok(())
    }

    pub fn recent_loss(&self) -> f64 {
        self.recent.iter().sum::<f64>() / self.recent.len() as f64
    }
}
