//! What a device runs: one computation, for the CPU and as a dispatch of shaders.

use super::cost::Cost;
use super::gpu::{Binding, Recorder};
use super::view::{View, ViewMut};
use crate::Shape;
use std::fmt::Debug;

/// One computation from some tensors to others, without derivatives. Constants, ids and flags are
/// fields of the type that implements it; forward and backward computations are kernels alike.
///
/// A kernel of one's own, with a shader and a derivative, is in `examples/own_op.rs`.
pub trait Kernel: Debug + Send + Sync + 'static {
    /// The name that messages and profiles show.
    fn name(&self) -> &'static str;

    /// The shapes of the outputs, or in what way the inputs do not fit.
    ///
    /// # Errors
    /// A message that completes "NAME: ".
    fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>, String>;

    /// What it costs at these shapes. Unless told, that is moving each number of the inputs and of
    /// the outputs once.
    fn cost(&self, inputs: &[Shape]) -> Cost {
        let outputs = self.shapes(inputs).unwrap_or_default();
        let moved = inputs.iter().chain(&outputs).map(Shape::elements).sum();
        Cost::elementwise(0, 0, moved)
    }

    /// Whether output `output` can also be added to what is there ([`ViewMut::add`]). Where it
    /// can not, the sum is made by another kernel.
    fn adds(&self, _output: usize) -> bool {
        false
    }

    /// How many numbers of working memory the computation takes on the CPU with so many threads, if
    /// it takes any. It gets them as one more output, behind the others, even if there are 0.
    fn scratch(&self, _inputs: &[Shape], _threads: usize) -> Option<usize> {
        None
    }

    /// The computation in plain loops. Every element of every output is written: what was there
    /// before is arbitrary, unless [`ViewMut::add`] is set.
    fn cpu(&self, inputs: &[View], outputs: &mut [ViewMut]);

    /// The computation as dispatches of shaders. A kernel that does not implement this runs on the
    /// CPU alone: used on a GPU it panics, with a message that says so.
    fn gpu(&self, _inputs: &[Binding], _outputs: &[Binding], gpu: &mut Recorder) {
        gpu.has_no_shader();
    }
}

/// Who a kernel is from, which says how far its dispatches are trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The engine. Its `shapes` has checked all that its shaders rely on, so in release builds these
    /// run without checks of their indices.
    Engine,
    /// A program that uses the engine. Whatever its kernel dispatches has every index checked.
    Program,
}
