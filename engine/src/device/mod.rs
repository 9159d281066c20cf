//! The places where tensors live and ops run: the CPU, a GPU through wgpu, and the plan, which
//! runs only the shapes and costs.

mod account;
pub mod choice;
mod copy;
mod cost;
pub mod cpu;
mod failure;
mod fill;
pub mod gpu;
mod kernel;
mod plan;
mod profile;
mod view;

pub use crate::memory_use::{MemoryUse, bytes};
pub use choice::list;
pub use copy::Copy;
pub use cost::Cost;
pub use failure::{Fault, Injection};
pub use fill::Fill;
pub use gpu::DeviceDescription;
pub use kernel::Kernel;
pub use plan::Dispatch;
pub use profile::KernelTime;
pub use view::{View, ViewMut};

use crate::{Result, Shape};
use failure::Failure;
use plan::WhatFor;
use profile::Profiler;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A handle to a device. Cloning it is cheap and means the same device.
///
/// ```
/// use neutreno_engine::{Device, Tensor};
/// let device = Device::cpu();
/// let x = Tensor::new(&[1.0, 2.0], [2], &device);
/// assert_eq!((&x + &x).to_vec()?, [2.0, 4.0]);
/// # Ok::<(), neutreno_engine::Error>(())
/// ```
#[derive(Clone)]
pub struct Device(Arc<Inner>);

struct Inner {
    backend: Backend,
    profiler: Profiler,
}

enum Backend {
    Cpu(cpu::Cpu),
    Gpu(Box<gpu::Gpu>),
    Plan(plan::Plan),
}

impl Device {
    /// The CPU, with a thread for every core.
    ///
    /// # Panics
    /// If the system does not start them. [`Device::open`] has an error for that.
    pub fn cpu() -> Device {
        Device::cpu_with_threads(0)
    }

    /// The CPU with `threads` threads; 0 means one for every core. Results do not depend on it.
    ///
    /// # Panics
    /// If the system does not start them. [`Device::open`] has an error for that.
    pub fn cpu_with_threads(threads: usize) -> Device {
        Device::open_cpu(threads).unwrap_or_else(|error| panic!("{error}"))
    }

    fn open_cpu(threads: usize) -> Result<Device> {
        Ok(Device::new(Backend::Cpu(cpu::Cpu::new(threads)?)))
    }

    /// A device that computes nothing and allocates nothing. One step on it tells the memory,
    /// operations and bytes that a step will need ([`Device::memory`], [`Device::cost`]).
    /// Reading a tensor on it gives zeros.
    pub fn plan() -> Device {
        Device::planning(WhatFor::Cpu { threads: rayon::current_num_threads() })
    }

    /// The planning device ([`Device::plan`]) for this device: with the working memory that kernels
    /// take here, which depends on the number of threads, or on the GPU.
    ///
    /// ```
    /// use neutreno_engine::{Device, Tensor};
    /// let device = Device::cpu_with_threads(2);
    /// let plan = device.plan_for();
    /// for device in [&device, &plan] {
    ///     let x = Tensor::zeros([300, 300], device);
    ///     x.matmul_with(&x, false, true);
    /// }
    /// assert_eq!(plan.memory().peak, device.memory().peak);
    /// ```
    pub fn plan_for(&self) -> Device {
        Device::planning(match &self.0.backend {
            Backend::Cpu(cpu) => WhatFor::Cpu { threads: cpu.threads() },
            Backend::Gpu(gpu) => WhatFor::Gpu { software: gpu.is_software() },
            Backend::Plan(plan) => plan.what_for(),
        })
    }

    /// The planning device ([`Device::plan`]) for a GPU, of which there need not be any: a card, or
    /// an adapter that is a program on the CPU. It also keeps all dispatches.
    ///
    /// ```
    /// use neutreno_engine::{Device, Tensor};
    /// let device = Device::plan_for_gpu(false);
    /// let x = Tensor::zeros([10], &device);
    /// device.planned_dispatches();
    /// x.exp();
    /// assert_eq!(device.planned_dispatches()[0].entry_point, "exp_forward");
    /// ```
    pub fn plan_for_gpu(software: bool) -> Device {
        Device::planning(WhatFor::Gpu { software })
    }

