//! Writing files so that nothing half-written stays, and telling contents apart by hashes.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

/// Writes a file under a temporary name beside it, makes sure it is on the disk, and renames it.
/// After an error there is no temporary file, and what was at `path` before is untouched.
pub(super) fn write_whole(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    name.push(format!(".partial-{}-{number}", std::process::id()));
    let temporary = path.with_file_name(name);
    let write = || {
        let mut file = File::create(&temporary)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    };
    write().inspect_err(|_| {
        // Best effort: the error that matters is the first.
        let _ = fs::remove_file(&temporary);
    })
}

/// Bytes in hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What the system said, and what to do where that is known.
pub(super) fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::PermissionDenied => format!("{error}; check its permissions"),
        io::ErrorKind::IsADirectory => "it is a folder, and a file is needed there".into(),
        io::ErrorKind::NotADirectory => format!("{error}; check the path to it"),
        _ => error.to_string(),
    }
}
