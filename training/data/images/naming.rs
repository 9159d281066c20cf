//! The names of classes: which the data have, which the user gives, and whether they fit.

use super::ImageError;
use std::path::Path;
use unicode_normalization::UnicodeNormalization;

/// Names, and what to say about them.
#[derive(Debug)]
pub(super) struct Names {
    pub(super) classes: Vec<String>,
    pub(super) notice: Option<String>,
}

/// A name in the one form that others can be compared with: "é" may be one character or two.
pub(super) fn composed(name: &str) -> String {
    name.nfc().collect()
}

/// The names of classes whose indices are in the data: those given, or else those known, or else
/// their numbers. `needed` classes occur; where `exactly`, no more may be named.
///
/// # Errors
/// If too few or too many are given, one twice, or one that the data knows by another index.
pub(super) fn by_index(
    path: &Path,
    given: Option<&[String]>,
    known: Option<Vec<String>>,
    needed: usize,
    exactly: bool,
) -> Result<Names, ImageError> {
    let wrong = |reason| ImageError::malformed(path, reason);
    let names = given.map(<[String]>::to_vec).or_else(|| known.clone());
    let Some(classes) = names else {
        let classes = (0..needed).map(|number| number.to_string()).collect();
        return Ok(Names { classes, notice: None });
    };
    sound(&classes).map_err(wrong)?;
    if classes.len() < needed || exactly && classes.len() > needed {
        return Err(wrong(format!(
            "labels go up to {}, which takes {needed} names of classes, and {} given: {}",
            needed.saturating_sub(1),
            if classes.len() == 1 { "1 is".into() } else { format!("{} are", classes.len()) },
            classes.join(", ")
        )));
    }
    let (Some(_), Some(known)) = (given, known) else { return Ok(Names { classes, notice: None }) };
    for (index, name) in classes.iter().enumerate() {
        let place = known.iter().position(|known| composed(known) == composed(name));
        if let Some(other) = place.filter(|place| *place != index) {
            return Err(wrong(format!(
                "--classes has {name} as class {index}, and in the data that is class {other}: the \
                 order of the names is that of the indices in the data"
            )));
        }
    }
    let notice = renamed(&known, &classes);
    Ok(Names { classes, notice })
}

/// The names of classes that are folders, and for each folder the index of its class. Names that are
/// given are the folders in another order, or new names for all of them in the order of the folders.
///
/// # Errors
/// If it is not clear which of the two is meant, or a name is there twice.
pub(super) fn by_folder(
    path: &Path,
    given: Option<&[String]>,
    folders: &[String],
) -> Result<(Names, Vec<usize>), ImageError> {
    let wrong = |reason| ImageError::malformed(path, reason);
    let (places, order): (Vec<String>, Vec<usize>) =
        (folders.iter().map(|name| composed(name)).collect(), (0..folders.len()).collect());
    if let Some(twice) = twice(&places) {
        return Err(wrong(format!(
            "two folders are called {twice}, written with different characters: make one of them"
        )));
    }
    let Some(given) = given else {
        return Ok((Names { classes: folders.to_vec(), notice: None }, order));
    };
    sound(given).map_err(wrong)?;
    let given_places: Vec<String> = given.iter().map(|name| composed(name)).collect();
    let known = given_places.iter().filter(|name| places.contains(name)).count();
    let all = folders.join(", ");
    if given.len() != folders.len() {
        return Err(wrong(format!(
            "--classes has {} names for {} folders: {all}",
            given.len(),
            folders.len()
        )));
    }
    if known == 0 {
        let notice = renamed(folders, given);
        return Ok((Names { classes: given.to_vec(), notice }, order));
    }
    let index = |place: &String| given_places.iter().position(|name| name == place);
    match places.iter().map(index).collect() {
        Some(order) => Ok((Names { classes: given.to_vec(), notice: None }, order)),
        None => Err(wrong(format!(
            "--classes could be the folders in another order, or new names for them, but only {known} \
             of the {} names are those of folders: {all}. Give all of them, or none",
            given.len()
        ))),
    }
}

fn renamed(from: &[String], to: &[String]) -> Option<String> {
    let differ = from.iter().zip(to).filter(|(from, to)| composed(from) != composed(to));
    let pairs: Vec<String> = differ.map(|(from, to)| format!("{from} is {to}")).collect();
    (!pairs.is_empty()).then(|| format!("new names of classes: {}", pairs.join(", ")))
}

/// Whether names can be told apart.
fn sound(names: &[String]) -> Result<(), String> {
    if let Some(empty) = names.iter().position(|name| name.trim().is_empty()) {
        return Err(format!("the name of class {empty} is empty"));
    }
    let names: Vec<String> = names.iter().map(|name| composed(name)).collect();
    match twice(&names) {
        Some(name) => Err(format!("two classes are called {name}")),
        None => Ok(()),
    }
}

fn twice(names: &[String]) -> Option<&String> {
    names.iter().enumerate().find(|(index, name)| names[..*index].contains(name)).map(|(_, n)| n)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| name.to_string()).collect()
    }

    fn folders(given: &[&str]) -> Result<(Names, Vec<usize>), String> {
        let result = by_folder(Path::new("d"), Some(&strings(given)), &strings(&["cat", "dog"]));
        result.map_err(|error| error.to_string())
    }

    #[test]
    fn folders_are_put_in_order_or_given_new_names() {
        let (names, order) = folders(&["dog", "cat"]).unwrap();
        assert_eq!((names.classes, order), (strings(&["dog", "cat"]), vec![1, 0]));
        let (names, order) = folders(&["Katze", "Hund"]).unwrap();
        assert_eq!((names.classes, order), (strings(&["Katze", "Hund"]), vec![0, 1]));
        assert_eq!(names.notice.unwrap(), "new names of classes: cat is Katze, dog is Hund");
        for (given, part) in [
            (&["dog", "cow"][..], "only 1 of the 2 names are those of folders: cat, dog"),
            (&["dog", "dog"], "two classes are called dog"),
            (&["dog", " "], "the name of class 1 is empty"),
            (&["dog", "cat", "cow"], "3 names for 2 folders"),
        ] {
            let said = folders(given).unwrap_err();
            assert!(said.contains(part), "{said}");
        }
    }

    #[test]
    fn indices_keep_their_names() {
        let name = |given: &[&str], known: &[&str], exactly| {
            let (given, known) = (strings(given), strings(known));
            let known = (!known.is_empty()).then_some(known);
            let names = by_index(Path::new("d"), Some(&given), known, 2, exactly);
            names.map(|names| names.notice).map_err(|error| error.to_string())
        };
        assert_eq!(name(&["a", "b"], &[], true), Ok(None));
        assert_eq!(name(&["a", "b", "c"], &[], false), Ok(None));
        assert!(
            name(&["a", "b", "c"], &[], true)
                .unwrap_err()
                .contains("takes 2 names of classes, and 3 are")
        );
        assert!(
            name(&["a"], &[], false).unwrap_err().contains("takes 2 names of classes, and 1 is")
        );
        let swapped = name(&["dog", "cat"], &["cat", "dog"], true).unwrap_err();
        assert!(swapped.contains("dog as class 0, and in the data that is class 1"), "{swapped}");
        let renamed = name(&["cat", "Hund"], &["cat", "dog"], true).unwrap();
        assert_eq!(renamed.unwrap(), "new names of classes: dog is Hund");
    }

    #[test]
    fn a_letter_of_two_characters_is_the_letter() {
        assert_eq!(composed("cafe\u{301}"), composed("caf\u{e9}"));
    }
}
