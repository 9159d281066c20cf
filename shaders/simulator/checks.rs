//! What can be wrong with the result of an operation.

use super::arithmetic::{Failure, any_fails, failure, is_not_finite};
use super::findings::{Fault, lanes};
use super::machine::Machine;
use super::mask::Mask;
use super::program::{Compute, Register};

impl Machine<'_, '_> {
    /// A real number that is none, or infinite, must come from one that was so before.
    pub fn check_finite(&mut self, compute: &Compute, mask: Mask) {
        let Compute { operation, to, operands, line, .. } = *compute;
        self.wrapped.clear(to);
        // As whole numbers, so that all lanes are looked at together.
        let largest = self.register(to).iter().fold(0, |most, word| most.max(word & 0x7fff_ffff));
        if !is_not_finite(largest) && largest < 0x7f80_0000 {
            return;
        }
        let used = &operands[..operation.operands()];
        let finite =
            |register: &Register, lane: usize| !is_not_finite(self.register(*register)[lane]);
        let is_wrong =
            |lane: &usize| !finite(&to, *lane) && used.iter().all(|operand| finite(operand, *lane));
        let wrong: Mask = mask.lanes().filter(is_wrong).collect();
        let Some(lane) = wrong.lanes().next() else { return };
        let real = |register: Register| f32::from_bits(self.register(register)[lane]);
        let (result, given) = (real(to), used.iter().map(|operand| real(*operand)));
        let given = given.map(|value| format!("{value:e}")).collect::<Vec<_>>().join(" and ");
        self.find(Fault::NotFinite, line, || {
            format!("{operation:?} of {given} is {result}, in {}", lanes(wrong))
        });
    }

    /// A result that is too large for a word is noted, and an operation that has none is a fault.
    pub fn check_whole(&mut self, compute: &Compute, mask: Mask) {
        let Compute { operation, to, operands, line, .. } = *compute;
        self.wrapped.pass_on(compute, self.lanes, &self.registers);
        let [x, y] = [operands[0], operands[1]].map(|operand| self.register(operand));
        if !any_fails(operation, x, y) {
            return;
        }
        let (mut wraps, mut divides, mut shifts) = (Mask::NONE, Mask::NONE, Mask::NONE);
        mask.each(|lane| match failure(operation, x[lane], y[lane]) {
            Some(Failure::Wraps) => wraps.insert(lane),
            Some(Failure::DivisionByZero) => divides.insert(lane),
            Some(Failure::ShiftTooFar) => shifts.insert(lane),
            None => {}
        });
        self.wrapped.note(to, wraps, line);
        for (fault, wrong, what) in [
            (Fault::DivisionByZero, divides, "a division by zero"),
            (Fault::Shift, shifts, "a shift by 32 bits or more"),
        ] {
            if !wrong.is_empty() {
                self.find(fault, line, || format!("{what}, in {}", lanes(wrong)));
            }
        }
    }
}
