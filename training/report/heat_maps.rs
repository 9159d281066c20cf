//! Heat maps: a number for each place of a grid, a panel for each variant, one scale of colours for all.

use super::format::fixed;
use super::plots::{AXIS, Area, FAMILY, Failure, TEXT, decimals, extent, short};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use std::ops::Range;

/// Panels with what is on their axes.
pub(super) struct HeatMap {
    /// What the columns are.
    pub x: &'static str,
    /// What the rows are.
    pub y: &'static str,
    /// Whether columns are steps, as wide as far as they reach, and not numbered places.
    pub over_steps: bool,
    pub panels: Vec<Panel>,
}

/// The numbers of one variant.
pub(super) struct Panel {
    pub title: String,
    /// Column, row, number.
    pub cells: Vec<(u64, u64, f64)>,
}

/// A heat map with its texts.
pub(super) struct DrawnMap {
    pub name: String,
    pub title: String,
    pub caption: String,
    pub map: HeatMap,
    /// The names of the panels, as variants are called in files.
    pub variants: Vec<String>,
}

/// From low to high: colours that grow lighter evenly, and that colour-blind eyes can order.
const RAMP: [(f64, f64, f64); 5] = [
    (68.0, 1.0, 84.0),
    (59.0, 82.0, 139.0),
    (33.0, 145.0, 140.0),
    (94.0, 201.0, 98.0),
    (253.0, 231.0, 37.0),
];

/// The height of the rows of panels, and how many stand beside each other.
const HEIGHT: u32 = 460;
const BESIDE: usize = 2;

/// The width of the scale of colours.
const SCALE: u32 = 170;

impl HeatMap {
    /// The height of all panels.
    pub(super) fn height(&self) -> u32 {
        HEIGHT * self.panels.len().div_ceil(BESIDE) as u32
    }

    /// Draws all panels and the scale; none if there is no finite number to show.
    pub(super) fn draw(&self, area: &Area, font: f64) -> Option<()> {
        let finite = |number: &f64| number.is_finite();
        let cells = || self.panels.iter().flat_map(|panel| &panel.cells);
        let scale = extent(cells().map(|cell| cell.2).filter(finite))?;
        let columns = extent(cells().map(|cell| cell.0 as f64))?;
        let rows = extent(cells().map(|cell| cell.1 as f64))?;
        let width = area.dim_in_pixel().0.saturating_sub(SCALE);
        let (left, right) = area.split_horizontally(width);
        let beside = BESIDE.min(self.panels.len());
        let areas = left.split_evenly((self.panels.len().div_ceil(beside), beside));
        for (panel, area) in self.panels.iter().zip(areas) {
            self.panel(panel, &area, font, &scale, (&columns, &rows)).ok()?;
        }
        colours(&right, font, &scale).ok()
    }

    fn panel(
        &self,
        panel: &Panel,
        area: &Area,
        font: f64,
        scale: &Range<f64>,
        (columns, rows): (&Range<f64>, &Range<f64>),
    ) -> Result<(), Failure> {
        let edges = self.edges(panel);
        let x = match (edges.first(), edges.last()) {
            (Some(first), Some(last)) if self.over_steps => first.1..last.2,
            _ => columns.start - 0.5..columns.end + 0.5,
        };
        let style = (FAMILY, font).into_font().color(&TEXT);
        let mut chart = ChartBuilder::on(area)
            .margin(12)
            .caption(&panel.title, style.clone())
            .x_label_area_size(2.4 * font)
            .y_label_area_size(2.4 * font)
            .build_cartesian_2d(x, rows.start - 0.5..rows.end + 0.5)?;
        chart.draw_series(panel.cells.iter().filter(|cell| cell.2.is_finite()).map(|cell| {
            let edge = edges.iter().find(|(column, ..)| *column == cell.0);
            let (left, right) = edge.map_or((0.0, 0.0), |edge| (edge.1, edge.2));
            let row = cell.1 as f64;
            let corners = [(left, row - 0.5), (right, row + 0.5)];
            Rectangle::new(corners, colour(cell.2, scale).filled())
        }))?;
        let whole = |number: &f64| if number.fract() == 0.0 { short(*number) } else { "".into() };
        chart
            .configure_mesh()
            .disable_mesh()
            .x_labels(5)
            .y_labels((rows.end - rows.start) as usize + 2)
            .axis_style(AXIS.stroke_width(2))
            .label_style(style)
            .x_desc(self.x)
            .y_desc(self.y)
            .x_label_formatter(&whole)
            .y_label_formatter(&whole)
            .draw()
    }

