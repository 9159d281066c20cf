//! Reading many pictures, each a file, into one set.

use super::picture::{self, Wanted};
use super::{Broken, BrokenSample, ImageError, ImageSet, ImageShape, Task, VOID};
use rayon::prelude::*;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A picture and what belongs to it.
pub(super) struct Sample {
    pub(super) image: PathBuf,
    pub(super) label: Label,
}

/// What is known about a picture.
pub(super) enum Label {
    /// Its class.
    Class(u16),
    /// The label image with the class of each pixel.
    Map(PathBuf),
}

/// Which indices a label image may have.
#[derive(Clone, Copy)]
pub(super) struct Indices {
    /// Indices below this are classes.
    pub(super) classes: usize,
    /// The index that stands for "not scored".
    pub(super) void: u8,
}

/// Every picture is scaled to this size, or must have it.
#[derive(Clone, Copy)]
pub(super) struct Size {
    pub(super) wanted: Wanted,
    pub(super) height: usize,
    pub(super) width: usize,
}

impl Size {
    /// The size asked for, or else the one that most of the pictures have.
    ///
    /// # Errors
    /// The first picture's, if none can be read.
    pub(super) fn of(samples: &[Sample], asked: Option<[usize; 2]>) -> Result<Size, ImageError> {
        if let Some([height, width]) = asked {
            return Ok(Size { wanted: Wanted::Scaled, height, width });
        }
        let sizes: Vec<_> =
            samples.par_iter().map(|sample| picture::size_of(&sample.image)).collect();
        let mut counts = BTreeMap::new();
        for size in sizes.iter().flatten() {
            *counts.entry(*size).or_insert(0) += 1;
        }
        // Of several sizes with the same count, the largest.
        match counts.into_iter().max_by_key(|(_, count)| *count) {
            Some(([height, width], _)) => Ok(Size { wanted: Wanted::Exactly, height, width }),
            None => {
                let first = sizes.into_iter().find_map(Result::err);
                Err(ImageError::BrokenSample(first.expect("there is a sample")))
            }
        }
    }
}

/// Reads samples in parallel, in their order. Those that can't be used are an error or are left
/// out and added to `skipped`.
pub(super) fn load(
    samples: &[Sample],
    size: Size,
    indices: Indices,
    broken: Broken,
    skipped: &mut Vec<BrokenSample>,
) -> Result<ImageSet, ImageError> {
    let shape = ImageShape { channels: 3, height: size.height, width: size.width };
    let task = match samples.first() {
        Some(Sample { label: Label::Map(_), .. }) => Task::Segmentation,
        _ => Task::Classification,
    };
    let labels_each = if task == Task::Segmentation { shape.pixels() } else { 1 };
    let mut pixels: Vec<u8> = zeros(samples, shape.elements())?;
    let mut labels: Vec<u16> = zeros(samples, labels_each)?;
    let results: Vec<Result<(), BrokenSample>> = pixels
        .par_chunks_mut(shape.elements())
        .zip(labels.par_chunks_mut(labels_each))
        .zip(samples)
        .map(|((pixels, labels), sample)| load_one(sample, size, indices, pixels, labels))
        .collect();

    let mut kept = 0;
    for (index, result) in results.into_iter().enumerate() {
        match result {
            Ok(()) => {
                let move_down = |each: usize| (index * each..(index + 1) * each, kept * each);
                let (from, to) = move_down(shape.elements());
                pixels.copy_within(from, to);
                let (from, to) = move_down(labels_each);
                labels.copy_within(from, to);
                kept += 1;
            }
            Err(sample) if broken == Broken::Stop => return Err(ImageError::BrokenSample(sample)),
            Err(sample) => skipped.push(sample),
        }
    }
    pixels.truncate(kept * shape.elements());
    labels.truncate(kept * labels_each);
    Ok(ImageSet::new(shape, task, pixels, labels))
}

/// Memory for `each` numbers of every sample.
fn zeros<T: Clone + Default>(samples: &[Sample], each: usize) -> Result<Vec<T>, ImageError> {
    let mut numbers = Vec::new();
    let count = samples.len().checked_mul(each);
    let taken = count.is_some_and(|count| numbers.try_reserve_exact(count).is_ok());
    if !taken {
        let folder = samples[0].image.parent().unwrap_or(Path::new("."));
        return Err(ImageError::TooLarge {
            path: folder.into(),
            images: samples.len(),
            bytes: samples.len() as u128 * each as u128 * size_of::<T>() as u128,
        });
    }
    numbers.resize(count.expect("checked above"), T::default());
    Ok(numbers)
}

fn load_one(
    sample: &Sample,
    size: Size,
    indices: Indices,
    pixels: &mut [u8],
    labels: &mut [u16],
) -> Result<(), BrokenSample> {
    let target = [size.height, size.width];
    let found = picture::read_pixels(&sample.image, size.wanted, target, pixels)?;
    let map = match &sample.label {
        Label::Class(class) => {
            labels[0] = *class;
            return Ok(());
        }
        Label::Map(map) => map,
    };
    let read = picture::read_indices(map, size.wanted, found, target)?;
    for (pixel, (label, index)) in labels.iter_mut().zip(read).enumerate() {
        *label = match index {
            void if void == indices.void => VOID,
            class if usize::from(class) < indices.classes => u16::from(class),
            class => {
                let (row, column) = (pixel / size.width, pixel % size.width);
                let reason = format!(
                    "class index {class} in row {row}, column {column}; there are {} classes, and \
                     {} stands for \"not scored\"",
                    indices.classes, indices.void
                );
                return Err(BrokenSample::new(map, reason));
            }
        };
    }
    Ok(())
}
