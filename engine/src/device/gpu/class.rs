//! What suits a GPU: decided here from what its adapter is, and asked nowhere else.

use crate::device::cost::Cost;
use std::time::Duration;

/// What suits a class of GPUs: how wide workgroups are, which kernels make products, and how much work
/// goes to the device at once. Kernels and results depend on this and on shapes alone, so the same class
/// gives the same bits.
///
/// ```
/// use neutreno_engine::gpu::Class;
/// assert!(Class::HARDWARE.lanes > Class::SOFTWARE.lanes);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Class {
    /// The invocations that share a row: a power of two, at most 64.
    pub lanes: u32,
    /// Whether products are made of tiles in workgroup memory, and not in registers alone.
    pub shared_tiles: bool,
    /// The most invocations of a workgroup: 256, or on lesser devices 128.
    pub invocations: u32,
    /// With so many rows or fewer, products are made row by row.
    pub few_rows: usize,
    /// How long dispatches are taken to be.
    pub speed: Speed,
}

impl Class {
    /// GPUs that are hardware, discrete, integrated or virtual.
    pub const HARDWARE: Class = Class {
        lanes: 64,
        shared_tiles: true,
        invocations: 256,
        few_rows: 8,
        speed: Speed::HARDWARE,
    };

    /// Adapters that are programs on the CPU. There a barrier costs in proportion to the workgroup's size,
    /// and products are made in tiles of eight rows.
    pub const SOFTWARE: Class = Class {
        lanes: 8,
        shared_tiles: false,
        invocations: 256,
        few_rows: 2,
        speed: Speed::SOFTWARE,
    };

    /// That of an adapter, with so many invocations in a workgroup at most.
    pub(super) fn of(is_software: bool, invocations: u32) -> Class {
        let class = if is_software { Class::SOFTWARE } else { Class::HARDWARE };
        class.within(invocations)
    }

    /// The same where a workgroup can have only so many invocations: without the largest squares of products,
    /// which is all that has more than 64.
    pub fn within(self, invocations: u32) -> Class {
        Class { invocations: self.invocations.min(invocations), ..self }
    }
}

/// What slow hardware of a class does in a second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Speed {
    pub(super) flops: f64,
    pub(super) bytes: f64,
}

impl Speed {
    /// Between what products reach on two cores (6 billion operations) and what attention does (1
    /// billion). No system takes a program away for being slow.
    const SOFTWARE: Speed = Speed { flops: 3e9, bytes: 2e9 };
    /// Graphics that were built into processors of 2012 do 300 billion operations and move 20 billion
    /// bytes at best; a sixth and a fourth of it are left for kernels and drivers that do not suit them.
    const HARDWARE: Speed = Speed { flops: 50e9, bytes: 5e9 };

    /// The time that it takes.
    pub(super) fn time(self, work: Cost) -> Duration {
        let seconds = work.flops as f64 / self.flops + work.bytes as f64 / self.bytes;
        Duration::from_secs_f64(seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_takes_time_is_computing_or_moving() {
        let speed = Speed { flops: 1e9, bytes: 1e8 };
        assert_eq!(speed.time(Cost { flops: 2_000_000_000, bytes: 0 }), Duration::from_secs(2));
        assert_eq!(speed.time(Cost { flops: 0, bytes: 50_000_000 }), Duration::from_millis(500));
    }
}
