//! Images that ship as code, so that programs work offline.
//!
//! For classification: a figure of one of five outlines in one of two textures, ten classes, at a
//! random position, size, angle and colour. The mean picture of every class is nearly the same grey,
//! so a linear model, which weighs each pixel for itself, can't do much better than guess. For
//! segmentation: scenes of overlapping figures, to be told apart by outline alone, as colours say
//! nothing.

use super::drawing::{Background, Colour, Figure, Outline, Texture, mix};
use super::{ImageData, ImageSet, ImageShape, Task};
use crate::data::{Source, Splits};
use crate::engine::random::{Generator, Key};
use rayon::prelude::*;

/// The seed of the generated images; always the same, so that runs can be compared.
const SEED: u64 = 2020;

/// How much the noise adds to a colour at most.
const NOISE: f32 = 0.08;

impl ImageData {
    /// The images that ship as code: 32×32 for classification, 64×64 for segmentation.
    pub fn generated(task: Task) -> ImageData {
        let lengths = match task {
            Task::Classification => Splits { train: 20_000, validation: 2_000, test: 2_000 },
            Task::Segmentation => Splits { train: 2_000, validation: 200, test: 300 },
        };
        ImageData::generated_of(task, lengths)
    }

    /// The same with another number of images; those with the same numbers are the same.
    ///
    /// ```
    /// use neutreno::data::Splits;
    /// use neutreno::data::images::{ImageData, Task};
    /// let lengths = Splits { train: 20, validation: 10, test: 10 };
    /// let data = ImageData::generated_of(Task::Classification, lengths);
    /// assert_eq!(data.classes[3], "chequered square");
    /// assert_eq!(data.class_counts(&data.splits.train), [2; 10]);
    /// ```
    pub fn generated_of(task: Task, lengths: Splits<usize>) -> ImageData {
        let key = Key::new(SEED);
        let keys = Splits {
            train: (key.named("train"), lengths.train),
            validation: (key.named("validation"), lengths.validation),
            test: (key.named("test"), lengths.test),
        };
        let splits = keys.map(|(key, count)| generate(task, key, count));
        let (name, classes) = match task {
            Task::Classification => ("generated-shapes", shape_classes().map(class_name).collect()),
            Task::Segmentation => {
                let outlines = Outline::ALL.map(Outline::name);
                (
                    "generated-scenes",
                    ["background"].iter().chain(&outlines).map(|name| name.to_string()).collect(),
                )
            }
        };
        ImageData::new(name.into(), Source::Generated(SEED), classes, splits)
    }
}

fn shape_classes() -> impl Iterator<Item = (Outline, Texture)> {
    let textures = |outline| Texture::ALL.map(|texture| (outline, texture));
    Outline::ALL.into_iter().flat_map(textures)
}

fn class_name((outline, texture): (Outline, Texture)) -> String {
    format!("{} {}", texture.name(), outline.name())
}

fn generate(task: Task, key: Key, count: usize) -> ImageSet {
    let size = if task == Task::Classification { 32 } else { 64 };
    let shape = ImageShape { channels: 3, height: size, width: size };
    let picture = |index: usize| {
        let mut generator = key.fold(index as u64).generator();
        match task {
            Task::Classification => shape_picture(index, shape, &mut generator),
            Task::Segmentation => scene_picture(shape, &mut generator),
        }
    };
    let pictures: Vec<Picture> = (0..count).into_par_iter().map(picture).collect();
    let pixels = pictures.iter().flat_map(|picture| &picture.pixels).copied().collect();
    let labels = pictures.iter().flat_map(|picture| &picture.labels).copied().collect();
    ImageSet::new(shape, task, pixels, labels)
}

struct Picture {
    pixels: Vec<u8>,
    labels: Vec<u16>,
}

/// One figure; the classes take turns.
fn shape_picture(index: usize, shape: ImageShape, generator: &mut Generator) -> Picture {
    let class = index % shape_classes().count();
    let (outline, texture) = shape_classes().nth(class).expect("a class");
    let size = [shape.height, shape.width];
    let background = Background::random(size, generator);
    let figure = Figure::random(outline, Some(texture), [8.0, 13.0], size, generator);
    let (pixels, _) = paint(shape, &background, &[figure], generator);
    Picture { pixels, labels: vec![class as u16] }
}

/// Four to seven figures, the later ones before the earlier.
fn scene_picture(shape: ImageShape, generator: &mut Generator) -> Picture {
    let size = [shape.height, shape.width];
    let background = Background::random(size, generator);
    let figures: Vec<Figure> = (0..4 + generator.below(4))
        .map(|_| {
            let outline = Outline::ALL[generator.below(Outline::ALL.len() as u64) as usize];
            Figure::random(outline, None, [8.0, 16.0], size, generator)
        })
        .collect();
    let (pixels, labels) = paint(shape, &background, &figures, generator);
    Picture { pixels, labels }
}

/// The pixels, with noise, and for each the label of the figure on top: 1 + its outline's number,
/// or 0 for none.
fn paint(
    shape: ImageShape,
    background: &Background,
    figures: &[Figure],
    generator: &mut Generator,
) -> (Vec<u8>, Vec<u16>) {
    let plane = shape.pixels();
    let (mut pixels, mut labels) = (vec![0; shape.elements()], vec![0; plane]);
    for pixel in 0..plane {
        let (x, y) = ((pixel % shape.width) as f32 + 0.5, (pixel / shape.width) as f32 + 0.5);
        let mut colour: Colour = background.colour(x, y);
        for figure in figures {
            let coverage = figure.coverage(x, y);
            if coverage > 0.0 {
                colour = mix(colour, figure.colour(x, y), coverage);
            }
            if coverage >= 0.5 {
                labels[pixel] = figure.outline as u16 + 1;
            }
        }
        for (channel, value) in colour.into_iter().enumerate() {
            let noise = NOISE * (2.0 * generator.uniform() - 1.0);
            pixels[channel * plane + pixel] = ((value + noise) * 255.0).round() as u8;
        }
    }
    (pixels, labels)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_are_functions_of_their_number() {
        for task in [Task::Classification, Task::Segmentation] {
            let make = |train| {
                let lengths = Splits { train, validation: 10, test: 10 };
                ImageData::generated_of(task, lengths)
            };
            let (few, many) = (make(20), make(40));
            for index in 0..20 {
                assert_eq!(few.splits.train.image(index), many.splits.train.image(index));
                assert_eq!(few.splits.train.labels(index), many.splits.train.labels(index));
            }
            assert_ne!(few.splits.train.image(0), few.splits.test.image(0));
            assert_eq!(few.hashes.test, many.hashes.test);
            assert_ne!(few.hashes.train, many.hashes.train);
        }
    }

    /// Every class of a scene takes a part of the picture that can be learned from.
    #[test]
    fn scenes_have_every_class() {
        let lengths = Splits { train: 100, validation: 10, test: 10 };
        let data = ImageData::generated_of(Task::Segmentation, lengths);
        let counts = data.class_counts(&data.splits.train);
        let total: u64 = counts.iter().sum();
        assert_eq!((counts.len(), total), (6, 100 * 64 * 64));
        assert!(counts.iter().all(|count| *count > total / 50), "{counts:?}");
    }
}
