//! What a kernel costs and whether it is sound, by the simulator: the same on every machine.

use neutreno::engine::gpu::Class;
use neutreno::engine::random::Key;
use neutreno::engine::{Device, Result, Shape, Tensor};
use neutreno_simulator::{Counts, Finding, Simulator};
use std::sync::Arc;

/// What came of a run.
pub struct Simulated {
    pub numbers: Vec<f32>,
    /// Of all its dispatches together.
    pub counts: Counts,
    pub findings: Vec<Finding>,
}

// ANCHOR: simulate
/// Runs some work on the simulator.
pub fn simulate(work: impl FnOnce(&Device) -> Tensor) -> Result<Simulated> {
    let simulator = Arc::new(Simulator::counting());
    let device = Device::simulated(simulator.clone(), Class::HARDWARE);
    let numbers = work(&device).to_vec()?;
    let mut counts = Counts::default();
    simulator.take_counts().into_values().for_each(|each| counts += each);
    Ok(Simulated { numbers, counts, findings: simulator.take_findings() })
}
// ANCHOR_END: simulate

/// Numbers from -1 to 1, other ones for another number of the operand.
pub fn numbers(operand: u64, shape: impl Into<Shape>, device: &Device) -> Tensor {
    let shape = shape.into();
    let drawn = Key::new(1).fold(operand).uniforms(shape.elements(), -1.0, 1.0);
    Tensor::new(&drawn, shape, device)
}

/// The operands of a product with these rows, depth and columns.
pub fn operands([rows, depth, columns]: [usize; 3], device: &Device) -> [Tensor; 2] {
    [numbers(0, [rows, depth], device), numbers(1, [depth, columns], device)]
}

/// Counts, each for one unit of work: for a product that is a multiply-add. What a warp does at once
/// counts for the 32 lanes that it takes.
pub struct Each {
    /// Sectors of 32 bytes that move between global memory and the invocations.
    pub sectors: f64,
    /// Loads from workgroup memory and stores to it.
    pub accesses: f64,
    /// Banks of it that had to be asked again, for each of them.
    pub again: f64,
    pub barriers: f64,
}

impl Each {
    pub fn of(counts: &Counts, units: usize) -> Each {
        let each = |count: u64| count as f64 / units as f64;
        let accesses = counts.workgroup_accesses;
        Each {
            sectors: each(counts.sectors),
            accesses: 32.0 * each(accesses),
            again: counts.bank_conflicts as f64 / accesses.max(1) as f64,
            barriers: each(counts.barriers),
        }
    }

    /// Operations for each byte that moves, where a unit is two.
    pub fn intensity(&self) -> f64 {
        2.0 / (32.0 * self.sectors)
    }
}
