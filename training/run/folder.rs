//! The folder of a run, `runs/NAME/`:
//!
//! ```text
//! run.json  tokenizer.json  summary.json  report.html
//! VARIANT-seedS/   config.json  metrics.jsonl  model.safetensors  result.json
//!                  checkpoints/step-NNNNNN/
//! ```
//!
//! A folder that was there before is never written to, and a file is either the old one or the
//! new one, whatever happens in between.

use super::draft::Draft;
use super::{Error, disk};
use serde::Serialize;
use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// The folder of one run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunFolder {
    path: PathBuf,
}

impl RunFolder {
    /// Makes a new folder in `parent`, which is made too if it isn't there.
    ///
    /// With a `name`, a folder of that name must not exist yet, or be empty. Without one, it is
    /// named after the time (`started`, in RFC 3339) and the task, and numbered if that is taken.
    ///
    /// The folder appears by one rename, with all that `fill` has put there: it is given the
    /// folder as yet under another name, and the name that it will have.
    ///
    /// ```
    /// # use neutreno::run::{Error, RunFolder, write_json};
    /// # let parent = tempfile::tempdir().unwrap();
    /// let started = "2031-05-07T09:30:00Z";
    /// let fill = |folder: &RunFolder, name: &str| write_json(&folder.run_json(), &name);
    /// let run = RunFolder::create(parent.path(), None, "language-modelling", started, fill)?;
    /// assert!(run.path().ends_with("2031-05-07-093000-language-modelling"));
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    /// The folder exists, cannot be made, or its name is one that some system doesn't allow;
    /// whatever `fill` fails with. Nothing is left behind.
    pub fn create<E: From<Error>>(
        parent: &Path,
        name: Option<&str>,
        task: &str,
        started: &str,
        fill: impl Fn(&RunFolder, &str) -> Result<(), E>,
    ) -> Result<RunFolder, E> {
        let made = format!("{}-{task}", time_for_a_name(started));
        let wanted = name.unwrap_or(&made);
        check_name(wanted)?;
        let failed = |source| Error::Create { path: parent.join(wanted), source };
        fs::create_dir_all(parent).map_err(failed)?;
        for number in 1u64.. {
            let name = match number {
                1 => wanted.to_owned(),
                _ => format!("{wanted}-{number}"),
            };
            let path = parent.join(&name);
            if free(&path) {
                let draft = Draft::new(parent, &name)?;
                fill(draft.folder(), &name)?;
                // Only one of two programs can win: a folder that is not empty is not replaced.
                if draft.publish(&path)? {
                    return Ok(RunFolder { path });
                }
            }
            if wanted != made {
                return Err(Error::Exists { path }.into());
            }
        }
        unreachable!("some number is free")
    }

    /// Opens the folder of an earlier run, which is one with a `run.json`.
    pub fn open(path: &Path) -> Result<RunFolder, Error> {
        let run = RunFolder { path: path.to_owned() };
        if run.run_json().is_file() {
            Ok(run)
        } else {
            Err(Error::NotARun { path: path.to_owned() })
        }
    }

    /// The contents of `run.json`.
    ///
    /// # Errors
    /// If it cannot be read or is no JSON.
    pub fn facts(&self) -> Result<serde_json::Value, Error> {
        let path = self.run_json();
        let text = fs::read(&path).map_err(Error::file("read", &path))?;
        serde_json::from_slice(&text).map_err(|source| {
            let line = source.line();
            Error::Contents { path, line, source }
        })
    }

    /// Says that this process trains here, so that no other does.
    ///
    /// ```
    /// # use neutreno::run::{Error, RunFolder};
    /// # let parent = tempfile::tempdir().unwrap();
    /// # let fill = |_: &RunFolder, _: &str| Ok::<(), Error>(());
    /// # let run = RunFolder::create(parent.path(), Some("first"), "", "", fill)?;
    /// let lock = run.lock()?;
    /// assert!(matches!(run.lock(), Err(Error::Running { .. })));
    /// drop(lock);
    /// run.lock()?;
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    /// Another process does, or the folder cannot be written.
    pub fn lock(&self) -> Result<RunLock, Error> {
        let path = self.lock_file();
        let open = || File::options().create(true).append(true).read(true).open(&path);
        let mut file = open().map_err(Error::file("write", &path))?;
        match file.try_lock() {
            Ok(()) => {
                // Whoever finds the lock taken is told by whom. It works without that too.
                let _ = file.set_len(0).and_then(|()| write!(file, "{}", std::process::id()));
                Ok(RunLock(file))
            }
            Err(TryLockError::WouldBlock) => {
                let process = fs::read_to_string(&path).ok().filter(|id| !id.is_empty());
                Err(Error::Running { path: self.path.clone(), process })
            }
            // Some network disks know no locks; training there is still possible.
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {
                Ok(RunLock(file))
            }
            Err(TryLockError::Error(error)) => Err(Error::file("write", &path)(error)),
        }
    }

