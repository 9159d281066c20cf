//! Reading results back.

use super::driver::{Driver, PATIENCE};
use super::memory::Pool;
use crate::Result;
use crate::device::failure::Cause;
use std::sync::{Arc, Mutex, mpsc};

/// Buffers that results were read through, to be used again.
#[derive(Clone, Default)]
pub(super) struct Staging(Arc<Mutex<Vec<wgpu::Buffer>>>);

impl Staging {
    /// A buffer of so many bytes.
    pub fn take(&self, bytes: u64, driver: &Driver) -> wgpu::Buffer {
        const USAGE: wgpu::BufferUsages =
            wgpu::BufferUsages::MAP_READ.union(wgpu::BufferUsages::COPY_DST);
        let mut buffers = self.0.lock().expect("no code panics with it");
        match buffers.iter().position(|buffer| buffer.size() == bytes) {
            Some(index) => buffers.swap_remove(index),
            None => driver
                .create_buffer("reading", bytes, USAGE)
                .unwrap_or_else(|| driver.invalid_buffer()),
        }
    }

    fn give_back(&self, buffer: wgpu::Buffer) {
        self.0.lock().expect("no code panics with it").push(buffer);
    }
}

/// Numbers on their way to the host.
pub(crate) struct Download {
    pub(super) driver: Driver,
    /// The device's name.
    pub(super) name: String,
    pub(super) pool: Arc<Pool>,
    pub(super) buffer: wgpu::Buffer,
    pub(super) staging: Staging,
    pub(super) submission: wgpu::SubmissionIndex,
    pub(super) mapped: mpsc::Receiver<std::result::Result<(), String>>,
    pub(super) elements: usize,
}

impl Download {
    pub fn wait(self) -> Result<Vec<f32>> {
        self.driver.wait(Some(self.submission));
        let failure = &self.driver.failure;
        let check = || failure.check(&self.name, || self.pool.memory());
        check()?;
        let arrived = self.mapped.recv_timeout(PATIENCE).map_err(|error| error.to_string());
        let view = arrived
            .and_then(|mapped| mapped)
            .and_then(|()| self.buffer.get_mapped_range(..).map_err(|error| error.to_string()));
        let numbers = match view {
            Ok(view) => bytemuck::cast_slice(&view[..4 * self.elements]).to_vec(),
            Err(error) => {
                failure.set(Cause::Other(format!("reading from it: {error}")));
                Vec::new()
            }
        };
        check()?;
        self.buffer.unmap();
        self.staging.give_back(self.buffer);
        Ok(numbers)
    }
}
