//! The learning rate as a function of the step: a linear warm-up, then a curve.

use serde::{Deserialize, Serialize};

/// How the learning rate falls after the warm-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Curve {
    /// It stays at its peak.
    Constant,
    /// Along a line.
    Linear,
    /// Along half a period of a cosine (Loshchilov & Hutter 2017).
    Cosine,
}

/// A schedule of the learning rate. Nothing but the step goes into it, so a resumed run continues
/// where it was.
///
/// ```
/// use neutreno_engine::optim::{Curve, Schedule};
/// let schedule = Schedule {
///     curve: Curve::Linear,
///     peak: 1.0,
///     warmup_steps: 4,
///     steps: 14,
///     final_fraction: 0.5,
/// };
/// assert_eq!([0, 1, 3].map(|step| schedule.at(step)), [0.25, 0.5, 1.0]);
/// assert_eq!([4, 9, 14, 99].map(|step| schedule.at(step)), [1.0, 0.75, 0.5, 0.5]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Schedule {
    /// How it falls after the warm-up.
    pub curve: Curve,
    /// The largest learning rate.
    pub peak: f64,
    /// The first steps, in which it rises to the peak along a line.
    pub warmup_steps: u64,
    /// All steps of the run, warm-up included.
    pub steps: u64,
    /// What fraction of the peak is left at the end.
    pub final_fraction: f64,
}

impl Schedule {
    /// A cosine over `steps` steps from 1e-3 to a tenth of it, without warm-up.
    pub fn new(steps: u64) -> Schedule {
        Schedule { curve: Curve::Cosine, peak: 1e-3, warmup_steps: 0, steps, final_fraction: 0.1 }
    }

    /// The learning rate of step number `step`, counting from 0. After the last step, what is left
    /// at the end.
    pub fn at(&self, step: u64) -> f64 {
        if step < self.warmup_steps {
            return self.peak * (step + 1) as f64 / self.warmup_steps as f64;
        }
        let falling = self.steps.saturating_sub(self.warmup_steps).max(1);
        let progress = ((step - self.warmup_steps) as f64 / falling as f64).min(1.0);
        let left = match self.curve {
            Curve::Constant => return self.peak,
            Curve::Linear => 1.0 - progress,
            Curve::Cosine => 0.5 + 0.5 * (std::f64::consts::PI * progress).cos(),
        };
        self.peak * (self.final_fraction + (1.0 - self.final_fraction) * left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_curve_starts_at_the_peak_and_ends_at_its_fraction() {
        for (curve, last) in [(Curve::Constant, 2.0), (Curve::Linear, 0.2), (Curve::Cosine, 0.2)] {
            let schedule = Schedule { curve, peak: 2.0, warmup_steps: 10, ..Schedule::new(110) };
            assert_eq!(schedule.at(9), 2.0);
            assert_eq!(schedule.at(10), 2.0);
            approx::assert_relative_eq!(schedule.at(110), last);
            approx::assert_relative_eq!(schedule.at(60), 0.5 * (2.0 + last));
            let rates: Vec<f64> = (10..120).map(|step| schedule.at(step)).collect();
            assert!(rates.is_sorted_by(|a, b| a >= b));
        }
        // A run that is all warm-up.
        assert_eq!(Schedule { warmup_steps: 5, ..Schedule::new(5) }.at(4), 1e-3);
    }
}
