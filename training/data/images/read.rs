//! Finding out what a folder holds, and reading it.

use super::folder::{Folder, ReadOptions};
use super::{ImageData, ImageError, Task, cifar, class_folders, idx, segmentation_folders};
use std::fs;
use std::path::Path;

const LAYOUTS: &str = "train-images-idx3-ubyte[.gz] and its three companions (MNIST); \
     data_batch_1.bin … test_batch.bin (CIFAR-10); train.bin and test.bin (CIFAR-100); \
     train/ and trainannot/ (segmentation); folders of .png or .jpg files by class, \
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
    /// - pictures (PNG or JPEG) in a folder a class, in `train/`, `val/` and `test/` or in none.
    ///
    /// Where there is no split for testing or validation, one image in ten of each class is held
    /// out for it, always the same ones.
    ///
    /// # Errors
    /// An [`ImageError`] that names the file and what is wrong with it.
    pub fn read(path: &Path, options: &ReadOptions) -> Result<ImageData, ImageError> {
        let system = |source| ImageError::of_system(path, source);
        if !fs::metadata(path).map_err(system)?.is_dir() {
            return Err(ImageError::malformed(path, "a file; give the folder that it is in"));
        }
        let (name, folder) = (name_of(path), Folder { path, options });
        let data = if let Some(files) = idx::find(path)? {
            idx::read(&files, name, &folder)?
        } else if let Some(files) = cifar::find(path)? {
            cifar::read(&files, name, &folder)?
        } else if path.join("train").is_dir() && path.join("trainannot").is_dir() {
            segmentation_folders::read(name, &folder)?
        } else if class_folders::fits(path)? {
            class_folders::read(name, &folder)?
        } else {
            return Err(ImageError::UnknownLayout { folder: path.into(), looked_for: LAYOUTS });
        };
        for (set, split) in data.splits.iter().zip(["training", "validation", "test"]) {
            if set.is_empty() {
                return Err(ImageError::malformed(path, format!("no {split} images are left")));
            }
        }
        Ok(data)
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
