//! Working memory of kernels, cut from the one slice that the device gives them.

use std::mem::take;
use std::ops::{Deref, DerefMut};
use std::sync::{Condvar, Mutex};

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
pub struct Slots<'a> {
    free: Mutex<Vec<&'a mut [f32]>>,
    returned: Condvar,
}

impl<'a> Slots<'a> {
    /// How many numbers slots of `size` take for so many tasks on so many threads.
    pub fn elements(size: usize, tasks: usize, threads: usize) -> usize {
        padded(size) * tasks.min(threads)
    }

    /// Cuts memory into slots of `size`.
    pub fn new(memory: &'a mut [f32], size: usize) -> Slots<'a> {
        let free = memory.chunks_exact_mut(padded(size)).collect();
        Slots { free: Mutex::new(free), returned: Condvar::new() }
    }

    /// A slot, with arbitrary contents, until it is dropped. Whoever has one must not wait for other
    /// tasks.
    ///
    /// There is one for each of the device's threads. If others run the tasks, and more of them, some wait
    /// here for a while.
    pub fn take(&self) -> Slot<'_, 'a> {
        let free = self.free.lock().expect(NO_PANIC);
        let mut free = self.returned.wait_while(free, |free| free.is_empty()).expect(NO_PANIC);
        let memory = free.pop().expect("one is free");
        drop(free);
        Slot { slots: self, memory }
    }
}

const NO_PANIC: &str = "no code panics with it";

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
        self.slots.free.lock().expect(NO_PANIC).push(take(&mut self.memory));
        self.slots.returned.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rayon::prelude::*;

    #[test]
    fn more_threads_than_slots_take_turns() {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(4).build().unwrap();
        let mut memory = [0.0; 32];
        let slots = Slots::new(&mut memory, 16);
        let tasks = if cfg!(miri) { 10 } else { 1000 };
        pool.install(|| (0..tasks).into_par_iter().for_each(|_| slots.take()[0] += 1.0));
        assert_eq!(memory[0] + memory[16], tasks as f32);
    }
}
