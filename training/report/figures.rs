//! The figures of the page: curves over training for all variants, and bars for what they cost.

use super::curves::{Curve, difference, moving_average, over_seeds};
use super::extent::{Extent, joined};
use super::format::{bytes, fixed};
use super::measures::{Measure, Style};
use super::plots::{COLOURS, Line, Plot};
use super::summary::named;
use super::table::{KV_CACHE, peak_memory};
use super::{Group, RunMetrics, label};
use crate::run::{Metric, Summary};
use maud::{Markup, PreEscaped, html};

/// Steps of the moving average of the relative loss (Zhou et al. 2024, value residual learning).
const RELATIVE_WINDOW: u64 = 100;

/// A dash in a variant's colour.
pub(super) fn swatch(colour: usize) -> Markup {
    html! { span class={ "swatch c" (colour % COLOURS) } {} }
}

/// Which colour is which variant or row, by the names that are shown.
pub(super) fn legend(names: &[String]) -> Markup {
    html! {
        ul.legend { @for (i, name) in names.iter().enumerate() { li { (swatch(i)) (name) } } }
    }
}

/// The curves over training, all variants in each plot.
pub(super) fn plots(summary: &Summary, groups: &[Group], runs: &[RunMetrics]) -> Markup {
    html! {
        div.plots { @for drawn in curves(summary, groups, runs) {
            (figure(&drawn.plot, &drawn.title, &drawn.caption))
        } }
        @if groups.iter().any(|group| group.runs.len() > 1) {
            p.quiet { "Lines are means over seeds, bands their sample standard deviation." }
        }
    }
}

/// A plot with its texts.
pub(super) struct Drawn {
    /// What its files are called.
    pub name: String,
    pub title: String,
    pub caption: String,
    pub plot: Plot,
}

impl Drawn {
    pub fn new(name: &str, title: &str, caption: &str, plot: Plot) -> Drawn {
        Drawn { name: name.into(), title: title.into(), caption: caption.into(), plot }
    }
}

/// The plots over training.
pub(super) fn curves(summary: &Summary, groups: &[Group], runs: &[RunMetrics]) -> Vec<Drawn> {
    let unit = &summary.unit;
    let last = runs.iter().flat_map(|run| &run.metrics).map(|line| line.step).max().unwrap_or(0);
    let longest = (last / 40).clamp(1, RELATIVE_WINDOW);
    // Shorter at the start, where the loss falls fast and the axis stretches the steps.
    let window = |step: u64| (step / 10).clamp(1, longest);
    let averaged = |number: fn(&Metric) -> f64| {
        lines(groups, |variant| {
            let curves = of_variant(runs, variant).map(|run| curve(run, |line| Some(number(line))));
            curves.map(|curve| moving_average(&curve, window)).collect()
        })
    };
    let training = Plot {
        x: "step",
        y: format!("training loss (nats a {unit})"),
        logarithmic: true,
        lines: averaged(|line| line.loss),
        levels: levels(summary),
    };
    let baseline = summary.compared_with().unwrap_or_default();
    let its = format!("{}'s", named(baseline));
    let relative = Plot {
        x: "step",
        y: format!("loss less {its} (nats)"),
        logarithmic: false,
        lines: lines(groups, |variant| relative_loss(runs, variant, baseline)),
        levels: vec![(0.0, "")],
    };
    let validation = Plot {
        x: "step",
        y: format!("validation loss (nats a {unit})"),
        logarithmic: false,
        lines: lines(groups, |variant| {
            of_variant(runs, variant).map(|run| score(run, "validation_loss")).collect()
        }),
        levels: vec![],
    };
    let gradient = Plot {
        x: "step",
        y: "norm of all gradients".to_owned(),
        logarithmic: true,
        lines: averaged(|line| line.gradient_norm),
        levels: vec![],
    };
    let compared = relative.lines.iter().any(|line| !line.points.is_empty());
    let average = format!("Moving average of {longest} steps, of fewer at the start.");
    let mut drawn = vec![Drawn::new("training_loss", "Training loss", &average, training)];
    if compared {
        let caption = format!(
            "Training loss less {its} on the same data in the same order, moving average of \
             {RELATIVE_WINDOW} steps. Below zero is better."
        );
        drawn.push(Drawn::new("relative_loss", "Relative loss", &caption, relative));
    }
    let scored = scored_while_training(runs);
    drawn.push(Drawn::new("validation_loss", "Validation loss", &scored, validation));
    for measure in Measure::present(summary).filter(|m| m.style == Style::Fraction) {
        let plot = fraction(measure, groups, runs);
        if plot.lines.iter().any(|line| !line.points.is_empty()) {
            let caption = "On the validation data, while training.";
            drawn.push(Drawn::new(measure.name, measure.words, caption, plot));
        }
    }
    let caption = format!("Before clipping. {average}");
    drawn.push(Drawn::new("gradient_norm", "Gradient norm", &caption, gradient));
    drawn
}

