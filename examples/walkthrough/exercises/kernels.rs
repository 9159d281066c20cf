//! What each kernel is given, what it should make of it, and what it may cost.

use crate::costs::{self, Cost};

pub struct Kernel {
    pub entry_point: &'static str,
    pub cases: Vec<Case>,
    /// What is too dear, though the numbers are right.
    pub cost: fn(&Cost) -> Option<costs::TooDear>,
}

/// One dispatch.
pub struct Case {
    /// In words, as "100 elements".
    pub what: String,
    pub uniforms: Vec<u32>,
    /// Bindings from 1 on.
    pub inputs: Vec<Vec<f32>>,
    /// What should be written to the binding after them.
    pub expected: Vec<f32>,
    /// How many columns that has; 0 if it is no matrix.
    pub columns: usize,
    /// The elements of one more binding to write to; 0 for none.
    pub spare: usize,
    pub grid: [u32; 2],
}

/// Numbers that look like any, from −1 to 1, in eighths: so products and their sums come out exact.
fn some_numbers(count: usize) -> Vec<f32> {
    (0..count).map(|i| ((i * 7 + i * i / 3) % 17) as f32 / 8.0 - 1.0).collect()
}

fn one_input(what: &str, x: Vec<f32>, expected: Vec<f32>, groups: u32) -> Case {
    let uniforms = vec![x.len() as u32];
    let (inputs, grid) = (vec![x], [groups, 1]);
    Case { what: what.into(), uniforms, inputs, expected, columns: 0, spare: 0, grid }
}

fn triple(elements: usize) -> Case {
    let x: Vec<f32> = (0..elements).map(|i| i as f32).collect();
    let expected = x.iter().map(|x| 3.0 * x + 1.0).collect();
    one_input(&format!("{elements} elements"), x, expected, elements.div_ceil(64) as u32)
}

pub fn map() -> Kernel {
    Kernel { entry_point: "map", cases: vec![triple(64)], cost: costs::none }
}

pub fn guard() -> Kernel {
    Kernel { entry_point: "guard", cases: vec![triple(100), triple(64)], cost: costs::none }
}

pub fn reduce() -> Kernel {
    let of = |groups: usize| {
        let x = some_numbers(64 * groups);
        let expected = x.chunks(64).map(|part| part.iter().sum()).collect();
        one_input(&format!("{} elements", x.len()), x, expected, groups as u32)
    };
    Kernel { entry_point: "reduce", cases: vec![of(1), of(3)], cost: costs::none }
}

pub fn window() -> Kernel {
    let of = |elements: usize| {
        let x = some_numbers(elements);
        let sum = |i: usize| (i.saturating_sub(2)..(i + 3).min(elements)).map(|at| x[at]).sum();
        let expected = (0..elements).map(sum).collect();
        let groups = elements.div_ceil(64) as u32;
        one_input(&format!("{elements} elements"), x.clone(), expected, groups)
    };
    Kernel { entry_point: "window", cases: vec![of(128), of(131)], cost: costs::each_read_once }
}

pub fn softmax() -> Kernel {
    let of = |columns: usize| {
        let row = |scale: f32, shift: f32| {
            some_numbers(columns).into_iter().map(move |x| scale * x + shift)
        };
        let x: Vec<f32> = row(1.0, 0.0).chain(row(4.0, 100.0)).chain(row(9.0, -200.0)).collect();
        let expected = x.chunks(columns).flat_map(softmax_of).collect();
        let what = format!("3 rows of {columns} columns, the second with numbers around 100");
        let case = one_input(&what, x, expected, 3);
        Case { uniforms: vec![columns as u32], columns, ..case }
    };
    Kernel { entry_point: "softmax", cases: vec![of(100), of(20)], cost: costs::none }
}

fn softmax_of(row: &[f32]) -> Vec<f32> {
    let most = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let powers: Vec<f64> = row.iter().map(|x| f64::from(x - most).exp()).collect();
    let sum: f64 = powers.iter().sum();
    powers.iter().map(|power| (power / sum) as f32).collect()
}

pub fn transpose() -> Kernel {
    let of = |rows: usize, columns: usize| {
        let x: Vec<f32> = (0..rows * columns).map(|i| i as f32).collect();
        let expected = (0..x.len()).map(|i| x[i % rows * columns + i / rows]).collect();
        let grid = [columns.div_ceil(32) as u32, rows.div_ceil(32) as u32];
        let case = one_input(&format!("{rows} rows, {columns} columns"), x, expected, 1);
        Case { uniforms: vec![rows as u32, columns as u32], columns: rows, grid, ..case }
    };
    let cases = vec![of(32, 32), of(40, 64)];
    Kernel { entry_point: "transpose", cases, cost: costs::no_conflicts_and_whole_sectors }
}

pub fn matmul() -> Kernel {
    let of = |m: usize, k: usize, n: usize| {
        let (a, b) = (some_numbers(m * k), some_numbers(k * n));
        let element = |at: usize| (0..k).map(|i| a[at / n * k + i] * b[i * n + at % n]).sum();
        Case {
            what: format!("m = {m}, k = {k}, n = {n}"),
            uniforms: vec![m as u32, k as u32, n as u32],
            expected: (0..m * n).map(element).collect(),
            inputs: vec![a.clone(), b.clone()],
            columns: n,
            spare: 0,
            grid: [n.div_ceil(16) as u32, m.div_ceil(16) as u32],
        }
    };
    let cases = vec![of(16, 32, 16), of(20, 19, 21)];
    Kernel { entry_point: "matmul", cases, cost: costs::each_read_once }
}

pub fn attention() -> Kernel {
    let of = |tokens: usize, scales: [f32; 2]| {
        let [q, k] = scales.map(|scale| {
            some_numbers(8 * tokens).into_iter().map(|x| scale * x).collect::<Vec<f32>>()
        });
        let v: Vec<f32> = some_numbers(8 * tokens).into_iter().rev().collect();
        Case {
            what: format!("{tokens} tokens"),
            uniforms: vec![tokens as u32],
            expected: (0..tokens).flat_map(|i| attention_of(&q, &k, &v, i)).collect(),
            inputs: vec![q, k, v],
            columns: 8,
            spare: tokens * tokens,
            grid: [tokens.div_ceil(64) as u32, 1],
        }
    };
    // The second has scores whose powers no f32 holds.
    let cases = vec![of(40, [2.0, 1.0]), of(72, [60.0, 8.0])];
    Kernel { entry_point: "attention", cases, cost: costs::no_square_of_tokens }
}

/// The output of query `i`.
fn attention_of(q: &[f32], k: &[f32], v: &[f32], i: usize) -> Vec<f32> {
    let channels = |of: &[f32], token: usize| -> Vec<f64> {
        of[8 * token..8 * token + 8].iter().map(|x| f64::from(*x)).collect()
    };
    let query = channels(q, i);
    let score = |j: usize| -> f64 {
        query.iter().zip(channels(k, j)).map(|(q, k)| q * k).sum::<f64>() / 8f64.sqrt()
    };
    let scores: Vec<f64> = (0..=i).map(score).collect();
    let most = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let powers: Vec<f64> = scores.iter().map(|score| (score - most).exp()).collect();
    let sum: f64 = powers.iter().sum();
    let mean = |channel: usize| -> f32 {
        let terms = powers.iter().enumerate().map(|(j, power)| power * channels(v, j)[channel]);
        (terms.sum::<f64>() / sum) as f32
    };
    (0..8).map(mean).collect()
}
