//! Memory on a device, and how kernels are run on it.

use super::account::ALIGNMENT;
use super::failure::Refusal;
use super::kernel::{Kernel, Origin};
use super::missing::Missing;
use super::{Backend, Device, cpu, gpu, plan, simulated};
use crate::{Result, Shape};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

type Granted<T> = std::result::Result<T, Refusal>;

impl Device {
    /// Memory for `elements` numbers, with arbitrary contents.
    pub(crate) fn allocate(&self, elements: usize) -> Storage {
        let block = match &self.0.backend {
            Backend::Cpu(cpu) => cpu.allocate(elements).map(Block::Cpu),
            Backend::Gpu(gpu) => gpu.allocate(elements).map(Block::Gpu),
            Backend::Simulated(gpu) => gpu.allocate(elements).map(Block::Simulated),
            Backend::Plan(plan) => plan.allocate(elements).map(Block::Plan),
        };
        let (block, missing) = match block {
            Ok(block) => (block, Missing::default()),
            Err(why) => (Block::None, Missing::all(why)),
        };
        let memory = Memory { block, missing, device: self.clone(), version: AtomicU64::new(0) };
        Storage { memory: Arc::new(memory), offset: 0 }
    }

    pub(crate) fn upload(&self, data: &[f32], to: &Storage) {
        if data.is_empty() {
            return;
        }
        to.memory.version.fetch_add(1, Ordering::Relaxed);
        match (&self.0.backend, &to.memory.block) {
            (Backend::Cpu(_), Block::Cpu(block)) => block.write(to.offset, data),
            (Backend::Gpu(gpu), Block::Gpu(block)) => {
                gpu.upload(block, to.offset, bytemuck::cast_slice(data));
            }
            (Backend::Simulated(_), Block::Simulated(block)) => {
                block.write(to.offset, bytemuck::cast_slice(data));
            }
            _ => {}
        }
        if self.failure().has_refused() {
            to.written(data.len());
        }
    }

    /// Lets `look` see so many numbers: where they lie, or a copy.
    pub(crate) fn with_numbers<R>(
        &self,
        of: &Storage,
        elements: usize,
        look: impl FnOnce(&[f32]) -> R,
    ) -> Result<R> {
        let Block::Cpu(block) = &of.memory.block else {
            let numbers = self.read(of, elements, Vec::new()).wait()?;
            return Ok(look(&numbers));
        };
        self.check_numbers(of, elements)?;
        Ok(block.with(of.offset, elements, look))
    }

    /// Lets `change` make so many numbers: where they will lie, or elsewhere.
    pub(crate) fn with_numbers_mut<R>(
        &self,
        of: &Storage,
        elements: usize,
        change: impl FnOnce(&mut [f32]) -> R,
    ) -> Result<R> {
        let result = if let Block::Cpu(block) = &of.memory.block {
            of.memory.version.fetch_add(1, Ordering::Relaxed);
            let result = block.with_mut(of.offset, elements, change);
            if self.failure().has_refused() {
                of.written(elements);
            }
            result
        } else {
            let mut numbers = vec![0.0; elements];
            let result = change(&mut numbers);
            self.upload(&numbers, of);
            result
        };
        self.check_numbers(of, elements)?;
        Ok(result)
    }

    /// That the device has not failed, and that none of these numbers is missing.
    fn check_numbers(&self, of: &Storage, elements: usize) -> Result<()> {
        self.check()?;
        of.check(elements).map_err(|why| why.error(&self.name(), self.memory()))
    }

    pub(crate) fn read(&self, from: &Storage, elements: usize, memory: Vec<f32>) -> Reading {
        let pending = self.start_reading(from, elements, memory).unwrap_or_else(Pending::Refused);
        Reading { pending, device: self.clone() }
    }

    fn start_reading(&self, from: &Storage, elements: usize, memory: Vec<f32>) -> Granted<Pending> {
        if self.failure().has_refused() {
            from.check(elements)?;
        }
        // A window without elements may lie at the end of its memory, where a GPU has nothing to copy.
        if elements == 0 {
            return Ok(Pending::Ready(Vec::new()));
        }
        Ok(match (&self.0.backend, &from.memory.block) {
            (Backend::Cpu(_), Block::Cpu(block)) => {
                Pending::Ready(block.read(from.offset, elements, memory))
            }
            (Backend::Gpu(gpu), Block::Gpu(block)) => {
                Pending::Gpu(gpu.read(block, from.offset, elements)?, memory)
            }
            (Backend::Simulated(_), Block::Simulated(block)) => {
                Pending::Ready(block.read(from.offset, elements))
            }
            (Backend::Plan(plan), _) => Pending::Planned(elements, plan.read(elements)?),
            _ => unreachable!("a tensor of another device"),
        })
    }

