//! From text to token ids and back: WikiText's own words, bytes, byte-level BPE, or the tokens of a
//! pretrained model.
//!
//! A language model's loss is an average over its own tokens, so losses under two tokenizers can't
//! be compared; perplexities a word can: exp(total nats / [`words_and_line_ends`]).

use super::bpe::{self, BytePairs};
use super::kept_pairs::byte_pairs;
use super::pretrained::PretrainedTokenizer;
use super::words::Words;
use serde_json::Value;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use thiserror::Error;

/// Why a tokenizer could not be chosen, made, saved or loaded.
#[derive(Debug, Error)]
pub enum TokenizerError {
    /// The name is none of the three kinds.
    #[error("unknown tokenizer `{0}`: choose words, bytes or bpe:N (for example bpe:4096)")]
    UnknownKind(String),
    /// The N of `bpe:N` is not a number, or out of range.
    #[error(
        "tokenizer `{0}`: N in bpe:N is the vocabulary, a whole number from {min} to {max}",
        min = bpe::SMALLEST_VOCABULARY,
        max = bpe::LARGEST_VOCABULARY
    )]
    VocabularySize(String),
    /// The training text has no words to learn from.
    #[error("the tokenizer's training text is empty: give it at least one word")]
    EmptyText,
    /// The file could not be read or written.
    #[error("{action} the tokenizer {path}: {source}")]
    File {
        /// "reading" or "writing".
        action: &'static str,
        /// The tokenizer's file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file's content is not a tokenizer that this program can use.
    #[error(
        "{path} is not a usable tokenizer: {reason}; use the tokenizer.json saved with the run, or that \
         of the model"
    )]
    Invalid {
        /// The tokenizer's file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The BPE trainer failed.
    #[error("training the byte-pair tokenizer: {0}")]
    Training(String),
}

/// Which tokenizer to make: `words`, `bytes` or `bpe:N`.
///
/// ```
/// use neutreno::data::tokenizer::TokenizerChoice;
/// let choice: TokenizerChoice = "bpe:4096".parse()?;
/// assert_eq!(choice, TokenizerChoice::BytePairs(4096));
/// assert_eq!(choice.to_string(), "bpe:4096");
/// assert!("bpe:100".parse::<TokenizerChoice>().is_err());
/// # Ok::<(), neutreno::data::tokenizer::TokenizerError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenizerChoice {
    /// Words between spaces, and `<eos>` for each line end, as WikiText counts them.
    Words,
    /// The 256 bytes of UTF-8.
    Bytes,
    /// Byte-level byte-pair encoding with at most this many tokens.
    BytePairs(usize),
}

impl TokenizerChoice {
    /// The same as [`build`](TokenizerChoice::build), with byte pairs of a long text kept in a folder, and
    /// read from there the next time: they lie under the hash of all that they are made from. Comes with a
    /// sentence where they cannot be kept.
    ///
    /// ```
    /// use neutreno::data::tokenizer::TokenizerChoice;
    /// let folder = tempfile::tempdir()?;
    /// let choice: TokenizerChoice = "bpe:300".parse()?;
    /// let (tokenizer, problem) = choice.build_kept("to be or not to be\n", folder.path())?;
    /// assert_eq!(tokenizer.decode(&tokenizer.encode("to be")), "to be");
    /// assert!(problem.is_none());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As for [`build`](TokenizerChoice::build).
    pub fn build_kept(
        self,
        training_text: &str,
        folder: &Path,
    ) -> Result<(Tokenizer, Option<String>), TokenizerError> {
        match self {
            TokenizerChoice::BytePairs(vocabulary) if !training_text.trim().is_empty() => {
                let pairs = byte_pairs(training_text, vocabulary, folder);
                let (pairs, problem) = pairs.map_err(TokenizerError::Training)?;
                Ok((Tokenizer::BytePairs(Box::new(pairs)), problem))
            }
            other => Ok((other.build(training_text)?, None)),
        }
    }

    /// Makes the tokenizer from the training text.
    ///
    /// # Errors
    /// [`TokenizerError::EmptyText`] if words or byte pairs are to be learnt from a text without
    /// any word; [`TokenizerError::Training`] if the BPE trainer fails.
    pub fn build(self, training_text: &str) -> Result<Tokenizer, TokenizerError> {
        if self != TokenizerChoice::Bytes && training_text.trim().is_empty() {
            return Err(TokenizerError::EmptyText);
        }
        Ok(match self {
            TokenizerChoice::Words => Tokenizer::Words(Words::learn(training_text)),
            TokenizerChoice::Bytes => Tokenizer::Bytes,
            TokenizerChoice::BytePairs(vocabulary) => Tokenizer::BytePairs(Box::new(
                BytePairs::train(training_text, vocabulary).map_err(TokenizerError::Training)?,
            )),
        })
    }
}

