//! What the layers of a model compute, kept where it is to be measured.

use crate::engine::Tensor;
use crate::variant::LayerValues;

/// What a pass through a model computed, for [`crate::measure`].
///
/// ```
/// use neutreno_models::engine::{Device, Ids, Parameters};
/// use neutreno_models::{LanguageModel, LanguageModelConfig};
/// let config = LanguageModelConfig::new(50, 16, 3, 2, 8);
/// let (model, _) =
///     Parameters::build(&Device::cpu(), 1, |builder| LanguageModel::new(&config, builder));
/// let trace = model.trace(&Ids::new(vec![1, 2, 3, 4], [2, 2]));
/// assert_eq!((trace.states.len(), trace.layers.len()), (3 + 1, 3));
/// assert_eq!(trace.layers[2].query.shape()[..], [2, 2, 2, 8]);
/// ```
#[derive(Clone, Debug)]
pub struct Trace {
    /// The residual stream (batch, tokens, width): after the embedding, and after each block. A
    /// second stack of blocks, such as a mask transformer, may have other tokens.
    pub states: Vec<Tensor>,
    /// The attention of each block.
    pub layers: Vec<AttentionTrace>,
    /// Whether a token sees only itself and those before it.
    pub causal: bool,
    /// λ of NeuTRENO's energy E: the model's own, or for other variants the usual one.
    pub lambda: f32,
}

/// What one layer's attention computed. All are (batch, tokens, heads, head size), the last four
/// with the number of key and value heads.
#[derive(Clone, Debug)]
pub struct AttentionTrace {
    /// Q, rotated where the model rotates.
    pub query: Tensor,
    /// The output, before the output projection.
    pub output: Tensor,
    /// K, rotated where the model rotates.
    pub key: Tensor,
    /// V; in SVFormer's later layers, which have none, V₁.
    pub value: Tensor,
    /// V₁: the value of the first layer of its stack.
    pub first_value: Tensor,
    /// a·V + b·V₁: what the attention matrix averages.
    pub mixed_value: Tensor,
}

impl Trace {
    /// One that has seen nothing yet.
    pub(crate) fn new(causal: bool, lambda: f32) -> Trace {
        Trace { states: Vec::new(), layers: Vec::new(), causal, lambda }
    }

    /// Keeps the residual stream.
    pub(crate) fn keep_states(&mut self, states: &Tensor) {
        self.states.push(states.clone());
    }

    /// Keeps what a layer's attention made of queries, keys and values.
    pub(crate) fn keep_attention(
        &mut self,
        query: &Tensor,
        key: &Tensor,
        values: &LayerValues,
        output: &Tensor,
    ) {
        self.layers.push(AttentionTrace {
            query: query.clone(),
            output: output.clone(),
            key: key.clone(),
            value: values.own().clone(),
            first_value: values.first.clone(),
            mixed_value: values.mixed(),
        });
    }
}
