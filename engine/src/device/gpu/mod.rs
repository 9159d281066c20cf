//! GPUs through wgpu (Vulkan, Metal, DX12): the only place that names it.
//!
//! Kernels record dispatches ([`Recorder`]); these go to the device in batches, each one compute
//! pass, and nothing waits for the device until something is read back.

mod adapter;
mod binding;
mod class;
mod download;
mod driver;
pub(crate) mod few_rows;
mod limits;
mod memory;
mod pace;
mod pipelines;
pub(crate) mod products;
mod queue;
mod recorder;
mod shader;
mod timestamps;
mod uniforms;

pub use adapter::DeviceDescription;
pub(crate) use adapter::{Adapter, adapters, describe};
pub use binding::Binding;
pub use class::{Class, Speed};
pub(crate) use download::Download;
pub use limits::GpuLimits;
pub(crate) use memory::Block;
pub(super) use pace::Pieces;
pub use recorder::Recorder;
pub(super) use recorder::{Recorded, Target};
pub use shader::Shader;
pub use uniforms::{Uniform, Word};

use super::failure::{Failure, Fault, Refusal};
use super::kernel::Origin;
use crate::ids::Copies;
use crate::memory_use::MemoryUse;
use crate::{Ids, Shape};
use driver::Driver;
use memory::{Buffer, Pool, Purpose};
use queue::Queue;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use timestamps::Timestamps;

/// An open GPU.
pub(crate) struct Gpu {
    /// Those of ids.
    copies: Copies,
    description: DeviceDescription,
    class: Class,
    /// Whether that is another class than the adapter's own.
    is_forced: bool,
    driver: Driver,
    pool: Arc<Pool>,
    queue: Mutex<Queue>,
}

