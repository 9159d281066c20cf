//! What a page shows of one trained model beside its results.

use crate::run::{Metric, Picture};

/// The metrics of one trained model.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RunMetrics {
    /// The variant, as in [`Summary::variants`](crate::run::Summary::variants).
    pub variant: String,
    /// The seed, as in [`Summary::variants`](crate::run::Summary::variants).
    pub seed: u64,
    /// The lines of its `metrics.jsonl`.
    pub metrics: Vec<Metric>,
    /// Its pictures.
    pub pictures: Vec<Picture>,
}
