//! The speed of kernels at the shapes of training, forward and with the derivative, on the CPU and
//! on each GPU found: `cargo bench --bench ops -- [part of a name]`. A software adapter is there twice, once
//! as what it is and once as hardware.
//!
//! Rates count each kernel's operations and the bytes that it must move at least once; percents are
//! of what a product of 1024 × 1024 matrices and the doubling of a large tensor reach here.

#[path = "../examples/common/rates.rs"]
#[allow(dead_code, reason = "products and memory are timed at sizes of their own")]
mod rates;

use neutreno::engine::gpu::Class;
use neutreno::engine::half::Half;
use neutreno::engine::ops::half_matrix::HalfMatrix;
use neutreno::engine::optim::{AdamW, AdamWSettings, Optimizer};
use neutreno::engine::random::Key;
use neutreno::engine::{Cost, Device, Ids, Initial, Parameters, Shape, Tensor};
use std::cell::RefCell;

fn main() {
    let filter = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let filter = filter.as_deref().unwrap_or_default();
    let cpu = Device::cpu();
    cpu.install(|| report(&cpu, false, filter));
    for (index, found) in neutreno::engine::device::list().iter().enumerate() {
        let device = Device::open(&format!("gpu:{index}"), 0).expect("a listed adapter opens");
        report(&device, found.is_software(), filter);
        if found.is_software() {
            let device = Device::open_as(&format!("gpu:{index}"), Class::HARDWARE);
            print!("\nas hardware:");
            report(&device.expect("a listed adapter opens as hardware"), true, filter);
        }
    }
}

/// Work on a device, to be run again and again.
type Run = Box<dyn Fn()>;

/// A kernel with its operands, made on whatever device it is to run on.
struct Kernel {
    name: String,
    make: Box<dyn Fn(&Device) -> Run>,
}

fn kernel(name: impl Into<String>, make: impl Fn(&Device) -> Run + 'static) -> Kernel {
    Kernel { name: name.into(), make: Box::new(make) }
}

/// All kernels; shorter ones where the "GPU" is a program on the CPU.
fn kernels(is_software: bool) -> Vec<Kernel> {
    let vocabulary = if is_software { 2_000 } else { 33_278 };
    let longest = if is_software { 512 } else { 8_192 };
    let times = [128, 256, 512, 1_024, 2_048, 4_096, 8_192];
    let shapes = [[2_048, 128, 128], [2_048, 128, 352], [2_048, 256, 704], [1_024, 1_024, 1_024]];
    let mut kernels: Vec<Kernel> = shapes.into_iter().flat_map(products).collect();
    kernels.extend(decoding(is_software));
    kernels.extend(rows());
    kernels.extend(times.into_iter().filter(|time| *time <= longest).flat_map(attention));
    kernels.extend(vocabularies(vocabulary));
    kernels.push(kernel("adamw, 4M parameters", adamw));
    kernels
}

/// The three products of a linear layer in a training step.
fn products([rows, inputs, outputs]: [usize; 3]) -> [Kernel; 3] {
    let name = |what: &str| format!("{what}, {rows} rows of {inputs} to {outputs}");
    [
        kernel(name("linear"), move |device| {
            let (x, w) = (numbers([rows, inputs], device), numbers([outputs, inputs], device));
            Box::new(move || drop(x.linear(&w, None)))
        }),
        kernel(name("its dX"), move |device| {
            let (dy, w) = (numbers([rows, outputs], device), numbers([outputs, inputs], device));
            Box::new(move || drop(dy.matmul(&w)))
        }),
        kernel(name("its dW"), move |device| {
            let (dy, x) = (numbers([rows, outputs], device), numbers([rows, inputs], device));
            Box::new(move || drop(dy.matmul_with(&x, true, false)))
        }),
    ]
}

/// Linear layers of one token and of a few, which take the time that reading their weights does, and
/// that reading.
fn decoding(is_software: bool) -> Vec<Kernel> {
    let vocabulary = if is_software { 4_096 } else { 49_152 };
    let of_shape = |[inputs, outputs]: [usize; 2]| {
        let name = format!("of {inputs} to {outputs}");
        let weight = move |device: &Device| numbers([outputs, inputs], device);
        let of_rows = |rows: usize| {
            kernel(format!("linear, {rows} row(s) {name}"), move |device| {
                let (x, w) = (numbers([rows, inputs], device), weight(device));
                Box::new(move || drop(x.linear(&w, None)))
            })
        };
        let read = kernel(format!("sum of the weights {name}"), move |device| {
            let w = weight(device);
            Box::new(move || drop(w.sum_all()))
        });
        let of_half = |(half, rows): (Half, usize)| {
            kernel(format!("linear_half, {half:?}, {rows} row(s) {name}"), move |device| {
                let (x, w) = (numbers([rows, inputs], device), weight(device));
                let w = HalfMatrix::from_tensor(&w, half).expect("numbers below 1");
                Box::new(move || drop(x.linear_half(&w, None)))
            })
        };
        let halves = [(Half::Bf16, 1), (Half::Bf16, 8), (Half::Bf16, 512), (Half::F16, 1)];
        let singles = [1, 4, 8, 512].map(of_rows);
        [read].into_iter().chain(singles).chain(halves.map(of_half)).collect::<Vec<_>>()
    };
    [[576, 1_536], [1_536, 576], [576, vocabulary]].into_iter().flat_map(of_shape).collect()
}