    /// From where to where each column reaches: half-way to its neighbours.
    fn edges(&self, panel: &Panel) -> Vec<(u64, f64, f64)> {
        let mut columns: Vec<u64> = panel.cells.iter().map(|cell| cell.0).collect();
        columns.sort_unstable();
        columns.dedup();
        if !self.over_steps {
            return columns.iter().map(|c| (*c, *c as f64 - 0.5, *c as f64 + 0.5)).collect();
        }
        let middle = |a: u64, b: u64| (a as f64 + b as f64) / 2.0;
        let edge = |i: usize| {
            let column = columns[i];
            let before = i.checked_sub(1).map(|i| middle(columns[i], column));
            let after = columns.get(i + 1).map(|next| middle(column, *next));
            let own = column as f64;
            // At the ends a column is as wide to both sides.
            let left = before.or_else(|| Some((2.0 * own - after?).max(0.0))).unwrap_or(own - 0.5);
            let right = after.or_else(|| Some(2.0 * own - before?)).unwrap_or(own + 0.5);
            (column, left, right)
        };
        (0..columns.len()).map(edge).collect()
    }
}

/// The colour of a number on a scale.
fn colour(number: f64, scale: &Range<f64>) -> RGBColor {
    let width = scale.end - scale.start;
    let share = if width > 0.0 { ((number - scale.start) / width).clamp(0.0, 1.0) } else { 0.5 };
    let place = share * (RAMP.len() - 1) as f64;
    let low = (place as usize).min(RAMP.len() - 2);
    let along = place - low as f64;
    let mix = |a: f64, b: f64| (a + along * (b - a)).round() as u8;
    let (a, b) = (RAMP[low], RAMP[low + 1]);
    RGBColor(mix(a.0, b.0), mix(a.1, b.1), mix(a.2, b.2))
}

/// The scale of colours with its ends and middle.
fn colours(area: &Area, font: f64, scale: &Range<f64>) -> Result<(), Failure> {
    const PARTS: i32 = 50;
    let height = area.dim_in_pixel().1 as i32;
    let (top, bottom) = ((1.5 * font) as i32, height - (3.0 * font) as i32);
    let at = |part: i32| bottom - (bottom - top) * part / PARTS;
    let number =
        |part: i32| scale.start + (scale.end - scale.start) * f64::from(part) / f64::from(PARTS);
    for part in 0..PARTS {
        let corners = [(0, at(part + 1)), (30, at(part))];
        area.draw(&Rectangle::new(corners, colour(number(part), scale).filled()))?;
    }
    let anchor = Pos::new(HPos::Left, VPos::Center);
    let style = (FAMILY, font).into_font().color(&TEXT).pos(anchor);
    let digits = decimals(scale) + 1;
    for part in [0, PARTS / 2, PARTS] {
        let text = fixed(number(part), digits.min(4));
        area.draw(&Text::new(text, (38, at(part)), style.clone()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_go_from_the_first_to_the_last() {
        let scale = 1.0..3.0;
        assert_eq!(colour(1.0, &scale), RGBColor(68, 1, 84));
        assert_eq!(colour(2.0, &scale), RGBColor(33, 145, 140));
        assert_eq!(colour(3.0, &scale), RGBColor(253, 231, 37));
        // One number alone is in the middle.
        assert_eq!(colour(5.0, &(5.0..5.0)), RGBColor(33, 145, 140));
    }

    #[test]
    fn steps_reach_half_way_to_their_neighbours() {
        let cells = vec![(10, 1, 0.5), (20, 1, 0.5), (40, 1, 0.5)];
        let panels = vec![Panel { title: String::new(), cells }];
        let map = HeatMap { x: "step", y: "block", over_steps: true, panels };
        assert_eq!(
            map.edges(&map.panels[0]),
            [(10, 5.0, 15.0), (20, 15.0, 30.0), (40, 30.0, 50.0)]
        );
    }
}
