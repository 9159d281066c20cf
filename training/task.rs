//! What a model can learn: the part of training that differs between text and images.

use crate::engine::random::Key;
use crate::engine::{Builder, Device, Parameters, Tensor};
use crate::error::Error;
use crate::run::{Data, Picture, Values};
use crate::scoring::Shares;
use crate::settings::Settings;
use crate::trace::Trace;
use crate::variant::VariantConfig;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::ops::Range;
use std::path::Path;

/// A task: a model, the data that it learns from, and how it is scored. The loop
/// ([`Learner`](crate::training::Learner), [`Comparison`](crate::training::Comparison)) does the
/// rest, the same for all tasks: steps, schedule, logging, evaluation, files, the report.
///
/// Nothing here may keep a random state: whatever is random is drawn from the seed and the number
/// of the batch or step, so that a run is repeated, and resumed, to the bit.
pub trait Task: Sync {
    /// The sizes of one model, as `config.json` holds them.
    type Config: Serialize + DeserializeOwned + Sync;
    /// A model: its tensors are windows of the parameters.
    type Model;
    /// The data of one micro-batch, on the host. It is made on a thread of its own, ahead of the
    /// step that needs it.
    type Batch: Send;

    /// What the task is called in the run's folder and summary, such as `language-modelling`.
    fn name(&self) -> &'static str;

    /// What a loss is the mean over, and speed is counted in: `token`, `image`.
    fn unit(&self) -> &'static str;

    /// How many units one micro-batch of `batch` examples has.
    fn units(&self, batch: usize) -> u64;

    /// The score by which one checkpoint is better than another.
    fn best(&self) -> Best;

    /// The sizes of the model of a variant.
    ///
    /// # Errors
    /// [`Error::Settings`] where sizes contradict each other or do not fit the device. Called for
    /// every variant before anything is written.
    fn config(&self, variant: &VariantConfig, device: &Device) -> Result<Self::Config, Error>;

