//! Dealing tokens out: training batches in a random but repeatable order, evaluation windows that
//! score every token but the first exactly once, and what a model without context would reach.

use crate::engine::random::Key;
use std::sync::Arc;
use thiserror::Error;

/// The target of a position that is not scored.
pub const IGNORED: u32 = u32::MAX;

/// Why tokens can't be dealt out as asked.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum BatchError {
    /// Not even one window fits.
    #[error(
        "the data has {tokens} tokens, and a context of {context} needs at least {}: \
         choose a shorter context or give more text",
        context + 1
    )]
    TooShort {
        /// How many tokens there are.
        tokens: usize,
        /// How many tokens the model sees at once.
        context: usize,
    },
    /// A number that must be at least 1 is 0.
    #[error("{0} is 0 and must be at least 1")]
    Zero(&'static str),
    /// Windows further apart than they are long would leave tokens unscored.
    #[error(
        "an evaluation stride of {stride} leaves tokens out: it must be at most the context, {context}"
    )]
    Stride {
        /// How far apart windows start.
        stride: usize,
        /// How long windows are.
        context: usize,
    },
    /// One token predicts nothing.
    #[error("evaluation needs at least 2 tokens, and there are {0}: give more text")]
    NothingToScore(usize),
}

/// Training batches: windows of the data that don't overlap, in an order that changes each epoch.
///
/// A batch is a function of the key and the step alone, so that a run is resumed from a number and
/// every model trained with the same key sees the same data in the same order. In each epoch the
/// windows are shifted by a random offset below the context, so that they are cut elsewhere each
/// time, and are visited once each in a random order; examples are counted on through the
/// epochs, so that a batch may hold the end of one and the beginning of the next.
///
/// ```
/// use neutreno::data::batches::TrainingBatches;
/// use neutreno::engine::random::Key;
/// let tokens: Vec<u32> = (0..1000).collect();
/// let mut batches = TrainingBatches::new(tokens.into(), 16, 4, Key::new(1))?;
/// let (inputs, targets) = batches.batch(7);
/// assert_eq!(inputs.len(), 4 * 16);
/// assert_eq!(targets[0], inputs[1]);
/// # Ok::<(), neutreno::data::batches::BatchError>(())
/// ```
#[derive(Clone, Debug)]
pub struct TrainingBatches {
    tokens: Arc<[u32]>,
    context: usize,
    batch: usize,
    key: Key,
    /// Kept only to save time: all of it follows from the key and the epoch's number.
    epoch: Epoch,
}

#[derive(Clone, Debug)]
struct Epoch {
    number: u64,
    offset: usize,
    order: Vec<usize>,
}

impl TrainingBatches {
    /// Batches of `batch` windows of `context` tokens each.
    ///
    /// # Errors
    /// If `context` or `batch` is 0, or there are fewer than `context` + 1 tokens.
    pub fn new(
        tokens: Arc<[u32]>,
        context: usize,
        batch: usize,
        key: Key,
    ) -> Result<TrainingBatches, BatchError> {
        for (number, name) in [(context, "the context"), (batch, "the batch")] {
            if number == 0 {
                return Err(BatchError::Zero(name));
            }
        }
        if tokens.len() <= context {
            return Err(BatchError::TooShort { tokens: tokens.len(), context });
        }
        let epoch = Epoch::new(tokens.len(), context, key, 0);
        Ok(TrainingBatches { tokens, context, batch, key, epoch })
    }

    /// The inputs and targets of a step, counted from 0, each of shape [batch, context] row by
    /// row; a target is the token after its input.
    pub fn batch(&mut self, step: u64) -> (Vec<u32>, Vec<u32>) {
        let size = self.batch * self.context;
        let (mut inputs, mut targets) = (Vec::with_capacity(size), Vec::with_capacity(size));
        for row in 0..self.batch as u64 {
            let start = self.start(step * self.batch as u64 + row);
            inputs.extend_from_slice(&self.tokens[start..start + self.context]);
            targets.extend_from_slice(&self.tokens[start + 1..start + 1 + self.context]);
        }
        (inputs, targets)
    }

