//! Every shader is valid, keeps to the portable limits, is given what it takes, and translates to the
//! language of every platform: SPIR-V (Vulkan), MSL (Metal), HLSL (DX12) and GLSL (GL). No driver is needed.

#[path = "common/wgsl.rs"]
mod wgsl;

use naga::valid::ModuleInfo;
use naga::{
    AddressSpace, GlobalVariable, Module, ScalarKind, StorageAccess, StructMember, TypeInner,
};
use neutreno::engine::autograd::apply_boxed;
use neutreno::engine::device::Dispatch;
use neutreno::engine::gpu::{Class, Word};
use neutreno::engine::half::Precision;
use neutreno::engine::ops::OPS;
use neutreno::engine::ops::cache::{Cache, Places, Span};
use neutreno::engine::ops::rope_and_cache::Keep;
use neutreno::engine::optim::{
    AdamW, AdamWSettings, Average, Optimizer, Sgd, SgdSettings, clip, clip_values,
};
use neutreno::engine::proof::Case;
use neutreno::engine::{Builder, Device, Initial, Parameters, Tensor};
use neutreno_shaders::{SHADERS, Shader};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

fn parse(shader: &Shader) -> (Module, ModuleInfo) {
    wgsl::parse(shader.name, shader.source)
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
    let of_rows = ".first_group + group.x + group.y * groups.x";
    let of_elements = ".first_group + id.y * groups.x) * 64u";
    for shader in SHADERS {
        let (module, _) = parse(shader);
        for (_, variable) in module.global_variables.iter() {
            if variable.space == AddressSpace::Uniform {
                assert_eq!(members(&module, variable)[0].0, "first_group", "{}", shader.name);
            }
        }
        let count = |text: &str| shader.source.matches(text).count();
        let indices = count(of_rows) + count(of_elements);
        assert_eq!(indices, count("@builtin(num_workgroups)"), "{}", shader.name);
    }
}

/// The names and types of a uniform structure's members.
fn members(module: &Module, variable: &GlobalVariable) -> Vec<(String, ScalarKind)> {
    let TypeInner::Struct { members, .. } = &module.types[variable.ty].inner else {
        panic!("uniforms that are no structure");
    };
    let member = |(index, member): (u32, &StructMember)| {
        assert_eq!(member.offset, 4 * index, "members are scalars, one after another");
        let kind = module.types[member.ty].inner.scalar_kind().expect("a scalar");
        (member.name.clone().expect("a name"), kind)
    };
    (0..).zip(members).map(member).collect()
}

/// No member of a uniform structure is there for nothing, but for `first_group` where there is one
/// workgroup, and `size_0`: the first axis of several takes what the others leave.
#[test]
fn every_uniform_is_read() {
    for shader in SHADERS {
        let (module, _) = parse(shader);
        let variables = module.global_variables.iter().map(|(_, variable)| variable);
        for variable in variables.filter(|variable| variable.space == AddressSpace::Uniform) {
            let name = variable.name.as_ref().expect("a name");
            let short = shader.source.contains(&format!("let u = {name};"));
            let given = members(&module, variable).split_off(1);
            for (member, _) in given.iter().filter(|(member, _)| member != "size_0") {
                let is_read = |of: &str| {
                    let read = format!("{of}.{member}");
                    let in_word = |letter: char| letter == '_' || letter.is_alphanumeric();
                    shader.source.split(&read).skip(1).any(|rest| !rest.starts_with(in_word))
                };
                let found = is_read(name) || short && is_read("u");
                assert!(found, "{}.wgsl never reads {member} of {name}", shader.name);
            }
        }
    }
}

/// Copies may stand in several files, each of which is valid alone; but none may drift.
#[test]
fn functions_of_one_name_have_one_text() {
    let mut texts: BTreeMap<&str, (&str, &str)> = BTreeMap::new();
    for shader in SHADERS {
        for text in shader.source.split("\nfn ").skip(1) {
            let end = text.find("\n}\n").expect("a function ends with a brace of its own line");
            let (name, text) = (text.split('(').next().expect("a name"), &text[..end]);
            let (first, other) = *texts.entry(name).or_insert((shader.name, text));
            assert!(text == other, "{name} differs between {first}.wgsl and {}.wgsl", shader.name);
        }
    }
    assert!(texts.contains_key("sum_over_lanes"));
}

/// What every op, in every case, forward and backward, and every optimiser would have a GPU do: the
/// uniforms are those of the entry point's structure, by name, order and type, and the bindings those
/// that it uses. And there is no entry point that nobody dispatches.
#[test]
fn dispatches_fit_their_shaders() {
    let entry_points: BTreeMap<String, EntryPoint> =
        SHADERS.iter().flat_map(entry_points_of).collect();
    let mut unused: BTreeSet<&str> = entry_points.keys().map(String::as_str).collect();
    for class in [Class::HARDWARE, Class::SOFTWARE] {
        let device = Device::plan_for_gpu(class);
        for op in OPS {
            for case in op.cases() {
                run(&case, &device);
                let what = format!("{}, {}", op.name, case.label);
                check_dispatches(&device, &what, &entry_points, &mut unused);
            }
        }
        keep(&device);
        check_dispatches(&device, "a cache", &entry_points, &mut unused);
        optimize(&device);
        check_dispatches(&device, "an optimiser", &entry_points, &mut unused);
    }
    assert!(unused.is_empty(), "nothing dispatches {unused:?}");
}

