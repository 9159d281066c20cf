//! Images as a task takes them: batches for training and for scoring, and those to measure on.

use super::ImageSettings;
use crate::data::images::{EvaluationImages, ImageBatch, ImageData, TrainingImages};
use crate::engine::random::Key;
use crate::engine::{Device, Tensor};
use crate::error::Error;
use crate::run::Values;
use crate::scoring::Shares;
use crate::task::{Batches, Extent};
use std::ops::Range;

/// The training batches of a seed.
pub fn training_batches<'a>(
    data: &ImageData,
    settings: &ImageSettings,
    seed: u64,
    batch: usize,
) -> Result<Batches<'a, ImageBatch>, Error> {
    let key = Key::new(seed).named("data");
    let augmentation = settings.augmentation.clone();
    augmentation.check(data.task).map_err(Error::Settings)?;
    let mut batches = TrainingImages::new(data, batch, augmentation, key);
    Ok(Box::new(move |number| Ok(batches.batch(number))))
}

/// The images of a batch on a device.
pub fn pixels(batch: &ImageBatch, device: &Device) -> Tensor {
    Tensor::new(&batch.pixels, batch.shape, device)
}

/// The first validation images while training, all of them at the end.
pub fn validation_images(
    data: &ImageData,
    settings: &ImageSettings,
    batch: usize,
    extent: Extent,
) -> EvaluationImages {
    let images = match extent {
        Extent::Part => settings.evaluation_images,
        Extent::All => usize::MAX,
    };
    let validation = data.splits.validation.clone();
    EvaluationImages::new(data, validation, batch).first(images)
}

/// How many images [`validation_images`] and [`test_images`] come to.
pub fn images_scored(data: &ImageData, settings: &ImageSettings, extent: Extent) -> Values {
    let all = data.splits.validation.len();
    let limit = if extent == Extent::All { all } else { settings.evaluation_images };
    let mut values = Values::default()
        .with("validation_images_scored", all.min(limit))
        .with("validation_images", all);
    if extent == Extent::All {
        values.set("test_images_scored", data.splits.test.len());
        values.set("test_images", data.splits.test.len());
    }
    values
}

/// The validation images with these numbers, to measure a model on; `None` if there are none.
pub fn probe_images(data: &ImageData, device: &Device, probes: Range<usize>) -> Option<Tensor> {
    let batch = data.validation_images(probes);
    (batch.shape[0] > 0).then(|| pixels(&batch, device))
}

/// All test images.
pub fn test_images(data: &ImageData, batch: usize) -> EvaluationImages {
    EvaluationImages::new(data, data.splits.test.clone(), batch)
}

/// The batches that are dealt to this process, until it is time to stop.
pub fn dealt<'a>(
    shares: &'a Shares,
    images: &'a EvaluationImages,
) -> impl Iterator<Item = Result<ImageBatch, Error>> + 'a {
    shares.mine(images.len()).map(|number| Ok(images.batch(number?)))
}