    /// How many windows an epoch has.
    pub fn windows_per_epoch(&self) -> usize {
        self.epoch.order.len()
    }

    /// Where the window of an example begins; examples are numbered through all epochs.
    fn start(&mut self, example: u64) -> usize {
        let windows = self.windows_per_epoch() as u64;
        let (epoch, index) = (example / windows, (example % windows) as usize);
        if epoch != self.epoch.number {
            self.epoch = Epoch::new(self.tokens.len(), self.context, self.key, epoch);
        }
        self.epoch.offset + self.epoch.order[index] * self.context
    }
}

impl Epoch {
    fn new(tokens: usize, context: usize, key: Key, number: u64) -> Epoch {
        // As many windows as fit behind the largest offset, so that every epoch has the same.
        let windows = ((tokens - context) / context).max(1);
        let largest_offset = (tokens - 1 - windows * context).min(context - 1);
        let key = key.named("epoch").fold(number);
        let offset = key.named("offset").generator().below(largest_offset as u64 + 1) as usize;
        Epoch { number, offset, order: key.named("order").permutation(windows) }
    }
}

/// Evaluation windows: every token but the first is a target exactly once.
///
/// Windows of `context` tokens start `stride` apart. The first scores all of its targets, each
/// later one its last `stride`, so each of those has seen more than `context` − `stride` tokens
/// before it. A smaller stride costs `context` / `stride` times as much and flatters no one: it
/// only spares tokens from being predicted out of the blue. The last window is filled up with
/// token 0, which no earlier position sees in a causal model, and [`IGNORED`] targets.
///
/// ```
/// use neutreno::data::batches::{EvaluationWindows, IGNORED};
/// let windows = EvaluationWindows::new(&[10, 11, 12, 13, 14, 15], 4, 2)?;
/// assert_eq!(windows.window(0), (vec![10, 11, 12, 13], vec![11, 12, 13, 14]));
/// assert_eq!(windows.window(1), (vec![12, 13, 14, 0], vec![IGNORED, IGNORED, 15, IGNORED]));
/// assert_eq!(windows.len(), 2);
/// # Ok::<(), neutreno::data::batches::BatchError>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct EvaluationWindows<'a> {
    tokens: &'a [u32],
    context: usize,
    stride: usize,
}

