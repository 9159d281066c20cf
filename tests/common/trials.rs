//! Tests that are made at run time, one for each device of this machine.

use libtest_mimic::{Failed, Trial};
use neutreno::engine::Device;
use std::sync::Arc;

/// The CPU and every GPU adapter, with their names; `None` stands for an adapter where there is
/// none.
pub struct Devices(Vec<(String, Option<Arc<Device>>)>);

impl Devices {
    /// Opens them all.
    pub fn open() -> Devices {
        let mut devices = vec![("cpu".to_string(), Some(Arc::new(Device::cpu())))];
        for (index, found) in neutreno::engine::device::list().iter().enumerate() {
            let device = Device::open(&format!("gpu:{index}"), 0).expect("a listed adapter opens");
            let name = found.name.split(" (").next().unwrap_or_default();
            devices.push((format!("{} {name}", found.interface), Some(Arc::new(device))));
        }
        if devices.len() == 1 {
            devices.push(("gpu".into(), None));
        }
        Devices(devices)
    }

    /// A trial of `test` for each device. Where there is no adapter its trial shows as ignored;
    /// with `NEUTRENO_EXPECT_GPU` set it fails instead, so that no run passes by leaving it out.
    pub fn trials(
        &self,
        name: &str,
        test: impl Fn(&Device) -> Result<(), Failed> + Clone + Send + 'static,
    ) -> Vec<Trial> {
        let expected = std::env::var_os("NEUTRENO_EXPECT_GPU").is_some();
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
