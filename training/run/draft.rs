//! A run's folder before it has its name.

use super::lock::lock_file;
use super::{Error, RunLock, disk};
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// `.NAME.PROCESS-NUMBER.partial`; removed again unless it gets its name. It is locked: where a
/// process was killed, the next one sees by the free lock that nobody needs the folder any more.
pub(super) struct Draft {
    path: PathBuf,
    lock: Option<RunLock>,
}

impl Draft {
    /// Makes one, after removing those that were left in `parent`.
    pub fn new(parent: &Path, name: impl AsRef<OsStr>) -> Result<Draft, Error> {
        // Several threads of a process may want the same name.
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        remove_leftovers(parent);
        let name = name.as_ref();
        loop {
            let number = NUMBER.fetch_add(1, Ordering::Relaxed);
            let mut partial = OsString::from(".");
            partial.push(name);
            partial.push(format!(".{}-{number}.partial", std::process::id()));
            let path = parent.join(partial);
            let failed = |source| Error::Create { path: parent.join(name), source };
            fs::create_dir(&path).map_err(failed)?;
            let lock = RunLock::take(&path);
            // Another process may have taken it for a leftover before it was locked.
            if !matches!(lock, Err(Error::Running { .. })) && path.is_dir() {
                // From here on it is removed where something fails.
                let mut draft = Draft { path, lock: None };
                draft.lock = Some(lock?);
                return Ok(draft);
            }
        }
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Gives the folder its name; false if that is taken.
    pub fn publish(mut self, path: &Path) -> Result<bool, Error> {
        disk::sync_folder(&self.path)?;
        // Some systems do not even replace an empty folder. This removes no other.
        let _ = fs::remove_dir(path);
        if cfg!(windows) {
            // A folder with an open file in it cannot be renamed there.
            self.lock = None;
        }
        match disk::rename(&self.path, path) {
            Ok(()) => {
                path.parent().map_or(Ok(()), disk::sync_folder)?;
                Ok(true)
            }
            Err(_) if !is_free(path) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // After the rename there is nothing to remove.
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// Makes a folder that appears by one rename, with all that `fill` has put into it; an empty one of that
/// name is replaced.
///
/// ```
/// # use neutreno::run::{Error, write_folder, write_json};
/// # let parent = tempfile::tempdir().unwrap();
/// let path = parent.path().join("new");
/// write_folder(&path, |folder| write_json(&folder.join("facts.json"), &[1, 2]))?;
/// assert!(path.join("facts.json").is_file());
/// let again = write_folder(&path, |_| Ok::<(), Error>(()));
/// assert!(matches!(again, Err(Error::Taken { .. })));
/// # Ok::<(), Error>(())
/// ```
///
/// # Errors
/// Whatever `fill` fails with; if something of that name is there, or it cannot be written. Then nothing
/// is left behind.
pub fn write_folder<E: From<Error>>(
    path: &Path,
    fill: impl FnOnce(&Path) -> Result<(), E>,
) -> Result<(), E> {
    let taken = || Error::Taken { path: path.to_owned() };
    let Some(name) = path.file_name() else { return Err(taken().into()) };
    if !is_free(path) {
        return Err(taken().into());
    }
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let parent = parent.unwrap_or(Path::new("."));
    fs::create_dir_all(parent).map_err(|source| Error::Create { path: path.to_owned(), source })?;
    let mut draft = Draft::new(parent, name)?;
    fill(draft.path())?;
    // Nobody trains in it, so it needs no lock. With the file that goes first there is no moment in which
    // it looks like what a killed process left.
    let lock = lock_file(draft.path());
    fs::remove_file(&lock).map_err(Error::file("remove", &lock))?;
    draft.lock = None;
    if draft.publish(path)? { Ok(()) } else { Err(taken().into()) }
}

/// Whether there is nothing of that name, or an empty folder, which was made for us.
pub(super) fn is_free(path: &Path) -> bool {
    let empty = || fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none());
    fs::symlink_metadata(path).is_err() || empty()
}

/// Removes what killed processes have left: folders with the name of a draft in which a lock holds
/// the number of the process of that name, and which nobody holds; and empty ones. What cannot be
/// removed stays; it does no harm.
fn remove_leftovers(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let Some(process) = process_of(&name) else { continue };
        // Its process was killed before it was locked. This removes no folder that is not empty.
        if !disk::is_folder(&entry) || fs::remove_dir(entry.path()).is_ok() {
            continue;
        }
        let lock = lock_file(&entry.path());
        let is_its_own = fs::read_to_string(&lock).is_ok_and(|id| id == process);
        let opened = File::options().read(true).write(true).open(&lock);
        let Some(file) = opened.ok().filter(|_| is_its_own) else { continue };
        // A file that was removed meanwhile is no lock of a folder that is there.
        if disk::try_lock(&file, &lock).is_ok() && lock.is_file() {
            if cfg!(windows) {
                drop(file);
            }
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// The process in the name of a draft, if it is one.
fn process_of(name: &str) -> Option<&str> {
    let (_, end) = name.strip_prefix('.')?.strip_suffix(".partial")?.rsplit_once('.')?;
    let (process, number) = end.split_once('-')?;
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    (digits(process) && digits(number)).then_some(process)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(parent: &Path) -> Vec<String> {
        let entries = fs::read_dir(parent).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_folder_is_there_whole_or_not_at_all() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("deep/new");
        let fill = |folder: &Path| {
            fs::write(folder.join("a"), "1").unwrap();
            Ok::<(), Error>(())
        };
        let failed = write_folder(&path, |folder| {
            fill(folder)?;
            Err(Error::NotARun { path: folder.to_owned() })
        });
        assert!(matches!(failed, Err(Error::NotARun { .. })));
        assert_eq!(names(path.parent().unwrap()), [""; 0]);
        fs::create_dir(&path).unwrap();
        write_folder(&path, fill).unwrap();
        assert_eq!(
            (names(path.parent().unwrap()), names(&path)),
            (vec!["new".into()], vec!["a".into()])
        );
        let file = parent.path().join("file");
        fs::write(&file, "precious").unwrap();
        for taken in [&path, &file, &path.join("..")] {
            let refused = write_folder(taken, fill).unwrap_err().to_string();
            assert!(refused.contains("is there already"), "{refused}");
        }
        assert_eq!(fs::read(&file).unwrap(), b"precious");
        assert_eq!(names(parent.path()), ["deep", "file"]);
    }

    /// Each makes room by removing what was left, which must not be what another one is about to name.
    #[test]
    fn folders_that_are_made_at_once_do_not_remove_each_other() {
        let parent = tempfile::tempdir().unwrap();
        let make = |thread: usize| {
            for number in 0..100 {
                let path = parent.path().join(format!("{thread}-{number}"));
                let fill = |folder: &Path| {
                    for name in ["a", "b", "c"] {
                        fs::write(folder.join(name), "1").unwrap();
                    }
                    Ok::<(), Error>(())
                };
                write_folder(&path, fill).unwrap();
            }
        };
        std::thread::scope(|scope| {
            (0..4).for_each(|thread| drop(scope.spawn(move || make(thread))));
        });
        let made = names(parent.path());
        assert_eq!(made.len(), 400);
        assert!(made.iter().all(|name| names(&parent.path().join(name)) == ["a", "b", "c"]));
    }

    #[test]
    fn what_killed_processes_left_is_removed_and_nothing_else() {
        let parent = tempfile::tempdir().unwrap();
        let folder = |name: &str, lock: Option<&str>| {
            let folder = parent.path().join(name);
            fs::create_dir(&folder).unwrap();
            if let Some(process) = lock {
                fs::write(folder.join(".lock"), process).unwrap();
                fs::write(folder.join("run.json"), "{}").unwrap();
            }
            folder
        };
        folder(".a.41-0.partial", Some("41"));
        folder(".2031-05-07-093000-lm.41-12.partial", Some("41"));
        folder(".empty.41-1.partial", None);
        folder(".another's.41-0.partial", Some("somebody"));
        folder(".no-process.partial", Some("41"));
        folder("b.41-0.partial", Some("41"));
        fs::write(folder(".no-lock.41-0.partial", None).join("precious"), "data").unwrap();
        fs::write(parent.path().join(".file.41-0.partial"), "data").unwrap();
        let other = tempfile::tempdir().unwrap();
        fs::write(other.path().join(".lock"), "41").unwrap();
        #[cfg(unix)]
        std::os::unix::fs::symlink(other.path(), parent.path().join(".link.41-0.partial")).unwrap();
        let busy = folder(".busy.41-0.partial", Some("41"));
        let busy = File::options().write(true).open(busy.join(".lock")).unwrap();
        busy.lock().unwrap();

        let draft = Draft::new(parent.path(), "new").unwrap();
        let own = draft.path().file_name().unwrap().to_string_lossy().into_owned();
        // A second one leaves the first alone.
        drop(Draft::new(parent.path(), "new").unwrap());
        let mut kept = vec![
            ".another's.41-0.partial",
            ".busy.41-0.partial",
            ".file.41-0.partial",
            ".no-lock.41-0.partial",
            ".no-process.partial",
            &own,
            "b.41-0.partial",
        ];
        if cfg!(unix) {
            kept.push(".link.41-0.partial");
        }
        kept.sort();
        assert_eq!(names(parent.path()), kept);
        drop(busy);
        assert!(draft.publish(&parent.path().join("new")).unwrap());
        let draft = Draft::new(parent.path(), "other").unwrap();
        assert!(!names(parent.path()).iter().any(|name| name.contains("busy")));
        // A run is not removed, whether a process trains in it or not.
        drop(draft);
        assert!(parent.path().join("new").is_dir() && other.path().join(".lock").is_file());
    }
}
