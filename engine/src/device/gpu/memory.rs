//! The GPU's memory: buffers from a pool, so that after the first steps none is made.
//!
//! A buffer may be used again as soon as its tensor is dropped, even while commands that use it
//! are still queued: commands run in the order in which they were recorded.

use super::driver::Driver;
use super::limits::GpuLimits;
use crate::device::account::Account;
use crate::device::failure::{Fault, Refusal};
use crate::memory_use::MemoryUse;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};

/// A buffer with a number of its own, which names it in caches.
#[derive(Debug)]
pub(crate) struct Buffer {
    pub raw: wgpu::Buffer,
    pub id: u64,
    purpose: Purpose,
}

/// What a buffer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Purpose {
    Tensor,
    /// What numbers go through on their way to the host.
    Reading,
}

impl Purpose {
    fn usage(self) -> wgpu::BufferUsages {
        use wgpu::BufferUsages as Usages;
        match self {
            Purpose::Tensor => Usages::STORAGE | Usages::COPY_SRC | Usages::COPY_DST,
            Purpose::Reading => Usages::MAP_READ | Usages::COPY_DST,
        }
    }
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
        state.account.returned(bytes);
        let free = state.free.entry((self.buffer.purpose, bytes)).or_default();
        free.insert(self.buffer.id, self.buffer.clone());
    }
}

/// Freed buffers by their purpose and size.
pub(crate) struct Pool {
    state: Mutex<PoolState>,
    driver: Driver,
    limits: GpuLimits,
}

#[derive(Default)]
struct PoolState {
    /// By number: always taking the smallest, a step that asks for the same sizes in the same order
    /// gets the same buffers, and finds its bind groups made.
    free: HashMap<(Purpose, u64), BTreeMap<u64, Arc<Buffer>>>,
    account: Account,
    created: u64,
    /// Whether buffers were given back that bind groups may still hold.
    gave_back: bool,
}

impl PoolState {
    fn give_back(&mut self) {
        self.free.clear();
        self.account.gave_back();
        self.gave_back = true;
    }
}

impl Pool {
    pub fn new(driver: Driver) -> Pool {
        let limits = driver.device.limits();
        let limits = GpuLimits {
            largest_binding: limits.max_storage_buffer_binding_size,
            largest_buffer: limits.max_buffer_size,
        };
        Pool { state: Mutex::default(), driver, limits }
    }

    pub fn limits(&self) -> GpuLimits {
        self.limits
    }

    /// A buffer for so many numbers, if there is room. Where the driver refuses it, `trim` is to give
    /// back what waits here, and the driver is asked again.
    pub fn allocate(
        self: &Arc<Pool>,
        purpose: Purpose,
        elements: usize,
        trim: impl FnOnce(),
    ) -> Result<Block, Refusal> {
        let failure = &self.driver.failure;
        let bytes = self.limits.bytes(elements, failure)?;
        let mut buffer = self.reuse(purpose, bytes)?;
        if buffer.is_none() && !failure.is_due(Fault::NoMemory) {
            let short = failure.is_due(Fault::ShortOfMemory);
            buffer = if short { None } else { self.create(purpose, bytes)? };
            if buffer.is_none() {
                trim();
                buffer = self.create(purpose, bytes)?;
            }
        }
        let refused = || failure.refuse(bytes, "the driver did not give them");
        Ok(Block { buffer: buffer.ok_or_else(refused)?, pool: self.clone() })
    }

    /// A buffer that waits here.
    fn reuse(&self, purpose: Purpose, bytes: u64) -> Result<Option<Arc<Buffer>>, Refusal> {
        let mut state = self.lock();
        state.account.admit(bytes, &self.driver.failure)?;
        let buffer = state.free.get_mut(&(purpose, bytes)).and_then(BTreeMap::pop_first);
        if buffer.is_some() {
            state.account.handed_out(bytes);
        }
        Ok(buffer.map(|(_, buffer)| buffer))
    }

    /// A buffer from the driver, unless it refuses.
    fn create(&self, purpose: Purpose, bytes: u64) -> Result<Option<Arc<Buffer>>, Refusal> {
        let mut state = self.lock();
        state.account.admit(bytes, &self.driver.failure)?;
        if state.account.has_to_give_back(bytes) {
            state.give_back();
        }
        let raw = self.driver.create_buffer("tensor", bytes, purpose.usage());
        Ok(raw.map(|raw| {
            state.account.reserved(bytes);
            state.account.handed_out(bytes);
            state.created += 1;
            Arc::new(Buffer { raw, id: state.created, purpose })
        }))
    }

    /// Gives what waits here back, but for what bind groups hold.
    pub fn give_back(&self) {
        self.lock().give_back();
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
