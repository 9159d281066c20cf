//! What the results of pictures are called.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// A name for each picture, none of which is there twice: its path below the folder that was given, or
/// the file's own name.
pub fn names(files: &[PathBuf], given: &[PathBuf]) -> Vec<String> {
    let mut taken = BTreeSet::new();
    let name = |file: &PathBuf| {
        let below = given.iter().find_map(|folder| file.strip_prefix(folder).ok());
        let below = below.filter(|rest| !rest.as_os_str().is_empty());
        let path = below.unwrap_or(Path::new(file.file_name().unwrap_or_default()));
        let parts: Vec<String> =
            path.iter().map(|part| part.to_string_lossy().into_owned()).collect();
        let name = parts.join("-");
        let numbered = (2..).map(|number| format!("{number}-{name}"));
        let mut names = std::iter::once(name.clone()).chain(numbered);
        names.find(|name| taken.insert(name.clone())).expect("there is always a next number")
    };
    files.iter().map(name).collect()
}