impl FromStr for TokenizerChoice {
    type Err = TokenizerError;

    fn from_str(text: &str) -> Result<Self, TokenizerError> {
        match text {
            "words" => Ok(TokenizerChoice::Words),
            "bytes" => Ok(TokenizerChoice::Bytes),
            _ => {
                let Some(number) = text.strip_prefix("bpe:") else {
                    return Err(TokenizerError::UnknownKind(text.into()));
                };
                match number.parse() {
                    Ok(n) if (bpe::SMALLEST_VOCABULARY..=bpe::LARGEST_VOCABULARY).contains(&n) => {
                        Ok(TokenizerChoice::BytePairs(n))
                    }
                    _ => Err(TokenizerError::VocabularySize(text.into())),
                }
            }
        }
    }
}

impl fmt::Display for TokenizerChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TokenizerChoice::Words => write!(f, "words"),
            TokenizerChoice::Bytes => write!(f, "bytes"),
            TokenizerChoice::BytePairs(vocabulary) => write!(f, "bpe:{vocabulary}"),
        }
    }
}

/// A tokenizer that is ready to use: made by [`TokenizerChoice::build`] or [`Tokenizer::load`].
///
/// ```
/// use neutreno::data::tokenizer::TokenizerChoice;
/// let tokenizer = TokenizerChoice::Words.build("the cat saw the dog\n")?;
/// let ids = tokenizer.encode("the dog saw a cat\n");
/// assert_eq!(tokenizer.decode(&ids), "the dog saw <unk> cat\n");
/// # Ok::<(), neutreno::data::tokenizer::TokenizerError>(())
/// ```
#[derive(Clone, Debug)]
pub enum Tokenizer {
    /// Words between spaces, and `<eos>` for each line end.
    Words(Words),
    /// The 256 bytes of UTF-8: nothing to learn, nothing unknown.
    Bytes,
    /// Byte-level byte-pair encoding.
    BytePairs(Box<BytePairs>),
    /// The tokens of a pretrained model.
    Pretrained(Arc<PretrainedTokenizer>),
}

impl Tokenizer {
    /// The token ids of a text, each below [`Tokenizer::vocabulary`].
    ///
    /// Those that a pretrained model's file adds at the beginning of a text, such as `<s>`, are not
    /// among them: windows of a text begin anywhere in it. [`PretrainedTokenizer::encode`] adds them.
    pub fn encode(&self, text: &str) -> Vec<u32> {
        match self {
            Tokenizer::Words(words) => words.encode(text),
            Tokenizer::Bytes => text.bytes().map(u32::from).collect(),
            Tokenizer::BytePairs(pairs) => pairs.encode(text),
            Tokenizer::Pretrained(pretrained) => pretrained.encode_long(text),
        }
    }

    /// The text of token ids. Bytes that are not UTF-8, as a model may well write, and ids outside
    /// the vocabulary become replacement characters (in words: `<unk>`). Special tokens of a pretrained
    /// model are written out.
    pub fn decode(&self, ids: &[u32]) -> String {
        match self {
            Tokenizer::Words(words) => words.decode(ids),
            Tokenizer::Bytes => {
                // 0xff occurs in no UTF-8 text.
                let bytes: Vec<u8> =
                    ids.iter().map(|&id| u8::try_from(id).unwrap_or(0xff)).collect();
                String::from_utf8_lossy(&bytes).into_owned()
            }
            Tokenizer::BytePairs(pairs) => pairs.decode(ids),
            Tokenizer::Pretrained(pretrained) => pretrained.decode(ids),
        }
    }

    /// The number of different tokens: one more than the largest id. A pretrained model may have more,
    /// which stand for nothing.
    pub fn vocabulary(&self) -> usize {
        match self {
            Tokenizer::Words(words) => words.vocabulary(),
            Tokenizer::Bytes => 256,
            Tokenizer::BytePairs(pairs) => pairs.vocabulary(),
            Tokenizer::Pretrained(pretrained) => pretrained.largest() as usize + 1,
        }
    }

    /// The token that stands for everything else, if there is one.
    pub fn unknown(&self) -> Option<u32> {
        match self {
            Tokenizer::Words(words) => Some(words.unknown()),
            Tokenizer::Bytes | Tokenizer::BytePairs(_) => None,
            Tokenizer::Pretrained(pretrained) => pretrained.unknown(),
        }
    }

