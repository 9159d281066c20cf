//! A GPU that runs what a card runs, and a clock on it.

use crate::common::Chapter;
use crate::rungs::PEAK;
use neutreno::engine::gpu::Class;
use neutreno::engine::{Cost, Device, Result, Tensor, device};
use std::time::Duration;

/// A GPU, and how often it runs what is timed.
pub struct Clock<'a> {
    chapter: &'a Chapter,
    pub device: Device,
    pub is_software: bool,
    repeats: usize,
}

/// The least time of some runs, and the work of one.
#[derive(Clone, Copy)]
pub struct Timed {
    pub time: Duration,
    cost: Cost,
}

impl Timed {
    pub fn milliseconds(&self) -> f64 {
        1e3 * self.time.as_secs_f64()
    }

    /// Billions of operations in a second.
    pub fn rate(&self) -> f64 {
        1e-9 * self.cost.flops as f64 / self.time.as_secs_f64()
    }
}

impl<'a> Clock<'a> {
    /// The GPU of `--device`, or the best that is real hardware; none where there is none. A software
    /// adapter is opened as hardware, so that the engine runs there what it runs on a card.
    pub fn open(chapter: &'a Chapter) -> Result<Option<Clock<'a>>> {
        let device = chapter.device("auto");
        if device.kind() != "gpu" {
            return Ok(None);
        }
        let is_it = |found: &device::DeviceDescription| device.name().starts_with(&found.name);
        let software = device::list().iter().position(|found| found.is_software() && is_it(found));
        let device = match software {
            Some(index) => Device::open_as(&format!("gpu:{index}"), Class::HARDWARE)?,
            None => device,
        };
        let repeats = chapter.pick(5, 2);
        Ok(Some(Clock { chapter, device, is_software: software.is_some(), repeats }))
    }

    /// The least time of each of several kernels, which take turns: what disturbs one disturbs all.
    pub fn time(&self, kernels: &[&dyn Fn() -> Tensor]) -> Result<Vec<Timed>> {
        self.time_rounds(kernels, self.repeats)
    }

    /// How many times as long as the second kernel the first takes, from more rounds.
    pub fn ratio(&self, kernels: [&dyn Fn() -> Tensor; 2]) -> Result<f64> {
        let timed = self.time_rounds(&kernels, 6 * self.repeats)?;
        Ok(timed[0].milliseconds() / timed[1].milliseconds())
    }

    fn time_rounds(&self, kernels: &[&dyn Fn() -> Tensor], rounds: usize) -> Result<Vec<Timed>> {
        let bar = self.chapter.progress("timing", kernels.len() * (rounds + 1));
        let run = |kernel: &dyn Fn() -> Tensor| {
            bar.inc(1);
            self.device.start_profile();
            kernel();
            let told = self.device.stop_profile();
            self.device.synchronize()?; // says what went wrong, if the kernel did not run
            Ok(Timed { time: told[0].time, cost: told[0].cost })
        };
        // The first round is for compiling.
        let mut least: Vec<Timed> =
            kernels.iter().map(|kernel| run(kernel)).collect::<Result<_>>()?;
        for round in 0..rounds {
            for (least, kernel) in least.iter_mut().zip(kernels) {
                let now = run(kernel)?;
                if round == 0 || now.time < least.time {
                    *least = now;
                }
            }
        }
        bar.finish_and_clear();
        Ok(least)
    }

    /// What multiply-adds alone reach, in billions of operations in a second. A fast card gets more numbers, not
    /// more rounds: the engine cuts what would take long on a slow one into dispatches one after the other, and
    /// each must have enough numbers for all of its lanes.
    pub fn peak(&self) -> Result<f64> {
        const ROUNDS: usize = 25;
        let mut rows = 512;
        loop {
            let x = Tensor::zeros([rows, 512], &self.device);
            let timed = self.time(&[&|| PEAK.work(&x, ROUNDS)])?[0];
            if timed.time > Duration::from_millis(5) || rows >= 32_768 {
                return Ok(timed.rate());
            }
            rows *= 4;
        }
    }
}
