//! What a device runs: one computation, for the CPU and as a dispatch of shaders.

use super::gpu::{Binding, Recorder};
use crate::Shape;
use std::fmt::Debug;
use std::ops::{Deref, DerefMut};

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

    /// The computation in plain loops. Every element of every output is written: what was there
    /// before is arbitrary, unless [`ViewMut::add`] is set.
    fn cpu(&self, inputs: &[View], outputs: &mut [ViewMut]);

    /// The computation as dispatches of shaders.
    fn gpu(&self, inputs: &[Binding], outputs: &[Binding], gpu: &mut Recorder);
}

/// The work of one kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Floating-point operations.
    pub flops: u64,
    /// Bytes that must be read or written at least once.
    pub bytes: u64,
}

impl Cost {
    /// The cost of `per_element` operations for each of `elements`, with `moved` numbers of four
    /// bytes read or written in all.
    pub fn elementwise(elements: usize, per_element: u64, moved: usize) -> Cost {
        Cost { flops: elements as u64 * per_element, bytes: 4 * moved as u64 }
    }
}

impl std::ops::AddAssign for Cost {
    fn add_assign(&mut self, other: Cost) {
        self.flops += other.flops;
        self.bytes += other.bytes;
    }
}

/// An input on the CPU: a slice of numbers with its shape.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// The shape.
    pub shape: Shape,
    /// The numbers, row-major.
    pub data: &'a [f32],
}

impl Deref for View<'_> {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        self.data
    }
}

/// An output on the CPU.
#[derive(Debug)]
pub struct ViewMut<'a> {
    /// The shape.
    pub shape: Shape,
    /// The numbers, row-major.
    pub data: &'a mut [f32],
    /// Whether the result is to be added to what is there.
    pub add: bool,
}

impl Deref for ViewMut<'_> {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        self.data
    }
}

impl DerefMut for ViewMut<'_> {
    fn deref_mut(&mut self) -> &mut [f32] {
        self.data
    }
}
