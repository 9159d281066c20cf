//! The speed of every op at the largest of its cases, forward, on the CPU and on each GPU found:
//! `cargo bench --bench ops -- [part of an op's name]`.

use neutreno_engine::ops::OPS;
use neutreno_engine::proof::Case;
use neutreno_engine::{Device, Tensor, autograd, no_grad};
use std::time::{Duration, Instant};

fn main() {
    let filter = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let mut devices = vec![Device::cpu()];
    for index in 0..neutreno_engine::device::list().len() {
        devices.push(Device::open(&format!("gpu:{index}"), 0).expect("a listed adapter opens"));
    }
    for device in &devices {
        println!("\n{device}");
        println!("{:22} {:30} {:>9} {:>9} {:>8}", "op", "case", "µs", "GFLOP/s", "GB/s");
        for op in OPS {
            if filter.as_ref().is_some_and(|filter| !op.name.contains(filter.as_str())) {
                continue;
            }
            let size = |case: &Case| -> usize {
                case.input_shapes().iter().map(|shape| shape.elements()).sum()
            };
            if let Some(case) = (op.cases)().iter().max_by_key(|case| size(case)) {
                report(op.name, case, device);
            }
        }
    }
}

fn report(name: &str, case: &Case, device: &Device) {
    let shapes = case.input_shapes();
    let inputs: Vec<Tensor> =
        shapes.iter().map(|shape| Tensor::full(0.5, *shape, device)).collect();
    if inputs.is_empty() {
        return;
    }
    let inputs: Vec<&Tensor> = inputs.iter().collect();
    let cost = case.op().cost(&shapes);
    let seconds = device.install(|| {
        no_grad(|| median_seconds(device, || drop(autograd::apply_boxed(case.op(), &inputs))))
    });
    let rate = |amount: u64| amount as f64 / seconds / 1e9;
    println!(
        "{name:22} {:30} {:9.1} {:9.2} {:8.2}",
        case.label,
        seconds * 1e6,
        rate(cost.flops),
        rate(cost.bytes)
    );
}

/// The median over batches of runs, each long enough to be timed; a device's queue is emptied
/// only between batches.
fn median_seconds(device: &Device, run: impl Fn()) -> f64 {
    let batch = |runs: u32| {
        let start = Instant::now();
        (0..runs).for_each(|_| run());
        device.synchronize().expect("the device works");
        start.elapsed()
    };
    batch(3);
    let mut runs = 1;
    while batch(runs) < Duration::from_millis(5) {
        runs *= 2;
    }
    let mut seconds: Vec<f64> =
        (0..7).map(|_| batch(runs).as_secs_f64() / f64::from(runs)).collect();
    seconds.sort_by(f64::total_cmp);
    seconds[3]
}
