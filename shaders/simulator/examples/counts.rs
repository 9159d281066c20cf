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

const PRODUCT: usize = 256 * 256 * 256;
const LINES: usize = 64 * 1024;
/// Batch, tokens, heads and channels of attention, without a mask.
const ATTENTION: [usize; 4] = [1, 256, 2, 64];
/// Each of the products with keys, and with values.
const SCORES: usize = 2 * 256 * 256 * 64;

fn numbers<const N: usize>(shape: [usize; N], device: &Device) -> Tensor {
    let count = shape.iter().product();
    Tensor::new(&Key::new(1).fold(count as u64).uniforms(count, -1.0, 1.0), shape, device)
}

fn multiply(device: &Device, transpose: [bool; 2]) {
    let [a, b] = [(); 2].map(|()| numbers([256, 256], device));
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

#[rustfmt::skip]
const ROWS: &[Row] = &[
    Row { what: "256³", entry_points: "matmul_shared", software: false, units: PRODUCT, run: |d| multiply(d, [false, false]) },
    Row { what: "256³, b transposed", entry_points: "matmul_shared", software: false, units: PRODUCT, run: |d| multiply(d, [false, true]) },
    Row { what: "256³, a transposed", entry_points: "matmul_shared", software: false, units: PRODUCT, run: |d| multiply(d, [true, false]) },
    Row { what: "256³", entry_points: "matmul_registers_nn", software: true, units: PRODUCT, run: |d| multiply(d, [false, false]) },
    Row { what: "256³", entry_points: "matmul_registers_nt", software: true, units: PRODUCT, run: |d| multiply(d, [false, true]) },
    Row { what: "256³", entry_points: "matmul_registers_tn", software: true, units: PRODUCT, run: |d| multiply(d, [true, false]) },
    Row { what: "1 row of 1024 to 256, f32", entry_points: "few_rows_vectors", software: false, units: 1024 * 256, run: few_rows },
    Row { what: "1 row of 1024 to 256, bf16", entry_points: "few_rows_vectors", software: false, units: 1024 * 256, run: few_rows_half },
    Row { what: "256 tokens, 2 × 64", entry_points: "attention_forward", software: false, units: 2 * SCORES, run: attend },
    Row { what: "256 tokens, 2 × 64", entry_points: "attention_backward_queries", software: false, units: 3 * SCORES, run: attend },
    Row { what: "256 tokens, 2 × 64", entry_points: "attention_backward_keys", software: false, units: 4 * SCORES, run: attend },
    Row { what: "64 rows of 1024", entry_points: "linear_cross_entropy_rows", software: false, units: LINES, run: loss },
    Row { what: "64 × 128 × 1024, all 3", entry_points: "matmul_shared", software: false, units: 3 * 64 * 128 * 1024, run: loss },
    Row { what: "64 rows of 1024", entry_points: "layer_norm_forward", software: false, units: LINES, run: normalize },
    Row { what: "64 rows of 1024", entry_points: "layer_norm_backward", software: false, units: LINES, run: normalize },
    Row { what: "64 rows of 1024", entry_points: "rms_norm_forward", software: false, units: LINES, run: normalize },
    Row { what: "64 rows of 1024", entry_points: "rms_norm_backward", software: false, units: LINES, run: normalize },
    Row { what: "64 rows of 1024", entry_points: "softmax_forward", software: false, units: LINES, run: |d| drop(numbers([64, 1024], d).softmax(-1)) },
    Row { what: "256 tokens, 4 × 64", entry_points: "rope_forward", software: false, units: LINES, run: |d| drop(numbers([1, 256, 4, 64], d).rope(0, 10_000.0)) },
    Row { what: "64 rows of 1024", entry_points: "broadcast_add", software: false, units: LINES, run: |d| drop(numbers([64, 1024], d).add(&numbers([64, 1024], d))) },
];

fn main() {
    println!(
        "Per unit (a multiply-add of products and attention, else an element), all lanes of a warp \
         counted:\ninstructions of multiply-adds, of other real and of whole numbers; sectors of 32 \
         bytes that move, for\nthe fewest that could; accesses to workgroup memory, and how often one \
         asks a bank again.\n"
    );
    println!(
        "{:<27}{:<28}{:>7}{:>7}{:>7}{:>7}{:>9}{:>8}{:>8}{:>9}{:>8}{:>9}",
        "entry point",
        "work",
        "lanes",
        "groups",
        "fused",
        "real",
        "whole",
        "global",
        "sectors",
        "shared",
        "again",
        "barriers"
    );
    for row in ROWS {
        print(row);
    }
}

fn print(row: &Row) {
    let class = if row.software { Class::SOFTWARE } else { Class::HARDWARE };
    let simulator = Arc::new(Simulator::counting());
    (row.run)(&Device::simulated(simulator.clone(), class));
    let mut counts = Counts::default();
    for (name, counted) in simulator.take_counts() {
        if name.contains(row.entry_points) {
            counts += counted;
        }
    }
    assert!(counts.workgroups > 0, "{} is not run", row.entry_points);
    assert_eq!(simulator.take_findings(), [], "{}", row.entry_points);
    let each = |count: u64| 32.0 * count as f64 / row.units as f64;
    let ratio = |count: u64, of: u64| count as f64 / of.max(1) as f64;
    println!(
        "{:<27}{:<28}{:>7}{:>7}{:>7.2}{:>7.2}{:>9.2}{:>8.3}{:>8.2}{:>9.3}{:>8.2}{:>9.1}",
        row.entry_points,
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
