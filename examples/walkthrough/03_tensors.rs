//! Chapter 3: how tensors lie in memory, the engine's tensors, and an op of one's own.

#[path = "common/mod.rs"]
mod common;

use neutreno::engine::autograd::{Saves, apply};
use neutreno::engine::ops::elementwise::{Elementwise, Function, INPUT, ProvenFunction, cases};
use neutreno::engine::proof::{Case, prove};
use neutreno::engine::{Device, Result, Tensor};
use std::hint::black_box;
use std::time::Instant;

// ANCHOR: view
/// Numbers in memory, and how they are looked at.
struct View<'a> {
    numbers: &'a [f32],
    shape: Vec<usize>,
    strides: Vec<usize>,
}

impl View<'_> {
    /// Row-major: a step along an axis passes over all that lies in the axes after it.
    fn new<'a>(numbers: &'a [f32], shape: &[usize]) -> View<'a> {
        let strides = (0..shape.len()).map(|axis| shape[axis + 1..].iter().product());
        View { numbers, strides: strides.collect(), shape: shape.to_vec() }
    }

    fn at(&self, index: &[usize]) -> f32 {
        let steps = index.iter().zip(&self.strides);
        self.numbers[steps.map(|(index, stride)| index * stride).sum::<usize>()]
    }
}
// ANCHOR_END: view

impl<'a> View<'a> {
    /// The same numbers with their axes in the other order.
    fn transposed(&self) -> View<'a> {
        let [mut shape, mut strides] = [self.shape.clone(), self.strides.clone()];
        shape.reverse();
        strides.reverse();
        View { numbers: self.numbers, shape, strides }
    }

    // ANCHOR: broadcast
    /// The same numbers as if repeated along axes of size 1, and along those that it lacks.
    fn broadcast(&self, shape: &[usize]) -> View<'a> {
        let lacks = shape.len() - self.shape.len();
        let stride = |axis: usize| match axis.checked_sub(lacks).map(|own| self.shape[own]) {
            Some(size) if size == shape[axis] => self.strides[axis - lacks],
            Some(1) | None => 0,
            Some(size) => panic!("{size} numbers can not stand for {}", shape[axis]),
        };
        let strides = (0..shape.len()).map(stride).collect();
        View { numbers: self.numbers, strides, shape: shape.to_vec() }
    }
    // ANCHOR_END: broadcast
}

fn print(what: &str, view: &View) {
    println!("{what}: shape {:?}, strides {:?}", view.shape, view.strides);
    for row in 0..view.shape[0] {
        let numbers = (0..view.shape[1]).map(|column| format!("{:5}", view.at(&[row, column])));
        println!("{}", numbers.collect::<String>());
    }
}

fn main() -> Result<()> {
    let chapter = common::Chapter::open();

    chapter.section("Shapes over memory");
    let memory = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0];
    println!("memory: {memory:?}");
    let matrix = View::new(&memory, &[2, 3]);
    print("matrix", &matrix);
    print("transposed", &matrix.transposed());

    chapter.section("Broadcasting");
    let (row, column) = ([10.0, 20.0, 30.0], [100.0, 200.0]);
    let row = View::new(&row, &[3]).broadcast(&[2, 3]);
    let column = View::new(&column, &[2, 1]).broadcast(&[2, 3]);
    print("row", &row);
    print("column", &column);

    chapter.section("Along the rows and along the columns");
    compare_orders();

    chapter.section("The engine's tensors");
    use_tensors(&chapter.device("cpu"))?;

    chapter.section("A wrong derivative");
    propose(wrong);

    chapter.section("The right derivative");
    propose(right);

    chapter.section("The op at work");
    use_own_op()
}

// ANCHOR: orders
/// The sum of a matrix, row by row of the view.
fn sum(view: &View) -> f64 {
    let mut sum = 0.0;
    for row in 0..view.shape[0] {
        for column in 0..view.shape[1] {
            let place = row * view.strides[0] + column * view.strides[1];
            sum += f64::from(view.numbers[place]);
        }
    }
    sum
}
// ANCHOR_END: orders

/// The least time of three, in nanoseconds for each of the numbers.
fn time<R>(numbers: usize, mut work: impl FnMut() -> R) -> f64 {
    let runs = [(); 3].map(|()| {
        let start = Instant::now();
        black_box(work());
        start.elapsed().as_secs_f64()
    });
    1e9 * runs.into_iter().fold(f64::INFINITY, f64::min) / numbers as f64
}

