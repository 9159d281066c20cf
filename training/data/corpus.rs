//! Text to train on: read from a folder, cut from a single file, or generated.

use super::cut::in_three;
use super::download::Remote;
use super::encoding::text_of;
pub use super::error::DataError;
use super::files::hex;
use super::layout::{Found, LAYOUTS, left_out, parts_of};
use super::{Source, Splits, generated};
use crate::engine::random::Key;
use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::io::{self, IsTerminal, Read};
use std::path::Path;

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
    /// In words, which text is for what, and what was left out.
    pub parts: String,
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
        Corpus { name, source, official_words, splits, hashes, entropy, parts: String::new() }
    }

    /// The corpus that ships as code, of [`generated::SIZES`].
    pub fn generated() -> Corpus {
        let texts = generated::splits(Key::new(GENERATED_SEED), generated::SIZES);
        let entropy = Some(generated::entropy_rate());
        let source = Source::Generated(GENERATED_SEED);
        Corpus::new("generated".into(), source, false, texts, entropy)
    }

    /// Reads a folder with `wiki.{train,valid,test}.tokens`, or `.raw`, or
    /// `{train,valid,test}.txt`; the first of these that is complete. The validation text may also
    /// be called `validation`, `val` or `dev`, and the test text may be missing: then nothing is
    /// tested. Or reads a single text file, or a pipe (`-` is standard input), and splits it:
    /// validation begins with the first line that begins at or after 90 % of the bytes, test with
    /// the first at or after 95 %. A text without enough lines is cut between words, and one
    /// without words between characters.
    ///
    /// # Errors
    /// A [`DataError`] that names the path and what to do.
    pub fn read(path: &Path) -> Result<Corpus, DataError> {
        if path == Path::new("-") {
            return Corpus::read_standard_input();
        }
        let kind = fs::metadata(path).map_err(DataError::of_system(path))?.file_type();
        match kind {
            _ if kind.is_dir() => Corpus::read_folder(path),
            _ if can_be_read_again(path) => {
                let bytes = fs::read(path).map_err(DataError::of_system(path))?;
                Corpus::split(path, name_of(path), Source::TextFile(path.into()), bytes)
            }
            _ if is_device(kind) => Err(DataError::Device { path: path.into() }),
            _ => {
                let pipe = File::open(path).map_err(DataError::of_system(path))?;
                Corpus::read_pipe(path, pipe)
            }
        }
    }

    /// This corpus, said to have come through the pipe at a path: it was, and this is a copy.
    #[must_use]
    pub fn passed_through(self, path: &Path) -> Corpus {
        let path = if path == Path::new("-") { Path::new(STANDARD_INPUT) } else { path };
        Corpus { name: path.display().to_string(), source: Source::Pipe(path.into()), ..self }
    }

    fn read_standard_input() -> Result<Corpus, DataError> {
        let input = io::stdin();
        if input.is_terminal() {
            return Err(DataError::Terminal);
        }
        Corpus::read_pipe(Path::new(STANDARD_INPUT), input.lock())
    }

    fn read_pipe(path: &Path, mut pipe: impl Read) -> Result<Corpus, DataError> {
        let mut bytes = Vec::new();
        pipe.read_to_end(&mut bytes).map_err(DataError::of_system(path))?;
        let name = path.display().to_string();
        Corpus::split(path, name, Source::Pipe(path.into()), bytes)
    }

    fn read_folder(folder: &Path) -> Result<Corpus, DataError> {
        let found =
            LAYOUTS.iter().map(|layout| layout.find(folder)).collect::<Result<Vec<_>, _>>()?;
        let complete = found.iter().flatten().find(|found| found.missing.is_empty());
        let Some(Found { names, .. }) = complete else {
            let folder = folder.to_owned();
            return Err(match found.into_iter().flatten().next() {
                Some(Found { missing, names, .. }) => {
                    let there = names.iter().flatten().next().cloned().unwrap_or_default();
                    DataError::Incomplete { folder, missing, there }
                }
                None => {
                    let names = LAYOUTS.map(|layout| layout.usual());
                    DataError::NoCorpus { folder, looked_for: names.join("; or ") }
                }
            });
        };
        let mut notes = String::new();
        let texts = names.as_ref().try_map(|name| {
            let Some(name) = name else { return Ok(String::new()) };
            let path = folder.join(name);
            let bytes = fs::read(&path).map_err(DataError::of_system(&path))?;
            let (text, marked) = read_text(&path, bytes)?;
            if marked {
                notes += &format!("; the byte-order mark of {name} is left out");
            }
            Ok(text)
        })?;
        let train = names.train.as_deref().unwrap_or_default();
        let official = train.ends_with(".tokens") || Remote::wikitext_2().matches(&texts);
        let source = Source::Folder(folder.into());
        let parts = format!("{}{notes}{}", parts_of(names), left_out(folder, names));
        Ok(Corpus { parts, ..Corpus::new(name_of(folder), source, official, texts, None) })
    }

    /// Cuts one text in three.
    fn split(
        path: &Path,
        name: String,
        source: Source,
        bytes: Vec<u8>,
    ) -> Result<Corpus, DataError> {
        let (text, marked) = read_text(path, bytes)?;
        let Some((splits, at)) = in_three(&text) else {
            return Err(DataError::TooShort { path: path.into() });
        };
        let mark = if marked { "; its byte-order mark is left out" } else { "" };
        let parts = format!(
            "one text: the first 90 % are to learn from, the next 5 % for validation, the last 5 % \
             for the test, cut {at}{mark}"
        );
        Ok(Corpus { parts, ..Corpus::new(name, source, false, splits, None) })
    }
}

