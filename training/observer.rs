//! What a training run tells those who watch it.

use crate::run::{RankTimes, Values, VariantSummary};

/// Watches a training run: a progress bar, a log, or nothing at all.
pub trait Observer: Send {
    /// Something to know, in a line.
    fn notice(&mut self, _line: &str) {}

    /// A model is about to be trained.
    fn started(&mut self, _model: &Started) {}

    /// A step is done. Its loss may be known only some steps later.
    fn step(&mut self, _step: &Step) {}

    /// Where the time of several ranks has gone so far; told now and then, if there are several.
    fn ranks(&mut self, _ranks: &[RankTimes]) {}

    /// The model was scored.
    fn evaluated(&mut self, _step: u64, _scores: &Values) {}

    /// The model wrote this.
    fn sample(&mut self, _step: u64, _text: &str) {}

    /// A model was trained and scored.
    fn finished(&mut self, _summary: &VariantSummary) {}
}

/// An observer that looks away.
pub struct Silent;

impl Observer for Silent {}

/// A model that is about to be trained.
#[derive(Clone, Debug, PartialEq)]
pub struct Started {
    /// The variant's name.
    pub variant: String,
    /// What speed is counted in: `token`, `image`.
    pub unit: &'static str,
    /// The seed.
    pub seed: u64,
    /// Which model of the run it is, from 1.
    pub number: usize,
    /// How many models the run trains.
    pub models: usize,
    /// Trained numbers.
    pub parameters: u64,
    /// The steps to come.
    pub steps: u64,
    /// The memory that a step takes at most, in bytes, foretold by the plan.
    pub planned_memory_bytes: u64,
}

/// A step that is done.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// Its number, from 1.
    pub step: u64,
    /// How many there will be.
    pub steps: u64,
    /// The named parameters, all of which got a gradient in the first step.
    pub parameters: usize,
    /// The training loss, averaged over the latest steps, in nats a unit.
    pub loss: f64,
    /// Training tokens or images a second, evaluation not counted.
    pub units_per_second: f64,
    /// Seconds of training to come.
    pub seconds_left: f64,
}
