//! Whether images may be mirrored, so that left becomes right.

use super::{ImageData, Task};

/// What the names of data sets have in them whose classes differ by side: digits, letters, signs.
const SIDED: [&str; 9] =
    ["mnist", "digit", "letter", "kuzushiji", "svhn", "usps", "omniglot", "gtsrb", "sign"];

/// Words in the names of classes that differ by side.
const SIDES: [&str; 4] = ["left", "right", "clockwise", "mirrored"];

impl ImageData {
    /// Why these images must not be mirrored, as far as names tell: those of the data set, and those
    /// of its classes; `None` if nothing speaks against it.
    ///
    /// ```
    /// use neutreno::data::Splits;
    /// use neutreno::data::images::{ImageData, Task};
    /// let lengths = Splits { train: 20, validation: 10, test: 10 };
    /// let mut data = ImageData::generated_of(Task::Classification, lengths);
    /// assert_eq!(data.sided(), None);
    /// data.name = "MNIST".into();
    /// assert_eq!(data.sided().unwrap(), "its name is MNIST");
    /// ```
    pub fn sided(&self) -> Option<String> {
        let name = self.name.to_lowercase();
        let is_fashion = name.contains("fashion") || self.classes.iter().any(|c| c == "ankle boot");
        if !is_fashion && SIDED.iter().any(|sided| name.contains(sided)) {
            return Some(format!("its name is {}", self.name));
        }
        let words = |class: &str| -> Vec<String> {
            class.to_lowercase().split(|c: char| !c.is_alphanumeric()).map(String::from).collect()
        };
        let is_sided =
            |class: &&String| words(class).iter().any(|word| SIDES.contains(&word.as_str()));
        if let Some(class) = self.classes.iter().find(is_sided) {
            return Some(format!("a class is called {class}"));
        }
        // Classes of pixels without a name are numbers.
        let is_character =
            |class: &String| class.chars().count() == 1 || class.parse::<u32>().is_ok();
        let characters = self.classes.iter().all(is_character);
        (characters && self.task == Task::Classification)
            .then(|| "its classes are digits, letters or numbers".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Splits;

    #[test]
    fn names_tell_what_has_sides() {
        let lengths = Splits { train: 2, validation: 2, test: 2 };
        let sided = |task, name: &str, classes: &[&str]| {
            let mut data = ImageData::generated_of(task, lengths);
            data.name = name.into();
            data.classes = classes.iter().map(|class| class.to_string()).collect();
            data.sided().is_some()
        };
        let [images, pixels] = [Task::Classification, Task::Segmentation];
        assert!(sided(images, "kmnist", &["o", "ki"]));
        assert!(!sided(images, "fashion-mnist", &["bag", "ankle boot"]));
        assert!(sided(images, "d", &["a", "b"]) && sided(images, "d", &["0", "10"]));
        assert!(sided(images, "d", &["turn left", "turn right"]));
        assert!(sided(pixels, "d", &["left_arm", "head"]));
        assert!(!sided(pixels, "d", &["0", "1"]) && !sided(images, "d", &["bright", "cleft"]));
    }
}