fn compare_orders() {
    println!("nanoseconds a number   by rows   by columns   copied, transposed");
    for size in [64, 256, 1024, 4096] {
        let numbers = vec![1.0; size * size];
        let matrix = View::new(&numbers, &[size, size]);
        let by_rows = time(numbers.len(), || sum(black_box(&matrix)));
        let by_columns = time(numbers.len(), || sum(black_box(&matrix.transposed())));
        let tensor = Tensor::new(&numbers, [size, size], &Device::cpu());
        let copied = time(numbers.len(), || tensor.transpose(0, 1));
        println!("{size:4} × {size:<13} {by_rows:7.2} {by_columns:12.2} {copied:20.2}");
    }
}

fn use_tensors(device: &Device) -> Result<()> {
    // ANCHOR: tensors
    let x = Tensor::new(&[0.0, 1.0, 2.0, 3.0, 4.0, 5.0], [2, 3], device);
    let weight = Tensor::new(&[0.5, -1.0, 0.0, 0.5, -0.5, 1.0], [3, 2], device).tracked();
    let bias = Tensor::new(&[0.5, -1.0], [2], device).tracked();

    let y = x.matmul(&weight) + &bias; // (2, 2) and (2): the bias is broadcast along the rows
    let loss = (&y * &y).sum_all();
    show("y", &y)?;
    show("loss", &loss)?;

    let gradients = loss.backward()?;
    // ANCHOR_END: tensors
    for (name, leaf) in [("gradient of weight", &weight), ("gradient of bias", &bias)] {
        show(name, &gradients.get(leaf).expect("the loss depends on it"))?;
    }
    Ok(())
}

fn show(name: &str, tensor: &Tensor) -> Result<()> {
    println!("{name:18}  shape {:6}  {:?}", tensor.shape().to_string(), tensor.to_vec()?);
    Ok(())
}

// ANCHOR: own_op
/// max(x, 0)², the squared ReLU (So et al. 2021).
#[derive(Clone, Debug)]
struct SquaredRelu {
    slope: fn(f32) -> f32,
}

impl Function for SquaredRelu {
    const NAME: &'static str = "squared_relu";
    const SAVES: Saves = INPUT; // the slope is computed from x

    fn value(&self, x: f32) -> f32 {
        x.max(0.0) * x.max(0.0)
    }

    fn slope(&self, x: f32) -> f32 {
        (self.slope)(x)
    }
}
// ANCHOR_END: own_op

// ANCHOR: proof
impl ProvenFunction for SquaredRelu {
    /// The formula once more, in f64.
    fn reference(&self, x: f64) -> f64 {
        if x < 0.0 { 0.0 } else { x.powi(2) }
    }

    fn cases() -> Vec<Case> {
        cases(SquaredRelu { slope: right }, RANGE, &EXTREMES)
    }
}
// ANCHOR_END: proof

const RANGE: [f32; 2] = [-2.0, 2.0];
const EXTREMES: [f32; 4] = [-1e4, 0.0, 1e-4, 1e4];

/// Has the engine prove the function with this slope.
fn propose(slope: fn(f32) -> f32) {
    for case in cases(SquaredRelu { slope }, RANGE, &EXTREMES) {
        match prove(&case, &Device::cpu()) {
            Ok(()) => println!("{:>8}: proven", case.label),
            Err(problem) => println!("{:>8}: {problem}", case.label),
        }
    }
}

// ANCHOR: wrong
/// The derivative of x².
fn wrong(x: f32) -> f32 {
    2.0 * x
}
// ANCHOR_END: wrong

// ANCHOR: right
/// That of max(x, 0)².
fn right(x: f32) -> f32 {
    2.0 * x.max(0.0)
}
// ANCHOR_END: right

fn use_own_op() -> Result<()> {
    let x = Tensor::new(&[-1.0, 0.5, 3.0], [3], &Device::cpu()).tracked();
    let [y] = apply(Elementwise(SquaredRelu { slope: right }), &[&x]);
    let gradients = y.sum_all().backward()?;
    show("x", &x)?;
    show("y", &y)?;
    show("gradient of x", &gradients.get(&x).expect("the sum depends on it"))
}