    /// Removes the files that were being written when a process was killed. For whoever holds the
    /// lock: nobody else writes here.
    pub(crate) fn remove_leftovers(&self) {
        let entries = |path: &Path| fs::read_dir(path).into_iter().flatten().flatten();
        let models = entries(&self.path).filter(disk::is_folder).map(|entry| entry.path());
        for path in models.chain([self.path.clone()]) {
            for entry in entries(&path).filter(disk::is_partial_file) {
                // What cannot be removed does no harm.
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    pub(super) fn at(path: PathBuf) -> RunFolder {
        RunFolder { path }
    }

    /// What is locked while a process trains here; it holds the number of the process.
    pub(super) fn lock_file(&self) -> PathBuf {
        self.path.join(".lock")
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The folder's own name.
    pub fn name(&self) -> String {
        self.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// All settings of the run.
    pub fn run_json(&self) -> PathBuf {
        self.path.join("run.json")
    }

    /// The tokenizer.
    pub fn tokenizer_json(&self) -> PathBuf {
        self.path.join("tokenizer.json")
    }

    /// The results, a [`Summary`](super::Summary).
    pub fn summary_json(&self) -> PathBuf {
        self.path.join("summary.json")
    }

    /// The page to look at.
    pub fn report_html(&self) -> PathBuf {
        self.path.join("report.html")
    }

    /// The folder `VARIANT-seedS/` of one model, made if it isn't there.
    ///
    /// ```
    /// # use neutreno::run::{Error, RunFolder};
    /// # let parent = tempfile::tempdir().unwrap();
    /// # let fill = |_: &RunFolder, _: &str| Ok::<(), Error>(());
    /// # let run = RunFolder::create(parent.path(), Some("first"), "", "", fill)?;
    /// let model = run.model("resformer", 7)?;
    /// assert!(model.checkpoint(300).ends_with("resformer-seed7/checkpoints/step-000300"));
    /// # Ok::<(), neutreno::run::Error>(())
    /// ```
    pub fn model(&self, variant: &str, seed: u64) -> Result<ModelFolder, Error> {
        check_name(variant)?;
        let path = self.path.join(format!("{variant}-seed{seed}"));
        disk::create_folder(&path)?;
        Ok(ModelFolder { path })
    }
}

/// Whether there is nothing of that name, or an empty folder, which was made for us.
pub(super) fn free(path: &Path) -> bool {
    let empty = || fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none());
    fs::symlink_metadata(path).is_err() || empty()
}

/// The sign that a process is training in a folder. It ends with the process, however that ends.
#[derive(Debug)]
pub struct RunLock(#[expect(dead_code, reason = "an open file holds the lock")] File);

/// The folder of one trained model within a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelFolder {
    path: PathBuf,
}

impl ModelFolder {
    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The model's configuration, with Hugging Face's keys.
    pub fn config_json(&self) -> PathBuf {
        self.path.join("config.json")
    }

    /// One line a logged step, see [`MetricsWriter`](super::MetricsWriter).
    pub fn metrics_jsonl(&self) -> PathBuf {
        self.path.join("metrics.jsonl")
    }

    /// What came out, a [`VariantSummary`](super::VariantSummary); there once training is done.
    pub fn result_json(&self) -> PathBuf {
        self.path.join("result.json")
    }

    /// The trained weights.
    pub fn model_safetensors(&self) -> PathBuf {
        self.path.join("model.safetensors")
    }

    /// The folder of the pictures.
    pub fn pictures(&self) -> PathBuf {
        self.path.join("pictures")
    }

    /// The folder of all checkpoints.
    pub fn checkpoints(&self) -> PathBuf {
        self.path.join("checkpoints")
    }

    /// The folder of the checkpoint after so many steps.
    pub fn checkpoint(&self, step: u64) -> PathBuf {
        self.checkpoints().join(format!("step-{step:06}"))
    }
}

/// Writes a file so that `path` holds either what it held before or all of `contents`: under
/// another name in the same folder first, synced to the disk, then renamed.
///
/// ```
/// # use neutreno::run::write_atomically;
/// # let folder = tempfile::tempdir().unwrap();
/// let path = folder.path().join("summary.json");
/// write_atomically(&path, b"{}")?;
/// assert_eq!(std::fs::read(&path).unwrap(), b"{}");
/// # Ok::<(), neutreno::run::Error>(())
/// ```
///
/// # Errors
/// The folder is missing or cannot be written, or the disk is full; the temporary file is removed.
pub fn write_atomically(path: &Path, contents: &[u8]) -> Result<(), Error> {
    disk::replace_file(path, std::iter::once(Ok(contents.to_vec())))
}

/// Writes a value as indented JSON, atomically; numbers that are not finite become null.
///
/// ```
/// # use neutreno::run::write_json;
/// # let folder = tempfile::tempdir().unwrap();
/// let path = folder.path().join("run.json");
/// write_json(&path, &[1.5, f64::NAN])?;
/// assert_eq!(std::fs::read_to_string(&path).unwrap(), "[\n  1.5,\n  null\n]\n");
/// # Ok::<(), neutreno::run::Error>(())
/// ```
///
/// # Errors
/// As [`write_atomically`]; also a value that JSON cannot hold, such as a map with keys that are
/// no strings.
pub fn write_json(path: &Path, value: &impl Serialize) -> Result<(), Error> {
    let mut text = serde_json::to_vec_pretty(value)
        .map_err(|error| Error::file("write", path)(io::Error::other(error)))?;
    text.push(b'\n');
    write_atomically(path, &text)
}

/// `2031-05-07T09:30:00Z` as `2031-05-07-093000`.
fn time_for_a_name(time: &str) -> String {
    let time = time.get(..19).unwrap_or(time);
    time.replace('T', "-").replace(':', "")
}

/// A name that Linux, macOS and Windows all allow for a folder.
pub(super) fn check_name(name: &str) -> Result<(), Error> {
    let edge = |c: Option<char>| c.is_none_or(|c| c == '.' || c == ' ');
    let forbidden = |c: char| c.is_control() || "<>:\"/\\|?*".contains(c);
    let bad = edge(name.chars().next()) || edge(name.chars().next_back());
    if bad || name.len() > 200 || name.contains(forbidden) {
        return Err(Error::Name { name: name.to_owned() });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn create(parent: &Path, name: Option<&str>) -> Result<RunFolder, Error> {
        let fill = |folder: &RunFolder, name: &str| write_json(&folder.run_json(), &name);
        RunFolder::create(parent, name, "lm", "2031-05-07T09:30:00+02:00", fill)
    }

    #[test]
    fn made_names_never_collide() {
        let parent = tempfile::tempdir().unwrap();
        let made: Vec<RunFolder> = std::thread::scope(|scope| {
            let create = || create(parent.path(), None).unwrap();
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(create)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let mut names: Vec<String> = made.iter().map(RunFolder::name).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), 8);
        assert_eq!(names[0], "2031-05-07-093000-lm");
    }

    #[test]
    fn a_folder_that_is_there_is_left_alone() {
        let parent = tempfile::tempdir().unwrap();
        let other = parent.path().join("thesis");
        fs::create_dir(&other).unwrap();
        fs::write(other.join("chapter"), "one").unwrap();
        let error = create(parent.path(), Some("thesis")).unwrap_err();
        assert!(matches!(error, Error::Exists { .. }));
        assert!(error.to_string().contains("--out"), "{error}");
        assert_eq!(fs::read_dir(&other).unwrap().count(), 1);
        assert!(matches!(RunFolder::open(&other), Err(Error::NotARun { .. })));
        write_atomically(&other.join("run.json"), b"{}").unwrap();
        assert_eq!(RunFolder::open(&other).unwrap().name(), "thesis");
    }

    #[test]
    fn an_empty_folder_may_be_used() {
        let parent = tempfile::tempdir().unwrap();
        fs::create_dir(parent.path().join("mine")).unwrap();
        let run = create(parent.path(), Some("mine")).unwrap();
        assert_eq!(run.path(), parent.path().join("mine"));
    }

    #[test]
    fn a_place_that_cannot_be_written_is_named_with_the_flag() {
        // A folder below a file can be made on no system and by no user.
        let parent = tempfile::tempdir().unwrap();
        let file = parent.path().join("file");
        fs::write(&file, "").unwrap();
        for parent in [file.join("runs"), file] {
            let error = create(&parent, Some("a")).unwrap_err().to_string();
            assert!(error.contains(&*parent.to_string_lossy()), "{error}");
            assert!(error.contains("--out"), "{error}");
        }
    }

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        let parent = tempfile::tempdir().unwrap();
        for name in
            ["", ".", "..", "../a", "a/b", "a\\b", "C:", "a\nb", " a", "a.", &"a".repeat(201)]
        {
            let made = create(parent.path(), Some(name));
            assert!(matches!(made, Err(Error::Name { .. })), "{name:?}");
        }
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_failed_write_leaves_the_old_file_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        // A folder in the file's place makes the last step, the rename, fail.
        let path = folder.path().join("summary.json");
        fs::create_dir(&path).unwrap();
        fs::write(path.join("kept"), "").unwrap();
        let error = write_atomically(&path, b"{}").unwrap_err().to_string();
        assert!(error.starts_with("cannot write ") && error.contains("summary.json"), "{error}");
        assert!(path.join("kept").is_file());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
