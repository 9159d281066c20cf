//! The tokenizer of a pretrained model: Hugging Face's `tokenizer.json`, of whatever kind the
//! `tokenizers` crate knows, byte-level BPE as well as those that came from SentencePiece.

use super::byte_level::bytes_of;
use super::pieces::pieces;
use rayon::prelude::*;
use serde_json::Value;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use thiserror::Error;
use tokenizers::Tokenizer;
use tokenizers::decoders::DecoderWrapper;
use tokenizers::models::ModelWrapper;

/// Why the tokenizer of a pretrained model could not be used.
#[derive(Debug, Error)]
pub enum PretrainedError {
    /// The file could not be read.
    #[error("reading the tokenizer {path}: {source}")]
    File {
        /// The tokenizer's file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is not a tokenizer that can be used.
    #[error("{path} is not a usable tokenizer: {reason}")]
    Invalid {
        /// The tokenizer's file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// It has tokens that the model does not have.
    #[error(
        "the tokenizer has ids up to {largest}, and the model a vocabulary of {vocabulary}: they do \
         not belong together, take the tokenizer.json of the same model"
    )]
    Vocabulary {
        /// The largest id.
        largest: u32,
        /// How many tokens the model has (`vocab_size`).
        vocabulary: usize,
    },
    /// It has no tokens for a text.
    #[error("the tokenizer has no tokens for the text: {0}")]
    Text(String),
}

/// The tokenizer of a pretrained model.
///
/// ```
/// use neutreno::data::PretrainedTokenizer;
/// let json = r#"{
///     "added_tokens": [{"id": 0, "content": "<s>", "special": true, "single_word": false,
///                       "lstrip": false, "rstrip": false, "normalized": false}],
///     "normalizer": null, "pre_tokenizer": {"type": "Whitespace"},
///     "post_processor": {"type": "TemplateProcessing", "pair": [],
///         "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}},
///                    {"Sequence": {"id": "A", "type_id": 0}}],
///         "special_tokens": {"<s>": {"id": "<s>", "ids": [0], "tokens": ["<s>"]}}},
///     "decoder": null,
///     "model": {"type": "WordLevel", "unk_token": "?", "vocab": {"<s>": 0, "?": 1, "a": 2, "b": 3}}
/// }"#;
/// let tokenizer: PretrainedTokenizer = json.parse()?;
/// assert_eq!(tokenizer.encode("a b a", true)?, [0, 2, 3, 2]);
/// assert_eq!(tokenizer.encode("a b a", false)?, [2, 3, 2]);
/// assert_eq!(tokenizer.id_of("<s>"), Some(0));
/// assert!(tokenizer.check(3).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct PretrainedTokenizer {
    tokenizer: Tokenizer,
    kind: Kind,
    largest: u32,
    unknown: Option<u32>,
    keeps_every_byte: bool,
    /// The text of the file.
    json: String,
}

/// How tokens become text.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    /// All are bytes.
    Bytes,
    /// They are text, and those named `<0x41>` bytes.
    TextAndBytes,
    /// They are text.
    Text,
}

impl PretrainedTokenizer {
    /// Reads a `tokenizer.json`. Cutting, padding and dropout, which such files may also ask for, are
    /// left out.
    ///
    /// # Errors
    /// [`PretrainedError::File`] if it can't be read, [`PretrainedError::Invalid`] if it is none, or one
    /// that has no tokens for some texts.
    pub fn load(path: &Path) -> Result<PretrainedTokenizer, PretrainedError> {
        let bytes = std::fs::read(path)
            .map_err(|source| PretrainedError::File { path: path.into(), source })?;
        let text = String::from_utf8(bytes).map_err(|error| error.to_string());
        text.and_then(|text| text.parse())
            .map_err(|reason| PretrainedError::Invalid { path: path.into(), reason })
    }

    /// The ids of a text; `special` adds the tokens that the file wants at its beginning and end, such as
    /// the one that texts begin with. What is written like a special token becomes that token.
    ///
    /// # Errors
    /// [`PretrainedError::Text`] if the tokenizer can't encode it.
    pub fn encode(&self, text: &str, special: bool) -> Result<Vec<u32>, PretrainedError> {
        let encoding = self.tokenizer.encode_fast(text, special);
        let ids = encoding.map(|encoding| encoding.get_ids().to_vec());
        ids.map_err(|error| PretrainedError::Text(error.to_string()))
    }

