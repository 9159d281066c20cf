//! A picture of images that were taken for something else.

use crate::data::images::ImageData;
use crate::run::Picture;
use crate::tasks::images::svg::{Svg, png};

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
pub(super) fn mistakes(data: &ImageData, mistakes: &[Mistake]) -> Picture {
    const COLUMNS: usize = 8;
    const ROWS: usize = 3;
    const CELL: [usize; 2] = [104, 136];
    let mut svg = Svg::new(COLUMNS * CELL[0], ROWS * CELL[1]);
    for (cell, mistake) in mistakes.iter().take(COLUMNS * ROWS).enumerate() {
        let [x, y] = [cell % COLUMNS * CELL[0] + 4, cell / COLUMNS * CELL[1] + 4];
        let pixels = data.splits.validation.image(mistake.image);
        svg.image([x, y], [96, 96], &png(data.shape, pixels));
        let percent = format!("{:.0} %", 100.0 * mistake.probability);
        let name = |class: u32| &data.classes[class as usize];
        let middle = x + 48;
        svg.text([middle, y + 110], "#333", &format!("{} {percent}", name(mistake.given)));
        svg.text([middle, y + 124], "#888", &format!("is {}", name(mistake.label)));
    }
    Picture {
        file: "mistakes.svg".into(),
        title: "Mistakes".into(),
        caption: "Validation images that the model takes for something else, those first of which \
                  it is surest: its answer with its probability, and below what is right."
            .into(),
        bytes: svg.finish(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Splits;
    use crate::data::images::Task;

    #[test]
    fn it_holds_images_and_escaped_names() {
        let lengths = Splits { train: 4, validation: 4, test: 4 };
        let mut data = ImageData::generated_of(Task::Classification, lengths);
        data.classes[2] = "<b> & c".into();
        let mistake = Mistake { image: 1, label: 2, given: 3, probability: 0.9 };
        let text = String::from_utf8(mistakes(&data, &[mistake]).bytes).unwrap();
        assert!(
            text.contains("is &lt;b&gt; &amp; c") && text.contains("data:image/png;base64,iVBOR")
        );
    }
}
