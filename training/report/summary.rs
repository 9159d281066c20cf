//! What the results of a run come to: means over seeds, differences between variants, and what a
//! reader has to know beside them.

use super::best::{Best, stopped_early};
use super::extent::{Extent, joined};
use super::{Group, Paired, SideBySide, label, language};
use crate::run::Summary;

/// The variant that the others are compared with, where there is no other wish.
pub(super) const BASELINE: &str = "transformer";

/// A variant in the middle of a sentence.
pub(super) fn named(variant: &str) -> String {
    let article = if variant == BASELINE { "the " } else { "" };
    format!("{article}{}", label(variant))
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

    /// The variant that the others are compared with: the one that was wished for, else the
    /// Transformer, else the first; none without any.
    pub fn compared_with(&self) -> Option<&str> {
        let groups = self.groups();
        let named = |name: &str| groups.iter().find(|group| group.variant == name);
        let wished = self.baseline.as_deref().and_then(named);
        Some(wished.or_else(|| named(BASELINE)).or(groups.first())?.variant)
    }

    /// How the other variants compare with the baseline, by the task's score: the validation loss, the
    /// top-1 accuracy, the mean IoU. Only models that are trained to the end count.
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
    /// // −0.1 and −0.2: two seeds leave −0.79 to +0.49 open.
    /// assert!(!difference.is_certain());
    /// ```
    pub fn differences(&self) -> Vec<Paired> {
        SideBySide::within(self).map_or_else(Vec::new, |compared| compared.differences)
    }

    /// How much of the data was scored, in one sentence or several.
    fn extents(&self) -> Vec<String> {
        let mut kinds: Vec<(Vec<Extent>, Vec<String>)> = Vec::new();
        for run in &self.variants {
            let extents = Extent::beside(&run.results);
            let name = format!("{} (seed {})", label(&run.variant), run.seed);
            match kinds.iter_mut().find(|(of, _)| *of == extents) {
                Some((_, names)) => names.push(name),
                None => kinds.push((extents, vec![name])),
            }
        }
        match &kinds[..] {
            [] => Vec::new(),
            [(extents, _)] if extents.is_empty() => Vec::new(),
            [(extents, _)] => {
                let part = if extents.iter().any(Extent::is_part) { " a part" } else { "" };
                let colon = if part.is_empty() { "" } else { ":" };
                vec![format!("The scores are of{part}{colon} {}.", joined(extents))]
            }
            several => {
                let each = several.iter().map(|(extents, names)| match &extents[..] {
                    [] => format!("{}: nothing says what the scores are of.", names.join(", ")),
                    all => format!("{}: the scores are of {}.", names.join(", "), joined(all)),
                });
                let warning = "Not all models were scored on the same data, and only those that \
                               were compare."
                    .to_owned();
                each.chain([warning]).collect()
            }
        }
    }

    /// Whether a part of the data was left out when a model was scored.
    pub(super) fn is_of_a_part(&self) -> bool {
        let extents = self.variants.iter().flat_map(|run| Extent::beside(&run.results));
        extents.into_iter().any(|extent| extent.is_part())
    }

    /// What a reader has to know to judge the numbers, one sentence or two each.
    pub fn notes(&self) -> Vec<String> {
        let mut notes = self.extents();
        notes.extend(language::notes(self));
        for run in &self.variants {
            let name = format!("{} (seed {})", label(&run.variant), run.seed);
            if !run.finished && self.growing {
                notes.push(format!("{name} is being trained: {} steps so far.", run.steps));
            } else if !run.finished {
                notes.push(format!("{name} was interrupted after {} steps.", run.steps));
            } else if !run.train_loss.is_finite() {
                notes.push(format!("{name} diverged: its loss is no longer a finite number."));
            }
            let steps = self.settings["steps"].as_u64().unwrap_or(run.steps);
            notes.extend(stopped_early(run, steps, &name));
            notes.extend(Best::of(run).and_then(|best| best.note(&name)));
        }
        if let Some(compared) = SideBySide::within(self) {
            notes.extend(compared.sentences());
            notes.extend(compared.warnings);
        }
        let seeds = self.groups().iter().map(|group| group.runs.len()).max().unwrap_or(0);
        if seeds > 1 {
            notes.push(format!(
                "± is the sample standard deviation over {seeds} seeds: how far they lie apart. \
                 Differences are taken seed by seed; their intervals are Student's t, each for its \
                 own comparison alone, and p is corrected for all of them together (Holm)."
            ));
        }
        notes
    }
}