    /// The ids of a text however long, without those that are added at its beginning and end.
    pub(super) fn encode_long(&self, text: &str) -> Vec<u32> {
        self.pieces(text).par_iter().flat_map_iter(|piece| self.encode_any(piece)).collect()
    }

    /// A text, cut where that changes no token, as is tried with what stands around the place.
    fn pieces<'a>(&self, text: &'a str) -> Vec<&'a str> {
        pieces(text, |left, right| {
            let both = self.encode_any(&[left, right].concat());
            both == [self.encode_any(left), self.encode_any(right)].concat()
        })
    }

    fn encode_any(&self, text: &str) -> Vec<u32> {
        let ids = self.encode(text, false);
        ids.expect("it was found to have tokens for every text when it was read")
    }

    /// The text of ids, special tokens written out; what stands for nothing, and bytes that make no
    /// character, become replacement characters.
    pub(super) fn decode(&self, ids: &[u32]) -> String {
        let known = |id: &u32| self.token(*id).is_some();
        let text_of = |ids: &[u32]| match self.kind {
            Kind::Bytes => {
                let tokens = ids.iter().filter_map(|id| self.token(*id));
                let bytes: Vec<u8> = tokens.flat_map(|token| bytes_of(&token)).collect();
                String::from_utf8_lossy(&bytes).into_owned()
            }
            Kind::TextAndBytes | Kind::Text => {
                self.tokenizer.decode(ids, false).unwrap_or_default()
            }
        };
        let texts: Vec<String> = ids.split(|id| !known(id)).map(text_of).collect();
        texts.join("\u{fffd}")
    }

    /// Which tokens of a text, by their place from 0, stand for something that has no token of its own.
    /// Where the text itself has the name of that token, such as `<unk>`, it stands for itself.
    pub(super) fn unknown_in(&self, text: &str) -> Vec<usize> {
        let Some(unknown) = self.unknown else { return Vec::new() };
        let name = self.token(unknown).filter(|name| !name.is_empty() && self.is_special(unknown));
        let parts: Vec<&str> = match &name {
            Some(name) => text.split(name.as_str()).collect(),
            None => vec![text],
        };
        let (mut places, mut next) = (Vec::new(), 0);
        for part in parts {
            let ids = self.encode_long(part);
            let here = ids.iter().enumerate().filter(|(_, id)| **id == unknown);
            places.extend(here.map(|(place, _)| next + place));
            next += ids.len() + 1;
        }
        places
    }

    /// The token that stands for everything else, if the file names one.
    pub fn unknown(&self) -> Option<u32> {
        self.unknown
    }

    /// Whether tokens hold every byte of a text, as was tried with one of all that tokenizers change:
    /// signs of one form made another, capitals, spaces, rare characters. Where `▁` stands for a space,
    /// a `▁` of the text becomes one.
    pub fn keeps_every_byte(&self) -> bool {
        self.keeps_every_byte
    }

    /// The text of the file.
    pub(super) fn json(&self) -> &str {
        &self.json
    }

    /// The id of a token by its name, such as `</s>`.
    pub fn id_of(&self, token: &str) -> Option<u32> {
        self.tokenizer.token_to_id(token)
    }

    /// The name of a token.
    pub fn token(&self, id: u32) -> Option<String> {
        self.tokenizer.id_to_token(id)
    }

    /// The largest id.
    pub fn largest(&self) -> u32 {
        self.largest
    }

    /// Whether a token is one of those that are not text: the beginning, the end, turns of a chat.
    pub fn is_special(&self, id: u32) -> bool {
        self.token(id)
            .is_some_and(|token| self.tokenizer.get_added_vocabulary().is_special_token(&token))
    }

    /// Whether it fits a model of so many tokens. A larger model is often padded to a round number; then
    /// there is a line that says so.
    ///
    /// # Errors
    /// [`PretrainedError::Vocabulary`] if the model lacks tokens.
    pub fn check(&self, vocabulary: usize) -> Result<Option<String>, PretrainedError> {
        let needed = self.largest as usize + 1;
        if needed > vocabulary {
            return Err(PretrainedError::Vocabulary { largest: self.largest, vocabulary });
        }
        Ok((needed < vocabulary).then(|| {
            format!(
                "the model has {vocabulary} tokens and the tokenizer {needed}: the last {} stand \
                 for nothing, and are not to be drawn",
                vocabulary - needed
            )
        }))
    }

    /// The bytes that a token stands for, wherever it stands: none for special tokens. `None` if its
    /// text depends on the tokens before it.
    pub(super) fn bytes(&self, id: u32) -> Option<Vec<u8>> {
        let Some(token) = self.token(id) else {
            return Some("\u{fffd}".as_bytes().to_vec());
        };
        if self.is_special(id) {
            return Some(Vec::new());
        }
        match self.kind {
            Kind::Bytes => Some(bytes_of(&token)),
            Kind::TextAndBytes => fallback_byte(&token).map(|byte| vec![byte]),
            Kind::Text => None,
        }
    }

    /// The text of a few tokens together.
    pub(super) fn text(&self, ids: &[u32]) -> String {
        // What decoders can refuse is a token that is not there, and those were taken care of.
        self.tokenizer.decode(ids, true).unwrap_or_default()
    }
}

