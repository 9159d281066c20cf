//! Steps, timed one by one.

use crate::common::rates::median;
use crate::work::{Sizes, Work};
use neutreno::engine::{Device, Error};
use neutreno::{Variant, VariantConfig};
use std::time::Instant;

/// The steps that are not timed: they take memory from the system and compile shaders.
pub const WARM_UP: usize = 3;

/// What was measured of one variant.
pub struct Measurement {
    pub variant: Variant,
    /// The time of each step, its loss read back.
    pub seconds: Vec<f64>,
    /// The part of it that the program itself took: without what it waited for the device.
    host_seconds: Vec<f64>,
    pub losses: Vec<f32>,
    /// From the start of the program.
    pub to_first_step: f64,
    pub launches_per_step: u64,
    pub peak_tensor_bytes: u64,
    pub planned_tensor_bytes: u64,
    pub allocations_after_warmup: u64,
    pub peak_resident_bytes: Option<u64>,
    on_gpu: bool,
    flops_per_token: f64,
}

/// Makes `steps` steps of each variant; they take turns. `planned` are the bytes foretold for each.
pub fn run(
    sizes: &Sizes,
    configs: &[VariantConfig],
    planned: &[u64],
    device: &Device,
    steps: usize,
    started: Instant,
) -> Result<Vec<Measurement>, Error> {
    let mut works = Vec::new();
    for (config, planned) in configs.iter().zip(planned) {
        let work = Work::new(sizes, config.clone(), device);
        let weights: usize = matrices(sizes, &work);
        let attention = 12 * sizes.layers * sizes.context * sizes.width;
        let measurement = Measurement {
            variant: config.variant,
            seconds: Vec::new(),
            host_seconds: Vec::new(),
            losses: Vec::new(),
            to_first_step: 0.0,
            launches_per_step: 0,
            peak_tensor_bytes: 0,
            planned_tensor_bytes: *planned,
            allocations_after_warmup: 0,
            peak_resident_bytes: None,
            on_gpu: device.kind() == "gpu",
            flops_per_token: (6 * weights + attention) as f64,
        };
        works.push((work, measurement));
    }
    let mut allocations = 0;
    for step in 0..steps {
        if step == WARM_UP {
            allocations = device.memory().allocations;
        }
        for (work, measurement) in &mut works {
            measurement.step(work, device)?;
            if step == 0 {
                measurement.to_first_step = started.elapsed().as_secs_f64();
            }
        }
    }
    for (_, measurement) in &mut works {
        let memory = device.memory();
        measurement.peak_tensor_bytes = memory.peak;
        measurement.allocations_after_warmup = memory.allocations - allocations;
        measurement.peak_resident_bytes = peak_resident_bytes();
    }
    Ok(works.into_iter().map(|(_, measurement)| measurement).collect())
}

/// The weights that are multiplied with: all matrices, but for an embedding that only looks up.
fn matrices(sizes: &Sizes, work: &Work) -> usize {
    let all = work.parameters.iter().filter(|(_, tensor)| tensor.shape().rank() == 2);
    let all: usize = all.map(|(_, tensor)| tensor.elements()).sum();
    all - if sizes.tied { 0 } else { sizes.vocabulary * sizes.width }
}

/// The memory of a step as the planning device foretells it.
pub fn planned_bytes(sizes: &Sizes, config: &VariantConfig, device: &Device) -> Result<u64, Error> {
    let device = device.plan_for();
    Work::new(sizes, config.clone(), &device).step()?;
    Ok(device.memory().peak)
}

impl Measurement {
    fn step(&mut self, work: &mut Work, device: &Device) -> Result<(), Error> {
        let (launches, waited) = (device.launches(), device.waited());
        let start = Instant::now();
        let loss = work.step()?;
        let host = start.elapsed().saturating_sub(device.waited() - waited);
        self.host_seconds.push(host.as_secs_f64());
        self.losses.push(loss.wait()?[0]);
        self.seconds.push(start.elapsed().as_secs_f64());
        self.launches_per_step = device.launches() - launches;
        Ok(())
    }

    pub fn timed(&self) -> &[f64] {
        &self.seconds[WARM_UP..]
    }

    pub fn median(&self) -> f64 {
        median(self.timed().to_vec())
    }

    pub fn least(&self) -> f64 {
        self.timed().iter().copied().fold(f64::INFINITY, f64::min)
    }

    /// Operations of the model's products, attention counted in full as if nothing were masked.
    pub fn flops_per_second(&self, sizes: &Sizes) -> f64 {
        self.flops_per_token * (sizes.batch * sizes.context) as f64 / self.median()
    }

    /// What recording costs: the fastest step counts, since a software GPU takes the same cores.
    pub fn host_us_per_dispatch(&self) -> Option<f64> {
        let least = self.host_seconds[WARM_UP..].iter().copied().fold(f64::INFINITY, f64::min);
        self.on_gpu.then_some(1e6 * least / self.launches_per_step as f64)
    }

    /// The median of this variant's step times over those of another's, turn by turn.
    pub fn median_ratio(&self, other: &Measurement) -> f64 {
        median(self.timed().iter().zip(other.timed()).map(|(a, b)| a / b).collect())
    }
}

/// The most memory that the process ever had, where the system tells it.
fn peak_resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM"))?;
    Some(1024 * line.split_whitespace().nth(1)?.parse::<u64>().ok()?)
}
