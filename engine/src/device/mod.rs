//! The places where tensors live and ops run: the CPU, a GPU through wgpu, and the plan, which
//! runs only the shapes and costs.

mod account;
pub mod choice;
mod copy;
mod cost;
pub(crate) mod cpu;
mod failure;
mod fill;
pub mod gpu;
mod kernel;
mod missing;
mod plan;
mod profile;
mod simulated;
mod storage;
mod view;

pub use crate::memory_use::{MemoryUse, bytes};
pub(crate) use account::ALIGNMENT;
pub use choice::{gpu_of, list};
pub use copy::Copy;
pub use cost::Cost;
pub use cpu::room::room_for_threads;
pub use failure::{Fault, Injection};
pub use fill::Fill;
pub use gpu::DeviceDescription;
pub use kernel::Kernel;
pub(crate) use kernel::Origin;
pub use plan::Dispatch;
pub use profile::KernelTime;
pub use simulated::{Bound, Execute, Execution};
pub use storage::Reading;
pub(crate) use storage::{Destination, Operand, Storage};
pub use view::{View, ViewMut};

use crate::Result;
use crate::computation::Computation;
use failure::Failure;
use gpu::{Class, GpuLimits};
use plan::PlannedDevice;
use profile::Profiler;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// A handle to a device. Cloning it is cheap and means the same device.
///
/// What goes wrong on a device is told where the program waits for it: by an error of
/// [`Device::synchronize`], or of whatever reads numbers. A device that was lost stays so. Where memory
/// was refused that is told once ([`Error::OutOfMemory`]); tensors that could not be made stay without
/// numbers, and all else goes on:
///
/// ```
/// use neutreno_engine::{Device, Tensor};
/// let device = Device::cpu();
/// device.set_memory_limit(1 << 20);
/// let x = Tensor::new(&[1.0, 2.0], [2], &device);
/// let too_large = Tensor::zeros([1 << 20], &device);
/// let sum = too_large.sum_all();
/// assert!(device.synchronize().is_err());
/// assert!(device.synchronize().is_ok());
/// assert!(sum.to_vec().is_err());
/// assert_eq!((&x + &x).to_vec()?, [2.0, 4.0]);
/// # Ok::<(), neutreno_engine::Error>(())
/// ```
///
/// An optimiser that is given gradients without numbers leaves parameters without them, until others are
/// loaded. So a program that wants to go on, with a smaller batch say, calls [`Device::synchronize`]
/// before its step.
///
/// [`Error::OutOfMemory`]: crate::Error::OutOfMemory
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
    Simulated(Box<simulated::Simulated>),
    Plan(plan::Plan),
}

impl Device {
    /// The CPU, with a thread for every core.
    ///
    /// # Panics
    /// If the system does not start them. [`Device::open`] has an error for that.
    #[track_caller]
    pub fn cpu() -> Device {
        Device::cpu_with_threads(0)
    }

    /// The CPU with `threads` threads; 0 means one for every core. Results do not depend on it.
    ///
    /// # Panics
    /// If the system does not start them. [`Device::open`] has an error for that.
    #[track_caller]
    pub fn cpu_with_threads(threads: usize) -> Device {
        match Device::open_cpu(threads) {
            Ok(device) => device,
            Err(error) => panic!("{error}"),
        }
    }

    fn open_cpu(threads: usize) -> Result<Device> {
        Ok(Device::new(Backend::Cpu(cpu::Cpu::new(threads)?)))
    }

