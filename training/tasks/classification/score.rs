//! How well images are told apart: cross-entropy, top-1 and top-5.

/// Sums over images.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Score {
    images: u64,
    nats: f64,
    first: u64,
    among_five: u64,
}

impl Score {
    /// Counts an image with its true class.
    pub fn add(&mut self, logits: &[f32], label: usize) {
        let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let sum: f64 = logits.iter().map(|logit| f64::from(logit - largest).exp()).sum();
        self.images += 1;
        self.nats += sum.ln() - f64::from(logits[label] - largest);
        // A tie counts as a mistake.
        let before = logits.iter().enumerate().filter(|(class, logit)| {
            *class != label && logits[label].partial_cmp(logit) != Some(std::cmp::Ordering::Greater)
        });
        let before = before.count();
        self.first += u64::from(before == 0);
        self.among_five += u64::from(before < 5);
    }

    /// The scores with their names, after a prefix. Of five classes or fewer, the right one is always
    /// among the first five, so that is no score.
    pub fn values(&self, prefix: &str, classes: usize) -> Vec<(String, f64)> {
        let mean = |sum: f64| sum / self.images as f64;
        let loss =
            if prefix.is_empty() { "validation_loss".into() } else { format!("{prefix}loss") };
        let mut values = vec![
            (loss, mean(self.nats)),
            (format!("{prefix}top1_accuracy"), mean(self.first as f64)),
        ];
        if classes > 5 {
            values.push((format!("{prefix}top5_accuracy"), mean(self.among_five as f64)));
        }
        values
    }
}

/// The class with the largest logit, and its probability.
pub(super) fn most_likely(logits: &[f32]) -> (u32, f32) {
    let (class, largest) =
        (0..).zip(logits).fold((0, f32::NEG_INFINITY), |(best, largest), (class, logit)| {
            if *logit > largest { (class, *logit) } else { (best, largest) }
        });
    (class, 1.0 / logits.iter().map(|logit| (logit - largest).exp()).sum::<f32>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_of_known_logits() {
        let mut score = Score::default();
        score.add(&[0.0, 2.0_f32.ln(), 0.0, 0.0, 0.0, 0.0], 1);
        score.add(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 1);
        score.add(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 0);
        assert_eq!((score.images, score.first, score.among_five), (3, 1, 2));
        let names = |classes| score.values("test_", classes).into_iter().map(|(name, _)| name);
        assert!(names(6).eq(["test_loss", "test_top1_accuracy", "test_top5_accuracy"]));
        assert!(names(5).eq(["test_loss", "test_top1_accuracy"]));
        let mut even = Score::default();
        even.add(&[0.5; 4], 2);
        assert!((even.nats - 4.0_f64.ln()).abs() < 1e-7);
        assert_eq!(even.first, 0);
        assert_eq!(most_likely(&[0.0, 3.0_f32.ln(), -1e4]).0, 1);
    }
}
