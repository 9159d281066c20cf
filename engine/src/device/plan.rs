//! The device that runs only the shapes and costs of kernels.

use super::account::{Account, rounded_bytes};
use super::cost::Cost;
use super::failure::Failure;
use super::gpu::{Binding, Recorded, Recorder, Target, Uniform};
use super::kernel::Kernel;
use crate::memory_use::MemoryUse;
use crate::{Ids, Shape};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

/// Totals of what was asked for; nothing is computed or allocated.
pub(crate) struct Plan {
    /// A number of its own, by which ids know that they have a copy here.
    id: u64,
    planned: PlannedDevice,
    totals: Arc<Mutex<Totals>>,
    failure: Failure,
}

/// The device that is planned for: kernels take other working memory on each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PlannedDevice {
    Cpu { threads: usize },
    Gpu { software: bool },
}

#[derive(Default)]
struct Totals {
    account: Account,
    cost: Cost,
    launches: u64,
    dispatches: Vec<Dispatch>,
}

/// A dispatch that a GPU would be sent; see [`Device::planned_dispatches`].
///
/// [`Device::planned_dispatches`]: super::Device::planned_dispatches
#[derive(Clone, Debug, PartialEq)]
pub struct Dispatch {
    /// The shader's entry point.
    pub entry_point: String,
    /// The shapes of what it reads.
    pub inputs: Vec<Shape>,
    /// The shapes of what it writes.
    pub outputs: Vec<Shape>,
    /// The members of its uniform structure after `first_group`.
    pub uniforms: Vec<Uniform>,
    /// The workgroups.
    pub groups: usize,
    /// The floating-point operations; 0 where moving what is bound takes the time.
    pub flops: u64,
}

/// Memory that exists only in the totals.
pub(crate) struct Block {
    totals: Arc<Mutex<Totals>>,
    bytes: u64,
}

impl Plan {
    pub fn new(planned: PlannedDevice) -> Plan {
        static MADE: AtomicU64 = AtomicU64::new(0);
        let id = MADE.fetch_add(1, Ordering::Relaxed);
        Plan { id, planned, totals: Arc::default(), failure: Failure::default() }
    }

    pub fn planned(&self) -> PlannedDevice {
        self.planned
    }

    pub fn allocate(&self, elements: usize) -> Block {
        let bytes = rounded_bytes(elements);
        lock(&self.totals).account.handed_out(bytes);
        Block { totals: self.totals.clone(), bytes }
    }

    /// Notes what a kernel would do; `outputs` are the shapes and whether they are added to.
    /// Returns whether it can run there.
    pub fn run(&self, kernel: &dyn Kernel, inputs: &[Shape], outputs: &[(Shape, bool)]) -> bool {
        let cost = kernel.cost(inputs);
        let mut totals = lock(&self.totals);
        totals.cost += cost;
        totals.launches += 1;
        drop(totals);
        match self.planned {
            PlannedDevice::Cpu { threads } => {
                let scratch = kernel.scratch(inputs, threads);
                drop(scratch.map(|elements| self.allocate(elements)));
                true
            }
            PlannedDevice::Gpu { software } => {
                let inputs: Vec<Binding> =
                    inputs.iter().map(|shape| Binding::planned(*shape, false)).collect();
                let outputs: Vec<Binding> =
                    outputs.iter().map(|(shape, add)| Binding::planned(*shape, *add)).collect();
                let mut target = Counting { plan: self, software, scratch: Vec::new() };
                let mut recorder = Recorder::new(&mut target);
                kernel.gpu(&inputs, &outputs, &mut recorder);
                recorder.has_shader()
            }
        }
    }

    /// What was dispatched since this was asked last.
    pub fn dispatches(&self) -> Vec<Dispatch> {
        std::mem::take(&mut lock(&self.totals).dispatches)
    }

    /// Never set: nothing happens here.
    pub fn failure(&self) -> &Failure {
        &self.failure
    }

    pub fn memory(&self) -> MemoryUse {
        lock(&self.totals).account.memory()
    }

    pub fn reset_peak(&self) {
        lock(&self.totals).account.reset_peak();
    }

    pub fn cost(&self) -> Cost {
        lock(&self.totals).cost
    }

    pub fn launches(&self) -> u64 {
        lock(&self.totals).launches
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        lock(&self.totals).account.returned(self.bytes);
    }
}

fn lock(totals: &Mutex<Totals>) -> MutexGuard<'_, Totals> {
    totals.lock().expect("no code panics while it holds the totals")
}

/// Dispatches that nobody sends.
struct Counting<'a> {
    plan: &'a Plan,
    software: bool,
    /// Kept until the kernel has recorded all its dispatches.
    scratch: Vec<Block>,
}

impl Target for Counting<'_> {
    fn is_software(&self) -> bool {
        self.software
    }

    fn dispatch(&mut self, dispatch: &Recorded) {
        dispatch.find_shader();
        let shapes = |bindings: &[&Binding]| bindings.iter().map(|binding| binding.shape).collect();
        lock(&self.plan.totals).dispatches.push(Dispatch {
            entry_point: dispatch.entry_point.into(),
            inputs: shapes(dispatch.inputs),
            outputs: shapes(dispatch.outputs),
            uniforms: dispatch.uniforms.to_vec(),
            groups: dispatch.groups,
            flops: dispatch.flops,
        });
    }

    fn scratch(&mut self, shape: Shape) -> Binding {
        self.scratch.push(self.plan.allocate(shape.elements()));
        Binding::planned(shape, false)
    }

    fn ids(&mut self, ids: &Ids) -> Binding {
        ids.on_device(self.plan.id, || self.plan.allocate(ids.shape().elements()));
        Binding::planned(ids.shape(), false)
    }
}
