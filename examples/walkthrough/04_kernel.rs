//! Chapter 4: a kernel. A map and a sum as programs for GPUs, run on a simulator that looks at every access
//! to memory, and on a GPU if there is one. `cargo run --release --example 04_kernel`

#[path = "common/mod.rs"]
mod common;

use common::{Chapter, charts};
use neutreno::engine::autograd::{GradientContext, Op, Saved, Saves, apply};
use neutreno::engine::device::{View, ViewMut, list};
use neutreno::engine::gpu::{Binding, Class, Recorder, Shader};
use neutreno::engine::{Device, Kernel, Result, Shape, Tensor, uniforms};
use neutreno_simulator::{Does, Finding, Simulator};
use std::collections::BTreeMap;
use std::sync::Arc;

/// As many numbers as no workgroups of 64 fill.
const NUMBERS: usize = 1000;

/// A kernel that makes one number of each `share` numbers: by a shader, and by a plain loop.
#[derive(Clone, Copy, Debug)]
struct Own {
    shader: Shader,
    entry_point: &'static str,
    share: usize,
    plain: fn(&[f32]) -> f32,
}

impl Kernel for Own {
    fn name(&self) -> &'static str {
        self.entry_point
    }

    fn shapes(&self, inputs: &[Shape]) -> std::result::Result<Vec<Shape>, String> {
        Ok(vec![Shape::new(&[inputs[0].elements().div_ceil(self.share)])])
    }

    fn cpu(&self, inputs: &[View], outputs: &mut [ViewMut]) {
        let shares = inputs[0].chunks(self.share);
        outputs[0].iter_mut().zip(shares).for_each(|(y, x)| *y = (self.plain)(x));
    }

    // ANCHOR: dispatch
    fn gpu(&self, inputs: &[Binding], outputs: &[Binding], gpu: &mut Recorder) {
        let elements = inputs[0].shape.elements();
        let (x, y) = ([&inputs[0]], [&outputs[0]]);
        let mut gpu = gpu.with_shader(&self.shader);
        gpu.dispatch_elements(self.entry_point, &x, &y, uniforms! { elements }, elements);
    }
    // ANCHOR_END: dispatch
}

/// To be used in a graph it would have to bring its derivative, as `examples/own_op.rs` does.
impl Op for Own {
    fn saves(&self) -> Saves {
        Saves::default()
    }

    fn no_derivative(&self) -> Option<&'static str> {
        Some("this chapter is about kernels alone")
    }

    fn backward(&self, _saved: &Saved, _context: &mut GradientContext) {
        unreachable!("nothing tracked comes here")
    }
}

const MAP: Shader = Shader { name: "04_map.wgsl", source: include_str!("04_map.wgsl") };
const SUM_OF_GROUP: Shader = Shader { name: "04_sum.wgsl", source: include_str!("04_sum.wgsl") };
const WITH_RACE: Shader = Shader { name: "04_race.wgsl", source: include_str!("04_race.wgsl") };

const SQUARE: Own = Own { shader: MAP, entry_point: "square", share: 1, plain: |x| x[0] * x[0] };
const UNGUARDED: Own = Own { entry_point: "square_unguarded", ..SQUARE };
const SUM: Own =
    Own { shader: SUM_OF_GROUP, entry_point: "sum", share: 64, plain: |x| x.iter().sum() };
const RACE: Own = Own { shader: WITH_RACE, ..SUM };

fn run(kernel: Own, x: &Tensor) -> Tensor {
    let [y] = apply(kernel, &[x]);
    y
}

/// The sum of all numbers: sums of workgroups, and sums of these, until one is left.
fn total(kernel: Own, x: &Tensor) -> Result<f32> {
    let mut sums = run(kernel, x);
    while sums.elements() > 1 {
        sums = run(kernel, &sums);
    }
    sums.to_scalar()
}

/// 1, 2, 3, ...
fn count_up(device: &Device) -> Tensor {
    let numbers: Vec<f32> = (1..=NUMBERS).map(|i| i as f32).collect();
    Tensor::new(&numbers, [NUMBERS], device)
}

/// What the simulator has found since it was asked last.
fn print_findings(simulator: &Simulator) {
    let findings = simulator.take_findings();
    if findings.is_empty() {
        println!("the simulator found nothing wrong");
    }
    for Finding { shader, line, what, times, .. } in findings {
        println!("found at line {line} of {shader}, {times} times:\n  {what}");
    }
}

