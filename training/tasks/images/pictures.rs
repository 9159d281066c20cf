//! Pictures for the report: what was mistaken for what, and scenes with what the model sees.

use super::Confusion;
use crate::data::images::{ImageData, ImageShape, VOID};
use crate::error::Error;
use crate::run::Picture;
use image::{DynamicImage, GrayImage, ImageFormat, RgbImage};
use std::fmt::Write;
use std::io::Cursor;

/// An image that was taken for something else.
pub(super) struct Mistake {
    /// Its number in the validation set.
    pub image: usize,
    /// What it is.
    pub label: u32,
    /// What the model says.
    pub given: u32,
    /// How sure it is of that.
    pub probability: f32,
}

/// A grid of the first mistakes.
pub(super) fn mistakes(data: &ImageData, mistakes: &[Mistake]) -> Result<Picture, Error> {
    const COLUMNS: usize = 8;
    const ROWS: usize = 3;
    const CELL: [usize; 2] = [104, 136];
    let mut svg = Svg::new(COLUMNS * CELL[0], ROWS * CELL[1]);
    for (place, mistake) in mistakes.iter().take(COLUMNS * ROWS).enumerate() {
        let [x, y] = [place % COLUMNS * CELL[0] + 4, place / COLUMNS * CELL[1] + 4];
        let pixels = data.splits.validation.image(mistake.image);
        svg.image([x, y], [96, 96], &png(data.shape, pixels)?);
        let percent = format!("{:.0} %", 100.0 * mistake.probability);
        let name = |class: u32| &data.classes[class as usize];
        let middle = x + 48;
        svg.text([middle, y + 110], "#333", &format!("{} {percent}", name(mistake.given)));
        svg.text([middle, y + 124], "#888", &format!("is {}", name(mistake.label)));
    }
    Ok(Picture {
        file: "mistakes.svg".into(),
        title: "Mistakes".into(),
        caption: "Validation images that the model takes for something else, those first of which \
                  it is surest: its answer with its probability, and below what is right."
            .into(),
        bytes: svg.finish(),
    })
}

/// A row for each true class: which classes were given, and how often.
pub(super) fn confusion_matrix(confusion: &Confusion, classes: &[String], of: &str) -> Picture {
    const MARGIN: usize = 110;
    let count = classes.len();
    let cell = (520 / count.max(1)).clamp(5, 48);
    let mut svg = Svg::new(MARGIN + count * cell + 4, MARGIN + count * cell + 4);
    for (label, name) in classes.iter().enumerate() {
        let [x, y] = [MARGIN, MARGIN + label * cell];
        if cell >= 10 {
            svg.label([x - 6, y + cell / 2 + 4], 0, name);
            svg.label([MARGIN + label * cell + cell / 2 + 4, MARGIN - 6], 90, name);
        }
        let total = confusion.labels(label).max(1) as f64;
        for given in 0..count {
            let share = confusion.count(label, given) as f64 / total;
            let [x, y] = [MARGIN + given * cell, y];
            let colour = if label == given { "#2a6fbb" } else { "#c4442a" };
            svg.square([x, y], cell - 1, colour, share.sqrt());
            if cell >= 28 && share >= 0.005 {
                let ink = if share > 0.4 { "#fff" } else { "#333" };
                let text = format!("{:.0}", 100.0 * share);
                svg.text([x + cell / 2, y + cell / 2 + 4], ink, &text);
            }
        }
    }
    Picture {
        file: "confusion.svg".into(),
        title: "Confusion matrix".into(),
        caption: format!(
            "Of the validation {of} of a class (row), the percentage that the model gives to each \
             class (column). Blue is right, red is wrong."
        ),
        bytes: svg.finish(),
    }
}

/// An image with the class that the model gives to each of its pixels.
pub(super) struct Scene {
    /// Its number in the validation set.
    pub image: usize,
    /// (row, column).
    pub given: Vec<u32>,
}

/// Image, truth and what the model sees, side by side, and what the colours mean.
pub(super) fn scenes(data: &ImageData, scenes: &[Scene]) -> Result<Picture, Error> {
    const WIDTH: usize = 240;
    let ImageShape { height, width, .. } = data.shape;
    let size = [WIDTH, height * WIDTH / width];
    let per_row = 4;
    let legend = data.classes.len().div_ceil(per_row) * 20;
    let mut svg = Svg::new(3 * (WIDTH + 8), 24 + scenes.len() * (size[1] + 8) + legend + 8);
    for (column, title) in ["image", "truth", "model"].into_iter().enumerate() {
        svg.text([column * (WIDTH + 8) + WIDTH / 2, 16], "#333", title);
    }
    for (row, scene) in scenes.iter().enumerate() {
        let set = &data.splits.validation;
        let truth = set.labels(scene.image);
        let truth: Vec<Option<usize>> =
            truth.iter().map(|label| (*label != VOID).then_some(usize::from(*label))).collect();
        let given: Vec<Option<usize>> =
            scene.given.iter().map(|class| Some(*class as usize)).collect();
        let images = [
            png(data.shape, set.image(scene.image))?,
            png_of_classes(data.shape, &truth)?,
            png_of_classes(data.shape, &given)?,
        ];
        for (column, image) in images.iter().enumerate() {
            svg.image([column * (WIDTH + 8), 24 + row * (size[1] + 8)], size, image);
        }
    }
    let top = 24 + scenes.len() * (size[1] + 8) + 8;
    for (class, name) in data.classes.iter().enumerate() {
        let [x, y] = [class % per_row * 186, top + class / per_row * 20];
        let [red, green, blue] = colour(class);
        svg.square([x, y], 14, &format!("rgb({red},{green},{blue})"), 1.0);
        svg.name([x + 20, y + 12], name);
    }
    Ok(Picture {
        file: "scenes.svg".into(),
        title: "Scenes".into(),
        caption: "Validation images, what their pixels are, and what the model says. Black pixels \
                  of the truth are not scored."
            .into(),
        bytes: svg.finish(),
    })
}

