//! How large a tensor on a GPU can be.

use crate::device::account::{ALIGNMENT, rounded_bytes};
use crate::device::failure::{Failure, Refusal};

/// What a driver allows one buffer, in bytes; see
/// [`Device::plan_for_limited_gpu`](crate::Device::plan_for_limited_gpu).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GpuLimits {
    /// The most of a buffer that a shader can see.
    pub largest_binding: u64,
    /// The largest buffer.
    pub largest_buffer: u64,
}

/// The most numbers that a tensor can have on any GPU. Shaders count in 32 bits, also the invocations
/// that are too many because a grid is made of whole workgroups, and of whole rows of these.
const MOST_ELEMENTS: u64 = 1 << 31;

impl GpuLimits {
    /// Those of shaders alone.
    pub const NONE: GpuLimits = GpuLimits { largest_binding: u64::MAX, largest_buffer: u64::MAX };

    /// The most numbers that a tensor can have.
    pub(in crate::device) fn most_elements(self) -> usize {
        (self.largest() / 4) as usize
    }

    /// The size of a buffer for so many numbers, if there can be such a one.
    pub(in crate::device) fn bytes(
        self,
        elements: usize,
        failure: &Failure,
    ) -> Result<u64, Refusal> {
        let largest = self.largest();
        let bytes = rounded_bytes(elements, largest);
        if bytes > largest {
            return Err(failure.above_limit(bytes, largest, "of one tensor on this device"));
        }
        Ok(bytes)
    }

    /// The most bytes that a tensor can have: whole alignments, so that flat pieces of parameters can be
    /// as large.
    fn largest(self) -> u64 {
        let largest = self.largest_binding.min(self.largest_buffer).min(4 * MOST_ELEMENTS);
        largest / (4 * ALIGNMENT as u64) * (4 * ALIGNMENT as u64)
    }
}
