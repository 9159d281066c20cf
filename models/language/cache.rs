//! The key-value cache: what a model keeps of the tokens it has seen, to write the next ones.

use super::config::LanguageModelConfig;
use crate::engine::half::Precision;
use crate::engine::ops::cache::{Cache, Places, Span};
use crate::engine::{Device, Result};
use crate::variant::{FirstValue, Keeps, LayerValues};

/// The keys and values of some sequences, for up to `context` tokens of each. All memory is taken at once
/// and written in place.
///
/// A sequence that has `context` tokens can go on, one token at a time: each then takes the place of the
/// oldest, and sees the last `context` of them. Layers had looked further back before, so the text is not
/// quite the one of a model that reads only the last tokens.
///
/// ```
/// use neutreno_models::engine::half::Precision;
/// use neutreno_models::engine::{Device, Ids, Parameters};
/// use neutreno_models::language::KeyValueCache;
/// use neutreno_models::{LanguageModel, LanguageModelConfig};
/// let config = LanguageModelConfig::new(50, 16, 3, 2, 8);
/// let build = |builder: &mut _| LanguageModel::new(&config, builder);
/// let device = Device::cpu();
/// let (model, _) = Parameters::build(&device, 1, build);
/// let mut cache = KeyValueCache::new(&config, 1, 8, Precision::F32, &device)?;
/// assert_eq!(cache.bytes(), 8 * config.kv_cache_bytes_per_token() as u64);
/// model.extend(&mut cache, &[&[1, 2]]);
/// let next = model.extend(&mut cache, &[&[3]]).to_vec()?;
/// assert_eq!(cache.lengths(), [3]);
/// let without = model.next_logits(&Ids::new(vec![1, 2, 3], [1, 3]), &[2]).to_vec()?;
/// assert!(next.iter().zip(without).all(|(a, b)| (a - b).abs() < 1e-5));
/// # Ok::<(), neutreno_models::engine::Error>(())
/// ```
pub struct KeyValueCache {
    pub(super) layers: Vec<LayerCache>,
    /// Those that layers have for themselves.
    caches: Vec<Cache>,
    pub(super) lengths: Vec<usize>,
    context: usize,
}

/// What one layer attends over. Clones mean the same memory, where layers share it.
#[derive(Clone)]
pub(super) struct LayerCache {
    /// K, rotated.
    pub keys: Cache,
    /// a·V + b·V₁.
    pub values: Cache,
}

/// New tokens on their way through the layers.
pub(super) struct New<'a> {
    pub places: &'a Places,
    pub first_value: FirstValue,
    /// Those of the last layer that made some.
    pub values: Option<LayerValues>,
}

impl KeyValueCache {
    /// Memory for `sequences` sequences of up to `context` tokens.
    ///
    /// # Errors
    /// If the device has no room for it.
    ///
    /// # Panics
    /// If there are no sequences or no tokens, or more than the model's longest context.
    #[track_caller]
    pub fn new(
        config: &LanguageModelConfig,
        sequences: usize,
        context: usize,
        precision: Precision,
        device: &Device,
    ) -> Result<KeyValueCache> {
        let most = config.max_position_embeddings;
        assert!(
            (1..=most).contains(&context),
            "a cache of {context} tokens for a model whose longest context has {most} \
             (max_position_embeddings)"
        );
        let shape = [sequences, context, config.num_key_value_heads, config.head_size()];
        let mut caches = Vec::new();
        let mut make = || {
            let cache = Cache::new(shape, precision, device);
            caches.push(cache.clone());
            cache
        };
        let mut layers: Vec<LayerCache> = Vec::new();
        for layer in 0..config.num_hidden_layers {
            let Keeps { key, value } = config.keeps(layer);
            let last = layers.last().cloned();
            layers.push(match last {
                // Layer 0 keeps both.
                None => LayerCache { keys: make(), values: make() },
                Some(last) => LayerCache {
                    keys: if key { make() } else { last.keys },
                    values: if value { make() } else { last.values },
                },
            });
        }
        device.synchronize()?;
        Ok(KeyValueCache { layers, caches, lengths: vec![0; sequences], context })
    }

    /// The bytes that all of it takes: for each sequence and each token of the context
    /// [`LanguageModelConfig::kv_cache_bytes_per_token_in`] its precision.
    pub fn bytes(&self) -> u64 {
        self.caches.iter().map(Cache::bytes).sum()
    }

    /// How many tokens each sequence has had so far.
    pub fn lengths(&self) -> &[usize] {
        &self.lengths
    }

    /// The tokens of each sequence that there is room for.
    pub fn context(&self) -> usize {
        self.context
    }

    /// How the numbers are kept.
    pub fn precision(&self) -> Precision {
        self.caches[0].precision()
    }

    /// Forgets all tokens of a sequence but the first `length`.
    ///
    /// # Panics
    /// If there is no such sequence or it has fewer tokens, or some of the first ones were overwritten.
    #[track_caller]
    pub fn truncate(&mut self, sequence: usize, length: usize) {
        let now = self.lengths[sequence];
        let kept = length <= now && now <= self.context || length == now || length == 0;
        assert!(kept, "the first {length} tokens of {now} in a cache of {}", self.context);
        self.lengths[sequence] = length;
    }

    /// The spans of at most `most` tokens, in the order of the sequences, that come next of `tokens`, of
    /// which those from `done` on are left.
    pub(super) fn next_spans(&self, tokens: &[&[u32]], done: &[usize], most: usize) -> Vec<Span> {
        let mut room = most;
        let mut spans = Vec::new();
        for (sequence, tokens) in tokens.iter().enumerate() {
            let (position, left) = (self.lengths[sequence], tokens.len() - done[sequence]);
            // Beyond the last position tokens go one by one.
            let fits = self.context.saturating_sub(position).max(1);
            let tokens = left.min(room).min(fits);
            if tokens > 0 {
                spans.push(Span { sequence, position, tokens });
                room -= tokens;
            }
        }
        spans
    }
}