    /// A device that computes nothing and allocates nothing. One step on it tells the memory,
    /// operations and bytes that a step will need ([`Device::memory`], [`Device::cost`]).
    /// Reading a tensor on it gives zeros.
    pub fn plan() -> Device {
        Device::planning(PlannedDevice::Cpu { threads: rayon::current_num_threads() })
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
            Backend::Cpu(cpu) => PlannedDevice::Cpu { threads: cpu.threads() },
            Backend::Gpu(gpu) => PlannedDevice::Gpu { class: gpu.class(), limits: gpu.limits() },
            Backend::Simulated(gpu) => {
                PlannedDevice::Gpu { class: gpu.class(), limits: GpuLimits::NONE }
            }
            Backend::Plan(plan) => plan.planned(),
        })
    }

    /// The planning device ([`Device::plan`]) for a GPU of a class, of which there need not be any. It
    /// also keeps all dispatches until they are asked for.
    ///
    /// ```
    /// use neutreno_engine::gpu::Class;
    /// use neutreno_engine::{Device, Tensor};
    /// let device = Device::plan_for_gpu(Class::HARDWARE);
    /// let x = Tensor::zeros([10], &device);
    /// device.planned_dispatches();
    /// x.exp();
    /// assert_eq!(device.planned_dispatches()[0].entry_point, "exp_forward");
    /// ```
    pub fn plan_for_gpu(class: Class) -> Device {
        Device::plan_for_limited_gpu(class, GpuLimits::NONE)
    }

    /// The same for a GPU whose driver has these limits. Where a tensor is too large for them, or for the
    /// 32 bits that shaders count in, the program learns of it as on such a GPU: where it waits, by
    /// [`Error::OutOfMemory`].
    ///
    /// ```
    /// use neutreno_engine::gpu::{Class, GpuLimits};
    /// use neutreno_engine::{Device, Error, Tensor};
    /// let limits = GpuLimits { largest_binding: 128 << 20, largest_buffer: 256 << 20 };
    /// let device = Device::plan_for_limited_gpu(Class::HARDWARE, limits);
    /// assert_eq!(device.largest_tensor(), 32 << 20);
    /// assert!(Tensor::zeros([32 << 20], &device).to_vec().is_ok());
    /// let error = Tensor::zeros([32 << 20, 2], &device).to_vec().unwrap_err();
    /// assert!(matches!(error, Error::OutOfMemory { lasting: true, .. }));
    /// ```
    ///
    /// [`Error::OutOfMemory`]: crate::Error::OutOfMemory
    pub fn plan_for_limited_gpu(class: Class, limits: GpuLimits) -> Device {
        Device::planning(PlannedDevice::Gpu { class, limits })
    }

    /// A GPU that is simulated, for checks of shaders: its memory is the host's, and `executor` does what
    /// each dispatch says. Kernels choose as on a device of the class, which can be one that no device has.
    /// The member `shaders/simulator` of the workspace has an executor that looks for faults, such as data
    /// races.
    ///
    /// ```
    /// use neutreno_engine::device::{Execute, Execution};
    /// use neutreno_engine::gpu::Class;
    /// use neutreno_engine::{Device, Tensor};
    /// struct Zeros;
    /// impl Execute for Zeros {
    ///     fn execute(&self, execution: Execution) {
    ///         let Execution { mut memory, bindings, .. } = execution;
    ///         for bound in bindings.iter().filter(|bound| bound.is_output) {
    ///             memory[bound.buffer][bound.offset..][..bound.size].fill(0);
    ///         }
    ///     }
    /// }
    /// let device = Device::simulated(Zeros, Class::HARDWARE);
    /// assert_eq!(Tensor::new(&[1.0, 2.0], [2], &device).exp().to_vec()?, [0.0, 0.0]);
    /// # Ok::<(), neutreno_engine::Error>(())
    /// ```
    pub fn simulated(executor: impl Execute, class: Class) -> Device {
        let gpu = simulated::Simulated::new(Box::new(executor), class);
        Device::new(Backend::Simulated(Box::new(gpu)))
    }

    fn planning(planned: PlannedDevice) -> Device {
        Device::new(Backend::Plan(plan::Plan::new(planned)))
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

    /// What kind of device it is: "cpu", "gpu", "simulated" or "plan".
    pub fn kind(&self) -> &'static str {
        match &self.0.backend {
            Backend::Cpu(_) => "cpu",
            Backend::Gpu(_) => "gpu",
            Backend::Simulated(_) => "simulated",
            Backend::Plan(_) => "plan",
        }
    }

    /// Whether it is the CPU, or a plan of what the CPU would do: then what a program computes by itself has
    /// the same bits, and needs none of the device's memory. A GPU may take very small numbers for zero.
    ///
    /// ```
    /// use neutreno_engine::Device;
    /// assert!(Device::cpu().computes_as_host() && Device::cpu().plan_for().computes_as_host());
    /// ```
    pub fn computes_as_host(&self) -> bool {
        match &self.0.backend {
            Backend::Cpu(_) => true,
            Backend::Plan(plan) => matches!(plan.planned(), PlannedDevice::Cpu { .. }),
            Backend::Gpu(_) | Backend::Simulated(_) => false,
        }
    }

    /// The name of the hardware, and for a GPU its driver interface.
    pub fn name(&self) -> String {
        match &self.0.backend {
            Backend::Cpu(cpu) => cpu.name(),
            Backend::Gpu(gpu) => gpu.name(),
            Backend::Simulated(gpu) => gpu.name(),
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
            Backend::Cpu(_) | Backend::Simulated(_) | Backend::Plan(_) => None,
        }
    }

    /// The memory that tensors and the working memory of kernels take on this device.
    pub fn memory(&self) -> MemoryUse {
        match &self.0.backend {
            Backend::Cpu(cpu) => cpu.memory(),
            Backend::Gpu(gpu) => gpu.memory(),
            Backend::Simulated(gpu) => gpu.memory(),
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
            Backend::Gpu(_) | Backend::Simulated(_) | Backend::Plan(_) => None,
        }
    }

    /// Starts the peak of [`Device::memory`] anew from what is in use now.
    pub fn reset_peak(&self) {
        match &self.0.backend {
            Backend::Cpu(cpu) => cpu.reset_peak(),
            Backend::Gpu(gpu) => gpu.reset_peak(),
            Backend::Simulated(gpu) => gpu.reset_peak(),
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
            Backend::Simulated(gpu) => gpu.dispatches(),
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
        match &self.0.backend {
            Backend::Gpu(gpu) => gpu.split_dispatches(limit),
            Backend::Simulated(gpu) => gpu.split_dispatches(limit),
            Backend::Cpu(_) | Backend::Plan(_) => {}
        }
    }

    /// The largest tensor that ops can use here, in elements.
    pub fn largest_tensor(&self) -> usize {
        match &self.0.backend {
            Backend::Gpu(gpu) => gpu.limits().most_elements(),
            Backend::Simulated(_) => GpuLimits::NONE.most_elements(),
            Backend::Plan(plan) => plan.limits().map_or(usize::MAX / 8, GpuLimits::most_elements),
            Backend::Cpu(_) => usize::MAX / 8,
        }
    }

    /// Waits until all work is done.
    ///
    /// # Errors
    /// If the device failed in the meantime, or memory was refused and the program has not been told:
    /// by an error of this or of a reading.
    pub fn synchronize(&self) -> Result<()> {
        self.wait();
        self.check()
    }

    /// Waits until all work is done. Returns how long it took by a GPU's own clock, while kernels are timed by
    /// it.
    fn wait_and_time(&self) -> Option<Duration> {
        match &self.0.backend {
            Backend::Gpu(gpu) => gpu.wait_and_time(),
            Backend::Cpu(_) | Backend::Simulated(_) | Backend::Plan(_) => None,
        }
    }

    /// Waits until all work is done, and leaves what goes wrong to be told later.
    fn wait(&self) {
        if let Backend::Gpu(gpu) = &self.0.backend {
            gpu.wait();
        }
    }

    /// Tells what went wrong.
    fn check(&self) -> Result<()> {
        self.failure().check(&self.name(), || self.memory())
    }

    /// Gives the memory that waits to be used again back to the system; on a GPU all work is waited for
    /// first. A device does so by itself where it would else be refused memory, so this is for the sake
    /// of others: another device, or another program on the same GPU. What is needed again later is
    /// taken anew, which costs time.
    ///
    /// ```
    /// use neutreno_engine::{Device, Tensor};
    /// let device = Device::cpu();
    /// let x = Tensor::zeros([1 << 10], &device);
    /// drop(Tensor::zeros([1 << 20], &device));
    /// assert!(device.memory().reserved > device.memory().in_use);
    /// device.trim();
    /// assert_eq!(device.memory().reserved, device.memory().in_use);
    /// ```
    pub fn trim(&self) {
        match &self.0.backend {
            Backend::Cpu(cpu) => cpu.trim(),
            Backend::Gpu(gpu) => gpu.trim(),
            Backend::Simulated(gpu) => gpu.trim(),
            Backend::Plan(plan) => plan.trim(),
        }
    }

    /// Allows tensors and working memory so many bytes in all from now on, with what waits in the pool to be used
    /// again; near the limit that is given back, which costs time. Whatever would take more is
    /// refused, which the program learns of where it waits, by [`Error::OutOfMemory`]. The plan knows no
    /// limit.
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
            Backend::Simulated(gpu) => gpu.set_memory_limit(bytes),
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
            Backend::Simulated(gpu) => gpu.failure(),
            Backend::Plan(plan) => plan.failure(),
        }
    }

    /// Starts to measure how long each kernel takes; what was measured before is forgotten. While
    /// it lasts, every kernel is waited for, so on a GPU the whole is slower. A GPU's own clock tells how
    /// long a kernel took; where it has none, the time includes the way there and back.
    pub fn start_profile(&self) {
        if let Backend::Gpu(gpu) = &self.0.backend {
            gpu.time_kernels(true);
        }
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
        if let Backend::Gpu(gpu) = &self.0.backend {
            gpu.time_kernels(false);
        }
        self.0.profiler.stop()
    }

    /// Runs `work` on this device's threads. On the CPU a large kernel runs there in any case, and has to
    /// be handed over to them and back; inside, it does not. So a loop over kernels of middling size is
    /// somewhat faster inside, and one over small kernels, which run on the thread that asks, is as fast
    /// outside. Results are the same. What [`no_grad`](crate::no_grad) and
    /// [`find_not_finite`](crate::finite::find_not_finite) say goes with `work`.
    ///
    /// ```
    /// use neutreno_engine::{Device, Tensor};
    /// let device = Device::cpu();
    /// let sum = device.install(|| Tensor::full(2.0, [100, 100], &device).sum_all().to_scalar())?;
    /// assert_eq!(sum, 20_000.0);
    /// # Ok::<(), neutreno_engine::Error>(())
    /// ```
    pub fn install<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        match &self.0.backend {
            Backend::Cpu(cpu) => {
                let computation = Computation::current();
                cpu.install(|| computation.run(work))
            }
            _ => work(),
        }
    }
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
