//! The folder of a run, `runs/NAME/`:
//!
//! ```text
//! run.json  tokenizer.json  text.txt (of a pipe)  status.json  summary.json  report.html  .lock
//! VARIANT-seedS/   config.json  metrics.jsonl  events.out.tfevents.*  model.safetensors  result.json
//!                  checkpoints/step-NNNNNN/  pictures/
//! ```
//!
//! What is in it refers to nothing outside but the data, by its absolute path, so the folder can be
//! moved, and read and gone on with from anywhere.
//!
//! A folder that was there before is never written to, and a file is either the old one or the
//! new one, whatever happens in between.

use super::draft::{Draft, is_free};
use super::names::{check_name, time_for_a_name};
use super::{Error, RunLock, VariantSummary, disk};
use serde_json::Value;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

/// Where `run.json` and `result.json` have the hashes of files.
pub(crate) const FILES: &str = "files";

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
        name: Option<&OsStr>,
        task: &str,
        started: &str,
        fill: impl Fn(&RunFolder, &str) -> Result<(), E>,
    ) -> Result<RunFolder, E> {
        let made = format!("{}-{task}", time_for_a_name(started));
        let wanted = name.unwrap_or(made.as_ref());
        check_name(wanted)?;
        let failed = |source| Error::Create { path: parent.join(wanted), source };
        fs::create_dir_all(parent).map_err(failed)?;
        for number in 1u64.. {
            let mut name = wanted.to_owned();
            if number > 1 {
                name.push(format!("-{number}"));
            }
            let path = parent.join(&name);
            if is_free(&path) {
                let draft = Draft::new(parent, &name)?;
                let draft_folder = RunFolder { path: draft.path().to_owned() };
                fill(&draft_folder, &name.to_string_lossy())?;
                // Only one of two programs can win: a folder that is not empty is not replaced.
                if draft.publish(&path)? {
                    return Ok(RunFolder { path });
                }
            }
            if wanted != OsStr::new(&made) {
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
    /// # let run = RunFolder::create(parent.path(), Some("first".as_ref()), "", "", fill)?;
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
        RunLock::take(&self.path)
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

    /// The text, if it came through a pipe and the run keeps it.
    pub fn kept_text(&self) -> Option<PathBuf> {
        Some(self.path.join("text.txt")).filter(|path| path.is_file())
    }

    /// The SHA-256 of each file that lies in the folder beside `run.json`, by its name: once the run
    /// has begun, these are what it depends on.
    pub(crate) fn hashes(&self) -> Result<BTreeMap<String, String>, Error> {
        let failed = |source| Error::file("read", &self.path)(source);
        let names =
            fs::read_dir(&self.path).map_err(failed)?.flatten().map(|entry| entry.file_name());
        let names = names.map(|name| name.to_string_lossy().into_owned());
        let is_own = |name: &String| {
            let path = self.path.join(name);
            path.is_file() && !name.starts_with('.') && path != self.run_json()
        };
        hashes(&self.path, names.filter(is_own))
    }

    /// Finds out whether the files that the run was begun with, such as its tokenizer, are as they
    /// were: `run.json` has their hashes.
    ///
    /// # Errors
    /// [`Error::Changed`] for one that is not; a file that is not there.
    pub fn check_files(&self) -> Result<(), Error> {
        check(&self.path, &self.facts()?[FILES])
    }

    /// The results, a [`Summary`](super::Summary).
    pub fn summary_json(&self) -> PathBuf {
        self.path.join("summary.json")
    }

    /// Where the run is, a [`Status`](super::Status), written anew every few seconds.
    pub fn status_json(&self) -> PathBuf {
        self.path.join("status.json")
    }

    /// The page to look at.
    pub fn report_html(&self) -> PathBuf {
        self.path.join("report.html")
    }

    /// The folder `VARIANT-seedS/` of one model, if it is there.
    pub fn find_model(&self, variant: &str, seed: u64) -> Option<ModelFolder> {
        self.model_at(variant, seed).ok().filter(|folder| folder.path.is_dir())
    }

    /// The folder `VARIANT-seedS/` of one model, whether it is there or not.
    pub(super) fn model_at(&self, variant: &str, seed: u64) -> Result<ModelFolder, Error> {
        check_name(variant)?;
        Ok(ModelFolder { path: self.path.join(format!("{variant}-seed{seed}")) })
    }

    /// The folder `VARIANT-seedS/` of one model, made if it isn't there.
    ///
    /// ```
    /// # use neutreno::run::{Error, RunFolder};
    /// # let parent = tempfile::tempdir().unwrap();
    /// # let fill = |_: &RunFolder, _: &str| Ok::<(), Error>(());
    /// # let run = RunFolder::create(parent.path(), Some("first".as_ref()), "", "", fill)?;
    /// let model = run.model("resformer", 7)?;
    /// assert!(model.checkpoint(300).ends_with("resformer-seed7/checkpoints/step-000300"));
    /// # Ok::<(), neutreno::run::Error>(())
    /// ```
    pub fn model(&self, variant: &str, seed: u64) -> Result<ModelFolder, Error> {
        let folder = self.model_at(variant, seed)?;
        disk::create_folder(&folder.path)?;
        Ok(folder)
    }
}

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

    /// What came out, if the model is trained to the end.
    pub fn result(&self) -> Option<VariantSummary> {
        let text = fs::read(self.result_json()).ok()?;
        let result: VariantSummary = serde_json::from_slice(&text).ok()?;
        result.finished.then_some(result)
    }

    /// The trained weights.
    pub fn model_safetensors(&self) -> PathBuf {
        self.path.join("model.safetensors")
    }

    /// The folder of the pictures.
    pub fn pictures(&self) -> PathBuf {
        self.path.join("pictures")
    }

    /// The SHA-256 of the files that a trained model is made of, by their names.
    pub(crate) fn hashes(&self) -> Result<BTreeMap<String, String>, Error> {
        let files = [self.config_json(), self.model_safetensors()];
        let name = |path: PathBuf| path.file_name()?.to_str().map(str::to_owned);
        hashes(&self.path, files.into_iter().filter_map(name))
    }

    /// Finds out whether a trained model is as it was: `result.json` has the hashes of its files. One
    /// that isn't trained to the end has none yet.
    ///
    /// # Errors
    /// [`Error::Changed`] for a file that is not; a file that is not there.
    pub fn check_files(&self) -> Result<(), Error> {
        let Ok(text) = fs::read(self.result_json()) else { return Ok(()) };
        let result: Value = serde_json::from_slice(&text).unwrap_or_default();
        check(&self.path, &result[FILES])
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

/// The SHA-256 of files in a folder, by their names.
fn hashes(
    folder: &Path,
    names: impl Iterator<Item = String>,
) -> Result<BTreeMap<String, String>, Error> {
    let hash = |name: String| {
        let hash = disk::hash_file(&folder.join(&name))?;
        Ok((name, hash))
    };
    names.map(hash).collect()
}

/// Finds out whether files in a folder have these hashes.
fn check(folder: &Path, hashes: &Value) -> Result<(), Error> {
    for (name, expected) in hashes.as_object().into_iter().flatten() {
        // A name, and no way to elsewhere.
        let Some(name) = Path::new(name).file_name() else { continue };
        let path = folder.join(name);
        if expected.as_str() != Some(&disk::hash_file(&path)?) {
            return Err(Error::Changed { path });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::{write_atomically, write_json};
    use super::*;

    fn create(parent: &Path, name: Option<&str>) -> Result<RunFolder, Error> {
        let fill = |folder: &RunFolder, name: &str| write_json(&folder.run_json(), &name);
        RunFolder::create(parent, name.map(OsStr::new), "lm", "2031-05-07T09:30:00+02:00", fill)
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

    #[cfg(unix)]
    #[test]
    fn a_name_that_is_no_unicode_stays_as_it_is() {
        use std::os::unix::ffi::OsStrExt;
        let parent = tempfile::tempdir().unwrap();
        let name = OsStr::from_bytes(b"caf\xe9");
        let fill = |folder: &RunFolder, name: &str| write_json(&folder.run_json(), &name);
        let run = RunFolder::create(parent.path(), Some(name), "lm", "", fill).unwrap();
        assert_eq!(run.path(), parent.path().join(name));
        assert!(RunFolder::open(run.path()).is_ok());
    }

    #[test]
    fn files_are_known_by_their_hashes() {
        let parent = tempfile::tempdir().unwrap();
        let fill = |folder: &RunFolder, _: &str| {
            write_atomically(&folder.tokenizer_json(), b"words")?;
            let files = serde_json::json!({ FILES: folder.hashes()? });
            write_json(&folder.run_json(), &files)
        };
        let run = RunFolder::create(parent.path(), Some("a".as_ref()), "lm", "", fill).unwrap();
        run.check_files().unwrap();
        // What comes later is no matter.
        write_json(&run.summary_json(), &1).unwrap();
        run.check_files().unwrap();
        fs::write(run.tokenizer_json(), "word").unwrap();
        let error = run.check_files().unwrap_err();
        assert!(matches!(&error, Error::Changed { path } if *path == run.tokenizer_json()));
        assert!(error.to_string().contains("begin a new run"), "{error}");
        fs::remove_file(run.tokenizer_json()).unwrap();
        assert!(matches!(run.check_files(), Err(Error::File { .. })));

        let model = run.model("svformer", 1).unwrap();
        model.check_files().unwrap();
        write_atomically(&model.config_json(), b"{}").unwrap();
        write_atomically(&model.model_safetensors(), b"weights").unwrap();
        let files = serde_json::json!({ FILES: model.hashes().unwrap() });
        write_json(&model.result_json(), &files).unwrap();
        model.check_files().unwrap();
        fs::write(model.config_json(), "{ }").unwrap();
        assert!(matches!(model.check_files(), Err(Error::Changed { .. })));
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
}
