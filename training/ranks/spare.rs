//! Memory that exchanges leave to those that come after them: fresh memory costs the system time, at each step
//! as much as several copies of all gradients.

use std::sync::{Mutex, PoisonError};

/// What the exchanges of one rank have used and do not use now.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    /// For whole blocks.
    pub blocks: Spare,
    /// For a rank's parts of them, which are smaller.
    pub parts: Spare,
}

/// Memory for so many numbers, more or less.
#[derive(Debug, Default)]
pub(crate) struct Spare(Mutex<Vec<Vec<f32>>>);

impl Spare {
    /// Some memory, with numbers in it that mean nothing; without any where none is left.
    pub fn take(&self) -> Vec<f32> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default()
    }

    /// The same with room for so many numbers.
    pub fn take_for(&self, numbers: usize) -> Vec<f32> {
        let mut memory = self.take();
        memory.resize(numbers, 0.0);
        memory
    }

    /// How many pieces of memory are left here.
    #[cfg(test)]
    pub fn left(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    pub fn give(&self, memory: Vec<f32>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(memory);
    }
}
