//! Shaders that a kernel brings with it, and whether they take what it gives them. (What the engine's
//! own take is checked by its tests.)

use super::uniforms::{Uniform, Word};
use wgpu::naga::front::wgsl;
use wgpu::naga::valid::{Capabilities, FunctionInfo, ValidationFlags, Validator};
use wgpu::naga::{AddressSpace, GlobalVariable, Module, ScalarKind, StorageAccess, TypeInner};

/// A WGSL file of compute shaders. It keeps to the conventions of the engine's own:
///
/// - in group 0, binding 0 is a uniform structure of scalars, `u32` and `f32`, then come the inputs
///   (`read`), then the outputs (`read_write`), in the order of the dispatch;
/// - the structure's first member is `first_group: u32`: long work goes in several dispatches, and
///   this is the workgroup that one of them begins with. The others are the dispatch's uniforms, by
///   name and in their order;
/// - grids wider than the limit go on in y, so an invocation's number, with workgroups of 64, is
///   `id.x + (uniforms.first_group + id.y * groups.x) * 64u`, where `id` is the
///   `global_invocation_id` and `groups` the `num_workgroups`; it may lie beyond the last element;
/// - `override lanes: u32` is set to the size of a workgroup that suits the adapter.
///
/// It is compiled with checks of every index. An invalid file, or one that does not take what it is
/// given, panics at its first dispatch with a message that says what is wrong.
///
/// ```
/// use neutreno_engine::gpu::Shader;
/// // Usually in a file of its own, by `include_str!`.
/// const DOUBLE: Shader = Shader {
///     name: "double",
///     source: "
///         struct Uniforms { first_group: u32, elements: u32 }
///         @group(0) @binding(0) var<uniform> uniforms: Uniforms;
///         @group(0) @binding(1) var<storage, read> x: array<f32>;
///         @group(0) @binding(2) var<storage, read_write> y: array<f32>;
///         @compute @workgroup_size(64)
///         fn double(
///             @builtin(global_invocation_id) id: vec3<u32>,
///             @builtin(num_workgroups) groups: vec3<u32>,
///         ) {
///             let i = id.x + (uniforms.first_group + id.y * groups.x) * 64u;
///             if i < uniforms.elements {
///                 y[i] = 2.0 * x[i];
///             }
///         }",
/// };
/// # assert_eq!(DOUBLE.name, "double");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Shader {
    /// The name that messages show.
    pub name: &'static str,
    /// The WGSL.
    pub source: &'static str,
}

/// What an entry point is given.
pub(super) struct Given<'a> {
    pub uniforms: &'a [Uniform],
    pub inputs: usize,
    pub outputs: usize,
}

/// Whether a shader is valid, and its entry point of that name takes what it is given.
pub(super) fn check(shader: &Shader, name: &str, given: &Given) -> Result<(), String> {
    let module = wgsl::parse_str(shader.source)
        .map_err(|error| format!("not valid\n{}", error.emit_to_string(shader.source)))?;
    let info = Validator::new(ValidationFlags::all(), Capabilities::empty())
        .validate(&module)
        .map_err(|error| format!("not valid\n{}", error.emit_to_string(shader.source)))?;
    let entry = module.entry_points.iter().position(|entry| entry.name == name);
    let entry = entry.ok_or_else(|| format!("it has no entry point {name}"))?;
    let uses = info.get_entry_point(entry);
    let in_entry = |problem: String| format!("{name}: {problem}");
    check_uniforms(&module, uses, given).map_err(in_entry)?;
    check_bindings(&module, uses, given).map_err(in_entry)
}

/// The variables that an entry point uses.
fn used<'a>(module: &'a Module, uses: &FunctionInfo) -> Vec<&'a GlobalVariable> {
    let variables = module.global_variables.iter();
    variables
        .filter(|(handle, _)| !uses[*handle].is_empty())
        .map(|(_, variable)| variable)
        .collect()
}

fn check_uniforms(module: &Module, uses: &FunctionInfo, given: &Given) -> Result<(), String> {
    let used = used(module, uses);
    let is_uniform = |variable: &&&GlobalVariable| variable.space == AddressSpace::Uniform;
    let Some(variable) = used.iter().find(is_uniform) else {
        return Err("it uses no uniform structure, so it can't begin at first_group".into());
    };
    let TypeInner::Struct { members, .. } = &module.types[variable.ty].inner else {
        return Err("its uniforms are no structure".into());
    };
    let member = |name: &str, kind: Option<ScalarKind>| match kind {
        Some(ScalarKind::Uint) => format!("{name}: u32"),
        Some(ScalarKind::Float) => format!("{name}: f32"),
        _ => format!("{name}: neither u32 nor f32"),
    };
    let taken = members.iter().map(|found| {
        let TypeInner::Scalar(scalar) = module.types[found.ty].inner else {
            return member(found.name.as_deref().unwrap_or_default(), None);
        };
        member(found.name.as_deref().unwrap_or_default(), Some(scalar.kind))
    });
    let given = given.uniforms.iter().map(|(name, word)| match word {
        Word::U32(_) => member(name, Some(ScalarKind::Uint)),
        Word::F32(_) => member(name, Some(ScalarKind::Float)),
    });
    let taken = taken.collect::<Vec<_>>().join(", ");
    let first = std::iter::once("first_group: u32".to_owned());
    let given = first.chain(given).collect::<Vec<_>>().join(", ");
    if taken != given {
        return Err(format!("its uniforms are {{{taken}}}, and the kernel gives {{{given}}}"));
    }
    Ok(())
}

fn check_bindings(module: &Module, uses: &FunctionInfo, given: &Given) -> Result<(), String> {
    let Given { inputs, outputs, .. } = *given;
    for variable in used(module, uses) {
        let (AddressSpace::Storage { access }, Some(place)) = (variable.space, &variable.binding)
        else {
            continue;
        };
        let name = variable.name.as_deref().unwrap_or_default();
        let number = place.binding as usize;
        if place.group != 0 || !(1..=inputs + outputs).contains(&number) {
            return Err(format!(
                "{name} is binding {number} of group {}; the kernel gives {inputs} inputs and \
                 {outputs} outputs, from binding 1 of group 0 on",
                place.group
            ));
        }
        let writes = access.contains(StorageAccess::STORE);
        if writes != (number > inputs) {
            let [is, asked] = if writes { ["read_write", "read"] } else { ["read", "read_write"] };
            return Err(format!(
                "{name}, binding {number}, is {is} and must be {asked}: the kernel gives {inputs} \
                 inputs and then {outputs} outputs"
            ));
        }
    }
    Ok(())
}
