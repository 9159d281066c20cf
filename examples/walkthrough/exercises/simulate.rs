//! Runs a reader's kernel on the simulated GPU.

use crate::kernels::Case;
use naga::front::wgsl;
use naga::valid::{Capabilities, ValidationFlags, Validator};
use naga::{ArraySize, Module, TypeInner};
use neutreno::engine::device::{Bound, Execute, Execution};
use neutreno::engine::gpu::Shader;
use neutreno_simulator::{Counts, Finding, Simulator, Trace};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// No number, with these bits in it: nobody wrote here.
const UNWRITTEN: u32 = 0x7fc0_0bad;

/// What came of a case.
pub struct Ran {
    /// `None` where nothing was written.
    pub output: Vec<Option<f32>>,
    pub findings: Vec<Finding>,
    pub counts: Counts,
    pub trace: Trace,
}

/// Reads a shader.
///
/// # Errors
/// With the line and a caret, if it is not valid.
pub fn parse(file: &str, text: &str) -> Result<Module, String> {
    let module =
        wgsl::parse_str(text).map_err(|error| error.emit_to_string_with_path(text, file))?;
    Validator::new(ValidationFlags::all(), Capabilities::empty())
        .validate(&module)
        .map_err(|error| error.emit_to_string_with_path(text, file))?;
    Ok(module)
}

/// The largest array that each invocation has of its own, and how many words that is.
pub fn own_array(module: &Module) -> Option<(String, u32)> {
    let functions = module.functions.iter().map(|(_, function)| function);
    let functions = functions.chain(module.entry_points.iter().map(|entry| &entry.function));
    let locals = functions.flat_map(|function| {
        function.local_variables.iter().map(|(_, variable)| (&variable.name, variable.ty))
    });
    let privates = module.global_variables.iter().map(|(_, variable)| variable);
    let privates = privates.filter(|variable| variable.space == naga::AddressSpace::Private);
    let all = locals.chain(privates.map(|variable| (&variable.name, variable.ty)));
    let arrays = all.filter_map(|(name, ty)| match module.types[ty].inner {
        TypeInner::Array { size: ArraySize::Constant(count), stride, .. } => {
            Some((name.clone().unwrap_or_default(), count.get() * stride / 4))
        }
        _ => None,
    });
    arrays.max_by_key(|(_, words)| *words)
}

/// Runs a case. The text is leaked, as shaders live as long as the program: which ends after one exercise.
///
/// # Errors
/// In words, if it cannot be run.
pub fn run(text: &str, entry_point: &'static str, case: &Case) -> Result<Ran, String> {
    let shader = Shader { name: "exercise", source: Box::leak(text.to_owned().into_boxed_str()) };
    let mut memory: Vec<Vec<u32>> = case
        .inputs
        .iter()
        .map(|input| input.iter().map(|number| number.to_bits()).collect())
        .collect();
    let inputs = memory.len();
    memory.push(vec![UNWRITTEN; case.expected.len()]);
    if case.spare > 0 {
        memory.push(vec![UNWRITTEN; case.spare]);
    }
    let bound = |(buffer, words): (usize, &Vec<u32>)| Bound {
        buffer,
        offset: 0,
        size: words.len(),
        is_output: buffer >= inputs,
    };
    let bindings = memory.iter().enumerate().map(bound).collect();
    let simulator = Simulator::tracing();
    let execution = Execution {
        shader,
        entry_point,
        uniforms: &case.uniforms,
        memory: memory.iter_mut().map(Vec::as_mut_slice).collect(),
        bindings,
        grid: case.grid,
        lanes: 64,
    };
    catch_unwind(AssertUnwindSafe(|| simulator.execute(execution))).map_err(|panic| {
        let said = panic.downcast_ref::<String>().cloned().unwrap_or_default();
        let short = said.strip_prefix(&format!("shader exercise, {entry_point}: "));
        let short = short.or(said.strip_prefix(&format!("exercise.wgsl, {entry_point}: ")));
        short.unwrap_or(&said).to_owned()
    })?;
    let word = |word: &u32| (*word != UNWRITTEN).then(|| f32::from_bits(*word));
    Ok(Ran {
        output: memory[inputs].iter().map(word).collect(),
        findings: simulator.take_findings(),
        counts: simulator.take_counts().remove(entry_point).unwrap_or_default(),
        trace: simulator.take_traces().remove(0),
    })
}
