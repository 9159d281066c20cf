//! One picture: its size, its colours, or the class indices that its pixels stand for.

use super::BrokenSample;
use image::imageops::FilterType;
use image::{DynamicImage, GrayImage, ImageDecoder, ImageReader};
use png::{BitDepth, ColorType, Transformations};
use std::fs::{self, File};
use std::io::{BufReader, ErrorKind};
use std::path::Path;

/// The most bytes of pixels that a byte of a picture file can stand for: DEFLATE makes at most
/// 1,032 bytes of one, and each may be eight pixels of one bit.
const MOST_FOR_A_BYTE: u64 = 8 * 1032;

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

/// Height and width, from the file's header.
pub(super) fn size_of(path: &Path) -> Result<[usize; 2], BrokenSample> {
    let (width, height) = decoder(path)?.dimensions();
    Ok([height as usize, width as usize])
}

/// Reads a picture in colour into `pixels`, (channel, row, column), and returns the size that it
/// has in the file.
pub(super) fn read_pixels(
    path: &Path,
    wanted: Wanted,
    target: [usize; 2],
    pixels: &mut [u8],
) -> Result<[usize; 2], BrokenSample> {
    let decoder = decoder(path)?;
    let (width, height) = decoder.dimensions();
    let found = [height as usize, width as usize];
    if wanted == Wanted::Exactly && found != target {
        let reason = format!(
            "{} pixels, where most are {}; --image-size scales all to one size",
            product(found),
            product(target)
        );
        return Err(BrokenSample::new(path, reason));
    }
    let image = DynamicImage::from_decoder(decoder)
        .map_err(|error| BrokenSample::new(path, format!("damaged picture: {error}")))?;
    let image = fit(image, target, FilterType::Triangle).into_rgb8();
    let plane = target[0] * target[1];
    for (pixel, colour) in image.pixels().enumerate() {
        for (channel, value) in colour.0.into_iter().enumerate() {
            pixels[channel * plane + pixel] = value;
        }
    }
    Ok(found)
}

/// The class indices of a label image, (row, column): its grey values or palette indices. It must
/// have the size `picture` that its picture has in the file.
pub(super) fn read_indices(
    path: &Path,
    wanted: Wanted,
    picture: [usize; 2],
    target: [usize; 2],
) -> Result<Vec<u8>, BrokenSample> {
    let damaged =
        |error: png::DecodingError| BrokenSample::new(path, format!("damaged PNG: {error}"));
    let file = File::open(path).map_err(|error| unreadable(path, error))?;
    let mut decoder = png::Decoder::new(BufReader::new(file));
    decoder.set_transformations(Transformations::IDENTITY);
    let mut reader = decoder.read_info().map_err(damaged)?;
    let header = reader.info();
    let found = [header.height as usize, header.width as usize];
    if found != picture {
        let reason = format!(
            "{} pixels, but its picture has {}: they must be the same",
            product(found),
            product(picture)
        );
        return Err(BrokenSample::new(path, reason));
    }
    let (depth, colour) = (header.bit_depth, header.color_type);
    if !matches!(colour, ColorType::Grayscale | ColorType::Indexed) || depth == BitDepth::Sixteen {
        let reason = format!(
            "a label image must have class indices, so 8-bit grey or a palette; this one is \
             {colour:?} with {} bits",
            depth as u8
        );
        return Err(BrokenSample::new(path, reason));
    }
    // Its size is the picture's, which was decoded within limits.
    let mut rows = vec![0; reader.output_buffer_size().unwrap_or_default()];
    reader.next_frame(&mut rows).map_err(damaged)?;
    let line = rows.len() / found[0].max(1);
    let indices = rows.chunks(line.max(1)).flat_map(|row| unpack(row, depth as u8, found[1]));
    let indices: Vec<u8> = indices.collect();
    if wanted == Wanted::Exactly || found == target {
        return Ok(indices);
    }
    let image = GrayImage::from_raw(found[1] as u32, found[0] as u32, indices);
    let image = image.expect("an index for every pixel");
    Ok(fit(DynamicImage::ImageLuma8(image), target, FilterType::Nearest).into_luma8().into_raw())
}

/// A row's numbers of 1, 2, 4 or 8 bits, the first in the highest bits of a byte.
fn unpack(row: &[u8], bits: u8, width: usize) -> impl Iterator<Item = u8> {
    let per_byte = 8 / usize::from(bits);
    let mask = u8::MAX >> (8 - bits);
    (0..width).map(move |column| {
        let shift = 8 - usize::from(bits) * (column % per_byte + 1);
        row[column / per_byte] >> shift & mask
    })
}

fn fit(image: DynamicImage, [height, width]: [usize; 2], filter: FilterType) -> DynamicImage {
    let (height, width) = (height as u32, width as u32);
    match (image.height(), image.width()) == (height, width) {
        true => image,
        false => image.resize_to_fill(width, height, filter),
    }
}

fn decoder(path: &Path) -> Result<impl ImageDecoder, BrokenSample> {
    let reader = ImageReader::open(path).map_err(|error| unreadable(path, error))?;
    // By its content, whatever its name says.
    let reader = reader.with_guessed_format().map_err(|error| unreadable(path, error))?;
    let decoder = reader
        .into_decoder()
        .map_err(|error| BrokenSample::new(path, format!("not a PNG or JPEG picture: {error}")))?;
    let length = fs::metadata(path).map_err(|error| unreadable(path, error))?.len();
    if decoder.total_bytes() > MOST_BYTES.min(length.saturating_mul(MOST_FOR_A_BYTE)) {
        let (width, height) = decoder.dimensions();
        let size = product([height as usize, width as usize]);
        let reason =
            format!("{length} bytes can't hold the {size} pixels that its header promises");
        return Err(BrokenSample::new(path, reason));
    }
    Ok(decoder)
}

fn unreadable(path: &Path, error: std::io::Error) -> BrokenSample {
    let reason = match error.kind() {
        ErrorKind::NotFound => "missing".into(),
        _ => format!("cannot be read: {error}; check its permissions"),
    };
    BrokenSample::new(path, reason)
}

fn product([height, width]: [usize; 2]) -> String {
    format!("{width}×{height}")
}
