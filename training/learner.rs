//! A model with all that changes while it learns, and one step of learning.

mod over_ranks;
mod shared_out;

use crate::engine::checkpoint::chunks;
use crate::engine::finite::find_not_finite;
use crate::engine::optim::{AdamW, AdamWSettings, Average, Optimizer, clip};
use crate::engine::random::Key;
use crate::engine::{Device, Gradients, Group, Parameters, Part, Tensor, no_grad};
use crate::error::Error;
use crate::measure::Measured;
use crate::order::{Order, give};
use crate::probes::{PROBES, measure_probes_on};
use crate::ranks::spare::Memory;
use crate::ranks::{Alone, Ranks};
use crate::run::Values;
use crate::run::checkpoint::{AVERAGE, Chunks, MODEL, OPTIMIZER};
use crate::scoring::{Shares, Stop};
use crate::settings::Settings;
use crate::task::{Extent, Task};
use sha2::{Digest, Sha256};
use std::path::Path;

/// A model with all that changes while it learns.
pub struct Learner<'a, T: Task> {
    /// The model.
    pub model: T::Model,
    /// Its parameters.
    pub parameters: Parameters,
    task: &'a T,
    gradients: Gradients,
    /// Those of one micro-batch, where they are added to others.
    of_one: Option<Gradients>,
    optimizer: AdamW,
    average: Option<Average>,
    settings: Settings,
    seed: u64,
    dropout: Key,
    ranks: &'a dyn Ranks,
    /// For the exchange of gradients with them.
    memory: Memory,
}

/// What one step leaves: numbers on the device, to be read when it suits, and times.
pub struct StepResult {
    /// The mean loss of the step, in nats a unit.
    pub loss: Tensor,
    /// The norm of all gradients, before clipping.
    pub gradient_norm: Tensor,
    /// How long the gradients took where several ranks made them.
    pub times: StepTimes,
}

/// How long the gradients of a step took that several ranks made together, in seconds; nothing where one
/// made them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StepTimes {
    /// For how long each rank made its own, in their order, without what it waited for others.
    pub computing: Vec<f64>,
    /// After how long the first rank had the sum of all.
    pub together: f64,
}

