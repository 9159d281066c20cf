//! Why a run's files could not be written or read.

use std::io;
use std::path::{Path, PathBuf};

/// Why a run's files could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The folder of a new run could not be made.
    #[error(
        "cannot create the folder {}: {source}. Name a place that can be written with --out",
        path.display()
    )]
    Create {
        /// The folder that could not be made.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The folder of a new run is there already; it is left as it is.
    #[error(
        "{} already exists and was left as it is. Name another place with --out, or, if it is a \
         run, go on with it: --resume {}",
        path.display(), path.display()
    )]
    Exists {
        /// The folder that is there.
        path: PathBuf,
    },
    /// Something is where a new folder was to be; it is left as it is.
    #[error("{} is there already, and was left as it is: name another folder with --out", path.display())]
    Taken {
        /// What is there.
        path: PathBuf,
    },
    /// Another process is training in this folder.
    #[error(
        "another process{} is training in {}. Wait until it is done, or stop it",
        process.as_ref().map(|id| format!(" ({id})")).unwrap_or_default(),
        path.display()
    )]
    Running {
        /// The run's folder.
        path: PathBuf,
        /// The process, if it can be told.
        process: Option<String>,
    },
    /// The folder to continue was not made by a run.
    #[error("{} is not the folder of a run: it has no run.json", path.display())]
    NotARun {
        /// The folder without a `run.json`.
        path: PathBuf,
    },
    /// A name that some system does not allow for a folder.
    #[error(
        "{name:?} cannot be the name of a folder: it must be 1 to 200 bytes long, without control \
         characters and any of < > : \" / \\ | ? *, and neither begin nor end with a dot or space"
    )]
    Name {
        /// The name as it was given.
        name: String,
    },
    /// A file that a run depends on is not what it was.
    #[error(
        "{} is not what the run wrote: its hash is not the one noted then. Put the file of then \
         back, or begin a new run",
        path.display()
    )]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// A checkpoint's files are not those that were written.
    #[error("the checkpoint {} is damaged: {reason}", path.display())]
    Damaged {
        /// The checkpoint's folder.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The weights that are meant are not there.
    #[error("{}: there are no weights \"{wanted}\": {reason}", path.display())]
    NoCheckpoint {
        /// The model's folder.
        path: PathBuf,
        /// Which are meant.
        wanted: String,
        /// Why they are not there, and which are.
        reason: String,
    },
    /// A file could not be written or read.
    #[error("cannot {action} {}: {source}", path.display())]
    File {
        /// `create`, `read`, `write`, `sync` or `remove`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file was read but its contents are not what they should be.
    #[error("{}, line {line}: {source}", path.display())]
    Contents {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        source: serde_json::Error,
    },
}

impl Error {
    pub(super) fn file(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
        let path = path.to_owned();
        move |source| Error::File { action, path, source }
    }
}
