//! Tensors that follow each other in memory, as one: so that one op serves what several would.

use super::apply::{is_recording, note_uses};
use super::context::GradientContext;
use super::node::{Node, Step};
use super::record::{Record, Saved};
use crate::tensor::Variable;
use crate::{Result, Shape, Tensor};
use std::sync::Arc;

impl Tensor {
    /// These tensors one after the other along their first axis, without a copy, where they follow each
    /// other in one memory, as parameters do that are made one after another and learnt alike; `None`
    /// elsewhere.
    ///
    /// Where the memory of their gradients follows each other too, as it does for parameters, an op makes the
    /// gradients of all of them in it at once.
    pub(crate) fn joined(parts: &[&Tensor]) -> Option<Tensor> {
        let mut whole = Tensor::adjacent(parts)?;
        if is_recording(parts) {
            let slots = parts.iter().map(|part| part.variable.as_ref().map(|leaf| leaf.slot));
            let slots = slots.collect::<Option<_>>()?;
            let record = Record {
                inputs: parts.iter().map(|part| part.variable.clone()).collect(),
                saved: Saved::new([], parts),
                shapes: vec![whole.shape()],
                device: whole.device().clone(),
            };
            let shapes = parts.iter().map(|part| part.shape()).collect();
            let is_leaf = parts.iter().flat_map(|part| &part.variable).all(|part| part.is_leaf);
            let variable = Node::of_step(Box::new(Joined { shapes }), record).output(0);
            whole.variable = Some(Variable { parts: Some(slots), is_leaf, ..variable });
        } else {
            note_uses(parts);
        }
        Some(whole)
    }
}

/// The step back: each tensor's gradient is its window of the whole one's.
struct Joined {
    shapes: Vec<Shape>,
}

impl Step for Joined {
    fn name(&self) -> &'static str {
        "joined"
    }

    fn results(&self, outputs: usize) -> usize {
        outputs
    }

    fn backward(&self, _saved: &Saved, context: &mut GradientContext) -> Result<Vec<Arc<Node>>> {
        // There is none where it was made in the memory of the parts' gradients.
        let Some(gradient) = context.of_outputs[0].take() else { return Ok(Vec::new()) };
        let mut offset = 0;
        for (part, shape) in self.shapes.iter().enumerate() {
            context.accumulate(part, gradient.window(offset, *shape));
            offset += shape.elements();
        }
        Ok(Vec::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Builder, Device, Initial, Parameters};

    fn two(device: &Device) -> ([Tensor; 2], Parameters) {
        let make = |p: &mut Builder| {
            let mut matrix =
                |name: &str, rows| p.parameter(name, [rows, 64], Initial::Ones, true).clone();
            [matrix("a", 2), matrix("b", 3)]
        };
        Parameters::build(device, 1, make)
    }

    #[test]
    fn parameters_are_joined_and_other_tensors_are_not() {
        let device = Device::cpu();
        let ([a, b], _) = two(&device);
        assert_eq!(Tensor::joined(&[&a, &b]).unwrap().shape(), Shape::from([5, 64]));
        assert!(Tensor::joined(&[&b, &a]).is_none(), "in another order");
        assert!(Tensor::joined(&[&a, &a]).is_none(), "twice the same");
        assert!(Tensor::joined(&[&a, &b.reshape([6, 32])]).is_none(), "of other widths");
        assert!(Tensor::joined(&[&a, &b.detach()]).is_none(), "of which one is a constant");
        assert!(Tensor::joined(&[&a, &Tensor::full(1.0, [3, 64], &device)]).is_none());
    }

    /// Into memory of their own, into that of an optimiser, added to what is there, and beside other uses.
    #[test]
    fn gradients_are_those_of_the_parts() {
        let device = Device::cpu();
        let ([a, b], parameters) = two(&device);
        let rows: Vec<f32> = (0..5 * 64).map(|number| number as f32 / 64.0 - 2.0).collect();
        let x = Tensor::new(&rows, [5, 64], &device);
        let loss = |joined: bool| {
            let both = match joined {
                true => Tensor::joined(&[&a, &b]).expect("they follow each other"),
                false => Tensor::concatenate(&[&a, &b], 0),
            };
            let once = both.multiply(&x).sum_all();
            once.add(&both.exp().multiply(&x).sum_all()).add(&a.sum_all())
        };
        let found = [true, false].map(|joined| {
            let alone = loss(joined).backward().unwrap();
            let mut gradients = parameters.gradients();
            for _ in 0..2 {
                loss(joined).backward_into(&mut gradients).unwrap();
            }
            [&a, &b].map(|leaf| {
                [&alone, &gradients].map(|all| all.get(leaf).unwrap().to_vec().unwrap())
            })
        });
        for (joined, apart) in found.iter().flatten().flatten().zip(found[1].iter().flatten()) {
            approx::assert_relative_eq!(joined[..], apart[..], max_relative = 1e-6);
        }
    }
}
