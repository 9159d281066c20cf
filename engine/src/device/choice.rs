//! Choosing a device by what the user typed.

use super::{Device, gpu};
use crate::gpu::{Class, DeviceDescription};
use crate::{Error, Result};

/// The GPUs of this machine, the best first; software ones last.
pub fn list() -> Vec<DeviceDescription> {
    gpu::adapters().iter().map(gpu::describe).collect()
}

/// The GPU of one of several processes on this machine that take one each, in turn: `number` is that of the
/// process among them, from 0. Returns the number of the GPU in [`list`], and how many there are to be taken:
/// those that are real hardware, or with `software` those that are programs on the CPU.
///
/// # Errors
/// If there are none; the message lists what there is.
///
/// ```
/// use neutreno_engine::device::{gpu_of, list};
/// if let Ok((gpu, count)) = gpu_of(7, false) {
///     assert!(!list()[gpu].is_software());
///     assert_eq!(gpu_of(7 + count, false)?, (gpu, count));
/// }
/// # Ok::<(), neutreno_engine::Error>(())
/// ```
pub fn gpu_of(number: usize, software: bool) -> Result<(usize, usize)> {
    const ASKED: &str = "gpu:auto";
    let found = list();
    in_turn(&found, number, software)
        .ok_or_else(|| Error::NoDevice { asked: ASKED.into(), reason: why_not(ASKED, &found) })
}

fn in_turn(found: &[DeviceDescription], number: usize, software: bool) -> Option<(usize, usize)> {
    let all = found.iter().enumerate().filter(|(_, gpu)| gpu.is_software() == software);
    let all: Vec<usize> = all.map(|(index, _)| index).collect();
    Some((all[number.checked_rem(all.len())?], all.len()))
}

impl Device {
    /// Opens the device that `asked` names:
    /// - `auto`: the best GPU that is real hardware, else the CPU;
    /// - `cpu`: the CPU, with `threads` threads (0: one for every core);
    /// - `gpu`, `gpu:auto`: the best GPU that is real hardware; where several processes take one each, the
    ///   latter goes through [`gpu_of`] first;
    /// - `gpu:N`: number N, counting from 0, of [`list`];
    /// - anything else of three letters or more: the first GPU whose name has this in it, in any
    ///   case; software ones too.
    ///
    /// # Errors
    /// If there is no such device, or it can not be opened: a GPU, or as many threads. The message
    /// lists what there is.
    ///
    /// ```
    /// use neutreno_engine::Device;
    /// assert_eq!(Device::open("cpu", 1)?.kind(), "cpu");
    /// assert!(Device::open("no such card", 0).is_err());
    /// assert!(Device::open("", 0).is_err());
    /// # Ok::<(), neutreno_engine::Error>(())
    /// ```
    pub fn open(asked: &str, threads: usize) -> Result<Device> {
        if asked.eq_ignore_ascii_case("cpu") {
            return Device::open_cpu(threads);
        }
        match find(asked)? {
            Some(adapter) => Ok(Device::from_gpu(gpu::Gpu::open(&adapter, None)?)),
            None => Device::open_cpu(threads),
        }
    }

    /// Opens the GPU that `asked` names, as for [`Device::open`], and lets it run exactly what one of another
    /// class runs. A software adapter that is opened as [`Class::HARDWARE`] is slow, and shows what a card
    /// would compute: for tests of kernels, and for whoever has no card.
    ///
    /// # Errors
    /// If there is no such GPU, or it can not be opened.
    ///
    /// ```
    /// use neutreno_engine::Device;
    /// use neutreno_engine::gpu::Class;
    /// let error = Device::open_as("cpu", Class::HARDWARE).unwrap_err().to_string();
    /// assert!(error.contains("the CPU is no GPU"), "{error}");
    /// ```
    pub fn open_as(asked: &str, class: Class) -> Result<Device> {
        let adapter = match asked.eq_ignore_ascii_case("cpu") {
            true => None,
            false => find(asked)?,
        };
        let Some(adapter) = adapter else {
            let reason = "the CPU is no GPU, which could be opened as one of another class; name a \
                software adapter, as llvmpipe";
            return Err(Error::NoDevice { asked: asked.into(), reason: reason.into() });
        };
        Ok(Device::from_gpu(gpu::Gpu::open(&adapter, Some(class))?))
    }
}

/// The adapter that is asked for; none where that is the CPU, since there is no hardware.
fn find(asked: &str) -> Result<Option<gpu::Adapter>> {
    let adapters = gpu::adapters();
    let found: Vec<DeviceDescription> = adapters.iter().map(gpu::describe).collect();
    let lower = asked.trim().to_lowercase();
    let hardware = found.iter().position(|device| !device.is_software());
    let index = match lower.as_str() {
        "auto" if hardware.is_none() => return Ok(None),
        "auto" | "gpu" | "gpu:auto" => hardware,
        _ => match lower.strip_prefix("gpu:").map(str::parse::<usize>) {
            Some(number) => number.ok().filter(|number| *number < found.len()),
            // Fewer letters are in many names by chance.
            None if lower.chars().count() < 3 => None,
            None => found.iter().position(|device| device.name.to_lowercase().contains(&lower)),
        },
    };
    let Some(index) = index else {
        return Err(Error::NoDevice { asked: asked.into(), reason: why_not(&lower, &found) });
    };
    Ok(adapters.into_iter().nth(index))
}

fn why_not(asked: &str, found: &[DeviceDescription]) -> String {
    if found.is_empty() {
        return "no GPU driver (Vulkan, Metal or DX12) was found here; use cpu".into();
    }
    let list: Vec<String> =
        found.iter().enumerate().map(|(index, device)| format!("gpu:{index} {device}")).collect();
    let list = list.join("; ");
    if asked == "gpu" || asked == "gpu:auto" {
        return format!(
            "there are only software adapters, which are used only if asked for by name; use cpu, \
             or one of: {list}"
        );
    }
    if asked.chars().count() < 3 {
        return format!("at least three letters of a name are needed. There are: cpu; {list}");
    }
    format!("there are: cpu; {list}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_take_gpus_in_turn() {
        let gpu = |kind: &str| DeviceDescription {
            name: "x".into(),
            kind: kind.into(),
            interface: "Vulkan".into(),
            driver: "y".into(),
        };
        let found = ["discrete", "discrete", "software", "integrated", "software"].map(gpu);
        let taken = |software| [0, 1, 2, 3, 4].map(|number| in_turn(&found, number, software));
        assert_eq!(taken(false), [0, 1, 3, 0, 1].map(|gpu| Some((gpu, 3))));
        assert_eq!(taken(true), [2, 4, 2, 4, 2].map(|gpu| Some((gpu, 2))));
        assert_eq!(in_turn(&found[2..3], 0, false), None);
        let said = why_not("gpu:auto", &found[2..3]);
        assert!(said.contains("only software adapters") && said.contains("gpu:0 x"), "{said}");
        assert!(why_not("gpu:auto", &[]).contains("no GPU driver"));
    }
}
