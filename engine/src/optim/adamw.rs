//! AdamW (Kingma & Ba 2015, with the decoupled weight decay of Loshchilov & Hutter 2019). For a
//! gradient g, learning rate η, and step t = 1, 2, ...:
//!
//!   m ← β₁ m + (1 − β₁) g        v ← β₂ v + (1 − β₂) g²
//!   p ← (1 − η λ) p − η (m / (1 − β₁ᵗ)) / (√(v / (1 − β₂ᵗ)) + ε)
//!
//! The state is m and v. Cost an element: 14 flops, 28 bytes.

use super::{Clip, Optimizer, factor, named};
use crate::autograd::Identity;
use crate::device::cpu::simd::{CHUNK, vectorized};
use crate::device::{Cost, Kernel, View, ViewMut};
use crate::gpu::{Binding, Recorder};
use crate::tensor::launch_into;
use crate::{Gradients, Parameters, Shape, Tensor, uniforms};
use rayon::prelude::*;

/// What can be set; the default is PyTorch's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamWSettings {
    /// How much of the mean gradient stays from step to step, in [0, 1).
    pub beta1: f64,
    /// How much of the mean squared gradient stays from step to step, in [0, 1).
    pub beta2: f64,
    /// Added to the root of the mean squared gradient; more than 0.
    pub epsilon: f64,
    /// λ, for the parameters that have weight decay.
    pub weight_decay: f64,
}

impl Default for AdamWSettings {
    fn default() -> AdamWSettings {
        AdamWSettings { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.01 }
    }
}

/// The AdamW optimiser with its state.
///
/// ```
/// use neutreno_engine::optim::{AdamW, AdamWSettings, Optimizer};
/// use neutreno_engine::{Builder, Device, Initial, Parameters};
/// let make = |p: &mut Builder| p.parameter("x", [2], Initial::Ones, false);
/// let (x, parameters) = Parameters::build(&Device::cpu(), 1, make);
/// let mut optimizer = AdamW::new(&parameters, AdamWSettings::default());
/// let mut gradients = parameters.gradients();
/// (&x * &x).sum_all().backward_into(&mut gradients)?;
/// optimizer.step(&parameters, &gradients, 0.25, None);
/// // The first step has the size of the learning rate, whatever the gradient's.
/// assert_eq!(x.to_vec()?, [0.75, 0.75]);
/// # Ok::<(), neutreno_engine::Error>(())
/// ```
#[derive(Debug)]
pub struct AdamW {
    settings: AdamWSettings,
    steps: u64,
    of: Identity,
    first_moments: Vec<Tensor>,
    second_moments: Vec<Tensor>,
}

impl AdamW {
    /// An optimiser that has seen no gradient yet.
    ///
    /// # Panics
    /// If a setting is out of its range.
    #[track_caller]
    pub fn new(parameters: &Parameters, settings: AdamWSettings) -> AdamW {
        let AdamWSettings { beta1, beta2, epsilon, weight_decay } = settings;
        let in_range = [beta1, beta2].iter().all(|beta| (0.0..1.0).contains(beta));
        assert!(in_range, "AdamW: beta1 {beta1} and beta2 {beta2} must be in [0, 1)");
        assert!(epsilon as f32 > 0.0, "AdamW: epsilon {epsilon} must be more than 0");
        assert!(weight_decay >= 0.0, "AdamW: weight decay {weight_decay} is negative");
        let [first_moments, second_moments] = [parameters.zeros(), parameters.zeros()];
        AdamW { settings, steps: 0, of: parameters.identity(), first_moments, second_moments }
    }

    /// The numbers of the step after `steps`, made in f64.
    fn update(&self, learning_rate: f64, decay: bool) -> Update {
        let AdamWSettings { beta1, beta2, epsilon, weight_decay } = self.settings;
        let power = |beta: f64| 1.0 - beta.powf(self.steps as f64);
        let decay = if decay { weight_decay } else { 0.0 };
        Update {
            beta1: beta1 as f32,
            beta2: beta2 as f32,
            rest1: (1.0 - beta1) as f32,
            rest2: (1.0 - beta2) as f32,
            keep: (1.0 - learning_rate * decay) as f32,
            size: (learning_rate / power(beta1)) as f32,
            root: (1.0 / power(beta2).sqrt()) as f32,
            epsilon: epsilon as f32,
        }
    }
}

