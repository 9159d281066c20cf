//! The page about what a variant saves: losses over parameters and over data.

use super::escape::escaped;
use super::figures::{figure, swatch};
use super::format::fixed;
use super::head::head;
use super::plots::{Line, Plot};
use super::summary::BASELINE;
use super::{Point, PowerLaw, Saving, Spread, label, savings};
use maud::{DOCTYPE, Markup, html};
use std::collections::BTreeMap;

/// What was found about efficiency so far.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Efficiency {
    /// What was trained, in a sentence.
    pub about: String,
    /// Losses over parameters without the embedding, for the same data.
    pub parameters: Vec<Point>,
    /// Losses over training tokens, for models of the same size.
    pub tokens: Vec<Point>,
    /// How many models are not trained yet.
    pub missing: usize,
}

impl Efficiency {
    /// What each variant saves, in words.
    ///
    /// ```
    /// use neutreno::report::{Efficiency, Point};
    /// let point = |variant: &str, x: f64, loss| Point { variant: variant.into(), seed: 1, x, loss };
    /// let parameters = vec![
    ///     point("transformer", 10.0, 4.0),
    ///     point("transformer", 40.0, 2.0),
    ///     point("resformer", 5.0, 4.0),
    ///     point("resformer", 20.0, 2.0),
    /// ];
    /// let efficiency = Efficiency { parameters, ..Efficiency::default() };
    /// let sentences = efficiency.sentences();
    /// assert!(sentences[0].starts_with("ResFormer needs 50.0 % fewer parameters"), "{sentences:?}");
    /// ```
    pub fn sentences(&self) -> Vec<String> {
        let both = [(&self.parameters, "parameters"), (&self.tokens, "training tokens")];
        let sentences = both.iter().flat_map(|(points, what)| {
            savings(points, BASELINE).into_iter().map(|saving| sentence(&saving, what))
        });
        sentences.collect()
    }

    /// A whole HTML document.
    pub fn page(&self) -> String {
        let variants = self.variants();
        let document = html! {
            (DOCTYPE)
            html lang="en" {
                (head("Efficiency", false))
                body {
                    h1 { "Parameters and data for the same loss" }
                    p { (self.about) }
                    @if self.missing > 0 {
                        p.warning { (self.missing) " models are not trained yet: these are the \
                            results so far." }
                    }
                    ul { @for sentence in self.sentences() { li { (sentence) } } }
                    ul.legend { @for (i, variant) in variants.iter().enumerate() {
                        li { (swatch(i)) (label(variant)) }
                    } }
                    div.plots {
                        (figure(&plot(&self.parameters, &variants, "parameters"),
                            "Loss over parameters", "All trained on the same data. Parameters \
                            without the embedding; the smooth lines are fitted power laws."))
                        (figure(&plot(&self.tokens, &variants, "training tokens"),
                            "Loss over data", "All of the same size, each trained to the end of its \
                            own schedule on so many tokens."))
                    }
                    (table(&self.parameters, &variants, "parameters"))
                    (table(&self.tokens, &variants, "training tokens"))
                    (reading())
                }
            }
        };
        escaped(&document.into_string())
    }

    fn variants(&self) -> Vec<&str> {
        let mut variants: Vec<&str> = Vec::new();
        for point in self.parameters.iter().chain(&self.tokens) {
            if !variants.contains(&point.variant.as_str()) {
                variants.push(&point.variant);
            }
        }
        variants
    }
}

fn sentence(saving: &Saving, what: &str) -> String {
    let Spread { mean, deviation, count } = saving.spread;
    let direction = if mean < 0.0 { "more" } else { "fewer" };
    let size = Spread { mean: mean.abs(), ..saving.spread }.times(100.0).show(1);
    let claim = format!(
        "{} needs {size} % {direction} {what} than the {} for the same loss",
        label(&saving.variant),
        label(BASELINE)
    );
    match deviation {
        Some(deviation) if mean.abs() <= deviation => {
            format!("{claim}: inside the spread between {count} seeds, so it may be chance.")
        }
        Some(_) => format!("{claim}: more than the spread between {count} seeds."),
        None => format!("{claim}, for one seed; nothing says whether that is more than chance."),
    }
}

/// The losses of a variant at each x.
fn losses(points: &[Point], variant: &str) -> BTreeMap<u64, Spread> {
    let mut losses: BTreeMap<u64, Vec<f64>> = BTreeMap::new();
    for point in points.iter().filter(|point| point.variant == variant) {
        losses.entry(point.x as u64).or_default().push(point.loss);
    }
    losses.into_iter().map(|(x, losses)| (x, Spread::of(losses))).collect()
}

