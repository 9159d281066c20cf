//! Attention with a padding mask and with a bias, against the formula in plain f64 loops and differences of
//! it, on every device of this machine.

mod common;

use common::devices;
use neutreno::engine::ops::attention::Mixing;
use neutreno::engine::random::Key;
use neutreno::engine::{Device, Tensor};

const BATCH: usize = 3;
const QUERIES: usize = 3;
const KEYS: usize = 5;
const HEADS: usize = 4;
const KV_HEADS: usize = 2;
const D: usize = 3;

/// Padding at the end, at the beginning, and a sequence of nothing else.
const MASK: [f32; BATCH * KEYS] = [1., 1., 1., 1., 0., 0., 0., 0., 1., 1., 0., 0., 0., 0., 0.];

/// The queries, keys, values and the bias, in f64.
type Operands = [Vec<f64>; 4];

/// Where the numbers of the operands come from.
fn operands(bias_shape: [usize; 4]) -> Operands {
    let sizes = [QUERIES * HEADS * D, KEYS * KV_HEADS * D, KEYS * KV_HEADS * D].map(|n| n * BATCH);
    let counts = [sizes[0], sizes[1], sizes[2], bias_shape.iter().product()];
    let numbers = |(number, count): (u64, usize)| -> Vec<f64> {
        let key = Key::new(31).fold(number);
        key.uniforms(count, -2.0, 2.0).into_iter().map(f64::from).collect()
    };
    [(0, counts[0]), (1, counts[1]), (2, counts[2]), (3, counts[3])].map(numbers)
}

/// softmax(Q·Kᵀ/√d + bias)·V over the keys that a query sees; 0 if it sees none.
fn reference(
    [q, k, v, bias]: &Operands,
    bias_shape: [usize; 4],
    masked: bool,
    causal: bool,
) -> Vec<f64> {
    let mut output = Vec::new();
    for row in 0..BATCH * QUERIES * HEADS {
        let (head, query, batch) = (row % HEADS, row / HEADS % QUERIES, row / HEADS / QUERIES);
        let kv = |key: usize| ((batch * KEYS + key) * KV_HEADS + head / (HEADS / KV_HEADS)) * D;
        let sees = |key: &usize| {
            let hidden = masked && MASK[batch * KEYS + key] == 0.0;
            !(hidden || causal && *key > query + KEYS - QUERIES)
        };
        let weight = |key: usize| {
            let [batches, heads, queries, keys] = bias_shape;
            let at = (batch % batches * heads + head % heads) * queries + query % queries;
            let dot: f64 = (0..D).map(|c| q[row * D + c] * k[kv(key) + c]).sum();
            (dot / (D as f64).sqrt() + bias[at * keys + key % keys]).exp()
        };
        let seen: Vec<(usize, f64)> =
            (0..KEYS).filter(sees).map(|key| (key, weight(key))).collect();
        let total: f64 = seen.iter().map(|(_, weight)| weight).sum();
        let channel = |c: usize| seen.iter().map(|(key, w)| w / total * v[kv(*key) + c]).sum();
        output.extend((0..D).map(channel).map(|sum: f64| if seen.is_empty() { 0.0 } else { sum }));
    }
    output
}

/// Results and gradients of `attend` against the formula.
fn check(
    device: &Device,
    what: &str,
    bias_shape: [usize; 4],
    [masked, causal]: [bool; 2],
    attend: impl Fn(&[Tensor; 4], &Tensor) -> Tensor,
) {
    let what = format!("{what} on {device}, masked: {masked}, causal: {causal}");
    let operands = operands(bias_shape);
    let shapes = [
        [BATCH, QUERIES, HEADS, D],
        [BATCH, KEYS, KV_HEADS, D],
        [BATCH, KEYS, KV_HEADS, D],
        bias_shape,
    ];
    let tensors = [0, 1, 2, 3].map(|i| {
        let numbers: Vec<f32> = operands[i].iter().map(|value| *value as f32).collect();
        Tensor::new(&numbers, shapes[i], device).tracked()
    });
    let mask = Tensor::new(&MASK, [BATCH, KEYS], device);
    let output = attend(&tensors, &mask);
    let expected = reference(&operands, bias_shape, masked, causal);
    close(&what, &output.to_vec().unwrap(), &expected);

    let weights = Key::new(32).uniforms(expected.len(), -1.0, 1.0);
    let gradients =
        (output * Tensor::new(&weights, shapes[0], device)).sum_all().backward().unwrap();
    let loss = |operands: &Operands| -> f64 {
        let output = reference(operands, bias_shape, masked, causal);
        output.iter().zip(&weights).map(|(o, w)| o * f64::from(*w)).sum()
    };
    for (number, tensor) in tensors.iter().enumerate() {
        // Without a use for the bias there is no gradient of it.
        let Some(gradient) = gradients.get(tensor) else {
            assert!(number == 3 && what.starts_with("masked"), "{what}: operand {number}");
            continue;
        };
        let moved = |index: usize, step: f64| {
            let mut operands = operands.clone();
            operands[number][index] += step;
            loss(&operands)
        };
        let slope = |index: usize| (moved(index, 1e-5) - moved(index, -1e-5)) / 2e-5;
        let slopes: Vec<f64> = (0..operands[number].len()).map(slope).collect();
        close(&format!("{what}, gradient {number}"), &gradient.to_vec().unwrap(), &slopes);
    }
}

