//! Working memory of kernels, cut from the one slice that the device gives them.

use std::mem::take;
use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, MutexGuard};

/// Cuts `count` numbers off the front.
///
/// # Panics
/// If there are not so many.
pub fn cut<'a>(memory: &mut &'a mut [f32], count: usize) -> &'a mut [f32] {
    let (front, rest) = take(memory).split_at_mut(count);
    *memory = rest;
    front
}

/// Memory for tasks: a slot for each thread, so that it stays in that core's cache from task to
/// task.
pub struct Slots<'a>(Mutex<Vec<&'a mut [f32]>>);

impl<'a> Slots<'a> {
    /// How many numbers slots of `size` take for so many tasks on so many threads.
    pub fn elements(size: usize, tasks: usize, threads: usize) -> usize {
        padded(size) * tasks.min(threads)
    }

    /// Cuts memory into slots of `size`.
    pub fn new(memory: &'a mut [f32], size: usize) -> Slots<'a> {
        Slots(Mutex::new(memory.chunks_exact_mut(padded(size)).collect()))
    }

    /// A slot, with arbitrary contents, until it is dropped. Whoever has one must not wait for other
    /// tasks.
    pub fn take(&self) -> Slot<'_, 'a> {
        let memory = self.lock().pop().expect("a slot for each thread");
        Slot { slots: self, memory }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<&'a mut [f32]>> {
        self.0.lock().expect("no code panics with it")
    }
}

/// Whole cache lines, so that threads do not write to the same one.
fn padded(size: usize) -> usize {
    size.next_multiple_of(16).max(16)
}

/// A slot of [`Slots`].
pub struct Slot<'s, 'a> {
    slots: &'s Slots<'a>,
    memory: &'a mut [f32],
}

impl Deref for Slot<'_, '_> {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        self.memory
    }
}

impl DerefMut for Slot<'_, '_> {
    fn deref_mut(&mut self) -> &mut [f32] {
        self.memory
    }
}

impl Drop for Slot<'_, '_> {
    fn drop(&mut self) {
        self.slots.lock().push(take(&mut self.memory));
    }
}
