//! What can be wrong with image data.

use super::Task;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Why there are no images to train on.
#[derive(Debug, Error)]
pub enum ImageError {
    /// Nothing is at the path.
    #[error("no data at {path}: give a folder that exists")]
    Missing {
        /// What was asked for.
        path: PathBuf,
    },
    /// The system would not read it.
    #[error("cannot read {path}: {source}{}", advice(source))]
    Unreadable {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The folder holds nothing that is known.
    #[error("{folder} holds no images in a known layout, only {holds}: looked for {looked_for}")]
    UnknownLayout {
        /// The folder.
        folder: PathBuf,
        /// What is in it.
        holds: String,
        /// What would have done.
        looked_for: &'static str,
    },
    /// Data of one task where the other was wanted.
    #[error(
        "{path} holds images for {found}, and this program needs images for {wanted}: {}",
        layout(*wanted)
    )]
    WrongTask {
        /// The folder.
        path: PathBuf,
        /// What it is for.
        found: Task,
        /// What was asked for.
        wanted: Task,
    },
    /// A file or folder that holds many samples is not as it should be.
    #[error("{path}: {reason}")]
    Malformed {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong, and what to do.
        reason: String,
    },
    /// A single sample can't be used.
    #[error("{0}; repair or remove it, or leave broken samples out with --skip-broken")]
    BrokenSample(BrokenSample),
    /// More than fits in memory.
    #[error("{path}: {images} images take {bytes} bytes, more memory than there is; scale them")]
    TooLarge {
        /// The folder.
        path: PathBuf,
        /// How many images there are.
        images: usize,
        /// How many bytes their pixels and labels take.
        bytes: u128,
    },
}

/// What a folder of pictures needs for a task.
fn layout(task: Task) -> &'static str {
    match task {
        Task::Classification => "a folder of pictures for each class",
        Task::Segmentation => "train/ with pictures and trainannot/ with a label image for each",
    }
}

/// What helps against what the system said.
fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => "; check its permissions",
        io::ErrorKind::IsADirectory => ", where a file was expected",
        _ => "",
    }
}

impl ImageError {
    /// What the system said about a path, in our words.
    pub(super) fn of_system(path: &Path, source: io::Error) -> ImageError {
        match source.kind() {
            io::ErrorKind::NotFound => ImageError::Missing { path: path.into() },
            _ => ImageError::Unreadable { path: path.into(), source },
        }
    }

    pub(super) fn malformed(path: &Path, reason: impl Into<String>) -> ImageError {
        ImageError::Malformed { path: path.into(), reason: reason.into() }
    }
}

/// A sample that can't be used: its file, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokenSample {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub reason: String,
}

impl BrokenSample {
    pub(super) fn new(path: &Path, reason: impl fmt::Display) -> BrokenSample {
        BrokenSample { path: path.into(), reason: reason.to_string() }
    }
}

impl fmt::Display for BrokenSample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.reason)
    }
}

impl std::error::Error for BrokenSample {}

/// What to do about a sample that can't be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Broken {
    /// Stop with an error that names it.
    #[default]
    Stop,
    /// Leave it out and list it in [`super::ImageData::skipped`].
    Skip,
}
