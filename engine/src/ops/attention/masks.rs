//! Attention with a padding mask, and with a bias added to its scores.
//!
//! The mask goes through the fused op, which knows nothing of it: queries get one more channel, of
//! ones, in which a hidden key has a number so far below 0 that its weight is exactly 0. So memory
//! grows as the number of positions, and attention without a mask does no more work than before.
//!
//! A bias has a number for each pair of a query and a key, and so has its gradient: attention with one
//! is made of small ops, with the whole matrix of weights in memory.

use super::Mixing;
use super::unfused::{HIDDEN, attend, causal_mask, four};
use crate::Tensor;

impl Tensor {
    /// [`Tensor::attention`] in which no query sees the keys where `mask`, of shape (batch, keys), is 0:
    /// padding, which lets sequences of different lengths share a batch. A query that sees no key
    /// gets zeros. The mask is a constant; hidden keys and values must still be numbers, and their
    /// gradients are 0.
    ///
    /// Where padding comes after the text and attention is `causal`, no query of the text sees it
    /// anyway, and [`Tensor::attention`] does for less.
    ///
    /// Costs copies of queries, keys and values beside what [`Tensor::attention`] does with one
    /// channel more.
    ///
    /// # Panics
    /// As [`Tensor::attention`], and if the mask has another shape.
    ///
    /// ```
    /// use neutreno_engine::{Device, Tensor};
    /// let device = Device::cpu();
    /// let q = Tensor::zeros([2, 3, 1, 1], &device);
    /// let v = Tensor::new(&[1.0, 3.0, 50.0, 1.0, 3.0, 5.0], [2, 3, 1, 1], &device);
    /// let mask = Tensor::new(&[1.0, 1.0, 0.0, 1.0, 1.0, 1.0], [2, 3], &device);
    /// let o = q.attention_masked(&q, &v, None, false, &mask);
    /// assert_eq!(o.select(1, 0).to_vec()?, [2.0, 3.0]);
    /// # Ok::<(), neutreno_engine::Error>(())
    /// ```
    #[track_caller]
    pub fn attention_masked(
        &self,
        key: &Tensor,
        value: &Tensor,
        first: Option<(&Tensor, &Mixing)>,
        causal: bool,
        mask: &Tensor,
    ) -> Tensor {
        let [batch, queries, _, d] = four("queries", self);
        let [_, keys, kv_heads, _] = four("keys", key);
        check_mask(mask, batch, keys);
        let with_channel = |x: &Tensor, channel: &Tensor| Tensor::concatenate(&[x, channel], -1);
        let column =
            |like: &Tensor, value| Tensor::full(value, like.shape().with(3, 1), like.device());
        // Scores are divided by the root of the channels, of which there is one more now.
        let scaled = self.scale(((d + 1) as f32 / d as f32).sqrt());
        let q = with_channel(&scaled, &column(self, 1.0));
        let hidden = Tensor::where_(&mask.detach().reshape([batch, keys, 1, 1]), 0.0, HIDDEN);
        let hidden = hidden.add(&Tensor::zeros([batch, keys, kv_heads, 1], key.device()));
        let k = with_channel(key, &hidden);
        let v = with_channel(value, &column(value, 0.0));
        let attended = match first {
            None => q.attention(&k, &v, None, causal),
            Some((first, mixing)) => {
                let first = with_channel(first, &column(first, 0.0));
                q.attention(&k, &v, Some((&first, mixing)), causal)
            }
        };
        zeros_where_nothing_is_seen(&attended.slice(-1, 0..d), mask, queries, causal)
    }

    /// [`Tensor::attention`] with `bias` added to the scores Q·Kᵀ/√d before the softmax. Axes of size 1
    /// of the bias, and those it lacks on the left, are repeated to (batch, heads, queries, keys). It
    /// gets a gradient if it is tracked. `mask` hides keys as in [`Tensor::attention_masked`].
    ///
    /// Made of small ops, with the whole matrix of weights in memory, as
    /// [`Tensor::attention_unfused`].
    ///
    /// # Panics
    /// As [`Tensor::attention`], and if the bias does not broadcast to these axes or the mask has
    /// another shape.
    ///
    /// ```
    /// use neutreno_engine::{Device, Tensor};
    /// let device = Device::cpu();
    /// let q = Tensor::zeros([1, 2, 1, 1], &device);
    /// let v = Tensor::new(&[1.0, 4.0], [1, 2, 1, 1], &device);
    /// let bias = Tensor::new(&[0.0, 2.0_f32.ln()], [2], &device); // the second key counts twice
    /// let o = q.attention_biased(&q, &v, None, false, None, &bias).to_vec()?;
    /// assert!(o.iter().all(|o| (o - 3.0).abs() < 1e-6));
    /// # Ok::<(), neutreno_engine::Error>(())
    /// ```
    #[track_caller]
    pub fn attention_biased(
        &self,
        key: &Tensor,
        value: &Tensor,
        first: Option<(&Tensor, &Mixing)>,
        causal: bool,
        mask: Option<&Tensor>,
        bias: &Tensor,
    ) -> Tensor {
        let [batch, queries, heads, _] = four("queries", self);
        let [_, keys, kv_heads, _] = four("keys", key);
        let full = crate::Shape::from([batch, heads, queries, keys]);
        let shape = bias.shape();
        let fits = shape.broadcast(&full) == Some(full);
        assert!(fits, "attention_biased: a bias of {shape} for {full}");
        let [of_batch, of_heads, rows, columns] = four("bias", &bias.reshape(shape.padded(4)));
        let by_group = if of_heads == 1 { [1, 1] } else { [kv_heads, heads / kv_heads] };
        let mut added = vec![bias.reshape([of_batch, by_group[0], by_group[1], rows, columns])];
        if causal {
            added.push(causal_mask(self, queries, keys));
        }
        if let Some(mask) = mask {
            check_mask(mask, batch, keys);
            let mask = mask.detach().reshape([batch, 1, 1, 1, keys]);
            added.push(Tensor::where_(&mask, 0.0, HIDDEN));
        }
        let attended = attend(self, key, value, first, &added);
        match mask {
            None => attended,
            Some(mask) => zeros_where_nothing_is_seen(&attended, mask, queries, causal),
        }
    }
}

#[track_caller]
fn check_mask(mask: &Tensor, batch: usize, keys: usize) {
    let shape = mask.shape();
    assert!(
        shape[..] == [batch, keys],
        "attention: a mask of {shape} for {batch} times {keys} keys"
    );
}

/// `attended`, of (batch, queries, heads, d), with zeros for queries from which the mask hides all keys.
fn zeros_where_nothing_is_seen(
    attended: &Tensor,
    mask: &Tensor,
    queries: usize,
    causal: bool,
) -> Tensor {
    let shown = mask.not_equal(0.0);
    let [batch, keys] = [mask.shape()[0], mask.shape()[1]];
    let seen = if causal {
        shown.cumsum(1).slice(1, keys - queries..keys).reshape([batch, queries, 1, 1])
    } else {
        shown.sum(&[1], true).reshape([batch, 1, 1, 1])
    };
    Tensor::where_(&seen, attended, 0.0)
}
