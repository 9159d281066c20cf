//! One picture in colour: its size, and its pixels as an eye sees them.

use super::{BrokenSample, jpeg};
use image::imageops::FilterType;
use image::metadata::Orientation;
use image::{ColorType, DynamicImage, ImageDecoder, ImageFormat, ImageReader, RgbImage};
use std::fs;
use std::io::{Cursor, ErrorKind};
use std::path::Path;

/// The most bytes of pixels that a byte of a picture file can stand for: DEFLATE makes at most
/// 1,032 bytes of one, and each may be eight pixels of one bit.
const MOST_FOR_A_BYTE: u64 = 8 * 1032;

/// What any file may stand for: WebP tells a picture of one colour in a few bytes.
const ALWAYS: u64 = 4 << 20;

/// The most bytes of pixels that one picture may have.
const MOST_BYTES: u64 = 1 << 29;

/// What is done with a picture of another size.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    /// It can't be used.
    Exactly,
    /// It is scaled, and cut where its proportions are others.
    Scaled,
}

/// What every picture becomes.
#[derive(Clone, Copy)]
pub(super) struct Form {
    pub(super) wanted: Wanted,
    /// Height and width.
    pub(super) size: [usize; 2],
    /// How many of 16 bits are used, where pictures have so many.
    pub(super) bits: u32,
    /// What shows where a picture is transparent.
    pub(super) ground: [u8; 3],
}

/// What a header says.
#[derive(Clone, Copy)]
pub(super) struct Header {
    /// Height and width as it is seen.
    pub(super) size: [usize; 2],
    /// The same as it is stored, before it is turned as its EXIF data say.
    pub(super) stored: [usize; 2],
    /// Whether its numbers have 16 bits.
    pub(super) deep: bool,
}

/// What had to be done to a picture.
#[derive(Clone, Copy, Default)]
pub(super) struct Converted {
    pub(super) transparent: bool,
    pub(super) turned: bool,
    pub(super) deep: bool,
    pub(super) cmyk: bool,
}

/// What the header of a file says.
pub(super) fn header_of(path: &Path) -> Result<Header, BrokenSample> {
    header(&read(path)?).map(|(header, _)| header).map_err(|reason| BrokenSample::new(path, reason))
}

/// The largest number of a picture with 16 bits; 0 for others, and if it can't be read.
pub(super) fn largest_number(path: &Path) -> u16 {
    let image = read(path).ok().and_then(|bytes| decode(&bytes).ok());
    let image = image.map(|(image, _)| image).filter(is_deep);
    let pixels = image.map(DynamicImage::into_rgb16);
    pixels.and_then(|pixels| pixels.into_raw().into_iter().max()).unwrap_or(0)
}

/// Reads a picture in colour into `pixels`, (channel, row, column). Returns what its header says and
/// what was done to it.
pub(super) fn read_pixels(
    path: &Path,
    form: &Form,
    pixels: &mut [u8],
) -> Result<(Header, Converted), BrokenSample> {
    let broken = |reason: String| BrokenSample::new(path, reason);
    let bytes = read(path)?;
    let (header, orientation) = header(&bytes).map_err(broken)?;
    if form.wanted == Wanted::Exactly && header.size != form.size {
        return Err(broken(format!(
            "{} pixels, where most are {}; --image-size scales all to one size",
            product(header.size),
            product(form.size)
        )));
    }
    let (image, cmyk) = decode(&bytes).map_err(broken)?;
    let deep = is_deep(&image);
    let (image, transparent) = flatten(image, form);
    let mut image = DynamicImage::ImageRgb8(image);
    image.apply_orientation(orientation);
    let image = fit(image, form.size, FilterType::Triangle).into_rgb8();
    let plane = form.size[0] * form.size[1];
    for (pixel, colour) in image.pixels().enumerate() {
        for (channel, value) in colour.0.into_iter().enumerate() {
            pixels[channel * plane + pixel] = value;
        }
    }
    let turned = orientation != Orientation::NoTransforms;
    Ok((header, Converted { transparent, turned, deep, cmyk }))
}

/// Colours of 8 bits, laid on the ground where they are transparent; and whether they are anywhere.
fn flatten(image: DynamicImage, form: &Form) -> (RgbImage, bool) {
    let over = |colour: u32, ground: u8, alpha: u32, opaque: u32| {
        let sum = colour * alpha + u32::from(ground) * (opaque - alpha);
        ((sum + opaque / 2) / opaque) as u8
    };
    if is_deep(&image) {
        let largest = (1_u32 << form.bits) - 1;
        let image = image.into_rgba16();
        let transparent = image.pixels().any(|pixel| pixel.0[3] < u16::MAX);
        let scaled = |number: u16| (u32::from(number).min(largest) * 255 + largest / 2) / largest;
        let colour = |x, y| {
            let [colours @ .., alpha] = image.get_pixel(x, y).0;
            let channel = |i: usize| {
                let colour = scaled(colours[i]);
                over(colour, form.ground[i], alpha.into(), u16::MAX.into())
            };
            image::Rgb([channel(0), channel(1), channel(2)])
        };
        return (RgbImage::from_fn(image.width(), image.height(), colour), transparent);
    }
    if !image.color().has_alpha() {
        return (image.into_rgb8(), false);
    }
    let image = image.into_rgba8();
    let transparent = image.pixels().any(|pixel| pixel.0[3] < u8::MAX);
    let colour = |x, y| {
        let [colours @ .., alpha] = image.get_pixel(x, y).0;
        let channel =
            |i: usize| over(colours[i].into(), form.ground[i], alpha.into(), u8::MAX.into());
        image::Rgb([channel(0), channel(1), channel(2)])
    };
    (RgbImage::from_fn(image.width(), image.height(), colour), transparent)
}

