//! Writing: a model goes on with texts, token by token, through a cache of keys and values.

use super::cache::KeyValueCache;
use super::model::LanguageModel;
use super::sampling::Sampling;
use crate::engine::Result;
use crate::engine::random::{Generator, Key};

/// How texts are gone on with.
#[derive(Clone, Debug, PartialEq)]
pub struct GenerationSettings {
    /// How each token is drawn.
    pub sampling: Sampling,
    /// How many tokens are written at most for each text.
    pub tokens: usize,
    /// The tokens after which a text is at its end.
    pub end_tokens: Vec<u32>,
    /// What is done when the cache has no room for a token more.
    pub when_full: WhenFull,
}

impl Default for GenerationSettings {
    /// Up to a hundred tokens, drawn from all by their probabilities; a full cache ends a text.
    fn default() -> GenerationSettings {
        GenerationSettings {
            sampling: Sampling::default(),
            tokens: 100,
            end_tokens: Vec::new(),
            when_full: WhenFull::Stop,
        }
    }
}

/// What is done when the cache has no room for a token more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenFull {
    /// The text ends.
    Stop,
    /// It goes on, and what the cache has of its oldest token is overwritten.
    Slide,
}

/// Why a text ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The latest token is one after which a text is at its end.
    EndToken,
    /// As many tokens are written as were wished for.
    Tokens,
    /// The cache is full.
    Full,
    /// There is no token that can be drawn: all are excluded, or have no logit that is a number.
    NoToken,
    /// The program said so ([`Generation::stop`]).
    Stopped,
}

/// Several texts that a model goes on with. What it writes in one does not depend on the others: each
/// draws from a key of its own.
///
/// ```
/// use neutreno_models::engine::random::Key;
/// use neutreno_models::engine::half::Precision;
/// use neutreno_models::engine::{Device, Parameters};
/// use neutreno_models::language::{Generation, GenerationSettings, KeyValueCache};
/// use neutreno_models::{LanguageModel, LanguageModelConfig};
/// let config = LanguageModelConfig::new(50, 16, 3, 2, 32);
/// let device = Device::cpu();
/// let build = |builder: &mut _| LanguageModel::new(&config, builder);
/// let (model, _) = Parameters::build(&device, 1, build);
///
/// let cache = KeyValueCache::new(&config, 1, 32, Precision::F32, &device)?;
/// let settings = GenerationSettings { tokens: 5, ..GenerationSettings::default() };
/// let mut generation = Generation::new(&model, cache, settings, Key::new(1));
/// generation.add(&[&[1, 2, 3]]);
/// while let [(_, token)] = generation.write()?[..] {
///     println!("{token}");
/// }
/// assert_eq!(generation.tokens(0).len(), 3 + 5);
/// # Ok::<(), neutreno_models::engine::Error>(())
/// ```
pub struct Generation<'a> {
    model: &'a LanguageModel,
    cache: KeyValueCache,
    settings: GenerationSettings,
    texts: Vec<Text>,
}

struct Text {
    random: Generator,
    /// All that was read or is to be read, and written.
    tokens: Vec<u32>,
    /// How many of them went through the model.
    read: usize,
    /// Of the token after them, if no token is left to read.
    logits: Option<Vec<f32>>,
    /// How many were written since something was last added.
    written: usize,
    end: Option<End>,
}

/// How many tokens of a text are read before a program can look up.
const AT_ONCE: usize = 512;

