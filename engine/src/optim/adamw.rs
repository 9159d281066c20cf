//! AdamW (Kingma & Ba 2015, with the decoupled weight decay of Loshchilov & Hutter 2019). For a
//! gradient g, learning rate η, and update t = 1, 2, ...:
//!
//!   m ← β₁ m + (1 − β₁) g        v ← β₂ v + (1 − β₂) g²
//!   p ← (1 − η λ) p − η (m / (1 − β₁ᵗ)) / (√(v / (1 − β₂ᵗ)) + ε)
//!
//! The state is m and v. Steps that are left out ([`Clip`]) do not count as updates. Cost an element: 14 flops, 28 bytes.
//!
//! No number has to do with another, so that machines that train one model can each keep m and v of a part
//! of it and update that ([`AdamW::of_part`]): stage 1 of ZeRO (Rajbhandari et al. 2020, section 5.1).

use super::updates::{POSSIBLE, Updates, chosen};
use super::{Clip, Optimizer, factor, named, updates_of};
use crate::autograd::Identity;
use crate::checkpoint::Checkpoint;
use crate::device::cpu::simd::{CHUNK, vectorized};
use crate::device::cpu::tasks::Tasks;
use crate::device::{Cost, Kernel, View, ViewMut};
use crate::gpu::{Binding, Recorder};
use crate::tensor::launch_into;
use crate::{Gradients, Group, Parameters, Part, Shape, Tensor, uniforms};
use rayon::prelude::*;
use std::ops::Range;
use std::path::Path;

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
    part: Part,
    /// Those of the part, one tensor for each flat piece.
    first_moments: Vec<Tensor>,
    second_moments: Vec<Tensor>,
}

/// What an optimiser of a part of the parameters remembers of one of them; see [`AdamW::shares`].
#[derive(Clone, Debug)]
pub struct Share {
    /// The name of the whole, as [`Optimizer::state`] would give it.
    pub name: String,
    /// The shape of the whole.
    pub shape: Shape,
    /// Which of its numbers are here, counted row by row; none where the parameter is in other parts.
    pub range: Range<usize>,
    /// These numbers, along one axis. A handle: what is written to it is what the optimiser goes on with.
    pub numbers: Tensor,
}

impl AdamW {
    /// An optimiser that has seen no gradient yet.
    ///
    /// # Panics
    /// If a setting is out of its range.
    #[track_caller]
    pub fn new(parameters: &Parameters, settings: AdamWSettings) -> AdamW {
        AdamW::of_part(parameters, settings, Part::WHOLE)
    }

    /// The same for a part of the parameters: it has memory for the moments of these numbers alone, 8 bytes
    /// each, and a step changes no others, to the bits that an optimiser of all of them would give them. Its
    /// steps take the gradients of all.
    ///
    /// Instead of [`Optimizer::state`] it has [`AdamW::shares`]; [`Optimizer::load`] takes the file that an
    /// optimiser of all parameters has saved, and reads its part.
    ///
    /// ```
    /// use neutreno_engine::optim::{AdamW, AdamWSettings, Optimizer};
    /// use neutreno_engine::{Builder, Device, Initial, Parameters, Part};
    /// let make = |p: &mut Builder| p.parameter("x", [128], Initial::Ones, false);
    /// let (x, parameters) = Parameters::build(&Device::cpu(), 1, make);
    /// let second = Part { index: 1, of: 2 };
    /// let mut optimizer = AdamW::of_part(&parameters, AdamWSettings::default(), second);
    /// let mut gradients = parameters.gradients();
    /// (&x * &x).sum_all().backward_into(&mut gradients)?;
    /// optimizer.step(&parameters, &gradients, 0.25, None);
    /// assert_eq!(x.to_vec()?, [[1.0; 64], [0.75; 64]].concat());
    /// # Ok::<(), neutreno_engine::Error>(())
    /// ```
    ///
    /// # Panics
    /// If a setting is out of its range, or there are not so many parts.
    #[track_caller]
    pub fn of_part(parameters: &Parameters, settings: AdamWSettings, part: Part) -> AdamW {
        let AdamWSettings { beta1, beta2, epsilon, weight_decay } = settings;
        let in_range = [beta1, beta2].iter().all(|beta| (0.0..1.0).contains(beta));
        assert!(in_range, "AdamW: beta1 {beta1} and beta2 {beta2} must be in [0, 1)");
        assert!(epsilon as f32 > 0.0, "AdamW: epsilon {epsilon} must be more than 0");
        assert!(weight_decay >= 0.0, "AdamW: weight decay {weight_decay} is negative");
        let zeros = || {
            let lengths = parameters.flat().map(|piece| part.range(piece.elements()).len());
            lengths.map(|length| Tensor::zeros([length], parameters.device())).collect()
        };
        let [first_moments, second_moments] = [zeros(), zeros()];
        let (updates, of) = (Updates::new(parameters.device()), parameters.identity());
        AdamW { settings, updates, of, part, first_moments, second_moments }
    }