impl Gpu {
    /// Opens an adapter, as what it is or, if given, as one of another class.
    ///
    /// # Errors
    /// If its driver refuses.
    pub fn open(adapter: &wgpu::Adapter, class: Option<Class>) -> crate::Result<Gpu> {
        let description = describe(adapter);
        let offered = adapter.limits().max_compute_invocations_per_workgroup;
        let own = Class::of(description.is_software(), offered);
        let class = class.map_or(own, |class| class.within(offered));
        let driver = adapter::open(adapter, class)?;
        Ok(Gpu {
            copies: Copies::new(),
            description,
            class,
            is_forced: class != own,
            pool: Arc::new(Pool::new(driver.clone())),
            queue: Mutex::new(Queue::new(&driver.device, class)),
            driver,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        // A kernel that panics while recording leaves only whole commands behind.
        self.queue.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    pub fn class(&self) -> Class {
        self.class
    }

    pub fn name(&self) -> String {
        let DeviceDescription { name, interface, .. } = &self.description;
        let note = if self.is_forced { ", as hardware" } else { "" };
        format!("{name}, {interface}{note}")
    }

    pub fn memory(&self) -> MemoryUse {
        self.pool.memory()
    }

    pub fn reset_peak(&self) {
        self.pool.reset_peak();
    }

    pub fn dispatches(&self) -> u64 {
        self.lock().dispatches
    }

    pub fn waited(&self) -> Duration {
        self.lock().waited
    }

    pub fn longest_dispatch(&self) -> Duration {
        self.lock().longest
    }

    pub fn split_dispatches(&self, limit: Duration) {
        self.lock().pieces.longest = limit;
    }

    /// Whether kernels are timed by the device's own clock, from now on, where it has one.
    pub fn time_kernels(&self, on: bool) {
        self.wait();
        self.lock().timestamps = if on { Timestamps::new(&self.driver) } else { None };
    }

    /// Waits until all work is done. Returns how long it took by the device's own clock, if that is known.
    pub fn wait_and_time(&self) -> Option<Duration> {
        self.wait();
        self.lock().timestamps.as_mut().and_then(Timestamps::take)
    }

    pub fn limits(&self) -> GpuLimits {
        self.pool.limits()
    }

    pub fn allocate(&self, elements: usize) -> Result<Block, Refusal> {
        self.pool.allocate(Purpose::Tensor, elements, || self.trim())
    }

    /// Gives what waits to be used again back to the driver: buffers, and the bind groups that hold
    /// them.
    pub fn trim(&self) {
        self.trim_with(&mut self.lock());
    }

    /// A buffer is gone once no recorded command and no batch on the device uses it any more, so these
    /// are waited for.
    fn trim_with(&self, queue: &mut Queue) {
        self.pool.give_back();
        let submission = queue.submit(&self.driver, &self.pool, |_| {});
        self.driver.wait(Some(submission));
    }

    pub fn set_memory_limit(&self, bytes: u64) {
        self.pool.set_limit(bytes);
    }

    pub fn failure(&self) -> &Failure {
        &self.driver.failure
    }

    pub fn upload(&self, block: &Block, offset: usize, data: &[u8]) {
        self.write(&mut self.lock(), &block.buffer, offset, data);
    }

    /// Writes to a buffer in the order of the recorded commands: such a write takes effect before
    /// the commands of the next submission, so those recorded earlier are sent first. What is written
    /// waits in memory of the driver's until then, and where that has no room the device is lost, so much
    /// of it goes in pieces.
    fn write(&self, queue: &mut Queue, buffer: &Buffer, offset: usize, data: &[u8]) {
        const PIECE: usize = 64 << 20;
        if !queue.is_empty() {
            queue.submit(&self.driver, &self.pool, |_| {});
        }
        for (index, piece) in data.chunks(PIECE).enumerate() {
            if index > 0 {
                queue.submit(&self.driver, &self.pool, |_| {});
            }
            let start = 4 * offset as u64 + (index * PIECE) as u64;
            self.driver.queue.write_buffer(&buffer.raw, start, piece);
        }
    }

    /// Lets `work`, a kernel, record its dispatches; none that comes after a memory that was refused.
    /// Returns whether it can.
    pub fn record(
        &self,
        origin: Origin,
        work: impl FnOnce(&mut Recorder),
    ) -> Result<bool, Refusal> {
        let (queue, scratch, refused) = (self.lock(), Vec::new(), None);
        let mut target = Sending { gpu: self, origin, queue, scratch, refused };
        let mut recorder = Recorder::new(&mut target);
        work(&mut recorder);
        let has_shader = recorder.has_shader();
        target.refused.map_or(Ok(has_shader), Err)
    }

    /// Starts reading `elements` numbers; the commands so far are sent to the device.
    pub fn read(&self, block: &Block, offset: usize, elements: usize) -> Result<Download, Refusal> {
        self.driver.lose_if_due(Fault::LostAtReading);
        let mut queue = self.lock();
        let trim = || self.trim_with(&mut queue);
        let to = self.pool.allocate(Purpose::Reading, elements, trim)?;
        let (start, bytes) = (4 * offset as u64, 4 * elements.max(1) as u64);
        let submission = queue.submit(&self.driver, &self.pool, |encoder| {
            encoder.copy_buffer_to_buffer(&block.buffer.raw, start, &to.buffer.raw, 0, bytes);
        });
        Ok(Download::new(to, submission, elements))
    }

    /// Waits for the numbers; there are none where the device has failed.
    pub fn wait_for(&self, download: Download, memory: Vec<f32>) -> Vec<f32> {
        download.wait(&self.driver, memory)
    }

    /// Waits until all work is done.
    pub fn wait(&self) {
        let submission = self.lock().submit(&self.driver, &self.pool, |_| {});
        self.driver.wait(Some(submission));
    }
}

impl Drop for Gpu {
    fn drop(&mut self) {
        if self.failure().is_hang() {
            // Its last handle would wait for the queue to come to an end.
            std::mem::forget(self.driver.queue.clone());
        }
    }
}

/// Dispatches on their way to the device.
struct Sending<'a> {
    gpu: &'a Gpu,
    origin: Origin,
    queue: MutexGuard<'a, Queue>,
    /// Kept until the kernel has recorded all its dispatches.
    scratch: Vec<Block>,
    /// Why the kernel can not have some of its memory: then it is of no use to go on.
    refused: Option<Refusal>,
}

impl Sending<'_> {
    fn allocate(&mut self, elements: usize) -> Result<Block, Refusal> {
        let trim = || self.gpu.trim_with(&mut self.queue);
        self.gpu.pool.allocate(Purpose::Tensor, elements, trim)
    }

    /// An argument without memory, which no dispatch will use.
    fn without(&mut self, why: Refusal, shape: Shape) -> Binding {
        self.refused.get_or_insert(why);
        Binding::planned(shape, false)
    }
}

impl Target for Sending<'_> {
    fn class(&self) -> Class {
        self.gpu.class()
    }

