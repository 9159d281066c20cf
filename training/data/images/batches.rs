//! Dealing images out: training batches in a random but repeatable order, changed at random, and
//! evaluation batches as they are.

use super::augmentation::normalize;
use super::mixing::{Mixed, mix};
use super::set::id;
use super::{Augmentation, ImageData, ImageSet, Normalization};
use crate::engine::random::Key;
use rayon::prelude::*;
use std::ops::Range;
use std::sync::Arc;

/// What a step of training or evaluation needs.
#[derive(Clone, Debug, PartialEq)]
pub struct ImageBatch {
    /// Normalised pixels of `shape`, row-major.
    pub pixels: Vec<f32>,
    /// Images, channels, height, width.
    pub shape: [usize; 4],
    /// (image) for classification, (image, row, column) for segmentation, where void is
    /// [`crate::engine::Ids::IGNORED`].
    pub labels: Vec<u32>,
    /// Where images were mixed, the other labels.
    pub mixed: Option<Mixed>,
}

/// Training batches: every image once an epoch, in an order that changes each epoch.
///
/// A batch is a function of the key and the step alone, whatever the number of threads: a run is
/// resumed from a number, and every model trained with the same key sees the same images, changed
/// in the same way. Images are counted on through the epochs, so that a batch may hold the end of
/// one and the beginning of the next.
///
/// ```
/// use neutreno::data::Splits;
/// use neutreno::data::images::{Augmentation, ImageData, Task, TrainingImages};
/// use neutreno::engine::random::Key;
/// let lengths = Splits { train: 50, validation: 10, test: 10 };
/// let data = ImageData::generated_of(Task::Classification, lengths);
/// let mut batches = TrainingImages::new(&data, 8, Augmentation::deit(), Key::new(1));
/// let batch = batches.batch(7);
/// assert_eq!((batch.shape, batch.labels.len()), ([8, 3, 32, 32], 8));
/// assert_eq!(batch, batches.clone().batch(7));
/// ```
#[derive(Clone, Debug)]
pub struct TrainingImages {
    set: Arc<ImageSet>,
    normalization: Normalization,
    augmentation: Augmentation,
    batch: usize,
    key: Key,
    /// Kept only to save time: it follows from the key and the epoch's number.
    order: (u64, Vec<usize>),
}

impl TrainingImages {
    /// Batches of `batch` training images.
    ///
    /// # Panics
    /// If `batch` is 0, there are no images, or the augmentation is not sound for the task;
    /// [`Augmentation::check`] tells beforehand.
    #[track_caller]
    pub fn new(
        data: &ImageData,
        batch: usize,
        augmentation: Augmentation,
        key: Key,
    ) -> TrainingImages {
        augmentation.check(data.task).unwrap_or_else(|problem| panic!("augmentation: {problem}"));
        let set = data.splits.train.clone();
        assert!(batch > 0 && !set.is_empty(), "batches of {batch} out of {} images", set.len());
        let order = (0, order(key, 0, set.len()));
        let normalization = data.normalization.clone();
        TrainingImages { set, normalization, augmentation, batch, key, order }
    }

    /// The batch of a step, counted from 0; made in parallel.
    pub fn batch(&mut self, step: u64) -> ImageBatch {
        let first = step * self.batch as u64;
        let images: Vec<usize> = (0..self.batch as u64).map(|i| self.image(first + i)).collect();
        let (shape, key) = (self.set.shape(), self.key.named("augmentation").fold(step));
        let mut pixels = vec![0.0; self.batch * shape.elements()];
        let labels: Vec<Vec<u16>> = pixels
            .par_chunks_mut(shape.elements())
            .zip(&images)
            .enumerate()
            .map(|(index, (pixels, image))| {
                let key = key.fold(index as u64);
                self.augmentation.apply(&self.set, *image, &self.normalization, key, pixels)
            })
            .collect();
        let labels: Vec<u32> = labels.into_iter().flatten().map(id).collect();
        let key = self.key.named("mixing").fold(step);
        let mixed = mix(&self.augmentation, shape, &mut pixels, &labels, key);
        let shape = [self.batch, shape.channels, shape.height, shape.width];
        ImageBatch { pixels, shape, labels, mixed }
    }

    /// How many steps show every image once, rounded up.
    pub fn steps_per_epoch(&self) -> u64 {
        self.set.len().div_ceil(self.batch) as u64
    }

    /// The number of the image that comes as the example; examples are counted through all epochs.
    fn image(&mut self, example: u64) -> usize {
        let images = self.set.len() as u64;
        let (epoch, index) = (example / images, (example % images) as usize);
        if epoch != self.order.0 {
            self.order = (epoch, order(self.key, epoch, self.set.len()));
        }
        self.order.1[index]
    }
}

fn order(key: Key, epoch: u64, images: usize) -> Vec<usize> {
    key.named("order").fold(epoch).permutation(images)
}

/// Evaluation batches: every image of a set once, as it is, in order.
///
/// ```
/// use neutreno::data::Splits;
/// use neutreno::data::images::{EvaluationImages, ImageData, Task};
/// let lengths = Splits { train: 20, validation: 10, test: 10 };
/// let data = ImageData::generated_of(Task::Segmentation, lengths);
/// let batches = EvaluationImages::new(&data, data.splits.test.clone(), 4);
/// let sizes: Vec<usize> = batches.iter().map(|batch| batch.shape[0]).collect();
/// assert_eq!(sizes, [4, 4, 2]);
/// ```
#[derive(Clone, Debug)]
pub struct EvaluationImages {
    set: Arc<ImageSet>,
    /// How many of them.
    images: usize,
    normalization: Normalization,
    batch: usize,
}

