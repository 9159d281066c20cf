//! Going on from what a cache has: prompts in pieces, and token after token.

use super::cache::{KeyValueCache, New};
use super::model::LanguageModel;
use crate::engine::ops::cache::{Places, Span};
use crate::engine::{Ids, Tensor, no_grad};
use crate::variant::FirstValue;

/// So many tokens go through the layers at once: enough for products to run well, few enough that what they
/// compute takes little memory.
const AT_ONCE: usize = 512;

impl LanguageModel {
    /// Appends tokens to the sequences of a cache, to each its own, of which some may have none: a prompt
    /// or a part of it, or the next token. The result are the logits of what follows the last token of
    /// each sequence that got one, in their order: (sequences with new tokens, vocabulary). No sequence
    /// sees another, and there is no padding: rows stand for tokens alone.
    ///
    /// # Panics
    /// If the cache is that of another configuration or has another number of sequences, if none has a
    /// token, or an id is not in the vocabulary.
    #[track_caller]
    pub fn extend(&self, cache: &mut KeyValueCache, tokens: &[&[u32]]) -> Tensor {
        let sequences = cache.lengths.len();
        assert!(tokens.len() == sequences, "tokens of {} sequences of {sequences}", tokens.len());
        let layers = [cache.layers.len(), self.blocks.len()];
        assert!(
            layers[0] == layers[1],
            "a cache of {} layers for a model of {}",
            layers[0],
            layers[1]
        );
        assert!(tokens.iter().any(|tokens| !tokens.is_empty()), "no token to go on with");
        self.check_vocabulary(tokens.iter().copied().flatten());
        let device = self.device().clone();
        device.install(|| no_grad(|| self.extend_all(cache, tokens)))
    }

    fn extend_all(&self, cache: &mut KeyValueCache, tokens: &[&[u32]]) -> Tensor {
        let sequences = tokens.len();
        let mut done = vec![0; sequences];
        let mut last: Vec<Option<Tensor>> = vec![None; sequences];
        loop {
            let spans = cache.next_spans(tokens, &done, AT_ONCE);
            if spans.is_empty() {
                break;
            }
            let ids = spans.iter().flat_map(|Span { sequence, tokens: count, .. }| {
                &tokens[*sequence][done[*sequence]..][..*count]
            });
            let ids: Vec<u32> = ids.copied().collect();
            let states = self.extend_once(cache, ids, &spans);
            let mut row = 0;
            for Span { sequence, tokens: count, .. } in spans {
                row += count;
                done[sequence] += count;
                cache.lengths[sequence] += count;
                if done[sequence] == tokens[sequence].len() {
                    last[sequence] = Some(states.slice(0, row - 1..row));
                }
            }
        }
        let last: Vec<Tensor> = last.into_iter().flatten().collect();
        self.output(&join(&last))
    }

    /// What the output layer sees of tokens that are not too many: (rows, width).
    fn extend_once(&self, cache: &KeyValueCache, ids: Vec<u32>, spans: &[Span]) -> Tensor {
        let places = Places::new(spans, cache.context());
        let rows = ids.len();
        let mut states = self.embed(&Ids::new(ids, [rows]));
        let mut new = New { places: &places, first_value: FirstValue::default(), values: None };
        for (block, cache) in self.blocks.iter().zip(&cache.layers) {
            states = block.extend(&states, &mut new, cache);
        }
        self.normalize(&states)
    }
}

/// Rows below each other.
fn join(rows: &[Tensor]) -> Tensor {
    match rows {
        [one] => one.clone(),
        _ => Tensor::concatenate(&rows.iter().collect::<Vec<_>>(), 0),
    }
}