/// An op on rows and a weight for them.
type RowOp = fn(&Tensor, &Tensor) -> Tensor;

/// Softmax, norm and activation, forward and with the derivative.
fn rows() -> Vec<Kernel> {
    let ops: [(&str, RowOp); 3] = [
        ("softmax", |x, _| x.softmax(-1)),
        ("rms_norm", |x, weight| x.rms_norm(weight, 1e-5)),
        ("gelu", |x, _| x.gelu()),
    ];
    let both = |(name, op): (&str, RowOp)| {
        [false, true].map(|derivative| {
            kernel(format!("{name}, 2048 × 512{}", suffix(derivative)), move |device| {
                let (x, weight) = (numbers([2_048, 512], device), numbers([512], device));
                run(derivative, [x, weight], move |[x, weight]| op(x, weight))
            })
        })
    };
    ops.into_iter().flat_map(both).collect()
}

/// Causal attention over 2,048 positions or more in all.
fn attention(time: usize) -> [Kernel; 2] {
    let shape = [(2_048 / time).max(1), time, 4, 64];
    [false, true].map(|derivative| {
        kernel(format!("attention, {time} positions{}", suffix(derivative)), move |device| {
            let operands = [(); 3].map(|()| numbers(shape, device));
            run(derivative, operands, |[q, k, v]| q.attention(k, v, None, true))
        })
    })
}

/// What depends on the size of the vocabulary.
fn vocabularies(size: usize) -> [Kernel; 2] {
    let ids = move || {
        let ids: Vec<u32> = (0..2_048).map(|i| i * 7_919 % size as u32).collect();
        Ids::new(ids, [2_048])
    };
    [
        kernel(format!("linear_cross_entropy, {size} ids, derivative too"), move |device| {
            let (targets, operands) =
                (ids(), [numbers([2_048, 128], device), numbers([size, 128], device)]);
            run(true, operands, move |[x, w]| x.linear_cross_entropy(w, &targets, 0.0))
        }),
        kernel(format!("embedding, {size} ids, derivative too"), move |device| {
            let (ids, operands) = (ids(), [numbers([size, 128], device)]);
            run(true, operands, move |[w]| w.embedding(&ids))
        }),
    ]
}

fn adamw(device: &Device) -> Run {
    let make = |builder: &mut neutreno::engine::Builder| {
        builder.parameter("weight", [4 << 20], Initial::Ones, true)
    };
    let (weight, parameters) = Parameters::build(device, 1, make);
    let mut gradients = parameters.gradients();
    let loss = weight.sum_all();
    loss.backward_into(&mut gradients).expect("a sum has a derivative");
    let optimizer = RefCell::new(AdamW::new(&parameters, AdamWSettings::default()));
    Box::new(move || optimizer.borrow_mut().step(&parameters, &gradients, 1e-3, None))
}

fn suffix(derivative: bool) -> &'static str {
    if derivative { ", derivative too" } else { "" }
}

fn run<const N: usize>(
    derivative: bool,
    operands: [Tensor; N],
    op: impl Fn([&Tensor; N]) -> Tensor + 'static,
) -> Run {
    if !derivative {
        return Box::new(move || drop(op(operands.each_ref())));
    }
    let operands = operands.map(|operand| operand.tracked());
    Box::new(move || {
        let y = op(operands.each_ref());
        let loss = if y.elements() == 1 { y } else { y.sum_all() };
        loss.backward().expect("it has a derivative");
    })
}

fn numbers(shape: impl Into<Shape>, device: &Device) -> Tensor {
    let shape = shape.into();
    Tensor::new(&Key::new(1).uniforms(shape.elements(), -1.0, 1.0), shape, device)
}

fn report(device: &Device, is_software: bool, filter: &str) {
    let product = numbers([1_024, 1_024], device);
    let large = numbers([16 << 20], device);
    let flops = 2.0 * 1_024_f64.powi(3) / seconds(device, || drop(product.matmul(&product)));
    let bytes = 8.0 * large.elements() as f64 / seconds(device, || drop(large.scale(2.0)));
    println!(
        "\n{device}: products reach {:.0} GFLOP/s, memory {:.1} GB/s",
        flops / 1e9,
        bytes / 1e9
    );
    println!("{:52} {:>10} {:>9} {:>5} {:>8} {:>5}", "", "µs", "GFLOP/s", "%", "GB/s", "%");
    for Kernel { name, make } in kernels(is_software) {
        if !name.contains(filter) {
            continue;
        }
        let seconds = seconds(device, make(device));
        let cost = cost(&*make);
        let rates = [cost.flops, cost.bytes].map(|amount| amount as f64 / seconds);
        println!(
            "{name:52} {:10.1} {:9.2} {:5.0} {:8.2} {:5.0}",
            seconds * 1e6,
            rates[0] / 1e9,
            100.0 * rates[0] / flops,
            rates[1] / 1e9,
            100.0 * rates[1] / bytes
        );
    }
}

/// The work of one run, as the planning device counts it.
fn cost(make: &dyn Fn(&Device) -> Run) -> Cost {
    let plan = Device::plan();
    let run = make(&plan);
    let before = plan.cost();
    run();
    let after = plan.cost();
    Cost { flops: after.flops - before.flops, bytes: after.bytes - before.bytes }
}

/// What one run takes.
fn seconds(device: &Device, run: impl Fn()) -> f64 {
    rates::seconds_each(device, run).expect("the device works")
}
