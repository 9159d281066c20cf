//! Tests that are made at run time, one for each device of this machine.

use super::{gpu_is_expected, open_devices};
use libtest_mimic::{Failed, Trial};
use neutreno::engine::Device;
use std::sync::Arc;
use std::time::Duration;

/// The CPU and every GPU adapter, with their names; `None` stands for an adapter where there is
/// none.
pub struct Devices(Vec<(String, Option<Arc<Device>>)>);

impl Devices {
    /// Opens them all.
    pub fn open() -> Devices {
        let share = |(name, device)| (name, Some(Arc::new(device)));
        let mut devices: Vec<_> = open_devices().into_iter().map(share).collect();
        if devices.len() == 1 {
            devices.push(("gpu".into(), None));
        }
        Devices(devices)
    }

    /// Opens each adapter a second time, with dispatches in small pieces.
    pub fn with_dispatches_split(mut self) -> Devices {
        for (name, device) in open_devices().into_iter().skip(1) {
            device.split_dispatches(Duration::from_micros(1));
            self.0.push((format!("{name}, split"), Some(Arc::new(device))));
        }
        self
    }

    /// A trial of `test` for each device. Where there is no adapter its trial shows as ignored;
    /// with `NEUTRENO_EXPECT_GPU` set it fails instead, so that no run passes by leaving it out.
    pub fn trials(
        &self,
        name: &str,
        test: impl Fn(&Device) -> Result<(), Failed> + Clone + Send + 'static,
    ) -> Vec<Trial> {
        let expected = gpu_is_expected();
        let trial = |(device_name, device): &(String, Option<Arc<Device>>)| {
            let (test, device) = (test.clone(), device.clone());
            let ignored = device.is_none() && !expected;
            let run = move || match &device {
                Some(device) => test(device),
                None => Err(Failed::from("there is no GPU adapter here")),
            };
            Trial::test(format!("{name} on {device_name}"), run).with_ignored_flag(ignored)
        };
        self.0.iter().map(trial).collect()
    }
}