impl<'a> EvaluationWindows<'a> {
    /// Windows over all tokens; they may be fewer than the context.
    ///
    /// # Errors
    /// If a number is 0, the stride is larger than the context, or there are fewer than 2 tokens.
    pub fn new(
        tokens: &'a [u32],
        context: usize,
        stride: usize,
    ) -> Result<EvaluationWindows<'a>, BatchError> {
        for (number, name) in [(context, "the context"), (stride, "the evaluation stride")] {
            if number == 0 {
                return Err(BatchError::Zero(name));
            }
        }
        if stride > context {
            return Err(BatchError::Stride { stride, context });
        }
        if tokens.len() < 2 {
            return Err(BatchError::NothingToScore(tokens.len()));
        }
        Ok(EvaluationWindows { tokens, context, stride })
    }

    /// How many windows there are, at least 1.
    #[expect(clippy::len_without_is_empty, reason = "there is always a window")]
    pub fn len(&self) -> usize {
        1 + (self.scored() as usize).saturating_sub(self.context).div_ceil(self.stride)
    }

    /// How many tokens are scored: all but the first.
    pub fn scored(&self) -> u64 {
        self.tokens.len() as u64 - 1
    }

    /// The inputs and targets of a window, `context` of each.
    ///
    /// # Panics
    /// If `index` is not below [`EvaluationWindows::len`].
    pub fn window(&self, index: usize) -> (Vec<u32>, Vec<u32>) {
        assert!(index < self.len(), "window {index} of {}", self.len());
        let start = index * self.stride;
        let end = (start + self.context).min(self.tokens.len() - 1);
        let mut inputs = self.tokens[start..end].to_vec();
        let mut targets = self.tokens[start + 1..end + 1].to_vec();
        if index > 0 {
            targets[..self.context - self.stride].fill(IGNORED);
        }
        inputs.resize(self.context, 0);
        targets.resize(self.context, IGNORED);
        (inputs, targets)
    }

    /// The windows in order, `rows` at a time: inputs and targets of shape [rows, context] row by
    /// row. The last batch may have fewer rows.
    ///
    /// # Panics
    /// If `rows` is 0.
    pub fn batches(self, rows: usize) -> impl Iterator<Item = (Vec<u32>, Vec<u32>)> + 'a {
        (0..self.len().div_ceil(rows)).map(move |number| self.batch(number, rows))
    }

    /// The batch of this number among those [`batches`](EvaluationWindows::batches).
    ///
    /// # Panics
    /// If there are not so many.
    pub fn batch(&self, number: usize, rows: usize) -> (Vec<u32>, Vec<u32>) {
        let first = number * rows;
        let last = (first + rows).min(self.len());
        assert!(first < last, "batch {number} of {} windows, {rows} at a time", self.len());
        let (inputs, targets): (Vec<_>, Vec<_>) =
            (first..last).map(|index| self.window(index)).unzip();
        (inputs.concat(), targets.concat())
    }
}

/// The total −ln p, in nats, of all tokens but the first when each has its frequency in the
/// training data as its probability, with 1 added to every count (Laplace): what a model that
/// looks at no context can reach. Divide by the number of words for other units.
///
/// # Panics
/// If a token is not below `vocabulary`.
pub fn unigram_nats(train: &[u32], evaluated: &[u32], vocabulary: usize) -> f64 {
    let mut counts = vec![1_u64; vocabulary];
    for &token in train {
        counts[token as usize] += 1;
    }
    let total = (train.len() + vocabulary) as f64;
    evaluated.iter().skip(1).map(|&token| (total / counts[token as usize] as f64).ln()).sum()
}

/// exp of [`unigram_nats`] a token.
///
/// ```
/// use neutreno::data::batches::unigram_perplexity;
/// // p(0) = 3/4, p(1) = 1/4.
/// assert!((unigram_perplexity(&[0, 0], &[1, 1], 2) - 4.0).abs() < 1e-9);
/// ```
///
/// # Panics
/// If a token is not below `vocabulary`, or `evaluated` has fewer than 2 tokens.
pub fn unigram_perplexity(train: &[u32], evaluated: &[u32], vocabulary: usize) -> f64 {
    assert!(evaluated.len() >= 2, "a perplexity needs at least 2 tokens");
    (unigram_nats(train, evaluated, vocabulary) / (evaluated.len() - 1) as f64).exp()
}

