//! Chapter 1: numbers that remember how they were made, and so know their derivatives.

#[path = "common/mod.rs"]
mod common;

use std::cell::RefCell;
use std::ops::{Add, Mul, Sub};

// ANCHOR: value
/// A number in a formula: its place on the tape.
#[derive(Clone, Copy)]
struct Value(usize);

/// What the tape keeps of a number.
#[derive(Clone)]
struct Node {
    how: &'static str,
    value: f64,
    inputs: Vec<(Value, f64)>, // what it was made of, and its slope in each
    gradient: f64,             // the slope of the result in it
}

thread_local! {
    /// All numbers, in the order in which they were made.
    static TAPE: RefCell<Vec<Node>> = const { RefCell::new(Vec::new()) };
}

impl Value {
    fn new(how: &'static str, value: f64, inputs: Vec<(Value, f64)>) -> Value {
        TAPE.with_borrow_mut(|tape| {
            tape.push(Node { how, value, inputs, gradient: 0.0 });
            Value(tape.len() - 1)
        })
    }
}
// ANCHOR_END: value

impl Add for Value {
    type Output = Value;

    fn add(self, other: Value) -> Value {
        let slopes = vec![(self, 1.0), (other, 1.0)];
        Value::new("+", self.value() + other.value(), slopes)
    }
}

impl Sub for Value {
    type Output = Value;

    fn sub(self, other: Value) -> Value {
        let slopes = vec![(self, 1.0), (other, -1.0)];
        Value::new("−", self.value() - other.value(), slopes)
    }
}

// ANCHOR: ops
impl Mul for Value {
    type Output = Value;

    fn mul(self, other: Value) -> Value {
        let slopes = vec![(self, other.value()), (other, self.value())];
        Value::new("×", self.value() * other.value(), slopes)
    }
}

impl Value {
    fn tanh(self) -> Value {
        let y = self.value().tanh();
        Value::new("tanh", y, vec![(self, 1.0 - y * y)])
    }
}
// ANCHOR_END: ops

impl Value {
    // ANCHOR: backward
    /// Gives every number on the tape the slope of this one in it.
    fn backward(self) {
        TAPE.with_borrow_mut(|tape| {
            tape.iter_mut().for_each(|node| node.gradient = 0.0);
            tape[self.0].gradient = 1.0;
            for at in (0..=self.0).rev() {
                let (before, node) = tape.split_at_mut(at);
                for (input, slope) in &node[0].inputs {
                    before[input.0].gradient += node[0].gradient * slope;
                }
            }
        });
    }
    // ANCHOR_END: backward

    fn value(self) -> f64 {
        TAPE.with_borrow(|tape| tape[self.0].value)
    }

    fn gradient(self) -> f64 {
        TAPE.with_borrow(|tape| tape[self.0].gradient)
    }
}

// ANCHOR: loss
/// How wrong one small machine with the settings w and b is, if it is to answer x with t.
fn loss([w, x, b, t]: [Value; 4]) -> Value {
    let answer = (w * x + b).tanh();
    let miss = answer - t;
    miss * miss
}
// ANCHOR_END: loss

const NAMES: [&str; 4] = ["w", "x", "b", "t"];
const POINT: [f64; 4] = [0.5, 2.0, -0.25, -0.5];

/// The formula on a new tape: its four leaves, and its result.
fn run(point: [f64; 4]) -> ([Value; 4], Value) {
    TAPE.with_borrow_mut(Vec::clear);
    let leaves = [0, 1, 2, 3].map(|index| Value::new(NAMES[index], point[index], vec![]));
    (leaves, loss(leaves))
}