fn is_deep(image: &DynamicImage) -> bool {
    bits_of(image.color()) == 16
}

fn bits_of(colour: ColorType) -> u16 {
    8 * u16::from(colour.bytes_per_pixel()) / u16::from(colour.channel_count())
}

/// An image cut and scaled to a height and a width.
pub(super) fn fit(
    image: DynamicImage,
    [height, width]: [usize; 2],
    filter: FilterType,
) -> DynamicImage {
    let (height, width) = (height as u32, width as u32);
    match (image.height(), image.width()) == (height, width) {
        true => image,
        false => image.resize_to_fill(width, height, filter),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, BrokenSample> {
    fs::read(path).map_err(|error| unreadable(path, &error))
}

/// What the header says, and how the picture is to be turned.
fn header(bytes: &[u8]) -> Result<(Header, Orientation), String> {
    let mut decoder = decoder(bytes)?;
    let (width, height) = decoder.dimensions();
    let stored = [height as usize, width as usize];
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let on_its_side = matches!(
        orientation,
        Orientation::Rotate90
            | Orientation::Rotate270
            | Orientation::Rotate90FlipH
            | Orientation::Rotate270FlipH
    );
    let size = if on_its_side { [stored[1], stored[0]] } else { stored };
    let deep = bits_of(decoder.color_type()) == 16;
    Ok((Header { size, stored, deep }, orientation))
}

/// The image of a file whose header is sound, and whether it was in the colours of a printer.
fn decode(bytes: &[u8]) -> Result<(DynamicImage, bool), String> {
    if image::guess_format(bytes).is_ok_and(|format| format == ImageFormat::Jpeg) {
        return jpeg::decode(bytes).map(|decoded| (decoded.image, decoded.cmyk));
    }
    let image = DynamicImage::from_decoder(decoder(bytes)?);
    image.map(|image| (image, false)).map_err(|error| format!("damaged picture: {error}"))
}

fn decoder(bytes: &[u8]) -> Result<impl ImageDecoder, String> {
    // By its content, whatever its name says.
    let reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format();
    let reader = reader.map_err(|error| error.to_string())?;
    let decoder = reader
        .into_decoder()
        .map_err(|error| format!("not a PNG, JPEG, WebP or BMP picture: {error}"))?;
    let length = bytes.len() as u64;
    let possible = length.saturating_mul(MOST_FOR_A_BYTE).max(ALWAYS);
    if decoder.total_bytes() > MOST_BYTES.min(possible) {
        let (width, height) = decoder.dimensions();
        let size = product([height as usize, width as usize]);
        return Err(format!(
            "{length} bytes can't hold the {size} pixels that its header promises"
        ));
    }
    Ok(decoder)
}

/// What the system said, as something that is wrong with a sample.
pub(super) fn unreadable(path: &Path, error: &std::io::Error) -> BrokenSample {
    let reason = match error.kind() {
        ErrorKind::NotFound => "missing".into(),
        ErrorKind::IsADirectory => "a directory, where a picture was expected".into(),
        ErrorKind::PermissionDenied => format!("cannot be read: {error}; check its permissions"),
        _ => format!("cannot be read: {error}"),
    };
    BrokenSample::new(path, reason)
}

/// A height and a width as people say it.
pub(super) fn product([height, width]: [usize; 2]) -> String {
    format!("{width}×{height}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{GrayAlphaImage, ImageBuffer, Luma, LumaA, Rgba, RgbaImage};

    fn flat(image: DynamicImage, bits: u32) -> ([u8; 3], bool) {
        let form = Form { wanted: Wanted::Exactly, size: [1, 1], bits, ground: [255, 0, 100] };
        let (image, transparent) = flatten(image, &form);
        (image.get_pixel(0, 0).0, transparent)
    }

    #[test]
    fn what_is_transparent_shows_the_ground() {
        let colour = |alpha| {
            let image = RgbaImage::from_pixel(1, 1, Rgba([0, 200, 100, alpha]));
            flat(DynamicImage::ImageRgba8(image), 16)
        };
        assert_eq!(colour(255), ([0, 200, 100], false));
        assert_eq!(colour(0), ([255, 0, 100], true));
        assert_eq!(colour(51), ([204, 40, 100], true));
        let grey = GrayAlphaImage::from_pixel(1, 1, LumaA([10, 0]));
        assert_eq!(flat(DynamicImage::ImageLumaA8(grey), 16), ([255, 0, 100], true));
        let deep = ImageBuffer::from_pixel(1, 1, Rgba([0, 65535, 65535, 32768]));
        assert_eq!(flat(DynamicImage::ImageRgba16(deep), 16), ([127, 128, 178], true));
    }

    #[test]
    fn sixteen_bits_are_scaled_by_those_that_are_used() {
        let grey = |number: u16, bits| {
            let image = ImageBuffer::from_pixel(1, 1, Luma([number]));
            flat(DynamicImage::ImageLuma16(image), bits).0[0]
        };
        assert_eq!([0, 32768, 65535].map(|number| grey(number, 16)), [0, 128, 255]);
        assert_eq!([0, 2048, 4095, 9000].map(|number| grey(number, 12)), [0, 128, 255, 255]);
    }
}
