//! GPUs through wgpu (Vulkan, Metal, DX12): the only place that names it.
//!
//! Kernels record dispatches ([`Recorder`]); these go to the device in batches, each one compute
//! pass, and nothing waits for the device until something is read back.

mod adapter;
mod memory;
mod pace;
mod pipelines;
pub mod products;
mod recorder;

pub(crate) use adapter::{adapters, describe, open};
pub(crate) use memory::Block;
pub use recorder::{Binding, Recorder, Word};

use super::failure::{Cause, Failure};
use super::{Destination, DeviceDescription, Fault, Kernel, MemoryUse, Operand};
use crate::Result;
use memory::{Buffer, Pool, create_buffer, invalid_buffer};
use pace::Speed;
use recorder::Queue;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, mpsc};
use std::time::Duration;

/// How long to wait for the device before it counts as hung. What is waited for is some hundreds
/// of dispatches at most; on slow software they may take a minute.
const PATIENCE: Duration = Duration::from_secs(300);

/// An open GPU.
pub(crate) struct Gpu {
    id: u64,
    description: DeviceDescription,
    device: wgpu::Device,
    queue: wgpu::Queue,
    pool: Arc<Pool>,
    state: Mutex<State>,
    failure: Failure,
}

struct State {
    queue: Queue,
    staging: Staging,
}

/// Buffers that results were read through, to be used again.
type Staging = Arc<Mutex<Vec<wgpu::Buffer>>>;

impl Gpu {
    fn new(device: wgpu::Device, queue: wgpu::Queue, description: &DeviceDescription) -> Gpu {
        static OPENED: AtomicU64 = AtomicU64::new(0);
        let failure = Failure::default();
        let on_error = failure.clone();
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| match &error {
            wgpu::Error::OutOfMemory { .. } => {
                on_error.set(Cause::NoMemory { reason: error.to_string(), lasting: false });
            }
            _ => on_error.set(Cause::Other(error.to_string())),
        }));
        let on_loss = failure.clone();
        device.set_device_lost_callback(move |reason, message| {
            let detail = if message.is_empty() { format!("{reason:?}") } else { message };
            on_loss.set(Cause::Other(format!("it was lost: {detail}")));
        });
        // On CPU drivers a barrier costs in proportion to the workgroup's size.
        let (lanes, speed) =
            if description.is_software() { (8, Speed::SOFTWARE) } else { (64, Speed::HARDWARE) };
        let queue_of_commands = Queue::new(&device, lanes, speed);
        let state = State { queue: queue_of_commands, staging: Staging::default() };
        Gpu {
            id: OPENED.fetch_add(1, Ordering::Relaxed),
            description: description.clone(),
            pool: Arc::new(Pool::new(device.clone(), failure.clone())),
            device,
            queue,
            state: Mutex::new(state),
            failure,
        }
    }

    fn id(&self) -> u64 {
        self.id
    }

    fn is_software(&self) -> bool {
        self.description.is_software()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A kernel that panics while recording leaves only whole commands behind.
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
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
        self.lock().queue.dispatches
    }

    pub fn waited(&self) -> Duration {
        self.lock().queue.waited
    }

    pub fn longest_dispatch(&self) -> Duration {
        self.lock().queue.longest
    }

    pub fn split_dispatches(&self, limit: Duration) {
        self.lock().queue.limit = limit;
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
        &self.failure
    }

    /// Loses the device if a fault was planned that is to happen now.
    fn lose_if_due(&self, fault: Fault) {
        if self.failure.is_due(fault) {
            self.device.destroy();
        }
    }

    pub fn upload(&self, block: &Block, offset: usize, data: &[u8]) {
        self.write(&mut self.lock(), &block.buffer, offset, data);
    }

    /// Writes to a buffer in the order of the recorded commands: such a write takes effect before
    /// the commands of the next submission, so those recorded earlier are sent first.
    fn write(&self, state: &mut State, buffer: &Buffer, offset: usize, data: &[u8]) {
        if !state.queue.is_empty() {
            state.queue.submit(self, |_| {});
        }
        self.queue.write_buffer(&buffer.raw, 4 * offset as u64, data);
    }

    pub fn run(&self, kernel: &dyn Kernel, inputs: &[Operand], outputs: &[Destination]) {
        let bind = |operand: &Operand, add| {
            Binding::new(operand.storage.gpu(), operand.storage.offset, operand.shape, add)
        };
        let inputs: Vec<Binding> = inputs.iter().map(|input| bind(input, false)).collect();
        let outputs: Vec<Binding> =
            outputs.iter().map(|output| bind(&output.operand, output.add)).collect();
        let mut recorder = Recorder { gpu: self, state: self.lock(), scratch: Vec::new() };
        kernel.gpu(&inputs, &outputs, &mut recorder);
    }

    /// Starts reading `elements` numbers; the commands so far are sent to the device.
    pub fn read(&self, block: &Block, offset: usize, elements: usize) -> Download {
        const USAGE: wgpu::BufferUsages =
            wgpu::BufferUsages::MAP_READ.union(wgpu::BufferUsages::COPY_DST);
        self.lose_if_due(Fault::LostAtReading);
        let bytes = 4 * elements.max(1) as u64;
        let mut state = self.lock();
        let used_before = state.staging.clone();
        let staging = take(&used_before, bytes)
            .or_else(|| create_buffer(&self.device, &self.failure, "reading", bytes, USAGE))
            .unwrap_or_else(|| invalid_buffer(&self.device));
        let start = 4 * offset as u64;
        let submission = state.queue.submit(self, |encoder| {
            encoder.copy_buffer_to_buffer(&block.buffer.raw, start, &staging, 0, bytes);
        });
        let (sender, mapped) = mpsc::channel();
        staging.map_async(wgpu::MapMode::Read, .., move |result| {
            // The receiver is gone if nobody wants the numbers any more.
            let _ = sender.send(result.map_err(|error| error.to_string()));
        });
        Download {
            device: self.device.clone(),
            name: self.name(),
            failure: self.failure.clone(),
            pool: self.pool.clone(),
            staging,
            used_before,
            submission,
            mapped,
            elements,
        }
    }

    pub fn synchronize(&self) -> Result<()> {
        let mut state = self.lock();
        let submission = state.queue.submit(self, |_| {});
        drop(state);
        self.wait(Some(submission));
        self.failure.check(&self.name(), || self.memory())
    }

    fn wait(&self, submission_index: Option<wgpu::SubmissionIndex>) {
        wait(&self.device, &self.failure, submission_index);
    }
}

