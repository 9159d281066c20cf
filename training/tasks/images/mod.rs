//! Images as tasks: classification and segmentation, with what they share.

mod classification;
mod confusion;
mod pictures;
mod segmentation;
mod settings;

pub use classification::ImageClassification;
pub use confusion::Confusion;
pub use segmentation::ImageSegmentation;
pub use settings::ImageSettings;

use crate::data::images::{EvaluationImages, ImageBatch, ImageData, ImageError, TrainingImages};
use crate::engine::random::Key;
use crate::engine::{Device, Tensor};
use crate::error::Error;
use crate::run::{Data, Values};
use crate::task::{Batches, Extent, Stop};
use crate::variant::VariantConfig;
use crate::vision::VisionConfig;
use std::collections::BTreeMap;
use std::ops::Range;

impl From<ImageError> for Error {
    fn from(error: ImageError) -> Error {
        Error::Images(Box::new(error))
    }
}

/// The training batches of a seed.
fn training_batches<'a>(
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

/// The sizes of the model of a variant, checked.
fn model_config(
    data: &ImageData,
    settings: &ImageSettings,
    variant: &VariantConfig,
) -> Result<VisionConfig, Error> {
    let config = settings.model(data, variant);
    config.check().map_err(Error::Settings)?;
    Ok(config)
}

/// The images of a batch on a device.
fn pixels(batch: &ImageBatch, device: &Device) -> Tensor {
    Tensor::new(&batch.pixels, batch.shape, device)
}

/// The first batches of the validation images while training, all of them at the end.
fn validation_batches(
    data: &ImageData,
    settings: &ImageSettings,
    batch: usize,
    extent: Extent,
) -> impl Iterator<Item = ImageBatch> {
    let images = match extent {
        Extent::Part => settings.evaluation_images,
        Extent::All => usize::MAX,
    };
    let batches = EvaluationImages::new(data, data.splits.validation.clone(), batch);
    let count = batches.len().min(images.div_ceil(batch));
    (0..count).map(move |index| batches.batch(index))
}

/// The validation images with these numbers, to measure a model on; `None` if there are none.
fn probe_images(data: &ImageData, device: &Device, probes: Range<usize>) -> Option<Tensor> {
    let batch = data.validation_images(probes);
    (batch.shape[0] > 0).then(|| pixels(&batch, device))
}

/// All test images.
fn test_batches(data: &ImageData, batch: usize) -> impl Iterator<Item = ImageBatch> {
    let batches = EvaluationImages::new(data, data.splits.test.clone(), batch);
    (0..batches.len()).map(move |index| batches.batch(index))
}

/// The batches until it is time to stop.
fn until<'a>(
    stop: &'a Stop,
    batches: impl Iterator<Item = ImageBatch> + 'a,
) -> impl Iterator<Item = Result<ImageBatch, Error>> + 'a {
    batches.map(|batch| stop.check().map(|()| batch))
}

/// Where the images came from.
fn data_of(data: &ImageData) -> Data {
    let hashes = data.hashes.as_ref();
    let hashes =
        [("train", hashes.train), ("validation", hashes.validation), ("test", hashes.test)];
    Data {
        source: data.source.to_string(),
        name: data.name.clone(),
        hashes: BTreeMap::from(hashes.map(|(name, hash)| (name.into(), hash.clone()))),
    }
}

/// What is known of the images.
fn facts(data: &ImageData) -> Values {
    let images = data.splits.as_ref().map(|set| set.len());
    Values::default()
        .with("classes", data.classes.clone())
        .with("image_height", data.shape.height)
        .with("image_width", data.shape.width)
        .with("image_channels", data.shape.channels)
        .with("train_images", images.train)
        .with("validation_images", images.validation)
        .with("test_images", images.test)
        .with("skipped_images", data.skipped.len())
        .with("pixel_mean", data.normalization.mean.clone())
        .with("pixel_deviation", data.normalization.deviation.clone())
}