impl<'a, T: Task> Learner<'a, T> {
    /// A model before its first step. Weights that are drawn follow from the seed and their names, so
    /// parameters that two variants share start alike.
    ///
    /// # Errors
    /// If the model starts from one that cannot be read.
    pub fn new(
        task: &'a T,
        config: &T::Config,
        settings: &Settings,
        seed: u64,
        device: &Device,
    ) -> Result<Learner<'a, T>, Error> {
        Learner::keeping(Part::WHOLE, task, config, settings, seed, device)
    }

    /// The same with a part of the optimiser.
    ///
    /// # Errors
    /// As [`Learner::new`].
    pub(crate) fn keeping(
        part: Part,
        task: &'a T,
        config: &T::Config,
        settings: &Settings,
        seed: u64,
        device: &Device,
    ) -> Result<Learner<'a, T>, Error> {
        let start = task.start(config, seed, device)?;
        Ok(Learner::with(part, task, settings, seed, start))
    }

    /// A model whose numbers do not matter, as on the planning device: nothing is read.
    pub(crate) fn planned(
        (ranks, part): (&'a dyn Ranks, Part),
        task: &'a T,
        config: &T::Config,
        settings: &Settings,
        device: &Device,
    ) -> Learner<'a, T> {
        let made = Parameters::build(device, 0, |builder| task.build(config, builder));
        Learner { ranks, ..Learner::with(part, task, settings, 0, made) }
    }

    /// A model that goes on from a checkpoint, with a part of its optimiser.
    ///
    /// # Errors
    /// If a file cannot be read or is of another model.
    pub(crate) fn from_checkpoint(
        part: Part,
        task: &'a T,
        config: &T::Config,
        settings: &Settings,
        seed: u64,
        device: &Device,
        checkpoint: &Path,
    ) -> Result<Learner<'a, T>, Error> {
        let mut learner = Learner::to_read(part, task, config, settings, seed, device);
        learner.load(checkpoint)?;
        Ok(learner)
    }

    /// One whose weights are about to be read.
    fn to_read(
        part: Part,
        task: &'a T,
        config: &T::Config,
        settings: &Settings,
        seed: u64,
        device: &Device,
    ) -> Learner<'a, T> {
        let build = |builder: &mut _| task.build(config, builder);
        let group = |_: &str, _, decay| Group::with_decay(decay);
        let made = Parameters::build_to_read(device, seed, group, |_| false, build);
        Learner::with(part, task, settings, seed, made)
    }

    fn with(
        part: Part,
        task: &'a T,
        settings: &Settings,
        seed: u64,
        (model, parameters): (T::Model, Parameters),
    ) -> Learner<'a, T> {
        let [beta1, beta2] = settings.betas;
        let weight_decay = settings.weight_decay;
        let of_optimizer = AdamWSettings { beta1, beta2, epsilon: 1e-8, weight_decay };
        let optimizer = AdamW::of_part(&parameters, of_optimizer, part);
        Learner {
            task,
            gradients: parameters.gradients(),
            of_one: None,
            average: settings.average.map(|decay| Average::new(&parameters, decay)),
            model,
            parameters,
            optimizer,
            settings: settings.clone(),
            seed,
            dropout: Key::new(seed).named("dropout"),
            ranks: &Alone,
            memory: Memory::default(),
        }
    }

    /// One step, numbered from 0: forward and backward for each micro-batch, and the update.
    /// `batches` gives the micro-batch of a number.
    ///
    /// The gradients of each micro-batch are made by themselves and added in the order of their numbers,
    /// so that several ranks come to the same bits.
    ///
    /// # Errors
    /// If a batch cannot be had, the gradients cannot be computed, or another rank has ended.
    pub fn step(
        &mut self,
        step: u64,
        mut batches: impl FnMut(u64) -> Result<T::Batch, Error>,
    ) -> Result<StepResult, Error> {
        give(self.ranks, &Order::Step(step))?;
        let (loss, times) = match self.ranks.size() {
            1 => (self.add_up(step, &mut batches)?, StepTimes::default()),
            _ => self.add_up_over_ranks(step, &mut batches)?,
        };
        let limit = if self.settings.clip > 0.0 { self.settings.clip } else { f64::INFINITY };
        let clipped = clip(&self.parameters, &self.gradients, limit).with_loss(&loss);
        let rate = self.learning_rate(step);
        self.optimizer.step(&self.parameters, &self.gradients, rate, Some(&clipped));
        if self.is_shared_out() {
            self.bring_together()?;
        }
        if let Some(average) = &mut self.average {
            average.step(&self.parameters, Some(&clipped));
        }
        Ok(StepResult { loss, gradient_norm: clipped.norm, times })
    }

    /// Makes the gradients of a step, and returns its loss.
    fn add_up(
        &mut self,
        step: u64,
        batches: &mut impl FnMut(u64) -> Result<T::Batch, Error>,
    ) -> Result<Tensor, Error> {
        let accumulate = self.settings.accumulate as u64;
        let mut total: Option<Tensor> = None;
        for micro_batch in 0..accumulate {
            let loss = self.loss(step, micro_batch, &batches(step * accumulate + micro_batch)?);
            // The first ones are the sum so far.
            let gradients = match micro_batch {
                0 => &mut self.gradients,
                _ => self.of_one.get_or_insert_with(|| self.parameters.gradients()),
            };
            gradients.clear();
            loss.backward_into(gradients)?;
            if let (1.., Some(of_one)) = (micro_batch, &self.of_one) {
                self.parameters.add_gradients(&mut self.gradients, of_one);
            }
            total = Some(sum_of(total, loss.detach()));
        }
        if step == 0 {
            self.check_gradients()?;
        }
        Ok(total.expect("a step has at least one micro-batch"))
    }

    /// The loss of a micro-batch, as a part of the mean over all of its step.
    fn loss(&self, step: u64, micro_batch: u64, batch: &T::Batch) -> Tensor {
        let dropout = self.dropout.fold(step).fold(micro_batch);
        let loss = self.task.loss(&self.model, batch, dropout);
        match self.settings.accumulate {
            1 => loss,
            accumulate => loss.scale(1.0 / accumulate as f32),
        }
    }

    /// The learning rate of a step, numbered from 0.
    pub fn learning_rate(&self, step: u64) -> f64 {
        self.settings.rate(step)
    }

    /// Runs `work` with the weights that are to be scored and kept: their running average, if one
    /// is made, else the weights as they are.
    pub fn with_best_weights<R>(&self, work: impl FnOnce(&T::Model, &Parameters) -> R) -> R {
        let work = || work(&self.model, &self.parameters);
        match &self.average {
            Some(average) => average.with(&self.parameters, work),
            None => work(),
        }
    }

    /// Scores the weights that are to be kept, after so many steps, on all ranks together.
    ///
    /// # Errors
    /// [`Error::Interrupted`] if the first rank's `stop` says so; if the device or the data fails, or another
    /// rank has ended.
    pub(crate) fn score(&self, steps: u64, extent: Extent, stop: &Stop) -> Result<Values, Error> {
        give(self.ranks, &Order::Score { steps, extent })?;
        let shares = Shares::among(self.ranks, stop);
        self.with_best_weights(|model, _| {
            self.task.evaluate(model, &self.settings, extent, &shares)
        })
    }

    /// Measures the weights that are to be kept, after so many steps, on all ranks together; `None` if the task
    /// has no probe sequences.
    ///
    /// # Errors
    /// If the device fails, or another rank has ended.
    pub(crate) fn measure(&self, steps: u64) -> Result<Option<Measured>, Error> {
        give(self.ranks, &Order::Measure(steps))?;
        self.with_best_weights(|model, _| {
            measure_probes_on(self.ranks, self.task, model, PROBES, self.settings.batch)
        })
    }

    /// What a checkpoint holds of this: files of tensors, each as its bytes.
    ///
    /// # Errors
    /// If the device fails, or another rank has ended.
    pub(crate) fn files(&self) -> Result<Vec<(&'static str, Chunks<'_, Error>)>, Error> {
        let file = |tensors: Vec<(String, Tensor)>, updates: Option<u64>| -> Chunks<'_, Error> {
            let steps = updates.map(|updates| ("steps".into(), updates.to_string()));
            Box::new(chunks(tensors, &steps.into_iter().collect()).map(|chunk| Ok(chunk?)))
        };
        let updates = self.optimizer.updates()?;
        let moments = match self.is_shared_out() {
            true => self.whole_moments(updates),
            false => file(self.optimizer.state(&self.parameters), Some(updates)),
        };
        let mut files = vec![(MODEL, file(handles(&self.parameters), None)), (OPTIMIZER, moments)];
        if let Some(average) = &self.average {
            let state = average.state(&self.parameters);
            files.push((AVERAGE, file(state, Some(average.updates()?))));
        }
        Ok(files)
    }

    /// Reads a checkpoint.
    fn load(&mut self, checkpoint: &Path) -> Result<(), Error> {
        self.parameters.load(&checkpoint.join(MODEL))?;
        self.optimizer.load(&self.parameters, &checkpoint.join(OPTIMIZER))?;
        if let Some(average) = &mut self.average {
            average.load(&self.parameters, &checkpoint.join(AVERAGE))?;
        }
        Ok(())
    }

    /// A hash of all parameters: two runs with the same hash have the same bits.
    ///
    /// # Errors
    /// If the device fails.
    pub fn hash(&self) -> Result<String, Error> {
        let mut hash = Sha256::new();
        for (_, tensor) in self.parameters.iter() {
            tensor.to_vec()?.iter().for_each(|number| hash.update(number.to_le_bytes()));
        }
        Ok(hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect())
    }

    /// What was the first to be not finite in the latest step, in words: a parameter, else the
    /// result of an op, else a gradient. `step` is its number, and `batches` gives its data again.
    ///
    /// # Errors
    /// If the device fails or a batch cannot be had.
    pub fn first_not_finite(
        &self,
        step: u64,
        mut batches: impl FnMut(u64) -> Result<T::Batch, Error>,
    ) -> Result<Option<String>, Error> {
        let is_finite = |tensor: &Tensor| -> Result<bool, Error> {
            Ok(tensor.to_vec()?.iter().all(|number| number.is_finite()))
        };
        for (name, tensor) in self.parameters.iter() {
            if !is_finite(tensor)? {
                return Ok(Some(format!("the parameter {name}")));
            }
        }
        for micro_batch in 0..self.settings.accumulate as u64 {
            let batch = batches(step * self.settings.accumulate as u64 + micro_batch)?;
            let dropout = self.dropout.fold(step).fold(micro_batch);
            let (_, found) =
                find_not_finite(|| no_grad(|| self.task.loss(&self.model, &batch, dropout)));
            if let Some(found) = found? {
                return Ok(Some(found.to_string()));
            }
        }
        for (name, tensor) in self.parameters.iter() {
            if let Some(gradient) = self.gradients.get(tensor)
                && !is_finite(&gradient)?
            {
                return Ok(Some(format!("the gradient of {name}")));
            }
        }
        Ok(None)
    }

    fn check_gradients(&self) -> Result<(), Error> {
        let names = self.parameters.missing_gradients(&self.gradients);
        match names.is_empty() {
            true => Ok(()),
            false => Err(Error::NoGradient { names, total: self.parameters.names().count() }),
        }
    }
}

fn sum_of(total: Option<Tensor>, loss: Tensor) -> Tensor {
    match total {
        Some(total) => total.add(&loss),
        None => loss,
    }
}

/// The names and parameters, for saving.
pub(crate) fn handles(parameters: &Parameters) -> Vec<(String, Tensor)> {
    parameters.iter().map(|(name, tensor)| (name.to_owned(), tensor.detach())).collect()
}
