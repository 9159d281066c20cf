//! A label image: the class indices that its pixels stand for.

use super::BrokenSample;
use super::picture::{Header, Wanted, fit, product, unreadable};
use image::imageops::FilterType;
use image::{DynamicImage, GrayImage};
use png::{BitDepth, ColorType, Transformations};
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

/// The class indices of a label image, (row, column): its grey values or palette indices. It must
/// have the size that its picture has.
pub(super) fn read_indices(
    path: &Path,
    wanted: Wanted,
    picture: Header,
    target: [usize; 2],
) -> Result<Vec<u8>, BrokenSample> {
    let damaged = |error: png::DecodingError| {
        let reason = format!("not a label image, which is a PNG, or damaged: {error}");
        BrokenSample::new(path, reason)
    };
    let file = File::open(path).map_err(|error| unreadable(path, &error))?;
    let mut decoder = png::Decoder::new(BufReader::new(file));
    decoder.set_transformations(Transformations::IDENTITY);
    let mut reader = decoder.read_info().map_err(damaged)?;
    let header = reader.info();
    let found = [header.height as usize, header.width as usize];
    if found != picture.size {
        return Err(BrokenSample::new(path, of_another_size(found, picture)));
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

fn of_another_size(found: [usize; 2], picture: Header) -> String {
    let sizes = format!(
        "{} pixels, but its picture has {}: they must be the same",
        product(found),
        product(picture.size)
    );
    if found == picture.stored {
        return format!(
            "{sizes}; the picture is stored with {} and turned as its EXIF data say, so turn the \
             label image too, or take the orientation out of the picture",
            product(picture.stored)
        );
    }
    sizes
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
