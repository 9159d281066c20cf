//! The tokenizer of a pretrained model: Hugging Face's `tokenizer.json`, of whatever kind the
//! `tokenizers` crate knows, byte-level BPE as well as those that came from SentencePiece.

use super::byte_level::bytes_of;
use serde::de::IgnoredAny;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use thiserror::Error;
use tokenizers::Tokenizer;
use tokenizers::decoders::DecoderWrapper;

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
    /// Reads a `tokenizer.json`. Cutting and padding, which such files may also ask for, are left out.
    ///
    /// # Errors
    /// [`PretrainedError::File`] if it can't be read, [`PretrainedError::Invalid`] if it is none.
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

impl FromStr for PretrainedTokenizer {
    type Err = String;

    fn from_str(json: &str) -> Result<PretrainedTokenizer, String> {
        // The crate panics where the JSON of a decoder is cut off.
        serde_json::from_str::<IgnoredAny>(json).map_err(|error| error.to_string())?;
        let mut tokenizer = Tokenizer::from_str(json).map_err(|error| error.to_string())?;
        tokenizer.with_truncation(None).map_err(|error| error.to_string())?;
        tokenizer.with_padding(None);
        let largest = tokenizer.get_vocab(true).into_values().max().ok_or("it has no tokens")?;
        let kind = kind(tokenizer.get_decoder());
        Ok(PretrainedTokenizer { tokenizer, kind, largest })
    }
}

impl fmt::Debug for PretrainedTokenizer {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "PretrainedTokenizer({:?}, ids up to {})", self.kind, self.largest)
    }
}
