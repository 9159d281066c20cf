//! The formula in plain loops, and where to check the kernels against it.

use super::Attention;
use super::sizes::Sizes;
use super::values::{Coefficients, Source};
use crate::proof::{Array64, Case, Proven};

impl Proven for Attention {
    fn reference(&self, inputs: &[Array64]) -> Vec<Array64> {
        vec![reference(self, inputs)]
    }

    fn cases() -> Vec<Case> {
        cases()
    }
}

fn reference(op: &Attention, inputs: &[Array64]) -> Array64 {
    let [q, k, v] = [&inputs[0], &inputs[1], &inputs[2]];
    let first = inputs.get(3).unwrap_or(v);
    let mut given = inputs.iter().skip(4);
    let [a, b, c] = op.coefficients.0.map(|source| match source {
        Source::Constant(value) => f64::from(value),
        Source::Input => given.next().expect("an input for each coefficient").data[0],
    });
    let sizes = Sizes::new(&q.shape, &k.shape, op.causal);
    let Sizes { batch, queries, keys, heads, kv_heads, head_size, .. } = sizes;
    let mut output = Array64::full(q.shape, 0.0);
    let scale = 1.0 / (head_size as f64).sqrt();
    for row in 0..batch * queries * heads {
        let (head, query, batch) = (row % heads, row / heads % queries, row / heads / queries);
        let kv_row = |key: usize| (batch * keys + key) * kv_heads + head / (heads / kv_heads);
        let own = (query + keys).checked_sub(queries);
        let seen = if op.causal { own.expect("a key for each query") + 1 } else { keys };
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let scores: Vec<f64> =
            (0..seen).map(|key| scale * dot(q.row(row), k.row(kv_row(key)))).collect();
        let largest = scores.iter().copied().fold(f64::MIN, f64::max);
        let weights: Vec<f64> = scores.iter().map(|score| (score - largest).exp()).collect();
        let total: f64 = weights.iter().sum();
        for channel in 0..head_size {
            let mut sum = 0.0;
            for (key, weight) in weights.iter().enumerate() {
                let [v, first] = [v.row(kv_row(key))[channel], first.row(kv_row(key))[channel]];
                sum += weight / total * (a * v + b * first);
            }
            if c != 0.0 {
                let at = kv_row(own.expect("a key for each query"));
                sum += c * (first.row(at)[channel] - v.row(at)[channel]);
            }
            output.data[row * head_size + channel] = sum;
        }
    }
    output.with_magnitude(1.0)
}

/// Which of a, b and c are fixed, and the values of all.
type CaseCoefficients = [(bool, f32); 3];

const PLAIN: CaseCoefficients = [(true, 1.0), (true, 0.0), (true, 0.0)];
const NEUTRENO: CaseCoefficients = [(true, 1.0), (true, 0.0), (true, 0.4)];
const RESFORMER: CaseCoefficients = [(true, 0.5), (true, 0.5), (true, 0.0)];
const BOTH: CaseCoefficients = [(true, 0.5), (true, 0.5), (true, 0.1)];
const LEARNED: CaseCoefficients = [(false, 0.7), (false, 0.4), (false, -0.3)];
const LEARNED_MIX: CaseCoefficients = [(false, 0.5), (false, 0.5), (true, 0.0)];
const LEARNED_FIDELITY: CaseCoefficients = [(true, 1.0), (true, 0.0), (false, 0.6)];

/// Batch, queries, keys, heads, kv heads and head size.
type CaseSizes = [usize; 6];

fn case(label: &str, given: CaseCoefficients, causal: bool, sizes: CaseSizes, spread: f32) -> Case {
    let [batch, queries, keys, heads, kv_heads, head_size] = sizes;
    let coefficients = Coefficients(given.map(|(fixed, value)| match fixed {
        true => Source::Constant(value),
        false => Source::Input,
    }));
    let mask = if causal { "causal" } else { "full" };
    let label = format!("{label} {mask} {sizes:?}");
    let of_keys = [batch, keys, kv_heads, head_size];
    let mut case = Case::new(label, Attention { coefficients, causal })
        .between([batch, queries, heads, head_size], -spread, spread)
        .between(of_keys, -spread, spread)
        .input(of_keys);
    if !coefficients.is_plain() {
        case = case.input(of_keys);
    }
    for (_, value) in given.iter().filter(|(fixed, _)| !fixed) {
        case = case.values(&[*value], [1]);
    }
    case
}

