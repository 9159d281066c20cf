//! Every shader is valid, keeps to the portable limits, and translates to the language of every
//! platform: SPIR-V (Vulkan), MSL (Metal), HLSL (DX12) and GLSL (GL). No driver is needed.

use naga::back::{glsl, hlsl, msl, spv};
use naga::valid::{Capabilities, ModuleInfo, ValidationFlags, Validator};
use naga::{AddressSpace, Module, ShaderStage};
use neutreno_shaders::{SHADERS, Shader};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

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

/// Long work is dispatched in pieces, so every index counts from the piece's first workgroup.
#[test]
fn indices_begin_at_the_first_workgroup_of_a_piece() {
    let of_rows = "uniforms.first_group + group.x + group.y * groups.x";
    let of_elements = "id.x + (uniforms.first_group + id.y * groups.x) * 64u";
    for shader in SHADERS {
        let (module, _) = parse(shader);
        for (_, variable) in module.global_variables.iter() {
            if let naga::TypeInner::Struct { members, .. } = &module.types[variable.ty].inner {
                let first = members[0].name.as_deref();
                assert_eq!(first, Some("first_group"), "{}", shader.name);
            }
        }
        let count = |text: &str| shader.source.matches(text).count();
        let indices = count(of_rows) + count(of_elements);
        assert_eq!(indices, count("@builtin(num_workgroups)"), "{}", shader.name);
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

/// With `NEUTRENO_TRANSLATIONS` set to a folder, the translations are left there, for the checkers of
/// others (`tests/validate_shaders`).
#[test]
fn shaders_translate_to_every_platform() {
    let folder = std::env::var_os("NEUTRENO_TRANSLATIONS").map(PathBuf::from);
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
            for (extension, bytes) in translate(&module, &info, name) {
                if let Some(folder) = &folder {
                    let file = folder.join(format!("{name}.{extension}"));
                    std::fs::write(&file, bytes)
                        .unwrap_or_else(|error| panic!("{}: {error}", file.display()));
                }
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
