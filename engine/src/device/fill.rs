//! Fill: the same number everywhere.
//! The derivative is in `ops/fill.rs`.

use super::cost::Cost;
use super::cpu::simd::for_chunks;
use super::gpu::{Binding, Recorder};
use super::kernel::Kernel;
use super::view::{View, ViewMut};
use crate::Shape;

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
        for_chunks(&mut outputs[0], |_, chunk| chunk.fill(self.value));
    }

    fn gpu(&self, _inputs: &[Binding], outputs: &[Binding], gpu: &mut Recorder) {
        gpu.fill(&outputs[0], self.value);
    }
}
