//! Single pictures as a model is to see them: of its size, and of as many channels.

use super::listing::pictures;
use super::picture::{Form, Wanted, header_of, largest_number, read_pixels};
use super::samples::{WHITE, bits_of};
use super::{BrokenSample, ImageError, ImageShape};
use rayon::prelude::*;
use std::path::{Path, PathBuf};

/// Reads pictures as a model is to see them.
///
/// ```
/// use neutreno::data::images::{ImageShape, PictureReader};
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("wide.png");
/// image::RgbImage::from_pixel(40, 10, image::Rgb([9, 200, 9])).save(&path)?;
/// let shape = ImageShape { channels: 3, height: 5, width: 5 };
/// let seen = PictureReader::new(std::slice::from_ref(&path), shape, None).read(&path)?;
/// assert_eq!((seen.size, seen.crop()), ([10, 40], [0, 14, 10, 10]));
/// assert_eq!(seen.pixels[25..50], [200; 25]);
/// assert_eq!([seen.place(0, 13), seen.place(9, 23)], [None, Some([4, 4])]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy)]
pub struct PictureReader {
    form: Form,
    channels: usize,
}

/// A picture as a model sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenPicture {
    /// What it sees, (channel, row, column).
    pub pixels: Vec<u8>,
    /// Height and width of the picture itself.
    pub size: [usize; 2],
    /// Height and width of what is seen.
    shape: [usize; 2],
    /// Those of the picture scaled, before it was cut.
    scaled: [usize; 2],
}

impl PictureReader {
    /// A reader of these files, of which those with 16 bits a channel are all scaled alike. What shows
    /// where they are transparent is white if nothing else is given.
    pub fn new(files: &[PathBuf], shape: ImageShape, ground: Option<[u8; 3]>) -> PictureReader {
        let largest = files.par_iter().filter_map(|path| largest_number(path)).max();
        let (size, bits) = ([shape.height, shape.width], bits_of(largest));
        let form = Form { wanted: Wanted::Scaled, size, bits, ground: ground.unwrap_or(WHITE) };
        PictureReader { form, channels: shape.channels }
    }

    /// A picture, scaled until it covers what the model sees, and cut on both sides where it is more.
    /// Where the model sees grey, colours become that.
    ///
    /// # Errors
    /// If it is no picture.
    pub fn read(&self, path: &Path) -> Result<SeenPicture, BrokenSample> {
        let mut pixels = vec![0; 3 * self.form.size[0] * self.form.size[1]];
        let (header, _) = read_pixels(path, &self.form, &mut pixels)?;
        if self.channels == 1 {
            pixels = grey(&pixels);
        }
        let scaled = covering(header.size, self.form.size);
        Ok(SeenPicture { pixels, size: header.size, shape: self.form.size, scaled })
    }

    /// A picture in colour and in its own size, (channel, row, column).
    ///
    /// # Errors
    /// If it is no picture.
    pub fn read_whole(&self, path: &Path) -> Result<Vec<u8>, BrokenSample> {
        let size = header_of(path)?.size;
        let mut pixels = vec![0; 3 * size[0] * size[1]];
        read_pixels(path, &Form { size, ..self.form }, &mut pixels)?;
        Ok(pixels)
    }
}

impl SeenPicture {
    /// Where the model sees a pixel of the picture, (row, column); `None` if it was cut off.
    pub fn place(&self, row: usize, column: usize) -> Option<[usize; 2]> {
        let along = |axis: usize, at: usize| {
            let cut = (self.scaled[axis] - self.shape[axis]) / 2;
            let scaled = (2 * at + 1) * self.scaled[axis] / (2 * self.size[axis]);
            scaled.checked_sub(cut).filter(|place| *place < self.shape[axis])
        };
        Some([along(0, row)?, along(1, column)?])
    }

    /// The part of the picture that is seen: its first row and column, its height and its width.
    pub fn crop(&self) -> [usize; 4] {
        let seen = |axis: usize| {
            let place = |at: &usize| {
                let at = if axis == 0 { [*at, self.size[1] / 2] } else { [self.size[0] / 2, *at] };
                self.place(at[0], at[1]).is_some()
            };
            let all: Vec<usize> = (0..self.size[axis]).filter(place).collect();
            (all.first().copied().unwrap_or(0), all.len())
        };
        let ((top, height), (left, width)) = (seen(0), seen(1));
        [top, left, height, width]
    }

