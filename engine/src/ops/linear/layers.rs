//! Several layers whose weights are one.

use std::ops::Range;
use std::sync::Arc;

/// How many outputs each of the layers has whose weight it is, in their order; nothing where it is one
/// layer's.
#[derive(Clone, Debug, Default)]
pub struct Layers(Arc<[usize]>);

impl Layers {
    /// Layers of so many outputs.
    pub fn new(outputs: impl IntoIterator<Item = usize>) -> Layers {
        Layers(outputs.into_iter().collect())
    }

    /// What is wrong with them for a weight of `count` outputs.
    pub(super) fn check(&self, count: usize) -> Result<(), String> {
        let total: usize = self.0.iter().sum();
        match self.0.is_empty() || total == count {
            true => Ok(()),
            false => Err(format!("layers of {total} outputs together, and a weight of {count}")),
        }
    }

    /// The columns of each among the `count` of all.
    pub(super) fn columns(
        &self,
        count: usize,
    ) -> impl DoubleEndedIterator<Item = Range<usize>> + ExactSizeIterator {
        let number = self.0.len().max(1);
        (0..number).map(move |layer| {
            let start = self.0[..layer].iter().sum();
            start..self.0.get(layer).map_or(count, |outputs| start + outputs)
        })
    }
}
