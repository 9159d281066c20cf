//! What reading a folder of images needs, whatever its layout.

use super::{Broken, ImageError};
use crate::data::Splits;
use crate::data::encoding::without_mark;
use std::fs;
use std::path::{Path, PathBuf};

/// What can be said about a folder of images beside its path.
#[derive(Clone, Debug, Default)]
pub struct ReadOptions {
    /// What to do about a single sample that can't be used.
    pub broken: Broken,
    /// Scale every picture to this height and width (the middle is cut out if its proportions are
    /// others); without it all must have the same size. For folders of pictures.
    pub size: Option<[usize; 2]>,
    /// The names of the classes, in order of index. Where they are not given they come from the
    /// data: the folders' names, or a file beside them, or what is known of the data set.
    pub classes: Option<Vec<String>>,
    /// The index in label images that stands for "not scored"; 255 where nothing else is known.
    pub void: Option<u8>,
}

/// A folder that is being read.
pub(super) struct Folder<'a> {
    pub(super) path: &'a Path,
    pub(super) options: &'a ReadOptions,
}

impl Folder<'_> {
    /// The names of the classes: those asked for, or else these.
    ///
    /// # Errors
    /// If fewer are asked for than the labels need.
    pub(super) fn classes(
        &self,
        known: impl FnOnce() -> Vec<String>,
        needed: usize,
    ) -> Result<Vec<String>, ImageError> {
        let names = self.options.classes.clone().unwrap_or_else(known);
        if names.len() < needed {
            let reason = format!(
                "labels go up to {}, but only {} classes have names",
                needed - 1,
                names.len()
            );
            return Err(ImageError::malformed(self.path, reason));
        }
        Ok(names)
    }
}

/// The folders of the splits: train, and those of the other two that are there.
pub(super) fn split_folders(folder: &Path, suffix: &str) -> Splits<Option<PathBuf>> {
    let first = |names: &[&str]| {
        let paths = names.iter().map(|name| folder.join(format!("{name}{suffix}")));
        paths.into_iter().find(|path| path.is_dir())
    };
    Splits {
        train: first(&["train"]),
        validation: first(&["val", "valid", "validation"]),
        test: first(&["test"]),
    }
}

/// The names in a folder that are not hidden, sorted.
pub(super) fn entries(folder: &Path) -> Result<Vec<PathBuf>, ImageError> {
    let system = |source| ImageError::of_system(folder, source);
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).map_err(system)? {
        let entry = entry.map_err(system)?;
        if !entry.file_name().to_string_lossy().starts_with('.') {
            paths.push(entry.path());
        }
    }
    paths.sort();
    Ok(paths)
}

/// A line of a file for each class.
pub(super) fn names_in(path: &Path) -> Result<Option<Vec<String>>, ImageError> {
    match fs::read_to_string(path) {
        Ok(text) => {
            let lines = without_mark(&text).lines().map(str::trim).filter(|line| !line.is_empty());
            Ok(Some(lines.map(String::from).collect()))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(ImageError::Unreadable { path: path.into(), source }),
    }
}
