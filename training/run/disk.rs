//! What is written to the disk: the files, folders, syncs, renames and locks of a run, but for the
//! tokenizer, go through here, so that tests can let any one of them fail.
//!
//! No file is opened for appending: Windows can neither shorten nor lock such a file.

use super::Error;
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::ffi::OsString;
use std::fs::{self, DirEntry, File, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Makes a folder and those above it.
pub(super) fn create_folder(path: &Path) -> Result<(), Error> {
    fault(path).and_then(|()| fs::create_dir_all(path)).map_err(Error::file("create", path))
}

/// Writes a new file, synced, and returns the SHA-256 of what is in it. The chunks may come from
/// elsewhere, with errors of their own.
pub(super) fn write_file<E: From<Error>>(
    path: &Path,
    chunks: impl Iterator<Item = Result<Vec<u8>, E>>,
) -> Result<String, E> {
    let failed = |error| E::from(Error::file("write", path)(error));
    let mut file = fault(path).and_then(|()| File::create(path)).map_err(failed)?;
    let mut hash = Sha256::new();
    for chunk in chunks {
        let chunk = chunk?;
        hash.update(&chunk);
        fault(path).and_then(|()| file.write_all(&chunk)).map_err(failed)?;
    }
    fault(path).and_then(|()| sync(&file)).map_err(failed)?;
    Ok(hexadecimal(hash))
}

/// Puts a new file in the place of one, if there is one: under another name in the same folder
/// first, synced, then renamed, so that `path` holds either what it held before or all of the new.
pub(crate) fn replace_file<E: From<Error>>(
    path: &Path,
    chunks: impl Iterator<Item = Result<Vec<u8>, E>>,
) -> Result<(), E> {
    let partial = partial_name(path);
    let written = write_file(&partial, chunks).and_then(|_| {
        rename(&partial, path)?;
        Ok(path.parent().map_or(Ok(()), sync_folder)?)
    });
    if written.is_err() {
        // The first error is the one to report; there may be nothing to remove.
        let _ = fs::remove_file(&partial);
    }
    written
}

/// A name beside `path` for a file that is being written.
fn partial_name(path: &Path) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    // Several threads of a process may write the same file.
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    name.push(format!(".{}-{number}.partial", std::process::id()));
    path.with_file_name(name)
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
    replace_file(path, std::iter::once(Ok(contents.to_vec())))
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

/// Writes a value as JSON that is written anew soon: whole or not at all, but not synced, so that a power
/// failure may take it.
pub(crate) fn replace_unsynced(path: &Path, value: &impl Serialize) -> Result<(), Error> {
    let failed = |error| Error::file("write", path)(error);
    let text = serde_json::to_vec_pretty(value).map_err(|error| failed(io::Error::other(error)))?;
    let partial = partial_name(path);
    let written = fault(&partial).and_then(|()| fs::write(&partial, text)).map_err(failed);
    let written = written.and_then(|()| rename(&partial, path));
    if written.is_err() {
        let _ = fs::remove_file(&partial);
    }
    written
}

/// Whether this is a folder itself, not a link to one.
pub(super) fn is_folder(entry: &DirEntry) -> bool {
    entry.file_type().is_ok_and(|kind| kind.is_dir())
}

/// Whether this is a file that [`replace_file`] or [`replace_unsynced`] was writing, of whatever process.
pub(super) fn is_partial_file(entry: &DirEntry) -> bool {
    let name = entry.file_name();
    let process = name.to_str().and_then(|name| {
        let (_, process) = name.strip_prefix('.')?.strip_suffix(".partial")?.rsplit_once('.')?;
        let (process, number) = process.split_once('-')?;
        process.parse::<u32>().ok().zip(number.parse::<u64>().ok())
    });
    process.is_some() && entry.file_type().is_ok_and(|kind| kind.is_file())
}

/// Writes into an open file, from byte number `start` on.
pub(super) fn write_at(
    mut file: &File,
    path: &Path,
    start: u64,
    bytes: &[u8],
) -> Result<(), Error> {
    let written = fault(path)
        .and_then(|()| file.seek(SeekFrom::Start(start)))
        .and_then(|_| file.write_all(bytes));
    written.map_err(Error::file("write", path))
}

/// Locks an open file, if no other process has.
pub(super) fn try_lock(file: &File, path: &Path) -> Result<(), TryLockError> {
    lock_fault(path)?;
    file.try_lock()
}

/// Renames a file or folder. [`sync_folder`] makes sure that the new name survives a power failure.
pub(super) fn rename(from: &Path, to: &Path) -> Result<(), Error> {
    fault(to).and_then(|()| fs::rename(from, to)).map_err(Error::file("write", to))
}

/// Makes sure that the names in a folder survive a power failure; only Unix can open a folder for
/// that.
pub(super) fn sync_folder(path: &Path) -> Result<(), Error> {
    if cfg!(unix) {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let synced = fault(path).and_then(|()| sync(&File::open(path)?));
        synced.map_err(Error::file("sync", path))?;
    }
    Ok(())
}

/// Removes a folder and all that is in it, if it is there.
pub(super) fn remove_folder(path: &Path) -> Result<(), Error> {
    match fault(path).and_then(|()| fs::remove_dir_all(path)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::file("remove", path)(error))
        }
        _ => Ok(()),
    }
}

