//! How long batches take on the device itself, by its own clock.

use super::driver::Driver;
use std::time::Duration;

/// Two readings of the device's clock, around a compute pass.
pub(super) struct Timestamps {
    queries: wgpu::QuerySet,
    resolved: wgpu::Buffer,
    read: wgpu::Buffer,
    /// Nanoseconds a tick.
    period: f64,
    /// What was measured so far; none if a reading was no time.
    total: Option<Duration>,
}

/// Two numbers of 64 bits.
const BYTES: u64 = 16;

impl Timestamps {
    /// Those of a device, if it has such a clock.
    pub fn new(driver: &Driver) -> Option<Timestamps> {
        if !driver.device.features().contains(wgpu::Features::TIMESTAMP_QUERY) {
            return None;
        }
        let queries = driver.device.create_query_set(&wgpu::QuerySetDescriptor {
            label: Some("timestamps"),
            ty: wgpu::QueryType::Timestamp,
            count: 2,
        });
        let buffer = |usage| {
            driver.device.create_buffer(&wgpu::BufferDescriptor {
                label: Some("timestamps"),
                size: BYTES,
                usage,
                mapped_at_creation: false,
            })
        };
        let resolved = buffer(wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC);
        let read = buffer(wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST);
        let period = f64::from(driver.queue.get_timestamp_period());
        Some(Timestamps { queries, resolved, read, period, total: Some(Duration::ZERO) })
    }

    /// That the clock is read before and after a pass.
    pub fn writes(&self) -> wgpu::ComputePassTimestampWrites<'_> {
        wgpu::ComputePassTimestampWrites {
            query_set: &self.queries,
            beginning_of_pass_write_index: Some(0),
            end_of_pass_write_index: Some(1),
        }
    }

    /// That what was read comes where the host sees it.
    pub fn resolve(&self, encoder: &mut wgpu::CommandEncoder) {
        encoder.resolve_query_set(&self.queries, 0..2, &self.resolved, 0);
        encoder.copy_buffer_to_buffer(&self.resolved, 0, &self.read, 0, BYTES);
    }

    /// Adds the time of a batch that was sent, which it waits for.
    pub fn add(&mut self, driver: &Driver, submission: wgpu::SubmissionIndex) {
        let slice = self.read.slice(..);
        slice.map_async(wgpu::MapMode::Read, |_| {});
        driver.wait(Some(submission));
        let time = slice.get_mapped_range().ok().and_then(|bytes| {
            let [start, end] = *bytemuck::cast_slice::<u8, u64>(&bytes) else { return None };
            // Some drivers leave zeros, or one clock's ticks less another's.
            let ticks = end.checked_sub(start).filter(|_| start > 0)?;
            Some(Duration::from_secs_f64(ticks as f64 * self.period * 1e-9))
        });
        self.read.unmap();
        self.total = self.total.zip(time).map(|(total, time)| total + time);
    }

    /// The time of all batches since this was asked last, if the clock can be believed.
    pub fn take(&mut self) -> Option<Duration> {
        self.total.replace(Duration::ZERO).filter(|total| !total.is_zero())
    }
}
