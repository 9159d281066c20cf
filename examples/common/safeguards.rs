//! The flags that see to it that nothing is lost.

use super::arguments::{minutes, number, positive};
use clap::{Args, ValueEnum};
use neutreno::training::{OnDeviceLoss, OnNonFinite, Safety};
use std::str::FromStr;

/// All of them.
#[derive(Debug, Args)]
pub struct Safeguards {
    /// Write a checkpoint every so many steps, or minutes (10min). There is one before every
    /// evaluation and when the program is interrupted anyway
    #[arg(long, value_name = "STEPS", default_value = "10min", help_heading = "Safeguards")]
    pub checkpoint_every: CheckpointEvery,
    /// Keep so many checkpoints, the latest; the best is kept beside them
    #[arg(long, value_name = "COUNT", default_value_t = 2, value_parser = positive, help_heading = "Safeguards")]
    pub keep_checkpoints: usize,
    /// What to do when the loss or a gradient is not a finite number
    #[arg(long, value_enum, default_value = "stop", help_heading = "Safeguards")]
    pub on_nonfinite: OnNonFiniteName,
    /// Find the first parameter or gradient that is not finite; slower
    #[arg(long, help_heading = "Safeguards")]
    pub debug_nonfinite: bool,
    /// What to do when the device fails: lost, hung, or without memory
    #[arg(long, value_enum, default_value = "stop", help_heading = "Safeguards")]
    pub on_device_loss: OnDeviceLossName,
    /// Refuse to train what takes more memory than this on the device: 2GiB, 500MiB, or bytes
    #[arg(long, value_name = "SIZE", value_parser = size, help_heading = "Safeguards")]
    pub memory_limit: Option<u64>,
    /// Note a hash of all parameters in the metrics every so many steps; 0 for never
    #[arg(long, value_name = "STEPS", default_value_t = 0, help_heading = "Safeguards")]
    pub hash_every: u64,
}

/// What to do about numbers that are not finite, as typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OnNonFiniteName {
    /// Stop with an error
    Stop,
    /// Leave the step out, and count
    Skip,
}

/// What to do about a device that fails, as typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OnDeviceLossName {
    /// Stop with an error
    Stop,
    /// Open it again and go on from the latest checkpoint; give up after three times without a new
    /// one
    Retry,
}

/// How often to write checkpoints, as typed: `500`, `10min`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum CheckpointEvery {
    Steps(u64),
    Minutes(f64),
}

impl FromStr for CheckpointEvery {
    type Err = String;

    fn from_str(text: &str) -> Result<CheckpointEvery, String> {
        match text.strip_suffix("min") {
            Some(text) => minutes(text.trim()).map(CheckpointEvery::Minutes),
            None => number(text).map(CheckpointEvery::Steps),
        }
    }
}

/// A number of bytes, as typed: `2GiB`, `500 MB`, `1000000`.
fn size(text: &str) -> Result<u64, String> {
    const UNITS: [(&str, f64); 7] = [
        ("kib", 1024.0),
        ("mib", 1_048_576.0),
        ("gib", 1_073_741_824.0),
        ("kb", 1e3),
        ("mb", 1e6),
        ("gb", 1e9),
        ("b", 1.0),
    ];
    let text = text.trim().to_lowercase();
    let with_unit =
        UNITS.iter().find_map(|(unit, bytes)| Some((text.strip_suffix(unit)?.trim_end(), *bytes)));
    let (digits, unit) = with_unit.unwrap_or((&text, 1.0));
    let bytes = digits.parse().map_or(f64::NAN, |count: f64| count * unit);
    if (1.0..1e18).contains(&bytes) {
        Ok(bytes as u64)
    } else {
        Err("must be a size such as 2GiB, 500MiB or 1000000".into())
    }
}

impl Safeguards {
    /// What the flags say.
    pub fn safety(&self) -> Safety {
        let (checkpoint_steps, checkpoint_minutes) = match self.checkpoint_every {
            CheckpointEvery::Steps(steps) => (steps, f64::INFINITY),
            CheckpointEvery::Minutes(minutes) => (0, minutes),
        };
        Safety {
            checkpoint_steps,
            checkpoint_minutes,
            keep: self.keep_checkpoints,
            on_nonfinite: match self.on_nonfinite {
                OnNonFiniteName::Stop => OnNonFinite::Stop,
                OnNonFiniteName::Skip => OnNonFinite::Skip,
            },
            debug_nonfinite: self.debug_nonfinite,
            hash_steps: self.hash_every,
            on_device_loss: match self.on_device_loss {
                OnDeviceLossName::Stop => OnDeviceLoss::Stop,
                OnDeviceLossName::Retry => OnDeviceLoss::Retry,
            },
            memory_limit: self.memory_limit,
        }
    }
}
