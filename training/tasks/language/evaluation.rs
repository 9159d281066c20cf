//! Scoring a text: every token but the first exactly once.

use crate::data::batches::{EvaluationWindows, IGNORED};
use crate::data::tokenizer::{Tokenizer, words_and_line_ends};
use crate::engine::device::Reading;
use crate::engine::{Ids, no_grad};
use crate::error::Error;
use crate::language::{LanguageModel, Pass};
use crate::scoring::{Shares, Stop};
use std::sync::Arc;

/// A text as tokens, with the counts that its scores are divided by.
#[derive(Clone, Debug)]
pub struct TokenizedText {
    /// The tokens.
    pub tokens: Arc<[u32]>,
    /// Words and line ends.
    pub words: u64,
    /// Bytes of UTF-8.
    pub bytes: u64,
    /// The places of the tokens that stand for words which the tokenizer does not know.
    unknown: Arc<[usize]>,
}

impl TokenizedText {
    /// Tokenizes a text.
    pub fn new(text: &str, tokenizer: &Tokenizer) -> TokenizedText {
        let tokens = tokenizer.encode(text);
        TokenizedText {
            tokens: tokens.into(),
            words: words_and_line_ends(text) as u64,
            bytes: text.len() as u64,
            unknown: tokenizer.unknown_in(text).into(),
        }
    }

    /// A text whose tokens are known, none of which stand for unknown words.
    pub fn from_tokens(tokens: Vec<u32>, text: &str) -> TokenizedText {
        TokenizedText {
            tokens: tokens.into(),
            words: words_and_line_ends(text) as u64,
            bytes: text.len() as u64,
            unknown: Arc::new([]),
        }
    }

    /// The share of the scored tokens, all but the first, that stand for words which the tokenizer
    /// does not know: from 0 to 1.
    pub fn unknown_share(&self) -> f64 {
        let unknown = self.unknown.iter().filter(|place| **place > 0).count();
        unknown as f64 / self.tokens.len().saturating_sub(1).max(1) as f64
    }

    /// The first `limit` tokens, counted as the text they stand for.
    pub fn head(&self, limit: usize, tokenizer: &Tokenizer) -> TokenizedText {
        if limit >= self.tokens.len() {
            return self.clone();
        }
        let tokens = &self.tokens[..limit];
        let text = tokenizer.decode(tokens);
        // Half a character at the end is decoded to a longer mark.
        let bytes = if matches!(tokenizer, Tokenizer::Bytes) { limit } else { text.len() };
        let unknown = self.unknown.partition_point(|place| *place < limit);
        TokenizedText {
            tokens: tokens.into(),
            words: words_and_line_ends(&text) as u64,
            bytes: bytes as u64,
            unknown: self.unknown[..unknown].into(),
        }
    }
}

/// The score of a text.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Score {
    /// Σ −ln p over the scored tokens.
    pub nats: f64,
    /// The scored tokens.
    pub tokens: u64,
    words: u64,
    bytes: u64,
}

impl Score {
    /// A score from its total.
    pub fn new(nats: f64, text: &TokenizedText) -> Score {
        let tokens = text.tokens.len() as u64 - 1;
        // With words as tokens, the first word is not scored either.
        let words = if tokens + 1 == text.words { tokens } else { text.words };
        Score { nats, tokens, words, bytes: text.bytes }
    }

    /// Nats a token.
    pub fn loss(&self) -> f64 {
        self.nats / self.tokens as f64
    }

    /// exp(nats / tokens): depends on the tokenizer.
    pub fn token_perplexity(&self) -> f64 {
        self.loss().exp()
    }

    /// exp(nats / words), line ends counted as words: the same whatever the tokenizer.
    pub fn perplexity(&self) -> f64 {
        (self.nats / self.words as f64).exp()
    }

    /// Bits for each byte of the text: the same whatever the tokenizer, if that keeps every byte.
    pub fn bits_per_byte(&self) -> f64 {
        self.nats / std::f64::consts::LN_2 / self.bytes as f64
    }
}

/// Scores a text in windows of `context` tokens, `rows` at a time. Each window but the first sees
/// half a window of the tokens before those it scores.
///
/// # Errors
/// If the text has fewer than two tokens, the device fails, or `stop` says so.
pub fn evaluate(
    model: &LanguageModel,
    text: &TokenizedText,
    context: usize,
    rows: usize,
    stop: &Stop,
) -> Result<Score, Error> {
    evaluate_with_stride(model, text, context, context.div_ceil(2), rows, stop)
}

/// The same with windows that begin `stride` tokens after each other, which each scores; it sees
/// `context` − `stride` tokens or more before them. A smaller stride takes longer and gives a lower loss.
///
/// # Errors
/// As [`evaluate`]; if the stride is 0 or more than the context.
pub fn evaluate_with_stride(
    model: &LanguageModel,
    text: &TokenizedText,
    context: usize,
    stride: usize,
    rows: usize,
    stop: &Stop,
) -> Result<Score, Error> {
    evaluate_shared(model, text, [context, stride], rows, &Shares::alone(stop))
}

