//! What a run will need, found out before it begins: its parts run on the planning device, which
//! computes nothing and counts the memory.

use crate::engine::Device;
use crate::engine::random::Key;
use crate::error::Error;
use crate::learner::Learner;
use crate::probes::trace_first;
use crate::report::bytes;
use crate::settings::Settings;
use crate::task::{Extent, Stop, Task};

/// What training one model takes, and scoring it, measuring it and showing what it does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Needs {
    /// Trained numbers.
    pub parameters: u64,
    /// The parts of a run, each with the most that tensors take meanwhile, in bytes. The
    /// parameters and all that belongs to them are in every one.
    pub memory: Vec<(&'static str, u64)>,
}

/// Finds out what a model needs, in seconds at most.
///
/// # Errors
/// If some part fails on the planning device: it would fail anywhere.
pub fn needs<T: Task>(task: &T, config: &T::Config, settings: &Settings) -> Result<Needs, Error> {
    let device = Device::plan();
    let mut learner = Learner::new(task, config, settings, 0, &device);
    learner.step(0, task.batches(0, settings.batch)?)?;
    let parameters = learner.parameters.count() as u64;
    let mut memory = vec![("a step", device.memory().peak)];
    let mut part = |name, work: &dyn Fn(&T::Model) -> Result<(), Error>| {
        device.reset_peak();
        learner.with_best_weights(|model, _| work(model))?;
        memory.push((name, device.memory().peak));
        Ok::<(), Error>(())
    };
    part("scoring", &|model| {
        // All batches are as large as the first, but for the last.
        match task.evaluate(model, settings.batch, Extent::All, &Stop::after(2)) {
            Ok(_) | Err(Error::Interrupted) => Ok(()),
            Err(error) => Err(error),
        }
    })?;
    part("measuring", &|model| trace_first(task, model, settings.batch))?;
    part("a sample", &|model| task.sample(model, Key::new(0)).map(drop))?;
    part("the pictures", &|model| task.pictures(model).map(drop))?;
    Ok(Needs { parameters, memory })
}

impl Needs {
    /// The part that takes the most memory, and how much.
    pub fn most(&self) -> (&'static str, u64) {
        self.memory.iter().copied().max_by_key(|(_, bytes)| *bytes).expect("a step is among them")
    }

    /// Checks that a limit on the memory will be kept.
    ///
    /// # Errors
    /// What the model of this name needs, and which flags would lower it, if it is more.
    pub(super) fn check(&self, name: &str, limit: u64, flags: &str) -> Result<(), Error> {
        let (part, most) = self.most();
        if most <= limit {
            return Ok(());
        }
        Err(Error::Settings(format!(
            "{name} would take {} of memory in {part}, and --memory-limit allows {}. Less is \
             needed with {flags}",
            bytes(most),
            bytes(limit)
        )))
    }
}
