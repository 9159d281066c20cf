//! What the layers of a model hand on beside the residual stream: the first value, and a record of
//! what they computed where that is to be measured.

use crate::engine::Tensor;
use crate::engine::ops::attention::{Coefficient, Mixing};
use crate::variant::LayerMixing;

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

/// Goes along from layer to layer in one pass.
#[derive(Default)]
pub(crate) struct Carry {
    first_value: Option<Tensor>,
    trace: Option<Trace>,
}

impl Carry {
    /// One that also keeps a record.
    pub(crate) fn recording(causal: bool, lambda: f32) -> Carry {
        let trace = Trace { states: Vec::new(), layers: Vec::new(), causal, lambda };
        Carry { first_value: None, trace: Some(trace) }
    }

    /// One that starts with the first value already known, or with none.
    pub(crate) fn with_first_value(first_value: Option<Tensor>) -> Carry {
        Carry { first_value, trace: None }
    }

    pub(crate) fn first_value(&self) -> Option<&Tensor> {
        self.first_value.as_ref()
    }

    /// Takes note of the first value where a layer was run apart from this.
    pub(crate) fn set_first_value(&mut self, first_value: Tensor) {
        self.first_value = Some(first_value);
    }

    /// Lets the next layer be a first one: that of another stack of layers.
    pub(crate) fn forget_first_value(&mut self) {
        self.first_value = None;
    }

    pub(crate) fn is_recording(&self) -> bool {
        self.trace.is_some()
    }

    /// Attention with the variant's mix of values. `own` is the layer's value, `None` in
    /// SVFormer's layers after the first. V₁ is set by the first layer and read by the others, not
    /// detached, so that all layers' gradients flow into the first layer's value projection.
    #[track_caller]
    pub(crate) fn attend(
        &mut self,
        query: &Tensor,
        key: &Tensor,
        own: Option<&Tensor>,
        mixing: &LayerMixing,
        causal: bool,
    ) -> Tensor {
        let own_first = || own.cloned().expect("the first layer has a value projection");
        let first = self.first_value.get_or_insert_with(own_first).clone();
        let mixing = own.map(|own| (own, mixing.mixing()));
        let output = match &mixing {
            Some((own, mixing)) => query.attention(key, own, Some((&first, mixing)), causal),
            None => query.attention(key, &first, None, causal),
        };
        if let Some(trace) = &mut self.trace {
            trace.layers.push(AttentionTrace {
                query: query.clone(),
                output: output.clone(),
                key: key.clone(),
                value: own.unwrap_or(&first).clone(),
                mixed_value: mixing
                    .map_or_else(|| first.clone(), |(own, mixing)| mix(own, &first, &mixing)),
                first_value: first,
            });
        }
        output
    }

    /// Keeps the residual stream, if a record is kept.
    pub(crate) fn record(&mut self, states: &Tensor) {
        if let Some(trace) = &mut self.trace {
            trace.states.push(states.clone());
        }
    }

    /// The record.
    ///
    /// # Panics
    /// If none was kept.
    pub(crate) fn into_trace(self) -> Trace {
        self.trace.expect("a record was kept")
    }
}

fn mix(own: &Tensor, first: &Tensor, mixing: &Mixing) -> Tensor {
    let times = |value: &Tensor, factor: &Coefficient| match factor {
        Coefficient::Constant(factor) => value.scale(*factor),
        Coefficient::Tensor(factor) => value.multiply(factor),
    };
    times(own, &mixing.own).add(&times(first, &mixing.first))
}

#[cfg(test)]
mod tests {
    use crate::engine::{Device, Ids, Parameters};
    use crate::{LanguageModel, LanguageModelConfig, ResformerKind, Variant, VariantConfig};

    /// O = P·V′ + c·(V₁ − V) with what was recorded, layer by layer, for every variant: the record
    /// is of what the model computes.
    #[test]
    fn what_is_recorded_fits_together() {
        let learnable = VariantConfig {
            resformer_kind: Some(ResformerKind::Learnable),
            ..VariantConfig::new(Variant::Resformer)
        };
        let variants = Variant::ALL.map(VariantConfig::new).into_iter().chain([learnable]);
        for variant in variants {
            let mut config = LanguageModelConfig::new(20, 16, 3, 2, 8);
            config.variant = variant;
            let build = |builder: &mut _| LanguageModel::new(&config, builder);
            let (model, _) = Parameters::build(&Device::cpu(), 1, build);
            let trace = model.trace(&Ids::new(vec![1, 2, 3, 4, 5, 6], [2, 3]));
            let first = &trace.layers[0].value;
            for (layer, of) in trace.layers.iter().enumerate() {
                let fidelity = match config.variant.variant {
                    Variant::Neutreno if layer > 0 => trace.lambda,
                    _ => 0.0,
                };
                let averaged = of.query.attention(&of.key, &of.mixed_value, None, trace.causal);
                let pull = of.first_value.subtract(&of.value).scale(fidelity);
                let rest = of.output.subtract(&averaged.add(&pull)).to_vec().unwrap();
                assert!(rest.iter().all(|x| x.abs() < 1e-5), "{:?}, layer {layer}", config.variant);
                assert_eq!(of.first_value.to_vec().unwrap(), first.to_vec().unwrap());
            }
        }
    }
}