fn cases() -> Vec<Case> {
    vec![
        case("plain", PLAIN, true, [1, 1, 1, 1, 1, 1], 1.0),
        case("plain", PLAIN, true, [2, 17, 17, 2, 2, 4], 1.0),
        case("plain", PLAIN, false, [1, 65, 65, 1, 1, 4], 1.0),
        case("plain", PLAIN, true, [1, 130, 130, 2, 1, 3], 1.0),
        case("plain", PLAIN, false, [2, 3, 1, 4, 2, 12], 1.0),
        case("plain, two tiles of keys", PLAIN, true, [1, 140, 600, 1, 1, 2], 3.0),
        case("plain, large blocks", PLAIN, true, [1, 1030, 1030, 1, 1, 1], 1.0).tolerance(2e-5),
        case("neutreno", NEUTRENO, true, [2, 17, 17, 2, 2, 12], 1.0),
        case("neutreno, fewer queries", NEUTRENO, true, [1, 3, 20, 4, 2, 4], 1.0),
        case("neutreno", NEUTRENO, false, [2, 5, 5, 4, 1, 1], 1.0),
        case("resformer", RESFORMER, true, [1, 33, 33, 4, 1, 4], 1.0),
        case("resformer", RESFORMER, false, [2, 3, 9, 2, 2, 12], 1.0),
        case("neutreno and resformer", BOTH, true, [2, 9, 9, 4, 2, 4], 1.0),
        case("learned", LEARNED, true, [2, 3, 17, 4, 2, 4], 1.0),
        case("learned", LEARNED, false, [1, 65, 65, 1, 1, 5], 1.0),
        case("learned mix", LEARNED_MIX, true, [3, 40, 40, 3, 3, 4], 1.0),
        case("learned fidelity", LEARNED_FIDELITY, true, [1, 20, 20, 2, 1, 64], 1.0),
        case("wide heads", BOTH, true, [1, 5, 5, 1, 1, 256], 1.0).tolerance(2e-5),
        // Two tiles and more of queries and of keys, in each kernel of tiles; whole tiles too.
        case("tiles of 32", PLAIN, true, [1, 64, 64, 2, 1, 32], 1.0),
        case("tiles of 32", LEARNED, false, [1, 63, 65, 4, 2, 32], 1.0),
        case("tiles of 32, part", BOTH, true, [1, 70, 70, 1, 1, 20], 1.0),
        case("tiles of 64", PLAIN, true, [1, 65, 65, 2, 1, 64], 1.0),
        case("tiles of 64", LEARNED, true, [1, 33, 70, 2, 2, 64], 1.0),
        case("tiles of 64", RESFORMER, false, [1, 65, 63, 2, 1, 64], 1.0),
        case("tiles of 64, one query", NEUTRENO, true, [2, 1, 65, 2, 1, 64], 1.0),
        case("tiles of 64, part", LEARNED_MIX, true, [1, 35, 67, 1, 1, 44], 1.0),
        case("tiles of 128, part", NEUTRENO, true, [1, 65, 65, 2, 1, 80], 1.0),
        case("tiles of 128, part", LEARNED, true, [1, 34, 70, 2, 1, 96], 1.0),
        case("tiles of 128, part", BOTH, false, [1, 33, 34, 1, 1, 100], 1.0),
        case("tiles of 128", BOTH, true, [1, 33, 65, 2, 1, 128], 1.0),
        case("tiles of 128", PLAIN, false, [1, 34, 34, 1, 1, 128], 1.0),
        // Scores of ±50 and more: nearly one-hot weights.
        case("large scores", NEUTRENO, true, [1, 40, 40, 1, 1, 4], 6.0).tolerance(1e-4),
        case("large scores in tiles", NEUTRENO, true, [1, 40, 40, 1, 1, 64], 6.0).tolerance(1e-4),
        case("scores of ten thousand", BOTH, true, [1, 40, 70, 1, 1, 64], 170.0)
            .tolerance(2e-2)
            .forward_only(),
        case("huge scores", PLAIN, false, [1, 9, 70, 1, 1, 4], 50.0).tolerance(1e-3).forward_only(),
    ]
}
