//! Byte-level byte-pair encoding (Sennrich et al. 2016; on bytes: Radford et al. 2019), trained on
//! the spot by the `tokenizers` crate.

use super::byte_level::bytes_of;
use rayon::prelude::*;
use std::str::FromStr;
use tokenizers::decoders::DecoderWrapper;
use tokenizers::models::ModelWrapper;
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::normalizers::NormalizerWrapper;
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::processors::PostProcessorWrapper;
use tokenizers::{Tokenizer, TokenizerBuilder};

/// One merge more than the bytes themselves.
pub const SMALLEST_VOCABULARY: usize = 257;
/// Where a small model's embedding would already be most of the model.
pub const LARGEST_VOCABULARY: usize = 65_536;

/// Pairs are learnt from the first so many bytes of the training text, up to a line end: more text
/// takes longer and hardly changes the merges.
const TRAINING_BYTES: usize = 10 << 20;

/// In training, a run of letters, of digits, of white space or of anything else is cut after so many
/// characters, since the trainer takes time with the square of its length. No word is that long; DNA
/// and base64 are.
const LONGEST_RUN: usize = 128;

/// In encoding, a longer line is cut at the next place where a token begins in any case, so that
/// memory and threads are used piece by piece. The tokens stay the same.
const LONG_LINE: usize = 1 << 16;

/// A run in which no token begins in any case, such as DNA without an end, is cut after so many bytes:
/// there the tokens are others than those of the whole would be.
const LONGEST_PIECE: usize = 1 << 20;

/// A trained byte-pair tokenizer. Text is taken line by line, so the tokens of two texts that end
/// in line ends are the tokens of the whole.
#[derive(Clone, Debug)]
pub struct BytePairs {
    tokenizer: Tokenizer,
    vocabulary: usize,
}

impl BytePairs {
    /// Learns at most `vocabulary` tokens from a text's first 10 MiB; the 256 bytes are always
    /// among them, so every text can be encoded. Runs of more than 128 letters, digits, or other
    /// characters of one kind are cut.
    pub(super) fn train(text: &str, vocabulary: usize) -> Result<BytePairs, String> {
        let level = ByteLevel::new(false, false, true);
        let mut tokenizer = TokenizerBuilder::<
            BPE,
            NormalizerWrapper,
            ByteLevel,
            PostProcessorWrapper,
            ByteLevel,
        >::new()
        .with_model(BPE::default())
        .with_pre_tokenizer(Some(level))
        .with_decoder(Some(level))
        .build()
        .map_err(|error| error.to_string())?;
        let mut trainer = BpeTrainer::builder()
            .vocab_size(vocabulary)
            .min_frequency(2)
            .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
            .show_progress(false)
            .build();
        tokenizer
            .train(&mut trainer, short_runs(learnt_from(text)))
            .map_err(|error| error.to_string())?;
        Ok(BytePairs::new(tokenizer.into()))
    }

    fn new(tokenizer: Tokenizer) -> BytePairs {
        // The crate makes a copy of the vocabulary to count it, so it is asked once.
        let vocabulary = tokenizer.get_vocab_size(true);
        BytePairs { tokenizer, vocabulary }
    }

    /// The ids of a text, in time proportional to its length. Letters without a break are cut after a
    /// MiB.
    pub fn encode(&self, text: &str) -> Vec<u32> {
        let lines: Vec<&str> = text.split_inclusive('\n').flat_map(short_lines).collect();
        let encode = |line: &&str| {
            let encoding = self.tokenizer.encode_fast(*line, false);
            encoding.expect("every byte has a token").get_ids().to_vec()
        };
        lines.par_iter().flat_map_iter(encode).collect()
    }

    /// The text of ids; what is not UTF-8 becomes replacement characters.
    pub fn decode(&self, ids: &[u32]) -> String {
        let known = |id: &u32| (*id as usize) < self.vocabulary;
        let text_of = |ids: &[u32]| {
            self.tokenizer.decode(ids, false).expect("a byte-level decoder takes any known token")
        };
        let texts: Vec<String> = ids.split(|id| !known(id)).map(text_of).collect();
        texts.join("\u{fffd}")
    }

    /// The bytes that one token stands for; those of a replacement character if there is none.
    pub(super) fn bytes(&self, id: u32) -> Vec<u8> {
        let token = self.tokenizer.id_to_token(id);
        token.map_or_else(|| "\u{fffd}".as_bytes().to_vec(), |token| bytes_of(&token))
    }

    /// The number of tokens learnt.
    pub fn vocabulary(&self) -> usize {
        self.vocabulary
    }

