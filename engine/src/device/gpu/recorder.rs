//! Recording dispatches: kernels add them one by one, and they go to the device in batches.

use super::memory::{Block, Buffer};
use super::pace::{LONGEST, MOST_GROUPS, Speed, pieces};
use super::pipelines::{Pipeline, Pipelines, Slice};
use super::{Gpu, State};
use crate::device::{Cost, Fault};
use crate::{Ids, Shape};
use std::collections::VecDeque;
use std::sync::{Arc, MutexGuard};
use std::time::{Duration, Instant};

/// A kernel's argument on a GPU: a slice of a buffer with its shape.
#[derive(Clone, Debug)]
pub struct Binding {
    /// The shape.
    pub shape: Shape,
    /// For an output, whether the result is to be added to what is there.
    pub add: bool,
    pub(super) slice: Slice,
}

impl Binding {
    pub(super) fn new(block: &Block, offset: usize, shape: Shape, add: bool) -> Binding {
        let slice = Slice {
            buffer: block.buffer.clone(),
            offset: 4 * offset as u64,
            size: 4 * shape.elements().max(1) as u64,
        };
        Binding { shape, add, slice }
    }
}

/// A scalar in a shader's uniform structure: `u32` or `f32`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Word(u32);

impl From<u32> for Word {
    fn from(value: u32) -> Word {
        Word(value)
    }
}

impl From<usize> for Word {
    fn from(value: usize) -> Word {
        Word(u32::try_from(value).expect("sizes on a GPU fit in 32 bits"))
    }
}

impl From<bool> for Word {
    fn from(value: bool) -> Word {
        Word(u32::from(value))
    }
}

impl From<f32> for Word {
    fn from(value: f32) -> Word {
        Word(value.to_bits())
    }
}

/// The members of a shader's uniform structure after `first_group`, in their order:
/// `words![rows, width, epsilon]`.
#[macro_export]
macro_rules! words {
    ($($value:expr),* $(,)?) => { &[$($crate::gpu::Word::from($value)),*] };
}

/// The most dispatches that go to the device together.
const BATCH: usize = 64;
/// The batches that may wait on the device before recording pauses.
const BATCHES_IN_FLIGHT: usize = 4;
/// The invocations of a workgroup in a dispatch over elements.
const ELEMENTS_A_GROUP: usize = 64;
/// The largest uniform structure, in bytes.
const UNIFORM_BYTES: usize = 256;

/// What waits to be sent to the device.
pub(super) struct Queue {
    pub pipelines: Pipelines,
    commands: Vec<Command>,
    uniforms: wgpu::Buffer,
    uniform_data: Vec<u8>,
    in_flight: VecDeque<wgpu::SubmissionIndex>,
    speed: Speed,
    /// The longest that a dispatch may be estimated to take, or all of a batch but the last.
    pub limit: Duration,
    /// The estimate for what waits.
    estimate: Duration,
    /// The longest estimate for a dispatch so far.
    pub longest: Duration,
    pub dispatches: u64,
    /// The time that the driver took for accepting batches, and that was waited for it.
    pub waited: Duration,
}

struct Command {
    pipeline: Arc<Pipeline>,
    group: wgpu::BindGroup,
    uniform_offset: u32,
    grid: [u32; 2],
}

impl Queue {
    pub fn new(device: &wgpu::Device, lanes: u32, speed: Speed) -> Queue {
        let uniforms = device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("uniforms"),
            size: (BATCH * UNIFORM_BYTES) as u64,
            usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        Queue {
            pipelines: Pipelines::new(
                device.clone(),
                lanes,
                uniforms.clone(),
                UNIFORM_BYTES as u64,
            ),
            commands: Vec::new(),
            uniforms,
            uniform_data: Vec::new(),
            in_flight: VecDeque::new(),
            speed,
            limit: LONGEST,
            estimate: Duration::ZERO,
            longest: Duration::ZERO,
            dispatches: 0,
            waited: Duration::ZERO,
        }
    }

    /// Sends what was recorded, and `last`, to the device.
    ///
    /// The uniforms are written anew for each batch: such a write takes effect after the batches
    /// submitted before it, and before the one submitted next.
    pub fn submit(
        &mut self,
        gpu: &Gpu,
        last: impl FnOnce(&mut wgpu::CommandEncoder),
    ) -> wgpu::SubmissionIndex {
        gpu.lose_if_due(Fault::LostAtSubmission);
        gpu.queue.write_buffer(&self.uniforms, 0, &self.uniform_data);
        self.uniform_data.clear();
        self.estimate = Duration::ZERO;
        let mut encoder = gpu.device.create_command_encoder(&Default::default());
        if !self.commands.is_empty() {
            let mut pass = encoder.begin_compute_pass(&Default::default());
            for command in self.commands.drain(..) {
                let [x, y] = command.grid;
                pass.set_pipeline(&command.pipeline.raw);
                pass.set_bind_group(0, &command.group, &[command.uniform_offset]);
                pass.dispatch_workgroups(x, y, 1);
            }
        }
        if gpu.pool.gave_back() {
            self.pipelines.forget_groups();
        }
        last(&mut encoder);
        let commands = encoder.finish();
        let start = Instant::now();
        let index = gpu.queue.submit([commands]);
        self.in_flight.push_back(index.clone());
        if self.in_flight.len() > BATCHES_IN_FLIGHT
            && let Some(oldest) = self.in_flight.pop_front()
        {
            gpu.wait(Some(oldest));
        }
        self.waited += start.elapsed();
        index
    }

