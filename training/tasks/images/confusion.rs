//! How often which class was taken for which, and the scores that follow from it.

use crate::engine::Ids;
use crate::error::Error;
use crate::scoring::Shares;

/// Counts of (true class, class given), among images or pixels.
///
/// ```
/// use neutreno::tasks::images::Confusion;
/// let mut confusion = Confusion::new(3);
/// confusion.add(&[0, 0, 1, 1], &[0, 1, 1, 1]);
/// assert_eq!(confusion.accuracy(), 0.75);
/// assert_eq!(confusion.ious()[..2], [Some(0.5), Some(2.0 / 3.0)]);
/// // Class 2 is neither there nor given, so it is not averaged over.
/// assert_eq!(confusion.ious()[2], None);
/// assert!((confusion.mean_iou() - 7.0 / 12.0).abs() < 1e-12);
/// assert_eq!(confusion.accuracies(), [Some(0.5), Some(1.0), None]);
/// assert_eq!(confusion.mean_class_accuracy(), 0.75);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Confusion {
    classes: usize,
    /// A row for each true class.
    counts: Vec<u64>,
}

impl Confusion {
    /// No counts yet.
    pub fn new(classes: usize) -> Confusion {
        Confusion { classes, counts: vec![0; classes * classes] }
    }

    /// Counts labels with what was given for them. A label [`Ids::IGNORED`] does not count.
    ///
    /// # Panics
    /// If there are not as many of both, or one is not a class.
    #[track_caller]
    pub fn add(&mut self, labels: &[u32], given: &[u32]) {
        assert_eq!(labels.len(), given.len(), "labels, and classes given");
        for (label, given) in labels.iter().zip(given).filter(|(label, _)| **label != Ids::IGNORED)
        {
            self.counts[*label as usize * self.classes + *given as usize] += 1;
        }
    }

    /// The counts of all that score together. They are whole numbers, so their order makes no difference.
    pub(crate) fn gather(self, shares: &Shares) -> Result<Confusion, Error> {
        let mine = self.counts.iter().map(|count| *count as f64).collect();
        let mut whole = Confusion::new(self.classes);
        for counts in shares.gather(vec![mine])?.chunks(self.counts.len()) {
            whole.counts.iter_mut().zip(counts).for_each(|(sum, count)| *sum += *count as u64);
        }
        Ok(whole)
    }

    /// How often the true class `label` was taken for `given`.
    pub fn count(&self, label: usize, given: usize) -> u64 {
        self.counts[label * self.classes + given]
    }

    /// How often a class is true.
    pub fn labels(&self, class: usize) -> u64 {
        (0..self.classes).map(|given| self.count(class, given)).sum()
    }

    /// How often a class was given.
    pub fn given(&self, class: usize) -> u64 {
        (0..self.classes).map(|label| self.count(label, class)).sum()
    }

    /// All counts.
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The share that is right; NaN where nothing was counted.
    pub fn accuracy(&self) -> f64 {
        let right: u64 = (0..self.classes).map(|class| self.count(class, class)).sum();
        right as f64 / self.total() as f64
    }

    /// The share of each class that is right; `None` for a class that is never true.
    pub fn accuracies(&self) -> Vec<Option<f64>> {
        let accuracy = |class: usize| {
            let labels = self.labels(class);
            (labels > 0).then(|| self.count(class, class) as f64 / labels as f64)
        };
        (0..self.classes).map(accuracy).collect()
    }

    /// The mean of these: each class counts the same, however rare.
    pub fn mean_class_accuracy(&self) -> f64 {
        let accuracies: Vec<f64> = self.accuracies().into_iter().flatten().collect();
        accuracies.iter().sum::<f64>() / accuracies.len() as f64
    }

    /// Intersection over union of each class: right / (true + given − right). `None` for a class
    /// that is neither.
    pub fn ious(&self) -> Vec<Option<f64>> {
        let iou = |class: usize| {
            let right = self.count(class, class);
            let union = self.labels(class) + self.given(class) - right;
            (union > 0).then(|| right as f64 / union as f64)
        };
        (0..self.classes).map(iou).collect()
    }

    /// The mean over the classes that have one.
    pub fn mean_iou(&self) -> f64 {
        let ious: Vec<f64> = self.ious().into_iter().flatten().collect();
        ious.iter().sum::<f64>() / ious.len() as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn void_does_not_count() {
        let mut confusion = Confusion::new(2);
        confusion.add(&[0, Ids::IGNORED, 1], &[0, 0, 0]);
        assert_eq!((confusion.total(), confusion.labels(1), confusion.given(0)), (2, 1, 2));
        assert_eq!(confusion.ious(), [Some(0.5), Some(0.0)]);
        assert!(Confusion::new(2).accuracy().is_nan());
    }
}
