//! Copy: y = x, or y += x. What sums of gradients are made with.
//! The derivative is in `ops/copy.rs`.

use super::cost::Cost;
use super::cpu::simd::for_chunks;
use super::gpu::{Binding, Recorder};
use super::kernel::Kernel;
use super::view::{View, ViewMut};
use crate::{Shape, uniforms};

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
        for_chunks(&mut outputs[0], |start, chunk| {
            let x = &x[start..start + chunk.len()];
            if add {
                chunk.iter_mut().zip(x).for_each(|(y, x)| *y += x);
            } else {
                chunk.copy_from_slice(x);
            }
        });
    }

    fn gpu(&self, inputs: &[Binding], outputs: &[Binding], gpu: &mut Recorder) {
        let elements = inputs[0].shape.elements();
        let uniforms = uniforms! { elements, add: outputs[0].add };
        gpu.dispatch_elements("copy_forward", &[&inputs[0]], &[&outputs[0]], uniforms, elements);
    }
}
