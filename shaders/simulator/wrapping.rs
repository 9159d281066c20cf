//! Which words come from arithmetic that was too large for 32 bits.
//!
//! That is no fault in itself: random numbers are made so, and what is too small by a step on the way may
//! come right again. It is one where an index comes of it.

use super::arithmetic::Operation::{MaxI, MaxU, MinI, MinU, Select};
use super::mask::Mask;
use super::program::{Compute, Register};

/// The lanes of each register whose words come from such arithmetic.
pub struct Wrapped {
    lanes: Vec<Mask>,
    /// The line of that arithmetic.
    lines: Vec<u32>,
    /// Whether there is any, in this workgroup.
    any: bool,
}

impl Wrapped {
    pub fn new(registers: Register) -> Wrapped {
        let registers = registers as usize;
        Wrapped { lanes: vec![Mask::NONE; registers], lines: vec![0; registers], any: false }
    }

    /// Another workgroup begins.
    pub fn forget(&mut self) {
        if std::mem::take(&mut self.any) {
            self.lanes.fill(Mask::NONE);
        }
    }

    pub fn any(&self) -> bool {
        self.any
    }

    /// The lanes of a register, and the line where it happened.
    pub fn of(&self, register: Register) -> (Mask, u32) {
        (self.lanes[register as usize], self.lines[register as usize])
    }

    /// The result of an operation wrapped, in these lanes.
    pub fn note(&mut self, to: Register, lanes: Mask, line: u32) {
        if !lanes.is_empty() {
            self.any = true;
            self.lanes[to as usize] |= lanes;
            self.lines[to as usize] = line;
        }
    }

    /// Nothing is wrong with a register.
    pub fn clear(&mut self, to: Register) {
        if self.any {
            self.lanes[to as usize] = Mask::NONE;
        }
    }

    pub fn copy(&mut self, to: Register, from: Register, count: u32, mask: Mask) {
        if !self.any {
            return;
        }
        for part in 0..count {
            let (wrapped, line) = self.of(from + part);
            self.put(to + part, mask, wrapped, line);
        }
    }

    /// Takes over, in some lanes, what is known of another register.
    pub fn put(&mut self, to: Register, mask: Mask, wrapped: Mask, line: u32) {
        if self.any {
            let to = to as usize;
            self.lanes[to] = self.lanes[to].without(mask) | (wrapped & mask);
            self.lines[to] = line;
        }
    }

    /// What an operation makes of operands that wrapped.
    pub fn pass_on(&mut self, compute: &Compute, lanes: usize, registers: &[u32]) {
        if !self.any {
            return;
        }
        let Compute { operation, to, operands, .. } = *compute;
        self.lanes[to as usize] = Mask::NONE;
        if !operation.passes_on() {
            return;
        }
        let word = |register: Register, lane: usize| registers[register as usize * lanes + lane];
        let used = &operands[..operation.operands()];
        let mut found = (Mask::NONE, 0);
        for (number, operand) in used.iter().enumerate() {
            let (mut wrapped, line) = self.of(*operand);
            // Of one that is chosen among others, only the lanes that chose it.
            let is_chosen = |lane: &usize| match operation {
                Select => number == if word(operands[0], *lane) != 0 { 1 } else { 2 },
                _ => word(*operand, *lane) == word(to, *lane),
            };
            if matches!(operation, Select | MinU | MaxU | MinI | MaxI) {
                wrapped = wrapped.lanes().filter(is_chosen).collect();
            }
            if !wrapped.is_empty() {
                found = (found.0 | wrapped, line);
            }
        }
        (self.lanes[to as usize], self.lines[to as usize]) = found;
    }
}
