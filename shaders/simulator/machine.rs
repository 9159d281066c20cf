//! The state of a dispatch that is being run.

use super::counts::Counts;
use super::findings::{Fault, Findings};
use super::mask::Mask;
use super::memory::Memory;
use super::program::{Program, Register};
use super::trace::Tracer;
use super::wrapping::Wrapped;

pub struct Machine<'p, 'm> {
    pub program: &'p Program,
    /// The invocations of a workgroup.
    pub lanes: usize,
    /// All of them.
    pub all: Mask,
    /// Where the lanes go with an access; kept, since there are many accesses.
    pub places: Vec<u32>,
    /// Register after register, lane after lane.
    pub registers: Vec<u32>,
    /// Which of them come from arithmetic that wrapped.
    pub wrapped: Wrapped,
    pub memory: Memory<'m>,
    pub findings: &'m mut Findings,
    /// What is counted, if it is.
    pub counts: Option<Counts>,
    /// What accesses are written down, if they are.
    pub tracer: Option<Tracer>,
    /// The number of the workgroup in x and y.
    pub group: [u32; 2],
    /// Of the functions that are being run, the lanes that have returned from them.
    pub returned: Vec<Mask>,
    /// Of the loops and switches, the lanes that have left them.
    pub broken: Vec<Mask>,
    /// Of the loops, the lanes that have gone on to their continuing part.
    pub continued: Vec<Mask>,
}

impl<'p, 'm> Machine<'p, 'm> {
    pub fn new(
        program: &'p Program,
        memory: Memory<'m>,
        findings: &'m mut Findings,
        is_counting: bool,
    ) -> Machine<'p, 'm> {
        let lanes = program.size.iter().product::<u32>() as usize;
        Machine {
            program,
            lanes,
            all: Mask::first(lanes),
            places: Vec::new(),
            registers: vec![0; program.registers as usize * lanes],
            wrapped: Wrapped::new(program.registers),
            memory,
            findings,
            counts: is_counting.then(Counts::default),
            tracer: None,
            group: [0; 2],
            returned: Vec::new(),
            broken: Vec::new(),
            continued: Vec::new(),
        }
    }

    /// The words of a register.
    pub fn register(&self, register: Register) -> &[u32] {
        let start = register as usize * self.lanes;
        &self.registers[start..start + self.lanes]
    }

    pub fn find(&mut self, fault: Fault, line: u32, what: impl FnOnce() -> String) {
        let place = (self.program.file.as_str(), self.program.entry_point.as_str());
        self.findings.add(fault, place, line, what);
    }

    pub fn fill(&mut self, register: Register, value: u32) {
        let start = register as usize * self.lanes;
        self.registers[start..start + self.lanes].fill(value);
    }

    pub fn copy(&mut self, to: Register, from: Register, count: u32) {
        let (start, size) = (from as usize * self.lanes, count as usize * self.lanes);
        self.registers.copy_within(start..start + size, to as usize * self.lanes);
        self.wrapped.copy(to, from, count, self.all);
    }

    pub fn set(&mut self, to: Register, from: Register, count: u32, mask: Mask) {
        if mask == self.all {
            return self.copy(to, from, count);
        }
        for part in 0..count as usize {
            let [to, from] = [to, from].map(|first| (first as usize + part) * self.lanes);
            mask.each(|lane| self.registers[to + lane] = self.registers[from + lane]);
        }
        self.wrapped.copy(to, from, count, mask);
    }
}
