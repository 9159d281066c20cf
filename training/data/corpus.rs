//! Text to train on: read from a folder, cut from a single file, or generated.

use super::download::Remote;
use super::files::hex;
use super::{Source, Splits, generated};
use crate::engine::random::Key;
use sha2::{Digest, Sha256};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// The seed of the generated corpus; always the same, so that runs can be compared.
const GENERATED_SEED: u64 = 2016;

/// Text to train on.
#[derive(Clone, Debug, PartialEq)]
pub struct Corpus {
    /// What to call it in a table.
    pub name: String,
    /// Where it came from.
    pub source: Source,
    /// Whether its words are WikiText's own, so that perplexities a word compare with published
    /// ones: `.tokens` files, and the verified download.
    pub official_words: bool,
    /// The text.
    pub splits: Splits<String>,
    /// SHA-256 of each split, in hexadecimal.
    pub hashes: Splits<String>,
    /// The lowest loss possible, in nats a token with words and line ends as tokens, where it is
    /// known: of the generated corpus.
    pub entropy: Option<f64>,
}

/// Why there is no text.
#[derive(Debug, Error)]
pub enum DataError {
    /// Nothing is at the path.
    #[error("no data at {path}: give a folder or a text file that exists")]
    Missing {
        /// What was asked for.
        path: PathBuf,
    },
    /// The system would not read it.
    #[error("cannot read {path}: {source}; check its permissions")]
    Unreadable {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Nothing, or only white space, is in the file.
    #[error("{path} is empty: give a file with text")]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// The file is not text, or in another encoding.
    #[error(
        "{path} is not UTF-8 text: the byte at offset {offset} is invalid; convert it to UTF-8"
    )]
    NotUtf8 {
        /// The file.
        path: PathBuf,
        /// How many valid bytes come before.
        offset: usize,
    },
    /// The folder has some of the three files.
    #[error("{folder} lacks {missing}: a corpus needs {expected}")]
    Incomplete {
        /// The folder.
        folder: PathBuf,
        /// The names of the files that are not there.
        missing: String,
        /// The names of all three.
        expected: String,
    },
    /// The folder has none of the files.
    #[error("{folder} holds no corpus: looked for {looked_for}; or give a single text file")]
    NoCorpus {
        /// The folder.
        folder: PathBuf,
        /// The names that would have done.
        looked_for: String,
    },
    /// A single file can't be split.
    #[error(
        "{path} has too few lines to split 90/5/5 at line ends: \
         give a longer text, or a folder with train.txt, valid.txt and test.txt"
    )]
    TooFewLines {
        /// The file.
        path: PathBuf,
    },
    /// Real text was required.
    #[error("{reason}; give real text with --data, or allow the generated corpus")]
    NoRealText {
        /// Why there is none.
        reason: String,
    },
}

impl Corpus {
    /// A corpus of texts that are at hand; their hashes are computed. The other arguments are as the
    /// fields of their names.
    ///
    /// ```
    /// use neutreno::data::corpus::Corpus;
    /// use neutreno::data::{Source, Splits};
    /// let text = |words: &str| words.to_string();
    /// let splits = Splits { train: text("a b a"), validation: text("b"), test: text("a") };
    /// let corpus = Corpus::new("two words".into(), Source::Generated(0), false, splits, None);
    /// assert_eq!(corpus.hashes.train.len(), 64);
    /// ```
    pub fn new(
        name: String,
        source: Source,
        official_words: bool,
        splits: Splits<String>,
        entropy: Option<f64>,
    ) -> Corpus {
        let hashes = splits.as_ref().map(|text| hex(&Sha256::digest(text)));
        Corpus { name, source, official_words, splits, hashes, entropy }
    }

    /// The corpus that ships as code, of [`generated::SIZES`].
    pub fn generated() -> Corpus {
        let texts = generated::splits(Key::new(GENERATED_SEED), generated::SIZES);
        let entropy = Some(generated::entropy_rate());
        let source = Source::Generated(GENERATED_SEED);
        Corpus::new("generated".into(), source, false, texts, entropy)
    }

