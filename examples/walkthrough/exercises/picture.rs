//! A picture of a kernel as SVG: its lanes above, the words that they touch below, and a line for each
//! access. It has colours for light and for dark screens.

use crate::focus::Focus;
use crate::focus::{Scene, WARP, scenes};
use neutreno_simulator::{Does, Trace};
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
    let mut body = String::new();
    write_text(&mut body, "text", MARGIN, 28, title);
    let mut top = 48;
    for scene in scenes(trace, focus, 4) {
        top = draw_scene(&mut body, &scene, lanes, top);
    }
    for (place, class, name) in [(0, "read", "reads"), (1, "write", "writes"), (2, "race", "race")]
    {
        let left = MARGIN + 110 * place;
        write_line(&mut body, class, [left, top + 6], [left + 24, top + 6]);
        write_text(&mut body, "text", left + 30, top + 10, name);
    }
    let height = top + 26;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\">\n{STYLE}\n\
         <rect class=\"ground\" width=\"{WIDTH}\" height=\"{height}\"/>\n{body}</svg>\n"
    )
}

/// Where cells of a row or of rows lie.
struct Cells {
    /// The first word or lane.
    first: u32,
    count: u32,
    columns: u32,
    size: u32,
    top: u32,
}

impl Cells {
    fn new(first: u32, count: u32, columns: u32, top: u32) -> Cells {
        let size = ((WIDTH - 2 * MARGIN) / columns).min(22);
        Cells { first, count, columns, size, top }
    }

    /// The upper left corner of a cell, if it is shown.
    fn corner(&self, number: u32) -> Option<[u32; 2]> {
        let place = number.checked_sub(self.first).filter(|place| *place < self.count)?;
        let (row, column) = (place / self.columns, place % self.columns);
        Some([MARGIN + column * self.size, self.top + row * self.size])
    }

    fn bottom(&self) -> u32 {
        self.top + self.count.div_ceil(self.columns) * self.size
    }

    fn draw(&self, body: &mut String) {
        for number in self.first..self.first + self.count {
            let Some([x, y]) = self.corner(number) else { continue };
            let size = self.size;
            write_rect(body, "cell", [x, y], size);
            // All numbers where there is room, or else those of every eighth.
            let is_named = if size >= 18 { number < 1000 } else { number % 8 == 0 };
            if is_named && (self.columns > BANKS || size >= 18 || number % BANKS == 0) {
                write_text(body, "small", x + 2, y + size.min(14) - 3, &number.to_string());
            }
        }
    }
}

/// Draws an access, and returns where it ends.
fn draw_scene(body: &mut String, scene: &Scene, lanes: u32, top: u32) -> u32 {
    let shown = if lanes > ROW { WARP } else { lanes };
    let touches: Vec<_> = scene.touches.iter().filter(|touch| touch.lane < shown).collect();
    let note = if lanes > shown {
        format!(" (lanes 0 to {} of {lanes})", shown - 1)
    } else {
        String::new()
    };
    write_text(body, "text", MARGIN, top + 14, &format!("{}{note}", scene.title()));
    let above = Cells::new(0, shown, shown, top + 24);
    above.draw(body);
    let (least, most) = touches
        .iter()
        .fold((u32::MAX, 0), |(least, most), touch| (least.min(touch.word), most.max(touch.word)));
    if touches.is_empty() {
        return above.bottom() + 20;
    }
    let unit = if most - least / 8 * 8 < ROW { 8 } else { BANKS };
    let first = least / unit * unit;
    let end = ((most / unit + 1) * unit).min(scene.variable.words);
    let columns = if unit == BANKS { BANKS } else { (end - first).max(1).max(shown.min(ROW)) };
    let below = Cells::new(first, (end - first).min(ROWS * BANKS), columns, above.bottom() + GAP);
    for touch in touches {
        let (Some(from), Some(to)) = (above.corner(touch.lane), below.corner(touch.word)) else {
            continue;
        };
        let class = match touch.does {
            _ if touch.races => "race",
            Does::Read => "read",
            Does::Write => "write",
        };
        write_rect(body, &format!("was-{class}"), to, below.size);
        let from = [from[0] + above.size / 2, from[1] + above.size];
        let into = if unit == BANKS { below.size / 2 } else { 0 };
        write_line(body, class, from, [to[0] + below.size / 2, to[1] + into]);
    }
    below.draw(body);
    let name = format!("{} ↓ words", scene.variable.name);
    write_text(body, "small", MARGIN, below.top - 4, &name);
    below.bottom() + 24
}

fn write_text(body: &mut String, class: &str, x: u32, y: u32, text: &str) {
    let text = text.replace('&', "&amp;").replace('<', "&lt;");
    let _ = writeln!(body, "<text class=\"{class}\" x=\"{x}\" y=\"{y}\">{text}</text>");
}

fn write_line(body: &mut String, class: &str, [x1, y1]: [u32; 2], [x2, y2]: [u32; 2]) {
    let _ =
        writeln!(body, "<line class=\"{class}\" x1=\"{x1}\" y1=\"{y1}\" x2=\"{x2}\" y2=\"{y2}\"/>");
}

fn write_rect(body: &mut String, class: &str, [x, y]: [u32; 2], size: u32) {
    let _ = writeln!(
        body,
        "<rect class=\"{class}\" x=\"{x}\" y=\"{y}\" width=\"{size}\" height=\"{size}\"/>"
    );
}
