//! What the world can do wrong. A programming mistake, such as shapes that do not fit, panics at
//! the caller's line instead.

use std::path::PathBuf;

/// The engine's result.
pub type Result<T> = std::result::Result<T, Error>;

/// Everything that can fail for reasons outside the program.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The device asked for does not exist here.
    #[error("no device matches \"{asked}\": {reason}")]
    NoDevice {
        /// What was asked for.
        asked: String,
        /// Why nothing matches, and what there is.
        reason: String,
    },
    /// The device failed: lost, out of memory, or a command that its driver refused.
    #[error("the device {device} failed: {reason}")]
    Device {
        /// The device's name.
        device: String,
        /// What the driver said, and what to do.
        reason: String,
    },
    /// `backward` was called where there is nothing to differentiate, or no longer.
    #[error("backward: {0}")]
    Backward(String),
    /// A file could not be read or written.
    #[error("{}: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        reason: String,
    },
    /// A file's parameters are not those of the model.
    #[error("{}: its parameters do not fit this model: {problems}", path.display())]
    Parameters {
        /// The file.
        path: PathBuf,
        /// Every missing, unexpected and misshapen parameter.
        problems: String,
    },
}
