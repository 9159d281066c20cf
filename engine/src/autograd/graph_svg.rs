//! A graph as a picture. Ops stand one below the other as they ran. Left of an op are the leaves and constants
//! that it takes; a line from it leads down to whoever uses its result: a short one to the next op, a
//! line on the right past others, such as a residual connection or what a later layer takes from the first.

use super::graph::{Graph, GraphNode, NodeKind};
use crate::Shape;
use std::fmt::Write;

/// Sizes, in units of the picture, which is as wide as its place lets it be.
const LEAF: Column = Column { left: 12, width: 236 };
const OP: Column = Column { left: 284, width: 316 };
const LINE: usize = 17;
const BOX: usize = 2 * LINE + 12;
const GAP: usize = 16;
/// Between lines on the right.
const LANE: usize = 13;

struct Column {
    left: usize,
    width: usize,
}

impl Column {
    fn right(&self) -> usize {
        self.left + self.width
    }
}

/// Colours for both grounds of a screen; lines and edges have those of Okabe and Ito's palette (2008). A program
/// that knows no dark screens takes those for light ones.
const STYLE: &str = "\
text{font:13px ui-monospace,Menlo,Consolas,monospace;fill:#222}.quiet{fill:#666}.ground{fill:#fff}\
.op{fill:#eef4f8;stroke:#0072b2}.leaf{fill:#fff6e5;stroke:#e69f00}.bar{fill:#0072b2}\
.constant{fill:none;stroke:#888;stroke-dasharray:4 3}path{fill:none;stroke:#888;stroke-width:1.5}\
.c0{stroke:#d55e00}.c1{stroke:#009e73}.c2{stroke:#cc79a7}.c3{stroke:#56b4e9}.c4{stroke:#e69f00}\
@media(prefers-color-scheme:dark){text{fill:#e6e6e6}.quiet{fill:#a0a0a0}.ground{fill:#1c1c1e}\
.op{fill:#22303a;stroke:#56b4e9}.leaf{fill:#3a3122}.bar{fill:#56b4e9}}";
const LANE_COLOURS: usize = 5;

impl Graph {
    /// The graph as an SVG picture with colours for light and dark screens: for each op its name, the shapes
    /// of its results, what it saved, also as a bar, and, after [`Graph::backward`], the norm of the
    /// gradient of each result.
    pub fn svg(&self) -> String {
        let nodes = self.nodes();
        let rows = Rows::of(nodes);
        let lanes = lanes(nodes, &rows);
        let lanes_used = lanes.iter().map(|lane| lane.number + 1).max().unwrap_or(0);
        let width = OP.right() + 24 + LANE * lanes_used;
        let height = rows.bottom + GAP;
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
             width=\"{width}\" height=\"{height}\">\n<style>{STYLE}</style>\n\
             <rect class=\"ground\" width=\"{width}\" height=\"{height}\"/>\n"
        );
        for lane in &lanes {
            lane.draw(&rows, &mut svg);
        }
        let most = nodes.iter().map(|node| node.saved_bytes).max().unwrap_or(0);
        for (place, node) in nodes.iter().enumerate() {
            if let Some(top) = rows.tops[place] {
                draw_op(node, top, most, &mut svg);
                draw_inputs(nodes, place, top, &mut svg);
            }
        }
        svg + "</svg>\n"
    }
}

/// Where the ops are.
struct Rows {
    /// For each node, its upper edge, if it is shown in the column of ops.
    tops: Vec<Option<usize>>,
    bottom: usize,
}

impl Rows {
    fn of(nodes: &[GraphNode]) -> Rows {
        let mut bottom = GAP;
        let place = |node: &GraphNode| {
            let is_alone = nodes.len() == 1;
            (node.kind == NodeKind::Op || is_alone).then(|| {
                let top = bottom;
                let leaves = node.inputs.iter().filter(|(input, _)| !is_op(&nodes[*input]));
                bottom += leaves.count().max(1) * (BOX + 4) + GAP;
                top
            })
        };
        let tops = nodes.iter().map(place).collect();
        Rows { tops, bottom }
    }

    fn top(&self, node: usize) -> usize {
        self.tops[node].expect("an op has a row")
    }
}

fn is_op(node: &GraphNode) -> bool {
    node.kind == NodeKind::Op
}

/// From an op to all that use its results.
struct Lane {
    from: usize,
    to: Vec<usize>,
    /// How far on the right it leads down; not for one that goes to the next op alone.
    number: usize,
    is_short: bool,
}

/// All lines, those on the right as near as they can be without two on one another.
fn lanes(nodes: &[GraphNode], rows: &Rows) -> Vec<Lane> {
    let ops: Vec<usize> = (0..nodes.len()).filter(|node| rows.tops[*node].is_some()).collect();
    let mut lanes = Vec::new();
    for (row, from) in ops.iter().enumerate() {
        let uses = |to: &&usize| nodes[**to].inputs.iter().any(|(input, _)| input == from);
        let to: Vec<usize> = ops[row + 1..].iter().filter(uses).copied().collect();
        let (next, far): (Vec<usize>, Vec<usize>) =
            to.into_iter().partition(|to| ops.get(row + 1) == Some(to));
        let lane = |to, is_short| Lane { from: *from, to, number: 0, is_short };
        lanes.extend((!next.is_empty()).then(|| lane(next, true)));
        lanes.extend((!far.is_empty()).then(|| lane(far, false)));
    }
    // Short ones are placed first, so that they are inside.
    let mut order: Vec<usize> = (0..lanes.len()).filter(|lane| !lanes[*lane].is_short).collect();
    order.sort_by_key(|lane| lanes[*lane].end() - lanes[*lane].from);
    let mut taken: Vec<Vec<(usize, usize)>> = Vec::new();
    for index in order {
        let (from, end) = (lanes[index].from, lanes[index].end());
        let is_free =
            |spans: &Vec<(usize, usize)>| spans.iter().all(|(a, b)| end < *a || from > *b);
        let number = taken.iter().position(is_free).unwrap_or(taken.len());
        if number == taken.len() {
            taken.push(Vec::new());
        }
        taken[number].push((from, end));
        lanes[index].number = number;
    }
    lanes
}

