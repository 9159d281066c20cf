//! Pictures in a folder a class.

use super::folder::{Folder, entries, folders, is_split, last, split_folders};
use super::holding_out::complete;
use super::listing::{FORMATS, Tally, has_pictures, pictures};
use super::naming::{by_folder, composed};
use super::picture::Form;
use super::samples::{Indices, Label, Noticed, Sample, load};
use super::{ImageData, ImageError, ImageSet};
use crate::data::{Source, Splits};
use std::path::{Path, PathBuf};

/// The folders that hold the folders of the classes: one, or one a split.
#[derive(Debug)]
pub(super) struct Layout {
    splits: Splits<Option<PathBuf>>,
    /// The folders of the classes of the training images.
    classes: Vec<PathBuf>,
    tally: Tally,
}

/// How the pictures in a folder are laid out; `None` if there are none in folders.
///
/// # Errors
/// If they could be laid out in two ways.
pub(super) fn find(folder: &Path) -> Result<Option<Layout>, ImageError> {
    let wrong = |path: &Path, reason: String| Err(ImageError::malformed(path, reason));
    let all = folders(folder)?;
    if !all.iter().map(|path| holds_pictures(path)).collect::<Result<Vec<_>, _>>()?.contains(&true)
    {
        return Ok(None);
    }
    let splits = split_folders(folder)?;
    let is_of_split = |path: &&PathBuf| splits.iter().flatten().any(|split| split == *path);
    let (named, others): (Vec<&PathBuf>, Vec<&PathBuf>) = all.iter().partition(is_of_split);
    let mut rivals = Vec::new();
    for path in &others {
        if has_pictures(path)? {
            rivals.push(last(path));
        }
    }
    let rivals = rivals.join("/, ");
    let Some(train) = &splits.train else {
        if named.is_empty() {
            return Ok(Some(in_one(folder, all)?));
        }
        let split = last(named[0]);
        if rivals.is_empty() {
            let reason = format!("has the folder {split}/ but none with training images, train/");
            return wrong(folder, reason);
        }
        return wrong(
            folder,
            format!(
                "{split}/ beside {rivals}/ could be another class or hold pictures to test on: if it \
                 is a class, give it another name; else move {rivals}/ into a folder train/"
            ),
        );
    };
    let below = classes_below(train)?;
    if below.is_empty() {
        // No split without classes.
        if has_pictures(train)? && !rivals.is_empty() && named.len() == 1 {
            return Ok(Some(in_one(folder, all)?));
        }
        let reason = format!(
            "has no class folders, but {} pictures: those of each class go into a folder of its own",
            pictures(train)?.pictures.len()
        );
        return wrong(train, reason);
    }
    if rivals.contains("/, ") || has_pictures(train)? && !rivals.is_empty() {
        let inside: Vec<String> = below.iter().map(|path| last(path)).collect();
        return wrong(
            folder,
            format!(
                "the classes could be {}/ in {}/, or {}/ itself beside {rivals}/: move the ones that \
                 are not meant out",
                inside.join("/, "),
                last(train),
                last(train)
            ),
        );
    }
    let mut tally = Tally::default();
    for path in others {
        let count = pictures(path)?.pictures.len();
        tally.leave_out_whole(format!("the folder {}/ ({count} pictures)", last(path)));
    }
    files_of(folder, &mut tally)?;
    for split in splits.iter().flatten() {
        files_of(split, &mut tally)?;
    }
    let classes = folders(train)?;
    Ok(Some(Layout { splits, classes, tally }))
}

/// All folders are classes.
fn in_one(folder: &Path, classes: Vec<PathBuf>) -> Result<Layout, ImageError> {
    let mut tally = Tally::default();
    files_of(folder, &mut tally)?;
    Ok(Layout { splits: Splits::default(), classes, tally })
}

/// Counts what lies beside class folders.
fn files_of(folder: &Path, tally: &mut Tally) -> Result<(), ImageError> {
    let mut files = entries(folder)?;
    files.retain(|path| !path.is_dir());
    files.iter().for_each(|path| tally.leave_out(path));
    Ok(())
}

fn holds_pictures(folder: &Path) -> Result<bool, ImageError> {
    Ok(!pictures(folder)?.pictures.is_empty())
}

fn classes_below(folder: &Path) -> Result<Vec<PathBuf>, ImageError> {
    let mut classes = Vec::new();
    for path in folders(folder)? {
        if holds_pictures(&path)? {
            classes.push(path);
        }
    }
    Ok(classes)
}

