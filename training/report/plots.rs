//! Plots as SVG. They are drawn with the colours below, and the page's style sheet (`report.css`)
//! replaces those by others that suit a light or a dark screen: a style goes before an attribute.

use super::Spread;
use super::format::fixed;
use plotters::coord::Shift;
use plotters::coord::ranged1d::{AsRangedCoord, ValueFormatter};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use std::collections::BTreeMap;
use std::ops::Range;

/// How many lines have a colour of their own; more begin again.
pub(super) const COLOURS: usize = 8;

/// Okabe and Ito's palette (2008), which stays distinct to colour-blind eyes; the yellow is
/// darkened and black is a grey, so that all show on both grounds.
pub(super) const SERIES: [RGBColor; COLOURS] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(230, 159, 0),
    RGBColor(176, 160, 20),
    RGBColor(119, 119, 119),
];
pub(super) const TEXT: RGBColor = RGBColor(51, 51, 51);
pub(super) const AXIS: RGBColor = RGBColor(153, 153, 153);
const GRID: RGBColor = RGBColor(229, 229, 229);

/// Size of a plot in its own units. Coordinates are whole numbers, so that many units make smooth
/// lines; the page scales them down.
const SIZE: (u32, u32) = (1200, 720);
pub(super) const FAMILY: &str = "sans-serif";
const FONT: (&str, f64) = (FAMILY, 32.0);

/// About how many labels the vertical axis has.
const LABELS: usize = 7;

/// Beyond this a loss has diverged, and would hide all others on the axis.
const LARGEST: f64 = 1e6;

/// Where something is drawn.
pub(super) type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Why it could not be drawn.
pub(super) type Failure = DrawingAreaErrorKind<std::io::Error>;

/// One line: its colour's number, and the mean and spread at each step.
pub(super) struct Line {
    pub colour: usize,
    pub points: BTreeMap<u64, Spread>,
}

/// A plot over training steps, or whatever else is counted.
pub(super) struct Plot {
    pub x: &'static str,
    pub y: String,
    /// Whether equal distances are equal ratios of steps.
    pub logarithmic: bool,
    pub lines: Vec<Line>,
    /// Horizontal lines, with their names, which may be empty.
    pub levels: Vec<(f64, &'static str)>,
}

impl Plot {
    /// The plot as an `<svg>` element; none if there is no finite number to show.
    pub(super) fn svg(&self) -> Option<String> {
        let mut svg = String::new();
        let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        let drawn = self.draw(&area, FONT.1);
        drop(area);
        drawn.map(|()| svg)
    }

    /// Draws the plot; none if there is no finite number to show.
    pub(super) fn draw(&self, area: &Area, font: f64) -> Option<()> {
        let visible = |line: &Line| {
            let mut line = Line { colour: line.colour, points: line.points.clone() };
            let drawable = |x: u64| x > 0 || !self.logarithmic;
            line.points.retain(|&x, y| drawable(x) && y.mean.abs() < LARGEST);
            line
        };
        let lines: Vec<Line> = self.lines.iter().map(visible).collect();
        let x = lines.iter().flat_map(|line| line.points.keys()).map(|&step| step as f64);
        let x = extent(x)?;
        let y = lines.iter().flat_map(|line| line.points.values()).flat_map(|y| {
            let deviation = finite_deviation(y);
            [y.mean - deviation, y.mean + deviation]
        });
        let levels = self.levels.iter().map(|(y, _)| *y).filter(|y| y.abs() < LARGEST);
        let y = extent(y.chain(levels))?;
        let margin = if y.start < y.end { 0.06 * (y.end - y.start) } else { 0.5 };
        let y = y.start - margin..y.end + margin;

        // Writing to a string cannot fail, and a plot that could is better left out.
        let drawn = if self.logarithmic {
            let x = if x.start < x.end { x } else { x.start / 2.0..x.end * 2.0 };
            self.draw_on(area, font, &lines, x.clone(), x.log_scale(), y)
        } else {
            let x = if x.start < x.end { x } else { x.start - 1.0..x.end + 1.0 };
            self.draw_on(area, font, &lines, x.clone(), x, y)
        };
        drawn.ok()
    }

