//! What waits to be sent to a GPU: dispatches go there in batches, each one compute pass.

use super::binding::Slice;
use super::class::Class;
use super::driver::Driver;
use super::memory::Pool;
use super::pace::{Calibration, Pieces};
use super::pipelines::{Pipeline, Pipelines};
use super::recorder::Recorded;
use super::timestamps::Timestamps;
use crate::device::failure::Fault;
use crate::device::kernel::Origin;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The most dispatches that go to the device together.
const BATCH: usize = 64;
/// The batches that may wait on the device before recording pauses.
const BATCHES_IN_FLIGHT: usize = 4;
/// The largest uniform structure, in bytes.
const UNIFORM_BYTES: usize = 256;

/// What waits to be sent to the device.
pub(super) struct Queue {
    pub pipelines: Pipelines,
    commands: Vec<Command>,
    uniforms: wgpu::Buffer,
    uniform_data: Vec<u8>,
    in_flight: VecDeque<Batch>,
    calibration: Calibration,
    /// When a batch was known to have finished last.
    finished: Instant,
    /// How dispatches are cut. All of a batch but the last may take as long as one of the pieces.
    pub pieces: Pieces,
    /// The estimate for what waits.
    estimate: Duration,
    /// The longest estimate for a dispatch so far.
    pub longest: Duration,
    pub dispatches: u64,
    /// While kernels are timed by the device's own clock.
    pub timestamps: Option<Timestamps>,
    /// The time that the driver took for accepting batches, and that was waited for it.
    pub waited: Duration,
}

/// What was sent.
struct Batch {
    index: wgpu::SubmissionIndex,
    estimate: Duration,
    sent: Instant,
}

struct Command {
    pipeline: Arc<Pipeline>,
    group: wgpu::BindGroup,
    uniform_offset: u32,
    grid: [u32; 2],
}

impl Queue {
    pub fn new(device: &wgpu::Device, class: Class) -> Queue {
        let uniforms = device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("uniforms"),
            size: (BATCH * UNIFORM_BYTES) as u64,
            usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        Queue {
            pipelines: Pipelines::new(
                device.clone(),
                class.lanes,
                uniforms.clone(),
                UNIFORM_BYTES as u64,
            ),
            commands: Vec::new(),
            uniforms,
            uniform_data: Vec::new(),
            in_flight: VecDeque::new(),
            calibration: Calibration::default(),
            finished: Instant::now(),
            pieces: Pieces::new(class.speed),
            estimate: Duration::ZERO,
            longest: Duration::ZERO,
            dispatches: 0,
            timestamps: None,
            waited: Duration::ZERO,
        }
    }

    /// Sends what was recorded, and `last`, to the device.
    ///
    /// The uniforms are written anew for each batch: such a write takes effect after the batches
    /// submitted before it, and before the one submitted next.
    pub fn submit(
        &mut self,
        driver: &Driver,
        pool: &Pool,
        last: impl FnOnce(&mut wgpu::CommandEncoder),
    ) -> wgpu::SubmissionIndex {
        driver.lose_if_due(Fault::LostAtSubmission);
        driver.queue.write_buffer(&self.uniforms, 0, &self.uniform_data);
        self.uniform_data.clear();
        let estimate = std::mem::take(&mut self.estimate);
        let mut encoder = driver.device.create_command_encoder(&Default::default());
        let timed = if self.commands.is_empty() { None } else { self.timestamps.as_mut() };
        if !self.commands.is_empty() {
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
                label: None,
                timestamp_writes: timed.as_ref().map(|timestamps| timestamps.writes()),
            });
            for command in self.commands.drain(..) {
                let [x, y] = command.grid;
                pass.set_pipeline(&command.pipeline.raw);
                pass.set_bind_group(0, &command.group, &[command.uniform_offset]);
                pass.dispatch_workgroups(x, y, 1);
            }
        }
        if pool.gave_back() {
            self.pipelines.forget_groups();
        }
        if let Some(timestamps) = &timed {
            timestamps.resolve(&mut encoder);
        }
        last(&mut encoder);
        let commands = encoder.finish();
        let start = Instant::now();
        let index = driver.queue.submit([commands]);
        if let Some(timestamps) = timed {
            timestamps.add(driver, index.clone());
        }
        self.in_flight.push_back(Batch { index: index.clone(), estimate, sent: start });
        if self.in_flight.len() > BATCHES_IN_FLIGHT
            && let Some(oldest) = self.in_flight.pop_front()
        {
            driver.wait(Some(oldest.index));
            // It began when it was sent, or when the one before it was done.
            let took = self.finished.max(oldest.sent).elapsed();
            self.finished = Instant::now();
            self.calibration.finished(oldest.estimate, took);
        }
        self.waited += start.elapsed();
        index
    }

    pub fn is_empty(&self) -> bool {
        self.commands.is_empty()
    }

    /// Adds a dispatch, in several pieces if it is long, and sends what waits if that is enough.
    ///
    /// # Panics
    /// If the shader is not valid, or does not take what it is given.
    pub fn dispatch(&mut self, driver: &Driver, pool: &Pool, origin: Origin, dispatch: &Recorded) {
        let Recorded { entry_point, inputs, outputs, uniforms, groups, flops, .. } = *dispatch;
        driver.lose_if_due(Fault::LostAtDispatch);
        let signature = (inputs.len(), outputs.len());
        let pipeline = self.pipelines.pipeline(origin, dispatch);
        let slices: Vec<Slice> =
            inputs.iter().chain(outputs).map(|binding| binding.slice().clone()).collect();
        let group = self.pipelines.group(&pipeline, signature, &slices);
        assert!(4 * (1 + uniforms.len()) <= UNIFORM_BYTES, "{entry_point}: too many uniforms");
        let bytes = slices.iter().map(|slice| slice.size).sum();
        for (first_group, grid, time) in self.pieces.cut(groups, flops, bytes) {
            let uniform_offset = self.add_uniforms(&dispatch.words(first_group));
            let (pipeline, group) = (pipeline.clone(), group.clone());
            self.commands.push(Command { pipeline, group, uniform_offset, grid });
            self.dispatches += 1;
            self.longest = self.longest.max(time);
            self.estimate += time;
            let most = self.pieces.longest.mul_f64(self.calibration.allowance());
            if self.commands.len() == BATCH || self.estimate >= most {
                self.submit(driver, pool, |_| {});
            }
        }
    }

    /// Notes the uniforms of a command, and returns where.
    fn add_uniforms(&mut self, words: &[u32]) -> u32 {
        let offset = self.uniform_data.len();
        self.uniform_data.extend(words.iter().flat_map(|word| word.to_le_bytes()));
        self.uniform_data.resize(offset + UNIFORM_BYTES, 0);
        offset as u32
    }
}
