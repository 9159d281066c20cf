//! A picture of a kernel as SVG: its lanes above, the words that they touch below, and a line for each
//! access. It has colours for light and for dark screens.

use crate::focus::{Focus, Scene, WARP, scenes};
use neutreno_simulator::{Does, Trace};
use std::collections::BTreeSet;
use std::fmt::Write;

const WIDTH: u32 = 760;
const MARGIN: u32 = 20;
/// The most words of a row of their own; more are shown as rows of 32, as banks lie.
const ROW: u32 = 64;
const BANKS: u32 = 32;
/// The most rows of 32.
const ROWS: u32 = 40;
/// Between the lanes and their words.
const GAP: u32 = 70;

const STYLE: &str = "<style>
.ground{fill:#fffffe}.text{fill:#222221;font:13px sans-serif}.small{fill:#555554;font:9px sans-serif}
.cell{fill:none;stroke:#aaaaa9}.read{stroke:#0072b2}.write{stroke:#d55e00}.race{stroke:#c8006a;stroke-width:3}
.was-read{fill:#0072b2;fill-opacity:.25}.was-write{fill:#d55e00;fill-opacity:.25}
.was-race{fill:#c8006a;fill-opacity:.6}
@media (prefers-color-scheme: dark){.ground{fill:#1c1c1e}.text{fill:#e6e6e6}.small{fill:#b0b0b0}
.cell{stroke:#666668}.read{stroke:#56b4e9}.write{stroke:#e69f00}.race{stroke:#ff5fa8}
.was-read{fill:#56b4e9}.was-write{fill:#e69f00}.was-race{fill:#ff5fa8}}
</style>";

/// The accesses that a focus chooses, one below the other.
pub fn draw(title: &str, trace: &Trace, focus: &Focus) -> String {
    let lanes = trace.touches.iter().map(|touch| touch.lane + 1).max().unwrap_or(1);
    let shown = if lanes > ROW { WARP } else { lanes };
    let note = match lanes {
        _ if lanes > shown => format!(" (lanes 0 to {} of {lanes})", shown - 1),
        _ => String::new(),
    };
    let mut body = String::new();
    write_text(&mut body, "text", [MARGIN, 28], title);
    let mut top = 48;
    let scenes = scenes(trace, focus, 4);
    for scene in &scenes {
        // Pictures of one variable show the same words.
        let same = scenes.iter().filter(|other| other.variable == scene.variable);
        let words: Vec<u32> = same.flat_map(|other| other.words(shown)).collect();
        write_text(&mut body, "text", [MARGIN, top + 14], &format!("{}{note}", scene.title()));
        top = draw_scene(&mut body, scene, &words, shown, top + 24);
    }
    let classes = [("read", "reads"), ("write", "writes"), ("race", "race: nothing orders it")];
    for (place, (class, name)) in (0..).zip(classes) {
        let left = MARGIN + 100 * place;
        write_line(&mut body, class, [left, top + 6], [left + 24, top + 6]);
        write_text(&mut body, "text", [left + 30, top + 10], name);
    }
    let height = top + 26;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\">\n{STYLE}\n\
         <rect class=\"ground\" width=\"{WIDTH}\" height=\"{height}\"/>\n{body}</svg>\n"
    )
}

/// Cells in a row or in several rows.
struct Cells {
    /// The first word or lane.
    first: u32,
    count: u32,
    columns: u32,
    top: u32,
    width: u32,
    height: u32,
}

impl Cells {
    /// With room for so many columns beside each other.
    fn new(first: u32, count: u32, columns: u32, room: u32, top: u32) -> Cells {
        let width = ((WIDTH - 2 * MARGIN) / room).min(22);
        Cells { first, count, columns, top, width, height: width.min(14) }
    }

    /// The upper left corner of a cell, if it is shown.
    fn corner(&self, number: u32) -> Option<[u32; 2]> {
        let place = number.checked_sub(self.first).filter(|place| *place < self.count)?;
        let (row, column) = (place / self.columns, place % self.columns);
        Some([MARGIN + column * self.width, self.top + row * self.height])
    }

    fn bottom(&self) -> u32 {
        self.top + self.count.div_ceil(self.columns) * self.height
    }

    /// Draws the cells, and numbers in every eighth and in those that are touched.
    fn draw(&self, body: &mut String, touched: &BTreeSet<u32>) {
        for number in self.first..self.first + self.count {
            let Some([x, y]) = self.corner(number) else { continue };
            self.fill(body, "cell", number);
            let has_room = self.width >= 18 && number < 1000;
            if number % 8 == 0 || (has_room && touched.contains(&number)) {
                write_text(body, "small", [x + 2, y + self.height - 3], &number.to_string());
            }
        }
    }

    fn fill(&self, body: &mut String, class: &str, number: u32) {
        let Some([x, y]) = self.corner(number) else { return };
        let Cells { width, height, .. } = self;
        let _ = writeln!(
            body,
            "<rect class=\"{class}\" x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\"/>"
        );
    }
}

/// Draws what the first `lanes` do in an access, below `top`, and returns where it ends. `words` are to be
/// seen.
fn draw_scene(body: &mut String, scene: &Scene, words: &[u32], lanes: u32, top: u32) -> u32 {
    let (Some(least), Some(most)) = (words.iter().min(), words.iter().max()) else { return top };
    let is_row = most - least / 8 * 8 < ROW + 8;
    let unit = if is_row { 8 } else { BANKS };
    let first = least / unit * unit;
    let count = ((most / unit + 1) * unit).min(scene.variable.words) - first;
    let columns = if is_row { count } else { BANKS };
    let room = columns.max(lanes);
    let above = Cells::new(0, lanes, lanes, room, top);
    let below = Cells::new(first, count.min(ROWS * BANKS), columns, room, above.bottom() + GAP);
    let mut touched = [BTreeSet::new(), BTreeSet::new()];
    let mut lines = String::new();
    for touch in scene.touches.iter().filter(|touch| touch.lane < lanes) {
        let class = match touch.does {
            _ if touch.races => "race",
            Does::Read => "read",
            Does::Write => "write",
        };
        let (Some([x, y]), Some([to_x, to_y])) =
            (above.corner(touch.lane), below.corner(touch.word))
        else {
            continue;
        };
        touched[0].insert(touch.lane);
        if touched[1].insert(touch.word) {
            below.fill(body, &format!("was-{class}"), touch.word);
        }
        let into = if is_row { 0 } else { below.height / 2 };
        let to = [to_x + below.width / 2, to_y + into];
        write_line(&mut lines, class, [x + above.width / 2, y + above.height], to);
    }
    above.draw(body, &touched[0]);
    below.draw(body, &touched[1]);
    body.push_str(&lines);
    let rows = if is_row { "" } else { ", 32 in a row" };
    let label = format!("words of {}{rows}", scene.variable.name);
    write_text(body, "small", [MARGIN, below.bottom() + 11], &label);
    below.bottom() + 26
}

fn write_text(body: &mut String, class: &str, [x, y]: [u32; 2], text: &str) {
    let text = text.replace('&', "&amp;").replace('<', "&lt;");
    let _ = writeln!(body, "<text class=\"{class}\" x=\"{x}\" y=\"{y}\">{text}</text>");
}

fn write_line(body: &mut String, class: &str, [x1, y1]: [u32; 2], [x2, y2]: [u32; 2]) {
    let _ =
        writeln!(body, "<line class=\"{class}\" x1=\"{x1}\" y1=\"{y1}\" x2=\"{x2}\" y2=\"{y2}\"/>");
}