/// Colours that are easy to tell apart: hues a golden section apart, light and dark in turn.
fn colour(class: usize) -> [u8; 3] {
    let hue = (class as f64 * 0.618_034 + 0.55).fract() * 6.0;
    let value = [0.95, 0.7, 0.85][class % 3];
    let channel = |shift: f64| {
        let distance = ((hue + shift) % 6.0 - 3.0).abs() - 1.0;
        (255.0 * value * (0.25 + 0.75 * distance.clamp(0.0, 1.0))) as u8
    };
    [channel(0.0), channel(4.0), channel(2.0)]
}

fn png_of_classes(shape: ImageShape, classes: &[Option<usize>]) -> Result<Vec<u8>, Error> {
    let pixel = |class: &Option<usize>| class.map_or([0; 3], colour);
    let pixels: Vec<u8> = classes.iter().flat_map(pixel).collect();
    let [width, height] = [shape.width as u32, shape.height as u32];
    let image = RgbImage::from_raw(width, height, pixels).expect("three bytes a pixel");
    encode(&DynamicImage::ImageRgb8(image))
}

/// A picture of (channel, row, column).
fn png(shape: ImageShape, pixels: &[u8]) -> Result<Vec<u8>, Error> {
    let [width, height] = [shape.width as u32, shape.height as u32];
    let image = match shape.channels {
        3 => {
            let plane = shape.pixels();
            let colours = (0..plane)
                .flat_map(|place| [0, 1, 2].map(|channel| pixels[channel * plane + place]));
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

fn encode(image: &DynamicImage) -> Result<Vec<u8>, Error> {
    let mut bytes = Cursor::new(Vec::new());
    let written = image.write_to(&mut bytes, ImageFormat::Png);
    written.map_err(|error| Error::Images(Box::new(error)))?;
    Ok(bytes.into_inner())
}

/// Text as XML takes it.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// A drawing in the making.
struct Svg {
    text: String,
}

impl Svg {
    fn new(width: usize, height: usize) -> Svg {
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

    fn image(&mut self, [x, y]: [usize; 2], [width, height]: [usize; 2], png: &[u8]) {
        let address = Picture { file: "image.png".into(), bytes: png.into(), ..Picture::default() };
        let address = address.address();
        self.push(format_args!(
            "<image x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" \
             style=\"image-rendering:pixelated\" href=\"{address}\"/>"
        ));
    }

    fn square(&mut self, [x, y]: [usize; 2], side: usize, colour: &str, opacity: f64) {
        self.push(format_args!(
            "<rect x=\"{x}\" y=\"{y}\" width=\"{side}\" height=\"{side}\" fill=\"{colour}\" \
             fill-opacity=\"{opacity:.3}\"/>"
        ));
    }

    /// Around a point.
    fn text(&mut self, [x, y]: [usize; 2], colour: &str, text: &str) {
        let text = escape(text);
        self.push(format_args!(
            "<text x=\"{x}\" y=\"{y}\" text-anchor=\"middle\" fill=\"{colour}\">{text}</text>"
        ));
    }

    /// From a point on.
    fn name(&mut self, [x, y]: [usize; 2], text: &str) {
        let text = escape(text);
        self.push(format_args!("<text x=\"{x}\" y=\"{y}\" fill=\"#333\">{text}</text>"));
    }

    /// Up to a point; turned upwards from it by 90 degrees.
    fn label(&mut self, [x, y]: [usize; 2], degrees: usize, text: &str) {
        let (text, anchor) = (escape(text), if degrees == 0 { "end" } else { "start" });
        self.push(format_args!(
            "<text transform=\"translate({x} {y}) rotate(-{degrees})\" text-anchor=\"{anchor}\" \
             fill=\"#333\">{text}</text>"
        ));
    }

    fn finish(mut self) -> Vec<u8> {
        self.text.push_str("</svg>\n");
        self.text.into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::images::Task;

    #[test]
    fn classes_have_colours_of_their_own() {
        for class in 0..24 {
            for other in 0..class {
                let pairs = colour(class).into_iter().zip(colour(other));
                let distance: u32 = pairs.map(|(a, b)| u32::from(a.abs_diff(b))).sum();
                assert!(distance > 12, "{class} and {other}");
            }
        }
    }

    #[test]
    fn pictures_hold_images_and_escaped_names() {
        use crate::data::corpus::Splits;
        let lengths = Splits { train: 4, validation: 4, test: 4 };
        let mut data = ImageData::generated_of(Task::Classification, lengths);
        data.classes[2] = "<b> & c".into();
        let mistake = Mistake { image: 1, label: 2, given: 3, probability: 0.9 };
        let text = String::from_utf8(mistakes(&data, &[mistake]).unwrap().bytes).unwrap();
        assert!(
            text.contains("is &lt;b&gt; &amp; c") && text.contains("data:image/png;base64,iVBOR")
        );
        let mut confusion = Confusion::new(10);
        confusion.add(&[0, 0], &[0, 1]);
        let text = confusion_matrix(&confusion, &data.classes, "images");
        assert_eq!(String::from_utf8(text.bytes).unwrap().matches(">50</text>").count(), 2);
    }
}
