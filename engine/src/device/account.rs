//! What a pool of memory has taken from the system and handed out, and the limit that it keeps to.

use super::failure::{Failure, Refusal};
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

    /// Refuses so many bytes more where tensors may not take them.
    pub fn admit(&self, bytes: u64, failure: &Failure) -> Result<(), Refusal> {
        let above = |limit: &u64| self.memory.in_use.saturating_add(bytes) > *limit;
        match self.limit.filter(above) {
            Some(limit) => Err(failure.above_limit(bytes, limit, "of all tensors")),
            None => Ok(()),
        }
    }

    /// Whether what waits in the pool has to be given back to the system before so many bytes more
    /// are taken from it: what waits counts too.
    pub fn has_to_give_back(&self, bytes: u64) -> bool {
        self.limit.is_some_and(|limit| self.memory.reserved + bytes > limit)
    }

    /// Notes that all that waits in the pool was given back.
    pub fn gave_back(&mut self) {
        self.memory.reserved = self.memory.in_use;
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

/// Tensors that share a memory begin at multiples of so many elements: 256 bytes, where any GPU can bind
/// them.
pub(crate) const ALIGNMENT: usize = 64;

/// The bytes that a tensor of so many numbers gets where none may have more than `largest`: a few sizes
/// an octave, so that similar tensors share what was freed. More than `largest` where it is too large.
pub(super) fn rounded_bytes(elements: usize, largest: u64) -> u64 {
    const LINE: u64 = 16;
    const NUMBER: u64 = size_of::<f32>() as u64;
    let lines = (elements as u64).div_ceil(LINE).max(1);
    let grain = (lines.next_power_of_two() / 16).max(1);
    let rounded = lines.next_multiple_of(grain).saturating_mul(LINE * NUMBER);
    let needed = (elements as u64).saturating_mul(NUMBER);
    // What is rounded up must not become too large by that.
    if needed <= largest { rounded.min(largest / NUMBER * NUMBER) } else { needed }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_a_few_an_octave() {
        let sizes = [(0, 64), (1, 64), (17, 128), (1025, 4608), (1 << 20, 4 << 20)];
        for (elements, bytes) in sizes {
            assert_eq!(rounded_bytes(elements, u64::MAX), bytes, "{elements}");
        }
        assert_eq!(rounded_bytes(usize::MAX, u64::MAX), u64::MAX - 3);
    }

    #[test]
    fn what_is_rounded_up_stays_within_what_the_device_has() {
        // Of drivers: 128 MiB, one byte less than 2 and 4 GiB, 4 GiB − 16; and one that is no number.
        for largest in [1 << 27, (1 << 31) - 1, (1 << 32) - 1, (1 << 32) - 16, 1_000_003] {
            let most = (largest / 4) as usize;
            for elements in [most, most - 1, most - 63, most / 16 * 15 + 1, most / 2 + 1] {
                let bytes = rounded_bytes(elements, largest);
                let exact = 4 * elements as u64;
                assert!((exact..=largest).contains(&bytes), "{elements} of {most}: {bytes}");
                assert!(bytes.is_multiple_of(4), "{elements} of {most}: {bytes}");
            }
            assert!(rounded_bytes(most + 1, largest) > largest);
        }
    }
}
