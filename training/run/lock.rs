//! The lock of a run's folder: one process trains in it at a time.

use super::Error;
use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// The sign that a process is training in a folder: a lock on the file `.lock` in it, which holds
/// the number of the process. It ends with the process, however that ends.
#[derive(Debug)]
pub struct RunLock(#[expect(dead_code, reason = "an open file holds the lock")] File);

impl RunLock {
    /// Locks a folder.
    pub(super) fn take(folder: &Path) -> Result<RunLock, Error> {
        let path = lock_file(folder);
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
                Err(Error::Running { path: folder.to_owned(), process })
            }
            // Some network disks know no locks; training there is still possible.
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {
                Ok(RunLock(file))
            }
            Err(TryLockError::Error(error)) => Err(Error::file("write", &path)(error)),
        }
    }
}

/// What is locked in a folder.
pub(super) fn lock_file(folder: &Path) -> PathBuf {
    folder.join(".lock")
}
