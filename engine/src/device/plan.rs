//! The device that runs only the shapes and costs of kernels.

use super::failure::Failure;
use super::{Cost, Kernel, MemoryUse, Operand};
use crate::Shape;
use std::sync::{Arc, Mutex, MutexGuard};

/// Totals of what was asked for; nothing is computed or allocated.
#[derive(Default)]
pub(crate) struct Plan {
    totals: Arc<Mutex<Totals>>,
    failure: Failure,
}

#[derive(Default)]
struct Totals {
    memory: MemoryUse,
    cost: Cost,
    launches: u64,
}

/// Memory that exists only in the totals.
pub(crate) struct Block {
    totals: Arc<Mutex<Totals>>,
    bytes: u64,
}

impl Plan {
    pub fn allocate(&self, elements: usize) -> Block {
        let bytes = super::cpu::rounded_bytes(elements);
        let mut totals = lock(&self.totals);
        let memory = &mut totals.memory;
        memory.in_use += bytes;
        memory.peak = memory.peak.max(memory.in_use);
        memory.reserved = memory.peak;
        Block { totals: self.totals.clone(), bytes }
    }

    pub fn run(&self, kernel: &dyn Kernel, inputs: &[Operand]) {
        let shapes: Vec<Shape> = inputs.iter().map(|input| input.shape).collect();
        let mut totals = lock(&self.totals);
        totals.cost += kernel.cost(&shapes);
        totals.launches += 1;
    }

    /// Never set: nothing happens here.
    pub fn failure(&self) -> &Failure {
        &self.failure
    }

    pub fn memory(&self) -> MemoryUse {
        lock(&self.totals).memory
    }

    pub fn reset_peak(&self) {
        let memory = &mut lock(&self.totals).memory;
        memory.peak = memory.in_use;
    }

    pub fn cost(&self) -> Cost {
        lock(&self.totals).cost
    }

    pub fn launches(&self) -> u64 {
        lock(&self.totals).launches
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        lock(&self.totals).memory.in_use -= self.bytes;
    }
}

fn lock(totals: &Mutex<Totals>) -> MutexGuard<'_, Totals> {
    totals.lock().expect("no code panics while it holds the totals")
}