fn main() {
    let chapter = common::Chapter::open();

    chapter.section("A slope by differences");
    differences();

    chapter.section("A number that remembers");
    let (_, loss) = run(POINT);
    print_tape("made of", |node| {
        let places: Vec<String> = node.inputs.iter().map(|input| input.0.0.to_string()).collect();
        places.join(", ")
    });

    chapter.section("Backward");
    loss.backward();
    print_tape("gradient", |node| format!("{:+.4}", node.gradient));
    chapter.picture("01_graph.svg", &drawing(&TAPE.with_borrow(Vec::clone)));

    chapter.section("Checked against differences");
    check();

    chapter.section("Downhill");
    go_downhill();
}

// ANCHOR: slope
/// (f(x + h) − f(x − h)) / 2h: the slope between two points, one on each side of x.
fn slope(f: impl Fn(f64) -> f64, x: f64, h: f64) -> f64 {
    (f(x + h) - f(x - h)) / (2.0 * h)
}
// ANCHOR_END: slope

/// The slope of x³ at 2, which is 3 · 2² = 12.
fn differences() {
    println!("h        slope               error");
    for exponent in [1, 2, 4, 6, 8, 10, 12, 14] {
        let estimate = slope(|x| x * x * x, 2.0, 10_f64.powi(-exponent));
        println!("1e-{exponent:<2}    {estimate:<18.14}  {:.0e}", (estimate - 12.0).abs());
    }
}

fn print_tape(title: &str, column: fn(&Node) -> String) {
    println!("place  how    value    {title}");
    for (place, node) in TAPE.with_borrow(Vec::clone).iter().enumerate() {
        let line = format!("{place:<6} {:<5} {:+.4}   {}", node.how, node.value, column(node));
        println!("{}", line.trim_end());
    }
}

/// At 81 points: the gradients of one backward beside differences, input by input.
fn check() {
    let mut worst = [0.0_f64; 4];
    for number in 0..81 {
        let point = [1, 3, 9, 27].map(|place| [-1.5, 0.25, 1.0][number / place % 3]);
        let (leaves, loss) = run(point);
        loss.backward();
        let gradients = leaves.map(Value::gradient);

        for input in 0..4 {
            let loss_at = |moved: f64| {
                let mut point = point;
                point[input] = moved;
                run(point).1.value()
            };
            let difference = gradients[input] - slope(loss_at, point[input], 1e-5);
            worst[input] = worst[input].max(difference.abs());
        }
    }
    for (name, worst) in NAMES.iter().zip(worst) {
        let verdict = if worst < 1e-8 { "equal" } else { "NOT equal" };
        println!("dL/d{name}: {verdict} to 8 places at 81 points");
    }
}

const RATE: f64 = 0.02;

/// Moves w and b against their gradients, a little at a time.
fn go_downhill() {
    let mut point = POINT;
    for step in 0..=25 {
        let ([w, _, b, _], loss) = run(point);
        loss.backward();
        if step % 5 == 0 {
            let (w, b, loss) = (w.value(), b.value(), loss.value());
            println!("step {step:<2}  w {w:+.3}  b {b:+.3}  loss {loss:.4}");
        }
        // ANCHOR: downhill
        point[0] -= RATE * w.gradient();
        point[2] -= RATE * b.gradient();
        // ANCHOR_END: downhill
    }
}

const CELL: (f64, f64) = (230.0, 130.0);
const BOX: (f64, f64) = (180.0, 76.0);

/// The middle of each node's box: inputs above what is made of them, leaves above their first use.
fn places(tape: &[Node]) -> Vec<(f64, f64)> {
    let is_leaf = |at: usize| tape[at].inputs.is_empty();
    let mut rows = vec![0; tape.len()];
    for (at, node) in tape.iter().enumerate() {
        rows[at] = node.inputs.iter().map(|(input, _)| rows[input.0] + 1).max().unwrap_or(0);
    }
    for (at, node) in tape.iter().enumerate().rev() {
        for (input, _) in node.inputs.iter().filter(|(input, _)| is_leaf(input.0)) {
            rows[input.0] = rows[at] - 1;
        }
    }
    let mut places = vec![(0.0, 0.0); tape.len()];
    for row in 0..tape.len() {
        let mut boxes: Vec<usize> = (0..tape.len()).filter(|at| rows[*at] == row).collect();
        boxes.sort_by_key(|at| is_leaf(*at));
        for (column, at) in boxes.iter().enumerate() {
            let right = column as f64 - (boxes.len() - 1) as f64 / 2.0;
            places[*at] = (CELL.0 * right, CELL.1 * (row as f64 + 0.5));
        }
    }
    places
}