    fn draw_on<X>(
        &self,
        area: &Area,
        font: f64,
        lines: &[Line],
        x: Range<f64>,
        axis: impl AsRangedCoord<CoordDescType = X, Value = f64>,
        y: Range<f64>,
    ) -> Result<(), Failure>
    where
        X: Ranged<ValueType = f64> + ValueFormatter<f64>,
    {
        let larger = font / FONT.1;
        let label = (FONT.0, font);
        let mut chart = ChartBuilder::on(area)
            .margin(16)
            .margin_right(40)
            .x_label_area_size(90.0 * larger)
            .y_label_area_size(130.0 * larger)
            .build_cartesian_2d(axis, y.clone())?;
        let decimals = decimals(&y);
        chart
            .configure_mesh()
            .x_labels(6)
            .y_labels(LABELS)
            .max_light_lines(0)
            .bold_line_style(GRID.stroke_width(2))
            .axis_style(AXIS.stroke_width(2))
            .label_style(label.into_font().color(&TEXT))
            .x_desc(self.x)
            .y_desc(&self.y)
            .x_label_formatter(&|x| short(*x))
            .y_label_formatter(&|y| fixed(*y, decimals))
            .draw()?;
        for (level, name) in self.levels.iter().filter(|(level, _)| y.contains(level)) {
            let ends = [(x.start, *level), (x.end, *level)];
            chart.draw_series(DashedLineSeries::new(ends, 14, 10, TEXT.stroke_width(3)))?;
            let anchor = Pos::new(HPos::Left, VPos::Bottom);
            let style = label.into_font().color(&TEXT).pos(anchor);
            chart.draw_series([
                EmptyElement::at((x.start, *level)) + Text::new(*name, (12, -8), style)
            ])?;
        }
        for line in lines {
            let colour = SERIES[line.colour % COLOURS];
            let points = self.thinned(line, &x);
            if points.iter().any(|(_, y)| finite_deviation(y) > 0.0) {
                let edge = |sign: f64| {
                    points.iter().map(move |(x, y)| (*x, y.mean + sign * finite_deviation(y)))
                };
                let band: Vec<(f64, f64)> = edge(1.0).chain(edge(-1.0).rev()).collect();
                chart.draw_series([Polygon::new(band, colour.mix(0.18))])?;
            }
            let means = points.iter().map(|(x, y)| (*x, y.mean));
            chart.draw_series(LineSeries::new(means.clone(), colour.stroke_width(5)))?;
            // A line of few points, and one point that makes no line, show where they are.
            if points.len() <= 30 {
                chart.draw_series(means.map(|point| Circle::new(point, 8, colour.filled())))?;
            }
        }
        area.present()
    }

    /// At most some 400 points of a line, evenly spaced on the axis; the last one is kept.
    fn thinned(&self, line: &Line, x: &Range<f64>) -> Vec<(f64, Spread)> {
        let along_axis = |x: f64| if self.logarithmic { x.ln() } else { x };
        let gap = (along_axis(x.end) - along_axis(x.start)) / 400.0;
        let last = line.points.keys().next_back().copied();
        let mut next = f64::NEG_INFINITY;
        let mut kept = Vec::new();
        for (&step, &y) in &line.points {
            let x = step as f64;
            if along_axis(x) >= next || Some(step) == last {
                kept.push((x, y));
                next = along_axis(x) + gap;
            }
        }
        kept
    }
}

fn finite_deviation(y: &Spread) -> f64 {
    y.deviation.filter(|deviation| *deviation < LARGEST).unwrap_or(0.0)
}

/// From the smallest to the largest number; none without any.
pub(super) fn extent(numbers: impl Iterator<Item = f64>) -> Option<Range<f64>> {
    numbers.fold(None, |extent: Option<Range<f64>>, number| {
        let Range { start, end } = extent.unwrap_or(number..number);
        Some(start.min(number)..end.max(number))
    })
}

/// Decimals that tell the labels of the vertical axis apart.
pub(super) fn decimals(y: &Range<f64>) -> usize {
    (-((y.end - y.start) / LABELS as f64).log10().floor()).clamp(0.0, 6.0) as usize
}

/// A step as an axis shows it: 1, 300, 2k, 1.5M.
pub(super) fn short(step: f64) -> String {
    match step {
        s if s >= 1e6 => format!("{}M", (s / 1e5).round() / 10.0),
        s if s >= 1e3 => format!("{}k", (s / 1e2).round() / 10.0),
        s => format!("{}", (s * 10.0).round() / 10.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plot(points: &[(u64, f64)], logarithmic: bool) -> Option<String> {
        let points = points.iter().map(|&(step, y)| (step, Spread::of([y, y + 0.1]))).collect();
        let lines = vec![Line { colour: 9, points }];
        Plot { x: "step", y: "loss".to_owned(), logarithmic, lines, levels: vec![(7.0, "level")] }
            .svg()
    }

    #[test]
    fn every_kind_of_curve_gives_a_sound_plot_or_none() {
        for logarithmic in [false, true] {
            assert!(plot(&[], logarithmic).is_none());
            assert!(plot(&[(1, f64::NAN), (2, f64::INFINITY)], logarithmic).is_none());
            let one = plot(&[(5, 3.0)], logarithmic).unwrap();
            assert!(one.contains("<circle"), "a single point is visible");
            let flat = plot(&[(1, 7.0), (2, 7.0)], logarithmic).unwrap();
            let diverged = plot(&[(1, 3.0), (2, 1e300), (3, f64::NAN)], logarithmic).unwrap();
            for svg in [one, flat, diverged] {
                assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
                assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
            }
        }
    }

    #[test]
    fn long_runs_are_thinned_to_a_small_page() {
        let points: Vec<(u64, f64)> =
            (1..=50_000).map(|step| (step, (step as f64).sin())).collect();
        assert!(plot(&points, true).unwrap().len() < 40_000);
        assert!(plot(&points, false).unwrap().len() < 40_000);
    }

    #[test]
    fn steps_are_short() {
        let labels = [1.0, 2.5, 300.0, 2000.0, 12_500.0, 3e6].map(short);
        assert_eq!(labels, ["1", "2.5", "300", "2k", "12.5k", "3M"]);
    }
}
