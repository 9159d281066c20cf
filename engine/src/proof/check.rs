//! The check of a case.
//!
//! [`prove`] runs one case on one device. Forward: each result against the reference. Derivative:
//! the op stands in the middle of a graph (its inputs are results of another op and are used a
//! second time; its results' gradients are random), and the gradients that come out are compared
//! with central differences of the reference: every coordinate of small inputs, and a sample of
//! coordinates and two random directions of large ones. Memory that the op is about to use is
//! filled with NaN first, so that nothing it forgets to write goes unseen.

use super::{Array64, Case};
use crate::autograd::apply_from;
use crate::random::Key;
use crate::tensor::launch_from;
use crate::{Device, Shape, Tensor};

/// Checks one case on one device.
///
/// # Errors
/// What differs, where and by how much.
pub fn prove(case: &Case, device: &Device) -> Result<(), String> {
    let op = case.op();
    let expected = op.reference(&case.inputs);
    check_forward(case, &expected, device)?;
    if case.forward_only || op.no_derivative().is_some() {
        return Ok(());
    }
    for used_before in [false, true] {
        check_derivative(case, &expected, used_before, device)?;
    }
    Ok(())
}

/// How far what an op gives on a device is from what it gives on the CPU: the largest difference,
/// relative to the largest magnitude of that result (or to 1, if that is smaller).
///
/// # Errors
/// If the device fails, or one has a number where the other has none.
pub fn difference(case: &Case, device: &Device) -> Result<f64, String> {
    let results = |device: &Device| -> Result<Vec<Vec<f32>>, String> {
        let tensors = case.tensors(device);
        let outputs = apply_from(case.origin, case.op(), &tensors.iter().collect::<Vec<_>>());
        let read = |tensor: &Tensor| tensor.to_vec().map_err(|error| error.to_string());
        outputs.iter().map(read).collect()
    };
    let mut worst: f64 = 0.0;
    for (got, expected) in results(device)?.iter().zip(&results(&Device::cpu())?) {
        let largest =
            expected.iter().filter(|x| x.is_finite()).fold(1.0_f32, |m, x| m.max(x.abs()));
        for (position, (got, expected)) in got.iter().zip(expected).enumerate() {
            let same = got == expected || (got.is_nan() && expected.is_nan());
            if !same && !(got - expected).is_finite() {
                return Err(format!("{got} at {position}, on the CPU {expected}"));
            }
            if !same {
                worst = worst.max(f64::from((got - expected).abs() / largest));
            }
        }
    }
    Ok(worst)
}

fn check_forward(case: &Case, expected: &[Array64], device: &Device) -> Result<(), String> {
    let op = case.op();
    let tensors = case.tensors(device);
    let inputs: Vec<&Tensor> = tensors.iter().collect();
    let shapes = op.shapes(&case.input_shapes())?;
    poison(&shapes, device);
    let outputs: Vec<Tensor> =
        shapes.iter().map(|shape| Tensor::uninitialized(*shape, device)).collect();
    let destinations: Vec<(&Tensor, bool)> = outputs.iter().map(|tensor| (tensor, false)).collect();
    if inputs.is_empty() {
        launch_from(case.origin, &*op, &inputs, &destinations);
    }
    let results = if inputs.is_empty() { outputs } else { apply_from(case.origin, op, &inputs) };
    if results.len() < expected.len() {
        return Err(format!("{} results, {} expected", results.len(), expected.len()));
    }
    for (index, (result, expected)) in results.iter().zip(expected).enumerate() {
        if result.shape() != expected.shape {
            return Err(format!(
                "result {index}: shape {}, not {}",
                result.shape(),
                expected.shape
            ));
        }
        let got = result.to_vec().map_err(|error| error.to_string())?;
        let allowed = case.tolerance * expected.scale();
        for (position, (got, want)) in got.iter().zip(&expected.data).enumerate() {
            let same_infinity = want.is_infinite() && f64::from(*got) == *want;
            let difference = (f64::from(*got) - want).abs();
            if !(same_infinity || difference <= allowed) {
                return Err(format!(
                    "result {index} at {position}: {got}, expected {want} (allowed ±{allowed:.1e})"
                ));
            }
        }
    }
    Ok(())
}

fn check_derivative(
    case: &Case,
    expected: &[Array64],
    used_before: bool,
    device: &Device,
) -> Result<(), String> {
    let key = Key::new(3).named(&case.label);
    let weights: Vec<Vec<f32>> = (0..)
        .zip(expected)
        .map(|(index, array)| key.fold(index).uniforms(array.data.len(), -1.0, 1.0))
        .collect();
    let direct: Vec<Vec<f32>> = (100..)
        .zip(&case.inputs)
        .map(|(index, array)| key.fold(index).uniforms(array.data.len(), -1.0, 1.0))
        .collect();
    let gradients = gradients(case, &weights, &direct, used_before, device)?;
    let loss = |inputs: &[Array64]| -> f64 {
        let results = case.op().reference(inputs);
        let weighted = results.iter().zip(&weights).flat_map(|(result, weights)| {
            result.data.iter().zip(weights).map(|(value, weight)| value * f64::from(*weight))
        });
        weighted.sum()
    };
    for (input, gradient) in gradients.iter().enumerate() {
        let own: Vec<f64> = gradient
            .iter()
            .zip(&direct[input])
            .map(|(total, direct)| f64::from(*total) - f64::from(*direct))
            .collect();
        check_coordinates(case, input, &own, &loss).map_err(|problem| {
            format!("gradient of input {input} (used before: {used_before}), {problem}")
        })?;
    }
    Ok(())
}

