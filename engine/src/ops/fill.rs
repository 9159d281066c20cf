//! Fill: the same number everywhere.
//!
//! There are no inputs, so there is nothing to differentiate. Cost an element: 4 bytes.

use super::Op;
use crate::autograd::{Saved, Saves, Sinks};
use crate::device::cpu::simd::for_chunks;
use crate::device::{Cost, Kernel, View, ViewMut};
use crate::gpu::{Binding, Recorder};
use crate::proof::{Array64, Case};
use crate::{Shape, words};

/// A tensor of `shape` filled with `value`.
#[derive(Clone, Debug)]
pub struct Fill {
    /// The number.
    pub value: f32,
    /// The shape.
    pub shape: Shape,
}

impl Kernel for Fill {
    fn name(&self) -> &'static str {
        "fill"
    }

    fn shapes(&self, _inputs: &[Shape]) -> Result<Vec<Shape>, String> {
        Ok(vec![self.shape])
    }

    fn cost(&self, _inputs: &[Shape]) -> Cost {
        Cost::elementwise(self.shape.elements(), 0, self.shape.elements())
    }

    fn cpu(&self, _inputs: &[View], outputs: &mut [ViewMut]) {
        for_chunks(&mut outputs[0], |_, piece| piece.fill(self.value));
    }

    fn gpu(&self, _inputs: &[Binding], outputs: &[Binding], gpu: &mut Recorder) {
        let elements = self.shape.elements();
        let uniforms = words![elements, self.value];
        gpu.dispatch_elements("fill_forward", &[], &[&outputs[0]], uniforms, elements);
    }
}

impl Op for Fill {
    fn saves(&self) -> Saves {
        Saves::default()
    }

    fn no_derivative(&self) -> Option<&'static str> {
        Some("it has no inputs")
    }

    fn backward(&self, _saved: &Saved, _sinks: &mut Sinks) {}

    fn reference(&self, _inputs: &[Array64]) -> Vec<Array64> {
        vec![Array64::full(self.shape, f64::from(self.value))]
    }

    fn cases() -> Vec<Case> {
        let case = |n| Case::new(format!("{n}"), Fill { value: -2.5, shape: Shape::from([n]) });
        // The last has more workgroups than a grid on a GPU may be wide.
        [1, 63, 20_000, 66_000 * 64].map(case).into()
    }
}
