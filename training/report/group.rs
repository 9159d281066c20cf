//! The runs of one variant.

use super::{Spread, label};
use crate::run::VariantSummary;

/// The runs of one variant, a run for each seed.
#[derive(Clone, Debug)]
pub struct Group<'a> {
    /// The variant.
    pub variant: &'a str,
    /// Its runs, in the order of the summary; at least one.
    pub runs: Vec<&'a VariantSummary>,
}

impl Group<'_> {
    /// A number's mean and spread over the seeds that finished, or over all if none did.
    pub fn spread(&self, number: impl Fn(&VariantSummary) -> f64) -> Spread {
        let any = self.finished() > 0;
        Spread::of(self.runs.iter().filter(|run| run.finished || !any).map(|run| number(run)))
    }

    /// How many runs came to their end.
    pub fn finished(&self) -> usize {
        self.runs.iter().filter(|run| run.finished).count()
    }
}

/// What the variants of these groups are called where people read it.
pub(super) fn labels(groups: &[Group]) -> Vec<String> {
    groups.iter().map(|group| label(group.variant)).collect()
}
