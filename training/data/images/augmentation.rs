//! Changing training images at random, so that a model can't learn them by heart.
//!
//! All changes of geometry are composed to one affine map, so that a picture is sampled once, and
//! its labels are seen through the same map.

use super::affine::Affine;
use super::{ImageSet, ImageShape, Normalization, Task, colours};
use crate::engine::random::{Generator, Key};
use serde::{Deserialize, Serialize};

/// What is done to each training image, and how strongly.
///
/// ```
/// use neutreno::data::images::{Augmentation, Task};
/// let mixing = Augmentation { mixup: 0.8, ..Augmentation::none() };
/// assert!(mixing.check(Task::Classification).is_ok());
/// assert!(mixing.check(Task::Segmentation).unwrap_err().contains("mixup"));
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Augmentation {
    /// The picture moves by up to so many whole pixels each way: cropping after padding.
    pub padding: usize,
    /// The probability of turning left and right around.
    pub flip: f32,
    /// The least and the largest magnification, drawn evenly on a logarithmic scale; the part that
    /// is seen is drawn too.
    pub scale: [f32; 2],
    /// Brightness, contrast and saturation are each multiplied by a factor drawn from 1 − this to
    /// 1 + this.
    pub color_jitter: f32,
    /// How many of RandAugment's 14 changes of colour and geometry are made.
    pub operations: usize,
    /// How strong they are, in 0..=1: ten times this is RandAugment's magnitude.
    pub magnitude: f32,
    /// The probability of random erasing: a rectangle of 2 to 33 % of the picture becomes noise
    /// (Zhong et al. 2020).
    pub erasing: f32,
    /// α of mixup (Zhang et al. 2018): two images are blended, their shares drawn from Beta(α, α)
    /// for each batch; 0 for none.
    pub mixup: f32,
    /// α of CutMix (Yun et al. 2019): a rectangle comes from another image; 0 for none. With mixup
    /// too, each batch has one of the two.
    pub cutmix: f32,
}

impl Augmentation {
    /// Images as they are.
    pub fn none() -> Augmentation {
        Augmentation {
            padding: 0,
            flip: 0.0,
            scale: [1.0, 1.0],
            color_jitter: 0.0,
            operations: 0,
            magnitude: 0.0,
            erasing: 0.0,
            mixup: 0.0,
            cutmix: 0.0,
        }
    }

    /// Moves and flips: little, for short runs on small pictures.
    pub fn light() -> Augmentation {
        Augmentation { padding: 2, flip: 0.5, ..Augmentation::none() }
    }

    /// As DeiT was trained (Touvron et al. 2021): for long runs.
    pub fn deit() -> Augmentation {
        Augmentation {
            padding: 4,
            flip: 0.5,
            operations: 2,
            magnitude: 0.9,
            erasing: 0.25,
            mixup: 0.8,
            cutmix: 1.0,
            ..Augmentation::none()
        }
    }

    /// For segmentation: magnification with a crop, moves, flips, and moderate changes of colour.
    pub fn segmentation() -> Augmentation {
        Augmentation {
            padding: 4,
            flip: 0.5,
            scale: [0.75, 1.75],
            color_jitter: 0.3,
            ..Augmentation::none()
        }
    }

    /// What is wrong with the numbers for this task, if anything.
    ///
    /// # Errors
    /// A message that names the number.
    pub fn check(&self, task: Task) -> Result<(), String> {
        for (name, share) in [
            ("flip", self.flip),
            ("color-jitter", self.color_jitter),
            ("magnitude", self.magnitude),
            ("erasing", self.erasing),
        ] {
            if !(0.0..=1.0).contains(&share) {
                return Err(format!("{name} is {share} and must be in 0..=1"));
            }
        }
        let [least, most] = self.scale;
        if !(least > 0.0 && least <= most && most.is_finite()) {
            return Err(format!("scale is {least} to {most}, no range of positive numbers"));
        }
        for (name, alpha) in [("mixup", self.mixup), ("cutmix", self.cutmix)] {
            if !(0.0..=4.0).contains(&alpha) {
                return Err(format!("{name} has α = {alpha}, which must be in 0..=4"));
            }
        }
        for (name, value) in
            [("mixup", self.mixup), ("cutmix", self.cutmix), ("erasing", self.erasing)]
        {
            if task == Task::Segmentation && value > 0.0 {
                return Err(format!("{name} is for classification, where an image has one label"));
            }
        }
        Ok(())
    }

