//! What the papers look at inside a trained model, measured layer by layer: over-smoothing and its
//! energies (Nguyen et al. 2023, arXiv 2312.00751), attention concentration, value-state drains and
//! residual-state peaks (Zhou et al. 2024, arXiv 2410.17897).
//!
//! A model's `trace` method gives a [`Trace`] of a batch of sequences; [`measure`] makes numbers of
//! it, the mean over the sequences. [`MEASUREMENTS`] says what each is. Where the first token
//! matters, all sequences should begin with the same one, as [`probe`] makes sure for text.

mod attention;
mod maps;
pub mod probe;
mod rank;
mod states;

pub use maps::{AttentionMap, attention_map};
pub use rank::effective_rank;
pub use states::{first_to_mean, token_similarity};

use crate::engine::Result;
use crate::trace::Trace;
use attention::{Attention, Heads};
use rayon::prelude::*;
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// One of the things that are measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Measurement {
    /// Its name in files.
    pub name: &'static str,
    /// Its title.
    pub title: &'static str,
    /// What its numbers are counted in.
    pub unit: &'static str,
    /// What it is, and how to read it.
    pub meaning: &'static str,
    /// Whether it has a number for the embedding before that of the first block.
    pub of_states: bool,
}

/// All that is measured, in the order in which it is shown.
pub const MEASUREMENTS: [Measurement; 13] = [
    states(
        "token_similarity",
        "Token similarity",
        "cosine",
        "The mean cosine between the residual states of different tokens. Near 1, all tokens \
         have become alike: over-smoothing.",
    ),
    states(
        "token_similarity_without_first",
        "Token similarity without the first token",
        "cosine",
        "The same without the first token, whose few huge dimensions can dominate.",
    ),
    layers(
        "attention_concentration",
        "Attention concentration",
        "nats",
        "The entropy, in nats, of the shares of attention that the tokens receive. Lower is \
         more concentrated; where every token attends evenly to all that it sees, it is ln n \
         without a mask, and about ln n − 0.42 with a causal one.",
    ),
    layers(
        "first_token_importance",
        "First-token importance",
        "of 1",
        "The share of all attention that the first token receives. Large where it serves as an \
         attention sink.",
    ),
    layers(
        "value_drain",
        "Value state of the first token",
        "ratio",
        "The norm of the first token's value, divided by the mean norm of the others; the value \
         is the one that attention averages. Far below 1 is a value-state drain.",
    ),
    states(
        "residual_peak",
        "Residual state of the first token",
        "ratio",
        "The norm of the first token's residual state, divided by the mean norm of the others. \
         Far above 1 is a residual-state peak.",
    ),
    layers(
        "value_rank",
        "Effective rank of the values",
        "directions",
        "How many directions the values of a sequence take up: exp of the entropy of the \
         eigenvalues of (1/n) Σ v vᵀ.",
    ),
    states(
        "state_rank",
        "Effective rank of the residual states",
        "directions",
        "The same of the residual states.",
    ),
    layers(
        "energy_j_values",
        "Energy J of the values",
        "value²",
        "½ Σ p(x, y) ‖u(x) − u(y)‖², a token and head, of the values that attention averages, p \
         being the attention: how rough they are.",
    ),
    layers(
        "energy_j_outputs",
        "Energy J of the outputs",
        "value²",
        "The same of what attention makes of them. Attention lowers J, towards constant tokens.",
    ),
    layers(
        "energy_ratio",
        "Energy J, outputs over values",
        "ratio",
        "How much of J one attention step leaves. Independent of the size of the values.",
    ),
    layers(
        "energy_e_values",
        "Energy E of the values",
        "value²",
        "J + λ/2 Σ ‖u(x) − v₁(x)‖², with the value of the first layer and NeuTRENO's λ: what \
         NeuTRENO lowers instead of J.",
    ),
    layers(
        "energy_e_outputs",
        "Energy E of the outputs",
        "value²",
        "The same of what attention makes of them.",
    ),
];

/// What is measured of each head too, with the name under which [`Measured`] has that: for each layer a
/// number for each of its heads, layer after layer.
pub const OF_HEADS: [Measurement; 3] = [
    layers(
        "attention_concentration_by_head",
        "Attention concentration of each head",
        "nats",
        "The entropy, in nats, of the shares of attention that the tokens receive from one head.",
    ),
    layers(
        "first_token_importance_by_head",
        "First-token importance of each head",
        "of 1",
        "The share of a head's attention that the first token receives.",
    ),
    layers(
        "energy_ratio_by_head",
        "Energy J of each head, outputs over values",
        "ratio",
        "How much of J one attention step of a head leaves.",
    ),
];

const fn states(
    name: &'static str,
    title: &'static str,
    unit: &'static str,
    meaning: &'static str,
) -> Measurement {
    Measurement { name, title, unit, meaning, of_states: true }
}

const fn layers(
    name: &'static str,
    title: &'static str,
    unit: &'static str,
    meaning: &'static str,
) -> Measurement {
    Measurement { name, title, unit, meaning, of_states: false }
}

/// What was measured: for each of [`MEASUREMENTS`], a number a layer. Where there is one for the
/// embedding, it comes first. For each of [`OF_HEADS`], a number for each head of each layer.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Measured(pub BTreeMap<String, Vec<f64>>);

