//! What goes wrong on a device: noted where it happens, reported where the program waits. Ops
//! return tensors and no errors, so that programs stay short; nothing that was computed after a
//! failure reaches the program.

use crate::memory_use::{MemoryUse, bytes as in_words};
use crate::{Error, Result};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

/// The first thing that went wrong on a device. Cloning it is cheap and means the same one.
#[derive(Clone, Default)]
pub(crate) struct Failure(Arc<State>);

#[derive(Default)]
struct State {
    first: OnceLock<Cause>,
    /// Whether a fault was planned: all that a device looks at where none ever is.
    is_planned: AtomicBool,
    planned: Mutex<Option<Planned>>,
}

/// What went wrong, in words that say what the device did.
#[derive(Clone, Debug)]
pub(crate) enum Cause {
    /// There is no room for what was asked, or a limit stands against it and always will.
    NoMemory { reason: String, lasting: bool },
    /// It did not come to an end with its work.
    Hang(String),
    /// Anything else: it was lost, or its driver refused a command.
    Other(String),
}

impl Failure {
    /// Notes a failure, if it is the first.
    pub fn set(&self, cause: Cause) {
        self.0.first.get_or_init(|| cause);
    }

    /// Notes that `bytes` more were refused, and why.
    pub fn no_memory(&self, bytes: u64, why: &str) {
        self.refuse(bytes, why, false);
    }

    /// Notes that `bytes` more were refused because of a limit, and what that limits.
    pub fn above_limit(&self, bytes: u64, limit: u64, of_what: &str) {
        self.refuse(bytes, &format!("the limit {of_what} is {}", in_words(limit)), true);
    }

    fn refuse(&self, bytes: u64, why: &str, lasting: bool) {
        let reason = format!("{} more were asked for, and {why}", in_words(bytes));
        self.set(Cause::NoMemory { reason, lasting });
    }

    /// Whether something went wrong.
    pub fn is_set(&self) -> bool {
        self.0.first.get().is_some()
    }

    /// Whether the device may still be at work, and for ever.
    pub fn is_hang(&self) -> bool {
        matches!(self.0.first.get(), Some(Cause::Hang(_)))
    }

    /// The error, if something went wrong.
    pub fn check(&self, device: &str, memory: impl FnOnce() -> MemoryUse) -> Result<()> {
        let Some(cause) = self.0.first.get() else { return Ok(()) };
        let (device, memory) = (device.to_owned(), memory());
        Err(match cause.clone() {
            Cause::NoMemory { reason, lasting } => {
                Error::OutOfMemory { device, reason, lasting, memory }
            }
            Cause::Hang(reason) | Cause::Other(reason) => Error::Device { device, reason, memory },
        })
    }

    /// Plans a fault.
    pub fn inject(&self, fault: Fault, after: u64) -> Injection {
        let seen = Arc::default();
        *self.planned() = Some(Planned { fault, after, seen: Arc::clone(&seen) });
        self.0.is_planned.store(true, Ordering::Release);
        Injection(seen)
    }

    /// To be called at each place where `fault` can happen: whether it is to happen now.
    pub fn is_due(&self, fault: Fault) -> bool {
        if !self.0.is_planned.load(Ordering::Acquire) {
            return false;
        }
        let planned = self.planned();
        let Some(planned) = planned.as_ref().filter(|planned| planned.fault == fault) else {
            return false;
        };
        planned.seen.fetch_add(1, Ordering::Relaxed) == planned.after
    }

    fn planned(&self) -> std::sync::MutexGuard<'_, Option<Planned>> {
        self.0.planned.lock().expect("no code panics with it")
    }
}

/// A fault that a device is to have: for tests of programs that must survive it. See
/// [`Device::inject`](crate::Device::inject).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A request for memory is refused. Counted are those that the pool cannot meet.
    NoMemory,
    /// A GPU is lost just before a dispatch is recorded.
    LostAtDispatch,
    /// A GPU is lost just before a batch of dispatches is sent to it.
    LostAtSubmission,
    /// A GPU is lost just before it is asked for numbers.
    LostAtReading,
    /// A GPU does not come to an end while the program waits for it.
    Hang,
}

struct Planned {
    fault: Fault,
    after: u64,
    seen: Arc<AtomicU64>,
}

/// A fault that was planned.
#[derive(Clone, Debug)]
pub struct Injection(Arc<AtomicU64>);

impl Injection {
    /// How often the device has come to a place where the fault can happen.
    pub fn seen(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
