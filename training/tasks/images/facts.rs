//! What a run keeps about its images.

use crate::data::images::ImageData;
use crate::run::{Data, Values};

/// Where the images came from.
pub fn data_of(data: &ImageData) -> Data {
    let hashes = data.hashes.clone().named().map(|(name, hash)| (name.to_owned(), hash));
    let source = data.source.absolute();
    let (path, name) = (source.given(), data.name.clone());
    Data { source: source.to_string(), path, name, hashes: hashes.into() }
}

/// What is known of the images.
pub fn facts(data: &ImageData) -> Values {
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
