//! How much of the data a score is of.

use super::format::{fixed, thousands};
use crate::run::Values;
use std::fmt;

/// How much of a split was scored, as it stands beside the scores: `validation_tokens_scored` of
/// `validation_tokens`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Extent {
    /// `validation`, `test`.
    pub split: String,
    /// `token`, `image`.
    unit: String,
    scored: u64,
    all: u64,
}

impl Extent {
    /// The extents that stand beside scores; validation comes before test.
    pub fn beside(scores: &Values) -> Vec<Extent> {
        Extent::after(scores, "")
    }

    /// The extents that stand beside the best score of training.
    pub fn of_best(results: &Values) -> Vec<Extent> {
        Extent::after(results, "best_")
    }

    /// Those whose names have this before them.
    fn after(scores: &Values, prefix: &str) -> Vec<Extent> {
        let extent = |(name, scored): (&str, &serde_json::Value)| {
            let whole = name.strip_suffix("s_scored")?;
            let (split, unit) = whole.strip_prefix(prefix)?.split_once('_')?;
            let all = scores.get(&format!("{whole}s"))?.as_u64()?;
            let (split, unit) = (split.to_owned(), unit.to_owned());
            let extent = Extent { split, unit, scored: scored.as_u64()?, all };
            (!extent.unit.contains('_')).then_some(extent)
        };
        let mut extents: Vec<Extent> = scores.iter().filter_map(extent).collect();
        extents.sort_by(|a, b| b.split.cmp(&a.split));
        extents
    }

    /// Whether something was left out.
    pub fn is_part(&self) -> bool {
        self.scored < self.all
    }

    /// For a narrow column: `all`, `2.3 %`.
    pub fn short(&self) -> String {
        if !self.is_part() {
            return "all".into();
        }
        format!("{} %", fixed(100.0 * self.scored as f64 / self.all as f64, 1))
    }
}

/// `the first 5,000 of 217,646 validation tokens`, `all 217,646 validation tokens`.
impl fmt::Display for Extent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Extent { split, unit, scored, all } = self;
        match self.is_part() {
            true => write!(f, "the first {} of {}", thousands(*scored), thousands(*all))?,
            false => write!(f, "all {}", thousands(*all))?,
        }
        write!(f, " {split} {unit}s")
    }
}

/// Several extents in the middle of a sentence.
pub(super) fn joined(extents: &[Extent]) -> String {
    extents.iter().map(Extent::to_string).collect::<Vec<_>>().join(" and ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extents_stand_beside_scores() {
        let scores = Values::default()
            .with("test_images_scored", 10_000)
            .with("test_images", 10_000)
            .with("validation_images_scored", 512)
            .with("validation_images", 6_000)
            .with("validation_loss", 0.5);
        let extents = Extent::beside(&scores);
        let expected = "the first 512 of 6,000 validation images and all 10,000 test images";
        assert_eq!(joined(&extents), expected);
        assert_eq!(extents.iter().map(Extent::short).collect::<Vec<_>>(), ["8.5 %", "all"]);
        assert_eq!(Extent::of_best(&scores), []);
        let best = Values::default()
            .with("best_validation_tokens_scored", 20)
            .with("best_validation_tokens", 20);
        assert_eq!(joined(&Extent::of_best(&best)), "all 20 validation tokens");
        assert_eq!(Extent::beside(&best), []);
    }
}
