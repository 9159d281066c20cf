//! Images and labels in memory, as bytes: the one form that all formats are read into.

use super::{BrokenSample, Task};
use crate::data::files::hex;
use crate::data::{Source, Splits};
use crate::engine::Ids;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fmt;
use std::sync::Arc;

/// The label of a pixel that is not scored: void, unlabelled, or outside the picture.
pub const VOID: u16 = u16::MAX;

/// The sizes that all images of a data set share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageShape {
    /// 1 (grey) or 3 (red, green, blue).
    pub channels: usize,
    /// Rows of pixels.
    pub height: usize,
    /// Columns of pixels.
    pub width: usize,
}

impl ImageShape {
    /// Bytes of one image.
    pub fn elements(&self) -> usize {
        self.channels * self.pixels()
    }

    /// Pixels of one channel.
    pub fn pixels(&self) -> usize {
        self.height * self.width
    }
}

/// Images with their labels.
#[derive(Clone, PartialEq, Eq)]
pub struct ImageSet {
    shape: ImageShape,
    task: Task,
    pixels: Vec<u8>,
    labels: Vec<u16>,
}

impl ImageSet {
    /// Images from their pixels, (image, channel, row, column), and labels: one an image, or
    /// (image, row, column) with [`VOID`] where there is none.
    ///
    /// # Panics
    /// If the numbers of pixels and labels don't fit together.
    ///
    /// ```
    /// use neutreno::data::images::{ImageSet, ImageShape, Task};
    /// let shape = ImageShape { channels: 1, height: 2, width: 2 };
    /// let set = ImageSet::new(shape, Task::Classification, vec![9; 8], vec![0, 1]);
    /// assert_eq!((set.len(), set.image(1), set.labels(1)), (2, &[9; 4][..], &[1][..]));
    /// ```
    #[track_caller]
    pub fn new(shape: ImageShape, task: Task, pixels: Vec<u8>, labels: Vec<u16>) -> ImageSet {
        let set = ImageSet { shape, task, pixels, labels };
        assert!(
            set.pixels.len() == set.len() * shape.elements()
                && set.labels.len() == set.len() * set.labels_per_image(),
            "{} pixels and {} labels are no images of {shape:?}",
            set.pixels.len(),
            set.labels.len()
        );
        set
    }

    /// How many images there are.
    pub fn len(&self) -> usize {
        self.labels.len() / self.labels_per_image()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// The sizes of each image.
    pub fn shape(&self) -> ImageShape {
        self.shape
    }

    /// What the labels are about.
    pub fn task(&self) -> Task {
        self.task
    }

    /// 1, or the pixels of an image.
    pub fn labels_per_image(&self) -> usize {
        match self.task {
            Task::Classification => 1,
            Task::Segmentation => self.shape.pixels(),
        }
    }

    /// The pixels of an image, (channel, row, column).
    ///
    /// # Panics
    /// If there is no such image.
    #[track_caller]
    pub fn image(&self, index: usize) -> &[u8] {
        let elements = self.shape.elements();
        &self.pixels[index * elements..(index + 1) * elements]
    }

    /// The label of an image, or of each of its pixels, (row, column).
    ///
    /// # Panics
    /// If there is no such image.
    #[track_caller]
    pub fn labels(&self, index: usize) -> &[u16] {
        let labels = self.labels_per_image();
        &self.labels[index * labels..(index + 1) * labels]
    }

    /// The images with these numbers, in this order.
    ///
    /// # Panics
    /// If there is no such image.
    #[track_caller]
    pub fn select(&self, indices: &[usize]) -> ImageSet {
        ImageSet {
            pixels: indices.iter().flat_map(|index| self.image(*index)).copied().collect(),
            labels: indices.iter().flat_map(|index| self.labels(*index)).copied().collect(),
            ..*self
        }
    }

    /// SHA-256 of pixels and labels, in hexadecimal.
    fn hash(&self) -> String {
        let mut hash = Sha256::new();
        hash.update(&self.pixels);
        let labels: Vec<u8> = self.labels.iter().flat_map(|label| label.to_le_bytes()).collect();
        hash.update(&labels);
        hex(&hash.finalize())
    }
}

impl fmt::Debug for ImageSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} images for {} of {:?}", self.len(), self.task, self.shape)
    }
}

/// What models see instead of bytes: (pixel / 255 − mean) / deviation, channel by channel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Normalization {
    /// The mean of each channel, in 0..=1.
    pub mean: Vec<f32>,
    /// The standard deviation of each channel.
    pub deviation: Vec<f32>,
}

