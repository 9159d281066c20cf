//! Fused attention with the values of the first layer: one op for all four variants.
//!
//! O = P·(a·V + b·V₁) + c·(V₁ − V) with P = softmax(Q·Kᵀ/√d, masked), for each head. Plain
//! attention is (a, b, c) = (1, 0, 0); NeuTRENO (1, 0, λ) (Nguyen et al. 2023, arXiv 2312.00751);
//! ResFormer (λ₂, λ₁, 0) and SVFormer, which is plain attention on V₁ (Zhou et al. 2024, arXiv
//! 2410.17897).
//!
//! Q is (batch, queries, heads, d); K, V and V₁ are (batch, keys, kv heads, d), as projections
//! leave them. Query head i uses kv head ⌊i / (heads / kv heads)⌋. If there are fewer queries than
//! keys, the queries are the last positions, and the c-term takes the last rows of V and V₁.
//!
//! Derivative, with G = dO, V′ = a·V + b·V₁ and dV′ = PᵀG (FlashAttention: Dao et al. 2022):
//! - D = Σ_channels G ⊙ (O − c·(V₁ − V)), a number a row; dS = P ⊙ (G·V′ᵀ − D);
//! - dQ = dS·K/√d, dK = dSᵀ·Q/√d, dV = a·dV′ − c·G, dV₁ = b·dV′ + c·G;
//! - da = ⟨dV′, V⟩, db = ⟨dV′, V₁⟩, dc = ⟨G, V₁ − V⟩.
//!
//! Saves its inputs, O, and the logarithm of each row's sum of exponentials, from which backward
//! makes P again a tile at a time: memory grows as the number of positions, and P is never whole.
//! Cost a pair of a query and a key it sees: 4·d flops forward and 10·d backward.

mod backward;
mod cases;
mod cpu_backward;
mod cpu_forward;
pub(in crate::ops) mod fused;
mod masks;
mod sizes;
mod tiles;
mod unfused;
mod values;

use crate::autograd::{GradientContext, Op, Saved, Saves, apply_built_in};
use crate::device::{Cost, Kernel, View, ViewMut};
use crate::gpu::{Binding, Recorder};
use crate::tensor::launch;
use crate::{Shape, Tensor};
use backward::AttentionBackward;
use cpu_forward::Operands;
use sizes::Sizes;
use values::{CoefficientGradients, Coefficients, Mix, RowSums, Source, ValueGradients};

/// How the values of this layer (V) and of the first (V₁) enter attention:
/// P·(own·V + first·V₁) + fidelity·(V₁ − V).
///
/// ```
/// use neutreno_engine::ops::attention::Mixing;
/// let neutreno = Mixing { fidelity: 0.4.into(), ..Mixing::PLAIN };
/// let resformer = Mixing { own: 0.5.into(), first: 0.5.into(), ..Mixing::PLAIN };
/// ```
#[derive(Clone, Debug)]
pub struct Mixing {
    /// a: the coefficient of this layer's values.
    pub own: Coefficient,
    /// b: the coefficient of the first layer's values.
    pub first: Coefficient,
    /// c: the coefficient of the fidelity term, which keeps the output near the first layer's values (λ in
    /// NeuTRENO).
    pub fidelity: Coefficient,
}

impl Mixing {
    /// (1, 0, 0): plain attention.
    pub const PLAIN: Mixing = Mixing {
        own: Coefficient::Constant(1.0),
        first: Coefficient::Constant(0.0),
        fidelity: Coefficient::Constant(0.0),
    };
}

/// A number that is fixed or learned.
#[derive(Clone, Debug)]
pub enum Coefficient {
    /// A constant.
    Constant(f32),
    /// A tensor of one element, which gets a gradient if it is tracked.
    Tensor(Tensor),
}

impl From<f32> for Coefficient {
    fn from(value: f32) -> Coefficient {
        Coefficient::Constant(value)
    }
}

impl From<&Tensor> for Coefficient {
    fn from(tensor: &Tensor) -> Coefficient {
        Coefficient::Tensor(tensor.clone())
    }
}

