//! The lock of a run's folder: one process trains in it at a time.

use super::{Error, disk};
use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// The sign that a process is training in a folder: a lock on the file `.lock` in it, which holds
/// the number of the process. It ends with the process, however that ends.
#[derive(Debug)]
pub struct RunLock {
    #[expect(dead_code, reason = "an open file holds the lock")]
    file: File,
    problem: Option<io::Error>,
}

impl RunLock {
    /// Locks a folder.
    pub(super) fn take(folder: &Path) -> Result<RunLock, Error> {
        let path = lock_file(folder);
        let mut options = File::options();
        let options = options.create(true).truncate(false).read(true).write(true);
        let mut file = options.open(&path).map_err(Error::file("write", &path))?;
        match disk::try_lock(&file, &path) {
            Ok(()) => {
                // Whoever finds the lock taken is told by whom. It works without that too.
                let _ = file.set_len(0).and_then(|()| write!(file, "{}", std::process::id()));
                Ok(RunLock { file, problem: None })
            }
            Err(TryLockError::WouldBlock) => {
                let process = fs::read_to_string(&path).ok().filter(|id| !id.is_empty());
                Err(Error::Running { path: folder.to_owned(), process })
            }
            // Some network disks know no locks, or their server does not answer; training there is
            // still possible.
            Err(TryLockError::Error(error)) => Ok(RunLock { file, problem: Some(error) }),
        }
    }

    /// Why the folder is not locked after all, where the system cannot: then no other process is kept
    /// out of it.
    pub fn problem(&self) -> Option<&io::Error> {
        self.problem.as_ref()
    }
}

/// What is locked in a folder.
pub(super) fn lock_file(folder: &Path) -> PathBuf {
    folder.join(".lock")
}
