//! Compiled shaders and bind groups, each made once and kept.

use super::binding::Slice;
use super::recorder::Recorded;
use super::shader::Shader;
use crate::device::kernel::Origin;
use std::collections::HashMap;
use std::sync::Arc;

/// How many inputs and outputs a shader binds: all that a layout depends on.
type Signature = (usize, usize);

/// A shader that is ready to run.
pub(super) struct Pipeline {
    pub raw: wgpu::ComputePipeline,
    layout: wgpu::BindGroupLayout,
}

/// Whether a compiled shader checks every index before it is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Checks {
    All,
    None,
}

impl Checks {
    /// None where both the shader and the kernel that dispatches it are the engine's own, but for
    /// debug builds.
    fn of(origin: Origin, shader: Option<Shader>, is_debug_build: bool) -> Checks {
        let is_trusted = origin == Origin::Engine && shader.is_none();
        if is_trusted && !is_debug_build { Checks::None } else { Checks::All }
    }
}

type GroupKey = (Signature, Vec<(u64, u64, u64)>);

pub(super) struct Pipelines {
    device: wgpu::Device,
    /// The invocations that share a row.
    lanes: u32,
    modules: HashMap<(Shader, Checks), wgpu::ShaderModule>,
    layouts: HashMap<Signature, (wgpu::BindGroupLayout, wgpu::PipelineLayout)>,
    /// By the shader, if it is none of the engine's own, and by entry point.
    pipelines: HashMap<(Option<Shader>, Checks), HashMap<String, Arc<Pipeline>>>,
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

    /// The pipeline of a dispatch, compiled at its first use.
    ///
    /// # Panics
    /// If the shader is not valid, or does not take what it is given.
    pub fn pipeline(&mut self, origin: Origin, dispatch: &Recorded) -> Arc<Pipeline> {
        let checks = Checks::of(origin, dispatch.shader, cfg!(debug_assertions));
        let key = (dispatch.shader, checks);
        let known = self.pipelines.get(&key).and_then(|known| known.get(dispatch.entry_point));
        if let Some(pipeline) = known {
            return pipeline.clone();
        }
        let pipeline = Arc::new(self.compile(dispatch, checks));
        let known = self.pipelines.entry(key).or_default();
        known.insert(dispatch.entry_point.into(), pipeline.clone());
        pipeline
    }

    fn compile(&mut self, dispatch: &Recorded, checks: Checks) -> Pipeline {
        let shader = dispatch.find_shader();
        // What goes wrong with one of the engine's own is the device's failure.
        let refusals =
            dispatch.shader.map(|_| self.device.push_error_scope(wgpu::ErrorFilter::Validation));
        let module = self.modules.entry((shader, checks));
        let module = module.or_insert_with(|| module_of(&self.device, &shader, checks));
        let signature = (dispatch.inputs.len(), dispatch.outputs.len());
        let (layout, pipeline_layout) =
            self.layouts.entry(signature).or_insert_with(|| layouts(&self.device, signature));
        let has_lanes = shader.source.contains("override lanes");
        let constants = [("lanes", f64::from(self.lanes))];
        let raw = self.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(dispatch.entry_point),
            layout: Some(pipeline_layout),
            module,
            entry_point: Some(dispatch.entry_point),
            compilation_options: wgpu::PipelineCompilationOptions {
                constants: if has_lanes { &constants } else { &[] },
                zero_initialize_workgroup_memory: false,
            },
            cache: None,
        });
        if let Some(error) = refusals.and_then(|scope| pollster::block_on(scope.pop())) {
            panic!("shader {}: {}: {error}", shader.name, dispatch.entry_point);
        }
        Pipeline { raw, layout: layout.clone() }
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

fn module_of(device: &wgpu::Device, shader: &Shader, checks: Checks) -> wgpu::ShaderModule {
    let descriptor = wgpu::ShaderModuleDescriptor {
        label: Some(shader.name),
        source: wgpu::ShaderSource::Wgsl(shader.source.into()),
    };
    match checks {
        Checks::All => device.create_shader_module(descriptor),
        // SAFETY: the shaders are the engine's own, and so is the kernel that dispatches them, whose
        // `shapes` has checked its inputs and ids; every index that they use is checked against the
        // sizes in their uniforms, and every loop ends. The proofs run them with checks, in debug
        // builds.
        Checks::None => unsafe {
            device.create_shader_module_trusted(descriptor, wgpu::ShaderRuntimeChecks::unchecked())
        },
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

#[cfg(test)]
mod tests {
    use super::*;

    /// What a program dispatches is never trusted, be it a shader of its own or one of the engine's.
    #[test]
    fn only_the_engines_own_dispatches_go_without_checks() {
        let own = Some(Shader { name: "own", source: "" });
        assert_eq!(Checks::of(Origin::Engine, None, false), Checks::None);
        for (origin, shader, is_debug_build) in [
            (Origin::Engine, None, true),
            (Origin::Engine, own, false),
            (Origin::Program, None, false),
            (Origin::Program, own, false),
        ] {
            assert_eq!(Checks::of(origin, shader, is_debug_build), Checks::All);
        }
    }
}
