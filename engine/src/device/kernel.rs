//! What a device runs: one computation, for the CPU and as a dispatch of shaders.

use super::cost::Cost;
use super::gpu::{Binding, Recorder};
use super::view::{View, ViewMut};
use crate::Shape;
use std::fmt::Debug;

/// One computation from some tensors to others, without derivatives. Constants, ids and flags are
/// fields of the type that implements it; forward and backward computations are kernels alike.
pub trait Kernel: Debug + Send + Sync + 'static {
    /// The name that messages and profiles show.
    fn name(&self) -> &'static str;

    /// The shapes of the outputs, or in what way the inputs do not fit.
    ///
    /// # Errors
    /// A message that completes "NAME: ".
    fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>, String>;

    /// What it costs at these shapes.
    fn cost(&self, inputs: &[Shape]) -> Cost;

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

    /// The computation as dispatches of shaders.
    fn gpu(&self, inputs: &[Binding], outputs: &[Binding], gpu: &mut Recorder);
}