impl Tensor {
    /// Attention with this tensor as the queries, (batch, queries, heads, d), over keys and values
    /// of (batch, keys, kv heads, d), where heads is a multiple of kv heads; the result has the
    /// queries' shape. With `causal`, a query sees the keys up to its own position; the queries
    /// are the last of the keys' positions.
    ///
    /// `first` brings in the values of the first layer, of the values' shape, and how they are
    /// mixed in ([`Mixing`]); `None` is plain attention. For SVFormer, whose later layers have no
    /// values of their own, pass the first layer's as `value` and `None`.
    ///
    /// Where keys are padding see [`Tensor::attention_masked`]; for something to add to the scores,
    /// [`Tensor::attention_biased`].
    ///
    /// # Panics
    /// If the shapes do not fit; if there are fewer keys than queries and `causal` or a fidelity
    /// term needs the queries' own positions among the keys; if a coefficient has several elements.
    ///
    /// ```
    /// use neutreno_engine::{Device, Tensor, ops::attention::Mixing};
    /// let device = Device::cpu();
    /// let [q, k] = [Tensor::zeros([1, 2, 1, 1], &device), Tensor::zeros([1, 2, 1, 1], &device)];
    /// let v = Tensor::new(&[1.0, 3.0], [1, 2, 1, 1], &device);
    /// assert_eq!(q.attention(&k, &v, None, true).to_vec()?, [1.0, 2.0]);
    ///
    /// let v1 = Tensor::new(&[2.0, 7.0], [1, 2, 1, 1], &device);
    /// let neutreno = Mixing { fidelity: 0.5.into(), ..Mixing::PLAIN };
    /// let o = q.attention(&k, &v, Some((&v1, &neutreno)), true);
    /// assert_eq!(o.to_vec()?, [1.5, 4.0]);
    /// # Ok::<(), neutreno_engine::Error>(())
    /// ```
    #[track_caller]
    pub fn attention(
        &self,
        key: &Tensor,
        value: &Tensor,
        first: Option<(&Tensor, &Mixing)>,
        causal: bool,
    ) -> Tensor {
        let mut inputs = vec![self, key, value];
        let mut coefficients = Coefficients::PLAIN;
        if let Some((first, mixing)) = first {
            let given = [&mixing.own, &mixing.first, &mixing.fidelity];
            coefficients = Coefficients(given.map(|coefficient| match coefficient {
                Coefficient::Constant(value) => Source::Constant(*value),
                Coefficient::Tensor(_) => Source::Input,
            }));
            if !coefficients.is_plain() {
                inputs.push(first);
            }
            for coefficient in given {
                if let Coefficient::Tensor(tensor) = coefficient {
                    inputs.push(tensor);
                }
            }
        }
        let [output] = apply_built_in(Attention { coefficients, causal }, &inputs);
        output
    }
}

/// Inputs: q, k, v; unless the coefficients are plain, the first values; then the learnable coefficients.
/// Outputs: o, and the logarithm of each row's sum of exponentials, (batch, queries, heads).
#[derive(Clone, Debug)]
pub struct Attention {
    coefficients: Coefficients,
    causal: bool,
}

impl Kernel for Attention {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>, String> {
        let sizes = Sizes::check(inputs, self.causal)?;
        if !self.coefficients.is_plain() {
            if inputs[3] != inputs[2] {
                return Err("the first layer's values need the shape of the values".into());
            }
            if self.coefficients.fidelity_acts() && sizes.keys < sizes.queries {
                return Err("a fidelity term needs a key for each query".into());
            }
            if inputs[4..].iter().any(|shape| shape.elements() != 1) {
                return Err("a coefficient is a number or a tensor of one element".into());
            }
        }
        Ok(vec![inputs[0], sizes.rows()])
    }

    fn cost(&self, inputs: &[Shape]) -> Cost {
        let sizes = Sizes::new(&inputs[0], &inputs[1], self.causal);
        let moved = inputs.iter().map(Shape::elements).sum::<usize>()
            + inputs[0].elements()
            + sizes.rows().elements();
        // Besides the products, a pair costs a maximum, a difference, an exponential and a sum.
        let flops = sizes.pairs() * (4 * sizes.head_size as u64 + 4);
        Cost { flops, bytes: 4 * moved as u64 }
    }

