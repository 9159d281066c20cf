//! Differences between the rows of a comparison, seed by seed, with what chance has to do with them.

use super::extent::{Extent, joined};
use super::measures::Measure;
use super::{Group, Spread};

/// A row's score less the baseline's, over the seeds that both have, with as many steps made and scored on
/// the same data.
#[derive(Clone, Debug, PartialEq)]
pub struct Paired {
    /// The row.
    pub label: String,
    /// What it is compared with.
    pub baseline: String,
    /// The differences: their mean, how far they lie apart, and how many there are.
    pub spread: Spread,
    /// How likely so large a difference is by chance ([`Spread::chance`]); none for one seed.
    pub chance: Option<f64>,
    /// The same, corrected for the number of comparisons (Holm 1979): the chance that any of them finds
    /// a difference where there is none stays below what is asked for.
    pub corrected: Option<f64>,
}

impl Paired {
    /// Whether it is more than chance, at 5 % over all comparisons.
    pub fn is_certain(&self) -> bool {
        self.corrected.is_some_and(|chance| chance < 0.05)
    }

    /// The difference in words.
    pub(super) fn sentence(&self, measure: &Measure) -> String {
        let Paired { label, baseline, spread, .. } = self;
        let against = if spread.mean < 0.0 { "below" } else { "above" };
        let size = measure.show_difference([spread.mean.abs()]);
        let difference = format!("{label}: {} {size} {against} {baseline}", measure.words);
        let (Some(interval), Some(corrected)) = (spread.interval(), self.corrected) else {
            return format!("{difference}, for one seed: nothing says whether that is chance.");
        };
        let better = (spread.mean > 0.0) == measure.more_is_better();
        let verdict = match (self.is_certain(), better) {
            (true, true) => "better",
            (true, false) => "worse",
            (false, _) => "these seeds show no difference",
        };
        format!(
            "{difference} (n = {}, 95 % interval {}, p = {} after correction): {verdict}.",
            spread.count,
            measure.show_difference(interval),
            probability(corrected),
        )
    }
}

/// A probability as papers write it.
pub(super) fn probability(p: f64) -> String {
    match p {
        p if !p.is_finite() => "–".into(),
        p if p < 0.0001 => "< 0.0001".into(),
        p => format!("{p:.4}"),
    }
}

/// The differences between rows and the baseline, and a sentence for each pair that there is not.
pub(super) fn compare(
    score: &str,
    rows: &[&Group],
    baseline: &Group,
) -> (Vec<Paired>, Vec<String>) {
    let (mut found, mut problems) = (Vec::new(), Vec::new());
    for row in rows {
        let differences = differences(score, row, baseline, &mut problems);
        if !differences.is_empty() {
            let spread = Spread::of(differences);
            found.push((row.variant.to_owned(), spread, spread.chance()));
        }
    }
    let chances: Vec<Option<f64>> = found.iter().map(|(_, _, chance)| *chance).collect();
    let of = |((label, spread, chance), corrected)| {
        let baseline = baseline.variant.to_owned();
        Paired { label, baseline, spread, chance, corrected }
    };
    (found.into_iter().zip(corrected(&chances)).map(of).collect(), problems)
}

/// The differences of a score between the models of two rows that make a pair.
fn differences(score: &str, row: &Group, base: &Group, problems: &mut Vec<String>) -> Vec<f64> {
    let (label, baseline_label) = (row.variant, base.variant);
    let (row, baseline) = (&row.runs, &base.runs);
    let (mut found, mut missing) = (Vec::new(), Vec::new());
    for run in row {
        let Some(partner) = baseline.iter().find(|other| other.seed == run.seed) else {
            missing.push(run.seed.to_string());
            continue;
        };
        let extents = [&run.results, &partner.results].map(Extent::beside);
        let difference = run.number(score) - partner.number(score);
        if run.steps != partner.steps {
            problems.push(format!(
                "{label} (seed {}) made {} steps, {baseline_label} {}: there is no difference between \
                 them.",
                run.seed, run.steps, partner.steps
            ));
        } else if extents[0] != extents[1] {
            let [own, other] = extents.map(|extents| joined(&extents));
            problems.push(format!(
                "{label} (seed {}) was scored on {own}, {baseline_label} on {other}: there is no \
                 difference between them.",
                run.seed
            ));
        } else if difference.is_finite() {
            found.push(difference);
        } else {
            problems.push(format!("{label} (seed {}) has no finite score.", run.seed));
        }
    }
    let other = baseline.iter().filter(|run| !row.iter().any(|own| own.seed == run.seed));
    let other: Vec<String> = other.map(|run| run.seed.to_string()).collect();
    for (has, lacks, seeds) in [(label, baseline_label, missing), (baseline_label, label, other)] {
        if !seeds.is_empty() {
            problems.push(format!(
                "{lacks} has no model of seed {}, which {has} has: train it (--resume RUN --seed {}).",
                seeds.join(", "),
                seeds[0]
            ));
        }
    }
    found
}

/// Corrects the chances of several comparisons, each in its place (Holm's step-down method).
pub(super) fn corrected(chances: &[Option<f64>]) -> Vec<Option<f64>> {
    let mut order: Vec<usize> = (0..chances.len()).filter(|i| chances[*i].is_some()).collect();
    order.sort_by(|a, b| chances[*a].partial_cmp(&chances[*b]).expect("chances are finite"));
    let mut corrected = vec![None; chances.len()];
    let mut largest: f64 = 0.0;
    for (rank, place) in order.iter().enumerate() {
        let chance = chances[*place].expect("only those that are there");
        largest = largest.max((order.len() - rank) as f64 * chance).min(1.0);
        corrected[*place] = Some(largest);
    }
    corrected
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Worked by hand: 0.01 × 4, 0.02 × 3, 0.03 × 2, and 0.04 no less than the one before.
    #[test]
    fn chances_are_corrected_step_by_step() {
        let chances = [Some(0.04), None, Some(0.01), Some(0.03), Some(0.02)];
        let expected = [Some(0.06), None, Some(0.04), Some(0.06), Some(0.06)];
        for (found, expected) in corrected(&chances).into_iter().zip(expected) {
            match (found, expected) {
                (Some(found), Some(expected)) => approx::assert_abs_diff_eq!(found, expected),
                (found, expected) => assert_eq!(found, expected),
            }
        }
        assert_eq!(corrected(&[Some(0.7), Some(0.6)]), [Some(1.0), Some(1.0)]);
        assert_eq!(corrected(&[]), []);
    }
}