impl<'a> Generation<'a> {
    /// As many texts as the cache has sequences, as yet empty. Text number i draws from `key.fold(i)`.
    ///
    /// # Panics
    /// If the settings of sampling are out of their ranges ([`Sampling::check`]).
    #[track_caller]
    pub fn new(
        model: &'a LanguageModel,
        cache: KeyValueCache,
        settings: GenerationSettings,
        key: Key,
    ) -> Generation<'a> {
        let keys = (0..cache.lengths().len() as u64).map(|number| key.fold(number));
        Generation::with_keys(model, cache, settings, keys)
    }

    /// The same with a key for each text.
    ///
    /// # Panics
    /// As [`Generation::new`]; if there are not as many keys as the cache has sequences.
    #[track_caller]
    pub fn with_keys(
        model: &'a LanguageModel,
        mut cache: KeyValueCache,
        settings: GenerationSettings,
        keys: impl IntoIterator<Item = Key>,
    ) -> Generation<'a> {
        if let Err(problem) = settings.sampling.check() {
            panic!("generation: {problem}");
        }
        (0..cache.lengths().len()).for_each(|sequence| cache.truncate(sequence, 0));
        let text = |key: Key| Text {
            random: key.generator(),
            tokens: Vec::new(),
            read: 0,
            logits: None,
            written: 0,
            end: Some(End::Stopped),
        };
        let texts: Vec<Text> = keys.into_iter().map(text).collect();
        let sequences = cache.lengths().len();
        assert!(texts.len() == sequences, "{} keys for {sequences} sequences", texts.len());
        Generation { model, cache, settings, texts }
    }

    /// How many tokens can be added to a text.
    ///
    /// # Panics
    /// If there is no such text.
    #[track_caller]
    pub fn room(&self, text: usize) -> usize {
        self.cache.context().saturating_sub(self.texts[text].tokens.len())
    }

    /// Adds tokens to each text, to be gone on with from there; a text that nothing is added to stays at
    /// its end. Nothing is computed yet.
    ///
    /// # Panics
    /// If there is not one piece for each text, or a piece is longer than the [`Generation::room`].
    #[track_caller]
    pub fn add(&mut self, pieces: &[&[u32]]) {
        let texts = self.texts.len();
        assert!(pieces.len() == texts, "generation: {} pieces for {texts} texts", pieces.len());
        for (number, piece) in pieces.iter().enumerate() {
            let room = self.room(number);
            let length = piece.len();
            assert!(length <= room, "generation: {length} tokens where there is room for {room}");
        }
        for (text, piece) in self.texts.iter_mut().zip(pieces) {
            if !piece.is_empty() {
                text.tokens.extend_from_slice(piece);
                (text.logits, text.written, text.end) = (None, 0, None);
            }
        }
    }

    /// Makes other tokens of a text, to be gone on with from their end. What the cache has of those at the
    /// beginning that are the same stays there, so that they need not be read again.
    ///
    /// # Panics
    /// If there is no such text, or there are no tokens, or more than the cache has room for.
    #[track_caller]
    pub fn replace(&mut self, text: usize, tokens: &[u32]) {
        let (length, context) = (tokens.len(), self.cache.context());
        assert!(
            (1..=context).contains(&length),
            "generation: {length} tokens in a cache for {context}"
        );
        let of = &mut self.texts[text];
        let same = of.tokens[..of.read].iter().zip(tokens).take_while(|(a, b)| a == b).count();
        // Something must be left to read, and what was overwritten is lost.
        let kept = if of.read > context { 0 } else { same.min(length - 1) };
        self.cache.truncate(text, kept);
        of.tokens = tokens.to_vec();
        (of.read, of.logits, of.written, of.end) = (kept, None, 0, None);
    }

    /// Reads what was added, some hundred tokens of each text, and returns how many tokens are left to read.
    /// [`Generation::write`] reads all of it; this is for programs that look up meanwhile.
    ///
    /// # Errors
    /// If the device fails.
    pub fn read(&mut self) -> Result<usize> {
        let piece = |text: &'_ Text| -> std::ops::Range<usize> {
            let left = if text.end.is_none() { text.tokens.len() - text.read } else { 0 };
            text.read..text.read + left.min(AT_ONCE)
        };
        let pieces: Vec<&[u32]> = self.texts.iter().map(|text| &text.tokens[piece(text)]).collect();
        let counts: Vec<usize> = pieces.iter().map(|piece| piece.len()).collect();
        if counts.iter().all(|count| *count == 0) {
            return Ok(0);
        }
        let logits = self.model.extend(&mut self.cache, &pieces).to_vec()?;
        let mut logits = logits.chunks(self.model.config().vocab_size);
        let mut left = 0;
        for (text, count) in self.texts.iter_mut().zip(counts) {
            if count == 0 {
                continue;
            }
            text.read += count;
            let of_text = logits.next();
            let left_here = text.tokens.len() - text.read;
            text.logits = of_text.filter(|_| left_here == 0).map(<[f32]>::to_vec);
            left += left_here;
        }
        Ok(left)
    }

    /// Writes a token in each text that is not at its end: which text, and the token. Empty once all are
    /// at their end.
    ///
    /// # Errors
    /// If the device fails.
    pub fn write(&mut self) -> Result<Vec<(usize, u32)>> {
        while self.read()? > 0 {}
        let mut written = Vec::new();
        for (number, text) in self.texts.iter_mut().enumerate() {
            let Some(logits) = text.logits.take().filter(|_| text.end.is_none()) else { continue };
            let is_full = text.read >= self.cache.context();
            written
                .extend(text.write(&logits, is_full, &self.settings).map(|token| (number, token)));
        }
        Ok(written)
    }

    /// Ends a text.
    ///
    /// # Panics
    /// If there is no such text.
    #[track_caller]
    pub fn stop(&mut self, text: usize) {
        self.texts[text].end.get_or_insert(End::Stopped);
    }

    /// Why a text ended; `None` if it goes on. One that nothing was added to is stopped.
    ///
    /// # Panics
    /// If there is no such text.
    #[track_caller]
    pub fn end(&self, text: usize) -> Option<End> {
        self.texts[text].end
    }

    /// All tokens of a text, those that were added and those that were written.
    ///
    /// # Panics
    /// If there is no such text.
    #[track_caller]
    pub fn tokens(&self, text: usize) -> &[u32] {
        &self.texts[text].tokens
    }

    /// The cache.
    pub fn cache(&self) -> &KeyValueCache {
        &self.cache
    }
}

