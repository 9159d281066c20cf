//! A kernel's arguments on a GPU.

use super::memory::{Block, Buffer};
use crate::Shape;
use std::sync::Arc;

/// A kernel's argument on a GPU: a slice of a buffer with its shape.
#[derive(Clone, Debug)]
pub struct Binding {
    /// The shape.
    pub shape: Shape,
    /// For an output, whether the result is to be added to what is there.
    pub add: bool,
    /// `None` on the planning device, where there are no buffers.
    pub(super) slice: Option<Slice>,
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
        // Nothing is bound as the first vec4 of its buffer, as shaders may read in vec4.
        let (offset, size) = match 4 * shape.elements() as u64 {
            0 => (0, 16),
            size => (4 * offset as u64, size),
        };
        let slice = Slice { buffer: block.buffer.clone(), offset, size };
        Binding { shape, add, slice: Some(slice) }
    }

    /// A tensor of the planning device.
    pub(in crate::device) fn planned(shape: Shape, add: bool) -> Binding {
        Binding { shape, add, slice: None }
    }

    /// The slice of a binding that a GPU made.
    pub(super) fn slice(&self) -> &Slice {
        self.slice.as_ref().expect("the bindings of a GPU's kernels have buffers")
    }
}