    /// In words, what was made of the picture.
    pub fn describe(&self) -> String {
        let ([height, width], [seen_height, seen_width]) = (self.size, self.shape);
        if self.size == self.shape {
            return format!("{width}×{height} pixels, seen as it is");
        }
        let [top, left, rows, columns] = self.crop();
        let part = match (rows, columns) == (height, width) {
            true => "all of it".into(),
            false => {
                format!("of which {columns}×{rows} are seen, from column {left} and row {top} on")
            }
        };
        format!("{width}×{height} pixels, {part}, as {seen_width}×{seen_height}")
    }
}

/// Height and width of a picture that is scaled until it covers another size.
fn covering(size: [usize; 2], wanted: [usize; 2]) -> [usize; 2] {
    if size == wanted {
        return size;
    }
    let ratio = |axis: usize| wanted[axis] as f64 / size[axis] as f64;
    let ratio = ratio(0).max(ratio(1));
    [0, 1].map(|axis| ((size[axis] as f64 * ratio).round() as usize).max(wanted[axis]))
}

/// How light each colour is.
fn grey(pixels: &[u8]) -> Vec<u8> {
    let plane = pixels.len() / 3;
    let light = |pixel: usize| {
        let [red, green, blue] =
            [0, 1, 2].map(|channel| u32::from(pixels[channel * plane + pixel]));
        ((299 * red + 587 * green + 114 * blue + 500) / 1000) as u8
    };
    (0..plane).map(light).collect()
}

/// The pictures in a folder and in those within it, in order of name, and a line that says what was
/// found and left out.
///
/// # Errors
/// If the folder cannot be read, or there are none.
pub fn pictures_in(folder: &Path) -> Result<(Vec<PathBuf>, String), ImageError> {
    let found = pictures(folder)?;
    if found.pictures.is_empty() {
        let reason = format!(
            "holds no pictures ({}), only {}",
            super::listing::FORMATS,
            found.tally.left_out().unwrap_or("nothing that is not hidden".into())
        );
        return Err(ImageError::malformed(folder, reason));
    }
    Ok((found.pictures, found.tally.line()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{Rgb, RgbImage};

    /// Where a pixel is said to be seen, there it is: a picture whose pixels tell their place.
    #[test]
    fn places_are_where_the_pixels_went() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.png");
        for (width, height) in [(60, 20), (20, 60), (33, 47), (16, 16), (8, 4), (7, 9)] {
            // Halves of two colours, both along rows and along columns.
            let picture = RgbImage::from_fn(width, height, |x, y| {
                let half = |at, size| if 2 * at < size { 0 } else { 250 };
                Rgb([half(x, width), half(y, height), 9])
            });
            picture.save(&path).unwrap();
            let shape = ImageShape { channels: 3, height: 16, width: 16 };
            let seen = PictureReader::new(&[], shape, None).read(&path).unwrap();
            let [top, left, rows, columns] = seen.crop();
            assert!(rows.min(columns) > 0 && top + rows <= height as usize);
            let mut agree = 0;
            for row in top..top + rows {
                for column in left..left + columns {
                    let [y, x] = seen.place(row, column).unwrap();
                    let colour = |channel: usize| seen.pixels[channel * 256 + y * 16 + x];
                    let own = picture.get_pixel(column as u32, row as u32);
                    let near = |a: u8, b: u8| a.abs_diff(b) < 120;
                    agree += usize::from(near(colour(0), own[0]) && near(colour(1), own[1]));
                }
            }
            // The pixels where the halves meet are mixed.
            assert!(agree as f64 > 0.85 * (rows * columns) as f64, "{width}×{height}: {agree}");
            let square = rows.abs_diff(columns) <= 1;
            assert!(square, "{width}×{height}: {rows} rows, {columns} columns");
        }
    }

    #[test]
    fn what_is_seen_in_grey_is_as_light() {
        assert_eq!(grey(&[255, 0, 0, 255, 0, 0, 255, 0, 255]), [255, 0, 29]);
        assert_eq!(covering([10, 40], [5, 5]), [5, 20]);
    }
}
