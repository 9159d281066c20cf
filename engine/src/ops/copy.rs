//! Copy: y = x, or y += x. What sums of gradients are made with.
//!
//! Derivative: dx = dy. Saves nothing. Cost an element: 8 bytes (12 when adding).

use super::Op;
use crate::autograd::{Saved, Saves, Sinks};
use crate::device::cpu::simd::for_chunks;
use crate::device::{Cost, Kernel, View, ViewMut};
use crate::gpu::{Binding, Recorder};
use crate::proof::{Array64, Case};
use crate::{Shape, words};

/// y = x into other memory.
#[derive(Clone, Debug)]
pub struct Copy;

impl Kernel for Copy {
    fn name(&self) -> &'static str {
        "copy"
    }

    fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>, String> {
        Ok(vec![inputs[0]])
    }

    fn cost(&self, inputs: &[Shape]) -> Cost {
        Cost::elementwise(inputs[0].elements(), 0, 2 * inputs[0].elements())
    }

    fn adds(&self, _output: usize) -> bool {
        true
    }

    fn cpu(&self, inputs: &[View], outputs: &mut [ViewMut]) {
        let x = inputs[0].data;
        let add = outputs[0].add;
        for_chunks(&mut outputs[0], |start, piece| {
            let x = &x[start..start + piece.len()];
            if add {
                piece.iter_mut().zip(x).for_each(|(y, x)| *y += x);
            } else {
                piece.copy_from_slice(x);
            }
        });
    }

    fn gpu(&self, inputs: &[Binding], outputs: &[Binding], gpu: &mut Recorder) {
        let elements = inputs[0].shape.elements();
        let uniforms = words![elements, outputs[0].add];
        gpu.dispatch_elements("copy_forward", &[&inputs[0]], &[&outputs[0]], uniforms, elements);
    }
}

impl Op for Copy {
    fn saves(&self) -> Saves {
        Saves::default()
    }

    fn backward(&self, _saved: &Saved, sinks: &mut Sinks) {
        let gradient = sinks.take_gradient(0);
        sinks.give(0, gradient);
    }

    fn reference(&self, inputs: &[Array64]) -> Vec<Array64> {
        vec![inputs[0].clone()]
    }

    fn cases() -> Vec<Case> {
        [1, 3, 65, 20_000].map(|n| Case::new(format!("{n}"), Copy).input([n])).into()
    }
}