    fn planning(what_for: WhatFor) -> Device {
        Device::new(Backend::Plan(plan::Plan::new(what_for)))
    }

    /// What a GPU would have been sent since this was asked last; nothing but on a planning device
    /// for a GPU.
    pub fn planned_dispatches(&self) -> Vec<Dispatch> {
        match &self.0.backend {
            Backend::Plan(plan) => plan.dispatches(),
            _ => Vec::new(),
        }
    }

    pub(crate) fn from_gpu(gpu: gpu::Gpu) -> Device {
        Device::new(Backend::Gpu(Box::new(gpu)))
    }

    fn new(backend: Backend) -> Device {
        Device(Arc::new(Inner { backend, profiler: Profiler::default() }))
    }

    /// What kind of device it is: "cpu", "gpu" or "plan".
    pub fn kind(&self) -> &'static str {
        match &self.0.backend {
            Backend::Cpu(_) => "cpu",
            Backend::Gpu(_) => "gpu",
            Backend::Plan(_) => "plan",
        }
    }

    /// The name of the hardware, and for a GPU its driver interface.
    pub fn name(&self) -> String {
        match &self.0.backend {
            Backend::Cpu(cpu) => cpu.name(),
            Backend::Gpu(gpu) => gpu.name(),
            Backend::Plan(_) => "plan".into(),
        }
    }

    /// The name of a GPU with its driver interface; none where there is none.
    ///
    /// ```
    /// assert_eq!(neutreno_engine::Device::cpu().adapter(), None);
    /// ```
    pub fn adapter(&self) -> Option<String> {
        match &self.0.backend {
            Backend::Gpu(gpu) => Some(gpu.name()),
            Backend::Cpu(_) | Backend::Plan(_) => None,
        }
    }

    /// The memory that tensors take on this device.
    pub fn memory(&self) -> MemoryUse {
        match &self.0.backend {
            Backend::Cpu(cpu) => cpu.memory(),
            Backend::Gpu(gpu) => gpu.memory(),
            Backend::Plan(plan) => plan.memory(),
        }
    }

    /// All the memory that there is on this device, for tensors and whatever else, in bytes; `None`
    /// where the system does not tell. It tells of the CPU on Linux, with the limit on a container.
    ///
    /// ```
    /// use neutreno_engine::Device;
    /// let cpu = Device::cpu();
    /// assert!(cpu.total_memory().is_none_or(|bytes| bytes > cpu.memory().in_use));
    /// ```
    pub fn total_memory(&self) -> Option<u64> {
        match &self.0.backend {
            Backend::Cpu(_) => cpu::machine_memory(),
            Backend::Gpu(_) | Backend::Plan(_) => None,
        }
    }

    /// Starts the peak of [`Device::memory`] anew from what is in use now.
    pub fn reset_peak(&self) {
        match &self.0.backend {
            Backend::Cpu(cpu) => cpu.reset_peak(),
            Backend::Gpu(gpu) => gpu.reset_peak(),
            Backend::Plan(plan) => plan.reset_peak(),
        }
    }

    /// The work of all kernels run so far. Only the plan counts it; elsewhere it is zero.
    pub fn cost(&self) -> Cost {
        match &self.0.backend {
            Backend::Plan(plan) => plan.cost(),
            _ => Cost::default(),
        }
    }

    /// How many kernels (on a GPU: dispatches) were run so far.
    pub fn launches(&self) -> u64 {
        match &self.0.backend {
            Backend::Cpu(cpu) => cpu.launches(),
            Backend::Gpu(gpu) => gpu.dispatches(),
            Backend::Plan(plan) => plan.launches(),
        }
    }

    /// How long recording work for a GPU has stood still so far, because its driver was taking a
    /// batch or had enough of them waiting; zero elsewhere. Reading back is not counted.
    pub fn waited(&self) -> Duration {
        match &self.0.backend {
            Backend::Gpu(gpu) => gpu.waited(),
            _ => Duration::ZERO,
        }
    }

    /// The longest that any dispatch on a GPU so far would take on slow hardware, by an estimate
    /// from what it computes and moves; zero elsewhere. Longer ones are split, see
    /// [`Device::split_dispatches`], so it stays below 200 ms, unless a single workgroup takes more.
    pub fn longest_dispatch(&self) -> Duration {
        match &self.0.backend {
            Backend::Gpu(gpu) => gpu.longest_dispatch(),
            _ => Duration::ZERO,
        }
    }

    /// Sets how long a dispatch on a GPU may take by the estimate for slow hardware (200 ms unless
    /// told) before it is split, and a batch of them before it is sent. Results do not depend on it.
    pub fn split_dispatches(&self, limit: Duration) {
        if let Backend::Gpu(gpu) = &self.0.backend {
            gpu.split_dispatches(limit);
        }
    }

    /// The largest tensor that ops can use here, in elements.
    pub fn largest_tensor(&self) -> usize {
        match &self.0.backend {
            Backend::Gpu(gpu) => gpu.largest_tensor(),
            _ => usize::MAX / 8,
        }
    }

    /// Waits until all work is done.
    ///
    /// # Errors
    /// If the device failed in the meantime.
    pub fn synchronize(&self) -> Result<()> {
        match &self.0.backend {
            Backend::Gpu(gpu) => gpu.synchronize(),
            Backend::Cpu(cpu) => cpu.check(),
            Backend::Plan(_) => Ok(()),
        }
    }

    /// Allows tensors so many bytes in all from now on, with what waits in the pool to be used
    /// again; near the limit that is given back, which costs time. Whatever would take more is
    /// refused, which the program learns of as of any failure: where it waits, by
    /// [`Error::OutOfMemory`]. The plan knows no limit.
    ///
    /// ```
    /// use neutreno_engine::{Device, Error, Tensor};
    /// let device = Device::cpu();
    /// device.set_memory_limit(1 << 20);
    /// let x = Tensor::zeros([1 << 17], &device);
    /// assert!(x.to_vec().is_ok());
    /// let y = Tensor::zeros([1 << 18], &device);
    /// assert!(matches!(y.to_vec(), Err(Error::OutOfMemory { .. })));
    /// ```
    ///
    /// [`Error::OutOfMemory`]: crate::Error::OutOfMemory
    pub fn set_memory_limit(&self, bytes: u64) {
        match &self.0.backend {
            Backend::Cpu(cpu) => cpu.set_memory_limit(bytes),
            Backend::Gpu(gpu) => gpu.set_memory_limit(bytes),
            Backend::Plan(_) => {}
        }
    }

    /// Lets a fault happen on purpose, once, after the device has come past `after` places where it
    /// can happen. For tests of programs that must survive such faults: what follows is what
    /// follows a real one. It takes the place of a fault planned before. On the CPU only memory can
    /// run out; on the plan nothing can happen.
    ///
    /// ```
    /// use neutreno_engine::device::Fault;
    /// use neutreno_engine::{Device, Tensor};
    /// let device = Device::cpu();
    /// device.inject(Fault::NoMemory, 1);
    /// let x = Tensor::zeros([4], &device);
    /// assert!(x.to_vec().is_ok());
    /// assert!((&x + &x).to_vec().is_err());
    /// ```
    pub fn inject(&self, fault: Fault, after: u64) -> Injection {
        self.failure().inject(fault, after)
    }

    pub(crate) fn failure(&self) -> &Failure {
        match &self.0.backend {
            Backend::Cpu(cpu) => cpu.failure(),
            Backend::Gpu(gpu) => gpu.failure(),
            Backend::Plan(plan) => plan.failure(),
        }
    }

    /// Starts to measure how long each kernel takes; what was measured before is forgotten. While
    /// it lasts, every kernel is waited for, so on a GPU the whole is slower, and the time of a
    /// kernel includes the way there and back.
    pub fn start_profile(&self) {
        self.0.profiler.start();
    }

    /// Stops measuring and returns what was measured since [`Device::start_profile`], the longest
    /// first: an entry for each kind of kernel at each size.
    ///
    /// ```
    /// use neutreno_engine::{Device, Tensor};
    /// let device = Device::cpu();
    /// let x = Tensor::zeros([64, 64], &device);
    /// device.start_profile();
    /// x.matmul(&x).matmul(&x);
    /// let times = device.stop_profile();
    /// assert_eq!((times[0].name, times[0].launches), ("matmul", 2));
    /// assert_eq!(times[0].cost.flops, 2 * 2 * 64 * 64 * 64);
    /// ```
    pub fn stop_profile(&self) -> Vec<KernelTime> {
        self.0.profiler.stop()
    }

    /// Runs `work` on this device's threads. A training loop inside it saves the hand-over to
    /// another thread in every op; results are the same outside.
    pub fn install<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        match &self.0.backend {
            Backend::Cpu(cpu) => cpu.install(work),
            _ => work(),
        }
    }

    /// Memory for `elements` numbers, with arbitrary contents.
    pub(crate) fn allocate(&self, elements: usize) -> Storage {
        let block = match &self.0.backend {
            Backend::Cpu(cpu) => Block::Cpu(cpu.allocate(elements)),
            Backend::Gpu(gpu) => Block::Gpu(gpu.allocate(elements)),
            Backend::Plan(plan) => Block::Plan(plan.allocate(elements)),
        };
        let memory = Memory { block, device: self.clone(), version: AtomicU64::new(0) };
        Storage { memory: Arc::new(memory), offset: 0 }
    }

    pub(crate) fn upload(&self, data: &[f32], to: &Storage) {
        to.memory.version.fetch_add(1, Ordering::Relaxed);
        match (&self.0.backend, &to.memory.block) {
            (Backend::Cpu(cpu), Block::Cpu(block)) => cpu.write(block, to.offset, data),
            (Backend::Gpu(gpu), Block::Gpu(block)) => {
                gpu.upload(block, to.offset, bytemuck::cast_slice(data));
            }
            _ => {}
        }
    }

    pub(crate) fn read(&self, from: &Storage, elements: usize) -> Reading {
        Reading(match (&self.0.backend, &from.memory.block) {
            (Backend::Cpu(cpu), Block::Cpu(block)) => {
                Pending::Ready(cpu.read(block, from.offset, elements))
            }
            (Backend::Gpu(gpu), Block::Gpu(block)) => {
                Pending::Gpu(gpu.read(block, from.offset, elements))
            }
            _ => Pending::Ready(Ok(vec![0.0; elements])),
        })
    }

    /// Runs a kernel. Destinations with `add` set, and those that are memory of an earlier
    /// result, are changed in place.
    pub(crate) fn run(&self, kernel: &dyn Kernel, inputs: &[Operand], outputs: &[Destination]) {
        for output in outputs {
            output.operand.storage.memory.version.fetch_add(1, Ordering::Relaxed);
        }
        let work = || match &self.0.backend {
            Backend::Cpu(cpu) => self.run_on_cpu(cpu, kernel, inputs, outputs),
            Backend::Gpu(gpu) => {
                let inputs: Vec<_> = inputs.iter().map(|input| input.binding(false)).collect();
                let outputs: Vec<_> =
                    outputs.iter().map(|output| output.operand.binding(output.add)).collect();
                gpu.record(|recorder| kernel.gpu(&inputs, &outputs, recorder));
            }
            Backend::Plan(plan) => {
                let shape = |output: &Destination| (output.operand.shape, output.add);
                let outputs: Vec<_> = outputs.iter().map(shape).collect();
                plan.run(kernel, &shapes(inputs), &outputs);
            }
        };
        self.0.profiler.time(kernel, inputs.iter().map(|input| input.shape), work, || {
            // An error surfaces where the program next waits for the device.
            let _ = self.synchronize();
        });
    }

    fn run_on_cpu(
        &self,
        cpu: &cpu::Cpu,
        kernel: &dyn Kernel,
        inputs: &[Operand],
        outputs: &[Destination],
    ) {
        let elements = kernel.scratch(&shapes(inputs), cpu.threads());
        let scratch = (elements > 0).then(|| cpu.allocate(elements));
        let inputs: Vec<_> = inputs.iter().map(|input| input.argument(false)).collect();
        let scratch = scratch.as_ref().map(|block| cpu::Argument {
            block,
            start: 0,
            shape: Shape::from([elements]),
            add: false,
        });
        let outputs: Vec<_> = outputs
            .iter()
            .map(|output| output.operand.argument(output.add))
            .chain(scratch)
            .collect();
        cpu.run(&inputs, &outputs, |inputs, outputs| kernel.cpu(inputs, outputs));
    }
}