    /// The flags that make a run take less memory, as the end of a sentence.
    fn memory_flags(&self) -> &'static str {
        "a smaller --batch (with a larger --accumulate the steps stay the same), or a smaller model \
         (--layers, --width)"
    }

    /// Finds what is wrong with the data before anything is written.
    ///
    /// # Errors
    /// Whatever would fail later, such as too little text.
    fn check(&self) -> Result<(), Error> {
        Ok(())
    }

    /// Makes the model's parameters.
    fn build(&self, config: &Self::Config, builder: &mut Builder) -> Self::Model;

    /// Makes a model as it is before its first step: drawn from the seed, unless it starts from one that
    /// is trained already.
    ///
    /// # Errors
    /// If what it starts from cannot be read, or is no more what it was when the run began.
    fn start(
        &self,
        config: &Self::Config,
        seed: u64,
        device: &Device,
    ) -> Result<(Self::Model, Parameters), Error> {
        Ok(Parameters::build(device, seed, |builder| self.build(config, builder)))
    }

    /// Finds out whether what models start from is there, as it was when the run began. Called where a
    /// run goes on that has models without a checkpoint.
    ///
    /// # Errors
    /// If it is not, with what can be done.
    fn check_start(&self) -> Result<(), Error> {
        Ok(())
    }

    /// Sets what changes in a model by the number of steps alone, once so many are made, before it is
    /// scored and trained on. What comes back is noted with the step that follows.
    fn at_step(&self, _model: &Self::Model, _settings: &Settings, _steps: u64) -> Values {
        Values::default()
    }

    /// The training data: micro-batches of `batch` examples, each a pure function of the seed and
    /// its number. The closure may keep what saves time, such as an epoch's order.
    ///
    /// # Errors
    /// If the data cannot be dealt out so.
    fn batches(&self, seed: u64, batch: usize) -> Result<Batches<'_, Self::Batch>, Error>;

    /// The mean loss of a micro-batch, in nats a unit: a tensor of one element that the gradients
    /// are taken of. `dropout` is the key of this micro-batch's masks.
    fn loss(&self, model: &Self::Model, batch: &Self::Batch, dropout: Key) -> Tensor;

    /// Scores the model on the validation data, and at the end on the test data too, in batches as
    /// large as those of training. `settings` are those that it is trained with. The names of the scores
    /// become keys of `metrics.jsonl` and `summary.json`; `validation_loss` must be among them.
    ///
    /// `shares` deals the batches out to those that train together, and brings together what they are
    /// scored by; all call this at once and come to the same.
    ///
    /// # Errors
    /// [`Error::Interrupted`] if `shares` says so; or if the device or the data fails.
    fn evaluate(
        &self,
        model: &Self::Model,
        settings: &Settings,
        extent: Extent,
        shares: &Shares,
    ) -> Result<Values, Error>;

    /// How much of the data [`Task::evaluate`] scores: `validation_tokens_scored` of
    /// `validation_tokens`, and so on for each split and unit. It stands beside the scores in
    /// `metrics.jsonl` and `summary.json`.
    fn scored(&self, _settings: &Settings, _extent: Extent) -> Values {
        Values::default()
    }

    /// Something that the model wrote, to be read while it learns. `key` is fresh at each step.
    ///
    /// # Errors
    /// If the device fails.
    fn sample(&self, _model: &Self::Model, _key: Key) -> Result<Option<String>, Error> {
        Ok(None)
    }

    /// What the model's layers compute of the probe sequences (texts, images) with these numbers,
    /// which are the same for every model; of fewer if there are not so many. `None` if the task
    /// has none.
    ///
    /// # Errors
    /// If the device fails.
    fn trace(&self, _model: &Self::Model, _probes: Range<usize>) -> Result<Option<Trace>, Error> {
        Ok(None)
    }

    /// Pictures of what the trained model does, for the report.
    ///
    /// # Errors
    /// If the device or the data fails.
    fn pictures(&self, _model: &Self::Model) -> Result<Vec<Picture>, Error> {
        Ok(Vec::new())
    }

    /// The task's own settings beside [`Settings`], by name, for `run.json` and the report.
    fn settings(&self) -> Values;

    /// Where the data came from.
    fn data(&self) -> Data;

    /// What is known of the task and its data, for `run.json` and `summary.json`.
    fn facts(&self) -> Values {
        Values::default()
    }

    /// What is known of a model before it is trained, for `summary.json`.
    fn model_facts(&self, _config: &Self::Config) -> Values {
        Values::default()
    }

    /// Writes files of the task's own into the run's folder, such as a tokenizer.
    ///
    /// # Errors
    /// If they cannot be written.
    fn save(&self, _folder: &Path) -> Result<(), Error> {
        Ok(())
    }
}

/// Micro-batches by their number, counted from 0 through the whole run.
pub type Batches<'a, B> = Box<dyn FnMut(u64) -> Result<B, Error> + Send + 'a>;

/// The score by which checkpoints and models are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Best {
    /// The smaller the score of that name, the better.
    Lowest(&'static str),
    /// The larger the score of that name, the better.
    Highest(&'static str),
}

impl Best {
    /// The score's name.
    pub fn name(self) -> &'static str {
        match self {
            Best::Lowest(name) | Best::Highest(name) => name,
        }
    }

    /// Whether a score is better than another; NaN is worse than anything.
    ///
    /// ```
    /// use neutreno::training::Best;
    /// assert!(Best::Lowest("validation_loss").prefers(1.0, 2.0));
    /// assert!(Best::Highest("mean_iou").prefers(0.5, f64::NAN));
    /// assert!(!Best::Highest("mean_iou").prefers(0.5, 0.5));
    /// ```
    pub fn prefers(self, score: f64, other: f64) -> bool {
        match self {
            _ if score.is_nan() => false,
            _ if other.is_nan() => true,
            Best::Lowest(_) => score < other,
            Best::Highest(_) => score > other,
        }
    }
}

/// How much of the data is scored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Extent {
    /// The part of the validation data that is scored while training, and after an interruption.
    Part,
    /// The validation and test data at the end: all, or as much as was asked for.
    All,
}

// Settings know no task, so what both of them say stands here.
impl Settings {
    /// The training tokens, or images, of one step.
    pub fn units_per_step(&self, task: &impl Task) -> u64 {
        task.units(self.batch) * self.accumulate as u64
    }
}

/// All settings of a run: the shared ones and the task's own.
pub(crate) fn all_settings(settings: &Settings, task: &impl Task) -> serde_json::Value {
    let mut all = task.settings();
    all.extend(Values::of(settings));
    serde_json::json!(all)
}