    /// Which tokens of a text, by their place from 0, stand for words that the tokenizer does not
    /// know. They are scored as if they were all one word, which flatters a model.
    ///
    /// ```
    /// use neutreno::data::tokenizer::{Tokenizer, TokenizerChoice};
    /// let words = TokenizerChoice::Words.build("the cat saw the dog\n")?;
    /// assert_eq!(words.unknown_in("the horse saw the cat\n"), [1]);
    /// assert!(Tokenizer::Bytes.unknown_in("a horse").is_empty());
    /// # Ok::<(), neutreno::data::tokenizer::TokenizerError>(())
    /// ```
    pub fn unknown_in(&self, text: &str) -> Vec<usize> {
        match self {
            Tokenizer::Words(words) => words.unknown_in(text),
            Tokenizer::Bytes | Tokenizer::BytePairs(_) => Vec::new(),
            Tokenizer::Pretrained(pretrained) => pretrained.unknown_in(text),
        }
    }

    /// Whether the tokens hold every byte of a text, so that bits a byte can be told: words forget
    /// the white space between them, and what is unknown; for a pretrained model's see
    /// [`PretrainedTokenizer::keeps_every_byte`].
    pub fn keeps_every_byte(&self) -> bool {
        match self {
            Tokenizer::Words(_) => false,
            Tokenizer::Bytes | Tokenizer::BytePairs(_) => true,
            Tokenizer::Pretrained(pretrained) => pretrained.keeps_every_byte(),
        }
    }

    /// `words`, `bytes` or `bpe:N`, where N is what was learnt: a short text has fewer pairs to
    /// merge than were asked for. `pretrained:N` for a pretrained model's.
    pub fn name(&self) -> String {
        let choice = match self {
            Tokenizer::Words(_) => TokenizerChoice::Words,
            Tokenizer::Bytes => TokenizerChoice::Bytes,
            Tokenizer::BytePairs(pairs) => TokenizerChoice::BytePairs(pairs.vocabulary()),
            Tokenizer::Pretrained(_) => return format!("pretrained:{}", self.vocabulary()),
        };
        choice.to_string()
    }

    /// Writes the tokenizer as JSON, under a temporary name first. Byte pairs are in the format of
    /// Hugging Face's `tokenizer.json`, a pretrained model's is the text of its own; words and bytes are
    /// `{"kind": "words", "words": [...]}` and `{"kind": "bytes"}`.
    ///
    /// # Errors
    /// [`TokenizerError::File`] with the path; a file that was there before is then still whole.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), TokenizerError> {
        let path = path.as_ref();
        let json = match self {
            Tokenizer::Words(words) => words.to_json(),
            Tokenizer::Bytes => r#"{"kind": "bytes"}"#.to_string(),
            Tokenizer::BytePairs(pairs) => pairs.to_json(),
            Tokenizer::Pretrained(pretrained) => pretrained.json().to_owned(),
        };
        super::files::write_whole(path, json.as_bytes()).map_err(|source| TokenizerError::File {
            action: "writing",
            path: path.into(),
            source,
        })
    }

    /// Reads what [`Tokenizer::save`] wrote, or the `tokenizer.json` of a pretrained model. One that is
    /// exactly as byte pairs are saved here is byte pairs, wherever it comes from.
    ///
    /// # Errors
    /// [`TokenizerError::File`] if the file can't be read; [`TokenizerError::Invalid`], with the
    /// reason, if it is no such tokenizer.
    pub fn load(path: impl AsRef<Path>) -> Result<Tokenizer, TokenizerError> {
        let path = path.as_ref();
        let text = fs::read(path).map_err(|source| TokenizerError::File {
            action: "reading",
            path: path.into(),
            source,
        })?;
        Tokenizer::from_json(&text)
            .map_err(|reason| TokenizerError::Invalid { path: path.into(), reason })
    }

    pub(super) fn from_json(text: &[u8]) -> Result<Tokenizer, String> {
        let json: Value = serde_json::from_slice(text).map_err(|error| error.to_string())?;
        let object = json.as_object().ok_or("it holds no JSON object")?;
        if object.contains_key("model") {
            let adds = object.get("added_tokens").and_then(Value::as_array);
            // Byte pairs learnt here have nothing added; looking further would take time.
            if adds.is_some_and(Vec::is_empty)
                && let Ok(pairs) = BytePairs::from_json(text)
            {
                return Ok(Tokenizer::BytePairs(Box::new(pairs)));
            }
            let text = std::str::from_utf8(text).map_err(|error| error.to_string())?;
            return Ok(Tokenizer::Pretrained(Arc::new(text.parse()?)));
        }
        match (object.get("kind").and_then(Value::as_str), object.len()) {
            (Some("bytes"), 1) => Ok(Tokenizer::Bytes),
            (Some("words"), 2) => Ok(Tokenizer::Words(Words::from_json(&json)?)),
            _ => Err(r#"it has neither "model" nor a "kind" of words or bytes"#.into()),
        }
    }
}