impl Optimizer for AdamW {
    #[track_caller]
    fn step(
        &mut self,
        parameters: &Parameters,
        gradients: &Gradients,
        learning_rate: f64,
        clip: Option<&Clip>,
    ) {
        parameters.check(self.of, "AdamW");
        self.steps += 1;
        let factor = factor(clip, parameters.device());
        let moments = self.first_moments.iter().zip(&self.second_moments);
        for (piece, (first, second)) in parameters.pieces(gradients).iter().zip(moments) {
            let update = self.update(learning_rate, piece.decay);
            let changed = [(&piece.parameters, true), (first, true), (second, true)];
            launch_into(&update, &[&piece.gradients, &factor], &changed);
        }
    }

    fn steps(&self) -> u64 {
        self.steps
    }

    fn set_steps(&mut self, steps: u64) {
        self.steps = steps;
    }

    #[track_caller]
    fn state(&self, parameters: &Parameters) -> Vec<(String, Tensor)> {
        parameters.check(self.of, "AdamW");
        let mut state = named("first_moment", parameters, &self.first_moments);
        state.extend(named("second_moment", parameters, &self.second_moments));
        state
    }
}

/// One step on one piece: from its gradients and a factor for them; changes the parameters and
/// both moments in place.
#[derive(Clone, Debug)]
struct Update {
    beta1: f32,
    beta2: f32,
    /// 1 − β₁, exact where β₁ is close to 1.
    rest1: f32,
    /// 1 − β₂.
    rest2: f32,
    /// 1 − η λ.
    keep: f32,
    /// η / (1 − β₁ᵗ).
    size: f32,
    /// 1 / √(1 − β₂ᵗ).
    root: f32,
    epsilon: f32,
}

impl Kernel for Update {
    fn name(&self) -> &'static str {
        "adamw"
    }

    fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>, String> {
        Ok(vec![inputs[0]; 3])
    }

    fn cost(&self, inputs: &[Shape]) -> Cost {
        let elements = inputs[0].elements();
        Cost::elementwise(elements, 14, 7 * elements)
    }

    fn cpu(&self, inputs: &[View], outputs: &mut [ViewMut]) {
        let factor = inputs[1][0];
        let [parameters, first, second] = outputs else { unreachable!("three outputs") };
        if factor == 0.0 {
            return;
        }
        let gradients = inputs[0].data.par_chunks(CHUNK);
        let moments = first.data.par_chunks_mut(CHUNK).zip(second.data.par_chunks_mut(CHUNK));
        let chunks = parameters.data.par_chunks_mut(CHUNK).zip(moments).zip(gradients);
        chunks.for_each(|((p, (m, v)), g)| vectorized(|| self.chunk(factor, g, p, m, v)));
    }

    fn gpu(&self, inputs: &[Binding], outputs: &[Binding], gpu: &mut Recorder) {
        let quads = inputs[0].shape.elements() / 4;
        let uniforms = uniforms! {
            quads,
            beta1: self.beta1,
            beta2: self.beta2,
            rest1: self.rest1,
            rest2: self.rest2,
            keep: self.keep,
            size: self.size,
            root: self.root,
            epsilon: self.epsilon,
        };
        let [inputs, outputs] = [inputs, outputs].map(|all| all.iter().collect::<Vec<_>>());
        gpu.dispatch_elements("adamw_step", &inputs, &outputs, uniforms, quads);
    }
}

impl Update {
    #[inline(always)]
    fn chunk(&self, factor: f32, g: &[f32], p: &mut [f32], m: &mut [f32], v: &mut [f32]) {
        for (((p, m), v), g) in p.iter_mut().zip(m).zip(v).zip(g) {
            let g = factor * g;
            *m = self.beta1 * *m + self.rest1 * g;
            *v = self.beta2 * *v + self.rest2 * g * g;
            *p = self.keep * *p - self.size * *m / (v.sqrt() * self.root + self.epsilon);
        }
    }
}
