//! What expressions are while a program is compiled.

use super::layout::Layout;
use super::program::{Index, Register, Root};
use naga::TypeInner;

/// What an expression is while a program is compiled.
#[derive(Clone)]
pub enum Value {
    /// A register for each component.
    Registers(Vec<Register>),
    Pointer(Place),
}

/// What a pointer points to.
#[derive(Clone)]
pub struct Place {
    pub root: Root,
    pub layout: Layout,
    pub offset: u32,
    pub indices: Vec<Index>,
    pub ty: TypeInner,
    pub name: String,
    pub read_only: bool,
}
