//! The two things that labels can be about.

use serde::{Deserialize, Serialize};
use std::fmt;

/// What a label says something about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Task {
    /// One class an image.
    Classification,
    /// One class a pixel.
    Segmentation,
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Task::Classification => "classification",
            Task::Segmentation => "segmentation",
        })
    }
}
