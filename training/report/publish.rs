//! The figures of a report one by one, each with its numbers: to print, or to draw anew.

use super::figures::{Drawn, curves};
use super::heat_maps::DrawnMap;
use super::inside;
use super::plots::{Area, FAMILY, Plot, SERIES, TEXT};
use super::{RunMetrics, label};
use crate::run::Summary;
use plotters::prelude::*;

/// A figure that stands alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Figure {
    /// What its files are called, such as `validation_loss`.
    pub name: String,
    /// Its title, which is in the picture too.
    pub title: String,
    /// What it shows.
    pub caption: String,
    /// The picture, with a title, a legend and units, on white ground. At a width of 8 cm its letters are
    /// 7 points high.
    pub svg: String,
    /// Its numbers: a line for each, the first names the columns. Means are over seeds, deviations sample
    /// standard deviations, empty for one seed.
    pub csv: String,
}

/// The width of a figure; its letters are as high as this makes 7 points at 8 cm.
const WIDTH: u32 = 1200;
const LETTERS: f64 = 37.0;
const PLOT_HEIGHT: u32 = 760;

/// All figures of a run: curves over training, what was measured inside the models over blocks, over steps
/// and for each head. A figure without numbers is left out.
///
/// ```
/// use neutreno::report::{RunMetrics, figures};
/// use neutreno::run::{Metric, Summary, VariantSummary};
/// let run = VariantSummary { variant: "svformer".into(), seed: 1, ..VariantSummary::default() };
/// let summary = Summary { variants: vec![run], ..Summary::default() };
/// let metrics = vec![Metric { step: 1, loss: 5.0, ..Metric::default() }];
/// let runs = [RunMetrics { variant: "svformer".into(), seed: 1, metrics, pictures: vec![] }];
/// let figures = figures(&summary, &runs);
/// assert_eq!(figures[0].name, "training_loss");
/// assert!(figures[0].svg.contains("SVFormer"));
/// assert!(figures[0].csv.starts_with("step,variant,mean,deviation,seeds\n1,svformer,5,,1\n"));
/// ```
pub fn figures(summary: &Summary, runs: &[RunMetrics]) -> Vec<Figure> {
    let groups = summary.groups();
    let variants: Vec<&str> = groups.iter().map(|group| group.variant).collect();
    let models = inside::measured(summary, runs);
    let mut measured: Vec<&str> = models.iter().map(|model| &*model.name).collect();
    let mut known = std::collections::BTreeSet::new();
    measured.retain(|name| known.insert(*name));
    let training = curves(summary, &groups, runs);
    let training = training.into_iter().filter_map(|drawn| of_plot(&drawn, &variants));
    let inside = inside::drawn(&models).into_iter().filter_map(|drawn| of_plot(&drawn, &measured));
    let plots = training.chain(inside);
    let maps = inside::heat_maps(&models).into_iter().filter_map(of_map);
    plots.chain(maps).collect()
}

fn of_plot(drawn: &Drawn, variants: &[&str]) -> Option<Figure> {
    let Drawn { name, title, caption, plot } = drawn;
    let mut used: Vec<usize> =
        plot.lines.iter().filter(|line| !line.points.is_empty()).map(|line| line.colour).collect();
    used.dedup();
    let names: Vec<(usize, String)> = used.iter().map(|i| (*i, label(variants[*i]))).collect();
    let svg = alone(title, &names, PLOT_HEIGHT, |area| plot.draw(area, LETTERS))?;
    Some(Figure {
        name: name.clone(),
        title: title.clone(),
        caption: caption.clone(),
        svg,
        csv: numbers(plot, variants),
    })
}

fn of_map(drawn: DrawnMap) -> Option<Figure> {
    let DrawnMap { name, title, caption, map, variants } = drawn;
    let svg = alone(&title, &[], map.height(), |area| map.draw(area, LETTERS))?;
    let mut csv = format!("{},{},variant,mean\n", map.x, map.y);
    for (panel, variant) in map.panels.iter().zip(&variants) {
        for (x, y, number) in panel.cells.iter().filter(|cell| cell.2.is_finite()) {
            csv += &format!("{x},{y},{},{number}\n", quoted(variant));
        }
    }
    Some(Figure { name, title, caption, svg, csv })
}

/// The numbers of a plot.
fn numbers(plot: &Plot, variants: &[&str]) -> String {
    let mut csv = format!("{},variant,mean,deviation,seeds\n", plot.x);
    for line in &plot.lines {
        for (x, y) in line.points.iter().filter(|(_, y)| y.mean.is_finite()) {
            let variant = quoted(variants[line.colour]);
            let deviation = y.deviation.map(|deviation| deviation.to_string()).unwrap_or_default();
            csv += &format!("{x},{variant},{},{deviation},{}\n", y.mean, y.count);
        }
    }
    csv
}

/// A field of CSV (RFC 4180).
fn quoted(field: &str) -> String {
    match field.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", field.replace('"', "\"\"")),
        false => field.into(),
    }
}

/// A picture that stands alone: its title, the names of the colours, and below them what `draw` draws.
fn alone(
    title: &str,
    names: &[(usize, String)],
    height: u32,
    draw: impl FnOnce(&Area) -> Option<()>,
) -> Option<String> {
    let rows = legend_rows(names);
    let line = (1.4 * LETTERS) as u32;
    let head = 24 + line * (1 + rows.len() as u32);
    let mut svg = String::new();
    let area = SVGBackend::with_string(&mut svg, (WIDTH, head + height)).into_drawing_area();
    area.fill(&WHITE).ok()?;
    let (top, below) = area.split_vertically(head);
    let style = (FAMILY, LETTERS).into_font().color(&TEXT);
    top.draw_text(title, &style, (20, 16)).ok()?;
    for (row, names) in (1..).zip(rows) {
        let y = 16 + (line * row) as i32;
        let mut x = 20;
        for (colour, name) in names {
            let colour = SERIES[colour % SERIES.len()];
            let dash = [(x, y + 14), (x + 44, y + 24)];
            top.draw(&Rectangle::new(dash, colour.filled())).ok()?;
            top.draw_text(name, &style, (x + 56, y)).ok()?;
            x += entry(name);
        }
    }
    let drawn = draw(&below);
    area.present().ok()?;
    drop((top, below, area));
    // Cells side by side show no seams.
    drawn.map(|()| svg.replace("<rect ", "<rect shape-rendering=\"crispEdges\" "))
}

/// About how wide a name with its dash is.
fn entry(name: &str) -> i32 {
    56 + (0.6 * LETTERS * name.chars().count() as f64) as i32 + 40
}

/// The names in rows that fit.
fn legend_rows(names: &[(usize, String)]) -> Vec<Vec<(usize, &str)>> {
    let mut rows: Vec<Vec<(usize, &str)>> = Vec::new();
    let mut room = 0;
    for (colour, name) in names {
        if rows.is_empty() || entry(name) > room {
            rows.push(Vec::new());
            room = WIDTH as i32 - 40;
        }
        room -= entry(name);
        rows.last_mut().expect("one was pushed").push((*colour, name));
    }
    rows
}
