//! A GPU that is simulated: its memory is the host's, and a program brings what executes the shaders
//! there. For checks of shaders: dispatches come from the same kernels, by the same recorder and in the
//! same pieces, as those that a real GPU is sent.

mod execution;
mod memory;

pub use execution::{Bound, Execute, Execution};
pub(crate) use memory::Block;
pub(in crate::device) use memory::Slice;

use super::failure::{Failure, Refusal};
use super::gpu::{Binding, Class, Pieces, Recorded, Recorder, Target};
use crate::ids::Copies;
use crate::memory_use::MemoryUse;
use crate::{Ids, Shape};
use memory::Pool;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

/// A simulated GPU.
pub(crate) struct Simulated {
    /// Those of ids.
    copies: Copies,
    executor: Box<dyn Execute>,
    class: Class,
    pool: Pool,
    state: Mutex<State>,
}

/// Held while a dispatch is executed: they come one after another.
struct State {
    pieces: Pieces,
    dispatches: u64,
}

impl Simulated {
    pub fn new(executor: Box<dyn Execute>, class: Class) -> Simulated {
        let state = State { pieces: Pieces::new(class.speed), dispatches: 0 };
        let (copies, pool) = (Copies::new(), Pool::default());
        Simulated { copies, executor, class, pool, state: Mutex::new(state) }
    }

    pub fn class(&self) -> Class {
        self.class
    }

    pub fn name(&self) -> String {
        format!("simulated, {} lanes", self.class.lanes)
    }

    pub fn allocate(&self, elements: usize) -> Result<Block, Refusal> {
        self.pool.allocate(elements)
    }

    pub fn trim(&self) {
        self.pool.trim();
    }

    pub fn set_memory_limit(&self, bytes: u64) {
        self.pool.set_limit(bytes);
    }

    pub fn memory(&self) -> MemoryUse {
        self.pool.memory()
    }

    pub fn reset_peak(&self) {
        self.pool.reset_peak();
    }

    pub fn failure(&self) -> &Failure {
        &self.pool.failure
    }

    pub fn dispatches(&self) -> u64 {
        self.lock().dispatches
    }

    pub fn split_dispatches(&self, limit: Duration) {
        self.lock().pieces.longest = limit;
    }

    /// Lets `work`, a kernel, record its dispatches, and executes them. Returns whether it can.
    pub fn record(&self, work: impl FnOnce(&mut Recorder)) -> Result<bool, Refusal> {
        let mut target = Executing { device: self, scratch: Vec::new(), refused: None };
        let mut recorder = Recorder::new(&mut target);
        work(&mut recorder);
        let has_shader = recorder.has_shader();
        target.refused.map_or(Ok(has_shader), Err)
    }

    fn execute(&self, dispatch: &Recorded) {
        let mut state = self.lock();
        let shader = dispatch.find_shader();
        let slices: Vec<&Slice> =
            dispatch.inputs.iter().chain(dispatch.outputs).map(|binding| binding.host()).collect();
        let mut buffers = Vec::new();
        let bound = |(index, slice): (usize, &&Slice)| {
            let known = buffers.iter().position(|words| Arc::ptr_eq(words, &slice.words));
            let buffer = known.unwrap_or_else(|| {
                buffers.push(slice.words.clone());
                buffers.len() - 1
            });
            let is_output = index >= dispatch.inputs.len();
            Bound { buffer, offset: slice.offset, size: slice.size, is_output }
        };
        let bindings: Vec<Bound> = slices.iter().enumerate().map(bound).collect();
        let mut locked: Vec<_> = buffers.iter().map(|words| words.lock()).collect();
        let bytes = slices.iter().map(|slice| 4 * slice.size as u64).sum();
        for (first_group, grid, _) in state.pieces.cut(dispatch.groups, dispatch.flops, bytes) {
            self.executor.execute(Execution {
                shader,
                entry_point: dispatch.entry_point,
                uniforms: &dispatch.words(first_group),
                memory: locked.iter_mut().map(|words| words.as_mut_slice()).collect(),
                bindings: bindings.clone(),
                grid,
                lanes: self.class.lanes,
            });
            state.dispatches += 1;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // An executor that panics leaves only counts behind.
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// Dispatches that are executed as they are recorded.
struct Executing<'a> {
    device: &'a Simulated,
    /// Kept until the kernel has recorded all its dispatches.
    scratch: Vec<Block>,
    /// Why the kernel could not have some of its memory.
    refused: Option<Refusal>,
}

impl Executing<'_> {
    /// An argument without memory, which no dispatch will use.
    fn without(&mut self, why: Refusal, shape: Shape) -> Binding {
        self.refused.get_or_insert(why);
        Binding::planned(shape, false)
    }
}

impl Target for Executing<'_> {
    fn class(&self) -> Class {
        self.device.class
    }

    fn dispatch(&mut self, dispatch: &Recorded) {
        if self.refused.is_none() {
            self.device.execute(dispatch);
        }
    }

    fn scratch(&mut self, shape: Shape) -> Binding {
        match self.device.allocate(shape.elements()) {
            Ok(block) => {
                let binding = Binding::simulated(&block, 0, shape, false);
                self.scratch.push(block);
                binding
            }
            Err(why) => self.without(why, shape),
        }
    }

    fn ids(&mut self, ids: &Ids) -> Binding {
        let block = ids.on_device(&self.device.copies, || {
            let block = self.device.allocate(ids.shape().elements())?;
            block.write(0, ids.as_slice());
            Ok(block)
        });
        match block {
            Ok(block) => Binding::simulated(&block, 0, ids.shape(), false),
            Err(why) => self.without(why, ids.shape()),
        }
    }
}
