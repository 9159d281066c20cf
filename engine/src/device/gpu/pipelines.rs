//! Compiled shaders and bind groups, each made once and kept.

use super::binding::Slice;
use std::collections::HashMap;
use std::sync::Arc;

/// How many inputs and outputs a shader binds: all that a layout depends on.
type Signature = (usize, usize);

/// A shader that is ready to run.
pub(super) struct Pipeline {
    pub raw: wgpu::ComputePipeline,
    layout: wgpu::BindGroupLayout,
}

type GroupKey = (Signature, Vec<(u64, u64, u64)>);

pub(super) struct Pipelines {
    device: wgpu::Device,
    /// The invocations that share a row.
    lanes: u32,
    modules: HashMap<&'static str, wgpu::ShaderModule>,
    layouts: HashMap<Signature, (wgpu::BindGroupLayout, wgpu::PipelineLayout)>,
    pipelines: HashMap<String, Arc<Pipeline>>,
    groups: HashMap<GroupKey, wgpu::BindGroup>,
    uniforms: wgpu::Buffer,
    uniform_stride: u64,
}

/// More bind groups than any training step uses; a program that makes ever new tensors starts over.
const MOST_GROUPS: usize = 16 * 1024;

impl Pipelines {
    pub fn new(
        device: wgpu::Device,
        lanes: u32,
        uniforms: wgpu::Buffer,
        uniform_stride: u64,
    ) -> Pipelines {
        Pipelines {
            device,
            lanes,
            modules: HashMap::new(),
            layouts: HashMap::new(),
            pipelines: HashMap::new(),
            groups: HashMap::new(),
            uniforms,
            uniform_stride,
        }
    }

    /// The pipeline of an entry point, compiled at its first use.
    ///
    /// # Panics
    /// If no shader has that entry point.
    pub fn pipeline(&mut self, entry_point: &str, signature: Signature) -> Arc<Pipeline> {
        if let Some(pipeline) = self.pipelines.get(entry_point) {
            return pipeline.clone();
        }
        let shader = neutreno_shaders::with_entry_point(entry_point)
            .unwrap_or_else(|| panic!("no shader has the entry point {entry_point}"));
        let module =
            self.modules.entry(shader.name).or_insert_with(|| compile(&self.device, shader));
        let (layout, pipeline_layout) =
            self.layouts.entry(signature).or_insert_with(|| layouts(&self.device, signature));
        let has_lanes = shader.source.contains("override lanes");
        let constants = [("lanes", f64::from(self.lanes))];
        let raw = self.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(entry_point),
            layout: Some(pipeline_layout),
            module,
            entry_point: Some(entry_point),
            compilation_options: wgpu::PipelineCompilationOptions {
                constants: if has_lanes { &constants } else { &[] },
                zero_initialize_workgroup_memory: false,
            },
            cache: None,
        });
        let pipeline = Arc::new(Pipeline { raw, layout: layout.clone() });
        self.pipelines.insert(entry_point.into(), pipeline.clone());
        pipeline
    }

    /// Lets go of all bind groups, and of the buffers that nothing but they hold.
    pub fn forget_groups(&mut self) {
        self.groups.clear();
    }

    /// The bind group of these slices, inputs first.
    pub fn group(
        &mut self,
        pipeline: &Pipeline,
        signature: Signature,
        slices: &[Slice],
    ) -> wgpu::BindGroup {
        let places = slices.iter().map(|s| (s.buffer.id, s.offset, s.size)).collect();
        let key = (signature, places);
        if let Some(group) = self.groups.get(&key) {
            return group.clone();
        }
        if self.groups.len() >= MOST_GROUPS {
            self.forget_groups();
        }
        let binding = |buffer, offset, size| {
            let size = std::num::NonZeroU64::new(size);
            wgpu::BindingResource::Buffer(wgpu::BufferBinding { buffer, offset, size })
        };
        let uniforms = binding(&self.uniforms, 0, self.uniform_stride);
        let resources = std::iter::once(uniforms)
            .chain(slices.iter().map(|s| binding(&s.buffer.raw, s.offset, s.size)));
        let entries: Vec<wgpu::BindGroupEntry> = (0..)
            .zip(resources)
            .map(|(binding, resource)| wgpu::BindGroupEntry { binding, resource })
            .collect();
        let group = self.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: None,
            layout: &pipeline.layout,
            entries: &entries,
        });
        self.groups.insert(key, group.clone());
        group
    }
}

fn compile(device: &wgpu::Device, shader: &neutreno_shaders::Shader) -> wgpu::ShaderModule {
    let descriptor = wgpu::ShaderModuleDescriptor {
        label: Some(shader.name),
        source: wgpu::ShaderSource::Wgsl(shader.source.into()),
    };
    if cfg!(debug_assertions) {
        return device.create_shader_module(descriptor);
    }
    // SAFETY: the shaders are our own; every index they use is checked against the sizes in their
    // uniforms, and every loop ends. The proofs run them with checks, in debug builds.
    unsafe {
        device.create_shader_module_trusted(descriptor, wgpu::ShaderRuntimeChecks::unchecked())
    }
}

fn layouts(
    device: &wgpu::Device,
    (inputs, outputs): Signature,
) -> (wgpu::BindGroupLayout, wgpu::PipelineLayout) {
    let entry = |binding: usize| wgpu::BindGroupLayoutEntry {
        binding: binding as u32,
        visibility: wgpu::ShaderStages::COMPUTE,
        ty: wgpu::BindingType::Buffer {
            ty: match binding {
                0 => wgpu::BufferBindingType::Uniform,
                _ => wgpu::BufferBindingType::Storage { read_only: binding <= inputs },
            },
            has_dynamic_offset: binding == 0,
            min_binding_size: None,
        },
        count: None,
    };
    let entries: Vec<_> = (0..=inputs + outputs).map(entry).collect();
    let group = device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
        label: None,
        entries: &entries,
    });
    let pipeline = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
        label: None,
        bind_group_layouts: &[Some(&group)],
        immediate_size: 0,
    });
    (group, pipeline)
}
