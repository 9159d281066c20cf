//! GPUs through wgpu (Vulkan, Metal, DX12): the only place that names it.
//!
//! Kernels record dispatches ([`Recorder`]); these go to the device in batches, each one compute
//! pass, and nothing waits for the device until something is read back.

mod adapter;
mod binding;
mod download;
mod driver;
mod memory;
mod pace;
mod pipelines;
pub(crate) mod products;
mod queue;
mod recorder;
mod shader;
mod uniforms;

pub use adapter::DeviceDescription;
pub(crate) use adapter::{adapters, describe};
pub use binding::Binding;
pub(crate) use download::Download;
pub(crate) use memory::Block;
pub use recorder::Recorder;
pub(super) use recorder::{Recorded, Target};
pub use shader::Shader;
pub use uniforms::{Uniform, Word};

use super::failure::{Failure, Fault};
use super::kernel::Origin;
use crate::memory_use::MemoryUse;
use crate::{Ids, Result, Shape};
use download::Staging;
use driver::Driver;
use memory::{Buffer, Pool};
use pace::Speed;
use queue::Queue;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, mpsc};
use std::time::Duration;

/// An open GPU.
pub(crate) struct Gpu {
    /// A number of its own, by which ids know that they have a copy here.
    id: u64,
    description: DeviceDescription,
    driver: Driver,
    pool: Arc<Pool>,
    queue: Mutex<Queue>,
    staging: Staging,
}

impl Gpu {
    /// Opens an adapter.
    ///
    /// # Errors
    /// If its driver refuses.
    pub fn open(adapter: &wgpu::Adapter) -> Result<Gpu> {
        static OPENED: AtomicU64 = AtomicU64::new(0);
        let description = describe(adapter);
        let driver = adapter::open(adapter)?;
        // On CPU drivers a barrier costs in proportion to the workgroup's size.
        let (lanes, speed) =
            if description.is_software() { (8, Speed::SOFTWARE) } else { (64, Speed::HARDWARE) };
        Ok(Gpu {
            id: OPENED.fetch_add(1, Ordering::Relaxed),
            description,
            pool: Arc::new(Pool::new(driver.clone())),
            queue: Mutex::new(Queue::new(&driver.device, lanes, speed)),
            staging: Staging::default(),
            driver,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        // A kernel that panics while recording leaves only whole commands behind.
        self.queue.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    pub fn is_software(&self) -> bool {
        self.description.is_software()
    }

    pub fn name(&self) -> String {
        format!("{}, {}", self.description.name, self.description.interface)
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
        self.lock().limit = limit;
    }

    pub fn largest_tensor(&self) -> usize {
        self.pool.most_elements()
    }

    pub fn allocate(&self, elements: usize) -> Block {
        self.pool.allocate(elements)
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
    /// the commands of the next submission, so those recorded earlier are sent first.
    fn write(&self, queue: &mut Queue, buffer: &Buffer, offset: usize, data: &[u8]) {
        if !queue.is_empty() {
            queue.submit(&self.driver, &self.pool, |_| {});
        }
        self.driver.queue.write_buffer(&buffer.raw, 4 * offset as u64, data);
    }

    /// Lets `work`, a kernel, record its dispatches. Returns whether it can.
    pub fn record(&self, origin: Origin, work: impl FnOnce(&mut Recorder)) -> bool {
        let mut target = Sending { gpu: self, origin, queue: self.lock(), scratch: Vec::new() };
        let mut recorder = Recorder::new(&mut target);
        work(&mut recorder);
        recorder.has_shader()
    }

    /// Starts reading `elements` numbers; the commands so far are sent to the device.
    pub fn read(&self, block: &Block, offset: usize, elements: usize) -> Download {
        self.driver.lose_if_due(Fault::LostAtReading);
        let bytes = 4 * elements.max(1) as u64;
        let mut queue = self.lock();
        let buffer = self.staging.take(bytes, &self.driver);
        let start = 4 * offset as u64;
        let submission = queue.submit(&self.driver, &self.pool, |encoder| {
            encoder.copy_buffer_to_buffer(&block.buffer.raw, start, &buffer, 0, bytes);
        });
        let (sender, mapped) = mpsc::channel();
        buffer.map_async(wgpu::MapMode::Read, .., move |result| {
            // The receiver is gone if nobody wants the numbers any more.
            let _ = sender.send(result.map_err(|error| error.to_string()));
        });
        Download {
            driver: self.driver.clone(),
            name: self.name(),
            pool: self.pool.clone(),
            buffer,
            staging: self.staging.clone(),
            submission,
            mapped,
            elements,
        }
    }

    pub fn synchronize(&self) -> Result<()> {
        let mut queue = self.lock();
        let submission = queue.submit(&self.driver, &self.pool, |_| {});
        drop(queue);
        self.driver.wait(Some(submission));
        self.failure().check(&self.name(), || self.memory())
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
}

impl Target for Sending<'_> {
    fn is_software(&self) -> bool {
        self.gpu.is_software()
    }

    fn dispatch(&mut self, dispatch: &Recorded) {
        self.queue.dispatch(&self.gpu.driver, &self.gpu.pool, self.origin, dispatch);
    }

    fn scratch(&mut self, shape: Shape) -> Binding {
        let block = self.gpu.allocate(shape.elements());
        let binding = Binding::new(&block, 0, shape, false);
        self.scratch.push(block);
        binding
    }

    fn ids(&mut self, ids: &Ids) -> Binding {
        let block = ids.on_device(self.gpu.id, || {
            let block = self.gpu.allocate(ids.shape().elements());
            let data = bytemuck::cast_slice(ids.as_slice());
            self.gpu.write(&mut self.queue, &block.buffer, 0, data);
            block
        });
        Binding::new(&block, 0, ids.shape(), false)
    }
}
