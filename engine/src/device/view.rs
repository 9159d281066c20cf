//! A kernel's arguments on the CPU.

use crate::Shape;
use std::ops::{Deref, DerefMut};

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
