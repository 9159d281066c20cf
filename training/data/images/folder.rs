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
    /// data: the folders' names, or a file beside them, or what is known of the data set. For a
    /// folder a class, these are the folders in another order, or new names for all of them.
    pub classes: Option<Vec<String>>,
    /// The index in label images that stands for "not scored"; 255 where nothing else is known.
    pub void: Option<u8>,
    /// The values in label images that stand for the classes, in order; the indices themselves
    /// where they are not given.
    pub label_values: Option<Vec<u8>>,
    /// The red, green and blue that show where a picture is transparent; white if not given.
    pub ground: Option<[u8; 3]>,
}

/// A folder that is being read.
pub(super) struct Folder<'a> {
    pub(super) path: &'a Path,
    pub(super) options: &'a ReadOptions,
}

/// The names by which the folders of the splits are known, in whatever case.
const SPLITS: Splits<&[&str]> = Splits {
    train: &["train", "training"],
    validation: &["val", "valid", "validation", "dev"],
    test: &["test", "testing"],
};

/// Whether a folder's name is that of a split.
pub(super) fn is_split(folder: &Path) -> bool {
    SPLITS.iter().any(|names| names.contains(&last(folder).to_lowercase().as_str()))
}

/// The folders of the splits that are there.
///
/// # Errors
/// If two could be the same split.
pub(super) fn split_folders(folder: &Path) -> Result<Splits<Option<PathBuf>>, ImageError> {
    let folders = folders(folder)?;
    SPLITS.try_map(|names| {
        let is_named = |path: &&PathBuf| names.contains(&last(path).to_lowercase().as_str());
        let found: Vec<&PathBuf> = folders.iter().filter(is_named).collect();
        match found[..] {
            [] => Ok(None),
            [one] => Ok(Some(one.clone())),
            [first, second, ..] => {
                let reason = format!(
                    "{}/ and {}/ could both be the split {}: move one of them out",
                    last(first),
                    last(second),
                    names[0]
                );
                Err(ImageError::malformed(folder, reason))
            }
        }
    })
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

/// The folders in a folder, sorted, without those that only computers make.
pub(super) fn folders(folder: &Path) -> Result<Vec<PathBuf>, ImageError> {
    let made_by_computers = |path: &Path| ["__MACOSX", "@eaDir"].contains(&last(path).as_str());
    let mut paths = entries(folder)?;
    paths.retain(|path| path.is_dir() && !made_by_computers(path));
    Ok(paths)
}

/// The last part of a path, to show.
pub(super) fn last(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// A line of a file for each class.
pub(super) fn names_in(path: &Path) -> Result<Option<Vec<String>>, ImageError> {
    match fs::read_to_string(path) {
        Ok(text) => {
            let lines = without_mark(&text).lines().map(str::trim).filter(|line| !line.is_empty());
            Ok(Some(lines.map(String::from).collect()))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) if error.kind() == std::io::ErrorKind::InvalidData => {
            let reason = "is not UTF-8 text: convert it to UTF-8, with the name of a class a line";
            Err(ImageError::malformed(path, reason))
        }
        Err(source) => Err(ImageError::of_system(path, source)),
    }
}
