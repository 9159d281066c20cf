//! AdamW (Kingma & Ba 2015, with the decoupled weight decay of Loshchilov & Hutter 2019). For a
//! gradient g, learning rate η, and update t = 1, 2, ...:
//!
//!   m ← β₁ m + (1 − β₁) g        v ← β₂ v + (1 − β₂) g²
//!   p ← (1 − η λ) p − η (m / (1 − β₁ᵗ)) / (√(v / (1 − β₂ᵗ)) + ε)
//!
//! The state is m and v. Steps that are left out ([`Clip`]) do not count as updates. Cost an element: 14 flops, 28 bytes.

use super::updates::{POSSIBLE, Updates, chosen};
use super::{Clip, Optimizer, factor, named};
use crate::autograd::Identity;
use crate::device::cpu::simd::{CHUNK, vectorized};
use crate::device::cpu::tasks::Tasks;
use crate::device::{Cost, Kernel, View, ViewMut};
use crate::gpu::{Binding, Recorder};
use crate::tensor::launch_into;
use crate::{Gradients, Group, Parameters, Shape, Tensor, uniforms};
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
    updates: Updates,
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
        let updates = Updates::new(parameters.device());
        AdamW { settings, updates, of: parameters.identity(), first_moments, second_moments }
    }

    /// The numbers of the next update, made in f64.
    fn update(&self, learning_rate: f64, group: Group) -> Update {
        let AdamWSettings { beta1, beta2, epsilon, weight_decay } = self.settings;
        let learning_rate = group.rate * learning_rate;
        let power = |beta: f64, updates: u64| 1.0 - beta.powf((updates + 1) as f64);
        let size = |updates| (learning_rate / power(beta1, updates)) as f32;
        let root = |updates| (1.0 / power(beta2, updates).sqrt()) as f32;
        Update {
            beta1: beta1 as f32,
            beta2: beta2 as f32,
            rest1: (1.0 - beta1) as f32,
            rest2: (1.0 - beta2) as f32,
            keep: (1.0 - learning_rate * group.decay * weight_decay) as f32,
            epsilon: epsilon as f32,
            known: self.updates.left_out().1,
            sizes: self.updates.possible(size),
            roots: self.updates.possible(root),
        }
    }

    /// Whether the number of updates makes no difference any more.
    fn is_settled(&self) -> bool {
        let AdamWSettings { beta1, beta2, .. } = self.settings;
        [beta1, beta2].iter().all(|beta| 1.0 - beta.powf(self.updates.least() as f64) == 1.0)
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
        let factor = factor(clip, parameters.device());
        let moments = self.first_moments.iter().zip(&self.second_moments);
        for (piece, (first, second)) in parameters.pieces(gradients).iter().zip(moments) {
            let update = self.update(learning_rate, piece.group);
            let changed = [(&piece.parameters, true), (first, true), (second, true)];
            let (left_out, _) = self.updates.left_out();
            launch_into(&update, &[&piece.gradients, &factor, left_out], &changed);
        }
        self.updates.advance(clip, self.is_settled());
    }

    fn updates(&self) -> crate::Result<u64> {
        self.updates.made()
    }

    fn set_updates(&mut self, updates: u64) {
        self.updates.set(updates);
    }

    #[track_caller]
    fn state(&self, parameters: &Parameters) -> Vec<(String, Tensor)> {
        parameters.check(self.of, "AdamW");
        let mut state = named("first_moment", parameters, &self.first_moments);
        state.extend(named("second_moment", parameters, &self.second_moments));
        state
    }
}

/// One step on one piece: from its gradients, a factor for them, and how many updates were left out; changes the parameters and
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
    epsilon: f32,
    /// How many of the updates that were left out the host knew of.
    known: u64,
    /// η / (1 − β₁ᵗ), for each t that is possible.
    sizes: [f32; POSSIBLE],
    /// 1 / √(1 − β₂ᵗ).
    roots: [f32; POSSIBLE],
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
        let chosen = chosen(inputs[2][0], self.known);
        let ends = [self.sizes[chosen], self.roots[chosen]];
        let gradients = inputs[0].data.par_chunks(CHUNK);
        let moments = first.data.par_chunks_mut(CHUNK).zip(second.data.par_chunks_mut(CHUNK));
        let chunks = parameters.data.par_chunks_mut(CHUNK).zip(moments).zip(gradients);
        chunks.each(|((p, (m, v)), g)| vectorized(|| self.chunk(factor, ends, g, p, m, v)));
    }

    fn gpu(&self, inputs: &[Binding], outputs: &[Binding], gpu: &mut Recorder) {
        let quads = inputs[0].shape.elements() / 4;
        let Update { sizes, roots, .. } = self;
        let uniforms = uniforms! {
            quads,
            beta1: self.beta1,
            beta2: self.beta2,
            rest1: self.rest1,
            rest2: self.rest2,
            keep: self.keep,
            epsilon: self.epsilon,
            known: self.known as usize,
            size0: sizes[0],
            size1: sizes[1],
            size2: sizes[2],
            size3: sizes[3],
            root0: roots[0],
            root1: roots[1],
            root2: roots[2],
            root3: roots[3],
        };
        let [inputs, outputs] = [inputs, outputs].map(|all| all.iter().collect::<Vec<_>>());
        gpu.dispatch_elements("adamw_step", &inputs, &outputs, uniforms, quads);
    }
}

impl Update {
    #[inline(always)]
    fn chunk(
        &self,
        factor: f32,
        [size, root]: [f32; 2],
        g: &[f32],
        p: &mut [f32],
        m: &mut [f32],
        v: &mut [f32],
    ) {
        for (((p, m), v), g) in p.iter_mut().zip(m).zip(v).zip(g) {
            let g = factor * g;
            *m = self.beta1 * *m + self.rest1 * g;
            *v = self.beta2 * *v + self.rest2 * g * g;
            *p = self.keep * *p - size * *m / (v.sqrt() * root + self.epsilon);
        }
    }
}
