//! The settings that all tasks share.

use crate::engine::optim::{Curve, Schedule};
use serde::{Deserialize, Serialize};

/// How a model is trained. The same for every variant of a comparison.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// The examples (windows of text, images) of one micro-batch.
    pub batch: usize,
    /// The micro-batches of one step; their gradients are averaged.
    pub accumulate: usize,
    /// The number of steps.
    pub steps: u64,
    /// The largest learning rate.
    pub learning_rate: f64,
    /// The steps in which the learning rate rises to its largest.
    pub warmup: u64,
    /// How the learning rate falls afterwards.
    pub decay: Curve,
    /// The part of the largest learning rate that is left at the end.
    pub final_fraction: f64,
    /// AdamW's weight decay (Loshchilov & Hutter 2019); norms do not decay.
    pub weight_decay: f64,
    /// AdamW's β₁ and β₂.
    pub betas: [f64; 2],
    /// The norm to which larger gradients are shortened; 0 for no clipping.
    pub clip: f64,
    /// How much of the running average of the weights stays from step to step. The average is what
    /// is scored and saved; `None` for the weights themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub average: Option<f64>,
    /// Validate every so many steps; 0 for only at the end.
    pub evaluate_every: u64,
    /// Stop once the model was validated so many times since its best score without a better one; `None`
    /// for never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patience: Option<u64>,
    /// Validate before the first step, too.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub evaluate_start: bool,
    /// Measure what the layers compute every so many steps; 0 for only at the end.
    #[serde(default)]
    pub measure_every: u64,
    /// Let the model show something every so many steps; 0 for only at the end.
    pub sample_every: u64,
    /// The schedules of the learning rate, one after another, where a run was made longer
    /// ([`Settings::lengthen`]); none for one schedule over all steps.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub schedules: Vec<Span>,
}

/// Where a schedule of the learning rate begins, and for how many steps it was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// The steps that were made before.
    pub from: u64,
    /// The steps that it was made for. After these, what is left of the rate at its end stays.
    pub steps: u64,
}

/// How the learning rate goes on where a run is made longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Longer {
    /// Its schedule is made anew for all steps, so it may jump up.
    Stretch,
    /// It stays what it was at the end.
    Hold,
    /// A schedule for the further steps begins, with its warm-up.
    Restart,
}

impl Settings {
    /// The learning rate of a step, numbered from 0.
    pub fn rate(&self, step: u64) -> f64 {
        let span = self.schedules.iter().rev().find(|span| span.from <= step);
        let (from, steps, warmup_steps) = match span {
            Some(span) => (span.from, span.steps, self.warmup.min(span.steps / 2)),
            None => (0, self.steps, self.warmup),
        };
        let (curve, peak, final_fraction) = (self.decay, self.learning_rate, self.final_fraction);
        Schedule { curve, peak, warmup_steps, steps, final_fraction }.at(step - from)
    }

    /// Makes these the settings of a run that had the settings `before` and another number of steps.
    ///
    /// # Errors
    /// In words, if there are no further steps for which a schedule could begin.
    pub fn lengthen(&mut self, before: &Settings, how: Longer) -> Result<(), String> {
        let mut spans = before.schedules.clone();
        if self.steps != before.steps && (how != Longer::Stretch || !spans.is_empty()) {
            if spans.is_empty() {
                spans.push(Span { from: 0, steps: before.steps });
            }
            spans.retain(|span| span.from < self.steps);
            match how {
                Longer::Hold => {}
                Longer::Stretch => {
                    let last = spans.last_mut().expect("the first begins at 0");
                    last.steps = self.steps - last.from;
                }
                Longer::Restart if self.steps > before.steps => {
                    spans.push(Span { from: before.steps, steps: self.steps - before.steps });
                }
                Longer::Restart => {
                    let [now, before] = [self.steps, before.steps];
                    return Err(format!("{now} steps are no more than the {before} before"));
                }
            }
        }
        self.schedules = spans;
        Ok(())
    }
}

/// A set of settings with a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Preset {
    /// What to type.
    pub name: &'static str,
    /// What it is for.
    pub purpose: &'static str,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(steps: u64) -> Settings {
        Settings {
            batch: 1,
            accumulate: 1,
            steps,
            learning_rate: 1.0,
            warmup: 10,
            decay: Curve::Linear,
            final_fraction: 0.0,
            weight_decay: 0.0,
            betas: [0.9, 0.95],
            clip: 1.0,
            average: None,
            evaluate_every: 0,
            patience: None,
            evaluate_start: false,
            measure_every: 0,
            sample_every: 0,
            schedules: Vec::new(),
        }
    }

    fn longer(before: &Settings, steps: u64, how: Longer) -> Settings {
        let mut now = settings(steps);
        now.lengthen(before, how).unwrap();
        now
    }

    #[test]
    fn a_longer_run_goes_on_as_asked() {
        let before = settings(60);
        let rates = |settings: &Settings, steps: [u64; 3]| steps.map(|step| settings.rate(step));
        let stretched = longer(&before, 110, Longer::Stretch);
        assert_eq!(stretched, settings(110));
        assert_eq!(rates(&stretched, [9, 60, 110]), [1.0, 0.5, 0.0]);
        let held = longer(&before, 110, Longer::Hold);
        assert_eq!(rates(&held, [9, 35, 60]), [1.0, 0.5, 0.0]);
        assert_eq!(held.rate(109), 0.0);
        let again = longer(&before, 110, Longer::Restart);
        assert_eq!(rates(&again, [35, 60, 69]), [0.5, 0.1, 1.0]);
        assert_eq!(rates(&again, [70, 90, 110]), [1.0, 0.5, 0.0]);
        // Once more, and what the same steps, or fewer, come to.
        let held = longer(&again, 200, Longer::Hold);
        assert_eq!((held.rate(90), held.rate(150)), (0.5, 0.0));
        let stretched = longer(&again, 160, Longer::Stretch);
        assert_eq!((stretched.rate(35), stretched.rate(115)), (0.5, 0.5));
        assert_eq!(longer(&again, 110, Longer::Stretch), again);
        assert_eq!(longer(&before, 50, Longer::Hold).rate(35), 0.5);
        let no_more = settings(60).lengthen(&before, Longer::Restart);
        assert_eq!(no_more, Ok(()));
        assert!(settings(50).lengthen(&before, Longer::Restart).is_err());
    }

    /// A warm-up that was shortened for few steps stays as it was.
    #[test]
    fn a_short_warm_up_stays_where_the_rate_is_held() {
        let before = Settings { warmup: 4, ..settings(8) };
        let held = longer(&before, 100, Longer::Hold);
        assert!((0..8).all(|step| held.rate(step) == before.rate(step)));
    }
}