#[track_caller]
fn close(what: &str, got: &[f32], expected: &[f64]) {
    assert_eq!(got.len(), expected.len(), "{what}");
    for (index, (got, expected)) in got.iter().zip(expected).enumerate() {
        let close = (f64::from(*got) - expected).abs() <= 2e-5;
        assert!(close, "{what}, at {index}: {got}, expected {expected}");
    }
}

#[test]
fn masked_attention_is_that_over_the_keys_shown() {
    for (_, device) in devices() {
        for causal in [false, true] {
            // One number added to every score changes nothing.
            check(&device, "masked", [1, 1, 1, 1], [true, causal], |[q, k, v, _], mask| {
                q.attention_masked(k, v, None, causal, mask)
            });
        }
    }
}

/// With values of the first layer too, and learned coefficients; what is hidden gets gradients of 0.
#[test]
fn masked_attention_mixes_values_as_small_ops_do() {
    for (_, device) in devices() {
        let make = |number: u64, positions: usize, heads: usize| {
            let shape = [BATCH, positions, heads, D];
            let numbers = Key::new(33).fold(number).uniforms(shape.iter().product(), -2.0, 2.0);
            Tensor::new(&numbers, shape, &device).tracked()
        };
        let q = make(0, QUERIES, HEADS);
        let [k, v, v1] = [1, 2, 3].map(|number| make(number, KEYS, KV_HEADS));
        let weights = make(4, QUERIES, HEADS);
        let [a, b, c] = [0.7, 0.4, -0.3].map(|value| Tensor::full(value, [1], &device).tracked());
        let mixing = Mixing { own: (&a).into(), first: (&b).into(), fidelity: (&c).into() };
        let mask = Tensor::new(&MASK, [BATCH, KEYS], &device);
        let first = Some((&v1, &mixing));
        let masked = q.attention_masked(&k, &v, first, true, &mask);
        let zero = Tensor::zeros([], &device);
        let unfused = q.attention_biased(&k, &v, first, true, Some(&mask), &zero);
        let numbers = |tensor: &Tensor| -> Vec<f32> { tensor.to_vec().unwrap() };
        let wide = |numbers: Vec<f32>| -> Vec<f64> { numbers.into_iter().map(f64::from).collect() };
        close("mixed", &numbers(&masked), &wide(numbers(&unfused)));
        let [masked, unfused] =
            [masked, unfused].map(|output| (output * &weights).sum_all().backward().unwrap());
        for leaf in [&q, &k, &v, &v1, &a, &b, &c] {
            let [got, expected] = [&masked, &unfused].map(|all| numbers(&all.get(leaf).unwrap()));
            close("a gradient of mixed", &got, &wide(expected));
        }
        let of_keys = numbers(&masked.get(&k).unwrap());
        let rows = of_keys.chunks(KV_HEADS * D).zip(MASK);
        assert!(
            rows.filter(|(_, shown)| *shown == 0.0).all(|(row, _)| row.iter().all(|x| *x == 0.0))
        );
    }
}

#[test]
fn biased_attention_adds_to_the_scores() {
    let shapes = [[1, 1, 1, KEYS], [1, HEADS, QUERIES, KEYS], [BATCH, 1, QUERIES, 1]];
    for (_, device) in devices() {
        for shape in shapes.into_iter().chain([[BATCH, HEADS, QUERIES, KEYS]]) {
            for [masked, causal] in [[false, false], [false, true], [true, false], [true, true]] {
                check(&device, "biased", shape, [masked, causal], |[q, k, v, bias], mask| {
                    q.attention_biased(k, v, None, causal, masked.then_some(mask), bias)
                });
            }
        }
    }
}