    /// One image of a set, changed as `key` says and normalised into `pixels`, and its labels.
    pub(super) fn apply(
        &self,
        set: &ImageSet,
        index: usize,
        normalization: &Normalization,
        key: Key,
        pixels: &mut [f32],
    ) -> Vec<u16> {
        let (shape, mut generator) = (set.shape(), key.generator());
        let mut map = self.crop(shape, &mut generator);
        let mut image = set.image(index).to_vec();
        for _ in 0..self.operations {
            let operation = Operation::ALL[generator.below(14) as usize];
            let signed = self.magnitude * if generator.uniform() < 0.5 { -1.0 } else { 1.0 };
            map = operation.geometry(signed, shape).then(map);
            operation.colour(signed, shape, &mut image);
        }
        if self.color_jitter > 0.0 {
            self.jitter(shape, &mut generator, &mut image);
        }
        map.image(&image, shape, pixels);
        normalize(pixels, shape, normalization);
        if generator.uniform() < self.erasing {
            erase(pixels, shape, key.named("erasing"));
        }
        match set.task() {
            Task::Classification => set.labels(index).to_vec(),
            Task::Segmentation => map.labels(set.labels(index), shape),
        }
    }

    /// Light and colours as another day or camera would have them.
    fn jitter(&self, shape: ImageShape, generator: &mut Generator, image: &mut [u8]) {
        let mut factor = || 1.0 + self.color_jitter * (2.0 * generator.uniform() - 1.0);
        colours::brightness(image, factor());
        colours::contrast(image, shape, factor());
        colours::saturation(image, shape, factor());
    }

    /// Flip, magnification, and which part is seen.
    fn crop(&self, shape: ImageShape, generator: &mut Generator) -> Affine {
        let flip = generator.uniform() < self.flip;
        let [least, most] = self.scale;
        let scale = least * (most / least).powf(generator.uniform());
        let moved = [shape.width, shape.height].map(|size| {
            // The seen part stays within the picture, or the picture within what is seen.
            let room = size as f32 * (1.0 - 1.0 / scale).abs() / 2.0;
            let padding = generator.below(2 * self.padding as u64 + 1) as f32 - self.padding as f32;
            room * (2.0 * generator.uniform() - 1.0) + padding
        });
        let flip = if flip { Affine::FLIP } else { Affine::IDENTITY };
        let crop = Affine::translation(moved[0], moved[1]);
        flip.then(crop).then(Affine::magnification(scale))
    }
}

/// The changes that RandAugment draws from (Cubuk et al. 2020).
#[derive(Clone, Copy, Debug)]
enum Operation {
    Identity,
    Autocontrast,
    Equalize,
    Rotate,
    Solarize,
    Saturation,
    Posterize,
    Contrast,
    Brightness,
    Sharpness,
    ShearX,
    ShearY,
    TranslateX,
    TranslateY,
}

impl Operation {
    const ALL: [Operation; 14] = [
        Operation::Identity,
        Operation::Autocontrast,
        Operation::Equalize,
        Operation::Rotate,
        Operation::Solarize,
        Operation::Saturation,
        Operation::Posterize,
        Operation::Contrast,
        Operation::Brightness,
        Operation::Sharpness,
        Operation::ShearX,
        Operation::ShearY,
        Operation::TranslateX,
        Operation::TranslateY,
    ];

