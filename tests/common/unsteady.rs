//! A task some of whose micro-batches have numbers that are not finite.

use super::training::{settings, task};
use neutreno::engine::optim::Curve;
use neutreno::engine::random::Key;
use neutreno::engine::{Builder, Device, Ids, Tensor};
use neutreno::run::{Data, Values};
use neutreno::tasks::language::LanguageModelling;
use neutreno::training::{Batches, Best, Error, Extent, Settings, Shares, Task};
use neutreno::{LanguageModel, LanguageModelConfig, VariantConfig};
use std::sync::atomic::{AtomicU64, Ordering};

/// What is wrong with a micro-batch.
#[derive(Clone, Copy, PartialEq)]
pub enum Wrong {
    /// It is sound.
    Nothing,
    /// Its loss is infinite, its gradients are not.
    Loss,
    /// All of it is NaN.
    Gradients,
}

/// A task with micro-batches of which something is wrong with some.
pub struct Unsteady {
    task: LanguageModelling,
    wrong: Vec<Wrong>,
    /// How many micro-batches were asked for.
    pub asked: AtomicU64,
}

impl Unsteady {
    /// The first micro-batches are so; all that come after these are sound.
    pub fn new(wrong: &[Wrong]) -> Unsteady {
        let mut task = task();
        (task.settings.layers, task.settings.dropout) = (2, 0.0);
        Unsteady { task, wrong: wrong.to_vec(), asked: AtomicU64::new(0) }
    }

    /// Sound steps do not depend on their number: one micro-batch each, always the same rate.
    pub fn settings(&self) -> Settings {
        let (decay, average) = (Curve::Constant, Some(0.9));
        let steps = self.wrong.len() as u64;
        Settings { accumulate: 1, warmup: 0, decay, average, steps, ..settings() }
    }
}

impl Task for Unsteady {
    type Config = LanguageModelConfig;
    type Model = LanguageModel;
    type Batch = ([Ids; 2], Wrong);

    fn name(&self) -> &'static str {
        self.task.name()
    }

    fn unit(&self) -> &'static str {
        self.task.unit()
    }

    fn units(&self, batch: usize) -> u64 {
        self.task.units(batch)
    }

    fn best(&self) -> Best {
        self.task.best()
    }

    fn config(&self, variant: &VariantConfig, device: &Device) -> Result<Self::Config, Error> {
        self.task.config(variant, device)
    }

    fn build(&self, config: &Self::Config, builder: &mut Builder) -> LanguageModel {
        self.task.build(config, builder)
    }

    /// Those with which something is wrong are not counted among the others.
    fn batches(&self, seed: u64, batch: usize) -> Result<Batches<'_, Self::Batch>, Error> {
        let mut sound = self.task.batches(seed, batch)?;
        Ok(Box::new(move |number| {
            self.asked.fetch_add(1, Ordering::Relaxed);
            let before = self.wrong.iter().take(number as usize);
            let number_of_sound = before.filter(|wrong| **wrong == Wrong::Nothing).count();
            // More may be made ahead than there are steps.
            let wrong = self.wrong.get(number as usize).copied().unwrap_or(Wrong::Nothing);
            Ok((sound(number_of_sound as u64)?, wrong))
        }))
    }

    fn loss(&self, model: &LanguageModel, (batch, wrong): &Self::Batch, dropout: Key) -> Tensor {
        let loss = self.task.loss(model, batch, dropout);
        match wrong {
            Wrong::Nothing => loss,
            Wrong::Loss => loss.add(&Tensor::full(f32::INFINITY, [1], loss.device())),
            Wrong::Gradients => loss.scale(f32::NAN),
        }
    }

    fn evaluate(
        &self,
        model: &LanguageModel,
        settings: &Settings,
        extent: Extent,
        shares: &Shares,
    ) -> Result<Values, Error> {
        self.task.evaluate(model, settings, extent, shares)
    }

    fn settings(&self) -> Values {
        self.task.settings()
    }

    fn data(&self) -> Data {
        self.task.data()
    }
}
