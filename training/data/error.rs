//! Why there is no text.

use super::encoding::NotText;
use super::files::reason;
use std::io;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Why there is no text.
#[derive(Debug, Error)]
pub enum DataError {
    /// Nothing is at the path.
    #[error("no data at {}: give a folder or a text file that exists", path.display())]
    Missing {
        /// What was asked for.
        path: PathBuf,
    },
    /// The system would not read it.
    #[error("cannot read {}: {}", path.display(), reason(source))]
    Unreadable {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is a device, whose bytes may have no end.
    #[error("{} is a device and not a text: give a folder, a text file or a pipe", path.display())]
    Device {
        /// What was asked for.
        path: PathBuf,
    },
    /// The text should come from a terminal.
    #[error(
        "--data - reads a text from a pipe, and standard input is a terminal: write it as in \
         zcat text.gz | lm_wikitext --data -"
    )]
    Terminal,
    /// Nothing, or only white space, is in the file.
    #[error("{} is empty: give a file with text", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// The file is no text, or one in another encoding.
    #[error("{} {not_text}", path.display())]
    NotText {
        /// The file.
        path: PathBuf,
        /// What it is instead.
        not_text: NotText,
    },
    /// The folder lacks what is needed.
    #[error(
        "{} lacks {missing}: a corpus needs a text to learn from and one for validation (valid, \
         validation, val or dev); or give a single text, which is split: --data {}",
        folder.display(), folder.join(there).display()
    )]
    Incomplete {
        /// The folder.
        folder: PathBuf,
        /// The names of the files that are not there.
        missing: String,
        /// A file that is there.
        there: String,
    },
    /// The folder has two files for the same.
    #[error(
        "{} has {one} and {other}, and either could be the validation text: give another name to \
         one of them",
        folder.display()
    )]
    Ambiguous {
        /// The folder.
        folder: PathBuf,
        /// The name of the one.
        one: String,
        /// The name of the other.
        other: String,
    },
    /// The folder has none of the files.
    #[error(
        "{} holds no corpus: looked for {looked_for} (the last is not needed, and the second may \
         be called validation, val or dev); or give a single text file",
        folder.display()
    )]
    NoCorpus {
        /// The folder.
        folder: PathBuf,
        /// The names that would have done.
        looked_for: String,
    },
    /// A single file can't be split.
    #[error(
        "{} has too little text to split 90/5/5: give a longer text, or a folder with train.txt, \
         valid.txt and test.txt",
        path.display()
    )]
    TooShort {
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

impl DataError {
    /// What the system said about a file or folder.
    pub(super) fn of_system(path: &Path) -> impl FnOnce(io::Error) -> DataError {
        let path = path.to_owned();
        move |source| match source.kind() {
            io::ErrorKind::NotFound => DataError::Missing { path },
            _ => DataError::Unreadable { path, source },
        }
    }
}
