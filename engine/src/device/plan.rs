//! The device that runs only the shapes and costs of kernels.

use super::account::{Account, rounded_bytes};
use super::cost::Cost;
use super::failure::{Failure, Refusal};
use super::gpu::{Binding, Class, GpuLimits, Recorded, Recorder, Target, Uniform};
use super::kernel::Kernel;
use crate::ids::Copies;
use crate::memory_use::MemoryUse;
use crate::{Ids, Shape};
use std::sync::{Arc, Mutex, MutexGuard};

/// Totals of what was asked for; nothing is computed or allocated.
pub(crate) struct Plan {
    /// Those of ids.
    copies: Copies,
    planned: PlannedDevice,
    totals: Arc<Mutex<Totals>>,
    failure: Failure,
}

/// The device that is planned for: kernels take other working memory on each.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum PlannedDevice {
    Cpu { threads: usize },
    Gpu { class: Class, limits: GpuLimits },
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
        let (copies, totals, failure) = (Copies::new(), Arc::default(), Failure::default());
        Plan { copies, planned, totals, failure }
    }

    pub fn planned(&self) -> PlannedDevice {
        self.planned
    }

    /// Those of the GPU that is planned for.
    pub fn limits(&self) -> Option<GpuLimits> {
        match self.planned {
            PlannedDevice::Cpu { .. } => None,
            PlannedDevice::Gpu { limits, .. } => Some(limits),
        }
    }

    /// Memory for so many numbers, if the device that is planned for could have such a tensor.
    pub fn allocate(&self, elements: usize) -> Result<Block, Refusal> {
        let bytes = match self.planned {
            PlannedDevice::Cpu { .. } => rounded_bytes(elements, u64::MAX),
            PlannedDevice::Gpu { limits, .. } => limits.bytes(elements, &self.failure)?,
        };
        lock(&self.totals).account.handed_out(bytes);
        Ok(Block { totals: self.totals.clone(), bytes })
    }

    /// What numbers go through on their way to the host, where that is no memory of the CPU's.
    pub fn read(&self, elements: usize) -> Result<Option<Block>, Refusal> {
        match self.planned {
            PlannedDevice::Cpu { .. } => Ok(None),
            PlannedDevice::Gpu { .. } => self.allocate(elements).map(Some),
        }
    }

    pub fn trim(&self) {
        lock(&self.totals).account.gave_back();
    }

    /// Notes what a kernel would do; `outputs` are the shapes and whether they are added to.
    /// Returns whether it can run there.
    pub fn run(
        &self,
        kernel: &dyn Kernel,
        inputs: &[Shape],
        outputs: &[(Shape, bool)],
    ) -> Result<bool, Refusal> {
        let cost = kernel.cost(inputs);
        let mut totals = lock(&self.totals);
        totals.cost += cost;
        totals.launches += 1;
        drop(totals);
        match self.planned {
            PlannedDevice::Cpu { threads } => {
                let scratch = kernel.scratch(inputs, threads);
                scratch.map(|elements| self.allocate(elements)).transpose()?;
                Ok(true)
            }
            PlannedDevice::Gpu { class, .. } => {
                let inputs: Vec<Binding> =
                    inputs.iter().map(|shape| Binding::planned(*shape, false)).collect();
                let outputs: Vec<Binding> =
                    outputs.iter().map(|(shape, add)| Binding::planned(*shape, *add)).collect();
                let (scratch, refused) = (Vec::new(), None);
                let mut target = Counting { plan: self, class, scratch, refused };
                let mut recorder = Recorder::new(&mut target);
                kernel.gpu(&inputs, &outputs, &mut recorder);
                let has_shader = recorder.has_shader();
                target.refused.map_or(Ok(has_shader), Err)
            }
        }
    }

    /// What was dispatched since this was asked last.
    pub fn dispatches(&self) -> Vec<Dispatch> {
        std::mem::take(&mut lock(&self.totals).dispatches)
    }

    /// What the device that is planned for could not have.
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
    class: Class,
    /// Kept until the kernel has recorded all its dispatches.
    scratch: Vec<Block>,
    /// Why the kernel could not have some of its memory.
    refused: Option<Refusal>,
}

impl Target for Counting<'_> {
    fn class(&self) -> Class {
        self.class
    }

    fn dispatch(&mut self, dispatch: &Recorded) {
        if self.refused.is_some() {
            return;
        }
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
        match self.plan.allocate(shape.elements()) {
            Ok(block) => self.scratch.push(block),
            Err(why) => drop(self.refused.get_or_insert(why)),
        }
        Binding::planned(shape, false)
    }

    fn ids(&mut self, ids: &Ids) -> Binding {
        let allocate = || self.plan.allocate(ids.shape().elements());
        if let Err(why) = ids.on_device(&self.plan.copies, allocate) {
            self.refused.get_or_insert(why);
        }
        Binding::planned(ids.shape(), false)
    }
}
