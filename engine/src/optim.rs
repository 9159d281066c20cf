//! Optimisers, clipping of gradients, and schedules of the learning rate.
//!
//! An optimiser is a kernel that changes parameters in place: no op, for nothing is differentiated
//! through it. It works on the flat pieces of [`Parameters::pieces`], one launch each.
//!
//! ```
//! use neutreno_engine::optim::{AdamW, AdamWSettings, Curve, Optimizer, Schedule, clip};
//! use neutreno_engine::{Builder, Device, Initial, Parameters};
//!
//! let make = |p: &mut Builder| p.parameter("x", [2], Initial::Full(3.0), false);
//! let (x, parameters) = Parameters::build(&Device::cpu(), 1, make);
//! let mut optimizer = AdamW::new(&parameters, AdamWSettings::default());
//! let schedule = Schedule { curve: Curve::Cosine, peak: 0.1, ..Schedule::new(100) };
//! let mut gradients = parameters.gradients();
//! for step in 0..100 {
//!     gradients.clear();
//!     (&x * &x).sum_all().backward_into(&mut gradients)?;
//!     let clip = clip(&parameters, &gradients, 1.0);
//!     optimizer.step(&parameters, &gradients, schedule.at(step), Some(&clip));
//! }
//! assert!(x.to_vec()?.iter().all(|x| x.abs() < 0.2));
//! # Ok::<(), neutreno_engine::Error>(())
//! ```

mod adamw;
mod average;
mod clip;
mod schedule;
mod sgd;
mod updates;

pub use adamw::{AdamW, AdamWSettings, Share};
pub use average::Average;
pub use clip::{Clip, clip, clip_values};
pub use schedule::{Curve, Schedule};
pub use sgd::{Sgd, SgdSettings};

use crate::checkpoint::{Checkpoint, Metadata, save_tensors};
use crate::{Device, Error, Gradients, Parameters, Result, Tensor};
use std::path::Path;

/// Changes parameters by their gradients.
pub trait Optimizer {
    /// One step with the learning rate given. Parameters that no gradient has reached are treated
    /// as if theirs were zero. The gradients are multiplied by the factor of `clip`, if there is
    /// one; if their norm is not finite, parameters and state stay as they are ([`Clip`]).
    ///
    /// # Panics
    /// If `gradients` does not come from [`Parameters::gradients`] of `parameters`, or these are
    /// not the parameters that the optimiser was made for, or `clip` is of another device.
    #[track_caller]
    fn step(
        &mut self,
        parameters: &Parameters,
        gradients: &Gradients,
        learning_rate: f64,
        clip: Option<&Clip>,
    );

    /// How many updates were made: the steps but for those that were left out, which only the device
    /// has counted, so this waits for it.
    ///
    /// # Errors
    /// If the device failed.
    fn updates(&self) -> Result<u64>;

    /// Says how many updates were made, when a run is resumed.
    fn set_updates(&mut self, updates: u64);

    /// What the optimiser remembers for each parameter, each under a name of its own. Handles: what
    /// is written to them is what the optimiser goes on with.
    ///
    /// # Panics
    /// If these are not the parameters that the optimiser was made for.
    #[track_caller]
    fn state(&self, parameters: &Parameters) -> Vec<(String, Tensor)>;

    /// Saves the state and the number of updates.
    ///
    /// # Errors
    /// If the device failed or the file can not be written.
    ///
    /// ```
    /// use neutreno_engine::optim::{Optimizer, Sgd, SgdSettings};
    /// use neutreno_engine::{Builder, Device, Initial, Parameters};
    /// let make = |p: &mut Builder| p.parameter("x", [2], Initial::Ones, true);
    /// let (_, parameters) = Parameters::build(&Device::cpu(), 1, make);
    /// let mut optimizer = Sgd::new(&parameters, SgdSettings::default());
    /// optimizer.step(&parameters, &parameters.gradients(), 0.1, None);
    ///
    /// let folder = tempfile::tempdir().unwrap();
    /// let path = folder.path().join("optimizer.safetensors");
    /// optimizer.save(&parameters, &path)?;
    /// let mut resumed = Sgd::new(&parameters, SgdSettings::default());
    /// resumed.load(&parameters, &path)?;
    /// assert_eq!(resumed.updates()?, 1);
    /// # Ok::<(), neutreno_engine::Error>(())
    /// ```
    fn save(&self, parameters: &Parameters, path: &Path) -> Result<()> {
        let metadata = Metadata::from([("steps".into(), self.updates()?.to_string())]);
        save_tensors(path, &self.state(parameters), &metadata)
    }

    /// Loads what [`Optimizer::save`] has saved; if that fails, nothing is changed.
    ///
    /// # Errors
    /// If the file can not be read or does not fit.
    fn load(&mut self, parameters: &Parameters, path: &Path) -> Result<()> {
        self.set_updates(load(path, &self.state(parameters))?);
        Ok(())
    }
}

/// Loads tensors into `state`, and returns after how many updates they were saved.
fn load(path: &Path, state: &[(String, Tensor)]) -> Result<u64> {
    let checkpoint = Checkpoint::open(path)?;
    let updates = updates_of(&checkpoint, path)?;
    checkpoint.load_into(state)?;
    Ok(updates)
}

/// After how many updates the state of an optimiser was saved.
fn updates_of(checkpoint: &Checkpoint, path: &Path) -> Result<u64> {
    let steps = checkpoint.metadata().get("steps").and_then(|steps| steps.parse().ok());
    steps.ok_or_else(|| Error::File {
        path: path.into(),
        reason: "it does not say after how many steps it was saved, as the state of an \
                 optimiser does"
            .into(),
    })
}

/// The factor to multiply gradients by, as the kernels take it: one number on the device.
#[track_caller]
fn factor(clip: Option<&Clip>, device: &Device) -> Tensor {
    let Some(Clip { factor, .. }) = clip else { return Tensor::full(1.0, [1], device) };
    assert!(
        factor.elements() == 1 && factor.device() == device,
        "clip: a factor of {} on {}, where one number on {device} is needed",
        factor.shape(),
        factor.device()
    );
    factor.clone()
}

/// `flat`'s part for each parameter, named after it.
fn named(prefix: &str, parameters: &Parameters, flat: &[Tensor]) -> Vec<(String, Tensor)> {
    let windows = parameters.windows(flat).into_iter();
    windows.map(|(name, window)| (format!("{prefix}.{name}"), window)).collect()
}
