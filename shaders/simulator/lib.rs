//! Runs the shaders.

mod access;
mod arithmetic;
mod checks;
mod compile;
mod compiler;
mod counts;
mod expressions;
mod findings;
mod layout;
mod machine;
mod mask;
mod memory;
mod operations;
mod program;
mod run;
mod shadow;
mod source;
mod statements;
mod values;
mod wrapping;

pub use counts::Counts;
pub use findings::{Fault, Finding};

use compile::compile;
use findings::Findings;
use machine::Machine;
use mask::Mask;
use memory::Memory;
use neutreno_engine::device::{Execute, Execution};
use neutreno_engine::gpu::Shader;
use program::Program;
use source::Source;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};

/// Executes dispatches, notes what is wrong with them, and counts if it is to.
#[derive(Default)]
pub struct Simulator {
    is_counting: bool,
    programs: Mutex<HashMap<(Shader, String, u32), Arc<Program>>>,
    notes: Mutex<Notes>,
}

#[derive(Default)]
struct Notes {
    findings: Findings,
    counts: BTreeMap<String, Counts>,
}

impl Simulator {
    /// One that does not count, which takes time.
    pub fn new() -> Simulator {
        Simulator::default()
    }

    /// One that counts.
    pub fn counting() -> Simulator {
        Simulator { is_counting: true, ..Simulator::default() }
    }

    /// What was found so far.
    pub fn findings(&self) -> Vec<Finding> {
        self.notes().findings.list().to_vec()
    }

    /// What was found since this was asked last.
    pub fn take_findings(&self) -> Vec<Finding> {
        std::mem::take(&mut self.notes().findings).list().to_vec()
    }

    /// What was counted since this was asked last, for each entry point that was run. Without counting
    /// there are only zeros.
    pub fn take_counts(&self) -> BTreeMap<String, Counts> {
        std::mem::take(&mut self.notes().counts)
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn program(&self, execution: &Execution) -> Result<Arc<Program>, String> {
        let Execution { shader, entry_point, lanes, .. } = *execution;
        let mut programs = self.programs.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let key = (shader, entry_point.to_owned(), lanes);
        if let Some(known) = programs.get(&key) {
            return Ok(known.clone());
        }
        let source = Source::parse(shader.name, shader.source)?;
        let program = compile(&source, entry_point, lanes)
            .map_err(|what| format!("not supported: {what}"))?;
        let size: u32 = program.size.iter().product();
        if size as usize > Mask::MOST {
            return Err(format!("not supported: workgroups of {size} invocations"));
        }
        let program = Arc::new(program);
        programs.insert(key, program.clone());
        Ok(program)
    }
}

impl Execute for Simulator {
    fn execute(&self, execution: Execution) {
        let wrong = |what: String| -> ! {
            panic!("shader {}, {}: {what}", execution.shader.name, execution.entry_point)
        };
        let program = self.program(&execution).unwrap_or_else(|what| wrong(what));
        let place = (program.file.as_str(), program.entry_point.as_str());
        let mut findings = Findings::default();
        find_overlaps(&execution, place, &mut findings);
        let (grid, uniforms) = (execution.grid, execution.uniforms);
        let name = execution.entry_point.to_owned();
        let memory = Memory::new(&program, execution);
        let memory = memory.unwrap_or_else(|what| panic!("{}, {name}: {what}", program.file));
        let mut machine = Machine::new(&program, memory, &mut findings, self.is_counting);
        machine.run(grid, uniforms);
        let counted = machine.counts.unwrap_or_default();
        let mut notes = self.notes();
        notes.findings.join(findings);
        *notes.counts.entry(name).or_default() += counted;
    }
}

/// Bindings that see the same memory, one of them to write.
fn find_overlaps(execution: &Execution, place: (&str, &str), findings: &mut Findings) {
    let bindings = &execution.bindings;
    for (index, one) in bindings.iter().enumerate() {
        for (other_index, other) in bindings.iter().enumerate().skip(index + 1) {
            let is_apart = one.buffer != other.buffer
                || one.offset + one.size <= other.offset
                || other.offset + other.size <= one.offset;
            if !is_apart && (one.is_output || other.is_output) {
                let [one, other] = [index + 1, other_index + 1];
                findings.add(Fault::Overlap, place, 0, || {
                    format!("bindings {one} and {other} see the same memory, and one is written")
                });
            }
        }
    }
}