#[cfg(test)]
mod tests {
    use super::super::page;
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
        assert_eq!(
            differences.iter().map(Paired::is_certain).collect::<Vec<_>>(),
            [false, true, false]
        );
        let notes = summary.notes().join("\n");
        assert!(
            notes.contains("n = 3, 95 % interval −0.0248 to 0.0248 nats, p = 1.0000"),
            "{notes}"
        );
        assert!(notes.contains("p = < 0.0001 after correction): better."), "{notes}");

        // A seed that was interrupted, made fewer steps or was scored on other data is compared
        // with nothing.
        summary.variants[0].finished = false;
        summary.variants[1].steps -= 1;
        let difference = &summary.differences()[1];
        assert_eq!((difference.spread.count, difference.corrected), (1, None));
        let notes = summary.notes().join("\n");
        assert!(notes.contains("below Transformer, for one seed: nothing says"), "{notes}");
        assert!(notes.contains("ResFormer (seed 2) made 300 steps, Transformer 299"), "{notes}");
        summary.variants[2].results.set("validation_tokens_scored", 5);
        summary.variants[2].results.set("validation_tokens", 9);
        assert_eq!(summary.differences(), []);
        let notes = summary.notes().join("\n");
        assert!(
            notes.contains("Transformer (seed 3): the scores are of the first 5 of 9"),
            "{notes}"
        );
    }

    /// Three seeds with −0.050 ± 0.015: t = 5.77, and p = 0.0287, which three comparisons make 0.0861.
    #[test]
    fn notes_and_section_have_one_verdict_that_is_corrected() {
        let mut summary = summary(3);
        for run in &mut summary.variants {
            let gains = if run.variant == "resformer" { [-0.065, -0.05, -0.035] } else { [0.0; 3] };
            run.results.set("validation_loss", 5.0 + gains[run.seed as usize - 1]);
        }
        let expected = "ResFormer: validation loss 0.0500 nats below Transformer (n = 3, 95 % interval \
                        −0.0873 to −0.0127 nats, p = 0.0861 after correction): these seeds show no \
                        difference.";
        assert!(summary.notes().iter().any(|note| note == expected), "{:?}", summary.notes());
        let page = page(&summary, &[]);
        assert_eq!(page.matches(expected).count(), 2);
        assert!(!page.contains(": better."));
    }

    #[test]
    fn the_baseline_is_what_was_wished_for_or_the_transformer_or_the_first() {
        let mut summary = summary(1);
        assert_eq!(summary.compared_with(), Some("transformer"));
        summary.baseline = Some("svformer".into());
        let names = |summary: &Summary| -> Vec<String> {
            summary.differences().into_iter().map(|difference| difference.label).collect()
        };
        assert_eq!(names(&summary), ["Transformer", "NeuTRENO", "ResFormer"]);
        let notes = summary.notes().join("\n");
        assert!(notes.contains("below SVFormer, for one seed"), "{notes}");
        summary.baseline = None;
        summary.variants.remove(0);
        assert_eq!(names(&summary), ["ResFormer", "SVFormer"]);
        assert!(Summary::default().differences().is_empty());
    }

    #[test]
    fn scores_of_a_part_say_so_first() {
        let mut summary = summary(1);
        for run in &mut summary.variants {
            run.results.set("validation_tokens_scored", 5_000);
            run.results.set("validation_tokens", 217_646);
        }
        assert_eq!(
            summary.notes()[0],
            "The scores are of a part: the first 5,000 of 217,646 validation tokens."
        );
    }

    #[test]
    fn a_model_that_became_worse_is_told() {
        let mut summary = summary(1);
        let run = &mut summary.variants[0];
        for (name, value) in [("best_validation_loss", 2.089), ("last_validation_loss", 2.247)] {
            run.results.set(name, value);
        }
        run.results.set("best_step", 100);
        run.train_loss = 1.5;
        let told = |summary: &Summary| {
            summary.notes().into_iter().find(|note| note.contains("was best after"))
        };
        let expected = "Transformer (seed 1) was best after 100 of 300 steps: validation loss 2.0890 \
                        then, 2.2470 at the end. After that it learnt its training data by heart \
                        (overfitting): try fewer --steps, or --patience. The model of then is in \
                        checkpoints/step-000100: --use best takes it.";
        assert_eq!(told(&summary).unwrap(), expected);
        summary.variants[0].results.set("last_validation_loss", 2.09);
        assert_eq!(told(&summary), None);
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