/// The same by all that train together.
pub(super) fn evaluate_shared(
    model: &LanguageModel,
    text: &TokenizedText,
    [context, stride]: [usize; 2],
    rows: usize,
    shares: &Shares,
) -> Result<Score, Error> {
    let windows = EvaluationWindows::new(&text.tokens, context, stride)?;
    let mut nats = Vec::new();
    let mut in_flight = None;
    for number in shares.mine(windows.len().div_ceil(rows)) {
        let (inputs, targets) = windows.batch(number?, rows);
        let shape = [inputs.len() / context, context];
        let counted = targets.iter().filter(|target| **target != IGNORED).count();
        let (inputs, targets) = (Ids::new(inputs, shape), Ids::new(targets, shape));
        let loss = no_grad(|| model.loss(&inputs, &targets, &Pass::evaluation()));
        // The number of one batch is read while the next is computed.
        let previous = in_flight.replace((loss.read(), counted));
        nats.extend(previous.map(total).transpose()?);
    }
    nats.extend(in_flight.map(total).transpose()?);
    let nats = shares.gather(nats)?.iter().fold(0.0, |sum, of_batch| sum + of_batch);
    Ok(Score::new(nats, text))
}

/// How unlikely one token of a text was.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TokenScore {
    /// Its place in the text, from 0; the first token is not scored.
    pub place: usize,
    /// How many tokens before it the model saw.
    pub seen: usize,
    /// −ln p.
    pub nats: f64,
}

/// Scores a text as [`evaluate_with_stride`] does, each token by itself: all but the first, in order.
///
/// ```
/// use neutreno::engine::{Device, Parameters};
/// use neutreno::tasks::language::{TokenizedText, evaluate_tokens};
/// use neutreno::training::Stop;
/// use neutreno::{LanguageModel, LanguageModelConfig};
/// let config = LanguageModelConfig::new(50, 16, 3, 2, 8);
/// let build = |builder: &mut _| LanguageModel::new(&config, builder);
/// let (model, _) = Parameters::build(&Device::cpu(), 1, build);
/// let text = TokenizedText::from_tokens((0..8).collect(), "eight words");
/// let scores = evaluate_tokens(&model, &text, 4, 2, 1, &Stop::never())?;
/// assert!(scores.iter().map(|score| score.place).eq(1..8));
/// assert!(scores.iter().map(|score| score.seen).eq([1, 2, 3, 4, 3, 4, 3]));
/// # Ok::<(), neutreno::training::Error>(())
/// ```
///
/// # Errors
/// As [`evaluate_with_stride`].
pub fn evaluate_tokens(
    model: &LanguageModel,
    text: &TokenizedText,
    context: usize,
    stride: usize,
    rows: usize,
    stop: &Stop,
) -> Result<Vec<TokenScore>, Error> {
    let windows = EvaluationWindows::new(&text.tokens, context, stride)?;
    let mut scores = Vec::with_capacity(windows.scored() as usize);
    let mut window = 0;
    for (inputs, targets) in windows.batches(rows) {
        stop.check()?;
        let shape = [inputs.len() / context, context];
        let (inputs, targets) = (Ids::new(inputs, shape), Ids::new(targets, shape));
        let nats = model.nats(&inputs, &targets).to_vec()?;
        let counted = targets.as_slice().iter().zip(nats).enumerate();
        let counted = counted.filter(|(_, (target, _))| **target != IGNORED);
        scores.extend(counted.map(|(index, (_, nats))| {
            let (row, column) = (index / context, index % context);
            let place = (window + row) * stride + column + 1;
            TokenScore { place, seen: column + 1, nats: f64::from(nats) }
        }));
        window += shape[0];
    }
    Ok(scores)
}

/// The nats of a batch, from its mean.
fn total((loss, counted): (Reading, usize)) -> Result<Vec<f64>, Error> {
    Ok(vec![f64::from(loss.wait()?[0]) * counted as f64])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::tokenizer::TokenizerChoice;

    #[test]
    fn unknown_words_are_counted_wherever_they_are_scored() {
        let words = TokenizerChoice::Words.build("a b c <unk>\n").unwrap();
        let text = TokenizedText::new("x a y <unk> b\n", &words);
        // The first token is not scored, and the text's own <unk> is a word like others.
        assert_eq!(text.unknown_share(), 1.0 / 5.0);
        assert_eq!(text.head(3, &words).unknown_share(), 1.0 / 2.0);
        assert_eq!(text.head(2, &words).unknown_share(), 0.0);
        assert_eq!(TokenizedText::new("", &words).unknown_share(), 0.0);
        let bytes = TokenizedText::new("\u{e9}t\u{e9}", &Tokenizer::Bytes);
        assert_eq!((bytes.unknown_share(), bytes.head(4, &Tokenizer::Bytes).bytes), (0.0, 4));
    }
}
