//! Pictures with a label image each: `train/ trainannot/ val/ valannot/ test/ testannot/`.

use super::class_folders::{complete, pictures};
use super::folder::{Folder, names_in, split_folders};
use super::samples::{Indices, Label, Sample, Size, load};
use super::{ImageData, ImageError, ImageSet, VOID, known};
use crate::data::Source;
use std::path::{Path, PathBuf};

/// The index that most data sets use for pixels that are not scored.
const VOID_INDEX: u8 = 255;

/// Reads the pictures. The classes are named by the user, or in `classes.txt`, or known (CamVid);
/// otherwise they are the indices up to the largest in the training images.
pub(super) fn read(name: String, folder: &Folder) -> Result<ImageData, ImageError> {
    let (path, options) = (folder.path, folder.options);
    let is_camvid = name.to_lowercase().contains("camvid");
    let mut names = options.classes.clone();
    if names.is_none() {
        names = names_in(&path.join("classes.txt"))?;
    }
    let names = names.or_else(|| is_camvid.then(|| known::names(&known::CAMVID)));
    let void = if is_camvid { known::CAMVID_VOID } else { VOID_INDEX };
    let void = options.void.unwrap_or(void);

    let folders = split_folders(path, "").try_map(|folder| folder.map(with_labels).transpose())?;
    let train = samples(&folders.train.expect("looked for before"))?;
    let size = Size::of(&train, options.size)?;
    let mut skipped = Vec::new();
    let mut read = |samples: &[Sample], classes: usize| {
        load(samples, size, Indices { classes, void }, options.broken, &mut skipped)
    };
    let train = read(&train, names.as_ref().map_or(256, Vec::len))?;
    let names = names.unwrap_or_else(|| known::numbers(classes_in(&train)));
    let mut read_split = |folders: Option<(PathBuf, PathBuf)>| {
        folders.map(|folders| read(&samples(&folders)?, names.len())).transpose()
    };
    let (validation, test) = (read_split(folders.validation)?, read_split(folders.test)?);
    let splits = complete(train, validation, test);
    Ok(ImageData::new(name, Source::Folder(path.into()), names, splits, skipped))
}

/// A split's folder and the one with its label images.
fn with_labels(folder: PathBuf) -> Result<(PathBuf, PathBuf), ImageError> {
    let mut labels = folder.clone().into_os_string();
    labels.push("annot");
    match PathBuf::from(&labels) {
        labels if labels.is_dir() => Ok((folder, labels)),
        labels => {
            let reason = format!("missing: the label images of {}", folder.display());
            Err(ImageError::malformed(&labels, reason))
        }
    }
}

fn samples((pictures_in, labels_in): &(PathBuf, PathBuf)) -> Result<Vec<Sample>, ImageError> {
    let found = pictures(pictures_in)?;
    if found.is_empty() {
        let reason = "no .png, .jpg or .jpeg files in it";
        return Err(ImageError::malformed(pictures_in, reason));
    }
    let sample = |image: PathBuf| {
        let name = Path::new(image.file_name().unwrap_or_default()).with_extension("png");
        Sample { label: Label::Map(labels_in.join(name)), image }
    };
    Ok(found.into_iter().map(sample).collect())
}

/// One more than the largest class of any pixel.
fn classes_in(set: &ImageSet) -> usize {
    let labels = (0..set.len()).flat_map(|index| set.labels(index));
    let largest = labels.copied().filter(|label| *label != VOID).max();
    largest.map_or(0, |largest| usize::from(largest) + 1)
}
