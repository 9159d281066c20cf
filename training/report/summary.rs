//! What the results of a run come to: means over seeds, differences between variants, and what a
//! reader has to know beside them.

use super::measures::Measure;
use super::{Spread, label, language};
use crate::run::{Summary, VariantSummary};

/// The variant that the others are compared with.
pub(super) const BASELINE: &str = "transformer";

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

/// A variant's score less the baseline's, over the seeds that both finished with the same number
/// of steps. The same seed gives both the same order of data, so the difference is taken seed by
/// seed. The score is that of the task: the validation loss, the top-1 accuracy, the mean IoU.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// The variant.
    pub variant: String,
    /// The score's name.
    pub score: &'static str,
    /// The variant's score less the Transformer's.
    pub spread: Spread,
}

impl Difference {
    /// Whether the mean lies inside the spread between seeds; none with fewer than two seeds.
    pub fn inside_spread(&self) -> Option<bool> {
        self.spread.deviation.map(|deviation| self.spread.mean.abs() <= deviation)
    }

    /// The difference in words.
    pub fn sentence(&self) -> String {
        let against = if self.spread.mean < 0.0 { "below" } else { "above" };
        let size = Spread { mean: self.spread.mean.abs(), ..self.spread };
        let measure = Measure::named(self.score).expect("differences are of known measures");
        let difference = format!(
            "{}'s {} is {} {against} the Transformer's",
            label(&self.variant),
            measure.words,
            measure.show_difference(&size),
        );
        match (self.inside_spread(), self.spread.count) {
            (Some(true), n) => {
                format!("{difference}: inside the spread between {n} seeds, so it may be chance.")
            }
            (Some(false), n) => format!("{difference}: more than the spread between {n} seeds."),
            (None, _) => format!("{difference}, for one seed."),
        }
    }
}

impl Summary {
    /// The runs of each variant, in the order in which the variants first appear.
    pub fn groups(&self) -> Vec<Group<'_>> {
        let mut groups: Vec<Group> = Vec::new();
        for run in &self.variants {
            match groups.iter_mut().find(|group| group.variant == run.variant) {
                Some(group) => group.runs.push(run),
                None => groups.push(Group { variant: &run.variant, runs: vec![run] }),
            }
        }
        groups
    }

    /// How the other variants compare with the Transformer; empty without one.
    ///
    /// ```
    /// # use neutreno::run::{Summary, Values, VariantSummary};
    /// let run = |variant: &str, seed, validation_loss: f64| VariantSummary {
    ///     variant: variant.to_owned(),
    ///     seed,
    ///     results: Values::default().with("validation_loss", validation_loss),
    ///     finished: true,
    ///     ..VariantSummary::default()
    /// };
    /// let variants = vec![
    ///     run("transformer", 1, 5.0),
    ///     run("transformer", 2, 5.5),
    ///     run("resformer", 1, 4.9),
    ///     run("resformer", 2, 5.3),
    /// ];
    /// let summary = Summary { variants, ..Summary::default() };
    /// let difference = &summary.differences()[0];
    /// assert!((difference.spread.mean + 0.15).abs() < 1e-9);
    /// assert_eq!(difference.inside_spread(), Some(false));
    /// ```
    pub fn differences(&self) -> Vec<Difference> {
        let groups = self.groups();
        let Some(baseline) = groups.iter().find(|group| group.variant == BASELINE) else {
            return Vec::new();
        };
        let score = Measure::headline(self).name;
        let compare = |group: &Group| {
            let differences: Vec<f64> = group
                .runs
                .iter()
                .filter_map(|run| {
                    let partner = baseline.runs.iter().find(|other| {
                        other.seed == run.seed && other.steps == run.steps && other.finished
                    })?;
                    run.finished.then(|| run.number(score) - partner.number(score))
                })
                .filter(|difference| difference.is_finite())
                .collect();
            (!differences.is_empty()).then(|| Difference {
                variant: group.variant.to_owned(),
                score,
                spread: Spread::of(differences),
            })
        };
        groups.iter().filter(|group| group.variant != BASELINE).filter_map(compare).collect()
    }

    /// What a reader has to know to judge the numbers, one sentence or two each.
    pub fn notes(&self) -> Vec<String> {
        let mut notes = language::notes(self);
        for run in &self.variants {
            let name = format!("{} (seed {})", label(&run.variant), run.seed);
            if !run.finished {
                notes.push(format!("{name} was interrupted after {} steps.", run.steps));
            } else if !run.train_loss.is_finite() {
                notes.push(format!("{name} diverged: its loss is no longer a finite number."));
            }
        }
        notes.extend(self.differences().iter().map(Difference::sentence));
        let seeds = self.groups().iter().map(|group| group.runs.len()).max().unwrap_or(0);
        if seeds == 1 && self.groups().len() > 1 {
            notes.push(
                "With one seed, nothing says whether a difference is more than chance: --seeds 3 \
                 measures the spread between seeds."
                    .to_owned(),
            );
        } else if seeds > 1 {
            notes.push(
                "± is the sample standard deviation over seeds; differences are taken seed by seed."
                    .to_owned(),
            );
        }
        notes
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::summary;
    use super::*;

    #[test]
    fn json_keeps_everything_and_turns_nan_into_null() {
        let whole = summary(2);
        let text = serde_json::to_string(&whole).unwrap();
        assert!(!text.contains('\n'), "--json prints one line");
        assert_eq!(serde_json::from_str::<Summary>(&text).unwrap(), whole);

        let mut diverged = summary(1);
        diverged.variants[0].train_loss = f64::NAN;
        diverged.variants[0].results.set("test_perplexity", f64::INFINITY);
        let text = serde_json::to_string(&diverged).unwrap();
        assert!(text.contains("\"train_loss\":null"));
        let read: Summary = serde_json::from_str(&text).unwrap();
        assert!(read.variants[0].train_loss.is_nan());
        assert!(read.variants[0].number("test_perplexity").is_nan());
    }

    #[test]
    fn differences_pair_the_seeds_that_both_finished() {
        let mut summary = summary(3);
        // The seeds move all variants together by far more than the variants differ.
        for run in &mut summary.variants {
            let gain = match run.variant.as_str() {
                "resformer" => -0.02,
                "neutreno" => 0.01 * (run.seed as f64 - 2.0),
                _ => 0.0,
            };
            run.results.set("validation_loss", 5.0 + run.seed as f64 + gain);
        }
        let differences = summary.differences();
        assert_eq!(differences.len(), 3);
        assert_eq!(differences[0].inside_spread(), Some(true));
        assert!(differences[0].sentence().contains("inside the spread between 3 seeds"));
        assert_eq!(differences[1].inside_spread(), Some(false));

        // A seed that was interrupted, or made fewer steps, is compared with nothing.
        summary.variants[0].finished = false;
        summary.variants[1].steps -= 1;
        let difference = &summary.differences()[1];
        assert_eq!((difference.spread.count, difference.inside_spread()), (1, None));
        assert!(!difference.sentence().contains("spread"));
    }

    #[test]
    fn a_mean_is_over_finished_seeds_when_there_are_any() {
        let mut summary = summary(2);
        summary.variants[0].finished = false;
        summary.variants[0].results.set("test_loss", f64::NAN);
        let expected = summary.variants[1].number("test_loss");
        let mean =
            |summary: &Summary| summary.groups()[0].spread(|run| run.number("test_loss")).mean;
        assert_eq!(mean(&summary), expected);
        summary.variants[1].finished = false;
        assert!(mean(&summary).is_nan());
    }
}
