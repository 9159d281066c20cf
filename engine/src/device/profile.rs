//! Where the time goes: a clock around every kernel, for as long as someone wants to know.

use super::cost::Cost;
use super::kernel::Kernel;
use crate::Shape;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// What one kind of kernel took at one size; see [`Device::start_profile`](super::Device::start_profile).
#[derive(Clone, Debug)]
pub struct KernelTime {
    /// The kernel's name.
    pub name: &'static str,
    /// The shapes of its inputs.
    pub shapes: Vec<Shape>,
    /// How often it ran.
    pub launches: u64,
    /// The time of all launches together.
    pub time: Duration,
    /// The work of all launches together.
    pub cost: Cost,
}

#[derive(Default)]
pub(super) struct Profiler {
    on: AtomicBool,
    entries: Mutex<Entries>,
}

type Entries = HashMap<(&'static str, Vec<Shape>), KernelTime>;

impl Profiler {
    pub fn start(&self) {
        self.lock().clear();
        self.on.store(true, Ordering::Relaxed);
    }

    pub fn stop(&self) -> Vec<KernelTime> {
        self.on.store(false, Ordering::Relaxed);
        let mut entries: Vec<KernelTime> = self.lock().drain().map(|(_, entry)| entry).collect();
        entries.sort_by_key(|entry| std::cmp::Reverse(entry.time));
        entries
    }

    /// Runs `work`, which runs the kernel on inputs of these shapes, and takes its time if that is
    /// wanted. `wait` waits until it is done, and says what the device's own clock says of it, if it has one.
    pub fn time<R>(
        &self,
        kernel: &dyn Kernel,
        shapes: impl Iterator<Item = Shape>,
        work: impl FnOnce() -> R,
        wait: impl FnOnce() -> Option<Duration>,
    ) -> R {
        if !self.on.load(Ordering::Relaxed) {
            return work();
        }
        let start = Instant::now();
        let result = work();
        let by_device = wait();
        let elapsed = start.elapsed();
        // A clock that says more than was waited is no clock.
        let time = by_device.filter(|time| *time <= elapsed).unwrap_or(elapsed);
        let shapes: Vec<Shape> = shapes.collect();
        let (name, cost) = (kernel.name(), kernel.cost(&shapes));
        let mut entries = self.lock();
        let entry = entries.entry((name, shapes.clone())).or_insert_with(|| KernelTime {
            name,
            shapes,
            launches: 0,
            time: Duration::ZERO,
            cost: Cost::default(),
        });
        entry.launches += 1;
        entry.time += time;
        entry.cost += cost;
        drop(entries);
        result
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().expect("no code panics while it holds the entries")
    }
}
