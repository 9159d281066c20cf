//! Reading results back.

use super::driver::{Driver, PATIENCE};
use super::memory::Block;
use crate::device::failure::Cause;
use std::sync::mpsc;

/// Numbers on their way to the host, through a buffer that the host can see.
pub(crate) struct Download {
    buffer: Block,
    submission: wgpu::SubmissionIndex,
    mapped: mpsc::Receiver<Result<(), String>>,
    elements: usize,
}

impl Download {
    /// Of the first `elements` numbers that `submission` copies to `buffer`.
    pub(super) fn new(
        buffer: Block,
        submission: wgpu::SubmissionIndex,
        elements: usize,
    ) -> Download {
        let (sender, mapped) = mpsc::channel();
        buffer.buffer.raw.map_async(wgpu::MapMode::Read, .., move |result| {
            // The receiver is gone if nobody wants the numbers any more.
            let _ = sender.send(result.map_err(|error| error.to_string()));
        });
        Download { buffer, submission, mapped, elements }
    }

    /// Waits for the numbers, which take the place of others. Where the device fails that is noted, and there
    /// are none.
    pub(super) fn wait(self, driver: &Driver, mut numbers: Vec<f32>) -> Vec<f32> {
        numbers.clear();
        driver.wait(Some(self.submission.clone()));
        if driver.failure.is_end() {
            return numbers;
        }
        let arrived = self.mapped.recv_timeout(PATIENCE).map_err(|error| error.to_string());
        let raw = &self.buffer.buffer.raw;
        let view = arrived
            .and_then(|mapped| mapped)
            .and_then(|()| raw.get_mapped_range(..).map_err(|error| error.to_string()));
        match view {
            Ok(view) => {
                numbers.extend_from_slice(bytemuck::cast_slice(&view[..4 * self.elements]));
            }
            Err(error) => {
                driver.failure.end(Cause::Other(format!("reading from it: {error}")));
            }
        }
        numbers
    }
}

impl Drop for Download {
    fn drop(&mut self) {
        // Also where nobody waited: then the buffer is not mapped any more once it has arrived.
        self.buffer.buffer.raw.unmap();
    }
}
