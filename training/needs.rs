//! What a run will need, found out before it begins: memory, on the planning device, which computes
//! nothing and counts what its parts take; and time, by a few steps that are forgotten.

use crate::engine::device::MemoryUse;
use crate::engine::random::Key;
use crate::engine::{Device, Parameters, Part};
use crate::error::Error;
use crate::learner::Learner;
use crate::probes::trace_first;
use crate::ranks::foretold::Foretold;
use crate::ranks::{Alone, Ranks, part_of};
use crate::report::{bytes, thousands};
use crate::scoring::{Shares, Stop};
use crate::settings::Settings;
use crate::task::{Extent, Task};
use std::time::Instant;

/// What is known of a model's training before any of it is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The memory of a step.
    pub memory: MemoryUse,
    /// Trained numbers.
    pub parameters: u64,
}

/// Plans the training of a model on `device` by running its first steps on its planning device.
///
/// # Errors
/// If the step fails there: it would fail anywhere.
pub fn plan<T: Task>(
    task: &T,
    config: &T::Config,
    settings: &Settings,
    device: &Device,
) -> Result<Plan, Error> {
    let plan = device.plan_for();
    let learner = first_steps((&Alone, Part::WHOLE), task, config, settings, &plan)?;
    Ok(Plan { memory: plan.memory(), parameters: learner.parameters.count() as u64 })
}

/// More steps than are in flight at once: the host learns of losses two steps late, of steps that were
/// left out three.
const STEPS_IN_FLIGHT: u64 = 4;

/// A model after its first steps on these ranks, with a part of the optimiser.
fn first_steps<'a, T: Task>(
    (ranks, part): (&'a dyn Ranks, Part),
    task: &'a T,
    config: &T::Config,
    settings: &Settings,
    device: &Device,
) -> Result<Learner<'a, T>, Error> {
    // From the second micro-batch of a step and a rank on, each takes the same memory.
    let accumulate = settings.accumulate.min(2 * ranks.size());
    let settings = &Settings { accumulate, ..settings.clone() };
    let mut learner = Learner::planned((ranks, part), task, config, settings, device);
    check_largest(&learner.parameters)?;
    // The numbers that are still on their way to the host while later steps are made take memory too.
    let mut in_flight = Vec::new();
    for step in 0..STEPS_IN_FLIGHT {
        let result = learner.step(step, task.batches(0, settings.batch)?)?;
        in_flight.push([result.loss.read(), result.gradient_norm.read()]);
    }
    device.synchronize()?;
    Ok(learner)
}

/// What training one model takes, and scoring it, measuring it and showing what it does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Needs {
    /// Trained numbers.
    pub parameters: u64,
    /// The parts of a run, each with the most that tensors take meanwhile, in bytes. The
    /// parameters and all that belongs to them are in every one.
    pub memory: Vec<(&'static str, u64)>,
}

/// Finds out what a model needs on `device`, in seconds at most.
///
/// # Errors
/// If some part fails on the planning device: it would fail anywhere.
pub fn needs<T: Task>(
    task: &T,
    config: &T::Config,
    settings: &Settings,
    device: &Device,
) -> Result<Needs, Error> {
    needs_of_one(1, false, task, config, settings, device)
}

/// The same for the first of so many ranks, which needs no less than any other; `shared_out` says whether it
/// keeps only a part of the optimiser.
pub(crate) fn needs_of_one<T: Task>(
    size: usize,
    shared_out: bool,
    task: &T,
    config: &T::Config,
    settings: &Settings,
    device: &Device,
) -> Result<Needs, Error> {
    let plan = device.plan_for();
    let ranks = Foretold { size };
    let place: (&dyn Ranks, Part) = (&ranks, part_of(&ranks, shared_out));
    let learner = first_steps(place, task, config, settings, &plan)?;
    let parameters = learner.parameters.count() as u64;
    let mut memory = vec![("a step", plan.memory().peak)];
    let mut part = |name, work: &dyn Fn(&T::Model) -> Result<(), Error>| {
        plan.reset_peak();
        learner.with_best_weights(|model, _| work(model))?;
        memory.push((name, plan.memory().peak));
        Ok::<(), Error>(())
    };
    part("scoring", &|model| {
        // All batches are as large as the first, but for the last.
        match task.evaluate(model, settings, Extent::All, &Shares::alone(&Stop::after(2))) {
            Ok(_) | Err(Error::Interrupted) => Ok(()),
            Err(error) => Err(error),
        }
    })?;
    part("measuring", &|model| trace_first(task, model, settings.batch))?;
    part("a sample", &|model| task.sample(model, Key::new(0)).map(drop))?;
    part("the pictures", &|model| task.pictures(model).map(drop))?;
    Ok(Needs { parameters, memory })
}

