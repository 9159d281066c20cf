//! Recording dispatches: how a kernel says what a GPU is to do.

use super::binding::Binding;
use super::class::Class;
use super::shader::{Given, Shader, check};
use super::uniforms::{Uniform, Word};
use crate::{Ids, Shape, uniforms};

/// Where a kernel records its dispatches.
pub struct Recorder<'a> {
    target: &'a mut dyn Target,
    /// Whose entry points are meant; those of the engine's own shaders if there is none.
    shader: Option<Shader>,
    has_shader: bool,
}

/// What becomes of the dispatches: they are sent to a GPU, or counted.
pub(in crate::device) trait Target {
    /// What suits the GPU that they are for.
    fn class(&self) -> Class;

    /// Takes a dispatch.
    fn dispatch(&mut self, dispatch: &Recorded);

    /// Memory until the kernel has recorded all its dispatches.
    fn scratch(&mut self, shape: Shape) -> Binding;

    /// The ids in the device's memory.
    fn ids(&mut self, ids: &Ids) -> Binding;
}

/// A dispatch as a kernel records it.
pub(in crate::device) struct Recorded<'a> {
    /// The shader, if it is none of the engine's own.
    pub shader: Option<Shader>,
    pub entry_point: &'a str,
    pub inputs: &'a [&'a Binding],
    pub outputs: &'a [&'a Binding],
    /// All members of the uniform structure but `first_group`.
    pub uniforms: &'a [Uniform],
    pub groups: usize,
    pub flops: u64,
}

impl Recorded<'_> {
    /// The words of the uniform structure of the piece that begins with this workgroup.
    pub fn words(&self, first_group: usize) -> Vec<u32> {
        let words = self.uniforms.iter().map(|(_, word)| *word);
        std::iter::once(Word::from(first_group)).chain(words).map(Word::bits).collect()
    }

    /// The shader whose entry point it is. If it is none of the engine's own, it is checked that it
    /// takes what it is given; for those tests do that.
    ///
    /// # Panics
    /// If it does not, or there is none.
    pub fn find_shader(&self) -> Shader {
        let name = self.entry_point;
        let Some(shader) = self.shader else {
            let Some(found) = neutreno_shaders::with_entry_point(name) else {
                panic!(
                    "no shader of the engine has the entry point {name}; one of a kernel's own is \
                     given by `with_shader`"
                );
            };
            return Shader { name: found.name, source: found.source };
        };
        let (inputs, outputs) = (self.inputs.len(), self.outputs.len());
        if let Err(problem) =
            check(&shader, name, &Given { uniforms: self.uniforms, inputs, outputs })
        {
            panic!("shader {}: {problem}", shader.name);
        }
        shader
    }
}

/// The invocations of a workgroup in a dispatch over elements.
const ELEMENTS_A_GROUP: usize = 64;

impl<'a> Recorder<'a> {
    pub(in crate::device) fn new(target: &'a mut dyn Target) -> Recorder<'a> {
        Recorder { target, shader: None, has_shader: true }
    }

    /// A recorder of dispatches of this shader's entry points, in place of the engine's own.
    pub fn with_shader(&mut self, shader: &Shader) -> Recorder<'_> {
        Recorder { shader: Some(*shader), ..Recorder::new(&mut *self.target) }
    }

    /// Says that the kernel can't run on a GPU.
    pub(crate) fn has_no_shader(&mut self) {
        self.has_shader = false;
    }

    pub(in crate::device) fn has_shader(&self) -> bool {
        self.has_shader
    }

    /// What suits the GPU: what a kernel decides by it and by shapes, it decides everywhere alike.
    pub fn class(&self) -> Class {
        self.target.class()
    }

    /// Records a dispatch of `groups` workgroups that compute `flops` operations together; 0 where
    /// it is moving what is bound that takes the time. If it is long it goes in several pieces.
    ///
    /// The uniforms are made by [`uniforms!`](crate::uniforms); their names and types must be those
    /// of the entry point's structure, in its order.
    ///
    /// # Panics
    /// If the shader is not valid, has no such entry point, or that takes other uniforms or bindings.
    pub fn dispatch(
        &mut self,
        entry_point: &str,
        inputs: &[&Binding],
        outputs: &[&Binding],
        uniforms: &[Uniform],
        groups: usize,
        flops: u64,
    ) {
        let shader = self.shader;
        let recorded = Recorded { shader, entry_point, inputs, outputs, uniforms, groups, flops };
        self.target.dispatch(&recorded);
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
        let mut built_in = Recorder::new(&mut *self.target);
        built_in.dispatch_elements("fill_forward", &[], &[target], uniforms, elements);
    }

    /// Memory for intermediate results of this kernel, with arbitrary contents.
    pub fn scratch(&mut self, shape: impl Into<Shape>) -> Binding {
        self.target.scratch(shape.into())
    }

    /// The ids, as `array<u32>`; copied to the device at their first use.
    pub fn ids(&mut self, ids: &Ids) -> Binding {
        self.target.ids(ids)
    }
}
