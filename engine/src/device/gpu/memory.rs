//! The GPU's memory: buffers from a pool, so that after the first steps none is made.
//!
//! A buffer may be used again as soon as its tensor is dropped, even while commands that use it
//! are still queued: commands run in the order in which they were recorded.

use super::driver::Driver;
use crate::device::account::{Account, rounded_bytes};
use crate::memory_use::MemoryUse;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};

/// A buffer with a number of its own, which names it in caches.
#[derive(Debug)]
pub(crate) struct Buffer {
    pub raw: wgpu::Buffer,
    pub id: u64,
    /// What it counts for: its size, or nothing if there was no room for it.
    bytes: u64,
}

/// Memory of one tensor, or of several that share it. Its last handle returns it to the pool.
pub(crate) struct Block {
    pub buffer: Arc<Buffer>,
    pool: Arc<Pool>,
}

impl Drop for Block {
    fn drop(&mut self) {
        let mut state = self.pool.lock();
        let bytes = self.buffer.bytes;
        state.account.returned(bytes);
        if bytes > 0 {
            state.free.entry(bytes).or_default().insert(self.buffer.id, self.buffer.clone());
        }
    }
}

/// Freed buffers by their size.
pub(crate) struct Pool {
    state: Mutex<PoolState>,
    driver: Driver,
    /// The most bytes that a buffer of a tensor may have.
    largest: u64,
}

#[derive(Default)]
struct PoolState {
    /// By number: always taking the smallest, a step that asks for the same sizes in the same order
    /// gets the same buffers, and finds its bind groups made.
    free: HashMap<u64, BTreeMap<u64, Arc<Buffer>>>,
    account: Account,
    created: u64,
    /// Whether buffers were given back that bind groups may still hold.
    gave_back: bool,
}

impl Pool {
    pub fn new(driver: Driver) -> Pool {
        let limits = driver.device.limits();
        let largest = limits.max_storage_buffer_binding_size.min(limits.max_buffer_size);
        Pool { state: Mutex::default(), driver, largest }
    }

    /// The most numbers that a buffer can hold.
    pub fn most_elements(&self) -> usize {
        (self.largest / 4) as usize
    }

    /// A buffer for so many numbers. Where there is no room the failure is noted, and the buffer is
    /// an invalid one: whatever uses it does nothing.
    pub fn allocate(self: &Arc<Pool>, elements: usize) -> Block {
        let bytes = rounded_bytes(elements);
        let mut state = self.lock();
        let buffer = if state.account.admits(bytes, &self.driver.failure) {
            match state.free.get_mut(&bytes).and_then(BTreeMap::pop_first) {
                Some((_, buffer)) => buffer,
                None => self.create(&mut state, bytes),
            }
        } else {
            self.invalid(&mut state)
        };
        state.account.handed_out(buffer.bytes);
        Block { buffer, pool: self.clone() }
    }

    fn create(&self, state: &mut PoolState, bytes: u64) -> Arc<Buffer> {
        if bytes > self.largest {
            let failure = &self.driver.failure;
            failure.above_limit(bytes, self.largest, "of one tensor on this device");
            return self.invalid(state);
        }
        if state.account.has_to_give_back(bytes) {
            state.free.clear();
            state.gave_back = true;
        }
        const USAGE: wgpu::BufferUsages = wgpu::BufferUsages::STORAGE
            .union(wgpu::BufferUsages::COPY_SRC)
            .union(wgpu::BufferUsages::COPY_DST);
        let Some(raw) = self.driver.create_buffer("tensor", bytes, USAGE) else {
            return self.invalid(state);
        };
        state.account.reserved(bytes);
        state.created += 1;
        Arc::new(Buffer { raw, id: state.created, bytes })
    }

    fn invalid(&self, state: &mut PoolState) -> Arc<Buffer> {
        state.created += 1;
        Arc::new(Buffer { raw: self.driver.invalid_buffer(), id: state.created, bytes: 0 })
    }

    pub fn set_limit(&self, bytes: u64) {
        self.lock().account.set_limit(bytes);
    }

    /// Whether buffers were given back since this was asked last.
    pub fn gave_back(&self) -> bool {
        std::mem::take(&mut self.lock().gave_back)
    }

    pub fn memory(&self) -> MemoryUse {
        self.lock().account.memory()
    }

    pub fn reset_peak(&self) {
        self.lock().account.reset_peak();
    }

    fn lock(&self) -> MutexGuard<'_, PoolState> {
        self.state.lock().expect("no code panics while it holds the pool")
    }
}