/// The byte of a token such as `<0x41>`.
fn fallback_byte(token: &str) -> Option<u8> {
    let digits = token.strip_prefix("<0x")?.strip_suffix('>')?;
    let two = digits.len() == 2 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    two.then(|| u8::from_str_radix(digits, 16).ok()).flatten()
}

/// What a chain of decoders makes of tokens.
fn kind(decoder: Option<&DecoderWrapper>) -> Kind {
    let chain = match decoder {
        None => return Kind::Text,
        Some(DecoderWrapper::Sequence(chain)) => chain.get_decoders(),
        Some(one) => std::slice::from_ref(one),
    };
    let all_bytes = |one: &DecoderWrapper| {
        matches!(one, DecoderWrapper::ByteLevel(_) | DecoderWrapper::Fuse(_))
    };
    let is_level = |one: &DecoderWrapper| matches!(one, DecoderWrapper::ByteLevel(_));
    let falls_back = |one: &DecoderWrapper| matches!(one, DecoderWrapper::ByteFallback(_));
    if chain.iter().any(is_level) && chain.iter().all(all_bytes) {
        Kind::Bytes
    } else if chain.iter().any(falls_back) {
        Kind::TextAndBytes
    } else {
        Kind::Text
    }
}

/// A text of what tokenizers change or do not know: all characters of one and two bytes, some of each
/// beginning of three and four, and white space at the end.
fn text_to_try() -> String {
    let rare = (0x800..0x11_0000).step_by(0x1_00b);
    let characters = (1..0x800).chain(rare).filter_map(char::from_u32);
    characters.chain("A  b\n\n cafe\u{301} \u{fb01} \t\r\n  ".chars()).collect()
}

impl FromStr for PretrainedTokenizer {
    type Err = String;

    fn from_str(json: &str) -> Result<PretrainedTokenizer, String> {
        // The crate panics where the JSON of a decoder is cut off.
        let file: Value = serde_json::from_str(json).map_err(|error| error.to_string())?;
        let mut tokenizer = Tokenizer::from_str(json).map_err(|error| error.to_string())?;
        tokenizer.with_truncation(None).map_err(|error| error.to_string())?;
        tokenizer.with_padding(None);
        if let ModelWrapper::BPE(pairs) = tokenizer.get_model()
            && pairs.dropout.is_some()
        {
            let mut pairs = pairs.clone();
            pairs.dropout = None;
            tokenizer.with_model(pairs);
        }
        let largest = tokenizer.get_vocab(true).into_values().max().ok_or("it has no tokens")?;
        let kind = kind(tokenizer.get_decoder());
        let [name, id] = ["unk_token", "unk_id"].map(|key| &file["model"][key]);
        let unknown = name.as_str().and_then(|name| tokenizer.token_to_id(name));
        let unknown = unknown.or_else(|| id.as_u64().and_then(|id| u32::try_from(id).ok()));
        let json = json.to_owned();
        let mut made = PretrainedTokenizer {
            tokenizer,
            kind,
            largest,
            unknown,
            keeps_every_byte: false,
            json,
        };
        let text = text_to_try();
        let ids = made.encode(&text, false).map_err(|error| error.to_string())?;
        made.keeps_every_byte = made.decode(&ids) == text;
        Ok(made)
    }
}

