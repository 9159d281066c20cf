//! Pictures of all kinds: the model gets what an eye sees, and nothing of what is damaged.

use super::{ReadOptions, TempDir, assert_names, class_folder, fs, read, refusal, skipping};
use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::PngEncoder;
use image::{
    DynamicImage, ExtendedColorType, ImageBuffer, ImageEncoder, ImageFormat, Luma, LumaA, Rgb,
    RgbImage, Rgba, RgbaImage,
};
use neutreno::data::images::ImageData;
use std::path::{Path, PathBuf};

/// A picture's pixels in place of one of those in `class_folder`, and what was said of it. It is
/// found by its number, since all in its class have the same colours but for the green.
fn seen(save: impl Fn(&Path), options: &ReadOptions) -> (Vec<u8>, String) {
    let folder = class_folder();
    let path = folder.path().join("dog/03.png");
    save(&path);
    let data = ImageData::read(folder.path(), options).unwrap();
    assert!(data.skipped.is_empty(), "{:?}", data.skipped);
    let plain =
        |image: &[u8]| image[..8] == [10; 8] || image[..8] == [200; 8] && image[16..] == [0; 8];
    let sets = data.splits.iter();
    let images = sets.flat_map(|set| (0..set.len()).map(|index| set.image(index).to_vec()));
    let mut odd: Vec<Vec<u8>> = images.filter(|image| !plain(image)).collect();
    assert_eq!(odd.len(), 1);
    (odd.remove(0), data.notices.join("\n"))
}

fn usual(save: impl Fn(&Path)) -> (Vec<u8>, String) {
    seen(save, &ReadOptions::default())
}

/// The first pixel.
fn first(image: &[u8]) -> [u8; 3] {
    [image[0], image[8], image[16]]
}

#[test]
fn what_is_transparent_is_laid_on_a_ground() {
    let half = |path: &Path| {
        let colour = |x, _| if x == 0 { Rgba([0, 0, 0, 0]) } else { Rgba([1, 2, 3, 255]) };
        RgbaImage::from_fn(4, 2, colour).save_with_format(path, ImageFormat::Png).unwrap();
    };
    let (image, said) = usual(half);
    assert_eq!((first(&image), image[1]), ([255; 3], 1));
    assert_names(&said, &["transparent in part: #ffffff shows (--ground): 1"]);
    let ground = ReadOptions { ground: Some([9, 8, 7]), ..ReadOptions::default() };
    assert_eq!(first(&seen(half, &ground).0), [9, 8, 7]);

    // Grey, and a palette.
    let (image, _) = usual(|path| {
        let image = ImageBuffer::from_pixel(4, 2, LumaA([0_u8, 51]));
        DynamicImage::ImageLumaA8(image).save_with_format(path, ImageFormat::Png).unwrap();
    });
    assert_eq!(first(&image), [204; 3]);
    let (image, _) = usual(|path| {
        let mut encoder = png::Encoder::new(fs::File::create(path).unwrap(), 4, 2);
        encoder.set_color(png::ColorType::Indexed);
        encoder.set_depth(png::BitDepth::Eight);
        encoder.set_palette(&[10, 20, 30, 40, 50, 60]);
        encoder.set_trns(&[0][..]);
        encoder.write_header().unwrap().write_image_data(&[0, 1, 1, 1, 1, 1, 1, 1]).unwrap();
    });
    assert_eq!((first(&image), [image[1], image[9], image[17]]), ([255; 3], [40, 50, 60]));

    // What is opaque is not converted.
    let (_, said) = usual(|path| {
        let image = RgbaImage::from_pixel(4, 2, Rgba([7, 7, 7, 255]));
        image.save_with_format(path, ImageFormat::Png).unwrap();
    });
    assert!(!said.contains("transparent"), "{said}");
}

