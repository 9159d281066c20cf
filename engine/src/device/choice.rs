//! Choosing a device by what the user typed.

use super::{Device, gpu};
use crate::gpu::DeviceDescription;
use crate::{Error, Result};

/// The GPUs of this machine, the best first; software ones last.
pub fn list() -> Vec<DeviceDescription> {
    gpu::adapters().iter().map(gpu::describe).collect()
}

impl Device {
    /// Opens the device that `asked` names:
    /// - `auto`: the best GPU that is real hardware, else the CPU;
    /// - `cpu`: the CPU, with `threads` threads (0: one for every core);
    /// - `gpu`: the best GPU that is real hardware;
    /// - `gpu:N`: number N, counting from 0, of [`list`];
    /// - anything else: the first GPU whose name has this in it, in any case; software ones too.
    ///
    /// # Errors
    /// If there is no such device, or it can not be opened. The message lists what there is.
    ///
    /// ```
    /// use neutreno_engine::Device;
    /// assert_eq!(Device::open("cpu", 1)?.kind(), "cpu");
    /// assert!(Device::open("no such card", 0).is_err());
    /// # Ok::<(), neutreno_engine::Error>(())
    /// ```
    pub fn open(asked: &str, threads: usize) -> Result<Device> {
        if asked.eq_ignore_ascii_case("cpu") {
            return Ok(Device::cpu_with_threads(threads));
        }
        let adapters = gpu::adapters();
        let found: Vec<DeviceDescription> = adapters.iter().map(gpu::describe).collect();
        let lower = asked.to_lowercase();
        let hardware = found.iter().position(|device| !device.is_software());
        let index = match lower.as_str() {
            "auto" if hardware.is_none() => return Ok(Device::cpu_with_threads(threads)),
            "auto" | "gpu" => hardware,
            _ => match lower.strip_prefix("gpu:").map(str::parse::<usize>) {
                Some(number) => number.ok().filter(|number| *number < found.len()),
                None => found.iter().position(|device| device.name.to_lowercase().contains(&lower)),
            },
        };
        let Some(index) = index else {
            return Err(Error::NoDevice { asked: asked.into(), reason: why_not(&lower, &found) });
        };
        Ok(Device::from_gpu(gpu::Gpu::open(&adapters[index])?))
    }
}

fn why_not(asked: &str, found: &[DeviceDescription]) -> String {
    if found.is_empty() {
        return "no GPU driver (Vulkan, Metal or DX12) was found here; use cpu".into();
    }
    let list: Vec<String> =
        found.iter().enumerate().map(|(index, device)| format!("gpu:{index} {device}")).collect();
    let list = list.join("; ");
    if asked == "gpu" {
        return format!(
            "there are only software adapters, which are used only if asked for by name; use cpu, \
             or one of: {list}"
        );
    }
    format!("there are: cpu; {list}")
}
