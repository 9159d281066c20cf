//! GPUs through wgpu (Vulkan, Metal, DX12): the only place that names it.
//!
//! Kernels record dispatches ([`Recorder`]); these go to the device in batches, each one compute
//! pass, and nothing waits for the device until something is read back.

mod adapter;
mod memory;
mod pipelines;
pub mod products;
mod recorder;

pub(crate) use adapter::{adapters, describe, open};
pub(crate) use memory::Block;
pub use recorder::{Binding, Recorder, Word};

use super::{Destination, DeviceDescription, Kernel, MemoryUse, Operand};
use crate::{Error, Result};
use memory::{Buffer, Pool};
use recorder::Queue;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, mpsc};
use std::time::Duration;

/// How long to wait for the device before it counts as hung.
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

/// The first thing that went wrong; it is reported where the program waits.
#[derive(Clone, Default)]
struct Failure(Arc<Mutex<Option<String>>>);

impl Failure {
    fn set(&self, reason: String) {
        self.0.lock().expect("no code panics with it").get_or_insert(reason);
    }

    fn check(&self, device: &str) -> Result<()> {
        match &*self.0.lock().expect("no code panics with it") {
            None => Ok(()),
            Some(reason) => Err(Error::Device { device: device.into(), reason: reason.clone() }),
        }
    }
}

impl Gpu {
    fn new(device: wgpu::Device, queue: wgpu::Queue, description: &DeviceDescription) -> Gpu {
        static OPENED: AtomicU64 = AtomicU64::new(0);
        let failure = Failure::default();
        let on_error = failure.clone();
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| {
            let advice = match &error {
                wgpu::Error::OutOfMemory { .. } => " (a smaller --batch or --context needs less)",
                _ => "",
            };
            on_error.set(format!("{error}{advice}"));
        }));
        let on_loss = failure.clone();
        device.set_device_lost_callback(move |reason, message| {
            on_loss.set(format!("the device was lost ({reason:?}): {message}"));
        });
        // On CPU drivers a barrier costs in proportion to the workgroup's size.
        let lanes = if description.is_software() { 8 } else { 64 };
        let state = State { queue: Queue::new(&device, lanes), staging: Staging::default() };
        Gpu {
            id: OPENED.fetch_add(1, Ordering::Relaxed),
            description: description.clone(),
            device,
            queue,
            pool: Arc::default(),
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

    pub fn largest_tensor(&self) -> usize {
        let limits = self.device.limits();
        (limits.max_storage_buffer_binding_size.min(limits.max_buffer_size) / 4) as usize
    }

    pub fn allocate(&self, elements: usize) -> Block {
        self.pool.allocate(&self.device, elements)
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
        let bytes = 4 * elements.max(1) as u64;
        let mut state = self.lock();
        let pool = state.staging.clone();
        let staging = take(&pool, bytes).unwrap_or_else(|| {
            self.device.create_buffer(&wgpu::BufferDescriptor {
                label: Some("reading"),
                size: bytes,
                usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
                mapped_at_creation: false,
            })
        });
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
            staging,
            pool,
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
        self.failure.check(&self.name())
    }

    fn wait(&self, submission_index: Option<wgpu::SubmissionIndex>) {
        wait(&self.device, &self.failure, submission_index);
    }
}

fn wait(device: &wgpu::Device, failure: &Failure, submission_index: Option<wgpu::SubmissionIndex>) {
    let patience = Some(PATIENCE);
    if let Err(error) = device.poll(wgpu::PollType::Wait { submission_index, timeout: patience }) {
        failure.set(format!("waiting for it: {error}"));
    }
}

/// Numbers on their way to the host.
pub(crate) struct Download {
    device: wgpu::Device,
    name: String,
    failure: Failure,
    staging: wgpu::Buffer,
    pool: Staging,
    submission: wgpu::SubmissionIndex,
    mapped: mpsc::Receiver<std::result::Result<(), String>>,
    elements: usize,
}

impl Download {
    pub fn wait(self) -> Result<Vec<f32>> {
        wait(&self.device, &self.failure, Some(self.submission));
        self.failure.check(&self.name)?;
        let failed = |reason| Error::Device { device: self.name.clone(), reason };
        let arrived = self.mapped.recv_timeout(PATIENCE).map_err(|error| error.to_string());
        arrived.and_then(|result| result).map_err(failed)?;
        let view = self.staging.get_mapped_range(..).map_err(|error| failed(error.to_string()))?;
        let numbers = bytemuck::cast_slice(&view[..4 * self.elements]).to_vec();
        drop(view);
        self.staging.unmap();
        self.pool.lock().expect("no code panics with it").push(self.staging);
        Ok(numbers)
    }
}

fn take(staging: &Staging, bytes: u64) -> Option<wgpu::Buffer> {
    let mut buffers = staging.lock().expect("no code panics with it");
    let index = buffers.iter().position(|buffer| buffer.size() == bytes)?;
    Some(buffers.swap_remove(index))
}
