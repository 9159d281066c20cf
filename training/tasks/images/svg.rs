//! Drawings for the report: images, squares and words as SVG.

use crate::data::images::ImageShape;
use crate::run::Picture;
use image::{DynamicImage, GrayImage, ImageFormat, RgbImage};
use std::fmt::Write;
use std::io::Cursor;

/// A drawing in the making.
pub struct Svg {
    text: String,
}

impl Svg {
    /// An empty one with a white ground.
    pub fn new(width: usize, height: usize) -> Svg {
        let text = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
             viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" font-size=\"11\">\n\
             <rect width=\"{width}\" height=\"{height}\" fill=\"#fff\"/>\n"
        );
        Svg { text }
    }

    fn push(&mut self, element: std::fmt::Arguments) {
        self.text.write_fmt(element).expect("writing into a string");
        self.text.push('\n');
    }

    /// A PNG file, its corner at a point, whose pixels stay squares.
    pub fn image(&mut self, [x, y]: [usize; 2], [width, height]: [usize; 2], png: &[u8]) {
        let address = Picture { file: "image.png".into(), bytes: png.into(), ..Picture::default() };
        let address = address.address();
        self.push(format_args!(
            "<image x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" \
             style=\"image-rendering:pixelated\" href=\"{address}\"/>"
        ));
    }

    /// A square, its corner at a point.
    pub fn square(&mut self, [x, y]: [usize; 2], side: usize, colour: &str, opacity: f64) {
        self.push(format_args!(
            "<rect x=\"{x}\" y=\"{y}\" width=\"{side}\" height=\"{side}\" fill=\"{colour}\" \
             fill-opacity=\"{opacity:.3}\"/>"
        ));
    }

    /// Around a point.
    pub fn text(&mut self, [x, y]: [usize; 2], colour: &str, text: &str) {
        let text = escape(text);
        self.push(format_args!(
            "<text x=\"{x}\" y=\"{y}\" text-anchor=\"middle\" fill=\"{colour}\">{text}</text>"
        ));
    }

    /// From a point on.
    pub fn name(&mut self, [x, y]: [usize; 2], text: &str) {
        let text = escape(text);
        self.push(format_args!("<text x=\"{x}\" y=\"{y}\" fill=\"#333\">{text}</text>"));
    }

    /// Up to a point; turned upwards from it by 90 degrees.
    pub fn label(&mut self, [x, y]: [usize; 2], degrees: usize, text: &str) {
        let (text, anchor) = (escape(text), if degrees == 0 { "end" } else { "start" });
        self.push(format_args!(
            "<text transform=\"translate({x} {y}) rotate(-{degrees})\" text-anchor=\"{anchor}\" \
             fill=\"#333\">{text}</text>"
        ));
    }

    /// The whole file.
    pub fn finish(mut self) -> Vec<u8> {
        self.text.push_str("</svg>\n");
        self.text.into_bytes()
    }
}

/// Text as XML takes it.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// An image, (channel, row, column), as a PNG file.
pub fn png(shape: ImageShape, pixels: &[u8]) -> Vec<u8> {
    let [width, height] = [shape.width as u32, shape.height as u32];
    let image = match shape.channels {
        3 => {
            let plane = shape.pixels();
            let colours = (0..plane)
                .flat_map(|pixel| [0, 1, 2].map(|channel| pixels[channel * plane + pixel]));
            let image = RgbImage::from_raw(width, height, colours.collect());
            DynamicImage::ImageRgb8(image.expect("three bytes a pixel"))
        }
        _ => {
            let grey = pixels[..shape.pixels()].to_vec();
            let image = GrayImage::from_raw(width, height, grey);
            DynamicImage::ImageLuma8(image.expect("a byte a pixel"))
        }
    };
    encode(&image)
}

fn encode(image: &DynamicImage) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, ImageFormat::Png).expect("memory takes any picture");
    bytes.into_inner()
}

/// An image of one colour a pixel, (row, column), as a PNG file.
pub fn png_of_colours(shape: ImageShape, colours: impl Iterator<Item = [u8; 3]>) -> Vec<u8> {
    let [width, height] = [shape.width as u32, shape.height as u32];
    let image = RgbImage::from_raw(width, height, colours.flatten().collect());
    encode(&DynamicImage::ImageRgb8(image.expect("three bytes a pixel")))
}
