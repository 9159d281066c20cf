//! Charts as SVG. Each brings colours for light and for dark screens, and its own ground, so that it can
//! be read wherever it is shown.

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use std::ops::Range;

/// Okabe and Ito's palette (2008), without its yellow: distinct to colour-blind eyes.
const COLOURS: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(230, 159, 0),
    RGBColor(119, 119, 119),
];
const GROUND: RGBColor = RGBColor(255, 255, 254);
const TEXT: RGBColor = RGBColor(34, 34, 33);
const RULE: RGBColor = RGBColor(221, 221, 220);

const SIZE: (u32, u32) = (760, 440);
const FONT: (&str, u32) = ("sans-serif", 18);

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// One line of a chart: its name, and its points from left to right.
pub struct Line {
    pub name: String,
    pub points: Vec<(f64, f64)>,
    /// How far the band around the line goes up and down at each point; empty for none.
    pub spread: Vec<f64>,
}

impl Line {
    pub fn new(name: impl Into<String>, points: Vec<(f64, f64)>) -> Line {
        Line { name: name.into(), points, spread: Vec::new() }
    }
}

/// Lines over a common axis, with a legend above.
pub fn lines(title: &str, x: &str, y: &str, lines: &[Line]) -> String {
    let edges = |line: &Line| -> Vec<f64> {
        let spread = line.spread.iter().copied().chain(std::iter::repeat(0.0));
        line.points.iter().zip(spread).flat_map(|((_, y), s)| [y - s, y + s]).collect()
    };
    let across = extent(lines.iter().flat_map(|line| line.points.iter().map(|point| point.0)), 0.0);
    let up = extent(lines.iter().flat_map(edges), 0.06);
    let digits = (-((up.end - up.start) / 7.0).log10().floor()).clamp(0.0, 6.0) as usize;
    draw(SIZE, |area| {
        let head = legend(area, title, lines);
        let (_, body) = area.split_vertically(head);
        let label = FONT.into_font().color(&TEXT);
        let mut chart = ChartBuilder::on(&body)
            .margin(10)
            .margin_right(24)
            .x_label_area_size(48)
            .y_label_area_size(76)
            .build_cartesian_2d(across, up)
            .expect("an SVG in memory");
        chart
            .configure_mesh()
            .max_light_lines(0)
            .bold_line_style(RULE)
            .axis_style(TEXT)
            .label_style(label.clone())
            .axis_desc_style(label)
            .x_desc(x)
            .y_desc(y)
            .x_labels(7)
            .y_labels(7)
            .x_label_formatter(&|x| tick(*x, 3))
            .y_label_formatter(&|y| format!("{y:.digits$}"))
            .draw()
            .expect("an SVG in memory");
        for (line, colour) in lines.iter().zip(COLOURS.iter().cycle()) {
            if !line.spread.is_empty() {
                let edge = |sign: f64| {
                    let points = line.points.iter().zip(&line.spread);
                    points.map(move |((x, y), spread)| (*x, y + sign * spread))
                };
                let upper: Vec<_> = edge(1.0).collect();
                let band: Vec<_> = edge(-1.0).chain(upper.into_iter().rev()).collect();
                chart.draw_series([Polygon::new(band, colour.mix(0.2))]).expect("in memory");
            }
            let points = line.points.iter().copied();
            let series = LineSeries::new(points, colour.stroke_width(3));
            chart.draw_series(series).expect("an SVG in memory");
        }
    })
}

/// Writes the title, and below it the lines' names with their colours; returns how high both are.
fn legend(area: &Area, title: &str, lines: &[Line]) -> i32 {
    let write = |text: &str, place: (i32, i32), size: u32| {
        let style = (FONT.0, size).into_font().color(&TEXT);
        area.draw(&Text::new(text.to_owned(), place, style)).expect("an SVG in memory");
    };
    write(title, (14, 10), 22);
    let (mut left, mut top) = (14, 46);
    for (line, colour) in lines.iter().zip(COLOURS.iter().cycle()) {
        let width = 52 + 10 * line.name.chars().count() as i32;
        if left + width > SIZE.0 as i32 && left > 14 {
            (left, top) = (14, top + 26);
        }
        let stroke =
            PathElement::new([(left, top + 9), (left + 24, top + 9)], colour.stroke_width(4));
        area.draw(&stroke).expect("an SVG in memory");
        write(&line.name, (left + 32, top), FONT.1);
        left += width;
    }
    top + 26
}

/// A number on an axis, with no more digits than it needs.
fn tick(value: f64, digits: usize) -> String {
    let text = format!("{value:.digits$}");
    let text =
        if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    text.to_owned()
}

