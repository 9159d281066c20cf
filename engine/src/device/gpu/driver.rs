//! The driver's handles, and how what goes wrong there is noted.

use crate::device::Fault;
use crate::device::failure::{Cause, Failure};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

/// How long to wait for the device before it counts as hung. What is waited for is some hundreds
/// of dispatches at most; on slow software they may take a minute.
pub(super) const PATIENCE: Duration = Duration::from_secs(300);

/// An open device of wgpu's. Cloning it is cheap and means the same device.
#[derive(Clone)]
pub(super) struct Driver {
    pub device: wgpu::Device,
    pub queue: wgpu::Queue,
    pub failure: Failure,
}

impl Driver {
    pub fn new(device: wgpu::Device, queue: wgpu::Queue) -> Driver {
        let failure = Failure::default();
        let on_error = failure.clone();
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| match &error {
            wgpu::Error::OutOfMemory { .. } => on_error.end(Cause::NoMemory(error.to_string())),
            _ => on_error.end(Cause::Other(error.to_string())),
        }));
        let on_loss = failure.clone();
        device.set_device_lost_callback(move |reason, message| {
            let detail = if message.is_empty() { format!("{reason:?}") } else { message };
            on_loss.end(Cause::Other(format!("it was lost: {detail}")));
        });
        Driver { device, queue, failure }
    }

    /// Loses the device if a fault was planned that is to happen now.
    pub fn lose_if_due(&self, fault: Fault) {
        if self.failure.is_due(fault) {
            self.device.destroy();
        }
    }

    /// A buffer, or `None` if there is no room.
    pub fn create_buffer(
        &self,
        label: &str,
        bytes: u64,
        usage: wgpu::BufferUsages,
    ) -> Option<wgpu::Buffer> {
        let descriptor = wgpu::BufferDescriptor {
            label: Some(label),
            size: bytes,
            usage,
            mapped_at_creation: false,
        };
        let scope = self.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let buffer = self.device.create_buffer(&descriptor);
        let refused = pollster::block_on(scope.pop()).is_some();
        (!refused).then_some(buffer)
    }

    /// Waits for a submission.
    pub fn wait(&self, submission_index: Option<wgpu::SubmissionIndex>) {
        let failure = &self.failure;
        if failure.is_end() {
            return;
        }
        let hangs = failure.is_due(Fault::Hang);
        let timeout = Some(if hangs { Duration::ZERO } else { PATIENCE });
        let poll = |poll_type| {
            // wgpu panics if the device is lost while it is waited for.
            catch_unwind(AssertUnwindSafe(|| self.device.poll(poll_type)))
        };
        match poll(wgpu::PollType::Wait { submission_index, timeout }) {
            Ok(Err(wgpu::PollError::Timeout)) => failure.end(hang()),
            Ok(Ok(_)) if hangs => failure.end(hang()),
            Ok(Ok(_)) => {}
            // It was lost before the work was sent to it: that is said now, and only here.
            Ok(Err(error)) => {
                let _ = poll(wgpu::PollType::Poll);
                failure.end(Cause::Other(format!("waiting for it: {error}")));
            }
            Err(_) => failure.end(Cause::Other("it was lost".into())),
        }
    }
}

fn hang() -> Cause {
    let seconds = PATIENCE.as_secs();
    Cause::Hang(format!("it did not come to an end with its work within {seconds} seconds"))
}