/// What standard input is called where text comes from there.
const STANDARD_INPUT: &str = "standard input";

/// Whether a path names a file or folder that another process, later, can read as well: not a pipe,
/// nor what this process alone has open (`/dev/fd/63`).
///
/// ```
/// use neutreno::data::corpus::can_be_read_again;
/// # let folder = tempfile::tempdir()?;
/// assert!(can_be_read_again(folder.path()));
/// assert!(!can_be_read_again("-".as_ref()));
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn can_be_read_again(path: &Path) -> bool {
    let of_this_process = ["/dev", "/proc"].iter().any(|folder| path.starts_with(folder));
    (path.is_file() && !of_this_process) || path.is_dir()
}

/// Whether it is something that has no end, such as `/dev/zero`.
#[cfg(unix)]
fn is_device(kind: fs::FileType) -> bool {
    use std::os::unix::fs::FileTypeExt;
    kind.is_char_device() || kind.is_block_device()
}

#[cfg(not(unix))]
fn is_device(_: fs::FileType) -> bool {
    false
}

/// The last part of a path, also of `.` and the like.
fn name_of(path: &Path) -> String {
    let whole = fs::canonicalize(path).unwrap_or_else(|_| path.into());
    whole.file_name().unwrap_or(whole.as_os_str()).to_string_lossy().into_owned()
}

/// The text of one file, or of standard input where the path is `-`, whole and without a byte-order
/// mark. It may be empty.
///
/// ```
/// use neutreno::data::corpus::whole_text;
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("text.txt");
/// std::fs::write(&path, "na\u{ef}ve\n")?;
/// assert_eq!(whole_text(&path)?, "na\u{ef}ve\n");
/// std::fs::write(&path, [0x61, 0xff])?;
/// assert!(whole_text(&path).unwrap_err().to_string().contains("offset 1, line 1"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// If it cannot be read, or is no text in UTF-8.
pub fn whole_text(path: &Path) -> Result<String, DataError> {
    let (path, bytes) = if path == Path::new("-") {
        let mut bytes = Vec::new();
        let read = io::stdin().lock().read_to_end(&mut bytes);
        (Path::new(STANDARD_INPUT), read.map(|_| bytes))
    } else {
        let kind = fs::metadata(path).map_err(DataError::of_system(path))?.file_type();
        if is_device(kind) {
            return Err(DataError::Device { path: path.into() });
        }
        (path, fs::read(path))
    };
    let text = text_of(bytes.map_err(DataError::of_system(path))?);
    let not_text = |not_text| DataError::NotText { path: path.into(), not_text };
    text.map(|(text, _)| text).map_err(not_text)
}

