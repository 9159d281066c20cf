//! The CPU: a pool of threads, a pool of memory, and the loops that kernels are made of.
//!
//! Results never depend on the number of threads: work is cut into chunks by its shape alone, and
//! each chunk is summed in a fixed order.

pub mod few_rows;
pub mod half;
mod instructions;
pub mod math;
mod memory;
pub mod products;
pub mod room;
pub mod scratch;
pub mod simd;
pub mod tasks;

pub(crate) use memory::{Argument, Block};

use super::cost::Cost;
use super::failure::{Failure, Refusal};
use super::view::{View, ViewMut};
use crate::memory_use::MemoryUse;
use crate::{Error, Result};
use memory::Pool;
use room::room_for_threads;
use std::error::Error as _;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The threads and the memory.
pub(crate) struct Cpu {
    threads: rayon::ThreadPool,
    pool: Arc<Pool>,
    launches: AtomicU64,
}

impl Cpu {
    /// A pool of `threads` threads; 0 means one for every core.
    ///
    /// # Errors
    /// If the system does not start them, or the instructions that are asked for are not there.
    pub fn new(threads: usize) -> Result<Cpu> {
        instructions::check()?;
        let not_started = |why: String| {
            let how_many = if threads == 0 {
                "a thread for every core".into()
            } else {
                format!("{threads} threads")
            };
            Error::Device {
                device: std::env::consts::ARCH.into(),
                reason: format!("the system does not start {how_many}: {why}"),
                memory: MemoryUse::default(),
            }
        };
        room_for_threads(threads).map_err(|error| not_started(error.to_string()))?;
        let built = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .thread_name(|index| format!("neutreno-cpu-{index}"))
            .build();
        let threads = built.map_err(|error| {
            not_started(error.source().map_or_else(|| error.to_string(), ToString::to_string))
        })?;
        Ok(Cpu { threads, pool: Arc::new(Pool::default()), launches: AtomicU64::new(0) })
    }

    pub fn name(&self) -> String {
        let count = self.threads.current_num_threads();
        let plural = if count == 1 { "" } else { "s" };
        format!("{}, {}, {count} thread{plural}", std::env::consts::ARCH, instructions::name())
    }

    pub fn threads(&self) -> usize {
        self.threads.current_num_threads()
    }

    pub fn memory(&self) -> MemoryUse {
        self.pool.memory()
    }

    pub fn reset_peak(&self) {
        self.pool.reset_peak();
    }

    pub fn launches(&self) -> u64 {
        self.launches.load(Ordering::Relaxed)
    }

    pub fn set_memory_limit(&self, bytes: u64) {
        self.pool.set_limit(bytes);
    }

    pub fn failure(&self) -> &Failure {
        self.pool.failure()
    }

    pub fn allocate(&self, elements: usize) -> std::result::Result<Block, Refusal> {
        self.pool.allocate(elements)
    }

    pub fn trim(&self) {
        self.pool.trim();
    }

    pub fn install<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        self.threads.install(work)
    }

    /// Lets `work`, a kernel of that cost, compute on these arguments.
    pub fn run(
        &self,
        cost: impl FnOnce() -> Cost,
        inputs: &[Argument],
        outputs: &[Argument],
        work: impl FnOnce(&[View], &mut [ViewMut]) + Send,
    ) {
        self.launches.fetch_add(1, Ordering::Relaxed);
        let is_here = self.threads.current_thread_index().is_some();
        memory::borrow(inputs, outputs, |inputs, outputs| {
            if !is_here && is_small(cost()) {
                tasks::alone(|| work(inputs, outputs));
            } else {
                self.install(|| work(inputs, outputs));
            }
        });
    }
}

/// Whether a kernel is done sooner than it is handed over to another thread and back, which takes some
/// twenty microseconds, and where cores are busy with other things far more.
fn is_small(cost: Cost) -> bool {
    const FLOPS: u64 = 1 << 20;
    const BYTES: u64 = 1 << 19;
    cost.flops <= FLOPS && cost.bytes <= BYTES
}

/// The memory of this machine, or the part of it that this process may take, where the system tells.
pub(super) fn machine_memory() -> Option<u64> {
    let meminfo = fs::read_to_string("/proc/meminfo").ok()?;
    let total = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let total = 1024 * total.trim().trim_end_matches(" kB").parse::<u64>().ok()?;
    let limits = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];
    let limit = |path: &&str| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    Some(limits.iter().filter_map(limit).fold(total, u64::min))
}
