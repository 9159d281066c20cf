//! A kernel's arguments on a GPU.

use super::memory::{Block, Buffer};
use crate::Shape;
use crate::device::simulated;
use std::sync::Arc;

/// A kernel's argument on a GPU: a slice of a buffer with its shape.
#[derive(Clone, Debug)]
pub struct Binding {
    /// The shape.
    pub shape: Shape,
    /// For an output, whether the result is to be added to what is there.
    pub add: bool,
    memory: Memory,
}

/// Where a binding's numbers are.
#[derive(Clone, Debug)]
enum Memory {
    /// On the planning device there are none.
    None,
    Buffer(Slice),
    Host(simulated::Slice),
}

/// The part of a buffer that one binding of a shader sees.
#[derive(Clone, Debug)]
pub(super) struct Slice {
    pub buffer: Arc<Buffer>,
    /// Bytes from the buffer's start.
    pub offset: u64,
    /// Bytes.
    pub size: u64,
}

impl Binding {
    /// A tensor that begins `offset` elements in.
    pub(in crate::device) fn new(block: &Block, offset: usize, shape: Shape, add: bool) -> Binding {
        let (offset, size) = words(offset, shape);
        let (offset, size) = (4 * offset as u64, 4 * size as u64);
        let memory = Memory::Buffer(Slice { buffer: block.buffer.clone(), offset, size });
        Binding { shape, add, memory }
    }

    /// The same on a simulated GPU.
    pub(in crate::device) fn simulated(
        block: &simulated::Block,
        offset: usize,
        shape: Shape,
        add: bool,
    ) -> Binding {
        let (offset, size) = words(offset, shape);
        let memory = Memory::Host(simulated::Slice { words: block.words.clone(), offset, size });
        Binding { shape, add, memory }
    }

    /// A tensor of the planning device.
    pub(in crate::device) fn planned(shape: Shape, add: bool) -> Binding {
        Binding { shape, add, memory: Memory::None }
    }

    /// The slice of a binding that a GPU made.
    pub(super) fn slice(&self) -> &Slice {
        let Memory::Buffer(slice) = &self.memory else {
            panic!("the bindings of a GPU's kernels have buffers");
        };
        slice
    }

    /// The slice of a binding that a simulated GPU made.
    pub(in crate::device) fn host(&self) -> &simulated::Slice {
        let Memory::Host(slice) = &self.memory else {
            panic!("the bindings of a simulated GPU's kernels have memory of the host's");
        };
        slice
    }
}

/// The words that are bound of a block: where they begin, and how many. Nothing is bound as the first
/// vec4 of its block, as shaders may read in vec4.
fn words(offset: usize, shape: Shape) -> (usize, usize) {
    match shape.elements() {
        0 => (0, 4),
        size => (offset, size),
    }
}
