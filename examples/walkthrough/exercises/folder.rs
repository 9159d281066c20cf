//! The folder with the reader's files.

use crate::puzzles::Puzzle;
use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

pub struct Folder {
    path: PathBuf,
}

impl Folder {
    /// Makes the folder, and puts those exercises into it that it lacks. Returns how many those are, too.
    ///
    /// # Errors
    /// If something cannot be written.
    pub fn fill(path: &Path, puzzles: &[Puzzle]) -> Result<(Folder, usize), String> {
        fs::create_dir_all(path).map_err(|error| {
            let path = path.display();
            format!("cannot make the folder {path}: {error}; choose another one by --folder")
        })?;
        let folder = Folder { path: path.to_owned() };
        let mut made = 0;
        for puzzle in puzzles {
            made += usize::from(folder.put(puzzle)?);
        }
        Ok((folder, made))
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn of(&self, puzzle: &Puzzle) -> PathBuf {
        self.path.join(puzzle.file)
    }

    /// The exercise's text; `None` if there is no such file now.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn read(&self, puzzle: &Puzzle) -> Result<Option<String>, String> {
        let path = self.of(puzzle);
        match fs::read(&path) {
            Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(format!("cannot read {}: {error}", path.display())),
        }
    }

    /// Makes a file anew. What was there is kept under another name, which is returned.
    ///
    /// # Errors
    /// If that cannot be done.
    pub fn reset(&self, puzzle: &Puzzle) -> Result<Option<PathBuf>, String> {
        let path = self.of(puzzle);
        let mut kept = None;
        if path.exists() {
            let names =
                (1..).map(|number| path.with_file_name(format!("{}.{number}", puzzle.file)));
            let free = names.into_iter().find(|name| !name.exists()).expect("a free name");
            fs::rename(&path, &free)
                .map_err(|error| format!("cannot rename {}: {error}", path.display()))?;
            kept = Some(free);
        }
        self.put(puzzle)?;
        Ok(kept)
    }

    /// Writes a kernel's picture beside it, whole or not at all.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn picture(&self, puzzle: &Puzzle, svg: &str) -> Result<PathBuf, String> {
        let path = self.path.join(format!("{}.svg", puzzle.name()));
        let draft = self.path.join(format!(".{}.svg.new", puzzle.name()));
        fs::write(&draft, svg)
            .and_then(|()| fs::rename(&draft, &path))
            .map_err(|error| format!("cannot write {}: {error}", path.display()))?;
        Ok(path)
    }

    /// Puts an exercise there, unless something is there. Returns whether it did.
    fn put(&self, puzzle: &Puzzle) -> Result<bool, String> {
        let path = self.of(puzzle);
        let written = fs::File::create_new(&path)
            .and_then(|mut file| file.write_all(puzzle.text.given.as_bytes()));
        match written {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(format!(
                "cannot write {}: {error}; choose another folder by --folder",
                path.display()
            )),
        }
    }
}
