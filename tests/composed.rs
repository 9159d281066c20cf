//! Methods that are made of several ops, and so have no proof of their own: their results against plain
//! loops in f64 and their gradients against differences of these, on every device of this machine. And
//! what operators and scalars compute.

mod common;

use common::devices;
use neutreno::engine::random::Key;
use neutreno::engine::{Device, Ids, Tensor};

/// The sizes of the tensors that the methods are tried on.
const SIZES: [usize; 3] = [2, 3, 4];

/// A composed method, and the same in f64, of 24 numbers.
type Method = (&'static str, fn(&Tensor) -> Tensor, fn(&[f64]) -> Vec<f64>);

#[test]
fn methods_made_of_ops_are_right_and_so_are_their_gradients() {
    let methods: [Method; 16] = [
        ("variance of rows", |x| x.variance(&[-1], 1, false), |x| rows(x, |row| variance(row, 1))),
        ("variance of all", |x| x.variance(&[0, 1, 2], 0, true), |x| vec![variance(x, 0)]),
        (
            "deviation of columns",
            |x| x.standard_deviation(&[0], 1, false),
            |x| (0..12).map(|j| variance(&[x[j], x[12 + j]], 1).sqrt()).collect(),
        ),
        (
            "deviation of all",
            |x| x.standard_deviation(&[0, 1, 2], 0, false),
            |x| vec![variance(x, 0).sqrt()],
        ),
        (
            "stack",
            |x| Tensor::stack(&[&x.select(0, 1), &x.select(0, 0)], -1),
            |x| (0..12).flat_map(|j| [x[12 + j], x[j]]).collect(),
        ),
        ("split", |x| x.split(2, 1).remove(1), |x| [&x[8..12], &x[20..]].concat()),
        (
            "split with sizes",
            |x| x.split_with_sizes(&[1, 0, 2], 1).remove(2),
            |x| [&x[4..12], &x[16..]].concat(),
        ),
        (
            "chunk",
            |x| x.chunk(3, -1).remove(1),
            |x| x.chunks(4).flat_map(|row| row[2..].to_vec()).collect(),
        ),
        (
            "pad",
            |x| x.pad(&[(1, 0), (0, 0), (0, 1)], 0.5),
            |x| {
                let padded = x.chunks(4).flat_map(|row| [row, &[0.5]].concat());
                [0.5; 15].into_iter().chain(padded).collect()
            },
        ),
        ("select", |x| x.select(1, 2), |x| [&x[8..12], &x[20..]].concat()),
        ("narrow", |x| x.narrow(-1, 1, 1), |x| rows(x, |row| row[1])),
        ("squeeze", |x| x.narrow(1, 0, 1).squeeze(1), |x| [&x[..4], &x[12..16]].concat()),
        (
            "index_select",
            |x| x.index_select(2, &Ids::new(vec![3, 3], [2])),
            |x| x.chunks(4).flat_map(|row| [row[3], row[3]]).collect(),
        ),
        ("flatten", |x| x.flatten(1, 2).flatten(0, 1), |x| x.to_vec()),
        (
            "number before",
            |x| 1.0 - x + 2.0 / (3.0 + x * 0.5),
            |x| x.iter().map(|x| 1.0 - x + 2.0 / (3.0 + x * 0.5)).collect(),
        ),
        (
            "number after",
            |x| -((x - 1.5) * (x / 4.0) + 0.25),
            |x| x.iter().map(|x| -((x - 1.5) * (x / 4.0) + 0.25)).collect(),
        ),
    ];
    for (_, device) in devices() {
        for (name, method, reference) in methods {
            check(name, method, reference, &device);
        }
    }
}

fn rows(x: &[f64], of_row: impl Fn(&[f64]) -> f64) -> Vec<f64> {
    x.chunks(SIZES[2]).map(of_row).collect()
}

fn variance(x: &[f64], correction: usize) -> f64 {
    let mean = x.iter().sum::<f64>() / x.len() as f64;
    let squares = x.iter().map(|x| (x - mean) * (x - mean));
    squares.sum::<f64>() / (x.len() - correction) as f64
}

/// Results, and gradients of a weighted sum of them.
fn check(
    name: &str,
    method: fn(&Tensor) -> Tensor,
    reference: fn(&[f64]) -> Vec<f64>,
    device: &Device,
) {
    let values = Key::new(5).uniforms(SIZES.iter().product(), -1.0, 1.0);
    let x = Tensor::new(&values, SIZES, device).tracked();
    let values: Vec<f64> = values.into_iter().map(f64::from).collect();
    let y = method(&x);
    let expected = reference(&values);
    assert_close(name, &y.to_vec().unwrap(), &expected, 1e-6);

    let weights = Key::new(6).uniforms(expected.len(), -1.0, 1.0);
    let loss =
        |y: Vec<f64>| -> f64 { y.iter().zip(&weights).map(|(y, w)| y * f64::from(*w)).sum() };
    let moved = |index: usize, step: f64| {
        let mut values = values.clone();
        values[index] += step;
        loss(reference(&values))
    };
    let slope = |index: usize| (moved(index, 1e-5) - moved(index, -1e-5)) / 2e-5;
    let slopes: Vec<f64> = (0..values.len()).map(slope).collect();
    let gradients = (y * Tensor::new(&weights, [expected.len()], device)
        .reshape(method(&x).shape()))
    .sum_all()
    .backward()
    .unwrap();
    assert_close(name, &gradients.get(&x).unwrap().to_vec().unwrap(), &slopes, 1e-5);
}

#[track_caller]
fn assert_close(name: &str, got: &[f32], expected: &[f64], tolerance: f64) {
    assert_eq!(got.len(), expected.len(), "{name}");
    for (index, (got, expected)) in got.iter().zip(expected).enumerate() {
        let allowed = tolerance * expected.abs().max(1.0);
        let difference = (f64::from(*got) - expected).abs();
        assert!(difference <= allowed, "{name}, at {index}: {got}, expected {expected}");
    }
}

#[test]
fn variance_far_from_zero_keeps_its_digits() {
    for (_, device) in devices() {
        let x = Tensor::new(&[10_000.0, 10_001.0, 10_002.0, 10_003.0], [4], &device);
        assert_eq!(x.variance(&[0], 0, false).to_scalar().unwrap(), 1.25, "on {device}");
    }
}

#[test]
fn a_deviation_of_nothing_has_no_gradient() {
    for (_, device) in devices() {
        let x = Tensor::new(&[2.0, 2.0, 1.0, 3.0], [2, 2], &device).tracked();
        let deviations = x.standard_deviation(&[1], 0, false);
        assert_eq!(deviations.to_vec().unwrap(), [0.0, 1.0], "on {device}");
        let gradients = deviations.sum_all().backward().unwrap();
        let gradient = gradients.get(&x).unwrap().to_vec().unwrap();
        assert_eq!(gradient, [0.0, 0.0, -0.5, 0.5], "on {device}");
    }
}

#[test]
fn masks_are_constants() {
    for (_, device) in devices() {
        let x = Tensor::new(&[-1.0, 2.0], [2], &device).tracked();
        let mask = x.greater(0.0);
        assert!(!mask.is_tracked());
        let gradients = (&x * mask).sum_all().backward().unwrap();
        assert_eq!(gradients.get(&x).unwrap().to_vec().unwrap(), [0.0, 1.0], "on {device}");
    }
}