/// Of twelve bits, as cameras and microscopes have, the brightest is white.
#[test]
fn sixteen_bits_are_scaled_by_their_range() {
    let deep = |largest: u16| {
        usual(move |path| {
            let image = ImageBuffer::from_fn(4, 2, |x, _| Luma([if x == 0 { largest } else { 0 }]));
            DynamicImage::ImageLuma16(image).save_with_format(path, ImageFormat::Png).unwrap();
        })
    };
    let (image, said) = deep(4095);
    assert_eq!((first(&image), image[1]), ([255; 3], 0));
    assert_names(&said, &["16 bits a channel, of which 12 are used: 4095 is white: 1"]);
    assert_eq!(first(&deep(u16::MAX).0), [255; 3]);
}

/// EXIF data that say only how a picture is to be turned.
fn orientation(value: u8) -> Vec<u8> {
    let entry = [0x01, 0x12, 0, 3, 0, 0, 0, 1, 0, value, 0, 0];
    [b"MM\0*\0\0\0\x08\0\x01", &entry[..], &[0; 4]].concat()
}

/// A picture of 4 × 2 pixels that is stored turned by a quarter.
fn turned(path: &Path) {
    let stored = RgbImage::from_fn(2, 4, |_, y| Rgb([if y == 3 { 250 } else { 0 }, 0, 99]));
    let mut encoder = PngEncoder::new(fs::File::create(path).unwrap());
    encoder.set_exif_metadata(orientation(6)).unwrap();
    encoder.write_image(&stored, 2, 4, ExtendedColorType::Rgb8).unwrap();
}

#[test]
fn pictures_are_turned_as_their_exif_data_say() {
    let (image, said) = usual(turned);
    assert_eq!(image[..8], [250, 0, 0, 0, 250, 0, 0, 0]);
    assert_names(&said, &["turned as their EXIF data say: 1"]);

    // A label image that was drawn on the picture as it is stored does not fit it.
    let folder = super::segmentation_folder();
    turned(&folder.path().join("train/1.png"));
    assert_eq!(read(folder.path()).splits.train.len(), 4);
    let indices = [0; 8];
    let path = folder.path().join("trainannot/1.png");
    super::png(&path, [2, 4], png::ColorType::Grayscale, png::BitDepth::Eight, &indices);
    assert_names(&refusal(folder.path()), &["2×4 pixels, but its picture has 4×2", "EXIF"]);
}

/// The smallest JPEG with four inks: a block of one colour each, with Adobe's marker or without.
fn inks_as_jpeg(inks: [u8; 4], adobe: bool) -> Vec<u8> {
    let segment = |marker: u8, content: &[u8]| {
        let length = (content.len() as u16 + 2).to_be_bytes();
        [&[0xff, marker][..], &length, content].concat()
    };
    // A difference is told by its number of bits, for which each code has four bits, and the bits.
    let mut counts = [0; 16];
    counts[3] = 9;
    let dc = [&[0x00][..], &counts, &[0, 1, 2, 3, 4, 5, 6, 7, 8]].concat();
    // The only other code is that of the end of a block: 0.
    let mut counts = [0; 16];
    counts[0] = 1;
    let ac = [&[0x10][..], &counts, &[0]].concat();
    let mut bits = String::new();
    for ink in inks {
        let difference = i32::from(ink) - 128;
        let size = 32 - difference.unsigned_abs().leading_zeros();
        bits += &format!("{size:04b}");
        let low = if difference < 0 { difference + (1 << size) - 1 } else { difference };
        if size > 0 {
            bits += &format!("{low:0width$b}", width = size as usize);
        }
        bits += "0";
    }
    bits += &"1".repeat(bits.len().next_multiple_of(8) - bits.len());
    let pixels = (0..bits.len()).step_by(8).flat_map(|place| {
        let byte = u8::from_str_radix(&bits[place..place + 8], 2).unwrap();
        if byte == 0xff { vec![0xff, 0] } else { vec![byte] }
    });
    let adobe = if adobe { segment(0xee, b"Adobe\0\x64\0\0\0\0\0") } else { Vec::new() };
    let components: Vec<u8> = (1..=4).flat_map(|number| [number, 0x11, 0]).collect();
    let scan: Vec<u8> = (1..=4).flat_map(|number| [number, 0]).collect();
    [
        vec![0xff, 0xd8],
        adobe,
        segment(0xdb, &[&[0][..], &[8; 64]].concat()),
        segment(0xc0, &[&[8, 0, 2, 0, 4, 4][..], &components].concat()),
        segment(0xc4, &dc),
        segment(0xc4, &ac),
        segment(0xda, &[&[4][..], &scan, &[0, 63, 0]].concat()),
        pixels.collect(),
        vec![0xff, 0xd9],
    ]
    .concat()
}