/// The graph: boxes with values and gradients, lines with slopes.
fn drawing(tape: &[Node]) -> String {
    let places = places(tape);
    let (mut lines, mut boxes) = (String::new(), String::new());
    for (node, (x, y)) in tape.iter().zip(&places) {
        for (number, (input, slope)) in node.inputs.iter().enumerate() {
            let aside = 36.0 * (number as f64 - (node.inputs.len() - 1) as f64 / 2.0);
            let from = places[input.0];
            let (x1, x2) = (from.0 + aside, x + aside);
            let (y1, y2) = (from.1 + BOX.1 / 2.0, y - BOX.1 / 2.0);
            let (side, gap) = if aside < 0.0 { ("left", -8.0) } else { ("right", 8.0) };
            let (x, y) = ((x1 + x2) / 2.0 + gap, (y1 + y2) / 2.0 + 7.0);
            lines += &format!("<line x1=\"{x1}\" y1=\"{y1}\" x2=\"{x2}\" y2=\"{y2}\"/>");
            lines += &format!("<text class=\"{side}\" x=\"{x}\" y=\"{y}\">{slope:+.2}</text>\n");
        }
        let class = if node.inputs.is_empty() { "leaf" } else { "made" };
        let (left, top) = (x - BOX.0 / 2.0, y - BOX.1 / 2.0);
        let (first, second, (width, height)) = (y - 8.0, y + 23.0, BOX);
        let Node { how, value, gradient, .. } = node;
        boxes += &format!("<rect class=\"{class}\" x=\"{left}\" y=\"{top}\"");
        boxes += &format!(" width=\"{width}\" height=\"{height}\" rx=\"8\"/>");
        boxes += &format!("<text x=\"{x}\" y=\"{first}\">{how} = {value:.3}</text>");
        boxes += &format!("<text x=\"{x}\" y=\"{second}\">gradient {gradient:+.3}</text>\n");
    }
    let most = |side: fn(&(f64, f64)) -> f64| places.iter().map(side).fold(0.0, f64::max);
    let (half, height) = (most(|at| at.0) + CELL.0 / 2.0, most(|at| at.1) + CELL.1 / 2.0);
    let (left, width) = (-half, 2.0 * half);
    let size =
        format!("viewBox=\"{left} 0 {width} {height}\" width=\"{width}\" height=\"{height}\"");
    let ground = format!("<rect class=\"ground\" x=\"{left}\" width=\"100%\" height=\"100%\"/>\n");
    let head = format!("<svg xmlns=\"http://www.w3.org/2000/svg\" {size}>");
    [&head, STYLE, &ground, &lines, &boxes, "</svg>\n"].concat()
}

const STYLE: &str = "<style>
text { font: 20px sans-serif; fill: #222221; text-anchor: middle }
text.left, text.right { fill: #d55e00; stroke: #fffffe; stroke-width: 8px; paint-order: stroke }
text.left { text-anchor: end }
text.right { text-anchor: start }
line { stroke: #777777; stroke-width: 2 }
rect { fill: #fffffe; stroke: #777777; stroke-width: 2 }
rect.leaf { stroke: #0072b2; stroke-width: 4 }
rect.ground { stroke: none }
@media (prefers-color-scheme: dark) {
  text { fill: #e6e6e6 }
  rect { fill: #1c1c1e }
  text.left, text.right { stroke: #1c1c1e }
}
</style>
";
