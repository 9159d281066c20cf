//! The same attention made of small ops: to read, and to check the fused one against.

use super::{Coefficient, Mixing};
use crate::Tensor;

/// What is added to the score of a key that a query does not see.
pub(super) const HIDDEN: f32 = -1e30;

impl Tensor {
    /// What [`Tensor::attention`] computes, step by step, with the whole matrix P in memory: as
    /// slow and as large as that makes it.
    ///
    /// # Panics
    /// As [`Tensor::attention`].
    ///
    /// ```
    /// use neutreno_engine::{Device, Tensor};
    /// let device = Device::cpu();
    /// let q = Tensor::zeros([1, 2, 1, 1], &device);
    /// let v = Tensor::new(&[1.0, 3.0], [1, 2, 1, 1], &device);
    /// assert_eq!(q.attention_unfused(&q, &v, None, true).to_vec()?, [1.0, 2.0]);
    /// # Ok::<(), neutreno_engine::Error>(())
    /// ```
    #[track_caller]
    pub fn attention_unfused(
        &self,
        key: &Tensor,
        value: &Tensor,
        first: Option<(&Tensor, &Mixing)>,
        causal: bool,
    ) -> Tensor {
        let [_, queries, ..] = four("queries", self);
        let [_, keys, ..] = four("keys", key);
        let added = if causal { vec![causal_mask(self, queries, keys)] } else { Vec::new() };
        attend(self, key, value, first, &added)
    }
}

/// Attention with tensors `added` to the scores, which are (batch, kv heads, group, queries, keys).
#[track_caller]
pub(super) fn attend(
    query: &Tensor,
    key: &Tensor,
    value: &Tensor,
    first: Option<(&Tensor, &Mixing)>,
    added: &[Tensor],
) -> Tensor {
    let [batch, queries, heads, d] = four("queries", query);
    let [_, keys, kv_heads, _] = four("keys", key);
    let group = heads / kv_heads;
    // The heads before the positions; those of a group share their keys and values.
    let q = query.reshape([batch, queries, kv_heads, group, d]).permute(&[0, 2, 3, 1, 4]);
    let by_head = |x: &Tensor| x.reshape([batch, keys, kv_heads, 1, d]).permute(&[0, 2, 3, 1, 4]);

    let scores = q.matmul_with(&by_head(key), false, true).scale(1.0 / (d as f32).sqrt());
    let scores = added.iter().fold(scores, |scores, added| scores.add(added));
    let weights = scores.softmax(-1);

    let mixed = match first {
        None => value.clone(),
        Some((first, mixing)) => mixing.mix(value, first),
    };
    let attended = weights.matmul(&by_head(&mixed)).permute(&[0, 3, 1, 2, 4]);
    let attended = match first {
        Some((first, mixing)) if !matches!(mixing.fidelity, Coefficient::Constant(0.0)) => {
            let own = |x: &Tensor| x.slice(1, keys - queries..keys);
            let fidelity = times(&own(first).add(&own(value).negate()), &mixing.fidelity);
            attended.add(&fidelity.reshape([batch, queries, kv_heads, 1, d]))
        }
        _ => attended,
    };
    attended.reshape(query.shape())
}

impl Mixing {
    /// own·V + first·V₁ of a layer's values and the first layer's: what the fused op attends over
    /// without making it a tensor.
    ///
    /// # Panics
    /// If the shapes differ.
    ///
    /// ```
    /// use neutreno_engine::{Device, Tensor, ops::attention::Mixing};
    /// let device = Device::cpu();
    /// let [v, v1] = [1.0, 5.0].map(|value| Tensor::full(value, [1, 1, 1, 1], &device));
    /// let resformer = Mixing { own: 0.5.into(), first: 0.5.into(), ..Mixing::PLAIN };
    /// assert_eq!(resformer.mix(&v, &v1).to_scalar()?, 3.0);
    /// # Ok::<(), neutreno_engine::Error>(())
    /// ```
    #[track_caller]
    pub fn mix(&self, value: &Tensor, first: &Tensor) -> Tensor {
        match (&self.own, &self.first) {
            (Coefficient::Constant(1.0), Coefficient::Constant(0.0)) => value.clone(),
            (own, of_first) => times(value, own).add(&times(first, of_first)),
        }
    }
}

#[track_caller]
pub(super) fn four(name: &str, x: &Tensor) -> [usize; 4] {
    let shape = x.shape();
    let Ok(sizes) = shape[..].try_into() else {
        panic!("attention: {name} of shape {shape}, not of four axes");
    };
    sizes
}

fn times(x: &Tensor, coefficient: &Coefficient) -> Tensor {
    match coefficient {
        Coefficient::Constant(factor) => x.scale(*factor),
        Coefficient::Tensor(factor) => x.multiply(factor),
    }
}

/// 0 where a query sees a key, else a number that leaves it no weight.
#[track_caller]
pub(super) fn causal_mask(like: &Tensor, queries: usize, keys: usize) -> Tensor {
    assert!(queries <= keys, "attention: causal, with {queries} queries and {keys} keys");
    let hidden = |query: usize, key: usize| key > query + keys - queries;
    let numbers: Vec<f32> = (0..queries * keys)
        .map(|index| if hidden(index / keys, index % keys) { HIDDEN } else { 0.0 })
        .collect();
    Tensor::new(&numbers, [queries, keys], like.device())
}