/// What the scores of training are of.
fn scored_while_training(runs: &[RunMetrics]) -> String {
    let lines = runs.iter().flat_map(|run| &run.metrics);
    let mut extents: Vec<Vec<Extent>> = lines.map(|line| Extent::beside(&line.values)).collect();
    extents.retain(|extents| !extents.is_empty());
    extents.dedup();
    match &extents[..] {
        [] => "On the validation data, as far as it is scored while training.".into(),
        [all, rest @ ..] if rest.iter().all(|other| other == all) => {
            format!("On {}, to the last step.", joined(all))
        }
        _ => "Not always on the same part of the validation data, as --steps, --eval-tokens or \
             --eval-images changed: points of other parts do not compare."
            .into(),
    }
}

/// What the loss can be held against, in nats a token.
fn levels(summary: &Summary) -> Vec<(f64, &'static str)> {
    let fact = |name: &str| summary.facts.number(name);
    let per_token = |nats_per_word: f64| nats_per_word / fact("tokens_per_word");
    let levels = [
        (fact("unigram_loss"), "unigram model"),
        (per_token(fact("entropy_floor")), "entropy of the text"),
    ];
    levels.into_iter().filter(|(level, _)| level.is_finite()).collect()
}

/// A line for each variant, the mean over its curves.
fn lines(groups: &[Group], curves: impl Fn(&str) -> Vec<Curve>) -> Vec<Line> {
    let line = |(colour, group): (usize, &Group)| Line {
        colour,
        points: over_seeds(&curves(group.variant)),
    };
    groups.iter().enumerate().map(line).collect()
}

fn of_variant<'a>(
    runs: &'a [RunMetrics],
    variant: &'a str,
) -> impl Iterator<Item = &'a RunMetrics> {
    runs.iter().filter(move |run| run.variant == variant)
}

/// One of a run's numbers over its steps, where it is finite.
fn curve(run: &RunMetrics, number: impl Fn(&Metric) -> Option<f64>) -> Curve {
    let points = run.metrics.iter().filter_map(|line| Some((line.step, number(line)?)));
    points.filter(|(_, y)| y.is_finite()).collect()
}

/// One of a run's scores over its steps.
fn score(run: &RunMetrics, name: &str) -> Curve {
    curve(run, |line| Some(line.values.number(name)))
}

/// The curves of an accuracy.
fn fraction(measure: &Measure, groups: &[Group], runs: &[RunMetrics]) -> Plot {
    Plot {
        x: "step",
        y: measure.words.to_owned(),
        logarithmic: false,
        lines: lines(groups, |variant| {
            of_variant(runs, variant).map(|run| score(run, measure.name)).collect()
        }),
        levels: vec![],
    }
}

/// Training loss less the baseline's with the same seed, one curve for each seed.
fn relative_loss(runs: &[RunMetrics], variant: &str, baseline: &str) -> Vec<Curve> {
    if variant == baseline {
        return Vec::new();
    }
    let loss = |run: &RunMetrics| curve(run, |line| Some(line.loss));
    let against_baseline = |run: &RunMetrics| {
        let baseline = of_variant(runs, baseline).find(|other| other.seed == run.seed)?;
        Some(moving_average(&difference(&loss(run), &loss(baseline)), |_| RELATIVE_WINDOW))
    };
    of_variant(runs, variant).filter_map(against_baseline).collect()
}

pub(super) fn figure(plot: &Plot, title: &str, caption: &str) -> Markup {
    html! {
        figure {
            h3 { (title) }
            @match plot.svg() {
                Some(svg) => div role="img" aria-label=(title) { (PreEscaped(svg)) },
                None => p.quiet { "Nothing was measured." },
            }
            figcaption { (caption) }
        }
    }
}

/// Speed and memory as bars.
pub(super) fn costs(summary: &Summary, groups: &[Group]) -> Markup {
    let name = format!("{}s_per_second", summary.unit);
    let speed = format!("Training speed, {}s/s", summary.unit);
    let rate = |group: &Group| group.spread(|run| run.number(&name)).mean;
    let memory = |group: &Group| peak_memory(group) as f64;
    let cache = |group: &Group| group.runs[0].number(KV_CACHE);
    let size = |number: f64| bytes(number as u64);
    html! {
        div.bar-charts {
            (bars(groups, &speed, &rate, &|number| fixed(number, 0)))
            (bars(groups, "Peak memory", &memory, &size))
            @if groups.iter().any(|group| cache(group).is_finite()) {
                (bars(groups, "KV cache for each token of context", &cache, &size))
            }
        }
    }
}

fn bars(
    groups: &[Group],
    title: &str,
    number: &dyn Fn(&Group) -> f64,
    show: &dyn Fn(f64) -> String,
) -> Markup {
    let largest = groups.iter().map(number).filter(|x| x.is_finite()).fold(0.0, f64::max);
    html! {
        figure {
            h3 { (title) }
            div.bars { @for (i, group) in groups.iter().enumerate() {
                @let percent = (100.0 * number(group) / largest).clamp(0.0, 100.0);
                span { (label(group.variant)) }
                span class={ "bar c" (i % COLOURS) }
                    style={ "width:" (if percent.is_finite() { percent } else { 0.0 }) "%" } {}
                span.value { (show(number(group))) }
            } }
        }
    }
}