/// What perplexities a word are counted in: the words between white space plus the line ends of
/// the text that is scored. On WikiText's `.tokens` files these are the published token counts.
///
/// ```
/// use neutreno::data::tokenizer::words_and_line_ends;
/// assert_eq!(words_and_line_ends(" = Title = \n \n one two\n"), 3 + 2 + 3);
/// ```
pub fn words_and_line_ends(text: &str) -> usize {
    text.split_whitespace().count() + text.bytes().filter(|&byte| byte == b'\n').count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_are_read_strictly() {
        for name in ["words", "bytes", "bpe:257", "bpe:65536"] {
            assert_eq!(name.parse::<TokenizerChoice>().unwrap().to_string(), name);
        }
        for name in ["", "word", "Bytes", "bpe", "bpe4096", " words"] {
            let message = name.parse::<TokenizerChoice>().unwrap_err().to_string();
            assert!(message.contains("words, bytes or bpe:N"), "{message}");
        }
        for name in ["bpe:", "bpe:256", "bpe:65537", "bpe:-1", "bpe:4k"] {
            let message = name.parse::<TokenizerChoice>().unwrap_err().to_string();
            assert!(message.contains(name) && message.contains("257 to 65536"), "{message}");
        }
    }

    #[test]
    fn every_kind_is_saved_and_loaded() {
        let text = "the cat saw the dog , and the dog saw the cat .\n naïve → 東京\n\n";
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokenizer.json");
        for choice in ["words", "bytes", "bpe:300"] {
            let tokenizer = choice.parse::<TokenizerChoice>().unwrap().build(text).unwrap();
            tokenizer.save(&path).unwrap();
            let loaded = Tokenizer::load(&path).unwrap();
            let ids = tokenizer.encode(text);
            assert_eq!(loaded.name(), tokenizer.name());
            assert_eq!(loaded.vocabulary(), tokenizer.vocabulary());
            assert_eq!(loaded.encode(text), ids);
            assert!(ids.iter().all(|&id| (id as usize) < tokenizer.vocabulary()));
            // Words forget how many spaces there were, and nothing else.
            assert_eq!(tokenizer.encode(&loaded.decode(&ids)), ids);
            if choice != "words" {
                assert_eq!(loaded.decode(&ids), text);
            }
            // An id that the vocabulary doesn't have, and half a character.
            assert!(!loaded.decode(&[u32::MAX, 0xE6]).is_empty());
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "a temporary file stayed");
    }

    #[test]
    fn bad_files_are_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokenizer.json");
        let message = Tokenizer::load(&path).unwrap_err().to_string();
        assert!(message.contains("reading") && message.contains("tokenizer.json"), "{message}");
        for (content, reason) in [
            ("", "EOF"),
            ("[]", "no JSON object"),
            (r#"{"kind": "letters"}"#, "kind"),
            (r#"{"kind": "bytes", "words": []}"#, "kind"),
            (r#"{"kind": "words", "words": ["a", 1]}"#, "words"),
            (r#"{"kind": "words", "words": ["a", "a", "<unk>", "<eos>"]}"#, "twice"),
            (r#"{"kind": "words", "words": ["a", "<unk>"]}"#, "<eos>"),
            (r#"{"model": {"type": "WordLevel", "vocab": {}, "unk_token": "?"}}"#, "no tokens"),
        ] {
            fs::write(&path, content).unwrap();
            let message = Tokenizer::load(&path).unwrap_err().to_string();
            assert!(message.contains(reason) && message.contains("json"), "{content}: {message}");
        }
        let nowhere = folder.path().join("missing").join("tokenizer.json");
        assert!(Tokenizer::Bytes.save(&nowhere).unwrap_err().to_string().contains("missing"));
    }

    #[test]
    fn nothing_is_learnt_from_nothing() {
        for choice in [TokenizerChoice::Words, TokenizerChoice::BytePairs(300)] {
            assert!(matches!(choice.build(" \n"), Err(TokenizerError::EmptyText)));
        }
        assert!(TokenizerChoice::Bytes.build("").is_ok());
    }
}