impl EvaluationImages {
    /// Batches of `batch` images of a set, normalised as `data` says; the last may be smaller.
    ///
    /// # Panics
    /// If `batch` is 0.
    #[track_caller]
    pub fn new(data: &ImageData, set: Arc<ImageSet>, batch: usize) -> EvaluationImages {
        assert!(batch > 0, "evaluation needs batches of at least 1 image");
        let images = set.len();
        EvaluationImages { set, images, normalization: data.normalization.clone(), batch }
    }

    /// The same with the first images of the set alone.
    ///
    /// ```
    /// use neutreno::data::Splits;
    /// use neutreno::data::images::{EvaluationImages, ImageData, Task};
    /// let lengths = Splits { train: 20, validation: 10, test: 10 };
    /// let data = ImageData::generated_of(Task::Classification, lengths);
    /// let batches = EvaluationImages::new(&data, data.splits.test.clone(), 4).first(6);
    /// let sizes: Vec<usize> = batches.iter().map(|batch| batch.shape[0]).collect();
    /// assert_eq!(sizes, [4, 2]);
    /// ```
    #[must_use]
    pub fn first(self, images: usize) -> EvaluationImages {
        EvaluationImages { images: self.images.min(images), ..self }
    }

    /// How many batches there are.
    pub fn len(&self) -> usize {
        self.images.div_ceil(self.batch)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.images == 0
    }

    /// A batch.
    ///
    /// # Panics
    /// If `index` is not below [`EvaluationImages::len`].
    #[track_caller]
    pub fn batch(&self, index: usize) -> ImageBatch {
        assert!(index < self.len(), "batch {index} of {}", self.len());
        let first = index * self.batch;
        let images = first..(first + self.batch).min(self.images);
        self.set.normalized(&self.normalization, images)
    }

    /// All batches in order.
    pub fn iter(&self) -> impl Iterator<Item = ImageBatch> {
        (0..self.len()).map(|index| self.batch(index))
    }
}

impl ImageData {
    /// The validation images with these numbers, as they are; fewer if there are not so many.
    pub fn validation_images(&self, images: Range<usize>) -> ImageBatch {
        let set = &self.splits.validation;
        let end = images.end.min(set.len());
        set.normalized(&self.normalization, images.start.min(end)..end)
    }
}

impl ImageSet {
    /// The images with these numbers as a model sees them, with nothing changed at random.
    ///
    /// ```
    /// use neutreno::data::images::{ImageSet, ImageShape, Normalization, Task};
    /// let shape = ImageShape { channels: 1, height: 1, width: 2 };
    /// let set = ImageSet::new(shape, Task::Classification, vec![0, 255], vec![0]);
    /// let normalization = Normalization { mean: vec![0.5], deviation: vec![0.5] };
    /// assert_eq!(set.normalized(&normalization, 0..1).pixels, [-1.0, 1.0]);
    /// ```
    ///
    /// # Panics
    /// If there are not so many.
    #[track_caller]
    pub fn normalized(&self, normalization: &Normalization, images: Range<usize>) -> ImageBatch {
        let shape = self.shape();
        let mut pixels = vec![0.0; images.len() * shape.elements()];
        pixels.par_chunks_mut(shape.elements()).zip(images.clone()).for_each(|(pixels, image)| {
            let bytes = self.image(image);
            pixels.iter_mut().zip(bytes).for_each(|(pixel, byte)| *pixel = f32::from(*byte));
            normalize(pixels, shape, normalization);
        });
        let labels = images.clone().flat_map(|image| self.labels(image)).copied().map(id).collect();
        let shape = [images.len(), shape.channels, shape.height, shape.width];
        ImageBatch { pixels, shape, labels, mixed: None }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Task;
    use super::*;
    use crate::data::Splits;

    fn data(task: Task) -> ImageData {
        ImageData::generated_of(task, Splits { train: 30, validation: 10, test: 10 })
    }

    /// On one thread and on five, now and after other batches: the same bits.
    #[test]
    fn a_batch_is_a_function_of_key_and_step() {
        for (task, augmentation) in [
            (Task::Classification, Augmentation::deit()),
            (
                Task::Segmentation,
                Augmentation { operations: 1, magnitude: 0.5, ..Augmentation::segmentation() },
            ),
        ] {
            let batches = TrainingImages::new(&data(task), 7, augmentation, Key::new(4));
            let on = |threads: usize, steps: &[u64]| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                let mut batches = batches.clone();
                pool.install(|| steps.iter().map(|step| batches.batch(*step)).last().unwrap())
            };
            let batch = on(1, &[9]);
            assert_eq!(batch, on(5, &[9]));
            assert_eq!(batch, on(2, &[0, 20, 3, 9]));
            assert_ne!(batch.pixels, on(1, &[10]).pixels);
            assert!(batch.pixels.iter().all(|pixel| pixel.is_finite()));
        }
    }

    /// Each epoch shows each image once, and a batch may lie across two.
    #[test]
    fn epochs_show_every_image_once() {
        let data = data(Task::Classification);
        let mut batches = TrainingImages::new(&data, 4, Augmentation::none(), Key::new(1));
        let images: Vec<usize> = (0..60).map(|example| batches.image(example)).collect();
        assert_ne!(images[..30], images[30..]);
        for epoch in images.chunks(30) {
            let mut epoch = epoch.to_vec();
            epoch.sort_unstable();
            assert_eq!(epoch, (0..30).collect::<Vec<_>>());
        }
        let image = batches.image(4);
        let evaluated = data.splits.train.normalized(&data.normalization, image..image + 1);
        let batch = batches.batch(1);
        assert_eq!(batch.pixels[..3072], evaluated.pixels);
        assert_eq!(batch.labels[..1], evaluated.labels);
    }
}
