//! A model with all that changes while it learns, and one step of learning.

use crate::engine::checkpoint::chunks;
use crate::engine::finite::find_not_finite;
use crate::engine::optim::{AdamW, AdamWSettings, Average, Optimizer, clip};
use crate::engine::random::Key;
use crate::engine::{Device, Gradients, Group, Parameters, Tensor, no_grad};
use crate::error::Error;
use crate::run::checkpoint::{AVERAGE, Chunks, MODEL, OPTIMIZER};
use crate::settings::Settings;
use crate::task::Task;
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
    optimizer: AdamW,
    average: Option<Average>,
    settings: Settings,
    dropout: Key,
}

/// What one step leaves on the device, to be read when it suits.
pub struct StepResult {
    /// The mean loss of the step, in nats a unit.
    pub loss: Tensor,
    /// The norm of all gradients, before clipping.
    pub gradient_norm: Tensor,
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
        let start = task.start(config, seed, device)?;
        Ok(Learner::with(task, settings, seed, start))
    }

    /// A model whose numbers do not matter, as on the planning device: nothing is read.
    pub(crate) fn planned(
        task: &'a T,
        config: &T::Config,
        settings: &Settings,
        device: &Device,
    ) -> Learner<'a, T> {
        let made = Parameters::build(device, 0, |builder| task.build(config, builder));
        Learner::with(task, settings, 0, made)
    }

    /// A model that goes on from a checkpoint.
    ///
    /// # Errors
    /// If a file cannot be read or is of another model.
    pub(crate) fn from_checkpoint(
        task: &'a T,
        config: &T::Config,
        settings: &Settings,
        seed: u64,
        device: &Device,
        checkpoint: &Path,
    ) -> Result<Learner<'a, T>, Error> {
        let build = |builder: &mut _| task.build(config, builder);
        let group = |_: &str, _, decay| Group::with_decay(decay);
        let made = Parameters::build_to_read(device, seed, group, |_| false, build);
        let mut learner = Learner::with(task, settings, seed, made);
        learner.load(checkpoint)?;
        Ok(learner)
    }

    fn with(
        task: &'a T,
        settings: &Settings,
        seed: u64,
        (model, parameters): (T::Model, Parameters),
    ) -> Learner<'a, T> {
        let [beta1, beta2] = settings.betas;
        let optimizer = AdamW::new(
            &parameters,
            AdamWSettings { beta1, beta2, epsilon: 1e-8, weight_decay: settings.weight_decay },
        );
        Learner {
            task,
            gradients: parameters.gradients(),
            average: settings.average.map(|decay| Average::new(&parameters, decay)),
            model,
            parameters,
            optimizer,
            settings: settings.clone(),
            dropout: Key::new(seed).named("dropout"),
        }
    }

    /// One step, numbered from 0: forward and backward for each micro-batch, and the update.
    /// `batches` gives the micro-batch of a number.
    ///
    /// # Errors
    /// If a batch cannot be had, or the gradients cannot be computed.
    pub fn step(
        &mut self,
        step: u64,
        mut batches: impl FnMut(u64) -> Result<T::Batch, Error>,
    ) -> Result<StepResult, Error> {
        let accumulate = self.settings.accumulate as u64;
        self.gradients.clear();
        let mut total: Option<Tensor> = None;
        for micro_batch in 0..accumulate {
            let batch = batches(step * accumulate + micro_batch)?;
            let dropout = self.dropout.fold(step).fold(micro_batch);
            let loss = self.task.loss(&self.model, &batch, dropout);
            let loss = if accumulate > 1 { loss.scale(1.0 / accumulate as f32) } else { loss };
            loss.backward_into(&mut self.gradients)?;
            let loss = loss.detach();
            total = Some(total.map_or_else(|| loss.clone(), |total| total.add(&loss)));
        }
        if step == 0 {
            self.check_gradients()?;
        }
        let limit = if self.settings.clip > 0.0 { self.settings.clip } else { f64::INFINITY };
        let loss = total.expect("a step has at least one micro-batch");
        let clipped = clip(&self.parameters, &self.gradients, limit).with_loss(&loss);
        let rate = self.learning_rate(step);
        self.optimizer.step(&self.parameters, &self.gradients, rate, Some(&clipped));
        if let Some(average) = &mut self.average {
            average.step(&self.parameters, Some(&clipped));
        }
        Ok(StepResult { loss, gradient_norm: clipped.norm })
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

    /// What a checkpoint holds of this: files of tensors, each as its bytes.
    ///
    /// # Errors
    /// If the device fails.
    pub(crate) fn files(&self) -> Result<Vec<(&'static str, Chunks<'static, Error>)>, Error> {
        let file =
            |tensors: Vec<(String, Tensor)>, updates: Option<u64>| -> Chunks<'static, Error> {
                let steps = updates.map(|updates| ("steps".into(), updates.to_string()));
                Box::new(chunks(tensors, &steps.into_iter().collect()).map(|chunk| Ok(chunk?)))
            };
        let moments = self.optimizer.state(&self.parameters);
        let mut files = vec![
            (MODEL, file(handles(&self.parameters), None)),
            (OPTIMIZER, file(moments, Some(self.optimizer.updates()?))),
        ];
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

/// The names and parameters, for saving.
pub(crate) fn handles(parameters: &Parameters) -> Vec<(String, Tensor)> {
    parameters.iter().map(|(name, tensor)| (name.to_owned(), tensor.detach())).collect()
}
