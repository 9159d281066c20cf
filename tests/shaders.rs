//! Every shader is valid, keeps to the portable limits, and translates to the language of every
//! platform: SPIR-V (Vulkan), MSL (Metal), HLSL (DX12) and GLSL (GL). No driver is needed.

use naga::back::{glsl, hlsl, msl, spv};
use naga::valid::{Capabilities, ModuleInfo, ValidationFlags, Validator};
use naga::{AddressSpace, Module, ShaderStage};
use neutreno_shaders::{SHADERS, Shader};
use std::collections::BTreeSet;
use std::path::Path;

fn parse(shader: &Shader) -> (Module, ModuleInfo) {
    let module = naga::front::wgsl::parse_str(shader.source)
        .unwrap_or_else(|error| panic!("{}", error.emit_to_string(shader.source)));
    let info = Validator::new(ValidationFlags::all(), Capabilities::empty())
        .validate(&module)
        .unwrap_or_else(|error| panic!("{}: {error:?}", shader.name));
    (module, info)
}

fn names_in(folder: &str, extension: &str) -> BTreeSet<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    std::fs::read_dir(folder)
        .expect("the folder is there")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .map(|path| path.file_stem().expect("a name").to_string_lossy().into_owned())
        .collect()
}

#[test]
fn every_file_is_registered() {
    let registered: BTreeSet<String> = SHADERS.iter().map(|shader| shader.name.into()).collect();
    assert_eq!(registered, names_in("shaders", "wgsl"));
}

#[test]
fn entry_points_are_named_after_their_file_and_found() {
    for shader in SHADERS {
        let (module, _) = parse(shader);
        let listed: Vec<&str> = shader.entry_points().collect();
        let real: Vec<&str> = module.entry_points.iter().map(|entry| entry.name.as_str()).collect();
        assert_eq!(listed, real, "{}", shader.name);
        for name in real {
            assert!(name.starts_with(shader.name), "{name} in {}.wgsl", shader.name);
        }
    }
}

#[test]
fn shaders_keep_to_the_portable_limits() {
    for shader in SHADERS {
        let (module, info) = parse(shader);
        for (index, entry) in module.entry_points.iter().enumerate() {
            let uses = info.get_entry_point(index);
            let used =
                module.global_variables.iter().filter(|(handle, _)| !uses[*handle].is_empty());
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
            assert!(workgroup_bytes <= 16 * 1024, "{}: {workgroup_bytes} bytes", entry.name);
            assert!(invocations <= 256, "{}: {invocations} invocations", entry.name);
        }
    }
}

#[test]
fn shaders_translate_to_every_platform() {
    for shader in SHADERS {
        let (module, info) = parse(shader);
        for entry in &module.entry_points {
            let name = &entry.name;
            let stage = ShaderStage::Compute;
            let constants = naga::back::PipelineConstants::default();
            let (module, info) = naga::back::pipeline_constants::process_overrides(
                &module,
                &info,
                Some((stage, name)),
                &constants,
            )
            .unwrap_or_else(|error| panic!("{name}: {error}"));
            translate(&module, &info, name);
        }
    }
}

fn translate(module: &Module, info: &ModuleInfo, name: &str) {
    let stage = ShaderStage::Compute;
    let pipeline = spv::PipelineOptions { shader_stage: stage, entry_point: name.into() };
    let words = spv::write_vec(module, info, &spv::Options::default(), Some(&pipeline))
        .unwrap_or_else(|error| panic!("{name} to SPIR-V: {error}"));
    assert!(words.len() > 5, "{name}: SPIR-V of {} words", words.len());

    let pipeline = msl::PipelineOptions {
        entry_point: Some((stage, name.into())),
        ..msl::PipelineOptions::default()
    };
    let options = msl::Options { lang_version: (2, 0), ..msl::Options::default() };
    let (text, _) = msl::write_string(module, info, &options, &pipeline)
        .unwrap_or_else(|error| panic!("{name} to MSL: {error}"));
    assert!(text.contains("kernel void"), "{name}: {text}");

    let pipeline = hlsl::PipelineOptions { entry_point: Some((stage, name.into())) };
    let options = hlsl::Options::default();
    let mut text = String::new();
    hlsl::Writer::new(&mut text, &options, &pipeline)
        .write(module, info, None)
        .unwrap_or_else(|error| panic!("{name} to HLSL: {error}"));
    assert!(text.contains("numthreads"), "{name}: {text}");

    let pipeline =
        glsl::PipelineOptions { shader_stage: stage, entry_point: name.into(), multiview: None };
    let options = glsl::Options::default();
    let mut text = String::new();
    let policies = naga::proc::BoundsCheckPolicies::default();
    glsl::Writer::new(&mut text, module, info, &options, &pipeline, policies)
        .and_then(|mut writer| writer.write())
        .unwrap_or_else(|error| panic!("{name} to GLSL: {error}"));
    assert!(text.contains("void main"), "{name}: {text}");
}