    /// Runs a kernel. Destinations with `add` set, and those that are memory of an earlier
    /// result, are changed in place. Where memory is missing, its own or that of an argument, it does
    /// not run, and its results are missing. Returns whether the kernel can run on this device.
    #[must_use]
    pub(crate) fn run(
        &self,
        origin: Origin,
        kernel: &dyn Kernel,
        inputs: &[Operand],
        outputs: &[Destination],
    ) -> bool {
        for output in outputs {
            output.operand.storage.memory.version.fetch_add(1, Ordering::Relaxed);
        }
        let failure = self.failure();
        let whole = if failure.has_refused() { check(inputs, outputs) } else { Ok(()) };
        let done = whole.and_then(|()| self.run_whole(origin, kernel, inputs, outputs));
        if failure.has_refused() {
            outputs.iter().for_each(|output| output.note(&done));
        }
        done.unwrap_or(true)
    }

    /// Runs a kernel that lacks nothing.
    fn run_whole(
        &self,
        origin: Origin,
        kernel: &dyn Kernel,
        inputs: &[Operand],
        outputs: &[Destination],
    ) -> Granted<bool> {
        let work = || match &self.0.backend {
            Backend::Cpu(cpu) => run_on_cpu(cpu, kernel, inputs, outputs).map(|()| true),
            Backend::Gpu(gpu) => {
                let (inputs, outputs) = bindings(inputs, outputs);
                gpu.record(origin, |recorder| kernel.gpu(&inputs, &outputs, recorder))
            }
            Backend::Simulated(gpu) => {
                let (inputs, outputs) = bindings(inputs, outputs);
                gpu.record(|recorder| kernel.gpu(&inputs, &outputs, recorder))
            }
            Backend::Plan(plan) => {
                let shape = |output: &Destination| (output.operand.shape, output.add);
                let outputs: Vec<_> = outputs.iter().map(shape).collect();
                plan.run(kernel, &shapes(inputs), &outputs)
            }
        };
        let shapes = inputs.iter().map(|input| input.shape);
        self.0.profiler.time(kernel, shapes, work, || self.wait_and_time())
    }
}

fn run_on_cpu(
    cpu: &cpu::Cpu,
    kernel: &dyn Kernel,
    inputs: &[Operand],
    outputs: &[Destination],
) -> Granted<()> {
    let shapes = shapes(inputs);
    let scratch = match kernel.scratch(&shapes, cpu.threads()) {
        Some(elements) => Some((elements, cpu.allocate(elements)?)),
        None => None,
    };
    let inputs: Vec<_> = inputs.iter().map(|input| input.argument(false)).collect();
    let scratch = scratch.as_ref().map(|(elements, block)| cpu::Argument {
        block,
        start: 0,
        shape: Shape::from([*elements]),
        add: false,
    });
    let outputs: Vec<_> =
        outputs.iter().map(|output| output.operand.argument(output.add)).chain(scratch).collect();
    let cost = || kernel.cost(&shapes);
    cpu.run(cost, &inputs, &outputs, |inputs, outputs| kernel.cpu(inputs, outputs));
    Ok(())
}

fn bindings(inputs: &[Operand], outputs: &[Destination]) -> (Vec<gpu::Binding>, Vec<gpu::Binding>) {
    let inputs = inputs.iter().map(|input| input.binding(false));
    let outputs = outputs.iter().map(|output| output.operand.binding(output.add));
    (inputs.collect(), outputs.collect())
}

/// That no number that a kernel needs is missing, and no memory that it writes.
fn check(inputs: &[Operand], outputs: &[Destination]) -> Granted<()> {
    inputs.iter().try_for_each(|input| input.storage.check(input.shape.elements()))?;
    let needed = |output: &&Destination| output.add || output.operand.storage.is_none();
    let mut needed = outputs.iter().filter(needed).map(|output| output.operand);
    needed.try_for_each(|output| output.storage.check(output.shape.elements()))
}

fn shapes(operands: &[Operand]) -> Vec<Shape> {
    operands.iter().map(|operand| operand.shape).collect()
}

/// Memory on a device; the last handle to it gives it back to the device's pool.
pub(crate) struct Memory {
    block: Block,
    missing: Missing,
    device: Device,
    /// Counts the writes, so that a derivative can tell that a value it saved was changed.
    version: AtomicU64,
}