fn shapes(operands: &[Operand]) -> Vec<Shape> {
    operands.iter().map(|operand| operand.shape).collect()
}

impl PartialEq for Device {
    fn eq(&self, other: &Device) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{} ({})", self.kind(), self.name())
    }
}

impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// Memory on a device; the last handle to it gives it back to the device's pool.
pub(crate) struct Memory {
    block: Block,
    device: Device,
    /// Counts the writes, so that a derivative can tell that a value it saved was changed.
    version: AtomicU64,
}

enum Block {
    Cpu(cpu::Block),
    Gpu(gpu::Block),
    Plan(#[expect(dead_code, reason = "held for its Drop, which counts the memory")] plan::Block),
}

/// A place in memory on a device.
#[derive(Clone)]
pub(crate) struct Storage {
    memory: Arc<Memory>,
    offset: usize,
}

impl Storage {
    pub fn device(&self) -> &Device {
        &self.memory.device
    }

    /// The place `elements` further on.
    pub fn at(&self, elements: usize) -> Storage {
        Storage { memory: self.memory.clone(), offset: self.offset + elements }
    }

    pub fn version(&self) -> u64 {
        self.memory.version.load(Ordering::Relaxed)
    }

    /// Whether no other tensor uses this memory.
    pub fn is_exclusive(&self) -> bool {
        Arc::strong_count(&self.memory) == 1
    }