impl Text {
    /// Draws a token, if there may be one more.
    fn write(
        &mut self,
        logits: &[f32],
        is_full: bool,
        settings: &GenerationSettings,
    ) -> Option<u32> {
        if self.written >= settings.tokens {
            self.end = Some(End::Tokens);
            return None;
        }
        let drawn = settings.sampling.draw(logits, &self.tokens, &mut self.random);
        self.end = drawn.is_none().then_some(End::NoToken);
        let token = drawn?;
        self.tokens.push(token);
        self.written += 1;
        self.end = if settings.end_tokens.contains(&token) {
            Some(End::EndToken)
        } else if self.written == settings.tokens {
            Some(End::Tokens)
        } else if is_full && settings.when_full == WhenFull::Stop {
            Some(End::Full)
        } else {
            None
        };
        Some(token)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::half::Precision;
    use crate::engine::{Device, Ids, Parameters};
    use crate::language::LanguageModelConfig;

    const CONTEXT: usize = 12;

    /// A model and its device.
    fn model() -> (LanguageModel, Device) {
        let device = Device::cpu();
        let config = LanguageModelConfig::new(20, 16, 2, 2, CONTEXT);
        let build = |builder: &mut _| LanguageModel::new(&config, builder);
        let (model, parameters) = Parameters::build(&device, 1, build);
        // Weights that are large enough to make tokens depend on what stands before.
        for (name, tensor) in parameters.iter().filter(|(name, _)| name.ends_with("proj.weight")) {
            tensor.overwrite(&Key::new(2).named(name).normals(tensor.elements(), 0.0, 0.5));
        }
        (model, device)
    }

    fn begin(
        (model, device): &(LanguageModel, Device),
        texts: usize,
        settings: GenerationSettings,
    ) -> Generation<'_> {
        let cache = KeyValueCache::new(model.config(), texts, CONTEXT, Precision::F32, device);
        Generation::new(model, cache.unwrap(), settings, Key::new(3))
    }

    fn finish(generation: &mut Generation) -> usize {
        let mut written = 0;
        loop {
            match generation.write().unwrap().len() {
                0 => return written,
                more => written += more,
            }
        }
    }

    fn greedy(tokens: usize) -> GenerationSettings {
        GenerationSettings { sampling: Sampling::GREEDY, tokens, ..Default::default() }
    }

    /// The likeliest tokens, found without a cache.
    fn likeliest(model: &LanguageModel, prompt: &[u32], count: usize) -> Vec<u32> {
        let mut tokens = prompt.to_vec();
        for _ in 0..count {
            let last = tokens.len() - 1;
            let logits = model.next_logits(&Ids::new(tokens.clone(), [1, last + 1]), &[last]);
            let logits = logits.to_vec().unwrap();
            let largest = (0..).zip(logits).max_by(|(_, a), (_, b)| a.total_cmp(b));
            tokens.push(largest.unwrap().0);
        }
        tokens
    }

