//! What the world can do wrong, and a `backward` with nothing to go back through. Other mistakes of
//! the program, such as shapes that do not fit, panic at the caller's line instead.

use crate::device::MemoryUse;
use std::path::PathBuf;

/// The engine's result.
pub type Result<T> = std::result::Result<T, Error>;

/// Everything that can fail for reasons outside the program, and a `backward` with nothing to go back
/// through.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The device asked for does not exist here.
    #[error("no device matches \"{asked}\": {reason}")]
    NoDevice {
        /// What was asked for.
        asked: String,
        /// Why nothing matches, and what there is.
        reason: String,
    },
    /// The device failed: it was lost, did not come to an end, or its driver refused a command. All
    /// that is on it is lost; another one can be opened.
    #[error("the device {device} failed: {reason} ({memory})")]
    Device {
        /// The device's name.
        device: String,
        /// What happened.
        reason: String,
        /// The memory that tensors took there.
        memory: MemoryUse,
    },
    /// The device had no room for a tensor, or was not allowed to take more. That tensor and what would
    /// have been computed from it have no numbers: reading them is this error each time. All others
    /// are whole, and the device can be used on.
    #[error("the device {device} ran out of memory: {reason} ({memory})")]
    OutOfMemory {
        /// The device's name.
        device: String,
        /// What was asked for, and why it was refused.
        reason: String,
        /// Whether it will be refused each time, because a limit stands against it, and not what
        /// else takes memory at the moment.
        lasting: bool,
        /// The memory that tensors took there.
        memory: MemoryUse,
    },
    /// A number is too large for the format of 16 bits that it was to be kept in.
    #[error("{number:e} is too large for {format}, which would make it infinite")]
    TooLarge {
        /// The number.
        number: f32,
        /// The format's name.
        format: &'static str,
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

impl Error {
    /// Whether it is the device's: it failed, so that only another one can help, or it ran out of
    /// memory.
    ///
    /// ```
    /// use neutreno_engine::Device;
    /// assert!(!Device::open("no such card", 0).unwrap_err().is_of_device());
    /// ```
    pub fn is_of_device(&self) -> bool {
        matches!(self, Error::Device { .. } | Error::OutOfMemory { .. })
    }
}