    /// The part of the parameters that this is for.
    pub fn part(&self) -> Part {
        self.part
    }

    /// What this remembers of each parameter that is learnt, in the order of [`Optimizer::state`]. Laid one after
    /// the other, in the order of parts, the numbers of a parameter are those of the whole.
    ///
    /// ```
    /// use neutreno_engine::optim::{AdamW, AdamWSettings, Optimizer};
    /// use neutreno_engine::{Builder, Device, Initial, Parameters, Part};
    /// let make = |p: &mut Builder| p.parameter("x", [10, 10], Initial::Ones, false);
    /// let (_, parameters) = Parameters::build(&Device::cpu(), 1, make);
    /// let second = Part { index: 1, of: 2 };
    /// let optimizer = AdamW::of_part(&parameters, AdamWSettings::default(), second);
    /// let share = &optimizer.shares(&parameters)[0];
    /// assert_eq!((share.name.as_str(), share.range.clone()), ("first_moment.x", 64..100));
    /// assert_eq!(share.numbers.to_vec()?, [0.0; 36]);
    /// # Ok::<(), neutreno_engine::Error>(())
    /// ```
    ///
    /// # Panics
    /// If these are not the parameters that the optimiser was made for.
    #[track_caller]
    pub fn shares(&self, parameters: &Parameters) -> Vec<Share> {
        parameters.check(self.of, "AdamW");
        let mut shares = Vec::new();
        for (prefix, moments) in
            [("first_moment", &self.first_moments), ("second_moment", &self.second_moments)]
        {
            for overlap in parameters.overlaps(self.part) {
                let (name, range) = (format!("{prefix}.{}", overlap.name), overlap.range);
                let numbers = moments[overlap.piece].window(overlap.offset, [range.len()].into());
                shares.push(Share { name, shape: overlap.shape, range, numbers });
            }
        }
        shares
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
            let part = self.part.range(piece.parameters.elements());
            let part = |whole: &Tensor| whole.window(part.start, [part.len()].into());
            let [parameters, gradients] = [&piece.parameters, &piece.gradients].map(part);
            let changed = [(&parameters, true), (first, true), (second, true)];
            let (left_out, _) = self.updates.left_out();
            launch_into(&update, &[&gradients, &factor, left_out], &changed);
        }
        self.updates.advance(clip, self.is_settled());
    }

    fn updates(&self) -> crate::Result<u64> {
        self.updates.made()
    }

    fn set_updates(&mut self, updates: u64) {
        self.updates.set(updates);
    }

    /// # Panics
    /// Also if the optimiser is of a part of the parameters.
    #[track_caller]
    fn state(&self, parameters: &Parameters) -> Vec<(String, Tensor)> {
        parameters.check(self.of, "AdamW");
        let Part { index, of } = self.part;
        assert!(of == 1, "AdamW: part {index} of {of} has no whole tensors; see `shares`");
        let mut state = named("first_moment", parameters, &self.first_moments);
        state.extend(named("second_moment", parameters, &self.second_moments));
        state
    }

    /// Of a part of the parameters its part of what an optimiser of all of them has saved.
    fn load(&mut self, parameters: &Parameters, path: &Path) -> crate::Result<()> {
        let mut checkpoint = Checkpoint::open(path)?;
        let updates = updates_of(&checkpoint, path)?;
        let shares = self.shares(parameters);
        checkpoint.check(shares.iter().map(|share| (share.name.as_str(), share.shape)))?;
        let read = |share: &Share| checkpoint.read_range(&share.name, share.range.clone());
        let numbers = shares.iter().map(read).collect::<crate::Result<Vec<_>>>()?;
        for (share, numbers) in shares.iter().zip(numbers) {
            share.numbers.overwrite(&numbers);
        }
        self.set_updates(updates);
        Ok(())
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
