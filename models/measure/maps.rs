//! Attention matrices, made small enough to look at.

use super::attention::Attention;
use crate::engine::Result;
use crate::trace::Trace;

/// A matrix larger than this is shown in so many rows and columns, each standing for several tokens.
const MOST: usize = 128;

/// The attention matrix of one head of one sample, a row a query and a column a key.
#[derive(Clone, Debug, PartialEq)]
pub struct AttentionMap {
    /// How many rows and columns there are: as many as tokens, or fewer for long sequences.
    pub side: usize,
    /// Row-major: the mean over the queries that share a row of the attention that they give to the
    /// keys of a column together. Each row sums to 1.
    pub weights: Vec<f64>,
}

/// The attention of one head of one sample.
///
/// # Errors
/// If the device failed.
///
/// # Panics
/// If there is no such layer, head or sample.
///
/// ```
/// use neutreno_models::engine::{Device, Ids, Parameters};
/// use neutreno_models::measure::attention_map;
/// use neutreno_models::{LanguageModel, LanguageModelConfig};
/// let config = LanguageModelConfig::new(50, 16, 3, 2, 8);
/// let (model, _) =
///     Parameters::build(&Device::cpu(), 1, |builder| LanguageModel::new(&config, builder));
/// let trace = model.trace(&Ids::new(vec![1, 2, 3], [1, 3]));
/// let map = attention_map(&trace, 0, 1, 0)?;
/// // The first token sees only itself.
/// assert_eq!((map.side, &map.weights[..3]), (3, &[1.0, 0.0, 0.0][..]));
/// # Ok::<(), neutreno_models::engine::Error>(())
/// ```
pub fn attention_map(
    trace: &Trace,
    layer: usize,
    head: usize,
    sample: usize,
) -> Result<AttentionMap> {
    let attention = Attention::read(&trace.layers[layer], trace.causal)?;
    assert!(head < attention.heads(), "head {head} of {}", attention.heads());
    let tokens = attention.tokens();
    let side = tokens.min(MOST);
    let bin = |token: usize| token * side / tokens;
    let mut weights = vec![0.0; side * side];
    let mut counts = vec![0_u32; side];
    (0..tokens).for_each(|token| counts[bin(token)] += 1);
    attention.rows(sample, head, |row, given| {
        for (column, weight) in given.iter().enumerate() {
            weights[bin(row) * side + bin(column)] += weight;
        }
    });
    for (row, count) in weights.chunks_exact_mut(side).zip(counts) {
        row.iter_mut().for_each(|weight| *weight /= f64::from(count));
    }
    Ok(AttentionMap { side, weights })
}