impl Measured {
    /// What was written as JSON, where a number that is not finite became null.
    ///
    /// ```
    /// use neutreno_models::measure::Measured;
    /// let json = serde_json::json!({ "value_rank": [1.5, null] });
    /// let measured = Measured::from_json(&json);
    /// assert_eq!(measured.get("value_rank").unwrap()[0], 1.5);
    /// ```
    pub fn from_json(json: &Value) -> Measured {
        let number = |number: &Value| number.as_f64().unwrap_or(f64::NAN);
        let numbers = |value: &Value| value.as_array().into_iter().flatten().map(number).collect();
        let entries = json.as_object().into_iter().flatten();
        Measured(entries.map(|(name, value)| (name.clone(), numbers(value))).collect())
    }

    /// The numbers of a measurement, if they are there.
    pub fn get(&self, name: &str) -> Option<&[f64]> {
        self.0.get(name).map(Vec::as_slice)
    }

    /// The mean over several batches, weighted by how many sequences each had.
    ///
    /// ```
    /// use neutreno_models::measure::Measured;
    /// let one = |x| Measured([("value_rank".to_string(), vec![x])].into());
    /// let mean = Measured::mean(&[(one(1.0), 3), (one(5.0), 1)]);
    /// assert_eq!(mean.get("value_rank"), Some(&[2.0][..]));
    /// ```
    pub fn mean(parts: &[(Measured, usize)]) -> Measured {
        let total: usize = parts.iter().map(|(_, count)| count).sum();
        let mut mean: BTreeMap<String, Vec<f64>> = BTreeMap::new();
        for (part, count) in parts {
            for (name, numbers) in &part.0 {
                let sums = mean.entry(name.clone()).or_insert_with(|| vec![0.0; numbers.len()]);
                let share = *count as f64 / total as f64;
                sums.iter_mut().zip(numbers).for_each(|(sum, number)| *sum += share * number);
            }
        }
        Measured(mean)
    }
}

/// Measures what a model computed of a batch of sequences of at least two tokens each.
///
/// # Errors
/// If the device failed.
///
/// ```
/// use neutreno_models::engine::{Device, Ids, Parameters};
/// use neutreno_models::measure::{MEASUREMENTS, measure};
/// use neutreno_models::{LanguageModel, LanguageModelConfig};
/// let config = LanguageModelConfig::new(50, 16, 3, 2, 8);
/// let (model, _) =
///     Parameters::build(&Device::cpu(), 1, |builder| LanguageModel::new(&config, builder));
/// let measured = measure(&model.trace(&Ids::new(vec![1, 2, 3, 4], [1, 4])))?;
/// for measurement in MEASUREMENTS {
///     let numbers = measured.get(measurement.name).unwrap();
///     assert_eq!(numbers.len(), 3 + usize::from(measurement.of_states));
/// }
/// assert_eq!(measured.get("energy_ratio_by_head").unwrap().len(), 3 * 2);
/// # Ok::<(), neutreno_models::engine::Error>(())
/// ```
pub fn measure(trace: &Trace) -> Result<Measured> {
    let mut measured: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    let mut add = |name: &str, number: f64| measured.entry(name.into()).or_default().push(number);
    for states in &trace.states {
        let shape = states.shape();
        let of_one_head = states.reshape([shape[0], shape[1], 1, shape[2]]);
        let states = Heads::read(&of_one_head)?;
        let [similarity, without_first, peak, rank] = mean(&states, |vectors, size| {
            [
                token_similarity(vectors, size),
                token_similarity(&vectors[size..], size),
                first_to_mean(vectors, size),
                effective_rank(vectors, size),
            ]
        });
        add("token_similarity", similarity);
        add("token_similarity_without_first", without_first);
        add("residual_peak", peak);
        add("state_rank", rank);
    }
    for layer in &trace.layers {
        let attention = Attention::read(layer, trace.causal)?;
        let [drain, rank] = mean(&attention.mixed_value, |vectors, size| {
            [first_to_mean(vectors, size), effective_rank(vectors, size)]
        });
        let of = attention.measure(f64::from(trace.lambda));
        add("value_drain", drain);
        add("value_rank", rank);
        add("attention_concentration", of.concentration);
        add("first_token_importance", of.first_token);
        add("energy_j_values", of.j[0]);
        add("energy_j_outputs", of.j[1]);
        add("energy_ratio", of.j[1] / of.j[0]);
        add("energy_e_values", of.e[0]);
        add("energy_e_outputs", of.e[1]);
        for head in of.heads {
            add("attention_concentration_by_head", head.concentration);
            add("first_token_importance_by_head", head.first_token);
            add("energy_ratio_by_head", head.j[1] / head.j[0]);
        }
    }
    Ok(Measured(measured))
}

/// The mean over the samples.
fn mean<const N: usize>(
    vectors: &Heads,
    numbers: impl Fn(&[f64], usize) -> [f64; N] + Sync,
) -> [f64; N] {
    let of_sample = |sample| {
        let (vectors, size) = vectors.sample(sample);
        numbers(&vectors, size)
    };
    let samples: Vec<[f64; N]> = (0..vectors.batch).into_par_iter().map(of_sample).collect();
    std::array::from_fn(|i| samples.iter().map(|of| of[i]).sum::<f64>() / samples.len() as f64)
}
