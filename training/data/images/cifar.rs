//! The binary files of CIFAR-10 and CIFAR-100 (Krizhevsky 2009): an image after the other, its
//! labels (CIFAR-10: one byte; CIFAR-100: a coarse class and a fine one) before its 3 × 32 × 32
//! bytes in the order channel, row, column.

use super::folder::{Folder, entries, last, names_in};
use super::holding_out::{held_out, hold_out};
use super::listing::Tally;
use super::naming::by_index;
use super::{ImageData, ImageError, ImageSet, ImageShape, Task, known};
use crate::data::{Source, Splits};
use std::fs;
use std::path::{Path, PathBuf};

const SHAPE: ImageShape = ImageShape { channels: 3, height: 32, width: 32 };

/// One of the two data sets.
pub(super) struct Files {
    train: Vec<PathBuf>,
    test: PathBuf,
    label_bytes: usize,
    classes: usize,
    names: &'static str,
}

/// The files of either data set in a folder; `None` if it has none of them.
///
/// # Errors
/// If some are missing.
pub(super) fn find(folder: &Path) -> Result<Option<Files>, ImageError> {
    let cifar_10 = Files {
        train: (1..=5).map(|number| folder.join(format!("data_batch_{number}.bin"))).collect(),
        test: folder.join("test_batch.bin"),
        label_bytes: 1,
        classes: 10,
        names: "batches.meta.txt",
    };
    let cifar_100 = Files {
        train: vec![folder.join("train.bin")],
        test: folder.join("test.bin"),
        label_bytes: 2,
        classes: 100,
        names: "fine_label_names.txt",
    };
    for files in [cifar_10, cifar_100] {
        let all = || files.train.iter().chain([&files.test]);
        if !all().any(|path| path.exists()) {
            continue;
        }
        if let Some(missing) = all().find(|path| !path.exists()) {
            let reason = "missing, while the other files of the data set are there: fetch it again";
            return Err(ImageError::malformed(missing, reason));
        }
        return Ok(Some(files));
    }
    if folder.join("data_batch_1").is_file() {
        let reason = "holds CIFAR-10 as pickled Python; fetch its binary version (.bin)";
        return Err(ImageError::malformed(folder, reason));
    }
    Ok(None)
}

/// Reads the files; one training image in ten is held out for validation.
pub(super) fn read(files: &Files, name: String, folder: &Folder) -> Result<ImageData, ImageError> {
    let names = names_in(&folder.path.join(files.names))?;
    let names = names.or_else(|| (files.classes == 10).then(|| known::names(&known::CIFAR_10)));
    let given = folder.options.classes.as_deref();
    let names = by_index(folder.path, given, names, files.classes, true)?;
    let mut notices = left_out(files, folder.path)?;
    notices.extend(names.notice);
    let train = read_files(files, &files.train)?;
    let test = read_files(files, std::slice::from_ref(&files.test))?;
    let (train, validation) = hold_out(&train, "validation");
    notices.push(held_out("validation", Task::Classification));
    let source = Source::Folder(folder.path.into());
    let splits = Splits { train, validation, test };
    Ok(ImageData { notices, ..ImageData::new(name, source, names.classes, splits) })
}

/// What else lies in the folder.
fn left_out(files: &Files, folder: &Path) -> Result<Vec<String>, ImageError> {
    let mut tally = Tally::default();
    for path in entries(folder)? {
        let is_used =
            files.train.contains(&path) || files.test == path || last(&path) == files.names;
        if !is_used {
            tally.leave_out(&path);
        }
    }
    Ok(tally.left_out().map(|what| format!("left out: {what}")).into_iter().collect())
}

fn read_files(files: &Files, paths: &[PathBuf]) -> Result<ImageSet, ImageError> {
    let (mut pixels, mut labels) = (Vec::new(), Vec::new());
    let record = files.label_bytes + SHAPE.elements();
    for path in paths {
        let bytes = fs::read(path).map_err(|source| ImageError::of_system(path, source))?;
        if bytes.is_empty() || bytes.len() % record != 0 {
            let reason = format!(
                "{} bytes are no whole number of images of {record} bytes each, so it is cut short \
                 or another kind of file: fetch it again",
                bytes.len()
            );
            return Err(ImageError::malformed(path, reason));
        }
        for (number, image) in bytes.chunks(record).enumerate() {
            let label = image[files.label_bytes - 1];
            if usize::from(label) >= files.classes {
                let reason = format!(
                    "image {number} (from 0) has label {label}; there are {} classes",
                    files.classes
                );
                return Err(ImageError::malformed(path, reason));
            }
            labels.push(u16::from(label));
            pixels.extend_from_slice(&image[files.label_bytes..]);
        }
    }
    Ok(ImageSet::new(SHAPE, Task::Classification, pixels, labels))
}