/// What was measured, and the law fitted to it.
fn plot(points: &[Point], variants: &[&str], x: &'static str) -> Plot {
    let lines = variants.iter().enumerate().flat_map(|(colour, variant)| {
        let measured = Line { colour, points: losses(points, variant) };
        let own = points.iter().filter(|point| point.variant == *variant);
        let pairs: Vec<(f64, f64)> = own.map(|point| (point.x, point.loss)).collect();
        let fitted = PowerLaw::fit(&pairs).map(|law| Line { colour, points: along(&law, &pairs) });
        [Some(measured), fitted].into_iter().flatten()
    });
    let x_of = || points.iter().map(|point| point.x);
    let ratio = x_of().fold(0.0, f64::max) / x_of().fold(f64::INFINITY, f64::min);
    Plot {
        x,
        y: "validation loss (nats a token)".to_owned(),
        // Within two powers of ten, a logarithmic axis would have hardly a label.
        logarithmic: ratio > 100.0,
        lines: lines.collect(),
        levels: vec![],
    }
}

/// So many points of a law that it is drawn as a line without dots.
fn along(law: &PowerLaw, points: &[(f64, f64)]) -> BTreeMap<u64, Spread> {
    const POINTS: u32 = 60;
    let x = || points.iter().map(|(x, _)| x.ln());
    let (low, high) = (x().fold(f64::INFINITY, f64::min), x().fold(f64::NEG_INFINITY, f64::max));
    let at = |i: u32| (low + (high - low) * f64::from(i) / f64::from(POINTS)).exp();
    (0..=POINTS).map(|i| (at(i) as u64, Spread::of([law.loss(at(i))]))).collect()
}

fn table(points: &[Point], variants: &[&str], what: &str) -> Markup {
    let columns: Vec<BTreeMap<u64, Spread>> =
        variants.iter().map(|variant| losses(points, variant)).collect();
    let rows: std::collections::BTreeSet<u64> =
        columns.iter().flat_map(|c| c.keys().copied()).collect();
    html! {
        @if !rows.is_empty() {
            div.wide { table.results {
                thead { tr { th { (what) } @for (i, variant) in variants.iter().enumerate() {
                    th { (swatch(i)) (label(variant)) }
                } } }
                tbody { @for x in rows { tr {
                    td { (fixed(x as f64, 0)) }
                    @for column in &columns {
                        td { @if let Some(spread) = column.get(&x) { (spread.show(4)) } }
                    }
                } } }
            } }
        }
    }
}

fn reading() -> Markup {
    html! {
        h3 { "How to read this" }
        ul.notes.quiet {
            li { "A law is fitted for each variant and seed; what is saved is the horizontal gap \
                between two laws in the middle of the range, and its ± the sample standard deviation \
                over the seeds. The same seed gives all variants the same data in the same order." }
            li { "Zhou et al. (2024) report 10.4 % fewer parameters and 13.6 % less data for \
                ResFormer, with 82M to 468M parameters and 20B tokens. Far below that, embeddings \
                take most of the parameters and a few steps of warm-up much of the training, so the \
                numbers here may differ in either direction." }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_shows_losses_laws_and_savings() {
        let mut efficiency = Efficiency { missing: 2, ..Efficiency::default() };
        for (variant, worth) in [("transformer", 1.0), ("resformer", 1.25), ("svformer", 0.8)] {
            for seed in [1, 2, 3] {
                for x in [1e5, 2e5, 4e5_f64] {
                    let noise = 1.0 + 0.0005 * ((seed * 7919 + x as u64) as f64).sin();
                    let loss = 9.0 * (x * worth).powf(-0.08) * noise;
                    let point = Point { variant: variant.into(), seed, x, loss };
                    efficiency.parameters.push(point.clone());
                    efficiency.tokens.push(point);
                }
            }
        }
        let sentences = efficiency.sentences();
        assert_eq!(sentences.len(), 4);
        assert!(sentences.iter().all(|sentence| !sentence.contains('−')));
        for (sentence, part) in sentences.iter().zip([
            "% fewer parameters",
            "% more parameters",
            "% fewer training tokens",
            "% more training tokens",
        ]) {
            assert!(
                sentence.contains(part) && sentence.contains("more than the spread"),
                "{sentence}"
            );
        }
        let page = efficiency.page();
        assert_eq!(page.matches("<svg").count(), 2);
        assert!(page.contains("2 models are not trained yet") && !page.contains("NaN"));
        assert!(page.contains(&sentences[0]) && page.contains("<polygon"));
        assert!(Efficiency::default().page().contains("Nothing was measured."));
    }
}
