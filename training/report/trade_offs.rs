//! Plots of a comparison: scores over steps, data and time, and scores against what they cost.

use super::SideBySide;
use super::curves::{Curve, over_seeds};
use super::figures::figure;
use super::measures::{Measure, Style};
use super::plots::{COLOURS, Line, Plot};
use super::table::KV_CACHE;
use super::{Group, RunMetrics, Spread};
use crate::run::Metric;
use maud::{Markup, html};
use std::collections::BTreeMap;

/// Seconds below which times are shown in thousandths.
const SHORT: f64 = 100.0;

/// Scores over steps, over what was learnt from, and over time.
pub(super) fn curves(compared: &SideBySide) -> Markup {
    let unit = format!("{}s", compared.summary.unit);
    let data = match compared.summary.unit.as_str() {
        "token" => "training tokens",
        "image" => "training images",
        _ => "training examples",
    };
    let lines = || compared.metrics.iter().flat_map(|run| &run.metrics);
    let longest = lines().map(|line| line.seconds).fold(0.0, f64::max);
    let (time, scale) = time(longest);
    let plot = |x: &'static str, place: &dyn Fn(&Metric) -> f64| curve(compared, x, place);
    let caption = "The mean over seeds; the band is their sample standard deviation.";
    let of_seen = |line: &Metric| line.values.number(&unit);
    html! {
        div.plots {
            (figure(&plot("step", &|line| line.step as f64), "Over steps", caption))
            (figure(&plot(data, &of_seen), "Over data", caption))
            (figure(&plot(time, &|line| scale * line.seconds), "Over time",
                "Since training began, evaluation included; only times of one device compare."))
        }
    }
}

/// A score against parameters, cache and time. Only rows whose data and tokens are the baseline's have a
/// place there.
pub(super) fn pareto(compared: &SideBySide) -> Markup {
    let groups = compared.summary.groups();
    let longest = groups.iter().map(|group| seconds(group)).fold(0.0, f64::max);
    let (time, scale) = time(longest);
    let parameters = |group: &Group| group.runs[0].parameters as f64;
    let cache = |group: &Group| group.runs[0].number(KV_CACHE);
    let plot = |x: &'static str, cost: &dyn Fn(&Group) -> f64| against(compared, x, cost);
    let caption = "A dot for each row. The grey line joins those that no other row beats in both.";
    html! {
        div.plots {
            (figure(&plot("parameters", &parameters), "Score and parameters", caption))
            @if groups.iter().any(|group| cache(group).is_finite()) {
                (figure(&plot("bytes of KV cache a token", &cache), "Score and cache", caption))
            }
            (figure(&plot(time, &|group| scale * seconds(group)), "Score and training time", caption))
        }
    }
}

/// The name of an axis of time, and what seconds are multiplied with there: places are whole numbers.
fn time(longest: f64) -> (&'static str, f64) {
    if longest < SHORT { ("training time (ms)", 1e3) } else { ("training time (s)", 1.0) }
}

fn seconds(group: &Group) -> f64 {
    group.spread(|run| run.wall_seconds).mean
}

/// What stands beside the vertical axis.
fn title(measure: &Measure) -> String {
    match measure.style {
        Style::Information => format!("{} (nats)", measure.words),
        _ => measure.words.to_owned(),
    }
}

/// The score over what `place` counts: means over the models of a row at each step.
fn curve(compared: &SideBySide, x: &'static str, place: &dyn Fn(&Metric) -> f64) -> Plot {
    let measure = compared.measure();
    let line = |(colour, group): (usize, &Group)| {
        let of_row = |run: &&RunMetrics| run.variant == group.variant;
        let runs: Vec<&RunMetrics> = compared.metrics.iter().filter(of_row).collect();
        let along = |number: &dyn Fn(&Metric) -> f64| {
            let scored = |line: &&Metric| line.values.number(measure.name).is_finite();
            let curve = |run: &&RunMetrics| -> Curve {
                run.metrics.iter().filter(scored).map(|line| (line.step, number(line))).collect()
            };
            over_seeds(&runs.iter().map(curve).collect::<Vec<_>>())
        };
        let scores = along(&|line| line.values.number(measure.name));
        let places = along(place);
        let points = scores.into_iter().filter_map(|(step, score)| {
            let place = places[&step].mean;
            place.is_finite().then_some((place as u64, score))
        });
        Line { colour, points: points.collect() }
    };
    let lines = compared.summary.groups().iter().enumerate().map(line).collect();
    Plot { x, y: title(measure), logarithmic: false, lines, levels: vec![] }
}

/// The score over a cost.
fn against(compared: &SideBySide, x: &'static str, cost: &dyn Fn(&Group) -> f64) -> Plot {
    let measure = compared.measure();
    let groups = compared.summary.groups();
    let mut dots = Vec::new();
    for (colour, group) in groups.iter().enumerate() {
        let (cost, score) = (cost(group), group.spread(|run| run.number(measure.name)));
        if cost.is_finite() && score.mean.is_finite() && compared.is_comparable(colour) {
            dots.push((colour, cost, score));
        }
    }
    let places: Vec<(f64, f64)> = dots.iter().map(|(_, cost, score)| (*cost, score.mean)).collect();
    let front = front(&places, measure.more_is_better());
    let joined = front.into_iter().map(|(cost, score)| (cost as u64, Spread::of([score])));
    let mut lines = vec![Line { colour: COLOURS - 1, points: joined.collect() }];
    lines.extend(dots.into_iter().map(|(colour, cost, score)| Line {
        colour,
        points: BTreeMap::from([(cost as u64, score)]),
    }));
    Plot { x, y: title(measure), logarithmic: false, lines, levels: vec![] }
}

/// Of places (cost, score) those that no other has beaten in one and reached in the other, by cost.
fn front(places: &[(f64, f64)], more_is_better: bool) -> Vec<(f64, f64)> {
    let worth = |score: f64| if more_is_better { score } else { -score };
    let beaten = |(cost, score): (f64, f64)| {
        places.iter().any(|(other, its)| {
            let no_worse = *other <= cost && worth(*its) >= worth(score);
            no_worse && (*other < cost || worth(*its) > worth(score))
        })
    };
    let mut front: Vec<(f64, f64)> =
        places.iter().copied().filter(|place| !beaten(*place)).collect();
    front.sort_by(|a, b| a.0.total_cmp(&b.0));
    front.dedup();
    front
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_nothing_beats_is_on_the_front() {
        let places = [(3.0, 1.0), (1.0, 3.0), (2.0, 2.0), (2.5, 2.5), (3.0, 1.5), (2.0, 2.0)];
        assert_eq!(front(&places, false), [(1.0, 3.0), (2.0, 2.0), (3.0, 1.0)]);
        assert_eq!(front(&places, true), [(1.0, 3.0)]);
        assert_eq!(front(&[], true), []);
    }
}