/// An op in the middle of a graph.
fn run(case: &Case, device: &Device) {
    let op = case.op();
    let derivable = op.no_derivative().is_none();
    let tensors = case.tensors(device);
    if tensors.is_empty() {
        return drop(Tensor::full(1.0, [3], device));
    }
    let inputs: Vec<Tensor> =
        tensors.iter().map(|x| if derivable { x.tracked() } else { x.clone() }).collect();
    let results = apply_boxed(op, &inputs.iter().collect::<Vec<_>>());
    if derivable {
        let sums = results.iter().map(Tensor::sum_all).reduce(|total, sum| total.add(&sum));
        sums.expect("a result").backward().expect("the graph is whole");
    }
}

fn keep(device: &Device) {
    let places = Places::new(&[Span { sequence: 1, position: 2, tokens: 3 }], 5);
    for precision in Precision::ALL {
        let cache = Cache::new([2, 5, 3, 4], precision, device);
        let rows = Tensor::zeros([3, 3, 4], device);
        cache.write(&rows, &places);
        cache.read(1, 4);
        let values = Cache::new([2, 5, 3, 4], precision, device);
        let [keys, values] = [&cache, &values].map(|cache| Keep { rows: &rows, cache });
        for values in [None, Some(values)] {
            rows.rope_and_cache(keys, values, &places, &[1.0, 0.5]);
        }
    }
}

fn optimize(device: &Device) {
    let make = |builder: &mut Builder| builder.parameter("x", [9], Initial::Ones, true);
    let (x, parameters) = Parameters::build(device, 1, make);
    let mut gradients = parameters.gradients();
    x.sum_all().backward_into(&mut gradients).expect("the graph is whole");
    clip_values(&parameters, &mut gradients, 1.0);
    let clip = clip(&parameters, &gradients, 1.0).with_loss(&x.sum_all());
    let mut adamw = AdamW::new(&parameters, AdamWSettings::default());
    adamw.step(&parameters, &gradients, 0.1, Some(&clip));
    let mut sgd = Sgd::new(&parameters, SgdSettings::default());
    sgd.step(&parameters, &gradients, 0.1, Some(&clip));
    Average::new(&parameters, 0.5).step(&parameters, Some(&clip));
}

fn check_dispatches<'a>(
    device: &Device,
    what: &str,
    entry_points: &'a BTreeMap<String, EntryPoint>,
    unused: &mut BTreeSet<&'a str>,
) {
    let dispatches = device.planned_dispatches();
    assert!(!dispatches.is_empty(), "{what}: no dispatch");
    for dispatch in dispatches {
        let name = &dispatch.entry_point;
        let entry = entry_points.get(name).unwrap_or_else(|| panic!("{what}: there is no {name}"));
        unused.remove(name.as_str());
        let given = dispatch.uniforms.iter().map(|(name, word)| match word {
            Word::U32(_) => (name.to_string(), ScalarKind::Uint),
            Word::F32(_) => (name.to_string(), ScalarKind::Float),
        });
        let given: Vec<(String, ScalarKind)> = given.collect();
        assert_eq!(given, entry.uniforms, "{what}: the uniforms of {name}");
        check_extent(&dispatch, what);
        let (inputs, outputs) = (dispatch.inputs.len(), dispatch.outputs.len());
        for (binding, writes) in &entry.bindings {
            let bound = (1..=inputs + outputs).contains(binding);
            assert!(
                bound,
                "{what}: {name} uses binding {binding}, and gets {inputs} and {outputs}"
            );
            assert_eq!(*writes, *binding > inputs, "{what}: binding {binding} of {name}");
        }
        let written = entry.bindings.iter().filter(|(_, writes)| *writes).count();
        assert_eq!(written, outputs, "{what}: what {name} writes");
    }
}

/// A shader that goes over elements is told of as many as something that is bound has: none checks its
/// indices by anything else.
fn check_extent(dispatch: &Dispatch, what: &str) {
    let size_of = |name: &str| {
        let found = dispatch.uniforms.iter().find(|(given, _)| *given == name)?;
        let Word::U32(size) = found.1 else { panic!("{what}: {name} is no whole number") };
        Some(size as usize)
    };
    let elements = size_of("quads").map(|quads| 4 * quads).or(size_of("elements"));
    let mut bound = dispatch.inputs.iter().chain(&dispatch.outputs);
    let fits = elements.is_none_or(|size| bound.any(|shape| shape.elements() == size));
    assert!(fits, "{what}: {elements:?} elements in {dispatch:?}");
}

/// What an entry point is given.
struct EntryPoint {
    /// After `first_group`.
    uniforms: Vec<(String, ScalarKind)>,
    /// The numbers of the bindings that it uses, and whether it may write there.
    bindings: Vec<(usize, bool)>,
}

fn entry_points_of(shader: &Shader) -> Vec<(String, EntryPoint)> {
    let (module, info) = parse(shader);
    let entry = |(index, entry): (usize, &naga::EntryPoint)| {
        let uses = info.get_entry_point(index);
        let (mut uniforms, mut bindings) = (Vec::new(), Vec::new());
        for (handle, variable) in module.global_variables.iter() {
            if uses[handle].is_empty() {
                continue;
            }
            match variable.space {
                AddressSpace::Uniform => uniforms = members(&module, variable).split_off(1),
                AddressSpace::Storage { access } => {
                    let binding = variable.binding.as_ref().expect("storage is bound").binding;
                    bindings.push((binding as usize, access.contains(StorageAccess::STORE)));
                }
                _ => {}
            }
        }
        (entry.name.clone(), EntryPoint { uniforms, bindings })
    };
    module.entry_points.iter().enumerate().map(entry).collect()
}

#[test]
fn shaders_keep_to_the_portable_limits() {
    for shader in SHADERS {
        let (module, info) = parse(shader);
        wgsl::check_limits(&module, &info);
    }
}

#[test]
fn shaders_translate_to_every_platform() {
    for shader in SHADERS {
        let (module, info) = parse(shader);
        wgsl::check_translations(&module, &info);
    }
}