    pub fn is_empty(&self) -> bool {
        self.commands.is_empty()
    }

    /// Notes the uniforms of a command, and returns where.
    fn add_uniforms(&mut self, first_group: Word, rest: &[Word]) -> u32 {
        let offset = self.uniform_data.len();
        for Word(word) in std::iter::once(&first_group).chain(rest) {
            self.uniform_data.extend(word.to_le_bytes());
        }
        self.uniform_data.resize(offset + UNIFORM_BYTES, 0);
        offset as u32
    }
}

/// Where a kernel records its dispatches.
pub struct Recorder<'a> {
    pub(super) gpu: &'a Gpu,
    pub(super) state: MutexGuard<'a, State>,
    /// Kept until the kernel has recorded all its dispatches.
    pub(super) scratch: Vec<Block>,
}

impl Recorder<'_> {
    /// Whether the adapter is a program on the CPU, where barriers are dear and workgroup memory
    /// gains nothing.
    pub fn is_software(&self) -> bool {
        self.gpu.is_software()
    }

    /// Records a dispatch of `groups` workgroups that compute `flops` operations together; 0 where
    /// it is moving what is bound that takes the time. If it is long it goes in several pieces.
    ///
    /// # Panics
    /// If no shader has that entry point.
    pub fn dispatch(
        &mut self,
        entry_point: &str,
        inputs: &[&Binding],
        outputs: &[&Binding],
        uniforms: &[Word],
        groups: usize,
        flops: u64,
    ) {
        self.gpu.lose_if_due(Fault::LostAtDispatch);
        let queue = &mut self.state.queue;
        let signature = (inputs.len(), outputs.len());
        let pipeline = queue.pipelines.pipeline(entry_point, signature);
        let slices: Vec<Slice> =
            inputs.iter().chain(outputs).map(|binding| binding.slice.clone()).collect();
        let group = queue.pipelines.group(&pipeline, signature, &slices);
        assert!(4 * (1 + uniforms.len()) <= UNIFORM_BYTES, "{entry_point}: too many uniforms");
        let bytes = slices.iter().map(|slice| slice.size).sum();
        let time = queue.speed.time(Cost { flops, bytes });
        for (first_group, count, time) in pieces(groups, time, queue.limit) {
            let x = count.min(MOST_GROUPS);
            let grid = [x, count.div_ceil(x)].map(|size| size as u32);
            let uniform_offset = queue.add_uniforms(Word::from(first_group), uniforms);
            let (pipeline, group) = (pipeline.clone(), group.clone());
            queue.commands.push(Command { pipeline, group, uniform_offset, grid });
            queue.dispatches += 1;
            queue.longest = queue.longest.max(time);
            queue.estimate += time;
            if queue.commands.len() == BATCH || queue.estimate >= queue.limit {
                queue.submit(self.gpu, |_| {});
            }
        }
    }

    /// Records a dispatch over rows (or whatever a workgroup handles one of): a workgroup each.
    pub fn dispatch_rows(
        &mut self,
        entry_point: &str,
        inputs: &[&Binding],
        outputs: &[&Binding],
        uniforms: &[Word],
        rows: usize,
    ) {
        self.dispatch(entry_point, inputs, outputs, uniforms, rows, 0);
    }

    /// Records a dispatch over elements: an invocation each, in workgroups of 64.
    pub fn dispatch_elements(
        &mut self,
        entry_point: &str,
        inputs: &[&Binding],
        outputs: &[&Binding],
        uniforms: &[Word],
        elements: usize,
    ) {
        let groups = elements.div_ceil(ELEMENTS_A_GROUP);
        self.dispatch_rows(entry_point, inputs, outputs, uniforms, groups);
    }

    /// Memory for intermediate results of this kernel, with arbitrary contents.
    pub fn scratch(&mut self, shape: impl Into<Shape>) -> Binding {
        let shape = shape.into();
        let block = self.gpu.allocate(shape.elements());
        let binding = Binding::new(&block, 0, shape, false);
        self.scratch.push(block);
        binding
    }

    /// The ids, as `array<u32>`; copied to the device at their first use.
    pub fn ids(&mut self, ids: &Ids) -> Binding {
        let block = ids.on_gpu(self.gpu.id(), || {
            let block = self.gpu.allocate(ids.shape().elements());
            self.gpu.write(&mut self.state, &block.buffer, 0, bytemuck::cast_slice(ids.as_slice()));
            block
        });
        Binding::new(&block, 0, ids.shape(), false)
    }
}

/// What `Buffer` a binding uses; lets a kernel tell whether two arguments share one.
impl PartialEq for Binding {
    fn eq(&self, other: &Binding) -> bool {
        let same: fn(&Arc<Buffer>, &Arc<Buffer>) -> bool = Arc::ptr_eq;
        same(&self.slice.buffer, &other.slice.buffer) && self.slice.offset == other.slice.offset
    }
}
