//! How fast a device computes, and moves numbers.

use neutreno::engine::{Device, Error, Tensor};
use std::time::{Duration, Instant};

/// The median seconds of doing `work` once. It is done so often in a row that neither waiting for the device
/// nor its falling asleep meanwhile counts, within about a second.
pub fn seconds_each(device: &Device, work: impl Fn()) -> Result<f64, Error> {
    let in_a_row = |times: u32| {
        let start = Instant::now();
        (0..times).for_each(|_| work());
        device.synchronize()?;
        Ok::<_, Error>(start.elapsed())
    };
    // The first may wait for a shader or for memory.
    in_a_row(1)?;
    let mut times = 1;
    while in_a_row(times)? < Duration::from_millis(10) {
        times *= 2;
    }
    let (started, mut seconds) = (Instant::now(), Vec::new());
    while seconds.is_empty() || (seconds.len() < 9 && started.elapsed().as_secs_f64() < 1.0) {
        seconds.push(in_a_row(times)?.as_secs_f64() / f64::from(times));
    }
    Ok(median(seconds))
}

/// Operations a second in products of square matrices, so large that the device is busy with one of them for a
/// while.
pub fn flops_per_second(device: &Device) -> Result<f64, Error> {
    let mut size = 512;
    loop {
        let matrix = Tensor::full(0.5, [size, size], device);
        let seconds = seconds_each(device, || drop(matrix.matmul(&matrix)))?;
        if seconds > 1e-3 || size >= 4096 {
            return Ok(2.0 * (size as f64).powi(3) / seconds);
        }
        size *= 2;
    }
}

/// Bytes a second that are read and written where every number of a tensor larger than caches is doubled.
pub fn bytes_per_second(device: &Device) -> Result<f64, Error> {
    let x = Tensor::full(0.5, [32 << 20], device);
    let seconds = seconds_each(device, || drop(x.scale(2.0)))?;
    Ok(2.0 * 4.0 * x.elements() as f64 / seconds)
}

/// The middle one, and of two the larger.
pub fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}
