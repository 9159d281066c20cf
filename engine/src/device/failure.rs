//! What goes wrong on a device: noted where it happens, reported where the program waits. Ops
//! return tensors and no errors, so that programs stay short; nothing that was computed after a
//! failure reaches the program.
//!
//! A device that was lost, or does not come to an end, stays so. Memory that was refused is another
//! matter: the tensors that it was for stay without numbers (`missing.rs`), the program is told once,
//! and the device goes on.

use crate::memory_use::{MemoryUse, bytes as in_words};
use crate::{Error, Result};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

/// What went wrong on a device. Cloning it is cheap and means the same one.
#[derive(Clone, Default)]
pub(crate) struct Failure(Arc<State>);

#[derive(Default)]
struct State {
    /// The first thing after which the device is of no use.
    end: OnceLock<Cause>,
    /// The first refusal of memory that the program has not been told of.
    untold: Mutex<Option<Refusal>>,
    /// Whether memory was ever refused. Where it never was, no tensor is looked at for what is missing.
    has_refused: AtomicBool,
    /// Whether a fault was planned: all that a device looks at where none ever is.
    is_planned: AtomicBool,
    planned: Mutex<Option<Planned>>,
}

/// Why there was no room for what was asked.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    reason: Arc<str>,
    /// Whether a limit stands against it and always will.
    lasting: bool,
}

/// What ends a device, in words that say what it did.
#[derive(Clone, Debug)]
pub(crate) enum Cause {
    /// Its driver had no room for something that no tensor is without.
    NoMemory(String),
    /// It did not come to an end with its work.
    Hang(String),
    /// Anything else: it was lost, or its driver refused a command.
    Other(String),
}

impl Failure {
    /// Notes what ends the device, if it is the first such thing.
    pub fn end(&self, cause: Cause) {
        self.0.end.get_or_init(|| cause);
    }

    /// Whether the device is of no use any more.
    pub fn is_end(&self) -> bool {
        self.0.end.get().is_some()
    }

    /// Whether the device may still be at work, and for ever.
    pub fn is_hang(&self) -> bool {
        matches!(self.0.end.get(), Some(Cause::Hang(_)))
    }

    /// Notes that `bytes` more were refused, and why.
    pub fn refuse(&self, bytes: u64, why: &str) -> Refusal {
        self.note(bytes, why, false)
    }

    /// Notes that `bytes` more were refused because of a limit, and what that limits.
    pub fn above_limit(&self, bytes: u64, limit: u64, of_what: &str) -> Refusal {
        self.note(bytes, &format!("the limit {of_what} is {}", in_words(limit)), true)
    }

    fn note(&self, bytes: u64, why: &str, lasting: bool) -> Refusal {
        let reason = format!("{} more were asked for, and {why}", in_words(bytes));
        let refusal = Refusal { reason: reason.into(), lasting };
        self.untold().get_or_insert_with(|| refusal.clone());
        self.0.has_refused.store(true, Ordering::Relaxed);
        refusal
    }

    /// Whether memory was ever refused.
    pub fn has_refused(&self) -> bool {
        self.0.has_refused.load(Ordering::Relaxed)
    }

    /// The error, if something went wrong that ended the device, or that the program has not been told
    /// of.
    pub fn check(&self, device: &str, memory: impl FnOnce() -> MemoryUse) -> Result<()> {
        let Some(cause) = self.0.end.get() else {
            return match self.untold().take() {
                Some(refusal) => Err(refusal.error(device, memory())),
                None => Ok(()),
            };
        };
        let (device, memory) = (device.to_owned(), memory());
        Err(match cause.clone() {
            Cause::NoMemory(reason) => {
                Error::OutOfMemory { device, reason, lasting: false, memory }
            }
            Cause::Hang(reason) | Cause::Other(reason) => Error::Device { device, reason, memory },
        })
    }

    fn untold(&self) -> MutexGuard<'_, Option<Refusal>> {
        self.0.untold.lock().expect("no code panics with it")
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

    fn planned(&self) -> MutexGuard<'_, Option<Planned>> {
        self.0.planned.lock().expect("no code panics with it")
    }
}

impl Refusal {
    /// What the program is told.
    pub fn error(&self, device: &str, memory: MemoryUse) -> Error {
        let (device, reason) = (device.to_owned(), self.reason.to_string());
        Error::OutOfMemory { device, reason, lasting: self.lasting, memory }
    }
}

/// A fault that a device is to have: for tests of programs that must survive it. See
/// [`Device::inject`](crate::Device::inject).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A request for memory is refused. Counted are those that the pool cannot meet.
    NoMemory,
    /// A request for memory is refused at first, and met once what waits in the pool to be used again
    /// was given back. Counted are those that the pool cannot meet.
    ShortOfMemory,
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