    pub fn is_same(&self, other: &Storage) -> bool {
        Arc::ptr_eq(&self.memory, &other.memory) && self.offset == other.offset
    }

    fn cpu(&self) -> &cpu::Block {
        match &self.memory.block {
            Block::Cpu(block) => block,
            _ => unreachable!("a tensor of another device"),
        }
    }

    fn gpu(&self) -> &gpu::Block {
        match &self.memory.block {
            Block::Gpu(block) => block,
            _ => unreachable!("a tensor of another device"),
        }
    }
}

/// A kernel's argument.
#[derive(Clone, Copy)]
pub(crate) struct Operand<'a> {
    pub storage: &'a Storage,
    pub shape: Shape,
}

impl<'a> Operand<'a> {
    fn argument(&self, add: bool) -> cpu::Argument<'a> {
        let Operand { storage, shape } = *self;
        cpu::Argument { block: storage.cpu(), start: storage.offset, shape, add }
    }

    fn binding(&self, add: bool) -> gpu::Binding {
        gpu::Binding::new(self.storage.gpu(), self.storage.offset, self.shape, add)
    }
}

/// A kernel's result: where it goes, and whether it is added to what is there.
#[derive(Clone, Copy)]
pub(crate) struct Destination<'a> {
    pub operand: Operand<'a>,
    pub add: bool,
}

/// Numbers on their way from a device; see [`Tensor::read`](crate::Tensor::read).
pub struct Reading(Pending);

enum Pending {
    Ready(Result<Vec<f32>>),
    Gpu(gpu::Download),
}

impl Reading {
    /// Waits for the numbers.
    ///
    /// # Errors
    /// If the device failed.
    pub fn wait(self) -> Result<Vec<f32>> {
        match self.0 {
            Pending::Ready(data) => data,
            Pending::Gpu(download) => download.wait(),
        }
    }
}
