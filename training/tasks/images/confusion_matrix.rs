//! The picture of what was taken for what.

use super::Confusion;
use super::svg::Svg;
use crate::run::Picture;

/// The most classes whose matrix is drawn: its squares grow with the square of their number.
const MOST: usize = 50;

/// A row for each true class: which classes were given, and how often. Of many classes, the worst.
pub fn confusion_matrix(confusion: &Confusion, classes: &[String], of: &str) -> Picture {
    const MARGIN: usize = 110;
    let count = classes.len();
    if count > MOST {
        return worst(confusion, classes, of);
    }
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
            if share == 0.0 {
                continue;
            }
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

/// The classes of which the fewest are right, each with what they were taken for most often.
fn worst(confusion: &Confusion, classes: &[String], of: &str) -> Picture {
    const MISTAKES: usize = 3;
    const ROW: usize = 18;
    let share = |label: usize, given: usize| {
        confusion.count(label, given) as f64 / confusion.labels(label).max(1) as f64
    };
    let mut labels: Vec<usize> =
        (0..classes.len()).filter(|label| confusion.labels(*label) > 0).collect();
    labels.sort_by(|a, b| share(*a, *a).total_cmp(&share(*b, *b)));
    labels.truncate(MOST);
    let mut svg = Svg::new(900, 24 + labels.len() * ROW);
    for (row, label) in labels.iter().enumerate() {
        let y = 20 + row * ROW;
        let mut given: Vec<usize> = (0..classes.len())
            .filter(|given| given != label && confusion.count(*label, *given) > 0)
            .collect();
        given.sort_by_key(|given| std::cmp::Reverse(confusion.count(*label, *given)));
        let percent = |given: usize| format!("{:.0} %", 100.0 * share(*label, given));
        let taken = given.iter().take(MISTAKES).map(|g| format!("{} {}", classes[*g], percent(*g)));
        svg.label([240, y], 0, &classes[*label]);
        svg.square([250, y - 11], 13, "#2a6fbb", share(*label, *label).sqrt());
        svg.name([270, y], &format!("{} right", percent(*label)));
        svg.name([350, y], &taken.collect::<Vec<_>>().join(", "));
    }
    Picture {
        file: "confusion.svg".into(),
        title: "Worst classes".into(),
        caption: format!(
            "Of {} classes, the {} of whose validation {of} the fewest are right, and what they are \
             taken for most often.",
            classes.len(),
            labels.len()
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
    #[test]
    fn of_many_classes_the_worst_are_shown() {
        let classes: Vec<String> = (0..400).map(|class| format!("class{class}")).collect();
        let mut confusion = Confusion::new(400);
        (0..400).for_each(|class| confusion.add(&[class; 3], &[class; 3]));
        confusion.add(&[7, 7, 7], &[8, 8, 9]);
        let picture = confusion_matrix(&confusion, &classes, "images");
        assert!(picture.bytes.len() < 50_000, "{}", picture.bytes.len());
        let text = String::from_utf8(picture.bytes).unwrap();
        let first = text.find("class7").unwrap();
        assert!(text.contains("50 % right") && text.contains("class8 33 %, class9 17 %"));
        assert!(text.find("class0").is_none_or(|other| first < other), "the worst comes first");
        assert_eq!(text.matches(" right").count(), MOST);
    }
}
