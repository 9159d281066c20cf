//! When a model scored best while it was trained, and whether it became worse after that.

use super::extent::{Extent, joined};
use super::format::thousands;
use super::measures::{MEASURES, Measure, Style};
use super::{Group, Spread};
use crate::run::{STOPPED_EARLY, Summary, VariantSummary};

/// The best of the scores that were made while training, of the same part of the validation data as
/// the last one.
pub(super) struct Best<'a> {
    run: &'a VariantSummary,
    measure: &'static Measure,
    step: u64,
    score: f64,
    last: f64,
}

impl<'a> Best<'a> {
    /// That of a run, if it was scored while training.
    pub fn of(run: &'a VariantSummary) -> Option<Best<'a>> {
        let measure = MEASURES.iter().find(|measure| run.results.get(&best(measure)).is_some())?;
        let [score, last] = [best(measure), format!("last_{}", measure.name)];
        let [score, last] = [score, last].map(|name| run.number(&name));
        Some(Best { run, measure, step: run.results.get("best_step")?.as_u64()?, score, last })
    }

    /// Whether the model lost by training on: more than a hundredth of the loss, or of all images or
    /// pixels.
    fn became_worse(&self) -> bool {
        let lost = match self.measure.style {
            Style::Fraction => self.score - self.last > 0.01,
            _ => self.last - self.score > 0.01 * self.score,
        };
        lost && self.step < self.run.steps
    }

    /// What to know about a model that became worse, `name`.
    pub fn note(&self, name: &str) -> Option<String> {
        if !self.became_worse() {
            return None;
        }
        let Best { run, measure, step, score, last } = self;
        let [score, last_shown] = [score, last].map(|x| measure.show(&Spread::of([*x])));
        let extents = Extent::of_best(&run.results);
        let of =
            if extents.is_empty() { String::new() } else { format!(", of {}", joined(&extents)) };
        let by_heart = measure.style == Style::Information && run.train_loss < *last;
        let why = if by_heart {
            "After that it learnt its training data by heart (overfitting)"
        } else {
            "What it learnt after that was of no use on other data"
        };
        if *step == 0 {
            return Some(format!(
                "{name} was best before its first step: {} {score} then, {last_shown} at the end{of}. \
                 It forgot more than it learnt: try a smaller --lr.",
                measure.words,
            ));
        }
        Some(format!(
            "{name} was best after {} of {} steps: {} {score} then, {last_shown} at the end{of}. \
             {why}: try fewer --steps, or --patience. The model of then is in checkpoints/step-{step:06}: \
             --use best takes it.",
            thousands(*step),
            thousands(run.steps),
            measure.words,
        ))
    }
}

/// What to know about a model, `name`, that was stopped before all `steps` were made.
pub(super) fn stopped_early(run: &VariantSummary, steps: u64, name: &str) -> Option<String> {
    let patience = run.results.get(STOPPED_EARLY)?;
    Some(format!(
        "{name} was stopped after {} of {} steps: there was no better score in {patience} validations.",
        thousands(run.steps),
        thousands(steps),
    ))
}

/// The name of a best score among the results.
fn best(measure: &Measure) -> String {
    format!("best_{}", measure.name)
}

/// The score that a run's models were best by while training, if they were scored then.
pub(super) fn measured_by(summary: &Summary) -> Option<&'static Measure> {
    summary.variants.iter().find_map(|run| Some(Best::of(run)?.measure))
}

/// A variant's best score and its steps: `2.089 ± 0.012 at 200–300`.
pub(super) fn cell(measure: &'static Measure, group: &Group) -> String {
    let score = measure.show(&group.spread(|run| run.number(&best(measure))));
    let steps = group.runs.iter().filter_map(|run| Some(Best::of(run)?.step));
    let steps: Vec<u64> = steps.collect();
    match (steps.iter().min(), steps.iter().max()) {
        (Some(first), Some(last)) if first < last => {
            format!("{score} at {}–{}", thousands(*first), thousands(*last))
        }
        (Some(only), _) => format!("{score} at {}", thousands(*only)),
        _ => score,
    }
}
