//! What a segmenter says of a picture, as an image that other programs read.

use std::io::Cursor;

/// The index of pixels that a model did not see, where pictures are cut.
pub const NOT_SEEN: u8 = 255;

/// A mask as a PNG file with a palette: the class of each pixel, (row, column), is its index, in the
/// colour of [`class_colour`]; [`NOT_SEEN`] is black. It can be trained on as a label image.
///
/// # Panics
/// If there are not as many indices as pixels.
#[track_caller]
pub fn mask_png([height, width]: [usize; 2], indices: &[u8]) -> Vec<u8> {
    assert!(indices.len() == height * width, "{} indices for {width}×{height}", indices.len());
    let mut bytes = Cursor::new(Vec::new());
    let mut encoder = png::Encoder::new(&mut bytes, width as u32, height as u32);
    encoder.set_color(png::ColorType::Indexed);
    encoder.set_depth(png::BitDepth::Eight);
    let colours = (0..usize::from(NOT_SEEN)).flat_map(class_colour);
    encoder.set_palette(colours.chain([0; 3]).collect::<Vec<u8>>());
    let written = encoder.write_header().and_then(|mut writer| writer.write_image_data(indices));
    written.expect("memory takes any picture");
    bytes.into_inner()
}

/// The colour in which a class is shown: red, green, blue. They are easy to tell apart: hues a golden
/// section apart, light and dark in turn.
///
/// ```
/// use neutreno::tasks::images::class_colour;
/// assert_ne!(class_colour(0), class_colour(1));
/// ```
pub fn class_colour(class: usize) -> [u8; 3] {
    let hue = (class as f64 * 0.618_034 + 0.55).fract() * 6.0;
    let value = [0.95, 0.7, 0.85][class % 3];
    let channel = |shift: f64| {
        let distance = ((hue + shift) % 6.0 - 3.0).abs() - 1.0;
        (255.0 * value * (0.25 + 0.75 * distance.clamp(0.0, 1.0))) as u8
    };
    [channel(0.0), channel(4.0), channel(2.0)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_have_colours_of_their_own() {
        for class in 0..24 {
            for other in 0..class {
                let pairs = class_colour(class).into_iter().zip(class_colour(other));
                let distance: u32 = pairs.map(|(a, b)| u32::from(a.abs_diff(b))).sum();
                assert!(distance > 12, "{class} and {other}");
            }
        }
    }

    /// The indices are there again when it is read as a label image, whatever their colours.
    #[test]
    fn masks_hold_their_indices() {
        let indices = [0, 1, 2, NOT_SEEN, 1, 0];
        let bytes = mask_png([2, 3], &indices);
        let mut decoder = png::Decoder::new(Cursor::new(&bytes));
        decoder.set_transformations(png::Transformations::IDENTITY);
        let mut reader = decoder.read_info().unwrap();
        assert_eq!(reader.info().color_type, png::ColorType::Indexed);
        let mut found = vec![0; reader.output_buffer_size().unwrap()];
        reader.next_frame(&mut found).unwrap();
        assert_eq!(found, indices);
        let shown = image::load_from_memory(&bytes).unwrap().into_rgb8();
        assert_eq!(shown.get_pixel(1, 0).0, class_colour(1));
        assert_eq!(shown.get_pixel(0, 1).0, [0; 3]);
    }
}