fn show(what: &str, numbers: &[f32]) {
    let first: Vec<String> = numbers.iter().take(6).map(ToString::to_string).collect();
    let last = numbers.last().copied().unwrap_or_default();
    println!("{what}: {} numbers, {}, ..., {last}", numbers.len(), first.join(", "));
}

/// What the lanes of the first workgroup do to its memory in the last dispatch, access by access: 2 where one
/// writes, 1 where it reads.
fn accesses(simulator: &Simulator) -> Vec<Vec<f64>> {
    let Some(trace) = simulator.take_traces().pop() else { return Vec::new() };
    let mut rows = BTreeMap::new();
    for touch in &trace.touches {
        let is_shared = trace.variables[touch.variable as usize].binding.is_none();
        if is_shared && touch.workgroup == [0, 0] {
            let row = rows.entry(touch.step).or_insert_with(|| vec![0.0; 64]);
            row[touch.lane as usize] = if touch.does == Does::Write { 2.0 } else { 1.0 };
        }
    }
    rows.into_values().collect()
}

fn main() -> Result<()> {
    let chapter = Chapter::open();
    let on_cpu = count_up(&Device::cpu());
    // ANCHOR: simulated
    let simulator = Arc::new(Simulator::tracing());
    let simulated = Device::simulated(simulator.clone(), Class::HARDWARE);
    let x = count_up(&simulated);
    // ANCHOR_END: simulated
    maps(&chapter, &simulator, &x, &on_cpu)?;
    sums(&chapter, &simulator, &x, &on_cpu)?;
    on_a_gpu(&chapter, &on_cpu)
}

/// The map as it should be, and without its guard.
fn maps(chapter: &Chapter, simulator: &Simulator, x: &Tensor, on_cpu: &Tensor) -> Result<()> {
    chapter.section("A map");
    let expected = run(SQUARE, on_cpu).to_vec()?;
    let groups = NUMBERS.div_ceil(64);
    println!("{NUMBERS} numbers: {groups} workgroups of 64, {} invocations", 64 * groups);
    let squares = run(SQUARE, x).to_vec()?;
    show("squares", &squares);
    println!("as by the plain loop: {}", squares == expected);
    print_findings(simulator);

    chapter.section("Without the guard");
    let squares = run(UNGUARDED, x).to_vec()?;
    println!("as by the plain loop: {}", squares == expected);
    print_findings(simulator);
    Ok(())
}

/// The sum as it should be, and without its barriers.
fn sums(chapter: &Chapter, simulator: &Simulator, x: &Tensor, on_cpu: &Tensor) -> Result<()> {
    chapter.section("A sum");
    let sums = run(SUM, x).to_vec()?;
    let rows = accesses(simulator);
    show("sums of workgroups", &sums);
    println!("as by the plain loop: {}", sums == run(SUM, on_cpu).to_vec()?);
    let formula = NUMBERS * (NUMBERS + 1) / 2;
    println!("sum: {}; by the formula n (n + 1) / 2: {formula}", total(SUM, x)?);
    print_findings(simulator);
    let title = "A workgroup's memory during a sum";
    let svg = charts::heat_map(title, "accesses: writes strong, reads pale", "lanes", &rows);
    chapter.picture("04_sum.svg", &svg);

    chapter.section("A race");
    println!("sum: {}", total(RACE, x)?);
    print_findings(simulator);
    Ok(())
}

/// The same kernels on a GPU, if there is one.
fn on_a_gpu(chapter: &Chapter, on_cpu: &Tensor) -> Result<()> {
    chapter.section("On a GPU");
    let device = chapter.device("auto");
    if device.kind() != "gpu" {
        println!("There is no GPU here that is real hardware, so this part is left out.");
        for found in list() {
            println!("Software that acts as one is here, {}:", found.name);
            println!("add --device and three letters or more of its name, as in --device llvmpipe");
        }
        return Ok(());
    }
    let x = count_up(&device);
    println!("{device}");
    let squares = run(SQUARE, &x).to_vec()?;
    println!("squares as by the plain loop: {}", squares == run(SQUARE, on_cpu).to_vec()?);
    println!("sum: {}", total(SUM, &x)?);
    println!("sum with the race: {}", total(RACE, &x)?);
    Ok(())
}