impl fmt::Debug for PretrainedTokenizer {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "PretrainedTokenizer({:?}, ids up to {})", self.kind, self.largest)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::data::tokenizer::{Tokenizer, TokenizerChoice};
    use serde_json::{Value, json};

    /// A tokenizer as SentencePiece's become: a beginning of text, `▁` for spaces, bytes for what the
    /// vocabulary lacks.
    pub fn sentence_piece() -> PretrainedTokenizer {
        let mut vocabulary = serde_json::Map::new();
        let tokens = ["<unk>", "<s>", "</s>"].map(str::to_owned).into_iter();
        let bytes = (0..=255).map(|byte| format!("<0x{byte:02X}>"));
        let letters = "▁abcdefghijklmnopqrstuvwxyzT,".chars().map(String::from);
        for token in tokens.chain(bytes).chain(letters).chain(["▁t".to_owned()]) {
            vocabulary.insert(token, vocabulary.len().into());
        }
        let special = |id: u32, content: &str| {
            json!({"id": id, "content": content, "single_word": false,
                "lstrip": false, "rstrip": false, "normalized": false, "special": true})
        };
        let json = json!({
            "version": "1.0",
            "added_tokens": [special(0, "<unk>"), special(1, "<s>"), special(2, "</s>")],
            "normalizer": {"type": "Sequence", "normalizers": [
                {"type": "Prepend", "prepend": "▁"},
                {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]},
            "pre_tokenizer": null,
            "post_processor": {"type": "TemplateProcessing",
                "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}},
                    {"Sequence": {"id": "A", "type_id": 0}}],
                "pair": [], "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}},
            "decoder": {"type": "Sequence", "decoders": [
                {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
                {"type": "ByteFallback"}, {"type": "Fuse"},
                {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
            "model": {"type": "BPE", "dropout": null, "unk_token": "<unk>", "fuse_unk": true,
                "continuing_subword_prefix": null, "end_of_word_suffix": null,
                "byte_fallback": true, "vocab": vocabulary, "merges": [["▁", "t"]]}
        });
        json.to_string().parse().unwrap()
    }

    /// A tokenizer of bytes as those of GPT-2 are, with what `change` makes of its file.
    fn byte_level(change: impl Fn(&mut Value)) -> Result<PretrainedTokenizer, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokenizer.json");
        TokenizerChoice::BytePairs(300).build(&TEXT.repeat(20)).unwrap().save(&path).unwrap();
        let mut file = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        change(&mut file);
        file.to_string().parse()
    }

    const TEXT: &str = "The naïve cat sat, 東京!\n\n  two  spaces <|end|>and an end\n";

    fn special(id: u32, content: &str) -> Value {
        json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": true})
    }

    /// It comes back as it was from a run's folder, to the byte, and is not taken for byte pairs of ours.
    #[test]
    fn a_file_is_kept_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let [path, copy] = ["tokenizer.json", "copy.json"].map(|name| folder.path().join(name));
        let pretrained = byte_level(|file| file["added_tokens"] = json!([special(300, "<|end|>")]));
        for text in [sentence_piece().json(), pretrained.unwrap().json()] {
            std::fs::write(&path, text).unwrap();
            let tokenizer = Tokenizer::load(&path).unwrap();
            tokenizer.save(&copy).unwrap();
            assert_eq!(std::fs::read_to_string(&copy).unwrap(), text);
            assert!(matches!(tokenizer, Tokenizer::Pretrained(_)));
            assert_eq!(tokenizer.name(), format!("pretrained:{}", tokenizer.vocabulary()));
            let ids = tokenizer.encode(TEXT);
            assert!(ids.iter().all(|id| (*id as usize) < tokenizer.vocabulary()));
            assert_eq!(tokenizer.decode(&ids), TEXT);
            assert_eq!(tokenizer.decode(&[ids[1], u32::MAX]).chars().last(), Some('\u{fffd}'));
        }
        let ours = byte_level(|_| {}).unwrap();
        std::fs::write(&path, ours.json()).unwrap();
        assert!(matches!(Tokenizer::load(&path).unwrap(), Tokenizer::BytePairs(_)));
    }

    #[test]
    fn a_long_text_has_the_tokens_that_it_has_in_one_piece() {
        let pretrained = byte_level(|file| file["added_tokens"] = json!([special(300, "<|end|>")]));
        let text = TEXT.repeat(6_000);
        // A beginning that is put before each text would be put before each piece.
        for (tokenizer, cuts) in [(pretrained.unwrap(), true), (sentence_piece(), false)] {
            assert_eq!(tokenizer.pieces(&text).len() > 2, cuts);
            let ids = tokenizer.encode_long(&text);
            assert_eq!(ids, tokenizer.encode(&text, false).unwrap());
        }
    }

    #[test]
    fn whether_every_byte_is_kept_is_found_out() {
        assert!(sentence_piece().keeps_every_byte());
        assert!(byte_level(|_| {}).unwrap().keeps_every_byte());
        let changes: [&dyn Fn(&mut Value); 4] = [
            &|file| file["normalizer"] = json!({"type": "NFC"}),
            &|file| file["normalizer"] = json!({"type": "Lowercase"}),
            &|file| file["pre_tokenizer"] = json!({"type": "WhitespaceSplit"}),
            &|file| {
                file["model"]["vocab"].as_object_mut().unwrap().remove("ó");
            },
        ];
        for (number, change) in changes.iter().enumerate() {
            assert!(!byte_level(change).unwrap().keeps_every_byte(), "{number}");
        }
    }

    #[test]
    fn what_is_unknown_has_a_token_or_the_file_is_refused() {
        let words = |unknown: &str| {
            let json = json!({"added_tokens": [], "pre_tokenizer": {"type": "Whitespace"},
                "model": {"type": "WordLevel", "unk_token": unknown, "vocab": {"a": 0, "?": 1}}});
            Tokenizer::from_json(json.to_string().as_bytes())
        };
        let tokenizer = words("?").unwrap();
        assert_eq!((tokenizer.unknown(), tokenizer.keeps_every_byte()), (Some(1), false));
        assert_eq!(tokenizer.unknown_in("a b a c"), [1, 3]);
        let special = byte_level(|file| {
            file["added_tokens"] = json!([special(300, "<unk>")]);
            let model = file["model"].as_object_mut().unwrap();
            model.insert("unk_token".into(), json!("<unk>"));
            model["vocab"].as_object_mut().unwrap().insert("<unk>".into(), json!(300));
            model["vocab"].as_object_mut().unwrap().remove("z");
        });
        let special = special.unwrap();
        assert_eq!(special.encode("<unk>zä<unk>z", false).unwrap().len(), 6);
        assert_eq!(special.unknown_in("<unk>zä<unk>z"), [1, 5]);
        assert_eq!(byte_level(|_| {}).unwrap().unknown(), None);
        let refused = words("!").unwrap_err();
        assert!(refused.contains("[UNK]"), "{refused}");
    }

    /// It would make the tokens of a text others every time.
    #[test]
    fn nothing_is_drawn() {
        let drops = byte_level(|file| file["model"]["dropout"] = json!(0.9)).unwrap();
        let keeps = byte_level(|_| {}).unwrap();
        assert_eq!(drops.encode_long(TEXT), keeps.encode_long(TEXT));
    }

    #[test]
    fn a_vocabulary_may_be_padded_and_not_cut() {
        let tokenizer = sentence_piece();
        let size = tokenizer.largest() as usize + 1;
        assert_eq!(tokenizer.check(size).unwrap(), None);
        assert!(
            tokenizer.check(size + 3).unwrap().unwrap().contains("the last 3 stand for nothing")
        );
        let error = tokenizer.check(size - 1).unwrap_err().to_string();
        assert!(error.contains(&format!("ids up to {}", size - 1)), "{error}");
        assert!(tokenizer.is_special(2) && !tokenizer.is_special(5));
    }

    #[test]
    fn files_that_are_no_tokenizers_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokenizer.json");
        let refused = || PretrainedTokenizer::load(&path).unwrap_err().to_string();
        assert!(refused().contains("reading the tokenizer"));
        let cut_off = r#"{"decoder": {"type": "Fu"#;
        for text in ["", "{}", "[1]", r#"{"model": {"type": "Magic"}}"#, cut_off] {
            std::fs::write(&path, text).unwrap();
            let said = refused();
            assert!(said.contains("tokenizer.json is not a usable tokenizer"), "{text}: {said}");
        }
        std::fs::write(&path, [0xff, 0xfe]).unwrap();
        assert!(refused().contains("utf-8"));
    }
}
