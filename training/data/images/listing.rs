//! What lies in folders: pictures, and what is left out.

use super::ImageError;
use super::folder::{entries, last};
use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

/// How the files end that are read as pictures.
const ENDINGS: [&str; 5] = ["png", "jpg", "jpeg", "webp", "bmp"];

/// The same to show.
pub(super) const FORMATS: &str = ".png, .jpg, .jpeg, .webp or .bmp";

/// What was found and what was left out, as counts.
#[derive(Debug, Default)]
pub(super) struct Tally {
    found: BTreeMap<String, usize>,
    left_out: BTreeMap<String, usize>,
    /// Whole things, in words.
    others: Vec<String>,
}

impl Tally {
    fn find(&mut self, path: &Path) {
        *self.found.entry(ending(path)).or_default() += 1;
    }

    /// Counts a file that is not read.
    pub(super) fn leave_out(&mut self, path: &Path) {
        let kind = match path.extension() {
            Some(_) => format!(".{}", ending(path)),
            None => last(path),
        };
        *self.left_out.entry(kind).or_default() += 1;
    }

    /// Mentions something else that is not read.
    pub(super) fn leave_out_whole(&mut self, what: String) {
        self.others.push(what);
    }

    /// Counts what another one has counted.
    pub(super) fn add(&mut self, other: Tally) {
        for (sum, counts) in [(&mut self.found, other.found), (&mut self.left_out, other.left_out)]
        {
            counts.into_iter().for_each(|(kind, count)| *sum.entry(kind).or_default() += count);
        }
        self.others.extend(other.others);
    }

    /// What was left out; `None` if nothing was.
    pub(super) fn left_out(&self) -> Option<String> {
        let counts = self.left_out.iter().map(|(kind, count)| format!("{count} {kind}"));
        let all: Vec<String> = counts.chain(self.others.iter().cloned()).collect();
        (!all.is_empty()).then(|| all.join(", "))
    }

    /// All of it in one line.
    pub(super) fn line(&self) -> String {
        let counts = self.found.iter().map(|(kind, count)| format!("{count} .{kind}"));
        let counts: Vec<String> = counts.collect();
        let left_out = self.left_out().unwrap_or("nothing".into());
        format!("found {}; left out: {left_out}", counts.join(", "))
    }
}

/// Pictures below a folder.
#[derive(Default)]
pub(super) struct Found {
    /// In order of name, folder by folder.
    pub(super) pictures: Vec<PathBuf>,
    /// How many of them are not in the folder itself.
    pub(super) below: usize,
    pub(super) tally: Tally,
}

/// All pictures in a folder, and in those within it.
pub(super) fn pictures(folder: &Path) -> Result<Found, ImageError> {
    let mut found = Found::default();
    collect(folder, &mut HashSet::new(), &mut found)?;
    let is_below = |path: &&PathBuf| path.parent() != Some(folder);
    found.below = found.pictures.iter().filter(is_below).count();
    Ok(found)
}

/// Whether pictures lie in a folder itself.
pub(super) fn has_pictures(folder: &Path) -> Result<bool, ImageError> {
    Ok(entries(folder)?.iter().any(|path| is_picture(path)))
}

fn collect(
    folder: &Path,
    seen: &mut HashSet<PathBuf>,
    found: &mut Found,
) -> Result<(), ImageError> {
    let whole = fs::canonicalize(folder).map_err(|error| ImageError::of_system(folder, error))?;
    // A link may lead back to where it is.
    if !seen.insert(whole) {
        return Ok(());
    }
    for path in entries(folder)? {
        if is_picture(&path) {
            found.tally.find(&path);
            found.pictures.push(path);
        } else if path.is_dir() {
            collect(&path, seen, found)?;
        } else {
            found.tally.leave_out(&path);
        }
    }
    Ok(())
}

pub(super) fn is_picture(path: &Path) -> bool {
    path.extension().is_some() && ENDINGS.contains(&ending(path).as_str())
}

fn ending(path: &Path) -> String {
    path.extension().unwrap_or_default().to_string_lossy().to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_is_found_or_left_out() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("deep/deeper")).unwrap();
        for name in ["b.PNG", "a.jpg", "deep/deeper/c.webp", "notes.txt", "d.tiff", "deep/README"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        fs::write(folder.path().join(".hidden.png"), "").unwrap();
        let found = pictures(folder.path()).unwrap();
        let names: Vec<String> = found.pictures.iter().map(|path| last(path)).collect();
        assert_eq!(
            (names, found.below),
            (["a.jpg", "b.PNG", "c.webp"].map(String::from).into(), 1)
        );
        let line = "found 1 .jpg, 1 .png, 1 .webp; left out: 1 .tiff, 1 .txt, 1 README";
        assert_eq!(found.tally.line(), line);
    }

    #[cfg(unix)]
    #[test]
    fn a_link_to_where_it_is_ends() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a.png"), "").unwrap();
        std::os::unix::fs::symlink(folder.path(), folder.path().join("again")).unwrap();
        assert_eq!(pictures(folder.path()).unwrap().pictures.len(), 1);
    }
}
