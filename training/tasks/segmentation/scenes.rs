//! A picture of scenes with what the model sees.

use crate::data::images::{ImageData, ImageShape, VOID};
use crate::run::Picture;
use crate::tasks::images::class_colour as colour;
use crate::tasks::images::svg::{Svg, png, png_of_colours};

/// An image with the class that the model gives to each of its pixels.
pub(super) struct Scene {
    /// Its number in the validation set.
    pub image: usize,
    /// (row, column).
    pub given: Vec<u32>,
}

/// Image, truth and what the model sees, side by side, and what the colours mean.
pub(super) fn scenes(data: &ImageData, scenes: &[Scene]) -> Picture {
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
        let of_label = |label: &u16| if *label == VOID { BLACK } else { colour((*label).into()) };
        let images = [
            png(data.shape, set.image(scene.image)),
            png_of_colours(data.shape, set.labels(scene.image).iter().map(of_label)),
            png_of_colours(data.shape, scene.given.iter().map(|class| colour(*class as usize))),
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
    Picture {
        file: "scenes.svg".into(),
        title: "Scenes".into(),
        caption: "Validation images, what their pixels are, and what the model says. Black pixels \
                  of the truth are not scored."
            .into(),
        bytes: svg.finish(),
    }
}

/// What is not scored.
const BLACK: [u8; 3] = [0; 3];