    /// Reads a folder with `wiki.{train,valid,test}.tokens`, or `.raw`, or
    /// `{train,valid,test}.txt`; the first of these that is complete. Or reads a single text file
    /// and splits it: validation begins with the first line that begins at or after 90 % of the
    /// bytes, test with the first at or after 95 %.
    ///
    /// # Errors
    /// A [`DataError`] that names the path and what to do.
    pub fn read(path: &Path) -> Result<Corpus, DataError> {
        let unreadable = |source: io::Error| match source.kind() {
            io::ErrorKind::NotFound => DataError::Missing { path: path.into() },
            _ => DataError::Unreadable { path: path.into(), source },
        };
        if fs::metadata(path).map_err(unreadable)?.is_dir() {
            Corpus::read_folder(path)
        } else {
            Corpus::read_file(path)
        }
    }

    fn read_folder(folder: &Path) -> Result<Corpus, DataError> {
        let kinds = [("wiki.", ".tokens"), ("wiki.", ".raw"), ("", ".txt")].map(|(start, end)| {
            let split = |name| format!("{start}{name}{end}");
            Splits { train: split("train"), validation: split("valid"), test: split("test") }
        });
        let is_there = |name: &&String| folder.join(name).exists();
        if let Some(names) = kinds.iter().find(|names| names.iter().all(|name| is_there(&name))) {
            let texts = names.as_ref().try_map(|name| read_text(&folder.join(name)))?;
            let official = names.train.ends_with(".tokens") || Remote::wikitext_2().matches(&texts);
            let source = Source::Folder(folder.into());
            return Ok(Corpus::new(name_of(folder), source, official, texts, None));
        }
        let list = |names: &Splits<String>| names.iter().cloned().collect::<Vec<_>>().join(", ");
        Err(match kinds.iter().find(|names| names.iter().any(|name| is_there(&name))) {
            Some(names) => DataError::Incomplete {
                folder: folder.into(),
                missing: names
                    .iter()
                    .filter(|name| !is_there(name))
                    .cloned()
                    .collect::<Vec<_>>()
                    .join(" and "),
                expected: list(names),
            },
            None => DataError::NoCorpus {
                folder: folder.into(),
                looked_for: kinds.each_ref().map(list).join("; or "),
            },
        })
    }

    fn read_file(path: &Path) -> Result<Corpus, DataError> {
        let text = read_text(path)?;
        // The first line that begins at or after a byte; a line begins after a line end.
        let line_at = |byte: usize| {
            let end = text.as_bytes()[byte - 1..].iter().position(|&byte| byte == b'\n');
            end.map_or(text.len(), |end| byte + end)
        };
        let percent = |percent: usize| (text.len() * percent / 100).max(1);
        let (validation, test) = (line_at(percent(90)), line_at(percent(95)));
        let splits = Splits {
            train: text[..validation].to_string(),
            validation: text[validation..test].to_string(),
            test: text[test..].to_string(),
        };
        if splits.iter().any(|split| split.trim().is_empty()) {
            return Err(DataError::TooFewLines { path: path.into() });
        }
        Ok(Corpus::new(name_of(path), Source::TextFile(path.into()), false, splits, None))
    }
}

/// The last part of a path, also of `.` and the like.
fn name_of(path: &Path) -> String {
    let whole = fs::canonicalize(path).unwrap_or_else(|_| path.into());
    whole.file_name().unwrap_or(whole.as_os_str()).to_string_lossy().into_owned()
}