/// Checks that every parameter fits into one tensor on the device.
fn check_largest(parameters: &Parameters) -> Result<(), Error> {
    let largest = parameters.device().largest_tensor();
    match parameters.iter().find(|(_, tensor)| tensor.elements() > largest) {
        None => Ok(()),
        Some((name, tensor)) => Err(Error::Settings(format!(
            "{name} would be {} of {} numbers, and a tensor on this device has at most {}. A smaller \
             --width or --feed-forward is needed, or --device cpu",
            tensor.shape(),
            thousands(tensor.elements() as u64),
            thousands(largest as u64)
        ))),
    }
}

impl Needs {
    /// The part that takes the most memory, and how much.
    pub fn most(&self) -> (&'static str, u64) {
        self.memory.iter().copied().max_by_key(|(_, bytes)| *bytes).expect("a step is among them")
    }

    /// Checks that the device has the memory, where that is known. A system that gives more than it
    /// has ends the program once it is used.
    ///
    /// # Errors
    /// What the model of this name needs, and which flags would lower it, if it is more.
    pub(crate) fn check_machine(
        &self,
        name: &str,
        device: &Device,
        flags: &str,
    ) -> Result<(), Error> {
        match device.total_memory() {
            Some(memory) => self.check_within(name, "this machine has", memory, flags),
            None => Ok(()),
        }
    }

    /// Checks that a limit on the memory will be kept.
    ///
    /// # Errors
    /// What the model of this name needs, and which flags would lower it, if it is more.
    pub(crate) fn check(&self, name: &str, limit: u64, flags: &str) -> Result<(), Error> {
        self.check_within(name, "--memory-limit allows", limit, flags)
    }

    /// `bound` says in words what has or allows so much memory.
    fn check_within(&self, name: &str, bound: &str, memory: u64, flags: &str) -> Result<(), Error> {
        let (part, most) = self.most();
        if most <= memory {
            return Ok(());
        }
        Err(Error::Settings(format!(
            "{name} would take {} of memory in {part}, and {bound} {}. Less is needed with {flags}",
            bytes(most),
            bytes(memory)
        )))
    }
}

/// Seconds that a step of this model takes: the median over the first steps, which are run once
/// for this and forgotten.
///
/// # Errors
/// If a step fails.
pub fn seconds_per_step<T: Task>(
    task: &T,
    config: &T::Config,
    settings: &Settings,
    device: &Device,
) -> Result<f64, Error> {
    seconds_per_step_on((&Alone, false), task, config, settings, device)
}

/// The same on all of these ranks, of which this is the first, with an optimiser that is shared out over them
/// or not.
pub(crate) fn seconds_per_step_on<T: Task>(
    (ranks, shared_out): (&dyn Ranks, bool),
    task: &T,
    config: &T::Config,
    settings: &Settings,
    device: &Device,
) -> Result<f64, Error> {
    const SECONDS: f64 = 8.0;
    const MOST: usize = 40;
    let part = part_of(ranks, shared_out);
    let learner = Learner::keeping(part, task, config, settings, 0, device)?;
    let mut learner = learner.lead(ranks, config, 0, None)?;
    let mut batches = task.batches(0, settings.batch)?;
    let mut times = Vec::new();
    let started = Instant::now();
    while times.len() < 4 || (times.len() < MOST && started.elapsed().as_secs_f64() < SECONDS) {
        let start = Instant::now();
        learner.step(times.len() as u64, &mut batches)?.loss.to_vec()?;
        times.push(start.elapsed().as_secs_f64());
    }
    // The first step also compiles shaders and takes memory from the system.
    let mut times = times.split_off(1);
    times.sort_by(f64::total_cmp);
    Ok(times[times.len() / 2])
}