    /// The map of those that move pixels, for a magnitude from −1 to 1.
    fn geometry(self, signed: f32, shape: ImageShape) -> Affine {
        match self {
            Operation::Rotate => Affine::rotation(30_f32.to_radians() * signed),
            Operation::ShearX => Affine::shear(0.3 * signed, 0.0),
            Operation::ShearY => Affine::shear(0.0, 0.3 * signed),
            Operation::TranslateX => Affine::translation(0.3 * signed * shape.width as f32, 0.0),
            Operation::TranslateY => Affine::translation(0.0, 0.3 * signed * shape.height as f32),
            _ => Affine::IDENTITY,
        }
    }

    /// What the others do to the colours.
    fn colour(self, signed: f32, shape: ImageShape, image: &mut [u8]) {
        let factor = 1.0 + 0.9 * signed;
        match self {
            Operation::Autocontrast => colours::autocontrast(image, shape),
            Operation::Equalize => colours::equalize(image, shape),
            Operation::Solarize => colours::solarize(image, 256.0 * (1.0 - signed.abs())),
            Operation::Posterize => {
                colours::posterize(image, 8 - (4.0 * signed.abs()).round() as u32);
            }
            Operation::Saturation => colours::saturation(image, shape, factor),
            Operation::Contrast => colours::contrast(image, shape, factor),
            Operation::Brightness => colours::brightness(image, factor),
            Operation::Sharpness => colours::sharpness(image, shape, factor),
            _ => {}
        }
    }
}

/// Pixels of 0..=255 as models see them.
pub(super) fn normalize(pixels: &mut [f32], shape: ImageShape, normalization: &Normalization) {
    let Normalization { mean, deviation } = normalization;
    let moments = mean.iter().zip(deviation);
    for (plane, (mean, deviation)) in pixels.chunks_mut(shape.pixels()).zip(moments) {
        let (factor, shift) = (1.0 / (255.0 * deviation), mean / deviation);
        plane.iter_mut().for_each(|pixel| *pixel = *pixel * factor - shift);
    }
}

/// Noise in a rectangle of 2 to 33 % of the area, 0.3 to 3.3 times as high as wide.
fn erase(pixels: &mut [f32], shape: ImageShape, key: Key) {
    let mut generator = key.generator();
    let mut between = |low: f32, high: f32| low + (high - low) * generator.uniform();
    let area = between(0.02, 0.33) * shape.pixels() as f32;
    let aspect = between(0.3_f32.ln(), 3.3_f32.ln()).exp();
    let side = |length: f32, size: usize| (length.round() as usize).clamp(1, size);
    let height = side((area * aspect).sqrt(), shape.height);
    let width = side((area / aspect).sqrt(), shape.width);
    let top = generator.below((shape.height - height + 1) as u64) as usize;
    let left = generator.below((shape.width - width + 1) as u64) as usize;
    let noise = key.named("noise").normals(shape.channels * height * width, 0.0, 1.0);
    for (number, noise) in noise.chunks(width).enumerate() {
        let (channel, row) = (number / height, top + number % height);
        let start = channel * shape.pixels() + row * shape.width + left;
        pixels[start..start + width].copy_from_slice(noise);
    }
}

#[cfg(test)]
mod tests {
    use super::super::VOID;
    use super::*;

    const SHAPE: ImageShape = ImageShape { channels: 1, height: 8, width: 8 };
    const PLAIN: [f32; 1] = [0.0];

    /// Segmentation of one image whose labels are its pixels.
    fn labelled() -> ImageSet {
        let pixels: Vec<u8> = (0..64).map(|pixel| 3 * pixel).collect();
        let labels = pixels.iter().map(|pixel| u16::from(*pixel)).collect();
        ImageSet::new(SHAPE, Task::Segmentation, pixels, labels)
    }

    fn changed(augmentation: &Augmentation, set: &ImageSet, number: u64) -> (Vec<f32>, Vec<u16>) {
        let normalization = Normalization { mean: PLAIN.to_vec(), deviation: vec![1.0 / 255.0] };
        let mut pixels = vec![0.0; 64];
        let key = Key::new(3).fold(number);
        let labels = augmentation.apply(set, 0, &normalization, key, &mut pixels);
        (pixels, labels)
    }