impl Drop for Gpu {
    fn drop(&mut self) {
        if self.failure.is_hang() {
            // Its last handle would wait for the queue to come to an end.
            std::mem::forget(self.queue.clone());
        }
    }
}

fn wait(device: &wgpu::Device, failure: &Failure, submission_index: Option<wgpu::SubmissionIndex>) {
    if failure.is_set() {
        return;
    }
    let hangs = failure.is_due(Fault::Hang);
    let timeout = Some(if hangs { Duration::ZERO } else { PATIENCE });
    let poll = |poll_type| {
        // wgpu panics if the device is lost while it is waited for.
        catch_unwind(AssertUnwindSafe(|| device.poll(poll_type)))
    };
    match poll(wgpu::PollType::Wait { submission_index, timeout }) {
        Ok(Err(wgpu::PollError::Timeout)) => failure.set(hang()),
        Ok(Ok(_)) if hangs => failure.set(hang()),
        Ok(Ok(_)) => {}
        // It was lost before the work was sent to it: that is said now, and only here.
        Ok(Err(error)) => {
            let _ = poll(wgpu::PollType::Poll);
            failure.set(Cause::Other(format!("waiting for it: {error}")));
        }
        Err(_) => failure.set(Cause::Other("it was lost".into())),
    }
}

fn hang() -> Cause {
    let seconds = PATIENCE.as_secs();
    Cause::Hang(format!("it did not come to an end with its work within {seconds} seconds"))
}

/// Numbers on their way to the host.
pub(crate) struct Download {
    device: wgpu::Device,
    name: String,
    failure: Failure,
    pool: Arc<Pool>,
    staging: wgpu::Buffer,
    used_before: Staging,
    submission: wgpu::SubmissionIndex,
    mapped: mpsc::Receiver<std::result::Result<(), String>>,
    elements: usize,
}

impl Download {
    pub fn wait(self) -> Result<Vec<f32>> {
        wait(&self.device, &self.failure, Some(self.submission));
        let check = || self.failure.check(&self.name, || self.pool.memory());
        check()?;
        let arrived = self.mapped.recv_timeout(PATIENCE).map_err(|error| error.to_string());
        let view = arrived
            .and_then(|mapped| mapped)
            .and_then(|()| self.staging.get_mapped_range(..).map_err(|error| error.to_string()));
        let numbers = match view {
            Ok(view) => bytemuck::cast_slice(&view[..4 * self.elements]).to_vec(),
            Err(error) => {
                self.failure.set(Cause::Other(format!("reading from it: {error}")));
                Vec::new()
            }
        };
        check()?;
        self.staging.unmap();
        self.used_before.lock().expect("no code panics with it").push(self.staging);
        Ok(numbers)
    }
}

fn take(staging: &Staging, bytes: u64) -> Option<wgpu::Buffer> {
    let mut buffers = staging.lock().expect("no code panics with it");
    let index = buffers.iter().position(|buffer| buffer.size() == bytes)?;
    Some(buffers.swap_remove(index))
}
