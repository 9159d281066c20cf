//! Finding the GPUs of this machine.

use super::class::Class;
use super::driver::Driver;
use crate::memory_use::MemoryUse;
use crate::{Error, Result};
use std::fmt;
pub(crate) use wgpu::Adapter;
use wgpu::{Backend, DeviceType};

/// The adapters that can run our shaders, the best first. GL is asked only where nothing better is
/// there: loading it has side effects, such as messages where there is no display.
pub(crate) fn adapters() -> Vec<Adapter> {
    let native = wgpu::Backends::VULKAN | wgpu::Backends::METAL | wgpu::Backends::DX12;
    let found = adapters_of(native);
    if found.is_empty() { adapters_of(wgpu::Backends::GL) } else { found }
}

fn adapters_of(backends: wgpu::Backends) -> Vec<Adapter> {
    let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
    descriptor.backends = backends;
    descriptor.flags = wgpu::InstanceFlags::from_build_config().with_env();
    let instance = wgpu::Instance::new(descriptor);
    let mut adapters = pollster::block_on(instance.enumerate_adapters(backends));
    adapters.retain(|adapter| {
        adapter.get_downlevel_capabilities().flags.contains(wgpu::DownlevelFlags::COMPUTE_SHADERS)
    });
    // Stable: of equals, the driver's own order stays.
    adapters.sort_by_key(|adapter| rank(&adapter.get_info()));
    adapters
}

/// Hardware before software, discrete before integrated, native interfaces before GL.
fn rank(info: &wgpu::AdapterInfo) -> (u32, bool) {
    let kind = match info.device_type {
        _ if is_software(info) => 4,
        DeviceType::DiscreteGpu => 0,
        DeviceType::IntegratedGpu => 1,
        DeviceType::VirtualGpu => 2,
        _ => 3,
    };
    (kind, info.backend == Backend::Gl)
}

/// Whether the "GPU" is a program that runs on the CPU.
fn is_software(info: &wgpu::AdapterInfo) -> bool {
    let name = info.name.to_lowercase();
    let known = ["llvmpipe", "softpipe", "swiftshader", "microsoft basic render"];
    info.device_type == DeviceType::Cpu || known.iter().any(|software| name.contains(software))
}

/// A GPU that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceDescription {
    /// The hardware's name.
    pub name: String,
    /// discrete, integrated, virtual, software or other.
    pub kind: String,
    /// Vulkan, Metal, DX12 or GL.
    pub interface: String,
    /// The driver and its version.
    pub driver: String,
}

impl DeviceDescription {
    /// Whether the "GPU" is a program that runs on the CPU. It is used only if asked for by name.
    pub fn is_software(&self) -> bool {
        self.kind == "software"
    }
}

impl fmt::Display for DeviceDescription {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{} ({}, {}, {})", self.name, self.kind, self.interface, self.driver)
    }
}

pub(crate) fn describe(adapter: &Adapter) -> DeviceDescription {
    let info = adapter.get_info();
    let kind = match info.device_type {
        _ if is_software(&info) => "software",
        DeviceType::DiscreteGpu => "discrete",
        DeviceType::IntegratedGpu => "integrated",
        DeviceType::VirtualGpu => "virtual",
        _ => "other",
    };
    DeviceDescription {
        name: info.name,
        kind: kind.into(),
        interface: match info.backend {
            Backend::Vulkan => "Vulkan",
            Backend::Metal => "Metal",
            Backend::Dx12 => "DX12",
            Backend::Gl => "GL",
            _ => "other",
        }
        .into(),
        driver: format!("{} {}", info.driver, info.driver_info).trim().into(),
    }
}

/// Opens an adapter with all that it offers of the limits that we can use, as far as the class does.
pub(super) fn open(adapter: &Adapter, class: Class) -> Result<Driver> {
    let description = describe(adapter);
    let offered = adapter.limits();
    let limits = wgpu::Limits {
        max_storage_buffer_binding_size: offered.max_storage_buffer_binding_size,
        max_buffer_size: offered.max_buffer_size,
        ..wgpu::Limits::downlevel_defaults()
            .using_resolution(offered.clone())
            .using_alignment(offered.clone())
    };
    let limits = wgpu::Limits {
        max_storage_buffers_per_shader_stage: offered.max_storage_buffers_per_shader_stage.min(8),
        max_compute_invocations_per_workgroup: class.invocations,
        max_compute_workgroup_size_x: class.invocations,
        ..limits
    };
    let device = pollster::block_on(adapter.request_device(&wgpu::DeviceDescriptor {
        label: Some("neutreno"),
        required_features: adapter.features() & wgpu::Features::TIMESTAMP_QUERY,
        required_limits: limits,
        memory_hints: wgpu::MemoryHints::Performance,
        ..Default::default()
    }));
    let (device, queue) = device.map_err(|error| Error::Device {
        device: description.name.clone(),
        reason: format!("it could not be opened: {error}"),
        memory: MemoryUse::default(),
    })?;
    Ok(Driver::new(device, queue))
}
