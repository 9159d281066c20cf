//! The GPU's memory: buffers from a pool, so that after the first steps nothing is allocated.
//!
//! A buffer may be used again as soon as its tensor is dropped, even while commands that use it
//! are still queued: commands run in the order in which they were recorded.

use crate::device::MemoryUse;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};

/// A buffer with a number of its own, which names it in caches.
#[derive(Debug)]
pub(crate) struct Buffer {
    pub raw: wgpu::Buffer,
    pub id: u64,
}

/// Memory of one tensor, or of several that share it. Its last handle returns it to the pool.
pub(crate) struct Block {
    pub buffer: Arc<Buffer>,
    pool: Arc<Pool>,
}

impl Drop for Block {
    fn drop(&mut self) {
        let mut state = self.pool.lock();
        let bytes = self.buffer.raw.size();
        state.memory.in_use -= bytes;
        state.free.entry(bytes).or_default().insert(self.buffer.id, self.buffer.clone());
    }
}

/// Freed buffers by their size.
#[derive(Default)]
pub(crate) struct Pool {
    state: Mutex<PoolState>,
}

#[derive(Default)]
struct PoolState {
    /// By number: always taking the smallest, a step that asks for the same sizes in the same order
    /// gets the same buffers, and finds its bind groups made.
    free: HashMap<u64, BTreeMap<u64, Arc<Buffer>>>,
    memory: MemoryUse,
    created: u64,
}

impl Pool {
    pub fn allocate(self: &Arc<Pool>, device: &wgpu::Device, elements: usize) -> Block {
        let bytes = crate::device::cpu::rounded_bytes(elements);
        let mut state = self.lock();
        let free = state.free.get_mut(&bytes).and_then(BTreeMap::pop_first);
        let buffer = free.map(|(_, buffer)| buffer).unwrap_or_else(|| {
            state.memory.reserved += bytes;
            state.memory.allocations += 1;
            state.created += 1;
            let raw = device.create_buffer(&wgpu::BufferDescriptor {
                label: Some("tensor"),
                size: bytes,
                usage: wgpu::BufferUsages::STORAGE
                    | wgpu::BufferUsages::COPY_SRC
                    | wgpu::BufferUsages::COPY_DST,
                mapped_at_creation: false,
            });
            Arc::new(Buffer { raw, id: state.created })
        });
        let memory = &mut state.memory;
        memory.in_use += bytes;
        memory.peak = memory.peak.max(memory.in_use);
        Block { buffer, pool: self.clone() }
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
