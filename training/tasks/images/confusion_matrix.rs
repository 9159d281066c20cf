//! The picture of what was taken for what.

use super::Confusion;
use super::svg::Svg;
use crate::run::Picture;

/// A row for each true class: which classes were given, and how often.
pub fn confusion_matrix(confusion: &Confusion, classes: &[String], of: &str) -> Picture {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn squares_tell_the_percentage() {
        let mut confusion = Confusion::new(10);
        confusion.add(&[0, 0], &[0, 1]);
        let classes: Vec<String> = (0..10).map(|class| class.to_string()).collect();
        let text = String::from_utf8(confusion_matrix(&confusion, &classes, "images").bytes);
        assert_eq!(text.unwrap().matches(">50</text>").count(), 2);
    }
}