    fn scratch(&self, inputs: &[Shape], threads: usize) -> Option<usize> {
        let sizes = Sizes::new(&inputs[0], &inputs[1], self.causal);
        Some(cpu_forward::scratch(&sizes, self.coefficients.mixes(), threads))
    }

    fn cpu(&self, inputs: &[View], outputs: &mut [ViewMut]) {
        let sizes = Sizes::new(&inputs[0].shape, &inputs[1].shape, self.causal);
        let first = (!self.coefficients.is_plain())
            .then(|| (inputs[3].data, self.coefficients.values(&inputs[4..])));
        let [output, log_sums, scratch] = outputs else {
            unreachable!("o, the log-sums and the working memory")
        };
        let from = Operands { q: inputs[0].data, k: inputs[1].data, v: inputs[2].data, first };
        cpu_forward::forward(&sizes, from, output, log_sums, scratch);
    }

    fn gpu(&self, inputs: &[Binding], outputs: &[Binding], gpu: &mut Recorder) {
        let sizes = Sizes::new(&inputs[0].shape, &inputs[1].shape, self.causal);
        let [q, k, v] = [&inputs[0], &inputs[1], &inputs[2]];
        let first = if self.coefficients.is_plain() { v } else { &inputs[3] };
        let gathered = self.coefficients.gather(inputs, 4, gpu);
        let inputs = [q, k, v, first, &gathered];
        fused::record(&sizes, self.coefficients, inputs, [&outputs[0], &outputs[1]], gpu);
    }
}

impl Attention {
    fn inputs(&self) -> usize {
        if self.coefficients.is_plain() { 3 } else { 4 + self.coefficients.learnable().count() }
    }
}

impl Op for Attention {
    fn saves(&self) -> Saves {
        const INPUTS: &[usize] = &[0, 1, 2, 3, 4, 5, 6];
        Saves { inputs: &INPUTS[..self.inputs()], outputs: &[0, 1] }
    }

    fn backward(&self, saved: &Saved, context: &mut GradientContext) {
        let gradient = context.of_output(0);
        let inputs: Vec<&Tensor> = (0..self.inputs()).map(|index| saved.get(index)).collect();
        let [q, k, v] = [inputs[0], inputs[1], inputs[2]];
        let [output, log_sums] = [saved.get(inputs.len()), saved.get(inputs.len() + 1)];
        let coefficients = self.coefficients;
        let device = gradient.device();
        let mut summed = vec![&gradient, output];
        if coefficients.fidelity_acts() {
            summed.extend(&inputs[2..]);
        }
        let [row_sums] = launch(&RowSums { coefficients }, &summed, device);
        if coefficients.is_plain() {
            let targets: Vec<usize> = (0..3).filter(|input| context.needs(*input)).collect();
            let needs = [0, 1, 2].map(|input| targets.contains(&input));
            let kernel = AttentionBackward { causal: self.causal, needs };
            return context.accumulate_with(
                &kernel,
                &[q, k, v, &gradient, log_sums, &row_sums],
                &targets,
            );
        }
        let mixed = match coefficients.mixes() {
            true => launch::<1>(&Mix { coefficients }, &inputs[2..], device).into_iter().next(),
            false => None,
        };
        let kernel = AttentionBackward { causal: self.causal, needs: [true; 3] };
        let operands = [q, k, mixed.as_ref().unwrap_or(v), &gradient, log_sums, &row_sums];
        let [dq, dk, d_mixed] = launch(&kernel, &operands, device);
        context.accumulate(0, dq);
        context.accumulate(1, dk);
        let needs = [2, 3].map(|input| context.needs(input));
        let of_values: Vec<usize> = (2..4).filter(|input| context.needs(*input)).collect();
        let operands: Vec<&Tensor> =
            [&d_mixed, &gradient].into_iter().chain(inputs[4..].iter().copied()).collect();
        context.accumulate_with(&ValueGradients { coefficients, needs }, &operands, &of_values);
        for (input, coefficient) in (4..).zip(coefficients.learnable()) {
            if context.needs(input) {
                let operands = [&d_mixed, &gradient, v, inputs[3]];
                context.accumulate_with(&CoefficientGradients { coefficient }, &operands, &[input]);
            }
        }
    }
}
