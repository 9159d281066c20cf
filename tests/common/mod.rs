//! What several tests need.

#![allow(dead_code, reason = "each test uses a part")]

pub mod exchange;
pub mod folder;
#[cfg(unix)]
pub mod jobs;
pub mod programs;
pub mod reference;
pub mod training;
pub mod trials;
pub mod unsteady;

use neutreno::engine::Device;
use neutreno::engine::gpu::Class;

/// The CPU and every GPU adapter found here, each with its name. A software adapter is there twice, once as
/// what it is and once as hardware, since that runs other kernels.
///
/// # Panics
/// Where `NEUTRENO_EXPECT_GPU` is set and no adapter is found, so that no run can pass by leaving
/// the GPU out.
pub fn devices() -> Vec<(String, Device)> {
    let devices = open_devices();
    let found = devices.len() > 1;
    assert!(found || !gpu_is_expected(), "NEUTRENO_EXPECT_GPU is set, but there is no adapter");
    devices
}

/// The CPU and every GPU adapter, if any, each with its name, software also as hardware. `NEUTRENO_EXPECT_GPU` may say a part
/// of a name, instead of 1: then such an adapter must be among them.
fn open_devices() -> Vec<(String, Device)> {
    let mut devices = vec![("cpu".to_string(), Device::cpu())];
    for (index, found) in neutreno::engine::device::list().iter().enumerate() {
        let device = Device::open(&format!("gpu:{index}"), 0).expect("a listed adapter opens");
        let name = found.name.split(" (").next().unwrap_or_default();
        devices.push((format!("{} {name}", found.interface), device));
        if found.is_software() {
            let device = Device::open_as(&format!("gpu:{index}"), Class::HARDWARE);
            let device = device.expect("a listed adapter opens as hardware");
            devices.push((format!("{} {name}, as hardware", found.interface), device));
        }
    }
    let expected = std::env::var("NEUTRENO_EXPECT_GPU").unwrap_or_default();
    let found = expected == "1" || devices.iter().any(|(name, _)| name.contains(&expected));
    assert!(found, "NEUTRENO_EXPECT_GPU is {expected}, and there is no such adapter");
    devices
}

fn gpu_is_expected() -> bool {
    std::env::var_os("NEUTRENO_EXPECT_GPU").is_some()
}

/// SplitMix64's last part: a hash of 64 bits.
pub fn finalise(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// The golden ratio in 64 bits.
pub const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;
