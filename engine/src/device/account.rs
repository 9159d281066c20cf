//! What a pool of memory has taken from the system and handed out, and the limit that it keeps to.

use super::failure::Failure;
use crate::memory_use::MemoryUse;

/// The books of a pool.
#[derive(Default)]
pub(super) struct Account {
    memory: MemoryUse,
    limit: Option<u64>,
}

impl Account {
    pub fn memory(&self) -> MemoryUse {
        self.memory
    }

    pub fn set_limit(&mut self, bytes: u64) {
        self.limit = Some(bytes);
    }

    pub fn reset_peak(&mut self) {
        self.memory.peak = self.memory.in_use;
    }

    /// Whether tensors may take so many bytes more. If not, the failure is noted.
    pub fn admits(&self, bytes: u64, failure: &Failure) -> bool {
        let above = self.limit.filter(|limit| self.memory.in_use + bytes > *limit);
        above.inspect(|limit| failure.above_limit(bytes, *limit, "of all tensors")).is_none()
    }

    /// Whether what waits in the pool has to be given back to the system before so many bytes more
    /// are taken from it: what waits counts too. Then the caller does so.
    pub fn has_to_give_back(&mut self, bytes: u64) -> bool {
        let full = self.limit.is_some_and(|limit| self.memory.reserved + bytes > limit);
        if full {
            self.memory.reserved = self.memory.in_use;
        }
        full
    }

    /// Notes that so many bytes were taken from the system.
    pub fn reserved(&mut self, bytes: u64) {
        self.memory.reserved += bytes;
        self.memory.allocations += 1;
    }

    /// Notes that a tensor got so many bytes.
    pub fn handed_out(&mut self, bytes: u64) {
        self.memory.in_use += bytes;
        self.memory.peak = self.memory.peak.max(self.memory.in_use);
        self.memory.reserved = self.memory.reserved.max(self.memory.in_use);
    }

    /// Notes that a tensor gave so many bytes back to the pool.
    pub fn returned(&mut self, bytes: u64) {
        self.memory.in_use -= bytes;
    }
}

/// The bytes that a tensor of so many numbers gets: a few sizes an octave, so that similar tensors
/// share what was freed.
pub(super) fn rounded_bytes(elements: usize) -> u64 {
    const LINE: usize = 16;
    let lines = elements.div_ceil(LINE).max(1);
    let grain = (lines.next_power_of_two() / 16).max(1);
    (lines.next_multiple_of(grain) * LINE * size_of::<f32>()) as u64
}