#[test]
fn inks_become_the_colours_that_they_print() {
    // Adobe stores how much ink there is not.
    let read = |inks, adobe| {
        let (image, said) = usual(|path| fs::write(path, inks_as_jpeg(inks, adobe)).unwrap());
        assert_names(&said, &["CMYK", ": 1"]);
        first(&image)
    };
    for (colour, expected) in [
        (read([255, 0, 127, 255], true), [255, 0, 127]),
        (read([0, 255, 128, 0], false), [255, 0, 127]),
        (read([255, 255, 255, 51], true), [51, 51, 51]),
    ] {
        let close = |(a, b): (&u8, u8)| a.abs_diff(b) <= 1;
        assert!(colour.iter().zip(expected).all(close), "{colour:?} is not {expected:?}");
    }
}

/// WebP and BMP, by their content, whatever the name says.
#[test]
fn other_formats_are_read() {
    for format in [ImageFormat::WebP, ImageFormat::Bmp] {
        let (image, _) = usual(|path| {
            let image = RgbImage::from_pixel(4, 2, Rgb([1, 2, 3]));
            image.save_with_format(path, format).unwrap();
        });
        assert_eq!(first(&image), [1, 2, 3]);
    }
    let folder = class_folder();
    let from = folder.path().join("dog/03.png");
    fs::rename(&from, from.with_extension("webp")).unwrap();
    assert_names(&read(folder.path()).notices.join("\n"), &["found 23 .png, 1 .webp"]);
}

/// A photograph-like JPEG: noise, so that no part is small.
fn jpeg(folder: &TempDir) -> (PathBuf, Vec<u8>) {
    let path = folder.path().join("dog/03.png");
    let noise = |x: u32, y: u32| ((x * 7919 + y * 104_729) ^ (x * y * 31)) as u8;
    let image = RgbImage::from_fn(64, 64, |x, y| Rgb([noise(x, y), noise(y, x), noise(x + 1, y)]));
    let mut bytes = Vec::new();
    JpegEncoder::new_with_quality(&mut bytes, 90).encode_image(&image).unwrap();
    (path, bytes)
}

#[test]
fn damaged_jpegs_stop_or_are_skipped() {
    let folder = class_folder();
    let (path, whole) = jpeg(&folder);
    let options = ReadOptions { size: Some([8, 8]), ..skipping() };
    let skipped = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        ImageData::read(folder.path(), &options).unwrap().skipped
    };
    assert_eq!(skipped(&whole), []);
    for part in [0.3, 0.5, 0.9] {
        let cut = &whole[..(whole.len() as f64 * part) as usize];
        assert_names(&skipped(cut)[0].reason, &["cut short"]);
        let rest = &whole[cut.len()..];
        // What stands for nothing in the middle of pixels.
        assert_names(&skipped(&[cut, &[0xff, 2], rest].concat())[0].reason, &["damaged picture"]);
    }
    assert_names(&skipped(&whole[..whole.len() - 2])[0].reason, &["cut short"]);
    fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    let stopping = ReadOptions { size: Some([8, 8]), ..ReadOptions::default() };
    let said = ImageData::read(folder.path(), &stopping).unwrap_err().to_string();
    assert_names(&said, &["dog/03.png", "cut short", "--skip-broken"]);
}
