//! The running average of the weights (Polyak & Juditsky 1992), which often scores better than the
//! weights themselves, since the noise of single steps averages out:
//!
//!   a ← d a + (1 − d) p        d = min(decay, (1 + t) / (10 + t)) after t = 0, 1, 2, ... updates
//!
//! The decay starts small, so that the average soon forgets the initial weights. Where an update was
//! left out ([`Clip`]), the average stays as it is. Cost an element: 3 flops, 12 bytes.

use super::updates::{POSSIBLE, Updates, chosen};
use super::{Clip, factor, load, named};
use crate::autograd::Identity;
use crate::device::cpu::simd::{CHUNK, vectorized};
use crate::device::cpu::tasks::Tasks;
use crate::device::{Copy, Cost, Kernel, View, ViewMut};
use crate::gpu::{Binding, Recorder};
use crate::tensor::launch_into;
use crate::{Parameters, Shape, Tensor, uniforms};
use rayon::prelude::*;
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
/// average.step(&parameters, None);
/// let mean = average.with(&parameters, || x.to_vec())?;
/// approx::assert_relative_eq!(mean[0], 0.1 + 0.9 * 2.0);
/// assert_eq!(x.to_vec()?, [2.0, 3.0]);
/// # Ok::<(), neutreno_engine::Error>(())
/// ```
#[derive(Debug)]
pub struct Average {
    decay: f64,
    updates: Updates,
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
        let updates = Updates::new(parameters.device());
        Average { decay, updates, of: parameters.identity(), pieces }
    }

    /// Takes the parameters after a step into the average, unless the step was left out for its
    /// `clip`, which is that of [`Optimizer::step`](super::Optimizer::step).
    ///
    /// # Panics
    /// If these are not the parameters that the average was made for, or `clip` is of another device.
    #[track_caller]
    pub fn step(&mut self, parameters: &Parameters, clip: Option<&Clip>) {
        parameters.check(self.of, "average");
        let factor = factor(clip, parameters.device());
        let (left_out, known) = self.updates.left_out();
        let decays = self.updates.possible(|updates| self.decay_after(updates));
        let [decays, rests] = [decays, decays.map(|decay| 1.0 - decay)];
        let [decays, rests] = [decays, rests].map(|all| all.map(|decay| decay as f32));
        let update = Update { known, decays, rests };
        for (piece, average) in parameters.flat().zip(&self.pieces) {
            launch_into(&update, &[piece, &factor, left_out], &[(average, true)]);
        }
        let settled = self.decay_after(self.updates.least()) == self.decay;
        self.updates.advance(clip, settled);
    }

    fn decay_after(&self, updates: u64) -> f64 {
        let updates = updates as f64;
        self.decay.min((1.0 + updates) / (10.0 + updates))
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

    /// Loads what was saved of [`Average::state`], with the number of updates as `steps` among the
    /// file's texts; if that fails, nothing is changed.
    ///
    /// # Errors
    /// If the file can not be read or does not fit.
    pub fn load(&mut self, parameters: &Parameters, path: &Path) -> crate::Result<()> {
        self.updates.set(load(path, &self.state(parameters))?);
        Ok(())
    }

    /// How many updates were taken in. Waits for the device.
    ///
    /// # Errors
    /// If the device failed.
    pub fn updates(&self) -> crate::Result<u64> {
        self.updates.made()
    }

    /// Says how many updates were taken in, where its numbers were written through
    /// [`Average::state`].
    pub fn set_updates(&mut self, updates: u64) {
        self.updates.set(updates);
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

/// One step on one piece: from its parameters, the factor of its gradients, and how many updates were
/// left out; changes the average in place.
#[derive(Clone, Debug)]
struct Update {
    /// How many of the updates that were left out the host knew of.
    known: u64,
    /// d, for each number of updates that is possible.
    decays: [f32; POSSIBLE],
    /// 1 − d.
    rests: [f32; POSSIBLE],
}

impl Kernel for Update {
    fn name(&self) -> &'static str {
        "average"
    }

    fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>, String> {
        Ok(vec![inputs[0]])
    }

    fn cost(&self, inputs: &[Shape]) -> Cost {
        let elements = inputs[0].elements();
        Cost::elementwise(elements, 3, 3 * elements)
    }

    fn cpu(&self, inputs: &[View], outputs: &mut [ViewMut]) {
        if inputs[1][0] == 0.0 {
            return;
        }
        let chosen = chosen(inputs[2][0], self.known);
        let [decay, rest] = [self.decays[chosen], self.rests[chosen]];
        let pieces = inputs[0].data.par_chunks(CHUNK);
        let step = |(average, piece): (&mut [f32], &[f32])| {
            average.iter_mut().zip(piece).for_each(|(a, p)| *a = decay * *a + rest * p);
        };
        let averages = outputs[0].data.par_chunks_mut(CHUNK);
        averages.zip(pieces).each(|chunks| vectorized(|| step(chunks)));
    }

    fn gpu(&self, inputs: &[Binding], outputs: &[Binding], gpu: &mut Recorder) {
        let quads = inputs[0].shape.elements() / 4;
        let Update { decays, rests, .. } = self;
        let uniforms = uniforms! {
            quads,
            known: self.known as usize,
            decay0: decays[0],
            decay1: decays[1],
            decay2: decays[2],
            decay3: decays[3],
            rest0: rests[0],
            rest1: rests[1],
            rest2: rests[2],
            rest3: rests[3],
        };
        let inputs: Vec<&Binding> = inputs.iter().collect();
        gpu.dispatch_elements("average_step", &inputs, &[&outputs[0]], uniforms, quads);
    }
}