enum Block {
    Cpu(cpu::Block),
    Gpu(gpu::Block),
    Simulated(simulated::Block),
    Plan(#[expect(dead_code, reason = "held for its Drop, which counts the memory")] plan::Block),
    /// There was no room.
    None,
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
        assert!(elements.is_multiple_of(ALIGNMENT), "a tensor that begins between others");
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

    /// Whether it is the place so many elements after that one.
    pub fn follows(&self, other: &Storage, elements: usize) -> bool {
        Arc::ptr_eq(&self.memory, &other.memory) && self.offset == other.offset + elements
    }

    fn is_none(&self) -> bool {
        matches!(self.memory.block, Block::None)
    }

    /// So many elements from here on.
    fn stretch(&self, elements: usize) -> Range<usize> {
        // Also nothing is missing where there is no memory at all.
        self.offset..self.offset + elements.max(1)
    }

    /// That none of so many numbers from here on is missing.
    fn check(&self, elements: usize) -> Granted<()> {
        self.memory.missing.of(self.stretch(elements)).map_or(Ok(()), Err)
    }

    /// Notes that so many numbers from here on are there. The gap up to where the next tensor could
    /// begin is of no use to anyone, so it lacks nothing then either.
    fn written(&self, elements: usize) {
        if !self.is_none() && elements > 0 {
            let Range { start, end } = self.stretch(elements);
            self.memory.missing.written(start..end.next_multiple_of(ALIGNMENT));
        }
    }

    /// Notes that so many numbers from here on were to be written, and are missing.
    pub fn lacks(&self, elements: usize, why: &Refusal) {
        if !self.is_none() && elements > 0 {
            self.memory.missing.note(self.stretch(elements), why);
        }
    }

    fn cpu(&self) -> &cpu::Block {
        match &self.memory.block {
            Block::Cpu(block) => block,
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
        let offset = self.storage.offset;
        match &self.storage.memory.block {
            Block::Gpu(block) => gpu::Binding::new(block, offset, self.shape, add),
            Block::Simulated(block) => gpu::Binding::simulated(block, offset, self.shape, add),
            _ => unreachable!("a tensor of another device"),
        }
    }
}

/// A kernel's result: where it goes, and whether it is added to what is there.
#[derive(Clone, Copy)]
pub(crate) struct Destination<'a> {
    pub operand: Operand<'a>,
    pub add: bool,
}

impl Destination<'_> {
    /// Notes what became of it.
    fn note(&self, done: &Granted<bool>) {
        let Operand { storage, shape } = self.operand;
        match done {
            Ok(_) => storage.written(shape.elements()),
            Err(why) => storage.lacks(shape.elements(), why),
        }
    }
}

/// Numbers on their way from a device; see [`Tensor::read`](crate::Tensor::read).
pub struct Reading {
    pending: Pending,
    device: Device,
}

enum Pending {
    Ready(Vec<f32>),
    /// And the memory that they will be in.
    Gpu(gpu::Download, Vec<f32>),
    /// So many zeros, and the memory that they would go through.
    Planned(usize, #[expect(dead_code, reason = "held for its Drop")] Option<plan::Block>),
    Refused(Refusal),
}

impl Reading {
    /// Waits for the numbers.
    ///
    /// # Errors
    /// If the device failed, or had no room for what they are computed from.
    pub fn wait(self) -> Result<Vec<f32>> {
        let Reading { pending, device } = self;
        let numbers = pending.wait(&device);
        device.check()?;
        numbers.map_err(|why| why.error(&device.name(), device.memory()))
    }

    /// The same for the engine's own use: there are none where something went wrong, which the program
    /// is left to be told of where it waits itself.
    pub(crate) fn wait_untold(self) -> Option<Vec<f32>> {
        let numbers = self.pending.wait(&self.device).ok()?;
        (!self.device.failure().is_end()).then_some(numbers)
    }
}

impl Pending {
    fn wait(self, device: &Device) -> Granted<Vec<f32>> {
        match (self, &device.0.backend) {
            (Pending::Ready(numbers), _) => Ok(numbers),
            (Pending::Gpu(download, memory), Backend::Gpu(gpu)) => {
                Ok(gpu.wait_for(download, memory))
            }
            (Pending::Planned(elements, _), _) => Ok(vec![0.0; elements]),
            (Pending::Refused(why), _) => Err(why),
            (Pending::Gpu(..), _) => unreachable!("only a GPU starts one"),
        }
    }
}
