//! Recording dispatches: how a kernel says what a GPU is to do.

use super::binding::Binding;
use super::uniforms::Uniform;
use crate::{Ids, Shape, uniforms};

/// Where a kernel records its dispatches.
pub struct Recorder<'a>(&'a mut dyn Target);

/// What becomes of the dispatches: they are sent to a GPU, or counted.
pub(in crate::device) trait Target {
    /// Whether they are for an adapter that is a program on the CPU.
    fn is_software(&self) -> bool;

    /// Takes a dispatch.
    fn dispatch(&mut self, dispatch: &Recorded);

    /// Memory until the kernel has recorded all its dispatches.
    fn scratch(&mut self, shape: Shape) -> Binding;

    /// The ids in the device's memory.
    fn ids(&mut self, ids: &Ids) -> Binding;
}

/// A dispatch as a kernel records it.
pub(in crate::device) struct Recorded<'a> {
    pub entry_point: &'a str,
    pub inputs: &'a [&'a Binding],
    pub outputs: &'a [&'a Binding],
    /// All members of the uniform structure but `first_group`.
    pub uniforms: &'a [Uniform],
    pub groups: usize,
    pub flops: u64,
}

/// The invocations of a workgroup in a dispatch over elements.
const ELEMENTS_A_GROUP: usize = 64;

impl<'a> Recorder<'a> {
    pub(in crate::device) fn new(target: &'a mut dyn Target) -> Recorder<'a> {
        Recorder(target)
    }

    /// Whether the adapter is a program on the CPU, where barriers are dear and workgroup memory
    /// gains nothing.
    pub fn is_software(&self) -> bool {
        self.0.is_software()
    }

    /// Records a dispatch of `groups` workgroups that compute `flops` operations together; 0 where
    /// it is moving what is bound that takes the time. If it is long it goes in several pieces.
    ///
    /// The uniforms are made by [`uniforms!`](crate::uniforms); their names and types must be those
    /// of the entry point's structure, in its order.
    ///
    /// # Panics
    /// If no shader has that entry point.
    pub fn dispatch(
        &mut self,
        entry_point: &str,
        inputs: &[&Binding],
        outputs: &[&Binding],
        uniforms: &[Uniform],
        groups: usize,
        flops: u64,
    ) {
        self.0.dispatch(&Recorded { entry_point, inputs, outputs, uniforms, groups, flops });
    }

    /// Records a dispatch over rows (or whatever a workgroup handles one of): a workgroup each.
    pub fn dispatch_rows(
        &mut self,
        entry_point: &str,
        inputs: &[&Binding],
        outputs: &[&Binding],
        uniforms: &[Uniform],
        rows: usize,
    ) {
        self.dispatch(entry_point, inputs, outputs, uniforms, rows, 0);
    }

    /// Records a dispatch over elements: an invocation each, in workgroups of 64.
    pub fn dispatch_elements(
        &mut self,
        entry_point: &str,
        inputs: &[&Binding],
        outputs: &[&Binding],
        uniforms: &[Uniform],
        elements: usize,
    ) {
        let groups = elements.div_ceil(ELEMENTS_A_GROUP);
        self.dispatch_rows(entry_point, inputs, outputs, uniforms, groups);
    }

    /// Records that all of `target` becomes `value`.
    pub fn fill(&mut self, target: &Binding, value: f32) {
        let elements = target.shape.elements();
        let uniforms = uniforms! { elements, value };
        self.dispatch_elements("fill_forward", &[], &[target], uniforms, elements);
    }

    /// Memory for intermediate results of this kernel, with arbitrary contents.
    pub fn scratch(&mut self, shape: impl Into<Shape>) -> Binding {
        self.0.scratch(shape.into())
    }

    /// The ids, as `array<u32>`; copied to the device at their first use.
    pub fn ids(&mut self, ids: &Ids) -> Binding {
        self.0.ids(ids)
    }
}