/// The gradients of Σ weights ⊙ results + Σ direct ⊙ inputs, through the op in mid-graph.
fn gradients(
    case: &Case,
    weights: &[Vec<f32>],
    direct: &[Vec<f32>],
    used_before: bool,
    device: &Device,
) -> Result<Vec<Vec<f32>>, String> {
    let fail = |error: crate::Error| error.to_string();
    let leaves: Vec<Tensor> = case.tensors(device).iter().map(Tensor::tracked).collect();
    let one = Tensor::full(1.0, [], device);
    let inputs: Vec<Tensor> = leaves.iter().map(|leaf| leaf.multiply(&one)).collect();
    let weigh = |tensor: &Tensor, weights: &[f32]| {
        tensor.multiply(&Tensor::new(weights, tensor.shape(), device)).sum_all()
    };
    let use_directly = || -> Vec<Tensor> {
        inputs.iter().zip(direct).map(|(input, direct)| weigh(input, direct)).collect()
    };
    let mut terms = if used_before { use_directly() } else { Vec::new() };
    let shapes: Vec<Shape> = case.input_shapes();
    poison(&shapes, device);
    let references: Vec<&Tensor> = inputs.iter().collect();
    let results = apply_from(case.origin, case.op(), &references);
    poison(&shapes, device);
    terms.extend(results.iter().zip(weights).map(|(result, weights)| weigh(result, weights)));
    if !used_before {
        terms.extend(use_directly());
    }
    let loss = terms.into_iter().reduce(|sum, term| sum.add(&term)).expect("a term");
    let gradients = loss.backward().map_err(fail)?;
    leaves
        .iter()
        .enumerate()
        .map(|(index, leaf)| {
            let gradient = gradients.get(leaf).ok_or(format!("input {index} got no gradient"))?;
            gradient.to_vec().map_err(fail)
        })
        .collect()
}

/// Compares one input's gradient with central differences.
fn check_coordinates(
    case: &Case,
    input: usize,
    gradient: &[f64],
    loss: &dyn Fn(&[Array64]) -> f64,
) -> Result<(), String> {
    const STEP: f64 = 1e-5;
    const EVERY: usize = 17;
    const SAMPLE: usize = 5;
    let slope = |direction: &dyn Fn(usize) -> f64| {
        let moved = |step: f64| {
            let mut inputs = case.inputs.clone();
            let values = inputs[input].data.iter_mut().enumerate();
            values.for_each(|(index, value)| *value += step * direction(index));
            loss(&inputs)
        };
        (moved(STEP) - moved(-STEP)) / (2.0 * STEP)
    };
    let key = Key::new(4).named(&case.label).fold(input as u64);
    let positions: Vec<usize> = match gradient.len() {
        count @ 0..=EVERY => (0..count).collect(),
        count => {
            let mut generator = key.generator();
            (0..SAMPLE).map(|_| generator.below(count as u64) as usize).collect()
        }
    };
    let largest = gradient.iter().fold(0.0, |largest: f64, g| largest.max(g.abs()));
    // Twice the forward's tolerance: the gradient passes through more roundings.
    let tolerance = 2.0 * case.tolerance;
    for position in positions {
        let expected = slope(&|index| f64::from(u8::from(index == position)));
        let allowed = tolerance * largest.max(expected.abs()).max(1.0);
        let got = gradient[position];
        if differs(got, expected, allowed) {
            return Err(format!("at {position}: {got}, expected {expected} (±{allowed:.1e})"));
        }
    }
    for number in 0..if gradient.len() > EVERY { 2 } else { 0 } {
        let direction = key.fold(number).uniforms(gradient.len(), -1.0, 1.0);
        let expected = slope(&|index| f64::from(direction[index]));
        let terms = gradient.iter().zip(&direction).map(|(g, d)| g * f64::from(*d));
        let (got, size) =
            terms.fold((0.0, 1.0), |(sum, size), term| (sum + term, size + term.abs()));
        if differs(got, expected, tolerance * size) {
            return Err(format!("along a direction: {got}, expected {expected}"));
        }
    }
    Ok(())
}

/// Whether two numbers are too far apart; NaN is far from everything.
fn differs(got: f64, expected: f64, allowed: f64) -> bool {
    let difference = (got - expected).abs();
    difference.is_nan() || difference > allowed
}

/// Leaves NaN in the memory that the next tensors of these shapes will get.
fn poison(shapes: &[Shape], device: &Device) {
    let tensors: Vec<Tensor> = shapes
        .iter()
        .flat_map(|shape| [(); 2].map(|()| Tensor::full(f32::NAN, *shape, device)))
        .collect();
    drop(tensors);
}
