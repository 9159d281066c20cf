//! Going on after the device has failed: it is opened again, and the model starts at its latest
//! checkpoint, as a run that is resumed does.

use crate::engine::{self, Device};
use crate::error::Error;
use crate::observer::Observer;
use crate::safety::{OnDeviceLoss, Safety};
use std::mem::replace;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::Duration;

/// How often a device is opened again before a new checkpoint was reached.
const ATTEMPTS: u32 = 3;

/// The time before the first attempt; each further one waits twice as long. A driver that starts
/// anew takes some seconds.
const PAUSE: Duration = Duration::from_secs(if cfg!(test) { 0 } else { 2 });

/// Opens a device again.
pub(crate) struct Recovery<'a> {
    /// Opens the same device as at first.
    pub open: &'a dyn Fn() -> engine::Result<Device>,
    pub safety: &'a Safety,
    pub interrupted: &'a AtomicBool,
    /// The flags that lower the memory.
    pub flags: &'a str,
    /// Whether this process trains alone: of several, one that fails ends all.
    pub alone: bool,
    attempts: u32,
    /// The step of the checkpoint that the attempts started at.
    step: Option<u64>,
}

impl<'a> Recovery<'a> {
    pub fn new(
        open: &'a dyn Fn() -> engine::Result<Device>,
        safety: &'a Safety,
        interrupted: &'a AtomicBool,
        flags: &'a str,
        alone: bool,
    ) -> Recovery<'a> {
        Recovery { open, safety, interrupted, flags, alone, attempts: 0, step: None }
    }

    /// Replaces a device that failed with `error`, if that was asked for and has a chance. `step` is
    /// that of the latest checkpoint.
    ///
    /// # Errors
    /// The failure, if it stays.
    pub fn recover(
        &mut self,
        device: &mut Device,
        mut error: engine::Error,
        step: Option<u64>,
        observer: &mut dyn Observer,
    ) -> Result<(), Error> {
        if step > self.step {
            (self.attempts, self.step) = (0, step);
        }
        let wanted = device.to_string();
        loop {
            let retries = self.safety.on_device_loss == OnDeviceLoss::Retry;
            let interrupted = self.interrupted.load(Ordering::Relaxed);
            let lasting = matches!(error, engine::Error::OutOfMemory { lasting: true, .. });
            if !retries || interrupted || lasting || self.attempts == ATTEMPTS {
                return Err(self.stopped(error));
            }
            self.attempts += 1;
            let from = step.map_or("from the start".into(), |step| format!("after step {step}"));
            observer.notice(&format!(
                "{error}\n  opening the device again and going on {from} (attempt {} of {ATTEMPTS})",
                self.attempts
            ));
            sleep(PAUSE * (1 << (self.attempts - 1)));
            // The failed one goes first: it may still hold memory.
            drop(replace(device, Device::plan()));
            match (self.open)() {
                Ok(opened) if opened.to_string() == wanted => {
                    self.safety.limit_memory(&opened);
                    *device = opened;
                    return Ok(());
                }
                Ok(other) => {
                    let reason = format!("{other} was found in its place");
                    error = engine::Error::NoDevice { asked: wanted.clone(), reason };
                }
                Err(failed) => error = failed,
            }
        }
    }

    /// The error that ends the run, with what helps.
    fn stopped(&self, source: engine::Error) -> Error {
        if !self.alone {
            return ends_all_ranks(source, self.flags);
        }
        let mut advice = Vec::new();
        if self.attempts > 0 {
            advice.push(format!("{} attempts to go on reached no new checkpoint", self.attempts));
        }
        if matches!(source, engine::Error::OutOfMemory { .. }) {
            advice.push(less_memory(self.flags));
        } else if self.safety.on_device_loss == OnDeviceLoss::Stop {
            let flag = "--on-device-loss retry";
            advice.push(format!("With {flag} a run opens it again and goes on by itself"));
        }
        let advice = advice.join(". ");
        Error::Device { source, advice }
    }
}

/// The error of one of several ranks whose device has failed. `flags` are those that lower the memory.
pub(crate) fn ends_all_ranks(source: engine::Error, flags: &str) -> Error {
    let advice = match source {
        engine::Error::OutOfMemory { .. } => less_memory(flags),
        _ => "One rank that fails ends all, and --resume goes on from the latest checkpoint".into(),
    };
    Error::Device { source, advice }
}

fn less_memory(flags: &str) -> String {
    format!("Less memory is needed with {flags}")
}