    #[test]
    fn the_likeliest_tokens_are_those_without_a_cache() {
        let model = model();
        let mut generation = begin(&model, 2, greedy(6));
        generation.add(&[&[1, 2, 3], &[7]]);
        assert_eq!((generation.room(0), generation.end(0)), (CONTEXT - 3, None));
        assert_eq!(finish(&mut generation), 12);
        assert_eq!(generation.tokens(0), likeliest(&model.0, &[1, 2, 3], 6));
        assert_eq!(generation.tokens(1), likeliest(&model.0, &[7], 6));
        assert_eq!(generation.end(1), Some(End::Tokens));
        // It goes on where it was, with what was added.
        generation.add(&[&[], &[4]]);
        assert_eq!(generation.read().unwrap(), 0);
        assert_eq!(generation.cache().lengths(), [3 + 5, 1 + 6 + 1]);
        finish(&mut generation);
        let before = [likeliest(&model.0, &[7], 6), vec![4]].concat();
        assert_eq!(generation.tokens(1), likeliest(&model.0, &before, 5));
        assert_eq!([generation.end(0), generation.end(1)], [Some(End::Tokens), Some(End::Full)]);
    }

    #[test]
    fn texts_do_not_depend_on_their_neighbours() {
        let model = model();
        let prompts: [&[u32]; 3] = [&[1, 2, 3, 4], &[5], &[6, 7]];
        let settings = GenerationSettings { tokens: 7, ..Default::default() };
        let mut together = begin(&model, 3, settings.clone());
        together.add(&prompts);
        together.stop(1);
        finish(&mut together);
        assert_eq!((together.end(1), together.tokens(1)), (Some(End::Stopped), &[5][..]));
        for number in [0, 2] {
            let config = model.0.config();
            let cache = KeyValueCache::new(config, 1, CONTEXT, Precision::F32, &model.1);
            let key = Key::new(3).fold(number as u64);
            let mut alone =
                Generation::with_keys(&model.0, cache.unwrap(), settings.clone(), [key]);
            alone.add(&[prompts[number]]);
            finish(&mut alone);
            assert_eq!(alone.tokens(0), together.tokens(number));
        }
    }

    #[test]
    fn each_end_is_told() {
        let model = model();
        let expected = likeliest(&model.0, &[1, 2], 8);
        let end = |settings: GenerationSettings| {
            let mut generation = begin(&model, 1, settings);
            generation.add(&[&[1, 2]]);
            let written = finish(&mut generation);
            assert_eq!(generation.tokens(0).len(), 2 + written);
            (generation.end(0).unwrap(), written)
        };
        let end_tokens = vec![expected[5], 99];
        let first = expected[2..].iter().position(|token| *token == expected[5]).unwrap();
        let ends = GenerationSettings { end_tokens, ..greedy(8) };
        assert_eq!(end(ends), (End::EndToken, first + 1));
        assert_eq!(end(greedy(0)), (End::Tokens, 0));
        assert_eq!(end(greedy(1)), (End::Tokens, 1));
        // The last one is drawn when the cache is full, and needs no room there.
        assert_eq!(end(greedy(100)), (End::Full, CONTEXT - 2 + 1));
        let slides = GenerationSettings { when_full: WhenFull::Slide, ..greedy(50) };
        assert_eq!(end(slides), (End::Tokens, 50));
        let none = Sampling { excluded: (0..20).collect(), ..Sampling::GREEDY };
        let none = GenerationSettings { sampling: none, ..greedy(5) };
        assert_eq!(end(none), (End::NoToken, 0));
    }

    #[test]
    fn what_stays_the_same_is_not_read_again() {
        let model = model();
        let mut generation = begin(&model, 1, greedy(3));
        generation.add(&[&[1, 2, 3, 4]]);
        finish(&mut generation);
        let before = generation.tokens(0).to_vec();
        let other = [&before[..5], &[9, 8]].concat();
        generation.replace(0, &other);
        assert_eq!(generation.cache().lengths(), [5]);
        finish(&mut generation);
        assert_eq!(generation.tokens(0), likeliest(&model.0, &other, 3));
        // The last one is read again, since its logits are gone.
        let same = generation.tokens(0)[..6].to_vec();
        generation.replace(0, &same);
        assert_eq!(generation.cache().lengths(), [5]);
        // What was overwritten is lost.
        generation.settings = GenerationSettings { when_full: WhenFull::Slide, ..greedy(20) };
        finish(&mut generation);
        generation.settings = greedy(3);
        generation.replace(0, &[1, 2, 3]);
        assert_eq!(generation.cache().lengths(), [0]);
        finish(&mut generation);
        assert_eq!(generation.tokens(0), likeliest(&model.0, &[1, 2, 3], 3));
    }
}