fn read_text(path: &Path) -> Result<String, DataError> {
    let bytes =
        fs::read(path).map_err(|source| DataError::Unreadable { path: path.into(), source })?;
    let text = String::from_utf8(bytes).map_err(|error| DataError::NotUtf8 {
        path: path.into(),
        offset: error.utf8_error().valid_up_to(),
    })?;
    if text.trim().is_empty() {
        return Err(DataError::Empty { path: path.into() });
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(folder: &Path, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = folder.join(name);
        fs::write(&path, content).unwrap();
        path
    }

    fn message(path: &Path) -> String {
        Corpus::read(path).unwrap_err().to_string()
    }

    #[test]
    fn folders_are_read_in_each_naming() {
        for (names, official) in [
            (["wiki.train.tokens", "wiki.valid.tokens", "wiki.test.tokens"], true),
            (["wiki.train.raw", "wiki.valid.raw", "wiki.test.raw"], false),
            (["train.txt", "valid.txt", "test.txt"], false),
        ] {
            let folder = tempfile::tempdir().unwrap();
            for name in names {
                write(folder.path(), name, format!("{name}\n"));
            }
            let corpus = Corpus::read(folder.path()).unwrap();
            assert_eq!(corpus.source, Source::Folder(folder.path().into()));
            assert_eq!(corpus.official_words, official);
            let texts: Vec<&str> = corpus.splits.iter().map(|text| text.trim_end()).collect();
            assert_eq!(texts, names);
            assert!(corpus.hashes.iter().all(|hash| hash.len() == 64));
            assert_eq!(corpus.entropy, None);
        }
    }

    #[test]
    fn a_single_file_is_split_at_line_ends() {
        let folder = tempfile::tempdir().unwrap();
        for text in [
            "abcdefghi\n".repeat(100),
            (0..300).map(|i| format!("{}\n", "é".repeat(i % 7))).collect(),
            "no line end at the end of this\n".repeat(40).trim_end().to_string(),
        ] {
            let path = write(folder.path(), "book.txt", &text);
            let corpus = Corpus::read(&path).unwrap();
            assert_eq!(corpus.name, "book.txt");
            let Splits { train, validation, test } = &corpus.splits;
            assert_eq!([train.as_str(), validation, test].concat(), text);
            assert!(train.ends_with('\n') && validation.ends_with('\n'));
            let longest_line = text.lines().map(str::len).max().unwrap() + 1;
            assert!(
                (text.len() * 9 / 10..=text.len() * 9 / 10 + longest_line).contains(&train.len())
            );
            assert!(test.len() <= text.len() / 20 + 1);
        }
        // Lines that begin exactly at 90 % and 95 %.
        let path = write(folder.path(), "even.txt", "abcdefghi\n".repeat(100));
        let lengths = Corpus::read(&path).unwrap().splits.map(|text| text.len());
        assert_eq!(lengths, Splits { train: 900, validation: 50, test: 50 });
    }

    #[test]
    fn bad_data_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        assert!(message(path).contains("wiki.train.raw, wiki.valid.raw, wiki.test.raw; or train"));
        assert!(message(&path.join("nothing.txt")).contains("no data at"));

        let empty = write(path, "empty.txt", " \n");
        assert!(message(&empty).contains("empty.txt is empty"));
        let latin = write(path, "latin.txt", b"caf\xe9\n");
        assert!(message(&latin).contains("offset 3"));
        // The path goes on through a file.
        let through = latin.join("deeper.txt");
        assert!(message(&through).contains("deeper.txt"), "{}", message(&through));
        for short in ["one line", "two\nlines\n"] {
            let short = write(path, "short.txt", short);
            assert!(message(&short).contains("short.txt has too few lines"));
        }

        write(path, "valid.txt", "text\n");
        let lacks = message(path);
        assert!(lacks.contains("lacks train.txt and test.txt"), "{lacks}");
        write(path, "train.txt", "text\n");
        write(path, "test.txt", "");
        assert!(message(path).contains("test.txt is empty"));
    }

    #[test]
    fn the_generated_corpus_is_the_same_each_time() {
        let corpus = Corpus::generated();
        assert_eq!(corpus, Corpus::generated());
        assert!(corpus.entropy.is_some() && !corpus.official_words);
        assert!(corpus.splits.train.len() > 4_000_000);
    }
}
