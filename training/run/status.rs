//! `status.json`: where a run is, for whoever watches from elsewhere.

use super::values::null_is_nan;
use super::{RankTimes, Values};
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::Path;

/// Where a run is. Numbers that are not known are NaN; they are null in JSON.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Version of this program.
    pub version: String,
    /// The name of the run's folder.
    pub name: String,
    /// What is going on.
    pub state: Going,
    /// When this was written, in RFC 3339. A time long past means that the process is gone, or in a long
    /// step or score.
    pub updated: String,
    /// The number of the process.
    pub process: u32,
    /// Which model of the run it is, from 1; 0 before the first.
    pub number: usize,
    /// How many models the run trains.
    pub models: usize,
    /// Its variant.
    pub variant: String,
    /// Its seed.
    pub seed: u64,
    /// The steps that it has made.
    pub step: u64,
    /// The steps that it will have made in the end.
    pub steps: u64,
    /// The training loss, averaged over the latest steps, in nats.
    #[serde(deserialize_with = "null_is_nan")]
    pub loss: f64,
    /// What speed is counted in: `token`, `image`.
    pub unit: String,
    /// Training tokens or images a second.
    #[serde(deserialize_with = "null_is_nan")]
    pub units_per_second: f64,
    /// Seconds of training to come for this model, scoring not counted.
    #[serde(deserialize_with = "null_is_nan")]
    pub seconds_left: f64,
    /// The step of the latest scores; none before the first.
    pub scores_step: Option<u64>,
    /// The latest scores, named as in `metrics.jsonl`.
    pub scores: Values,
    /// Where the time of each rank has gone so far, as in `result.json`; none where one trains alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ranks: Vec<RankTimes>,
}

impl Status {
    /// What a `status.json` says; `None` where there is none that can be read.
    pub(crate) fn read(path: &Path) -> Option<Status> {
        serde_json::from_slice(&fs::read(path).ok()?).ok()
    }
}

/// What is going on in a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Going {
    /// Models are trained.
    #[default]
    Training,
    /// All are trained.
    Finished,
    /// It was asked to end, and can be gone on with.
    Interrupted,
    /// An error ended it.
    Failed,
}
