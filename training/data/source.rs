//! Where data came from.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::PathBuf;

/// Where text or images came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// A folder with a file for each split.
    Folder(PathBuf),
    /// One text file, split by rule.
    TextFile(PathBuf),
    /// One text that came through a pipe, split by the same rule: it can be read only once.
    Pipe(PathBuf),
    /// An earlier download in this folder.
    Cache(PathBuf),
    /// Downloaded from this address just now.
    Download(String),
    /// Made by this program from this seed.
    Generated(u64),
}

impl Source {
    /// The same with an absolute path, which means the same in every folder.
    ///
    /// ```
    /// use neutreno::data::Source;
    /// let Source::Folder(path) = Source::Folder("texts".into()).absolute() else { panic!() };
    /// assert_eq!(path, std::env::current_dir()?.join("texts"));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn absolute(&self) -> Source {
        let absolute = |path: &PathBuf| std::path::absolute(path).unwrap_or_else(|_| path.clone());
        match self {
            Source::Folder(path) => Source::Folder(absolute(path)),
            Source::TextFile(path) => Source::TextFile(absolute(path)),
            Source::Cache(path) => Source::Cache(absolute(path)),
            other => other.clone(),
        }
    }

    /// The folder or file that was given, if one was.
    pub fn given(&self) -> Option<PathBuf> {
        match self {
            Source::Folder(path) | Source::TextFile(path) => Some(path.clone()),
            _ => None,
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Folder(path) => write!(f, "folder {}", path.display()),
            Source::TextFile(path) => write!(f, "file {}", path.display()),
            Source::Pipe(path) => write!(f, "pipe {}", path.display()),
            Source::Cache(path) => write!(f, "cache {}", path.display()),
            Source::Download(address) => write!(f, "download from {address}"),
            Source::Generated(seed) => write!(f, "generated from seed {seed}"),
        }
    }
}
