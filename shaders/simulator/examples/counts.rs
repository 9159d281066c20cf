//! Prints what the main shaders cost, counted by the simulator: a row for each entry point, at a shape that
//! is small but like those that matter. `cargo run -p neutreno-simulator --example counts`.

use neutreno_engine::gpu::Class;
use neutreno_engine::half::Half;
use neutreno_engine::ops::half_matrix::HalfMatrix;
use neutreno_engine::random::Key;
use neutreno_engine::{Device, Ids, Tensor, no_grad};
use neutreno_simulator::{Counts, Simulator};
use std::sync::Arc;

/// Something to count: a dispatch of one entry point, or several.
struct Row {
    what: &'static str,
    /// The part of the names of the entry points that are meant.
    entry_points: &'static str,
    /// By the kernels for hardware with 64 lanes, or those for software with 8.
    software: bool,
    /// The multiply-adds or the elements that the work consists of.
    units: usize,
    run: fn(&Device),
}

const LINES: usize = 64 * 1024;
/// Batch, tokens, heads and channels of attention, without a mask.
const ATTENTION: [usize; 4] = [1, 256, 2, 64];
/// Each of the products with keys, and with values.
const SCORES: usize = 2 * 256 * 256 * 64;

fn numbers<const N: usize>(shape: [usize; N], device: &Device) -> Tensor {
    let count = shape.iter().product();
    Tensor::new(&Key::new(1).fold(count as u64).uniforms(count, -1.0, 1.0), shape, device)
}

fn multiply(size: usize, transpose: [bool; 2], device: &Device) {
    let [a, b] = [(); 2].map(|()| numbers([size, size], device));
    a.matmul_with(&b, transpose[0], transpose[1]);
}

fn attend(device: &Device) {
    let [q, k, v] = [(); 3].map(|()| numbers(ATTENTION, device).tracked());
    q.attention(&k, &v, None, false).sum_all().backward().expect("the graph is whole");
}

fn loss(device: &Device) {
    let x = numbers([64, 128], device).tracked();
    let weight = numbers([1024, 128], device).tracked();
    let targets = Ids::new((0..64).collect::<Vec<u32>>(), [64]);
    let loss = x.linear_cross_entropy(&weight, &targets, 0.0);
    loss.backward().expect("the graph is whole");
}

fn normalize(device: &Device) {
    let x = numbers([64, 1024], device).tracked();
    let [weight, bias] = [(); 2].map(|()| numbers([1024], device).tracked());
    let sum = x.layer_norm(&weight, &bias, 1e-5).sum_all();
    sum.add(&x.rms_norm(&weight, 1e-5).sum_all()).backward().expect("the graph is whole");
}

fn few_rows(device: &Device) {
    let weight = numbers([256, 1024], device);
    no_grad(|| numbers([1, 1024], device).linear(&weight, None));
}

fn few_rows_half(device: &Device) {
    let weight = HalfMatrix::zeros([256, 1024], Half::Bf16, device);
    numbers([1, 1024], device).linear_half(&weight, None);
}

/// The kernels for hardware.
const fn hardware(
    entry_points: &'static str,
    what: &'static str,
    units: usize,
    run: fn(&Device),
) -> Row {
    Row { what, entry_points, software: false, units, run }
}

/// Those for adapters that are programs on the CPU.
const fn software(
    entry_points: &'static str,
    what: &'static str,
    units: usize,
    run: fn(&Device),
) -> Row {
    Row { what, entry_points, software: true, units, run }
}

