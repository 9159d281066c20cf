//! Which files of a folder are texts, and for what.

use super::Splits;
use super::error::DataError;
use std::fs;
use std::path::Path;

/// How the files of a folder may be called.
#[derive(Clone, Copy)]
pub(super) struct Layout {
    start: &'static str,
    end: &'static str,
}

pub(super) const LAYOUTS: [Layout; 3] = [
    Layout { start: "wiki.", end: ".tokens" },
    Layout { start: "wiki.", end: ".raw" },
    Layout { start: "", end: ".txt" },
];

/// What is there of a layout.
pub(super) struct Found {
    pub(super) names: Splits<Option<String>>,
    /// The names of the files that are needed and not there.
    pub(super) missing: String,
}

impl Layout {
    fn name(self, split: &str) -> String {
        format!("{}{split}{}", self.start, self.end)
    }

    pub(super) fn usual(self) -> String {
        ["train", "valid", "test"].map(|split| self.name(split)).join(", ")
    }

    /// The files of this layout in a folder; none if not even one is there.
    pub(super) fn find(self, folder: &Path) -> Result<Option<Found>, DataError> {
        let is_there = |name: &String| folder.join(name).exists();
        let of = |split| Some(self.name(split)).filter(is_there);
        let validation = ["valid", "validation", "val", "dev"].iter().filter_map(|name| of(name));
        let mut validation = validation.collect::<Vec<_>>().into_iter();
        let names = Splits { train: of("train"), validation: validation.next(), test: of("test") };
        if let (Some(one), Some(other)) = (&names.validation, validation.next()) {
            let (folder, one) = (folder.into(), one.clone());
            return Err(DataError::Ambiguous { folder, one, other });
        }
        let missing = [("train", &names.train), ("valid", &names.validation)];
        let missing = missing.into_iter().filter(|(_, name)| name.is_none());
        let missing: Vec<String> = missing.map(|(split, _)| self.name(split)).collect();
        let any = names.iter().any(Option::is_some);
        Ok(any.then(|| Found { names, missing: missing.join(" and ") }))
    }
}

/// Which file is for what, in words.
pub(super) fn parts_of(names: &Splits<Option<String>>) -> String {
    let name = |name: &Option<String>| name.clone().unwrap_or_default();
    let test = match &names.test {
        Some(test) => format!("{test} for the test"),
        None => "no test text".into(),
    };
    let (train, validation) = (name(&names.train), name(&names.validation));
    format!("{train} to learn from, {validation} for validation, {test}")
}

/// The texts of a folder that are not read, in words.
pub(super) fn left_out(folder: &Path, names: &Splits<Option<String>>) -> String {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let name = |entry: fs::DirEntry| entry.file_name().to_string_lossy().into_owned();
    let is_text = |name: &String| LAYOUTS.iter().any(|layout| name.ends_with(layout.end));
    let is_read = |name: &String| names.iter().flatten().any(|read| read == name);
    let mut others: Vec<_> =
        entries.map(name).filter(|name| is_text(name) && !is_read(name)).collect();
    others.sort();
    match others.len() {
        0 => String::new(),
        count @ 1..=3 => format!("; not read ({count}): {}", others.join(", ")),
        count => format!("; not read ({count}): {}, …", others[..3].join(", ")),
    }
}
