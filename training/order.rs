//! What the first of several ranks tells the others to do with it.

use crate::error::Error;
use crate::ranks::{self, Ranks};
use crate::settings::Settings;
use crate::task::Extent;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What is next. Whatever is not among these, the first rank does alone, while the others wait for an
/// order.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Order {
    /// To have the model that the first rank has.
    Begin(Box<Begin>),
    /// To make a step with it, of this number.
    Step(u64),
    /// To score it as it is after so many steps.
    Score {
        /// The steps.
        steps: u64,
        /// On how much of the data.
        extent: Extent,
    },
    /// To measure it as it is after so many steps.
    Measure(u64),
    /// To bring the moments of an optimiser that is shared out, for a checkpoint.
    BringMoments,
    /// To find out whether all still have the same weights.
    Compare,
    /// To end: all is done.
    End,
}

/// A model, whose numbers follow.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Begin {
    /// Whether each rank keeps only a part of the optimiser's moments.
    pub shared_out: bool,
    /// Whether such moments follow the other numbers; else they are zero.
    pub moments_follow: bool,
    /// The sizes.
    pub config: Value,
    /// How it is trained.
    pub settings: Settings,
    /// Its seed.
    pub seed: u64,
    /// The steps that were made.
    pub steps: u64,
    /// The updates of the optimiser.
    pub updates: u64,
    /// Those of the average, if there is one.
    pub averaged: Option<u64>,
}

/// Gives an order to the others, if this is the first of several ranks.
///
/// # Errors
/// If another rank has ended.
pub(crate) fn give(ranks: &dyn Ranks, order: &Order) -> Result<(), Error> {
    if ranks.leads() {
        ranks.broadcast(serde_json::to_vec(order).expect("numbers and text are valid JSON"))?;
    }
    Ok(())
}

/// Waits for the next order.
///
/// # Errors
/// If another rank has ended.
pub(crate) fn take(ranks: &dyn Ranks) -> Result<Order, Error> {
    let order = serde_json::from_slice(&ranks.broadcast(Vec::new())?);
    Ok(order
        .map_err(|error| ranks::Error::Connection(format!("an order cannot be read: {error}")))?)
}