    pub(super) fn to_json(&self) -> String {
        self.tokenizer.to_string(false).expect("a tokenizer of strings and numbers is JSON")
    }

    pub(super) fn from_json(json: &[u8]) -> Result<BytePairs, String> {
        let text = std::str::from_utf8(json).map_err(|error| error.to_string())?;
        let tokenizer = Tokenizer::from_str(text).map_err(|error| error.to_string())?;
        let byte_level = matches!(tokenizer.get_model(), ModelWrapper::BPE(_))
            && matches!(tokenizer.get_pre_tokenizer(),
                Some(PreTokenizerWrapper::ByteLevel(level)) if !level.add_prefix_space)
            && matches!(tokenizer.get_decoder(), Some(DecoderWrapper::ByteLevel(_)));
        if !byte_level {
            return Err("it is no byte-level BPE".into());
        }
        let changes_text = tokenizer.get_normalizer().is_some()
            || tokenizer.get_post_processor().is_some()
            || tokenizer.get_truncation().is_some()
            || tokenizer.get_padding().is_some();
        if changes_text {
            return Err("it normalizes, truncates, pads or adds to the text".into());
        }
        let missing = |byte: &char| tokenizer.token_to_id(&byte.to_string()).is_none();
        if ByteLevel::alphabet().iter().any(missing) {
            return Err("its vocabulary lacks some of the 256 bytes".into());
        }
        let vocabulary = tokenizer.get_vocab(true);
        // Ċ is the line end.
        if vocabulary.keys().any(|token| token.strip_suffix('Ċ').unwrap_or(token).contains('Ċ')) {
            return Err("it has tokens that go on after the end of a line".into());
        }
        let mut ids: Vec<u32> = vocabulary.into_values().collect();
        ids.sort_unstable();
        if ids.iter().enumerate().any(|(index, &id)| index != id as usize) {
            return Err("its token ids are not 0, 1, 2, … without a gap".into());
        }
        Ok(BytePairs::new(tokenizer))
    }
}

/// What pairs are learnt from, of a text.
pub(super) fn learnt_from(text: &str) -> &str {
    beginning(text, TRAINING_BYTES)
}

/// The longest beginning of whole lines within `bytes`, or the whole first line.
fn beginning(text: &str, bytes: usize) -> &str {
    if text.len() <= bytes {
        return text;
    }
    let end = text.as_bytes()[..bytes].iter().rposition(|&byte| byte == b'\n');
    let end = end.or_else(|| text.bytes().position(|byte| byte == b'\n'));
    &text[..end.map_or(text.len(), |end| end + 1)]
}

/// The lines of a text, cut where a run of one kind of character gets too long.
fn short_runs(text: &str) -> impl Iterator<Item = &str> {
    // As the pre-tokenizer tells characters apart, nearly.
    let kind = |c: char| (c.is_whitespace(), c.is_alphabetic(), c.is_numeric());
    let mut run = (0, None);
    text.split_inclusive(move |c| {
        let length = if run.1 == Some(kind(c)) { run.0 + 1 } else { 1 };
        let ends = c == '\n' || length == LONGEST_RUN;
        run = if ends { (0, None) } else { (length, Some(kind(c))) };
        ends
    })
}

/// A line in pieces of little more than [`LONG_LINE`], and at most [`LONGEST_PIECE`].
fn short_lines(line: &str) -> impl Iterator<Item = &str> {
    let mut rest = line;
    std::iter::from_fn(move || {
        let (piece, after) = rest.split_at(place_to_cut(rest));
        rest = after;
        (!piece.is_empty()).then_some(piece)
    })
}

/// Where the first piece of a line ends.
fn place_to_cut(line: &str) -> usize {
    if line.len() <= LONG_LINE {
        return line.len();
    }
    let mut before = '\n';
    for (place, after) in line.char_indices().skip_while(|(place, _)| *place < LONG_LINE - 4) {
        if begins_a_token(before, after) || place >= LONGEST_PIECE {
            return place;
        }
        before = after;
    }
    line.len()
}

