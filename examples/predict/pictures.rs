//! The pictures, read as a model is to see them.

use crate::common::program::Result;
use crate::common::progress::Progress;
use neutreno::data::images::{
    ImageBatch, ImageSet, ImageShape, Normalization, PictureReader, SeenPicture, Task, pictures_in,
};
use neutreno::run::write_atomically;
use neutreno::vision::{Preprocessing, VisionConfig};
use rayon::prelude::*;
use std::io::Cursor;
use std::path::{Path, PathBuf};

/// All pictures that were named, and those in folders.
pub fn find(given: &[PathBuf], progress: &Progress) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in given {
        if path.is_dir() {
            let (found, line) = pictures_in(path)?;
            progress.line(&format!("{}: {line}", path.display()));
            files.extend(found);
        } else if path.exists() {
            files.push(path.clone());
        } else {
            return Err(format!("{}: there is no such file or folder", path.display()).into());
        }
    }
    Ok(files)
}

/// A picture that was read.
pub struct Picture<'a> {
    /// Its number among all.
    pub number: usize,
    pub file: &'a Path,
    pub seen: SeenPicture,
}

/// The way from files to what a model sees.
pub struct Pictures<'a> {
    files: &'a [PathBuf],
    reader: PictureReader,
    shape: ImageShape,
    normalization: Normalization,
}

impl<'a> Pictures<'a> {
    pub fn new(
        files: &'a [PathBuf],
        config: &VisionConfig,
        preprocessing: &Preprocessing,
        ground: Option<[u8; 3]>,
    ) -> Pictures<'a> {
        let size = config.image_size;
        let shape = ImageShape {
            channels: config.num_channels,
            height: size.height(),
            width: size.width(),
        };
        let Preprocessing { mean, deviation, .. } = preprocessing.clone();
        let normalization = Normalization { mean, deviation };
        Pictures { files, reader: PictureReader::new(files, shape, ground), shape, normalization }
    }

    /// Reads those with these numbers. Broken ones are an error, or are told and left out.
    pub fn read(
        &self,
        numbers: &[usize],
        skip: bool,
        progress: &Progress,
    ) -> Result<Vec<Picture<'_>>> {
        let read: Vec<_> =
            numbers.par_iter().map(|number| self.reader.read(&self.files[*number])).collect();
        let mut pictures = Vec::new();
        for (number, result) in numbers.iter().zip(read) {
            match result {
                Ok(seen) => {
                    let file = &self.files[*number];
                    pictures.push(Picture { number: *number, file, seen });
                }
                Err(broken) if skip => progress.line(&format!("left out: {broken}")),
                Err(broken) => {
                    return Err(format!(
                        "{broken}; repair or remove it, or leave such pictures out: --skip-broken"
                    )
                    .into());
                }
            }
        }
        Ok(pictures)
    }

    /// A picture in its own size, (channel, row, column).
    pub fn whole(&self, file: &Path) -> Result<Vec<u8>> {
        self.reader.read_whole(file).map_err(|broken| broken.to_string().into())
    }

    /// What the model is given.
    pub fn batch(&self, pictures: &[Picture]) -> ImageBatch {
        let pixels = pictures.iter().flat_map(|picture| picture.seen.pixels.iter().copied());
        let labels = vec![0; pictures.len()];
        let set = ImageSet::new(self.shape, Task::Classification, pixels.collect(), labels);
        set.normalized(&self.normalization, 0..pictures.len())
    }

    /// Writes what a model sees of a picture.
    pub fn write_seen(&self, seen: &SeenPicture, path: &Path) -> Result<()> {
        let ImageShape { channels, height, width } = self.shape;
        let colours: Vec<u8> = match channels {
            1 => seen.pixels.iter().flat_map(|grey| [*grey; 3]).collect(),
            _ => interleaved(&seen.pixels),
        };
        write_png([height, width], colours, path)
    }
}

/// (row, column, channel) from (channel, row, column).
pub fn interleaved(pixels: &[u8]) -> Vec<u8> {
    let plane = pixels.len() / 3;
    (0..plane).flat_map(|pixel| [0, 1, 2].map(|channel| pixels[channel * plane + pixel])).collect()
}

/// Writes colours, (row, column, channel), as a PNG file.
pub fn write_png([height, width]: [usize; 2], colours: Vec<u8>, path: &Path) -> Result<()> {
    let image = image::RgbImage::from_raw(width as u32, height as u32, colours);
    let image = image.ok_or("a picture has three numbers a pixel")?;
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, image::ImageFormat::Png)?;
    Ok(write_atomically(path, &bytes.into_inner())?)
}
