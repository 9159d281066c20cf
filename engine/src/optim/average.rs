//! The running average of the weights (Polyak & Juditsky 1992), which often scores better than the
//! weights themselves, since the noise of single steps averages out:
//!
//!   a ← d a + (1 − d) p        d = min(decay, (1 + t) / (10 + t)) after t = 0, 1, 2, ... steps
//!
//! The decay starts small, so that the average soon forgets the initial weights.

use super::{load, named};
use crate::device::Copy;
use crate::tensor::launch_into;
use crate::{Parameters, Result, Tensor};
use std::path::Path;

/// The average of parameters over the steps of a run.
///
/// ```
/// use neutreno_engine::optim::Average;
/// use neutreno_engine::{Builder, Device, Initial, Parameters};
/// let make = |p: &mut Builder| p.parameter("x", [2], Initial::Ones, true);
/// let (x, parameters) = Parameters::build(&Device::cpu(), 1, make);
/// let mut average = Average::new(&parameters, 0.5);
/// x.overwrite(&[2.0, 3.0]);
/// average.step(&parameters);
/// let mean = average.with(&parameters, || x.to_vec())?;
/// approx::assert_relative_eq!(mean[0], 0.1 + 0.9 * 2.0);
/// assert_eq!(x.to_vec()?, [2.0, 3.0]);
/// # Ok::<(), neutreno_engine::Error>(())
/// ```
#[derive(Debug)]
pub struct Average {
    decay: f64,
    steps: u64,
    pieces: Vec<Tensor>,
}

impl Average {
    /// An average that starts at the parameters as they are; `decay` is how much of it stays from
    /// step to step.
    ///
    /// # Panics
    /// If `decay` is not in [0, 1).
    #[track_caller]
    pub fn new(parameters: &Parameters, decay: f64) -> Average {
        assert!((0.0..1.0).contains(&decay), "average: a decay of {decay} is not in [0, 1)");
        let pieces = parameters.zeros();
        for (piece, average) in parameters.flat().zip(&pieces) {
            copy(piece, average);
        }
        Average { decay, steps: 0, pieces }
    }

    /// Takes the parameters after a step into the average.
    ///
    /// # Panics
    /// If these are not the parameters that the average was made for.
    pub fn step(&mut self, parameters: &Parameters) {
        let steps = self.steps as f64;
        let decay = self.decay.min((1.0 + steps) / (10.0 + steps));
        self.steps += 1;
        for (piece, average) in parameters.flat().zip(&mut self.pieces) {
            *average = average.scale(decay as f32).add(&piece.scale((1.0 - decay) as f32));
        }
    }

    /// Runs `work` while the parameters hold the average; afterwards they are as before, to the
    /// bit.
    pub fn with<R>(&self, parameters: &Parameters, work: impl FnOnce() -> R) -> R {
        let kept = parameters.zeros();
        for ((piece, average), kept) in parameters.flat().zip(&self.pieces).zip(&kept) {
            copy(piece, kept);
            copy(average, piece);
        }
        let result = work();
        for (piece, kept) in parameters.flat().zip(&kept) {
            copy(kept, piece);
        }
        result
    }

    /// Loads what was saved of [`Average::state`], with the number of steps as `steps` among the
    /// file's texts; if that fails, nothing is changed.
    ///
    /// # Errors
    /// If the file can not be read or does not fit.
    pub fn load(&mut self, parameters: &Parameters, path: &Path) -> Result<()> {
        self.steps = load(path, &self.state(parameters))?;
        Ok(())
    }

    /// How many steps were taken in.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// The average of each parameter, by name. Handles: what is written to them is what the
    /// average goes on with.
    pub fn state(&self, parameters: &Parameters) -> Vec<(String, Tensor)> {
        named("average", parameters, &self.pieces)
    }
}

fn copy(from: &Tensor, to: &Tensor) {
    launch_into(&Copy, &[from], &[(to, false)]);
}
