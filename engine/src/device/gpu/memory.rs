//! The GPU's memory: buffers from a pool, so that after the first steps nothing is allocated.
//!
//! A buffer may be used again as soon as its tensor is dropped, even while commands that use it
//! are still queued: commands run in the order in which they were recorded.

use crate::device::failure::Failure;
use crate::device::{Fault, MemoryUse};
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
        state.memory.in_use -= bytes;
        if bytes > 0 {
            state.free.entry(bytes).or_default().insert(self.buffer.id, self.buffer.clone());
        }
    }
}

/// Freed buffers by their size.
pub(crate) struct Pool {
    state: Mutex<PoolState>,
    device: wgpu::Device,
    /// The most bytes that a buffer of a tensor may have.
    largest: u64,
    failure: Failure,
}

#[derive(Default)]
struct PoolState {
    /// By number: always taking the smallest, a step that asks for the same sizes in the same order
    /// gets the same buffers, and finds its bind groups made.
    free: HashMap<u64, BTreeMap<u64, Arc<Buffer>>>,
    memory: MemoryUse,
    limit: Option<u64>,
    created: u64,
    /// Whether buffers were given back that bind groups may still hold.
    gave_back: bool,
}

impl Pool {
    pub fn new(device: wgpu::Device, failure: Failure) -> Pool {
        let limits = device.limits();
        let largest = limits.max_storage_buffer_binding_size.min(limits.max_buffer_size);
        Pool { state: Mutex::default(), device, largest, failure }
    }

    /// The most numbers that a buffer can hold.
    pub fn most_elements(&self) -> usize {
        (self.largest / 4) as usize
    }

    /// A buffer for so many numbers. Where there is no room the failure is noted, and the buffer is
    /// an invalid one: whatever uses it does nothing.
    pub fn allocate(self: &Arc<Pool>, elements: usize) -> Block {
        let bytes = crate::device::cpu::rounded_bytes(elements);
        let mut state = self.lock();
        let in_use = state.memory.in_use;
        let limit = state.limit.filter(|limit| in_use + bytes > *limit);
        let buffer = match limit {
            Some(limit) => {
                self.failure.above_limit(bytes, limit, "of all tensors");
                self.invalid(&mut state)
            }
            None => match state.free.get_mut(&bytes).and_then(BTreeMap::pop_first) {
                Some((_, buffer)) => buffer,
                None => self.create(&mut state, bytes),
            },
        };
        let memory = &mut state.memory;
        memory.in_use += buffer.bytes;
        memory.peak = memory.peak.max(memory.in_use);
        Block { buffer, pool: self.clone() }
    }

    fn create(&self, state: &mut PoolState, bytes: u64) -> Arc<Buffer> {
        if bytes > self.largest {
            self.failure.above_limit(bytes, self.largest, "of one tensor on this device");
            return self.invalid(state);
        }
        // What waits to be used again counts too, and is given back first.
        if state.limit.is_some_and(|limit| state.memory.reserved + bytes > limit) {
            state.free.clear();
            state.memory.reserved = state.memory.in_use;
            state.gave_back = true;
        }
        const USAGE: wgpu::BufferUsages = wgpu::BufferUsages::STORAGE
            .union(wgpu::BufferUsages::COPY_SRC)
            .union(wgpu::BufferUsages::COPY_DST);
        let Some(raw) = create_buffer(&self.device, &self.failure, "tensor", bytes, USAGE) else {
            return self.invalid(state);
        };
        state.memory.reserved += bytes;
        state.memory.allocations += 1;
        state.created += 1;
        Arc::new(Buffer { raw, id: state.created, bytes })
    }

    fn invalid(&self, state: &mut PoolState) -> Arc<Buffer> {
        state.created += 1;
        Arc::new(Buffer { raw: invalid_buffer(&self.device), id: state.created, bytes: 0 })
    }

    pub fn set_limit(&self, bytes: u64) {
        self.lock().limit = Some(bytes);
    }

    /// Whether buffers were given back since this was asked last.
    pub fn gave_back(&self) -> bool {
        std::mem::take(&mut self.lock().gave_back)
    }

    pub fn memory(&self) -> MemoryUse {
        self.lock().memory
    }

    pub fn reset_peak(&self) {
        let memory = &mut self.lock().memory;
        memory.peak = memory.in_use;
    }

    fn lock(&self) -> MutexGuard<'_, PoolState> {
        self.state.lock().expect("no code panics while it holds the pool")
    }
}

/// A buffer of the driver's, or `None`, with the failure noted, if it has no room.
pub(super) fn create_buffer(
    device: &wgpu::Device,
    failure: &Failure,
    label: &str,
    bytes: u64,
    usage: wgpu::BufferUsages,
) -> Option<wgpu::Buffer> {
    let descriptor = wgpu::BufferDescriptor {
        label: Some(label),
        size: bytes,
        usage,
        mapped_at_creation: false,
    };
    let scope = device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
    let buffer = device.create_buffer(&descriptor);
    let refused = pollster::block_on(scope.pop()).is_some();
    if refused || failure.is_due(Fault::NoMemory) {
        failure.no_memory(bytes, "the driver did not give them");
        return None;
    }
    Some(buffer)
}

/// What wgpu gives where there is no room: a buffer that every use of is an error.
pub(super) fn invalid_buffer(device: &wgpu::Device) -> wgpu::Buffer {
    let scope = device.push_error_scope(wgpu::ErrorFilter::Validation);
    // No driver has such large ones.
    let size = u64::MAX / 4 * 4;
    let usage = wgpu::BufferUsages::STORAGE;
    let descriptor = wgpu::BufferDescriptor { label: None, size, usage, mapped_at_creation: false };
    let buffer = device.create_buffer(&descriptor);
    drop(pollster::block_on(scope.pop()));
    buffer
}