impl Normalization {
    /// The mean and deviation over all pixels of a set. A channel that never changes gets a
    /// deviation of 1.
    ///
    /// ```
    /// use neutreno::data::images::{ImageSet, ImageShape, Normalization, Task};
    /// let shape = ImageShape { channels: 1, height: 1, width: 2 };
    /// let set = ImageSet::new(shape, Task::Classification, vec![0, 255], vec![0]);
    /// let normalization = Normalization::of(&set);
    /// assert_eq!((normalization.mean, normalization.deviation), (vec![0.5], vec![0.5]));
    /// ```
    pub fn of(set: &ImageSet) -> Normalization {
        let ImageShape { channels, .. } = set.shape;
        // Whole numbers, so that the order of summation does not matter.
        let add = |mut sums: Vec<[u64; 2]>, image: &[u8]| {
            for (sum, plane) in sums.iter_mut().zip(image.chunks(set.shape.pixels())) {
                sum[0] += plane.iter().map(|x| u64::from(*x)).sum::<u64>();
                sum[1] += plane.iter().map(|x| u64::from(*x).pow(2)).sum::<u64>();
            }
            sums
        };
        let zero = || vec![[0; 2]; channels];
        let sums =
            set.pixels.par_chunks(set.shape.elements()).fold(zero, add).reduce(zero, |mut a, b| {
                a.iter_mut().zip(b).for_each(|(a, b)| *a = [a[0] + b[0], a[1] + b[1]]);
                a
            });
        let count = (set.len() * set.shape.pixels()).max(1) as f64;
        let moments = sums.iter().map(|[sum, squares]| {
            let mean = *sum as f64 / count;
            let variance = (*squares as f64 / count - mean * mean).max(0.0);
            let deviation = if variance > 0.0 { variance.sqrt() / 255.0 } else { 1.0 };
            ((mean / 255.0) as f32, deviation as f32)
        });
        let (mean, deviation) = moments.unzip();
        Normalization { mean, deviation }
    }
}

/// A data set: images in three splits, and what is known about them.
#[derive(Clone, Debug)]
pub struct ImageData {
    /// What to call it in a table.
    pub name: String,
    /// Where it came from.
    pub source: Source,
    /// What the labels are about.
    pub task: Task,
    /// The sizes of all images.
    pub shape: ImageShape,
    /// The names of the classes, in order of index.
    pub classes: Vec<String>,
    /// The images.
    pub splits: Splits<Arc<ImageSet>>,
    /// The mean and deviation of the training images.
    pub normalization: Normalization,
    /// SHA-256 of the pixels and labels of each split, in hexadecimal.
    pub hashes: Splits<String>,
    /// The samples that were left out, where that was wished for.
    pub skipped: Vec<BrokenSample>,
    /// What else is to be known of how they were read: what was found and left out, what stands for
    /// what, what was converted and held out. A line each.
    pub notices: Vec<String>,
}

impl ImageData {
    pub(super) fn new(
        name: String,
        source: Source,
        classes: Vec<String>,
        splits: Splits<ImageSet>,
    ) -> ImageData {
        let (task, shape) = (splits.train.task, splits.train.shape);
        let normalization = Normalization::of(&splits.train);
        let hashes = splits.as_ref().map(ImageSet::hash);
        let splits = splits.map(Arc::new);
        let (skipped, notices) = (Vec::new(), Vec::new());
        ImageData {
            name,
            source,
            task,
            shape,
            classes,
            splits,
            normalization,
            hashes,
            skipped,
            notices,
        }
    }

    /// How often each class occurs in a set of this data, among images or pixels.
    pub fn class_counts(&self, set: &ImageSet) -> Vec<u64> {
        let mut counts = vec![0; self.classes.len()];
        for label in set.labels.iter().filter(|label| **label != VOID) {
            counts[*label as usize] += 1;
        }
        counts
    }

    /// A few lines to show before training: sizes, classes, and what was left out.
    pub fn describe(&self) -> Vec<String> {
        const SHOWN: usize = 30;
        let ImageShape { channels, height, width } = self.shape;
        let lengths = self.splits.as_ref().map(|set| set.len());
        let mut lines = vec![
            format!(
                "{} ({}): {width}×{height} pixels, {channels} channels",
                self.name, self.source
            ),
            format!(
                "{} training, {} validation and {} test images",
                lengths.train, lengths.validation, lengths.test
            ),
            format!(
                "{} classes: {}{}",
                self.classes.len(),
                self.classes[..self.classes.len().min(SHOWN)].join(", "),
                if self.classes.len() > SHOWN { ", …" } else { "" }
            ),
        ];
        lines.extend(self.notices.iter().map(|notice| format!("  {notice}")));
        if !self.skipped.is_empty() {
            lines.push(format!("broken samples that were skipped: {}", self.skipped.len()));
            lines.extend(self.skipped.iter().map(|sample| format!("  {sample}")));
        }
        lines
    }
}

/// A label as ops take it.
pub(super) fn id(label: u16) -> u32 {
    if label == VOID { Ids::IGNORED } else { u32::from(label) }
}
