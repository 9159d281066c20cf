//! The scores that a report knows how to show, whatever the task.

use super::Spread;
use super::extent::Extent;
use super::format::{decimals, fixed};
use crate::run::{Summary, Values};

/// A score and how it is shown.
pub(super) struct Measure {
    /// Its name among the results.
    pub name: &'static str,
    /// Its title in a table, in two lines.
    pub title: [&'static str; 2],
    /// In the middle of a sentence.
    pub words: &'static str,
    pub style: Style,
}

/// How a number is written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    /// Nats or bits: four decimals.
    Information,
    /// As many decimals as its size deserves.
    Scaled,
    /// A fraction of 1, in percent.
    Fraction,
}

/// All of them, in the order of the table's columns.
pub(super) const MEASURES: [Measure; 14] = [
    measure("validation_loss", ["validation", "loss"], "validation loss", Style::Information),
    measure(
        "validation_perplexity",
        ["validation", "perplexity"],
        "perplexity a word",
        Style::Scaled,
    ),
    measure(
        "validation_token_perplexity",
        ["validation", "perplexity"],
        "perplexity a token",
        Style::Scaled,
    ),
    measure(
        "validation_bits_per_byte",
        ["validation", "bits/byte"],
        "bits a byte",
        Style::Information,
    ),
    measure("test_loss", ["test", "loss"], "test loss", Style::Information),
    measure("test_perplexity", ["test", "perplexity"], "test perplexity a word", Style::Scaled),
    measure(
        "test_token_perplexity",
        ["test", "perplexity"],
        "test perplexity a token",
        Style::Scaled,
    ),
    measure("bits_per_byte", ["test", "bits/byte"], "test bits a byte", Style::Information),
    measure("top1_accuracy", ["top-1", "accuracy"], "top-1 accuracy", Style::Fraction),
    measure("top5_accuracy", ["top-5", "accuracy"], "top-5 accuracy", Style::Fraction),
    measure("mean_iou", ["mean", "IoU"], "mean IoU", Style::Fraction),
    measure("pixel_accuracy", ["pixel", "accuracy"], "pixel accuracy", Style::Fraction),
    measure("test_top1_accuracy", ["test top-1", "accuracy"], "test accuracy", Style::Fraction),
    measure("test_mean_iou", ["test", "mean IoU"], "test mean IoU", Style::Fraction),
];

const fn measure(
    name: &'static str,
    title: [&'static str; 2],
    words: &'static str,
    style: Style,
) -> Measure {
    Measure { name, title, words, style }
}

impl Measure {
    /// The measure of that name.
    pub fn named(name: &str) -> Option<&'static Measure> {
        MEASURES.iter().find(|measure| measure.name == name)
    }

    /// Those that any model of a run was scored with.
    pub fn present(summary: &Summary) -> impl Iterator<Item = &'static Measure> {
        let scored =
            |name: &str| summary.variants.iter().any(|run| run.results.get(name).is_some());
        MEASURES.iter().filter(move |measure| scored(measure.name))
    }

    /// The one that variants are compared by.
    pub fn headline(summary: &Summary) -> &'static Measure {
        let scored = |name: &&str| Measure::present(summary).any(|measure| measure.name == *name);
        let name = ["mean_iou", "top1_accuracy"].into_iter().find(scored);
        Measure::named(name.unwrap_or("validation_loss")).expect("it is in the list")
    }

    /// A number of this kind, with its spread over seeds; fewer decimals where that stands beside.
    pub fn show(&self, spread: &Spread) -> String {
        let several = spread.deviation.is_some();
        match self.style {
            Style::Information => spread.show(if several { 3 } else { 4 }),
            Style::Scaled => scaled(spread),
            Style::Fraction => format!("{} %", spread.times(100.0).show(2)),
        }
    }

    /// A difference in words; those between which it lies in sequence.
    pub fn show_difference<const N: usize>(&self, differences: [f64; N]) -> String {
        let (factor, digits, unit) = match self.style {
            Style::Information => (1.0, 4, " nats"),
            Style::Scaled => (1.0, 3, ""),
            Style::Fraction => (100.0, 2, " percentage points"),
        };
        let shown = differences.map(|difference| fixed(factor * difference, digits));
        format!("{}{unit}", shown.join(" to "))
    }

    /// Whether more of it is better.
    pub fn more_is_better(&self) -> bool {
        self.style == Style::Fraction
    }
}

/// A number with as many decimals as its size deserves; fewer when the spread stands beside it.
pub(super) fn scaled(spread: &Spread) -> String {
    let decimals = decimals(spread.mean);
    spread.show(if spread.deviation.is_some() { decimals.min(2) } else { decimals })
}

/// Scores as a person reads them, with what they are of where that is a part.
///
/// ```
/// # use neutreno::report::describe;
/// # use neutreno::run::Values;
/// let scores = Values::default().with("top1_accuracy", 0.8731).with("validation_loss", 0.385);
/// assert_eq!(describe(&scores), "validation loss 0.3850, top-1 accuracy 87.31 %");
/// let part = scores.with("validation_images_scored", 500).with("validation_images", 1000);
/// assert!(describe(&part).ends_with("top-1 accuracy 87.31 % (50.0 % of validation)"));
/// ```
pub fn describe(scores: &Values) -> String {
    let known = MEASURES.iter().filter(|measure| scores.get(measure.name).is_some());
    let words = known.map(|measure| {
        let number = scores.number(measure.name);
        let number = Spread { mean: number, deviation: None, count: 1 };
        format!("{} {}", measure.words, measure.show(&number))
    });
    let words = words.collect::<Vec<_>>().join(", ");
    let parts = Extent::beside(scores).into_iter().filter(Extent::is_part);
    let parts = parts.map(|part| format!("{} of {}", part.short(), part.split));
    let parts = parts.collect::<Vec<_>>().join(", ");
    if parts.is_empty() { words } else { format!("{words} ({parts})") }
}
