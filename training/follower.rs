//! What ranks do that do not lead: they have the model that the first one has, make its steps, score it
//! and measure it together with that one.

use crate::ahead::make_ahead;
use crate::engine::Device;
use crate::error::Error;
use crate::learner::Learner;
use crate::order::{Begin, Order, take};
use crate::ranks::alike::{Facts, compare};
use crate::ranks::{self, Place, Ranks};
use crate::recovery::ends_all_ranks;
use crate::safety::Safety;
use crate::scoring::Stop;
use crate::settings::Settings;
use crate::task::{Task, all_settings};
use serde_json::{Map, Value, json};

/// Follows the first rank, on which [`Comparison::run`](crate::training::Comparison::run) trains the same
/// task with the same settings, until that is done. It touches no file and shows nothing.
///
/// # Errors
/// If the device or the data fails here, or another rank has ended. The other ranks then wait for this one:
/// they are to be told by [`Ranks::abort`].
pub fn follow<T: Task>(
    task: &T,
    settings: &Settings,
    safety: &Safety,
    device: &Device,
    ranks: &dyn Ranks,
) -> Result<(), Error> {
    safety.limit_memory(device);
    compare(ranks, &facts(task, settings, device, ranks))?;
    let done = device.install(|| {
        let mut order = take(ranks)?;
        loop {
            order = match order {
                Order::Begin(begin) => train(task, &begin, device, ranks)?,
                Order::End => return Ok(()),
                Order::Step(_)
                | Order::Score { .. }
                | Order::Measure(_)
                | Order::BringMoments
                | Order::Compare => {
                    let why = format!("{order:?} was ordered before there was a model");
                    return Err(ranks::Error::Connection(why).into());
                }
            }
        }
    });
    done.map_err(|error| match error {
        Error::Engine(error) if error.is_of_device() => ends_all_ranks(error, task.memory_flags()),
        error => error,
    })
}

/// Makes the steps of one model, and returns the order that comes after them.
fn train<T: Task>(
    task: &T,
    begin: &Begin,
    device: &Device,
    ranks: &dyn Ranks,
) -> Result<Order, Error> {
    device.trim();
    let mut learner = Learner::following(task, begin, device, ranks)?;
    let batches = task.batches(begin.seed, begin.settings.batch)?;
    std::thread::scope(|scope| {
        let mut batches = make_ahead(scope, batches, learner.micro_batches_from(begin.steps))?;
        loop {
            match take(ranks)? {
                Order::Step(step) => {
                    task.at_step(&learner.model, &begin.settings, step);
                    learner.step(step, &mut batches)?;
                }
                Order::Score { steps, extent } => {
                    task.at_step(&learner.model, &begin.settings, steps);
                    match learner.score(steps, extent, &Stop::never()) {
                        // The first rank has stopped it, and says what is next.
                        Ok(_) | Err(Error::Interrupted) => {}
                        Err(error) => return Err(error),
                    }
                }
                Order::Measure(steps) => {
                    task.at_step(&learner.model, &begin.settings, steps);
                    learner.measure(steps)?;
                }
                Order::BringMoments => learner.bring_moments()?,
                Order::Compare => learner.compare()?,
                other => return Ok(other),
            }
        }
    })
}

/// What is compared between ranks before they train.
pub(crate) fn facts<T: Task>(
    task: &T,
    settings: &Settings,
    device: &Device,
    ranks: &dyn Ranks,
) -> Facts {
    let data = task.data();
    let hashes: Map<String, Value> = data
        .hashes
        .iter()
        .map(|(split, hash)| (format!("the hash of {split}"), json!(hash)))
        .collect();
    let same = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "settings": all_settings(settings, task),
        "data": { "name": data.name, "splits": hashes },
        "facts": task.facts(),
    });
    let Value::Object(same) = same else { unreachable!("it was made as one") };
    let place = Place { name: ranks.name(), host: ranks.host(), device: kind_of(device) };
    Facts { place, same }
}

/// What a device is, without the number of its threads, on which no bits depend.
fn kind_of(device: &Device) -> String {
    let name = device.to_string();
    match name.rsplit_once(", ") {
        Some((kind, threads)) if threads.contains("thread") => kind.to_owned() + ")",
        _ => name,
    }
}
