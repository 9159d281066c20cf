//! The time of each kind of kernel in a step.

use crate::common::rates;
use crate::measure::WARM_UP;
use crate::peak;
use crate::work::{Sizes, Work};
use neutreno::VariantConfig;
use neutreno::engine::device::KernelTime;
use neutreno::engine::{Device, Error};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::{Duration, Instant};

const STEPS: u32 = 8;

/// The table.
pub fn run(sizes: &Sizes, config: &VariantConfig, device: &Device) -> Result<String, Error> {
    let mut work = Work::new(sizes, config.clone(), device);
    for _ in 0..WARM_UP {
        work.step()?.wait()?;
    }
    device.start_profile();
    let start = Instant::now();
    for _ in 0..STEPS {
        work.step()?.wait()?;
    }
    let step = start.elapsed() / STEPS;
    let times = device.stop_profile();
    let limits = Limits {
        flops: peak::products(sizes, device)?.flops_per_second(),
        bytes: rates::bytes_per_second(device)?,
    };
    Ok(table(&times, step, &limits))
}

/// The rates that kernels are held against.
struct Limits {
    flops: f64,
    bytes: f64,
}

fn table(times: &[KernelTime], step: Duration, limits: &Limits) -> String {
    let mut kinds: BTreeMap<&str, Row> = BTreeMap::new();
    for time in times {
        kinds.entry(time.name).or_default().add(time);
    }
    let total: f64 = kinds.values().map(|row| row.seconds).sum();
    let step = step.as_secs_f64();
    let mut text = format!(
        "a step of {:.2} ms while kernels are timed one by one, {:.2} ms of it in kernels; \
         {:.0} GFLOP/s is what products alone reach, {:.1} GB/s the memory\n",
        1e3 * step,
        1e3 * total,
        limits.flops / 1e9,
        limits.bytes / 1e9
    );
    let kinds = kinds.into_iter().map(|(name, row)| (name.to_string(), row));
    write_rows(&mut text, "kernel", kinds.collect(), step, limits);
    let sizes = times.iter().take(16).map(|time| {
        let shapes: Vec<String> = time.shapes.iter().map(ToString::to_string).collect();
        let mut row = Row::default();
        row.add(time);
        (format!("{} {}", time.name, shapes.join(" ")), row)
    });
    write_rows(&mut text, "the longest, by size", sizes.collect(), step, limits);
    text
}

/// What some kernels took in one step.
#[derive(Default)]
struct Row {
    launches: f64,
    seconds: f64,
    flops: f64,
    bytes: f64,
}

impl Row {
    fn add(&mut self, time: &KernelTime) {
        let steps = f64::from(STEPS);
        self.launches += time.launches as f64 / steps;
        self.seconds += time.time.as_secs_f64() / steps;
        self.flops += time.cost.flops as f64 / steps;
        self.bytes += time.cost.bytes as f64 / steps;
    }
}

fn write_rows(
    text: &mut String,
    title: &str,
    mut rows: Vec<(String, Row)>,
    step: f64,
    limits: &Limits,
) {
    rows.sort_by(|a, b| b.1.seconds.total_cmp(&a.1.seconds));
    let _ = writeln!(
        text,
        "\n{title:62} {:>8} {:>8} {:>6} {:>9} {:>5} {:>8} {:>5}  bound by",
        "launches", "ms", "%", "GFLOP/s", "%", "GB/s", "%"
    );
    for (name, row) in rows {
        let (flops, bytes) = (row.flops / row.seconds, row.bytes / row.seconds);
        let [of_flops, of_bytes] = [100.0 * flops / limits.flops, 100.0 * bytes / limits.bytes];
        let bound = if of_flops > of_bytes { "arithmetic" } else { "memory" };
        let _ = writeln!(
            text,
            "{name:62} {:8} {:8.3} {:6.1} {:9.1} {of_flops:5.0} {:8.1} {of_bytes:5.0}  {bound}",
            row.launches,
            1e3 * row.seconds,
            100.0 * row.seconds / step,
            flops / 1e9,
            bytes / 1e9,
        );
    }
}
