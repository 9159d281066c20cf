//! Stochastic gradient descent with momentum, as in PyTorch. For a gradient g, learning rate η,
//! momentum μ and weight decay λ:
//!
//!   g ← g + λ p        b ← μ b + g        p ← p − η b, or with Nesterov's: p ← p − η (g + μ b)
//!
//! The state is b. Cost an element: 9 flops, 20 bytes.

use super::updates::Updates;
use super::{Clip, Optimizer, factor, named};
use crate::autograd::Identity;
use crate::device::cpu::simd::{CHUNK, vectorized};
use crate::device::cpu::tasks::Tasks;
use crate::device::{Cost, Kernel, View, ViewMut};
use crate::gpu::{Binding, Recorder};
use crate::tensor::launch_into;
use crate::{Gradients, Parameters, Shape, Tensor, uniforms};
use rayon::prelude::*;

/// What can be set; the default is momentum 0.9 and nothing else.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SgdSettings {
    /// μ, in [0, 1).
    pub momentum: f64,
    /// Whether to look ahead along the momentum (Nesterov 1983).
    pub nesterov: bool,
    /// λ, for the parameters that have weight decay; part of the gradient, unlike AdamW's.
    pub weight_decay: f64,
}

impl Default for SgdSettings {
    fn default() -> SgdSettings {
        SgdSettings { momentum: 0.9, nesterov: false, weight_decay: 0.0 }
    }
}

/// Stochastic gradient descent with its state.
///
/// ```
/// use neutreno_engine::optim::{Optimizer, Sgd, SgdSettings};
/// use neutreno_engine::{Builder, Device, Initial, Parameters};
/// let make = |p: &mut Builder| p.parameter("x", [2], Initial::Ones, false);
/// let (x, parameters) = Parameters::build(&Device::cpu(), 1, make);
/// let mut optimizer = Sgd::new(&parameters, SgdSettings::default());
/// let mut gradients = parameters.gradients();
/// (&x * &x).sum_all().backward_into(&mut gradients)?;
/// optimizer.step(&parameters, &gradients, 0.25, None);
/// assert_eq!(x.to_vec()?, [0.5, 0.5]);
/// # Ok::<(), neutreno_engine::Error>(())
/// ```
#[derive(Debug)]
pub struct Sgd {
    settings: SgdSettings,
    updates: Updates,
    of: Identity,
    momentum: Vec<Tensor>,
}

impl Sgd {
    /// An optimiser that has seen no gradient yet.
    ///
    /// # Panics
    /// If a setting is out of its range.
    #[track_caller]
    pub fn new(parameters: &Parameters, settings: SgdSettings) -> Sgd {
        let SgdSettings { momentum, weight_decay, .. } = settings;
        assert!((0.0..1.0).contains(&momentum), "SGD: momentum {momentum} must be in [0, 1)");
        assert!(weight_decay >= 0.0, "SGD: weight decay {weight_decay} is negative");
        let updates = Updates::new(parameters.device());
        Sgd { settings, updates, of: parameters.identity(), momentum: parameters.zeros() }
    }
}

impl Optimizer for Sgd {
    #[track_caller]
    fn step(
        &mut self,
        parameters: &Parameters,
        gradients: &Gradients,
        learning_rate: f64,
        clip: Option<&Clip>,
    ) {
        parameters.check(self.of, "SGD");
        let factor = factor(clip, parameters.device());
        for (piece, momentum) in parameters.pieces(gradients).iter().zip(&self.momentum) {
            let update = Update {
                momentum: self.settings.momentum as f32,
                nesterov: self.settings.nesterov,
                weight_decay: (piece.group.decay * self.settings.weight_decay) as f32,
                learning_rate: (piece.group.rate * learning_rate) as f32,
            };
            let changed = [(&piece.parameters, true), (momentum, true)];
            launch_into(&update, &[&piece.gradients, &factor], &changed);
        }
        // Nothing follows from the number.
        self.updates.advance(clip, true);
    }

    fn updates(&self) -> crate::Result<u64> {
        self.updates.made()
    }

    fn set_updates(&mut self, updates: u64) {
        self.updates.set(updates);
    }

    #[track_caller]
    fn state(&self, parameters: &Parameters) -> Vec<(String, Tensor)> {
        parameters.check(self.of, "SGD");
        named("momentum", parameters, &self.momentum)
    }
}

/// One step on one piece: from its gradients and a factor for them; changes the parameters and
/// their momentum in place.
#[derive(Clone, Debug)]
struct Update {
    momentum: f32,
    nesterov: bool,
    weight_decay: f32,
    learning_rate: f32,
}

impl Kernel for Update {
    fn name(&self) -> &'static str {
        "sgd"
    }

    fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>, String> {
        Ok(vec![inputs[0]; 2])
    }

    fn cost(&self, inputs: &[Shape]) -> Cost {
        let elements = inputs[0].elements();
        Cost::elementwise(elements, 9, 5 * elements)
    }

    fn cpu(&self, inputs: &[View], outputs: &mut [ViewMut]) {
        let factor = inputs[1][0];
        let [parameters, momentum] = outputs else { unreachable!("two outputs") };
        if factor == 0.0 {
            return;
        }
        let gradients = inputs[0].data.par_chunks(CHUNK);
        let changed =
            parameters.data.par_chunks_mut(CHUNK).zip(momentum.data.par_chunks_mut(CHUNK));
        changed.zip(gradients).each(|((p, b), g)| vectorized(|| self.chunk(factor, g, p, b)));
    }

    fn gpu(&self, inputs: &[Binding], outputs: &[Binding], gpu: &mut Recorder) {
        let quads = inputs[0].shape.elements() / 4;
        let [along, ahead] = self.shares();
        let uniforms = uniforms! {
            quads,
            momentum: self.momentum,
            weight_decay: self.weight_decay,
            learning_rate: self.learning_rate,
            along,
            ahead,
        };
        let [inputs, outputs] = [inputs, outputs].map(|all| all.iter().collect::<Vec<_>>());
        gpu.dispatch_elements("sgd_step", &inputs, &outputs, uniforms, quads);
    }
}

impl Update {
    /// How much of g and of b the step is made of.
    fn shares(&self) -> [f32; 2] {
        if self.nesterov { [1.0, self.momentum] } else { [0.0, 1.0] }
    }

    #[inline(always)]
    fn chunk(&self, factor: f32, g: &[f32], p: &mut [f32], b: &mut [f32]) {
        let [along, ahead] = self.shares();
        for ((p, b), g) in p.iter_mut().zip(b).zip(g) {
            let g = factor * g + self.weight_decay * *p;
            *b = self.momentum * *b + g;
            *p -= self.learning_rate * (along * g + ahead * *b);
        }
    }
}
