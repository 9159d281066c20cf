//! An earlier run that is gone on with.

use crate::error::Error;
use crate::run::{RunFolder, RunLock};

/// A run that is gone on with, which nobody else trains in meanwhile.
pub(super) struct Earlier {
    pub folder: RunFolder,
    pub lock: RunLock,
    /// What is to be new in it.
    pub news: Option<String>,
}

pub(super) fn refused(folder: &RunFolder, why: String) -> Error {
    Error::Settings(format!("{} cannot continue like this: {why}", folder.path().display()))
}