/// Whether a token begins between two characters whatever is around them: the pre-tokenizer leaves
/// white space to what comes after it, and never puts a letter behind such a sign.
fn begins_a_token(before: char, after: char) -> bool {
    let sign = matches!(before, ',' | '.' | ';' | ':' | '!' | '?' | '"' | ')' | '}' | '>')
        || matches!(before, '。' | '，' | '、' | '！' | '？');
    let letter = after.is_ascii_alphanumeric() || ('\u{4e00}'..='\u{9fff}').contains(&after);
    (!before.is_whitespace() && after.is_whitespace()) || (sign && letter)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    const TEXT: &str = "low lower lowest new newer newest\nlow new low new wide wider widest\n";

    #[test]
    fn frequent_pairs_are_merged_and_all_text_survives() {
        let pairs = BytePairs::train(TEXT, 280).unwrap();
        assert!(pairs.encode(TEXT).len() < TEXT.len() / 2);
        for text in [TEXT, "", "\r\n\t  x", "žluťoučký 🐎\n\nend", "<unk> <eos>"] {
            assert_eq!(pairs.decode(&pairs.encode(text)), text);
        }
        let both = [pairs.encode("low\n"), pairs.encode(" newest")].concat();
        assert_eq!(pairs.encode("low\n newest"), both);
    }

    #[test]
    fn training_is_repeatable() {
        let train = || BytePairs::train(TEXT, 300).unwrap().to_json();
        assert_eq!(train(), train());
    }

    #[test]
    fn foreign_tokenizers_are_refused() {
        let json = BytePairs::train(TEXT, 280).unwrap().to_json();
        assert!(BytePairs::from_json(json.as_bytes()).is_ok());
        for (from, to, reason) in [
            (r#""add_prefix_space":false"#, r#""add_prefix_space":true"#, "byte-level"),
            (r#""normalizer":null"#, r#""normalizer":{"type":"NFKC"}"#, "normalizes"),
            (r#""!":0"#, r#""!!":0"#, "256 bytes"),
            (r#""!":0"#, r#""!":9999"#, "gap"),
            (r#""!":0"#, r#""ĊĊ":280,"!":0"#, "end of a line"),
        ] {
            let changed = json.replace(from, to);
            assert_ne!(changed, json);
            let message = BytePairs::from_json(changed.as_bytes()).unwrap_err();
            assert!(message.contains(reason), "{message}");
        }
    }

    #[test]
    fn a_long_line_has_the_tokens_that_it_would_have_whole() {
        let pairs = BytePairs::train(TEXT, 280).unwrap();
        for text in [
            TEXT.replace('\n', "  ") + "l\u{f6}w 'low low's ",
            "\u{6587}\u{5b57}\u{3002}".repeat(9),
            r#"{"id":1,"names":["low",'s']},"#.into(),
        ] {
            let line = text.repeat(3 * LONG_LINE / text.len());
            let pieces: Vec<&str> = short_lines(&line).collect();
            assert!(pieces.len() == 3 && pieces.concat() == line);
            let whole = pairs.tokenizer.encode_fast(line.as_str(), false).unwrap();
            assert_eq!(pairs.encode(&line), whole.get_ids());
        }
        let unbroken = "\u{e9}".repeat(LONGEST_PIECE);
        let lengths: Vec<usize> = short_lines(&unbroken).map(str::len).collect();
        assert_eq!(lengths, [LONGEST_PIECE; 2]);
    }

    #[test]
    fn only_long_runs_are_cut() {
        assert_eq!(
            short_runs(TEXT).collect::<Vec<_>>(),
            TEXT.split_inclusive('\n').collect::<Vec<_>>()
        );
        let run = "\u{e9}".repeat(LONGEST_RUN);
        let text = format!("{run}{run}a 1{run}");
        let a_run = format!("a 1{run}");
        assert_eq!(short_runs(&text).collect::<Vec<_>>(), [run.as_str(), &run, &a_run]);
    }

    /// Letters as DNA has them, at random.
    fn dna(length: u64) -> String {
        use crate::engine::random::Key;
        let mut random = Key::new(1).generator();
        (0..length).map(|_| ['A', 'C', 'G', 'T'][random.below(4) as usize]).collect()
    }

    /// It took time with the square of the length: a megabyte was not done in ten minutes.
    #[test]
    fn a_text_without_spaces_is_learnt_and_encoded_in_time() {
        let text = dna(1 << 20);
        let started = Instant::now();
        let pairs = BytePairs::train(&text, 600).unwrap();
        let ids = pairs.encode(&text);
        assert!(started.elapsed() < Duration::from_secs(60), "{:?}", started.elapsed());
        assert!(ids.len() < text.len() / 2 && pairs.decode(&ids) == text);
    }

    #[test]
    fn the_beginning_ends_with_a_line() {
        assert_eq!(beginning("ab\ncd\nef\n", 7), "ab\ncd\n");
        assert_eq!(beginning("ab\ncd\n", 6), "ab\ncd\n");
        assert_eq!(beginning("abcd\nef\n", 2), "abcd\n");
        assert_eq!(beginning("abcd", 2), "abcd");
    }
}