const ROWS: &[Row] = &[
    hardware("matmul_squares", "256³", 256 * 256 * 256, |device| {
        multiply(256, [false; 2], device)
    }),
    hardware("matmul_squares", "256³, b transposed", 256 * 256 * 256, |device| {
        multiply(256, [false, true], device);
    }),
    hardware("matmul_squares", "256³, a transposed", 256 * 256 * 256, |device| {
        multiply(256, [true, false], device);
    }),
    hardware("matmul_squares", "768³", 768 * 768 * 768, |device| {
        multiply(768, [false; 2], device)
    }),
    hardware("matmul_shared", "255³", 255 * 255 * 255, |device| multiply(255, [false; 2], device)),
    software("matmul_registers_nn", "256³", 256 * 256 * 256, |device| {
        multiply(256, [false; 2], device);
    }),
    software("matmul_registers_nt", "256³", 256 * 256 * 256, |device| {
        multiply(256, [false, true], device);
    }),
    software("matmul_registers_tn", "256³", 256 * 256 * 256, |device| {
        multiply(256, [true, false], device);
    }),
    hardware("few_rows", "1 row of 1024 to 256, f32", 1024 * 256, few_rows),
    hardware("few_rows", "1 row of 1024 to 256, bf16", 1024 * 256, few_rows_half),
    hardware("attention_tiles", "256 tokens, 2 × 64", 2 * SCORES, attend),
    hardware("attention_backward_tiles_queries", "256 tokens, 2 × 64", 3 * SCORES, attend),
    hardware("attention_backward_tiles_keys", "256 tokens, 2 × 64", 4 * SCORES, attend),
    hardware("linear_cross_entropy_rows", "64 rows of 1024", LINES, loss),
    hardware("matmul", "its 3 products, 64 × 128 × 1024", 3 * 128 * LINES, loss),
    hardware("layer_norm_forward", "64 rows of 1024", LINES, normalize),
    hardware("layer_norm_backward", "64 rows of 1024", LINES, normalize),
    hardware("rms_norm_forward", "64 rows of 1024", LINES, normalize),
    hardware("rms_norm_backward", "64 rows of 1024", LINES, normalize),
    hardware("softmax_forward", "64 rows of 1024", LINES, |device| {
        numbers([64, 1024], device).softmax(-1);
    }),
    hardware("rope_forward", "256 tokens, 4 × 64", LINES, |device| {
        numbers([1, 256, 4, 64], device).rope(0, 10_000.0);
    }),
    hardware("split_heads_forward", "256 tokens, 3 × 4 × 64", 3 * LINES, |device| {
        let frequencies: Vec<f64> = (0..32).map(f64::from).collect();
        numbers([1, 256, 768], device).split_heads_and_turn(&[4; 3], 0, &frequencies);
    }),
    hardware("rms_norm_add_forward", "64 rows of 1024", LINES, |device| {
        let [x, added] = [0, 1].map(|_| numbers([64, 1024], device));
        x.add_rms_norm(&added, &numbers([1024], device), 1e-5);
    }),
    hardware("broadcast_add", "64 rows of 1024", LINES, |device| {
        numbers([64, 1024], device).add(&numbers([64, 1024], device));
    }),
];

fn main() {
    println!(
        "By unit (a multiply-add of products and attention, else an element), each instruction of a warp \
         counted as\nthe 32 lanes that it takes, be they 8 that work: multiply-adds, other operations on \
         real and on whole numbers,\naccesses to global and to workgroup memory. Sectors of global memory \
         that move, for each that would have to;\nhow often an access to workgroup memory asks a bank \
         again; barriers of a workgroup.\n"
    );
    println!(
        "{:<37}{:<33}{:>6}{:>8}{:>7}{:>7}{:>7}{:>8}{:>9}{:>10}{:>7}{:>9}",
        "entry point",
        "work",
        "lanes",
        "groups",
        "fused",
        "real",
        "whole",
        "global",
        "sectors",
        "workgroup",
        "again",
        "barriers"
    );
    ROWS.iter().for_each(print);
}

fn print(row: &Row) {
    let class = if row.software { Class::SOFTWARE } else { Class::HARDWARE };
    let simulator = Arc::new(Simulator::counting());
    (row.run)(&Device::simulated(simulator.clone(), class));
    let (mut counts, mut names) = (Counts::default(), Vec::new());
    for (name, counted) in simulator.take_counts() {
        if name.contains(row.entry_points) {
            counts += counted;
            names.push(name);
        }
    }
    assert!(!names.is_empty(), "{} is not run", row.entry_points);
    assert_eq!(simulator.take_findings(), [], "{}", row.entry_points);
    let name = if let [name] = &names[..] { name } else { row.entry_points };
    let each = |count: u64| 32.0 * count as f64 / row.units as f64;
    let ratio = |count: u64, of: u64| count as f64 / of.max(1) as f64;
    println!(
        "{name:<37}{:<33}{:>6}{:>8}{:>7.2}{:>7.2}{:>7.2}{:>8.3}{:>9.2}{:>10.3}{:>7.2}{:>9.1}",
        row.what,
        class.lanes,
        counts.workgroups,
        each(counts.fused),
        each(counts.real),
        each(counts.whole),
        each(counts.loads + counts.stores),
        ratio(counts.sectors, counts.fewest_sectors),
        each(counts.workgroup_accesses),
        ratio(counts.bank_conflicts, counts.workgroup_accesses),
        ratio(counts.barriers, counts.workgroups),
    );
}
