//! Runs the WGSL shaders of neutreno on the host, looks for faults that no compiler sees, counts what they
//! cost, and tells who touched what.
//!
//! A GPU runs thousands of invocations of a shader at once, in workgroups. Within a workgroup they can wait
//! for each other, at a barrier; apart from that nothing says which comes first. A shader that relies on more
//! may give the right numbers for years on one device, and wrong ones on the next. So results prove little,
//! and this looks at every access instead.
//!
//! # How it is used
//!
//! [`Device::simulated`](neutreno_engine::Device::simulated) makes a device of a [`Simulator`]. Its dispatches
//! come from the kernels themselves, as those of every GPU do: there is no second description of any.
//!
//! ```
//! use neutreno_engine::gpu::Class;
//! use neutreno_engine::{Device, Tensor};
//! use neutreno_simulator::Simulator;
//! use std::sync::Arc;
//! let simulator = Arc::new(Simulator::new());
//! let device = Device::simulated(simulator.clone(), Class::HARDWARE);
//! let x = Tensor::new(&[1.0, 2.0, 3.0], [3], &device);
//! assert_eq!((&x + &x).to_vec()?, [2.0, 4.0, 6.0]);
//! assert!(simulator.take_findings().is_empty());
//! # Ok::<(), neutreno_engine::Error>(())
//! ```
//!
//! # What happens before what
//!
//! Lanes, the invocations of a workgroup, run in step here: each statement for all of them, before the next
//! one. That is one order of many that a GPU may take, so it is not relied on: whether two accesses are
//! ordered is read from the barriers between them.
//!
//! - What one lane does is ordered.
//! - What two lanes of a workgroup do is ordered by a barrier between, for the memory that the barrier is
//!   for: `workgroupBarrier` for `var<workgroup>`, `storageBarrier` for `var<storage>`, and
//!   `workgroupUniformLoad` as the first. A `workgroupBarrier` promises nothing of storage.
//! - What two workgroups of a dispatch do is never ordered. Dispatches are.
//!
//! Two accesses to a word that are not ordered, one of them a write, are a data race, even if they write the
//! same. Each word has a cell that knows who wrote it last, who read it and when, counted in barriers.
//!
//! # What is found
//!
//! [`Fault`] lists it: data races within a workgroup and between workgroups; bindings that see the same
//! memory; indices outside of bindings, arrays and vectors; workgroup memory that is read before it is
//! written (WGSL has it zero, but the engine asks for no zeroing, which costs time); barriers that some
//! lanes do not come to; indices that come from sums or products too large for 32 bits; shifts too far and
//! divisions by zero; infinities and what is no number, where operands were finite. Memory that nobody wrote
//! holds what is no number, so a result shows if it was read.
//!
//! # What is not found
//!
//! - What depends on data is found for the data that is run: a race behind a branch that no case takes is
//!   not. So every case of every op is run, and every entry point.
//! - Where WGSL leaves something open, the plain thing is done: a product and a sum are rounded one after the
//!   other, small numbers stay what they are, elementary functions are the host's.
//! - That an index wrapped is not followed through memory, nor through branches that it decides.
//! - Uniformity is looked at as it happens; naga's own check reads it from the text.
//! - Atomics, textures and subgroups are refused ("not supported"), as is all else that no shader here uses.

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
mod trace;
mod values;
mod wrapping;

pub use counts::Counts;
pub use findings::{Fault, Finding};
pub use trace::{Does, Touch, Trace, Traced};

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
use trace::Tracer;

/// Executes dispatches, notes what is wrong with them, and counts and traces if it is to.
///
/// # Panics
/// Where a shader is not valid, does what the simulator does not know, is not given what it takes, or has a
/// loop that does not end.
#[derive(Default)]
pub struct Simulator {
    is_counting: bool,
    is_tracing: bool,
    programs: Mutex<HashMap<(Shader, String, u32), Arc<Program>>>,
    notes: Mutex<Notes>,
}

#[derive(Default)]
struct Notes {
    findings: Findings,
    counts: BTreeMap<String, Counts>,
    traces: Vec<Trace>,
}

impl Simulator {
    /// One that does not count, which takes time.
    pub fn new() -> Simulator {
        Simulator::default()
    }

    /// One that counts.
    ///
    /// ```
    /// use neutreno_engine::gpu::Class;
    /// use neutreno_engine::{Device, Tensor};
    /// use neutreno_simulator::Simulator;
    /// use std::sync::Arc;
    /// let simulator = Arc::new(Simulator::counting());
    /// let device = Device::simulated(simulator.clone(), Class::HARDWARE);
    /// Tensor::zeros([640], &device).exp();
    /// // 640 numbers are 20 warps of 32 lanes; each loads and stores 4 sectors of 32 bytes.
    /// let counts = simulator.take_counts()["exp_forward"];
    /// assert_eq!((counts.workgroups, counts.loads, counts.stores), (10, 20, 20));
    /// assert_eq!((counts.sectors, counts.fewest_sectors), (160, 160));
    /// ```
    pub fn counting() -> Simulator {
        Simulator { is_counting: true, ..Simulator::default() }
    }

    /// One that counts and also writes down who touched what. That takes 40 bytes for each word that a lane
    /// reads or writes, so it is for small dispatches.
    ///
    /// ```
    /// use neutreno_engine::gpu::Class;
    /// use neutreno_engine::{Device, Tensor};
    /// use neutreno_simulator::{Does, Simulator};
    /// use std::sync::Arc;
    /// let simulator = Arc::new(Simulator::tracing());
    /// let device = Device::simulated(simulator.clone(), Class::HARDWARE);
    /// Tensor::zeros([3], &device).exp();
    /// let traces = simulator.take_traces();
    /// let trace = traces.last().expect("a dispatch");
    /// assert_eq!(trace.entry_point, "exp_forward");
    /// let written = trace.touches.iter().filter(|touch| touch.does == Does::Write);
    /// assert_eq!(written.map(|touch| (touch.lane, touch.word)).collect::<Vec<_>>(), [(0, 0), (1, 1), (2, 2)]);
    /// ```
    pub fn tracing() -> Simulator {
        Simulator { is_counting: true, is_tracing: true, ..Simulator::default() }
    }

    /// What was found since this was asked last. What happens again at a line of an entry point is counted
    /// there, and told once.
    pub fn take_findings(&self) -> Vec<Finding> {
        std::mem::take(&mut self.notes().findings).list().to_vec()
    }

    /// What was counted since this was asked last, for each entry point that was run. Without counting
    /// there are only zeros.
    pub fn take_counts(&self) -> BTreeMap<String, Counts> {
        std::mem::take(&mut self.notes().counts)
    }

    /// The traces of the dispatches that were run since this was asked last, in their order. There are none
    /// without tracing.
    pub fn take_traces(&self) -> Vec<Trace> {
        std::mem::take(&mut self.notes().traces)
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
        if self.is_tracing {
            let words = (0..).map(|variable| machine.memory.size(variable));
            machine.tracer = Some(Tracer::new(&program, words));
        }
        machine.run(grid, uniforms);
        let traced = machine.tracer.map(Tracer::end);
        let counted = machine.counts.unwrap_or_default();
        let mut notes = self.notes();
        notes.findings.join(findings);
        *notes.counts.entry(name).or_default() += counted;
        notes.traces.extend(traced);
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