/// The total −ln p, in nats, of all tokens but the first when all are equally likely: where an
/// untrained model starts. A token's perplexity is then the vocabulary.
pub fn uniform_nats(evaluated: &[u32], vocabulary: usize) -> f64 {
    evaluated.len().saturating_sub(1) as f64 * (vocabulary as f64).ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Data whose tokens are their own positions.
    fn positions(count: usize) -> Arc<[u32]> {
        (0..count as u32).collect()
    }

    #[test]
    fn an_epoch_visits_every_window_once() {
        for (tokens, context, batch) in
            [(2, 1, 1), (5, 4, 3), (9, 4, 2), (100, 7, 4), (1000, 16, 5), (513, 64, 64)]
        {
            let key = Key::new(3);
            let mut batches = TrainingBatches::new(positions(tokens), context, batch, key).unwrap();
            let windows = batches.windows_per_epoch();
            // At most an offset and a tail are left out.
            assert!(windows * context + 2 * context >= tokens, "{tokens} {context}");
            let epochs = 6;
            let steps = (epochs * windows).div_ceil(batch) as u64;
            let starts: Vec<usize> = (0..steps)
                .flat_map(|step| {
                    let (inputs, targets) = batches.batch(step);
                    let next: Vec<u32> = inputs.iter().map(|&token| token + 1).collect();
                    assert_eq!(targets, next);
                    inputs.chunks(context).map(|row| row[0] as usize).collect::<Vec<_>>()
                })
                .collect();
            for epoch in starts.chunks_exact(windows) {
                let mut epoch = epoch.to_vec();
                epoch.sort_unstable();
                assert!(epoch[0] < context);
                assert!(epoch.windows(2).all(|pair| pair[1] == pair[0] + context));
            }
        }
    }

    #[test]
    fn a_batch_depends_on_the_step_and_the_key_alone() {
        let new = |seed| TrainingBatches::new(positions(333), 10, 4, Key::new(seed)).unwrap();
        let forward: Vec<_> = (0..40).map(|step| new(1).batch(step)).collect();
        let mut batches = new(1);
        for step in (0..40).rev() {
            assert_eq!(batches.batch(step), forward[step as usize]);
        }
        assert_ne!(new(2).batch(0), forward[0]);
        // Offsets and orders differ between epochs.
        let offset = |epoch: u64| Epoch::new(333, 10, Key::new(1), epoch).offset;
        assert!((1..20).any(|epoch| offset(epoch) != offset(0)));
    }

    #[test]
    fn evaluation_scores_every_token_but_the_first_once() {
        for (tokens, context) in [(2, 1), (2, 9), (9, 8), (10, 8), (57, 8), (64, 8), (100, 33)] {
            for stride in 1..=context {
                let tokens = positions(tokens);
                let windows = EvaluationWindows::new(&tokens, context, stride).unwrap();
                let mut scored = Vec::new();
                for (inputs, targets) in windows.batches(3) {
                    assert_eq!(inputs.len(), targets.len());
                    assert!(inputs.len() % context == 0 && inputs.len() <= 3 * context);
                    for (row, targets) in inputs.chunks(context).zip(targets.chunks(context)) {
                        for (position, &target) in targets.iter().enumerate() {
                            if target != IGNORED {
                                assert_eq!(target, row[position] + 1);
                                assert!(row[0] == 0 || position >= context - stride);
                                scored.push(target);
                            }
                        }
                    }
                }
                assert_eq!(scored, tokens[1..]);
                assert_eq!(scored.len() as u64, windows.scored());
            }
        }
    }

    #[test]
    fn what_cannot_be_dealt_out_is_an_error() {
        let train = |tokens, context, batch| {
            TrainingBatches::new(positions(tokens), context, batch, Key::new(0)).unwrap_err()
        };
        let message = train(64, 64, 1).to_string();
        assert!(message.contains("64 tokens") && message.contains("65"), "{message}");
        assert_eq!(train(64, 0, 1), BatchError::Zero("the context"));
        assert_eq!(train(64, 1, 0), BatchError::Zero("the batch"));
        let evaluate = |tokens, context, stride| {
            EvaluationWindows::new(&positions(tokens), context, stride).unwrap_err()
        };
        assert_eq!(evaluate(9, 4, 5), BatchError::Stride { stride: 5, context: 4 });
        assert_eq!(evaluate(9, 4, 0), BatchError::Zero("the evaluation stride"));
        assert_eq!(evaluate(1, 4, 4), BatchError::NothingToScore(1));
    }

    #[test]
    fn a_uniform_text_has_its_vocabulary_as_perplexity() {
        let text: Vec<u32> = (0..800).map(|i| i % 8).collect();
        assert!((unigram_perplexity(&text, &text, 8) - 8.0).abs() < 1e-9);
        assert!((uniform_nats(&text, 8) - unigram_nats(&text, &text, 8)).abs() < 1e-6);
    }
}
