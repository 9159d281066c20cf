//! The running average of the weights (Polyak & Juditsky 1992), which often scores better than the
//! weights themselves, since the noise of single steps averages out:
//!
//!   a ← d a + (1 − d) p        d = min(decay, (1 + t) / (10 + t)) after t = 0, 1, 2, ... steps
//!
//! The decay starts small, so that the average soon forgets the initial weights.

use super::{load, named};
use crate::autograd::Identity;
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
    of: Identity,
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
        Average { decay, steps: 0, of: parameters.identity(), pieces }
    }

    /// Takes the parameters after a step into the average.
    ///
    /// # Panics
    /// If these are not the parameters that the average was made for.
    #[track_caller]
    pub fn step(&mut self, parameters: &Parameters) {
        parameters.check(self.of, "average");
        let steps = self.steps as f64;
        let decay = self.decay.min((1.0 + steps) / (10.0 + steps));
        self.steps += 1;
        for (piece, average) in parameters.flat().zip(&mut self.pieces) {
            *average = average.scale(decay as f32).add(&piece.scale((1.0 - decay) as f32));
        }
    }

    /// Runs `work` while the parameters hold the average; afterwards they are as before, to the
    /// bit, also if `work` panics.
    ///
    /// # Panics
    /// If these are not the parameters that the average was made for.
    #[track_caller]
    pub fn with<R>(&self, parameters: &Parameters, work: impl FnOnce() -> R) -> R {
        parameters.check(self.of, "average");
        let kept = Kept { parameters, numbers: parameters.zeros() };
        for ((piece, average), kept) in parameters.flat().zip(&self.pieces).zip(&kept.numbers) {
            copy(piece, kept);
            copy(average, piece);
        }
        work()
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
    ///
    /// # Panics
    /// If these are not the parameters that the average was made for.
    #[track_caller]
    pub fn state(&self, parameters: &Parameters) -> Vec<(String, Tensor)> {
        parameters.check(self.of, "average");
        named("average", parameters, &self.pieces)
    }
}

/// Puts the numbers back into the parameters when it goes.
struct Kept<'a> {
    parameters: &'a Parameters,
    numbers: Vec<Tensor>,
}

impl Drop for Kept<'_> {
    fn drop(&mut self) {
        for (piece, kept) in self.parameters.flat().zip(&self.numbers) {
            copy(kept, piece);
        }
    }
}

fn copy(from: &Tensor, to: &Tensor) {
    launch_into(&Copy, &[from], &[(to, false)]);
}
