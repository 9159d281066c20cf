//! Changes of colour, on pixels (channel, row, column): those of RandAugment (Cubuk et al. 2020),
//! as Pillow's `ImageEnhance` and `ImageOps` define them.

use super::ImageShape;

/// All brighter or darker: each value times `factor`.
pub(super) fn brightness(pixels: &mut [u8], factor: f32) {
    each(pixels, |value| value * factor);
}

/// Away from the mean grey, or towards it.
pub(super) fn contrast(pixels: &mut [u8], shape: ImageShape, factor: f32) {
    let grey = greys(pixels, shape);
    let mean = grey.iter().sum::<f32>() / grey.len() as f32;
    each(pixels, |value| mean + factor * (value - mean));
}

/// Away from the grey of the same brightness, or towards it. Grey pictures stay as they are.
pub(super) fn saturation(pixels: &mut [u8], shape: ImageShape, factor: f32) {
    if shape.channels == 1 {
        return;
    }
    let grey = greys(pixels, shape);
    for plane in pixels.chunks_mut(shape.pixels()) {
        for (pixel, grey) in plane.iter_mut().zip(&grey) {
            *pixel = byte(grey + factor * (f32::from(*pixel) - grey));
        }
    }
}

/// Away from the picture smoothed over 3×3 pixels, or towards it; the edge stays as it is.
pub(super) fn sharpness(pixels: &mut [u8], shape: ImageShape, factor: f32) {
    let width = shape.width;
    for plane in pixels.chunks_mut(shape.pixels()) {
        let old = plane.to_vec();
        for row in 1..shape.height.saturating_sub(1) {
            for column in 1..width.saturating_sub(1) {
                let pixel = row * width + column;
                let three = |start: usize| {
                    old[start - 1..=start + 1].iter().map(|x| f32::from(*x)).sum::<f32>()
                };
                let around = three(pixel - width) + three(pixel) + three(pixel + width);
                let own = f32::from(old[pixel]);
                let smooth = (around + 4.0 * own) / 13.0;
                plane[pixel] = byte(smooth + factor * (own - smooth));
            }
        }
    }
}

/// Only the highest bits of each value, 1 to 8 of them.
pub(super) fn posterize(pixels: &mut [u8], bits: u32) {
    let mask = !(u8::MAX.checked_shr(bits).unwrap_or(0));
    pixels.iter_mut().for_each(|pixel| *pixel &= mask);
}

/// Values of at least `threshold` become their opposites.
pub(super) fn solarize(pixels: &mut [u8], threshold: f32) {
    let turned = pixels.iter_mut().filter(|pixel| f32::from(**pixel) >= threshold);
    turned.for_each(|pixel| *pixel = 255 - *pixel);
}

/// Each channel stretched to the whole range.
pub(super) fn autocontrast(pixels: &mut [u8], shape: ImageShape) {
    for plane in pixels.chunks_mut(shape.pixels()) {
        let low = f32::from(plane.iter().copied().min().unwrap_or(0));
        let high = f32::from(plane.iter().copied().max().unwrap_or(0));
        if high > low {
            each(plane, |value| (value - low) * 255.0 / (high - low));
        }
    }
}

/// Each channel's values spread so that all are about equally frequent.
pub(super) fn equalize(pixels: &mut [u8], shape: ImageShape) {
    for plane in pixels.chunks_mut(shape.pixels()) {
        let mut counts = [0_u32; 256];
        plane.iter().for_each(|pixel| counts[usize::from(*pixel)] += 1);
        let last = counts.iter().rev().find(|count| **count > 0).copied().unwrap_or(0);
        let step = (plane.len() as u32 - last) / 255;
        if step == 0 {
            continue;
        }
        let mut below = step / 2;
        let table = counts.map(|count| {
            let value = (below / step).min(255) as u8;
            below += count;
            value
        });
        plane.iter_mut().for_each(|pixel| *pixel = table[usize::from(*pixel)]);
    }
}

/// The brightness of each pixel, by the weights of ITU-R BT.601.
fn greys(pixels: &[u8], shape: ImageShape) -> Vec<f32> {
    let plane = shape.pixels();
    let value = |pixel: usize| match shape.channels {
        3 => {
            let [red, green, blue] = [0, 1, 2].map(|c| f32::from(pixels[c * plane + pixel]));
            0.299 * red + 0.587 * green + 0.114 * blue
        }
        _ => f32::from(pixels[pixel]),
    };
    (0..plane).map(value).collect()
}

fn each(pixels: &mut [u8], f: impl Fn(f32) -> f32) {
    pixels.iter_mut().for_each(|pixel| *pixel = byte(f(f32::from(*pixel))));
}

/// The nearest byte.
fn byte(value: f32) -> u8 {
    value.round() as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    const GREY: ImageShape = ImageShape { channels: 1, height: 3, width: 3 };
    const RED: ImageShape = ImageShape { channels: 3, height: 1, width: 1 };

    fn changed<const N: usize>(mut pixels: [u8; N], f: impl Fn(&mut [u8])) -> [u8; N] {
        f(&mut pixels);
        pixels
    }

    /// A factor of 1 changes nothing, one of 0 leaves what each moves away from.
    #[test]
    fn factors_of_one_and_zero() {
        let dot = [0, 0, 0, 0, 130, 0, 0, 0, 0];
        for factor in [0.0, 1.0] {
            let expect = |zero: [u8; 9]| if factor == 0.0 { zero } else { dot };
            assert_eq!(changed(dot, |p| brightness(p, factor)), expect([0; 9]));
            assert_eq!(changed(dot, |p| contrast(p, GREY, factor)), expect([14; 9]));
            let smooth = [0, 0, 0, 0, 50, 0, 0, 0, 0];
            assert_eq!(changed(dot, |p| sharpness(p, GREY, factor)), expect(smooth));
        }
        assert_eq!(changed([200, 100, 0], |p| saturation(p, RED, 0.0)), [119; 3]);
        assert_eq!(changed([200, 100, 0], |p| saturation(p, RED, 1.0)), [200, 100, 0]);
    }

    #[test]
    fn values_known_by_hand() {
        assert_eq!(changed([0, 77, 255], |p| posterize(p, 4)), [0, 64, 240]);
        assert_eq!(changed([0, 77, 255], |p| posterize(p, 8)), [0, 77, 255]);
        assert_eq!(changed([0, 128, 255], |p| solarize(p, 128.0)), [0, 127, 0]);
        let ramp = [10, 20, 30, 40, 50, 60, 70, 80, 90];
        let stretched = changed(ramp, |p| autocontrast(p, GREY));
        assert_eq!((stretched[0], stretched[4], stretched[8]), (0, 128, 255));
        assert_eq!(changed([7; 9], |p| autocontrast(p, GREY)), [7; 9]);
        let large = ImageShape { channels: 1, height: 32, width: 32 };
        let mut dark: Vec<u8> = (0..1024).map(|pixel| (pixel / 64) as u8).collect();
        equalize(&mut dark, large);
        assert_eq!((dark[0], dark[1023]), (0, 255));
    }
}