/// Reads the pictures. The classes are the folders in order of name.
pub(super) fn read(layout: Layout, name: String, folder: &Folder) -> Result<ImageData, ImageError> {
    let Layout { splits: paths, classes: class_folders, mut tally } = layout;
    let whole = paths.train.as_deref().unwrap_or(folder.path);
    if let [only] = &class_folders[..] {
        return Err(ImageError::malformed(whole, one_class(only)?));
    }
    let folder_names: Vec<String> = class_folders.iter().map(|path| last(path)).collect();
    let given = folder.options.classes.as_deref();
    let (names, order) = by_folder(whole, given, &folder_names)?;
    let places: Vec<(String, usize)> =
        folder_names.iter().map(|name| composed(name)).zip(order).collect();
    let mut below = 0;
    let mut list = |folder: &Path| samples(folder, &places, &mut tally, &mut below);
    let samples = Splits {
        train: Some(list(whole)?),
        validation: paths.validation.as_deref().map(&mut list).transpose()?,
        test: paths.test.as_deref().map(&mut list).transpose()?,
    };
    let train = samples.train.expect("listed above");
    let form = Form::of(&train, folder.options)?;
    let mut noticed = Noticed::default();
    let mut read = |samples: &[Sample]| {
        load(samples, &form, &Indices::none(), folder.options.broken, &mut noticed)
    };
    let train = read(&train)?;
    every_class(&train, whole, &names.classes)?;
    let mut read_split = |samples: Option<Vec<Sample>>| samples.map(|s| read(&s)).transpose();
    let (validation, test) = (read_split(samples.validation)?, read_split(samples.test)?);
    let (splits, about_splits) = complete(train, validation, test);
    let mut notices = vec![tally.line()];
    if below > 0 {
        notices
            .push(format!("pictures in folders below their class's, read as that class: {below}"));
    }
    notices.extend(names.notice);
    notices.extend(noticed.conversions(&form));
    notices.extend(about_splits);
    let data = ImageData::new(name, Source::Folder(folder.path.into()), names.classes, splits);
    Ok(ImageData { skipped: noticed.skipped, notices, ..data })
}

/// What is wrong with a single class.
fn one_class(only: &Path) -> Result<String, ImageError> {
    let inside: Vec<String> = classes_below(only)?.iter().map(|path| last(path)).collect();
    let hint = match inside.len() {
        0 | 1 => String::new(),
        _ => format!("; if {}/ are the classes, give {}", inside.join("/, "), only.display()),
    };
    Ok(format!("has 1 class folder, {}/, and at least 2 are needed{hint}", last(only)))
}

/// The pictures below a folder. Its folders must be among the classes, and none may be empty.
fn samples(
    folder: &Path,
    classes: &[(String, usize)],
    tally: &mut Tally,
    below: &mut usize,
) -> Result<Vec<Sample>, ImageError> {
    let mut samples = Vec::new();
    for path in folders(folder)? {
        let wrong = |reason: String| Err(ImageError::malformed(&path, reason));
        let name = composed(&last(&path));
        let Some((_, class)) = classes.iter().find(|(class, _)| *class == name) else {
            return wrong("the training images have no class of this name".into());
        };
        let found = pictures(&path)?;
        if found.pictures.is_empty() {
            let holds = found.tally.left_out();
            let holds = holds.map_or(String::new(), |holds| format!(", but {holds}"));
            return wrong(format!("an empty class: no {FORMATS} files in it{holds}"));
        }
        if let Some(split) = folders(&path)?.iter().find(|path| is_split(path)) {
            return wrong(format!(
                "holds the folder {}/: splits within a class are not read; put the classes into the \
                 splits, as in {}/{}",
                last(split),
                last(split),
                last(&path)
            ));
        }
        *below += found.below;
        tally.add(found.tally);
        let label = |image| Sample { image, label: Label::Class(*class as u16) };
        samples.extend(found.pictures.into_iter().map(label));
    }
    if samples.is_empty() {
        return Err(ImageError::malformed(folder, "holds no class folders"));
    }
    Ok(samples)
}

/// After broken samples are left out, every class must still have some.
fn every_class(set: &ImageSet, folder: &Path, classes: &[String]) -> Result<(), ImageError> {
    let mut seen = vec![false; classes.len()];
    (0..set.len()).for_each(|index| seen[usize::from(set.labels(index)[0])] = true);
    match seen.iter().position(|seen| !seen) {
        Some(class) => {
            let reason = format!("every picture of the class {} is broken", classes[class]);
            Err(ImageError::malformed(folder, reason))
        }
        None => Ok(()),
    }
}
