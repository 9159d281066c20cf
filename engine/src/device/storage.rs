//! Memory on a device, and how kernels are run on it.

use super::kernel::{Kernel, Origin};
use super::{Backend, Device, cpu, gpu, plan};
use crate::{Result, Shape};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

impl Device {
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
    /// result, are changed in place. Returns whether the kernel can run on this device.
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
        let work = || match &self.0.backend {
            Backend::Cpu(cpu) => {
                self.run_on_cpu(cpu, kernel, inputs, outputs);
                true
            }
            Backend::Gpu(gpu) => {
                let inputs: Vec<_> = inputs.iter().map(|input| input.binding(false)).collect();
                let outputs: Vec<_> =
                    outputs.iter().map(|output| output.operand.binding(output.add)).collect();
                gpu.record(origin, |recorder| kernel.gpu(&inputs, &outputs, recorder))
            }
            Backend::Plan(plan) => {
                let shape = |output: &Destination| (output.operand.shape, output.add);
                let outputs: Vec<_> = outputs.iter().map(shape).collect();
                plan.run(kernel, &shapes(inputs), &outputs)
            }
        };
        self.0.profiler.time(kernel, inputs.iter().map(|input| input.shape), work, || {
            // An error surfaces where the program next waits for the device.
            let _ = self.synchronize();
        })
    }

    fn run_on_cpu(
        &self,
        cpu: &cpu::Cpu,
        kernel: &dyn Kernel,
        inputs: &[Operand],
        outputs: &[Destination],
    ) {
        let scratch = kernel.scratch(&shapes(inputs), cpu.threads());
        let scratch = scratch.map(|elements| (elements, cpu.allocate(elements)));
        let inputs: Vec<_> = inputs.iter().map(|input| input.argument(false)).collect();
        let scratch = scratch.as_ref().map(|(elements, block)| cpu::Argument {
            block,
            start: 0,
            shape: Shape::from([*elements]),
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
