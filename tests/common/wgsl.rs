//! What is asked of every shader, be it the engine's or one to learn from: it is valid, keeps to the portable
//! limits, and translates.

use naga::back::{glsl, hlsl, msl, spv};
use naga::valid::{Capabilities, ModuleInfo, ValidationFlags, Validator};
use naga::{AddressSpace, Module, ShaderStage};
use std::path::PathBuf;

pub fn parse(name: &str, source: &str) -> (Module, ModuleInfo) {
    let module = naga::front::wgsl::parse_str(source)
        .unwrap_or_else(|error| panic!("{}", error.emit_to_string(source)));
    let info = Validator::new(ValidationFlags::all(), Capabilities::empty())
        .validate(&module)
        .unwrap_or_else(|error| panic!("{name}: {error:?}"));
    (module, info)
}

/// That no entry point asks for more than every device has.
pub fn check_limits(module: &Module, info: &ModuleInfo) {
    for (index, entry) in module.entry_points.iter().enumerate() {
        let uses = info.get_entry_point(index);
        let used = module.global_variables.iter().filter(|(handle, _)| !uses[*handle].is_empty());
        let mut storage = 0;
        let mut workgroup_bytes = 0;
        for (_, variable) in used {
            match variable.space {
                AddressSpace::Storage { .. } => storage += 1,
                AddressSpace::WorkGroup => {
                    workgroup_bytes += module.types[variable.ty].inner.size(module.to_ctx());
                }
                _ => {}
            }
        }
        let invocations: u32 = entry.workgroup_size.iter().product();
        assert!(storage <= 8, "{}: {storage} storage buffers", entry.name);
        assert!(workgroup_bytes <= 16_352, "{}: {workgroup_bytes} bytes", entry.name);
        assert!(invocations <= 256, "{}: {invocations} invocations", entry.name);
    }
}

/// That each entry point can be written in the language of every platform. With `NEUTRENO_TRANSLATIONS` set to
/// a folder, the translations are left there, for the checkers of others (`tests/validate_shaders`).
pub fn check_translations(module: &Module, info: &ModuleInfo) {
    let folder = std::env::var_os("NEUTRENO_TRANSLATIONS").map(PathBuf::from);
    for entry in &module.entry_points {
        let name = &entry.name;
        let stage = ShaderStage::Compute;
        let constants = naga::back::PipelineConstants::default();
        let (module, info) = naga::back::pipeline_constants::process_overrides(
            module,
            info,
            Some((stage, name)),
            &constants,
        )
        .unwrap_or_else(|error| panic!("{name}: {error}"));
        for (extension, bytes) in translate(&module, &info, name) {
            if let Some(folder) = &folder {
                let file = folder.join(format!("{name}.{extension}"));
                std::fs::write(&file, bytes)
                    .unwrap_or_else(|error| panic!("{}: {error}", file.display()));
            }
        }
    }
}

/// An entry point in four languages, each with the extension of its files. As on the devices,
/// workgroup memory is not cleared first.
fn translate(module: &Module, info: &ModuleInfo, name: &str) -> [(&'static str, Vec<u8>); 4] {
    let stage = ShaderStage::Compute;
    let pipeline = spv::PipelineOptions { shader_stage: stage, entry_point: name.into() };
    let options = spv::Options {
        zero_initialize_workgroup_memory: spv::ZeroInitializeWorkgroupMemoryMode::None,
        ..spv::Options::default()
    };
    let words = spv::write_vec(module, info, &options, Some(&pipeline))
        .unwrap_or_else(|error| panic!("{name} to SPIR-V: {error}"));
    assert!(words.len() > 5, "{name}: SPIR-V of {} words", words.len());
    let spirv = words.into_iter().flat_map(u32::to_le_bytes).collect();

    let pipeline = msl::PipelineOptions {
        entry_point: Some((stage, name.into())),
        ..msl::PipelineOptions::default()
    };
    let options = msl::Options {
        lang_version: (2, 0),
        zero_initialize_workgroup_memory: false,
        ..msl::Options::default()
    };
    let (metal, _) = msl::write_string(module, info, &options, &pipeline)
        .unwrap_or_else(|error| panic!("{name} to MSL: {error}"));
    assert!(metal.contains("kernel void"), "{name}: {metal}");

    let pipeline = hlsl::PipelineOptions { entry_point: Some((stage, name.into())) };
    let options =
        hlsl::Options { zero_initialize_workgroup_memory: false, ..hlsl::Options::default() };
    let mut direct = String::new();
    hlsl::Writer::new(&mut direct, &options, &pipeline)
        .write(module, info, None)
        .unwrap_or_else(|error| panic!("{name} to HLSL: {error}"));
    assert!(direct.contains("numthreads"), "{name}: {direct}");

    let pipeline =
        glsl::PipelineOptions { shader_stage: stage, entry_point: name.into(), multiview: None };
    let options =
        glsl::Options { zero_initialize_workgroup_memory: false, ..glsl::Options::default() };
    let mut open = String::new();
    let policies = naga::proc::BoundsCheckPolicies::default();
    glsl::Writer::new(&mut open, module, info, &options, &pipeline, policies)
        .and_then(|mut writer| writer.write())
        .unwrap_or_else(|error| panic!("{name} to GLSL: {error}"));
    assert!(open.contains("void main"), "{name}: {open}");
    let [metal, direct, open] = [metal, direct, open].map(String::into_bytes);
    [("spv", spirv), ("metal", metal), ("hlsl", direct), ("comp", open)]
}