    fn dispatch(&mut self, dispatch: &Recorded) {
        if self.refused.is_none() {
            self.queue.dispatch(&self.gpu.driver, &self.gpu.pool, self.origin, dispatch);
        }
    }

    fn scratch(&mut self, shape: Shape) -> Binding {
        match self.allocate(shape.elements()) {
            Ok(block) => {
                let binding = Binding::new(&block, 0, shape, false);
                self.scratch.push(block);
                binding
            }
            Err(why) => self.without(why, shape),
        }
    }

    fn ids(&mut self, ids: &Ids) -> Binding {
        let gpu = self.gpu;
        let block = ids.on_device(&gpu.copies, || {
            let block = self.allocate(ids.shape().elements())?;
            let data = bytemuck::cast_slice(ids.as_slice());
            gpu.write(&mut self.queue, &block.buffer, 0, data);
            Ok(block)
        });
        match block {
            Ok(block) => Binding::new(&block, 0, ids.shape(), false),
            Err(why) => self.without(why, ids.shape()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Device, Tensor};
    use std::sync::Weak;

    /// The limit is asked of the driver, which then takes no larger workgroup.
    #[test]
    fn a_device_of_small_workgroups_multiplies_large_matrices() {
        for adapter in adapters() {
            let gpu = Gpu::open(&adapter, Some(Class::HARDWARE.within(128))).unwrap();
            let device = Device::from_gpu(gpu);
            let numbers: Vec<f32> = (0..256 * 2048).map(|i| (i % 7) as f32 - 3.0).collect();
            let product = |device: &Device| {
                let [a, b] =
                    [[2048, 256], [256, 2048]].map(|sizes| Tensor::new(&numbers, sizes, device));
                a.matmul(&b).to_vec()
            };
            assert!(product(&device).unwrap() == product(&Device::cpu()).unwrap());
        }
    }

    /// The device's own clock tells times that can be, for each kernel.
    #[test]
    fn a_profile_tells_the_time_of_each_kernel() {
        for adapter in adapters() {
            let device = Device::from_gpu(Gpu::open(&adapter, None).unwrap());
            let x = Tensor::full(0.5, [128, 128], &device);
            x.matmul(&x).to_vec().unwrap();
            let started = std::time::Instant::now();
            device.start_profile();
            for _ in 0..3 {
                x.matmul(&x).exp();
            }
            let times = device.stop_profile();
            assert_eq!(times.iter().map(|time| time.launches).sum::<u64>(), 6);
            let total: Duration = times.iter().map(|time| time.time).sum();
            assert!(times.iter().all(|time| !time.time.is_zero()) && total < started.elapsed());
        }
    }

    /// A table that outlives every device (that of `rope`), and ids that a program keeps, have copies on
    /// the GPU; they do not keep its memory.
    #[test]
    fn a_gpu_that_is_dropped_takes_its_pool_along() {
        let found = adapters();
        let expected = std::env::var_os("NEUTRENO_EXPECT_GPU").is_some();
        assert!(!found.is_empty() || !expected, "NEUTRENO_EXPECT_GPU is set, and there is none");
        for adapter in found {
            let gpu = Gpu::open(&adapter, None).unwrap();
            let pool = Arc::downgrade(&gpu.pool);
            let device = Device::from_gpu(gpu);
            let ids = Ids::new(vec![1, 0], [2]);
            let x = Tensor::full(1.0, [1, 2, 1, 4], &device).rope(0, 10_000.0);
            let loss = x.reshape([2, 4]).cross_entropy(&ids, 0.0);
            assert!(loss.to_scalar().unwrap() > 0.0);
            drop((x, loss, device));
            assert_eq!(Weak::strong_count(&pool), 0, "{:?}", describe(&adapter));
        }
    }
}
