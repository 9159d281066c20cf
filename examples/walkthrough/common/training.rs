//! The loop of chapter 8, for chapters that are about something else.

use neutreno::engine::optim::{AdamW, AdamWSettings, Optimizer, Schedule, clip};
use neutreno::engine::{Parameters, Result, Tensor};

/// Trains for all steps of the schedule, with gradients clipped to a norm of 1. `loss` makes the loss of a
/// step, by its number from 0.
pub fn train(
    parameters: &Parameters,
    schedule: Schedule,
    mut loss: impl FnMut(u64) -> Result<Tensor>,
) -> Result<()> {
    let mut optimizer = AdamW::new(parameters, AdamWSettings::default());
    let mut gradients = parameters.gradients();
    for step in 0..schedule.steps {
        let loss = loss(step)?;
        gradients.clear();
        loss.backward_into(&mut gradients)?;
        let clip = clip(parameters, &gradients, 1.0);
        optimizer.step(parameters, &gradients, schedule.at(step), Some(&clip));
    }
    Ok(())
}