impl Lane {
    fn end(&self) -> usize {
        *self.to.last().expect("a line leads somewhere")
    }

    fn draw(&self, rows: &Rows, svg: &mut String) {
        let from = rows.top(self.from) + BOX;
        if self.is_short {
            let x = OP.left + OP.width / 2;
            let _ = writeln!(svg, "<path d=\"M{x} {from}V{}\"/>", rows.top(self.end()));
            return;
        }
        let (edge, x) = (OP.right(), OP.right() + 14 + LANE * self.number);
        let start = from - BOX / 3;
        let colour = self.number % LANE_COLOURS;
        let mut path = format!("M{edge} {start}H{x}V{}", rows.top(self.end()) + BOX / 3);
        for to in &self.to {
            let _ = write!(path, "M{x} {0}H{edge}m6 -4l-6 4l6 4", rows.top(*to) + BOX / 3);
        }
        let _ = writeln!(svg, "<path class=\"c{colour}\" d=\"{path}\"/>");
    }
}

fn draw_op(node: &GraphNode, top: usize, most: u64, svg: &mut String) {
    let first = format!("{} {}", node.name, shapes(&node.shapes));
    let saved = match node.saved_bytes {
        0 => String::new(),
        bytes => format!("saves {}", size(bytes)),
    };
    draw_box(&OP, "op", top, [&first, &saved], &gradients(node), svg);
    if node.saved_bytes > 0 {
        let width = (node.saved_bytes as f64 / most as f64 * OP.width as f64).ceil();
        let (x, y) = (OP.left, top + BOX - 4);
        let _ = writeln!(
            svg,
            "<rect class=\"bar\" x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"4\"/>"
        );
    }
}

/// The leaves and constants that an op takes. A leaf that stood further up is shown again.
fn draw_inputs(nodes: &[GraphNode], op: usize, top: usize, svg: &mut String) {
    let inputs = nodes[op].inputs.iter().map(|(input, _)| *input);
    for (row, input) in inputs.filter(|input| !is_op(&nodes[*input])).enumerate() {
        let node = &nodes[input];
        let top = top + row * (BOX + 4);
        let kind = if node.kind == NodeKind::Leaf { "leaf" } else { "constant" };
        let shape = node.shapes.first().map(ToString::to_string).unwrap_or_default();
        draw_box(&LEAF, kind, top, [&node.name, &shape], &gradients(node), svg);
        let (from, middle, turn) = (LEAF.right(), top + BOX / 2, LEAF.right() + 18);
        let middle_of_op = middle - row * (BOX + 4);
        let _ = writeln!(svg, "<path d=\"M{from} {middle}H{turn}V{middle_of_op}H{}\"/>", OP.left);
    }
}

/// Of several that are alike, one with their number.
fn shapes(shapes: &[Shape]) -> String {
    match shapes {
        [first, rest @ ..] if !rest.is_empty() && rest.iter().all(|shape| shape == first) => {
            format!("{} × {first}", shapes.len())
        }
        _ => shapes.iter().map(ToString::to_string).collect::<Vec<String>>().join(" "),
    }
}

fn gradients(node: &GraphNode) -> String {
    let norms: Vec<String> =
        node.gradient_norms.iter().flatten().map(|norm| format!("{norm:.2e}")).collect();
    if norms.is_empty() { String::new() } else { format!("‖dL‖ {}", norms.join(" ")) }
}

/// A box with a line of text, and below it a quiet one on the left and one on the right.
fn draw_box(
    column: &Column,
    class: &str,
    top: usize,
    [first, second]: [&str; 2],
    right: &str,
    svg: &mut String,
) {
    let (left, width) = (column.left, column.width);
    let letters = (width - 16) / 8;
    let _ = writeln!(
        svg,
        "<rect class=\"{class}\" x=\"{left}\" y=\"{top}\" width=\"{width}\" height=\"{BOX}\" rx=\"4\"/>\n\
         <text x=\"{0}\" y=\"{1}\">{2}</text>",
        left + 8,
        top + LINE,
        escaped(&shortened(first, letters)),
    );
    let y = top + 2 * LINE;
    if !second.is_empty() {
        let second = escaped(second);
        let _ = writeln!(svg, "<text class=\"quiet\" x=\"{}\" y=\"{y}\">{second}</text>", left + 8);
    }
    if !right.is_empty() {
        let room = letters.saturating_sub(second.chars().count() + 1);
        let (x, right) = (left + width - 8, escaped(&shortened(right, room)));
        let _ = writeln!(
            svg,
            "<text class=\"quiet\" x=\"{x}\" y=\"{y}\" text-anchor=\"end\">{right}</text>"
        );
    }
}

/// What fits; of what is too long the end, which tells more.
fn shortened(text: &str, letters: usize) -> String {
    let length = text.chars().count();
    match length > letters {
        true => "…".chars().chain(text.chars().skip(length + 1 - letters)).collect(),
        false => text.to_owned(),
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn size(bytes: u64) -> String {
    match bytes {
        0..1024 => format!("{bytes} B"),
        1024..1_048_576 => format!("{:.1} KiB", bytes as f64 / 1024.0),
        _ => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
    }
}
