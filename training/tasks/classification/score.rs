//! How well images are told apart: cross-entropy, top-1 and top-5.

/// Sums over images.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Score {
    images: u64,
    nats: f64,
    first: u64,
    among_five: u64,
}

/// What an image with its true class is scored by: −ln p, and how many classes come before it.
pub(super) fn outcome(logits: &[f32], label: usize) -> [f64; 2] {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|logit| f64::from(logit - largest).exp()).sum();
    // A tie counts as a mistake.
    let before = logits.iter().enumerate().filter(|(class, logit)| {
        *class != label && logits[label].partial_cmp(logit) != Some(std::cmp::Ordering::Greater)
    });
    [sum.ln() - f64::from(logits[label] - largest), before.count() as f64]
}

impl Score {
    /// The sums over images, in their order: of two numbers for each, its [`outcome`].
    pub fn of(outcomes: &[f64]) -> Score {
        let mut score = Score::default();
        for [nats, before] in outcomes.as_chunks::<2>().0 {
            score.images += 1;
            score.nats += nats;
            score.first += u64::from(*before == 0.0);
            score.among_five += u64::from(*before < 5.0);
        }
        score
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
        let rising = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        let likely = outcome(&[0.0, 2.0_f32.ln(), 0.0, 0.0, 0.0, 0.0], 1);
        let score = Score::of(&[likely, outcome(&rising, 1), outcome(&rising, 0)].concat());
        assert_eq!((score.images, score.first, score.among_five), (3, 1, 2));
        let names = |classes| score.values("test_", classes).into_iter().map(|(name, _)| name);
        assert!(names(6).eq(["test_loss", "test_top1_accuracy", "test_top5_accuracy"]));
        assert!(names(5).eq(["test_loss", "test_top1_accuracy"]));
        let even = Score::of(&outcome(&[0.5; 4], 2));
        assert!((even.nats - 4.0_f64.ln()).abs() < 1e-7);
        assert_eq!(even.first, 0);
        assert_eq!(most_likely(&[0.0, 3.0_f32.ln(), -1e4]).0, 1);
    }
}