/// Horizontal bars with their names and numbers, and perhaps a limit as a dashed line.
pub fn bars(title: &str, unit: &str, bars: &[(String, f64)], limit: Option<(&str, f64)>) -> String {
    const ROW: i32 = 34;
    let most = bars.iter().map(|bar| bar.1).chain(limit.map(|limit| limit.1)).fold(0.0, f64::max);
    let height = 96 + ROW * bars.len() as i32;
    let (left, right) = (250, SIZE.0 as i32 - 110);
    let reach = |value: f64| left + ((right - left) as f64 * value / most.max(1e-300)) as i32;
    draw((SIZE.0, height as u32), |area| {
        let label = |size: u32| (FONT.0, size).into_font().color(&TEXT);
        let write = |text: &str, place: (i32, i32), style: TextStyle| {
            area.draw(&Text::new(text.to_owned(), place, style)).expect("an SVG in memory");
        };
        write(title, (14, 12), label(22));
        write(unit, (14, height - 30), label(16));
        for (row, (name, value)) in (0..).zip(bars) {
            let top = 52 + ROW * row;
            write(name, (14, top + 4), label(FONT.1));
            let corners = [(left, top), (reach(*value), top + ROW - 10)];
            area.draw(&Rectangle::new(corners, COLOURS[0].filled())).expect("an SVG in memory");
            write(&short(*value), (reach(*value) + 8, top + 4), label(FONT.1));
        }
        if let Some((name, value)) = limit {
            for top in (46..height - 40).step_by(10) {
                let dash = [(reach(value), top), (reach(value), top + 6)];
                let line = PathElement::new(dash, COLOURS[1].stroke_width(2));
                area.draw(&line).expect("an SVG in memory");
            }
            let text = format!("{name}: {}", short(value));
            let end = Pos::new(HPos::Right, VPos::Top);
            write(&text, (reach(value), height - 32), label(16).pos(end));
        }
    })
}

/// A matrix of numbers from 0 to their largest, rows from above; darker is more.
pub fn heat_map(title: &str, rows: &str, columns: &str, values: &[Vec<f64>]) -> String {
    let (height, width) = (values.len(), values.first().map_or(0, Vec::len));
    let most = values.iter().flatten().copied().fold(0.0, f64::max).max(1e-300);
    let cell = (400 / height.max(width).max(1)).max(2) as i32;
    let (left, top) = (60, 56);
    let size = (left + cell * width as i32 + 20, top + cell * height as i32 + 40);
    draw((size.0.max(380) as u32, size.1 as u32), |area| {
        let write = |text: &str, place: (i32, i32), size: u32| {
            let style = (FONT.0, size).into_font().color(&TEXT);
            area.draw(&Text::new(text.to_owned(), place, style)).expect("an SVG in memory");
        };
        write(title, (14, 10), 20);
        write(&format!("↓ {rows}   → {columns}"), (14, size.1 - 30), 16);
        for (row, line) in (0..).zip(values) {
            for (column, value) in (0..).zip(line) {
                let corner = (left + cell * column, top + cell * row);
                let corners = [corner, (corner.0 + cell, corner.1 + cell)];
                let colour = COLOURS[0].mix((value / most).clamp(0.0, 1.0)).filled();
                area.draw(&Rectangle::new(corners, colour)).expect("an SVG in memory");
            }
        }
        let frame = [(left, top), (left + cell * width as i32, top + cell * height as i32)];
        area.draw(&Rectangle::new(frame, TEXT.stroke_width(1))).expect("an SVG in memory");
    })
}

/// A number as a label shows it.
fn short(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 1.0 => format!("{value:.1}"),
        v if v >= 0.01 => format!("{value:.3}"),
        _ => format!("{value:.1e}"),
    }
}

/// From the smallest to the largest, with a margin of this share.
fn extent(values: impl Iterator<Item = f64>, margin: f64) -> Range<f64> {
    let finite = values.filter(|value| value.is_finite());
    let (least, most) = finite.fold((f64::INFINITY, f64::NEG_INFINITY), |(least, most), value| {
        (least.min(value), most.max(value))
    });
    match most - least {
        range if range > 0.0 => least - margin * range..most + margin * range,
        _ if least.is_finite() => least - 0.5..least + 0.5,
        _ => 0.0..1.0,
    }
}

fn draw(size: (u32, u32), body: impl FnOnce(&Area)) -> String {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        area.fill(&GROUND).expect("an SVG in memory");
        body(&area);
        area.present().expect("an SVG in memory");
    }
    with_themes(&svg)
}

/// Makes the picture as wide as its place, and gives it other colours on a dark screen: a style goes
/// before an attribute.
fn with_themes(svg: &str) -> String {
    let (head, body) = svg.split_once(">\n").expect("an SVG has a head");
    let hex = |colour: RGBColor| format!("#{:02X}{:02X}{:02X}", colour.0, colour.1, colour.2);
    let dark = [(GROUND, "#1c1c1e"), (TEXT, "#e6e6e6"), (RULE, "#444446")].map(|(from, to)| {
        let from = hex(from);
        format!("[fill=\"{from}\"]{{fill:{to}}}[stroke=\"{from}\"]{{stroke:{to}}}")
    });
    let style = format!("<style>@media (prefers-color-scheme: dark){{{}}}</style>", dark.concat());
    format!("{head}>\n{style}\n{body}")
}
