//! Finding out what a folder holds, and reading it.

use super::folder::{Folder, ReadOptions, entries, last};
use super::listing::Tally;
use super::{Broken, ImageData, ImageError, Task, cifar, class_folders, idx, segmentation_folders};
use std::fs;
use std::path::Path;

const LAYOUTS: &str = "train-images-idx3-ubyte[.gz] and its three companions (MNIST); \
     data_batch_1.bin … test_batch.bin (CIFAR-10); train.bin and test.bin (CIFAR-100); \
     train/ and trainannot/ (segmentation); folders of .png, .jpg, .webp or .bmp files by class, \
     perhaps in train/, val/ and test/";

impl ImageData {
    /// Reads a folder in any of the layouts that people use. Which one it is follows from the
    /// names in it:
    ///
    /// - the idx files of MNIST and Fashion-MNIST, plain or compressed by gzip;
    /// - the binary files of CIFAR-10 and CIFAR-100;
    /// - `train/ trainannot/ val/ valannot/ test/ testannot/`, for segmentation: label images are
    ///   PNG files of the pictures' names whose grey value or palette index is the class, and
    ///   `classes.txt` may name the classes, one a line;
    /// - pictures (PNG, JPEG, WebP, BMP) in a folder a class, at any depth in it, in `train/`, `val/`
    ///   and `test/` or in none. `training`, `valid`, `validation`, `dev` and `testing` do as well,
    ///   in whatever case.
    ///
    /// Where there is no split for testing or validation, one image in ten of each class is held
    /// out for it, always the same ones; but one split beside the training images is that for testing.
    ///
    /// Pictures become what an eye sees: red, green and blue of 8 bits, turned as their EXIF data say,
    /// laid on a ground where they are transparent. [`ImageData::notices`] tells what was done.
    ///
    /// # Errors
    /// An [`ImageError`] that names the file and what is wrong with it.
    pub fn read(path: &Path, options: &ReadOptions) -> Result<ImageData, ImageError> {
        let system = |source| ImageError::of_system(path, source);
        if !fs::metadata(path).map_err(system)?.is_dir() {
            return Err(ImageError::malformed(path, "a file; give the folder that it is in"));
        }
        let (name, folder) = (name_of(path), Folder { path, options });
        let data = match (idx::find(path)?, cifar::find(path)?) {
            (Some(_), Some(_)) => {
                let reason = "holds idx files and those of CIFAR: move the ones not meant out";
                return Err(ImageError::malformed(path, reason));
            }
            (Some(files), None) => {
                without_pictures(path, options)?;
                idx::read(&files, name, &folder)?
            }
            (None, Some(files)) => {
                without_pictures(path, options)?;
                cifar::read(&files, name, &folder)?
            }
            (None, None) => {
                if let Some(layout) = segmentation_folders::find(path)? {
                    segmentation_folders::read(layout, name, &folder)?
                } else if let Some(layout) = class_folders::find(path)? {
                    class_folders::read(layout, name, &folder)?
                } else {
                    return Err(unknown(path)?);
                }
            }
        };
        for (set, split) in data.splits.iter().zip(["training", "validation", "test"]) {
            if set.is_empty() {
                return Err(ImageError::malformed(path, format!("no {split} images are left")));
            }
        }
        data.with_a_choice(path)
    }

    /// The images at `path`, or generated ones where none is given, for the task.
    ///
    /// ```
    /// use neutreno::data::images::{ImageData, ReadOptions, Task};
    /// let data = ImageData::find(None, Task::Segmentation, &ReadOptions::default())?;
    /// assert_eq!(data.classes[0], "background");
    /// # Ok::<(), neutreno::data::images::ImageError>(())
    /// ```
    ///
    /// # Errors
    /// As [`ImageData::read`], and if the images are for the other task.
    pub fn find(
        path: Option<&Path>,
        task: Task,
        options: &ReadOptions,
    ) -> Result<ImageData, ImageError> {
        let Some(path) = path else { return Ok(ImageData::generated(task)) };
        let data = ImageData::read(path, options)?;
        if data.task != task {
            return Err(ImageError::WrongTask {
                path: path.into(),
                found: data.task,
                wanted: task,
            });
        }
        Ok(data)
    }
}

fn name_of(path: &Path) -> String {
    let whole = fs::canonicalize(path).unwrap_or_else(|_| path.into());
    whole.file_name().unwrap_or(whole.as_os_str()).to_string_lossy().into_owned()
}

/// Whether nothing is asked for that only files of pictures have.
fn without_pictures(path: &Path, options: &ReadOptions) -> Result<(), ImageError> {
    let given = [
        ("--ground", options.ground.is_some()),
        ("--void", options.void.is_some()),
        ("--label-values", options.label_values.is_some()),
        ("--skip-broken", options.broken == Broken::Skip),
    ];
    match given.iter().find(|(_, given)| *given) {
        Some((flag, _)) => {
            let reason =
                format!("{flag} is for pictures that are files; these are bytes of 8 bits");
            Err(ImageError::malformed(path, reason))
        }
        None => Ok(()),
    }
}

/// What is said about a folder that is none of the layouts.
fn unknown(path: &Path) -> Result<ImageError, ImageError> {
    let mut tally = Tally::default();
    for entry in entries(path)? {
        match entry.is_dir() {
            true => tally.leave_out_whole(format!("the folder {}/", last(&entry))),
            false => tally.leave_out(&entry),
        }
    }
    let holds = tally.left_out().unwrap_or("nothing that is not hidden".into());
    Ok(ImageError::UnknownLayout { folder: path.into(), holds, looked_for: LAYOUTS })
}
