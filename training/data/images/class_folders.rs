//! Pictures in a folder a class.

use super::folder::{Folder, entries, split_folders};
use super::holding_out::hold_out;
use super::samples::{Indices, Label, Sample, Size, load};
use super::{ImageData, ImageError, ImageSet};
use crate::data::{Source, Splits};
use std::path::{Path, PathBuf};

/// Whether a folder has splits, or folders of which one has pictures.
pub(super) fn fits(folder: &Path) -> Result<bool, ImageError> {
    if split_folders(folder, "").train.is_some() {
        return Ok(true);
    }
    for class in folders(folder)? {
        if !pictures(&class)?.is_empty() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Reads the pictures. The classes are the folders in order of name.
pub(super) fn read(name: String, folder: &Folder) -> Result<ImageData, ImageError> {
    let paths = split_folders(folder.path, "");
    let whole = paths.train.as_deref().unwrap_or(folder.path);
    let class_names: Vec<String> = folders(whole)?.iter().map(|path| last(path)).collect();
    if class_names.len() < 2 {
        let reason = format!("has {} class folders, and at least 2 are needed", class_names.len());
        return Err(ImageError::malformed(whole, reason));
    }
    let classes = folder.classes(|| class_names.clone(), class_names.len())?;
    let train = samples(whole, &class_names)?;
    let size = Size::of(&train, folder.options.size)?;
    let mut skipped = Vec::new();
    let mut read = |samples: &[Sample]| {
        let indices = Indices { classes: class_names.len(), void: u8::MAX };
        load(samples, size, indices, folder.options.broken, &mut skipped)
    };
    let train = read(&train)?;
    every_class(&train, whole, &class_names)?;
    let mut read_split = |path: &Option<PathBuf>| match path {
        Some(path) if paths.train.is_some() => read(&samples(path, &class_names)?).map(Some),
        _ => Ok(None),
    };
    let (validation, test) = (read_split(&paths.validation)?, read_split(&paths.test)?);
    let splits = complete(train, validation, test);
    let source = Source::Folder(folder.path.into());
    Ok(ImageData::new(name, source, classes, splits, skipped))
}

/// Where there is one split beside the training images it is the test split, as in ImageNet, whose
/// `val` is what results are reported on; what is missing is held out.
pub(super) fn complete(
    train: ImageSet,
    validation: Option<ImageSet>,
    test: Option<ImageSet>,
) -> Splits<ImageSet> {
    let (validation, test) = if test.is_some() { (validation, test) } else { (None, validation) };
    let (train, test) = match test {
        Some(test) => (train, test),
        None => hold_out(&train, "test"),
    };
    let (train, validation) = match validation {
        Some(validation) => (train, validation),
        None => hold_out(&train, "validation"),
    };
    Splits { train, validation, test }
}

/// The pictures below a folder. Its folders must be among the classes, and none may be empty.
fn samples(folder: &Path, classes: &[String]) -> Result<Vec<Sample>, ImageError> {
    let mut samples = Vec::new();
    for path in folders(folder)? {
        let name = last(&path);
        let Some(class) = classes.iter().position(|class| *class == name) else {
            let reason = "the training images have no class of this name";
            return Err(ImageError::malformed(&path, reason));
        };
        let found = pictures(&path)?;
        if found.is_empty() {
            let reason = "an empty class: no .png, .jpg or .jpeg files in it";
            return Err(ImageError::malformed(&path, reason));
        }
        let label = |image| Sample { image, label: Label::Class(class as u16) };
        samples.extend(found.into_iter().map(label));
    }
    if samples.is_empty() {
        return Err(ImageError::malformed(folder, "holds no class folders"));
    }
    Ok(samples)
}

/// After broken samples are left out, every class must still have some.
fn every_class(set: &ImageSet, folder: &Path, classes: &[String]) -> Result<(), ImageError> {
    let has = |class: usize| (0..set.len()).any(|index| usize::from(set.labels(index)[0]) == class);
    match (0..classes.len()).find(|class| !has(*class)) {
        Some(class) => {
            let reason = "every picture of this class is broken";
            Err(ImageError::malformed(&folder.join(&classes[class]), reason))
        }
        None => Ok(()),
    }
}

fn folders(folder: &Path) -> Result<Vec<PathBuf>, ImageError> {
    Ok(entries(folder)?.into_iter().filter(|path| path.is_dir()).collect())
}

/// The pictures in a folder, sorted.
pub(super) fn pictures(folder: &Path) -> Result<Vec<PathBuf>, ImageError> {
    let is_picture = |path: &PathBuf| {
        let ending = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
        ["png", "jpg", "jpeg"].contains(&ending.as_str())
    };
    Ok(entries(folder)?.into_iter().filter(is_picture).collect())
}

fn last(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
