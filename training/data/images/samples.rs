//! Reading many pictures, each a file, into one set.

use super::label_image::read_indices;
use super::picture::{self, Converted, Form, Wanted};
use super::{Broken, BrokenSample, ImageError, ImageSet, ImageShape, ReadOptions, Task, VOID};
use rayon::prelude::*;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What shows where a picture is transparent, if nothing else is asked for.
pub(super) const WHITE: [u8; 3] = [255; 3];

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

/// Which class each index of a label image stands for.
#[derive(Clone)]
pub(super) struct Indices {
    /// How many classes there are.
    pub(super) classes: usize,
    /// The index that stands for "not scored".
    pub(super) void: Option<u8>,
    /// The values that stand for the classes in order; without them, the indices themselves.
    pub(super) values: Option<Vec<u8>>,
}

impl Indices {
    /// Of samples whose label is a class.
    pub(super) fn none() -> Indices {
        Indices { classes: 0, void: None, values: None }
    }

    fn label(&self, index: u8) -> Option<u16> {
        if self.void == Some(index) {
            return Some(VOID);
        }
        let class = match &self.values {
            Some(values) => values.iter().position(|value| *value == index)?,
            None => index.into(),
        };
        (class < self.classes).then_some(class as u16)
    }
}

impl Form {
    /// The form that pictures are read into: the size asked for, or else the one that most of them
    /// have, and as many bits as are used.
    ///
    /// # Errors
    /// The first picture's, if none can be read.
    pub(super) fn of(samples: &[Sample], options: &ReadOptions) -> Result<Form, ImageError> {
        let (wanted, size) = match options.size {
            Some(size) => (Wanted::Scaled, size),
            None => (Wanted::Exactly, most_frequent_size(samples)?),
        };
        let largest = samples.par_iter().filter_map(|s| picture::largest_number(&s.image)).max();
        let bits = bits_of(largest);
        Ok(Form { wanted, size, bits, ground: options.ground.unwrap_or(WHITE) })
    }
}

/// How many bits are used of pictures with 16, whose largest number this is.
pub(super) fn bits_of(largest: Option<u16>) -> u32 {
    let bits = |largest: u16| (u16::BITS - largest.leading_zeros()).max(u8::BITS);
    largest.filter(|largest| *largest > 0).map_or(u16::BITS, bits)
}

/// Of several sizes that as many pictures have, the largest.
fn most_frequent_size(samples: &[Sample]) -> Result<[usize; 2], ImageError> {
    let headers: Vec<_> =
        samples.par_iter().map(|sample| picture::header_of(&sample.image)).collect();
    let mut counts = BTreeMap::new();
    for header in headers.iter().flatten() {
        *counts.entry(header.size).or_insert(0) += 1;
    }
    match counts.into_iter().max_by_key(|(_, count)| *count) {
        Some((size, _)) => Ok(size),
        None => {
            let first = headers.into_iter().find_map(Result::err);
            Err(ImageError::BrokenSample(first.expect("there is a sample")))
        }
    }
}

/// What was noticed while pictures were read.
#[derive(Default)]
pub(super) struct Noticed {
    pub(super) skipped: Vec<BrokenSample>,
    transparent: usize,
    turned: usize,
    deep: usize,
    cmyk: usize,
}

impl Noticed {
    fn add(&mut self, converted: Converted) {
        self.transparent += usize::from(converted.transparent);
        self.turned += usize::from(converted.turned);
        self.deep += usize::from(converted.deep);
        self.cmyk += usize::from(converted.cmyk);
    }

    /// What pictures were converted, in words.
    pub(super) fn conversions(&self, form: &Form) -> Vec<String> {
        let [red, green, blue] = form.ground;
        let bits = form.bits;
        let used = match bits {
            u16::BITS => String::new(),
            _ => format!(", of which {bits} are used: {} is white", (1_u32 << bits) - 1),
        };
        let said = [
            (
                self.transparent,
                format!(
                    "are transparent in part: #{red:02x}{green:02x}{blue:02x} shows (--ground)"
                ),
            ),
            (self.turned, "were turned as their EXIF data say".into()),
            (self.deep, format!("have 16 bits a channel{used}")),
            (self.cmyk, "are in the colours of print (CMYK), read as red, green and blue".into()),
        ];
        let said = said.into_iter().filter(|(count, _)| *count > 0);
        said.map(|(count, what)| format!("pictures that {what}: {count}")).collect()
    }
}

/// Reads samples in parallel, in their order. Those that can't be used are an error or are left
/// out and added to what was noticed.
pub(super) fn load(
    samples: &[Sample],
    form: &Form,
    indices: &Indices,
    broken: Broken,
    noticed: &mut Noticed,
) -> Result<ImageSet, ImageError> {
    let [height, width] = form.size;
    let shape = ImageShape { channels: 3, height, width };
    let task = match samples.first() {
        Some(Sample { label: Label::Map(_), .. }) => Task::Segmentation,
        _ => Task::Classification,
    };
    let labels_each = if task == Task::Segmentation { shape.pixels() } else { 1 };
    let mut pixels: Vec<u8> = zeros(samples, shape.elements())?;
    let mut labels: Vec<u16> = zeros(samples, labels_each)?;
    let results: Vec<Result<Converted, BrokenSample>> = pixels
        .par_chunks_mut(shape.elements())
        .zip(labels.par_chunks_mut(labels_each))
        .zip(samples)
        .map(|((pixels, labels), sample)| load_one(sample, form, indices, pixels, labels))
        .collect();

    let mut kept = 0;
    for (index, result) in results.into_iter().enumerate() {
        match result {
            Ok(converted) => {
                let move_down = |each: usize| (index * each..(index + 1) * each, kept * each);
                let (from, to) = move_down(shape.elements());
                pixels.copy_within(from, to);
                let (from, to) = move_down(labels_each);
                labels.copy_within(from, to);
                kept += 1;
                noticed.add(converted);
            }
            Err(sample) if broken == Broken::Stop => return Err(ImageError::BrokenSample(sample)),
            Err(sample) => noticed.skipped.push(sample),
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
    form: &Form,
    indices: &Indices,
    pixels: &mut [u8],
    labels: &mut [u16],
) -> Result<Converted, BrokenSample> {
    let (header, converted) = picture::read_pixels(&sample.image, form, pixels)?;
    let map = match &sample.label {
        Label::Class(class) => {
            labels[0] = *class;
            return Ok(converted);
        }
        Label::Map(map) => map,
    };
    let read = read_indices(map, form.wanted, header, form.size)?;
    for (pixel, (label, index)) in labels.iter_mut().zip(read).enumerate() {
        *label = indices.label(index).ok_or_else(|| {
            let [row, column] = [pixel / form.size[1], pixel % form.size[1]];
            let void = match indices.void {
                Some(void) => format!("{void} stands for \"not scored\""),
                None => "none stands for \"not scored\"".into(),
            };
            let classes = match &indices.values {
                Some(values) => format!("the values {values:?} stand for classes (--label-values)"),
                None => format!("classes go from 0 to {}", indices.classes - 1),
            };
            let reason =
                format!("class index {index} in row {row}, column {column}; {classes}, and {void}");
            BrokenSample::new(map, reason)
        })?;
    }
    Ok(converted)
}
