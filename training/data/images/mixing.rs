//! Mixing the images of a batch two by two: mixup and CutMix.

use super::{Augmentation, ImageShape};
use crate::engine::random::{Generator, Key};

/// The other labels of a batch whose images were mixed. The loss is
/// (1 − share) · loss(labels) + share · loss(mixed labels).
#[derive(Clone, Debug, PartialEq)]
pub struct Mixed {
    /// For each image, the label of the image that was mixed in.
    pub labels: Vec<u32>,
    /// How much of each image comes from that one, in 0..=1.
    pub share: f32,
}

/// Mixes each image of a batch with the one as far from the other end, as timm does, so that one
/// batch is enough; the share is one for all. `None` if nothing is to be mixed.
pub(super) fn mix(
    augmentation: &Augmentation,
    shape: ImageShape,
    pixels: &mut [f32],
    labels: &[u32],
    key: Key,
) -> Option<Mixed> {
    let Augmentation { mixup, cutmix, .. } = *augmentation;
    let mut generator = key.generator();
    let coin = generator.uniform() < 0.5;
    let share = if mixup > 0.0 && (cutmix == 0.0 || coin) {
        let share = beta(mixup, &mut generator);
        blend(pixels, shape, share);
        share
    } else if cutmix > 0.0 {
        let share = beta(cutmix, &mut generator);
        cut(pixels, shape, share, &mut generator)
    } else {
        return None;
    };
    Some(Mixed { labels: labels.iter().rev().copied().collect(), share })
}

/// Each image and its partner.
fn pairs(pixels: &mut [f32], shape: ImageShape) -> impl Iterator<Item = (&mut [f32], &mut [f32])> {
    let images = pixels.len() / shape.elements();
    let half = images.div_ceil(2) * shape.elements();
    let (first, second) = pixels.split_at_mut(half);
    // With an odd number, the image in the middle would be its own partner: it has none.
    first.chunks_mut(shape.elements()).zip(second.chunks_mut(shape.elements()).rev())
}

fn blend(pixels: &mut [f32], shape: ImageShape, share: f32) {
    for (one, other) in pairs(pixels, shape) {
        for (a, b) in one.iter_mut().zip(other) {
            (*a, *b) = (*a + share * (*b - *a), *b + share * (*a - *b));
        }
    }
}

/// Exchanges a rectangle of about a share of the area between partners. Its middle may be
/// anywhere, so that the edge can cut some of it off; returns the share that is left.
fn cut(pixels: &mut [f32], shape: ImageShape, share: f32, generator: &mut Generator) -> f32 {
    let [rows, columns] = [shape.height, shape.width].map(|size| {
        let half = (size as f32 * share.sqrt() / 2.0).round() as usize;
        let middle = generator.below(size as u64) as usize;
        middle.saturating_sub(half)..(middle + half).min(size)
    });
    for (one, other) in pairs(pixels, shape) {
        for channel in 0..shape.channels {
            for row in rows.clone() {
                let start = channel * shape.pixels() + row * shape.width;
                let line = start + columns.start..start + columns.end;
                one[line.clone()].swap_with_slice(&mut other[line]);
            }
        }
    }
    (rows.len() * columns.len()) as f32 / shape.pixels() as f32
}

/// A number from Beta(α, α) (Jöhnk 1964).
fn beta(alpha: f32, generator: &mut Generator) -> f32 {
    // Powers underflow for small α, so the quotient is made from logarithms.
    let power = 1.0 / f64::from(alpha);
    loop {
        let mut ln = || (1.0 - f64::from(generator.uniform())).ln() * power;
        let (x, y) = (ln(), ln());
        let larger = x.max(y);
        let ln_sum = larger + ((x - larger).exp() + (y - larger).exp()).ln();
        if ln_sum <= 0.0 {
            return (x - ln_sum).exp() as f32;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: ImageShape = ImageShape { channels: 1, height: 4, width: 4 };

    fn mixed(mixup: f32, cutmix: f32, images: usize, number: u64) -> (Vec<f32>, Option<Mixed>) {
        let augmentation = Augmentation { mixup, cutmix, ..Augmentation::none() };
        let mut pixels: Vec<f32> = (0..images).flat_map(|image| [image as f32; 16]).collect();
        let labels: Vec<u32> = (0..images as u32).collect();
        let key = Key::new(1).fold(number);
        let mixed = mix(&augmentation, SHAPE, &mut pixels, &labels, key);
        (pixels, mixed)
    }

    /// The mean of each image is its share of the two labels, for both ways of mixing, also of the
    /// image in the middle.
    #[test]
    fn shares_are_those_of_the_pixels() {
        for (mixup, cutmix) in [(0.8, 0.0), (0.0, 1.0), (0.8, 1.0)] {
            for number in 0..50 {
                let (pixels, mixed) = mixed(mixup, cutmix, 5, number);
                let Mixed { labels, share } = mixed.unwrap();
                assert_eq!(labels, [4, 3, 2, 1, 0]);
                for (own, image) in pixels.chunks(16).enumerate() {
                    let mean = image.iter().sum::<f32>() / 16.0;
                    let expected = (1.0 - share) * own as f32 + share * labels[own] as f32;
                    assert!((mean - expected).abs() < 1e-5, "{mean} {expected}");
                }
            }
        }
        let (pixels, mixed) = mixed(0.0, 0.0, 2, 0);
        assert!(mixed.is_none() && pixels[..16] == [0.0; 16]);
    }

    /// Beta(α, α) has mean ½ and variance 1 / (4 (2α + 1)).
    #[test]
    fn beta_has_its_moments() {
        for alpha in [0.2_f32, 0.8, 1.0, 3.0] {
            let mut generator = Key::new(2).generator();
            let numbers: Vec<f64> =
                (0..20_000).map(|_| f64::from(beta(alpha, &mut generator))).collect();
            let mean = numbers.iter().sum::<f64>() / 20_000.0;
            let variance = numbers.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 20_000.0;
            let expected = 0.25 / (2.0 * f64::from(alpha) + 1.0);
            assert!((mean - 0.5).abs() < 0.02, "{alpha}: mean {mean}");
            assert!((variance / expected - 1.0).abs() < 0.05, "{alpha}: variance {variance}");
        }
    }
}
