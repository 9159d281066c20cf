//! What a program gives a simulated GPU: something that executes dispatches on memory of the host's.

use crate::device::gpu::Shader;

/// One dispatch of a shader, as the queue of a GPU would be sent it, with the memory that it sees.
#[derive(Debug)]
pub struct Execution<'a> {
    /// The shader.
    pub shader: Shader,
    /// Which of its entry points.
    pub entry_point: &'a str,
    /// The words of its uniform structure, `first_group` before the others.
    pub uniforms: &'a [u32],
    /// Every buffer that is bound, once.
    pub memory: Vec<&'a mut [u32]>,
    /// What bindings 1, 2, ... see: inputs, then outputs.
    pub bindings: Vec<Bound>,
    /// The workgroups in x and in y.
    pub grid: [u32; 2],
    /// What `override lanes` is set to.
    pub lanes: u32,
}

/// The part of a buffer that a binding sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    /// The index of the buffer in [`Execution::memory`].
    pub buffer: usize,
    /// Words from the buffer's start.
    pub offset: usize,
    /// Words.
    pub size: usize,
    /// Whether it is bound to be written.
    pub is_output: bool,
}

/// Something that executes dispatches; see [`Device::simulated`](crate::Device::simulated).
pub trait Execute: Send + Sync + 'static {
    /// Executes a dispatch: changes the memory as its shader says.
    fn execute(&self, execution: Execution);
}

impl<E: Execute + ?Sized> Execute for std::sync::Arc<E> {
    fn execute(&self, execution: Execution) {
        (**self).execute(execution);
    }
}
