//! Recomputation of activations (Chen et al. 2016, "Training deep nets with sublinear memory
//! cost"): a part of the graph that keeps only its inputs and is run again when backward comes to
//! it. It trades the time of a second forward pass for the memory of what its ops save.

use super::apply::{no_grad_with_uses, note_uses};
use super::backward::visit;
use super::context::GradientContext;
use super::node::{Node, Step};
use super::record::{Record, Saved};
use crate::computation::Computation;
use crate::{Result, Tensor};
use std::sync::Arc;

/// The part of a computation that is run again: from its inputs to its outputs.
struct Recomputed<F> {
    body: F,
    /// What it uses beside its inputs.
    uses: Vec<Arc<Node>>,
}

/// Runs `body` on `inputs` and returns its outputs, keeping nothing but the inputs for backward,
/// which runs `body` a second time. Results are those of calling `body` directly, bit for bit, and so
/// are gradients, but for rounding where an input has several uses: sums are made in another order.
///
/// `body` must compute the same each time: random numbers by keys, and no change of the tensors
/// that it uses beside its inputs, before backward. Those are differentiated too: parameters, and what
/// other ops made.
///
/// ```
/// use neutreno_engine::{Device, Tensor, autograd::recompute};
/// let x = Tensor::new(&[2.0], [1], &Device::cpu()).tracked();
/// // Nothing of what these three ops would save is kept.
/// let outputs = recompute(&[&x], |inputs| vec![inputs[0].scale(3.0).log().exp()]);
/// let gradients = outputs[0].sum_all().backward()?;
/// assert!((gradients.get(&x).unwrap().to_scalar()? - 3.0).abs() < 1e-6);
/// # Ok::<(), neutreno_engine::Error>(())
/// ```
#[track_caller]
pub fn recompute(
    inputs: &[&Tensor],
    body: impl Fn(&[Tensor]) -> Vec<Tensor> + Send + Sync + 'static,
) -> Vec<Tensor> {
    let constants: Vec<Tensor> = inputs.iter().map(|input| input.detach()).collect();
    if !Computation::records() {
        note_uses(inputs);
        return body(&constants);
    }
    let (mut outputs, uses) = no_grad_with_uses(|| body(&constants));
    let device = inputs.first().expect("a part of a graph has inputs").device().clone();
    let record = Record {
        inputs: inputs.iter().map(|input| input.variable.clone()).collect(),
        saved: Saved::new(inputs.iter().copied(), inputs),
        shapes: outputs.iter().map(Tensor::shape).collect(),
        device,
    };
    let node = Node::of_step(Box::new(Recomputed { body, uses }), record);
    for (output, tensor) in outputs.iter_mut().enumerate() {
        // An output that is an input handed through becomes a result of this part all the same.
        *tensor = tensor.detach();
        tensor.variable = Some(node.output(output));
    }
    outputs
}

impl<F: Fn(&[Tensor]) -> Vec<Tensor> + Send + Sync> Step for Recomputed<F> {
    fn name(&self) -> &'static str {
        "recompute"
    }

    fn uses(&self) -> &[Arc<Node>] {
        &self.uses
    }

    fn results(&self, outputs: usize) -> usize {
        outputs
    }

    /// Runs the part again, this time recorded, and goes back through it.
    fn backward(&self, saved: &Saved, context: &mut GradientContext) -> Result<Vec<Arc<Node>>> {
        let inputs: Vec<Tensor> = (0..saved.inputs())
            .map(|input| {
                let tensor = saved.get(input);
                if context.needs(input) { tensor.tracked() } else { tensor.clone() }
            })
            .collect();
        // Nodes of less than this number were there before.
        let first = Node::leaf().id;
        // Backward may be called where nothing is recorded.
        let recording = Computation { records: true, uses: None, ..Computation::current() };
        let outputs = recording.run(|| (self.body)(&inputs));
        let mut roots = Vec::new();
        for (output, gradient) in outputs.iter().zip(&mut context.of_outputs) {
            if let (Some(variable), Some(gradient)) = (&output.variable, gradient.take()) {
                context.sums.add(variable, gradient);
                roots.push(Node::of(variable));
            }
        }
        // What the graph holds beside its nodes would only take memory from here on.
        drop(outputs);
        let outside = visit(roots, context.sums, first, None)?;
        for (input, leaf) in inputs.iter().enumerate() {
            let slot = leaf.variable.as_ref().map(|leaf| leaf.slot);
            if let Some(gradient) = slot.and_then(|slot| context.sums.take(slot)) {
                context.accumulate(input, gradient);
            }
        }
        Ok(outside)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Device;

    /// A part with a parameter of its own, two inputs of which one is handed through, and a use of
    /// an input outside: all gradients are those of the plain computation, bit for bit.
    #[test]
    fn gradients_are_those_of_the_plain_computation() {
        let device = Device::cpu();
        let make = |seed| {
            let numbers = crate::random::Key::new(seed).uniforms(12, -1.0, 1.0);
            Tensor::new(&numbers, [3, 4], &device).tracked()
        };
        let [x, y, weight] = [make(1), make(2), make(3)];
        let run = |again: bool| {
            let kept = weight.clone();
            let body = move |inputs: &[Tensor]| {
                let hidden = inputs[0].multiply(&kept).tanh();
                vec![hidden.add(&inputs[1].exp()), inputs[1].clone()]
            };
            let outputs = match again {
                true => recompute(&[&x, &y], body),
                false => body(&[x.clone(), y.clone()]),
            };
            let loss = outputs[0].multiply(&outputs[1]).add(&x).sum_all();
            let gradients = loss.backward().unwrap();
            [&x, &y, &weight].map(|leaf| gradients.get(leaf).unwrap().to_vec().unwrap())
        };
        assert_eq!(run(true), run(false));
    }

    #[test]
    fn a_part_inside_a_part() {
        let x = Tensor::new(&[0.3, -0.2], [2], &Device::cpu()).tracked();
        let inner = |x: &Tensor| recompute(&[x], |inputs| vec![inputs[0].tanh().exp()]).remove(0);
        let outer = recompute(&[&x], move |inputs| vec![inner(&inputs[0]).multiply(&inputs[0])]);
        let plain = x.tanh().exp().multiply(&x);
        let gradient = |y: &Tensor| y.sum_all().backward().unwrap().get(&x).unwrap().to_vec();
        assert_eq!(gradient(&outer[0]).unwrap(), gradient(&plain).unwrap());
    }
}