/// The SHA-256 of a file, in hexadecimal.
pub(crate) fn hash_file(path: &Path) -> Result<String, Error> {
    let hash = || {
        let mut hash = Sha256::new();
        let mut file = File::open(path)?;
        let mut buffer = vec![0; 1 << 16];
        loop {
            match file.read(&mut buffer)? {
                0 => return Ok(hexadecimal(hash)),
                length => hash.update(&buffer[..length]),
            }
        }
    };
    hash().map_err(Error::file("read", path))
}

fn hexadecimal(hash: Sha256) -> String {
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn sync(file: &File) -> io::Result<()> {
    // The tests in this crate cut no power, and write often.
    if cfg!(test) { Ok(()) } else { file.sync_all() }
}

#[cfg(not(test))]
fn fault(_path: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(not(test))]
fn lock_fault(_path: &Path) -> Result<(), TryLockError> {
    Ok(())
}

#[cfg(test)]
use faults::{fault, lock_fault};

/// A disk that fails on purpose.
#[cfg(test)]
pub(crate) mod faults {
    use std::fs::TryLockError;
    use std::io;
    use std::path::{Path, PathBuf};
    use std::sync::Mutex;

    /// Below a folder, what happens `left` operations from now, and how many after that.
    struct Fault {
        folder: PathBuf,
        left: u64,
        times: u64,
        seen: u64,
    }

    static FAULTS: Mutex<Vec<Fault>> = Mutex::new(Vec::new());

    /// Lets operations number `first` (from 0) and the `times` − 1 after it fail, of those that
    /// touch something below `folder`.
    pub fn plan(folder: &Path, first: u64, times: u64) {
        let fault = Fault { folder: folder.into(), left: first, times, seen: 0 };
        FAULTS.lock().expect("no test panics here").push(fault);
    }

    /// Ends the faults below a folder; returns how many operations there were.
    pub fn end(folder: &Path) -> u64 {
        let mut faults = FAULTS.lock().expect("no test panics here");
        let seen = faults.iter().find(|fault| fault.folder == folder).map_or(0, |f| f.seen);
        faults.retain(|fault| fault.folder != folder);
        seen
    }

    /// Folders below which nothing can be locked, as on some network disks.
    static WITHOUT_LOCKS: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

    /// From now on, nothing below `folder` can be locked.
    pub fn without_locks(folder: &Path) {
        WITHOUT_LOCKS.lock().expect("no test panics here").push(folder.into());
    }

    /// Fails where nothing can be locked.
    pub fn lock_fault(path: &Path) -> Result<(), TryLockError> {
        let folders = WITHOUT_LOCKS.lock().expect("no test panics here");
        match folders.iter().any(|folder| path.starts_with(folder)) {
            // Of no kind that has a name, as ENOLCK is of none.
            true => Err(TryLockError::Error(io::Error::other("no locks available"))),
            false => Ok(()),
        }
    }

    /// Fails if it is time to.
    pub fn fault(path: &Path) -> io::Result<()> {
        let mut faults = FAULTS.lock().expect("no test panics here");
        let Some(fault) = faults.iter_mut().find(|fault| path.starts_with(&fault.folder)) else {
            return Ok(());
        };
        let number = fault.seen;
        fault.seen += 1;
        if (fault.left..fault.left.saturating_add(fault.times)).contains(&number) {
            return Err(io::Error::new(io::ErrorKind::StorageFull, "no space left on the disk"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