    #[test]
    fn nothing_asked_nothing_changed() {
        let set = labelled();
        let (pixels, labels) = changed(&Augmentation::none(), &set, 0);
        assert_eq!(labels, set.labels(0));
        let expected: Vec<f32> = set.image(0).iter().map(|pixel| f32::from(*pixel)).collect();
        assert!(pixels.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-4));
    }

    /// Where a label is seen, its pixel is; every position and both directions occur.
    #[test]
    fn labels_move_with_pixels() {
        let set = labelled();
        let moves = Augmentation { padding: 2, flip: 0.5, ..Augmentation::none() };
        let mut seen = std::collections::HashSet::new();
        for number in 0..400 {
            let (pixels, labels) = changed(&moves, &set, number);
            for (pixel, label) in pixels.iter().zip(&labels) {
                assert!(*label == VOID || (pixel - f32::from(*label)).abs() < 1e-3);
            }
            seen.insert(labels);
        }
        assert_eq!(seen.len(), 2 * 5 * 5);
    }

    /// Magnified twice, each label is seen about four times and none is void; made half as large,
    /// three quarters are.
    #[test]
    fn magnification_keeps_to_the_picture() {
        let set = labelled();
        for number in 0..50 {
            let at = |scale| Augmentation { scale: [scale; 2], ..Augmentation::none() };
            let (_, labels) = changed(&at(2.0), &set, number);
            assert!(!labels.contains(&VOID));
            let (_, labels) = changed(&at(0.5), &set, number);
            let seen = labels.iter().filter(|label| **label != VOID).count();
            assert!((16..=25).contains(&seen), "{seen}");
        }
    }

    /// Grey stays grey, and becomes darker and brighter by up to the jitter.
    #[test]
    fn colours_change_within_their_range() {
        let shape = ImageShape { channels: 3, ..SHAPE };
        let set = ImageSet::new(shape, Task::Classification, vec![100; 3 * 64], vec![0]);
        let jitter = Augmentation { color_jitter: 0.3, ..Augmentation::none() };
        let normalization = Normalization { mean: vec![0.0; 3], deviation: vec![1.0 / 255.0; 3] };
        let mut seen = [f32::MAX, f32::MIN];
        for number in 0..50 {
            let mut pixels = vec![0.0; 3 * 64];
            jitter.apply(&set, 0, &normalization, Key::new(3).fold(number), &mut pixels);
            assert!(pixels.iter().all(|pixel| (pixel - pixels[0]).abs() < 1e-3));
            seen = [seen[0].min(pixels[0]), seen[1].max(pixels[0])];
        }
        assert!((69.0..85.0).contains(&seen[0]) && (115.0..131.0).contains(&seen[1]), "{seen:?}");
    }

    #[test]
    fn erasing_takes_its_share() {
        let set = ImageSet::new(SHAPE, Task::Classification, vec![200; 64], vec![0]);
        let erasing = Augmentation { erasing: 1.0, ..Augmentation::none() };
        for number in 0..50 {
            let (pixels, _) = changed(&erasing, &set, number);
            let erased = pixels.iter().filter(|pixel| **pixel < 100.0).count();
            assert!((1..=28).contains(&erased), "{erased}");
        }
    }

    #[test]
    fn wrong_numbers_are_named() {
        let none = Augmentation::none();
        let wrong = [
            (Augmentation { flip: 1.5, ..none.clone() }, "flip is 1.5"),
            (Augmentation { scale: [2.0, 1.0], ..none.clone() }, "scale is 2 to 1"),
            (Augmentation { cutmix: f32::NAN, ..none.clone() }, "cutmix has α"),
        ];
        for (augmentation, message) in wrong {
            let problem = augmentation.check(Task::Classification).unwrap_err();
            assert!(problem.contains(message), "{problem}");
        }
        assert!(Augmentation::segmentation().check(Task::Segmentation).is_ok());
        assert!(Augmentation::deit().check(Task::Classification).is_ok());
    }
}