/// A file's text, and whether it began with a byte-order mark.
fn read_text(path: &Path, bytes: Vec<u8>) -> Result<(String, bool), DataError> {
    let (text, marked) =
        text_of(bytes).map_err(|not_text| DataError::NotText { path: path.into(), not_text })?;
    if text.trim().is_empty() {
        return Err(DataError::Empty { path: path.into() });
    }
    Ok((text, marked))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

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
            (["train.txt", "validation.txt", "test.txt"], false),
            (["wiki.train.tokens", "wiki.val.tokens", "wiki.test.tokens"], true),
            (["train.txt", "dev.txt", "test.txt"], false),
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
            let [train, validation, test] = names;
            let parts = format!("{train} to learn from, {validation} for validation, {test} for");
            assert!(corpus.parts.starts_with(&parts), "{}", corpus.parts);
        }
    }

    #[test]
    fn what_a_folder_lacks_or_has_too_much_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        write(path, "train.txt", "\u{feff}a b\n");
        let lacks = message(path);
        assert!(lacks.contains("lacks valid.txt") && lacks.contains("train.txt"), "{lacks}");
        write(path, "val.txt", "b\n");
        write(path, "notes.txt", "not read\n");
        let corpus = Corpus::read(path).unwrap();
        assert_eq!(
            corpus.splits.as_ref().map(String::as_str),
            Splits { train: "a b\n", validation: "b\n", test: "" }
        );
        let said = ["no test text", "mark of train.txt is left out", "not read (1): notes.txt"];
        assert!(said.iter().all(|said| corpus.parts.contains(said)), "{}", corpus.parts);
        write(path, "dev.txt", "b\n");
        assert!(message(path).contains("has val.txt and dev.txt"), "{}", message(path));
        fs::remove_file(path.join("dev.txt")).unwrap();
        fs::create_dir(path.join("test.txt")).unwrap();
        let said = message(path);
        assert!(said.contains("it is a folder") && !said.contains("permissions"), "{said}");
    }

    #[test]
    fn a_text_of_one_line_is_cut_between_words_or_characters() {
        let folder = tempfile::tempdir().unwrap();
        for (text, at, lengths) in [
            ("abcdefghi ".repeat(100), "between words", [900, 50, 50]),
            ("abcdefghi\r".repeat(100), "carriage returns", [900, 50, 50]),
            ("東京は夜".repeat(100), "between characters", [1080, 60, 60]),
            ("headline\n".to_string() + &"abc ".repeat(100), "between words", [369, 20, 20]),
        ] {
            let corpus = Corpus::read(&write(folder.path(), "one.txt", &text)).unwrap();
            assert!(corpus.parts.contains(at), "{}", corpus.parts);
            let found: Vec<usize> = corpus.splits.iter().map(String::len).collect();
            assert_eq!(found, lengths, "{at}");
            let Splits { train, validation, test } = corpus.splits;
            assert_eq!(train + &validation + &test, text);
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_device_is_refused_and_what_lies_below_dev_is_read_once() {
        use std::os::fd::AsRawFd;
        assert!(message(Path::new("/dev/zero")).contains("device"));
        let folder = tempfile::tempdir().unwrap();
        let text = "a line of text\n".repeat(100);
        let file = fs::File::open(write(folder.path(), "text.txt", &text)).unwrap();
        let path = PathBuf::from(format!("/dev/fd/{}", file.as_raw_fd()));
        let corpus = Corpus::read(&path).unwrap();
        assert_eq!(corpus.source, Source::Pipe(path));
        assert_eq!(corpus.splits.train.len() + 2 * corpus.splits.test.len(), text.len());
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
            assert!(message(&short).contains("short.txt has too little text"));
            fs::remove_file(short).unwrap();
        }

        write(path, "valid.txt", "text\n");
        let lacks = message(path);
        assert!(lacks.contains("lacks train.txt"), "{lacks}");
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
