//! Comparing with the fixtures that PyTorch made (`tests/fixtures/README.md`): the rule by which
//! numbers follow from names, norms, and products with probes.

use super::{GOLDEN, finalise};
use neutreno::engine::{Gradients, Parameters};
use serde_json::Value;

/// As in the reference: 1e-4 leaves room for another order of summation and none for a mistake.
const TOLERANCE: f64 = 1e-4;

fn uniform(name: &str, index: u64) -> f64 {
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let bits = finalise(hash.wrapping_add(index.wrapping_mul(GOLDEN))) >> 40;
    bits as f64 / f64::from(1 << 24)
}

/// The numbers that go with a name.
pub fn values(name: &str, count: usize, mean: f64, scale: f64) -> Vec<f32> {
    let value = |index| mean + scale * (2.0 * uniform(name, index) - 1.0);
    (0..count as u64).map(|index| value(index) as f32).collect()
}

/// Σ values · probe, the probe being the numbers that go with `name`.
fn probe(name: &str, numbers: &[f32]) -> f64 {
    let name = format!("{name}.probe");
    let term =
        |(index, value): (u64, &f32)| f64::from(*value) * (2.0 * uniform(&name, index) - 1.0);
    (0..).zip(numbers).map(term).sum()
}

fn norm(numbers: &[f32]) -> f64 {
    numbers.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt()
}

/// Whether `got` is the number expected, with an error relative to `scale`.
pub fn near(what: &str, got: f64, expected: &Value, scale: f64) {
    let expected = expected.as_f64().expect("a number");
    let difference = (got - expected).abs();
    assert!(difference <= TOLERANCE * scale, "{what}: {got}, expected {expected}");
}

/// Compares logits of this shape with their norm, their probe and a sample of them.
pub fn check_logits(expected: &Value, logits: &[f32], shape: &[usize]) {
    let size = expected["norm"].as_f64().unwrap();
    near("the logits' norm", norm(logits), &expected["norm"], size);
    near("the logits along the probe", probe("logits", logits), &expected["probe"], size);
    let places = expected["sampled_at"].as_array().unwrap();
    for (place, value) in places.iter().zip(expected["sampled"].as_array().unwrap()) {
        let along = place.as_array().unwrap().iter().map(|along| along.as_u64().unwrap() as usize);
        let index = along.zip(shape).fold(0, |index, (along, size)| index * size + along);
        near("a logit", f64::from(logits[index]), value, 1.0);
    }
}

/// Compares the gradient of each parameter that the reference names, which must all be there.
pub fn check_gradients(reference: &Value, parameters: &Parameters, gradients: &Gradients) {
    for (name, expected) in reference.as_object().unwrap() {
        let tensor = parameters.get(name).unwrap_or_else(|| panic!("{name}: no such parameter"));
        let gradient = gradients.get(tensor).unwrap_or_else(|| panic!("{name}: no gradient"));
        let gradient = gradient.to_vec().unwrap();
        let size = expected["gradient_norm"].as_f64().unwrap();
        assert!(size > 0.0, "{name}");
        near(name, norm(&gradient), &expected["gradient_norm"], size);
        near(name, probe(name, &gradient), &expected["gradient_probe"], size);
    }
}
