//! JPEG files, decoded without mercy: what other decoders fill up with grey, because the file was cut
//! short or damaged, is an error here.

use image::{DynamicImage, GrayImage, RgbImage};
use zune_core::bytestream::ZCursor;
use zune_core::colorspace::ColorSpace;
use zune_core::options::DecoderOptions;
use zune_jpeg::JpegDecoder;

/// A picture, and whether its colours were those of a printer.
pub(super) struct Decoded {
    pub(super) image: DynamicImage,
    pub(super) cmyk: bool,
}

/// Decodes a whole file.
///
/// # Errors
/// What is wrong with it.
pub(super) fn decode(bytes: &[u8]) -> Result<Decoded, String> {
    let ink_is_inverted = check_whole(bytes)?;
    match decode_as(bytes, true, ink_is_inverted) {
        // Sound in every pixel: cameras leave such bytes behind.
        Err(reason) if reason.contains("Extra bytes between headers") => {
            decode_as(bytes, false, ink_is_inverted)
        }
        result => result,
    }
}

fn decode_as(bytes: &[u8], strict: bool, ink_is_inverted: bool) -> Result<Decoded, String> {
    let said = |error: zune_jpeg::errors::DecodeErrors| format!("damaged picture: {error}");
    let options = DecoderOptions::default()
        .set_strict_mode(strict)
        .set_max_width(usize::MAX)
        .set_max_height(usize::MAX);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options);
    decoder.decode_headers().map_err(said)?;
    let found = decoder.input_colorspace().expect("headers were decoded");
    let cmyk = matches!(found, ColorSpace::CMYK | ColorSpace::YCCK);
    let wanted = match found {
        ColorSpace::Luma => ColorSpace::Luma,
        ColorSpace::CMYK if !ink_is_inverted => ColorSpace::CMYK,
        _ => ColorSpace::RGB,
    };
    decoder.set_options(decoder.options().jpeg_set_out_colorspace(wanted));
    let pixels = decoder.decode().map_err(said)?;
    let (width, height) = decoder.dimensions().expect("headers were decoded");
    let (width, height) = (width as u32, height as u32);
    let image = match wanted {
        ColorSpace::Luma => {
            GrayImage::from_raw(width, height, pixels).map(DynamicImage::ImageLuma8)
        }
        ColorSpace::CMYK => {
            RgbImage::from_raw(width, height, of_inks(&pixels)).map(DynamicImage::ImageRgb8)
        }
        _ => RgbImage::from_raw(width, height, pixels).map(DynamicImage::ImageRgb8),
    };
    let image = image.ok_or("damaged picture: it has fewer pixels than its header promises")?;
    Ok(Decoded { image, cmyk })
}

/// Red, green and blue of cyan, magenta, yellow and black, each from 0 for none.
fn of_inks(pixels: &[u8]) -> Vec<u8> {
    let colours = |inks: &[u8]| {
        let [inks, black] = [&inks[..3], &inks[3..]];
        let light = u16::from(255 - black[0]);
        let colour = |ink: &u8| ((u16::from(255 - ink) * light + 127) / 255) as u8;
        [colour(&inks[0]), colour(&inks[1]), colour(&inks[2])]
    };
    pixels.chunks_exact(4).flat_map(colours).collect()
}

/// Goes from marker to marker up to the one that ends a picture. Returns whether Adobe's marker is
/// there, with which inks are stored inverted.
///
/// # Errors
/// If the end does not come.
fn check_whole(bytes: &[u8]) -> Result<bool, String> {
    let cut_short = || "cut short: the end of the picture is missing".to_string();
    let (mut place, mut adobe) = (2, false);
    loop {
        // Up to a marker. In pixels, 0xff 0x00 stands for the byte 0xff, and restarts are no end.
        place += bytes
            .get(place..)
            .and_then(|rest| rest.iter().position(|byte| *byte == 0xff))
            .ok_or_else(cut_short)?;
        let marker = *bytes.get(place + 1).ok_or_else(cut_short)?;
        match marker {
            0xd9 => return Ok(adobe),
            // A byte of padding before the marker itself.
            0xff => place += 1,
            // What has no length, and what is no marker of a sound file: the decoder will tell.
            0x00..=0xbf | 0xd0..=0xd8 => place += 2,
            _ => {
                let segment = bytes.get(place + 2..).unwrap_or_default();
                let length = segment.first_chunk().map(|bytes| u16::from_be_bytes(*bytes));
                let length = usize::from(length.ok_or_else(cut_short)?);
                adobe |= marker == 0xee && segment[2..].starts_with(b"Adobe");
                place += 2 + length;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inks_become_light() {
        let inks = [[0, 0, 0, 0], [255, 0, 0, 0], [0, 0, 0, 255], [0, 255, 255, 128]].concat();
        let colours = [[255, 255, 255], [0, 255, 255], [0, 0, 0], [127, 0, 0]].concat();
        assert_eq!(of_inks(&inks), colours);
    }

    /// A thumbnail within a segment has an end of its own, which is not the picture's.
    #[test]
    fn the_end_of_a_thumbnail_is_not_the_end() {
        let thumbnail = [0xff, 0xe1, 0, 6, 0xff, 0xd8, 0xff, 0xd9];
        let start = [&[0xff, 0xd8][..], &thumbnail, &[0xff, 0xda, 0, 2, 7, 0xff, 0, 0xff, 0xd0, 8]];
        let mut bytes = start.concat();
        assert!(check_whole(&bytes).unwrap_err().contains("cut short"));
        bytes.extend([0xff, 0xd9]);
        assert_eq!(check_whole(&bytes), Ok(false));
    }
}
