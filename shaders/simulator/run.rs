//! Runs a program: the workgroups of a dispatch one after another, the lanes of a workgroup in step.

use super::arithmetic::apply;
use super::findings::{Fault, lanes};
use super::machine::Machine;
use super::mask::Mask;
use super::program::{BuiltIn, Case, Class, Compute, Register, Step};

/// More rounds than any loop of a shader takes: it does not end.
const MOST_ROUNDS: u64 = 1 << 22;

impl<'p> Machine<'p, '_> {
    /// Runs all workgroups of a grid.
    pub fn run(&mut self, grid: [u32; 2], uniforms: &[u32]) {
        for (register, value) in (0..).zip(&self.program.constants) {
            self.fill(register, *value);
        }
        if let Some((first, words)) = self.program.uniforms {
            let missing = || format!("{words} uniforms, and {} are given", uniforms.len());
            assert!(uniforms.len() >= words as usize, "{}", missing());
            for (register, value) in (first..first + words).zip(uniforms) {
                self.fill(register, *value);
            }
        }
        for y in 0..grid[1] {
            for x in 0..grid[0] {
                self.run_group([x, y], grid);
            }
        }
    }

    fn run_group(&mut self, group: [u32; 2], grid: [u32; 2]) {
        self.group = group;
        self.memory.begin_group();
        self.wrapped.forget();
        let [x, y, z] = self.program.size;
        let [group, grid, size] = [[group[0], group[1], 0], [grid[0], grid[1], 1], [x, y, z]];
        for (builtin, register) in &self.program.builtins {
            for lane in 0..self.lanes as u32 {
                let local = [lane % x, lane / x % y, lane / (x * y)];
                let value = match *builtin {
                    BuiltIn::Lane => lane,
                    BuiltIn::Local(axis) => local[axis],
                    BuiltIn::Group(axis) => group[axis],
                    BuiltIn::Global(axis) => group[axis] * size[axis] + local[axis],
                    BuiltIn::Groups(axis) => grid[axis],
                    BuiltIn::Size(axis) => size[axis],
                };
                self.registers[*register as usize * self.lanes + lane as usize] = value;
            }
        }
        if let Some(counts) = &mut self.counts {
            counts.workgroups += 1;
        }
        if let Some(tracer) = &mut self.tracer {
            tracer.begin_group(self.group);
        }
        self.steps(&self.program.body, self.all);
    }

    /// Runs steps with the lanes of a mask. Returns those that come to their end.
    fn steps(&mut self, steps: &'p [Step], mut mask: Mask) -> Mask {
        for step in steps {
            if mask.is_empty() {
                break;
            }
            match step {
                Step::Compute(compute) => self.compute(compute, mask),
                Step::Copy { to, from, count } => self.copy(*to, *from, *count),
                Step::Set { to, from, count } => self.set(*to, *from, *count, mask),
                Step::Load { access, to } => self.load(*access, *to, mask),
                Step::Store { access, from } => self.store(*access, from, mask),
                Step::Length { to, variable, from, stride } => {
                    let words = self.memory.size(*variable) - from;
                    self.fill(*to, words / stride);
                }
                Step::If { condition, accept, reject } => {
                    let condition = Mask::of(self.register(*condition));
                    let accepted = self.steps(accept, mask & condition);
                    mask = accepted | self.steps(reject, mask.without(condition));
                }
                Step::Switch { selector, cases } => mask = self.switch(*selector, cases, mask),
                Step::Loop { body, continuing, break_if, line } => {
                    mask = self.repeat(body, continuing, *break_if, *line, mask);
                }
                Step::Call(body) => {
                    self.returned.push(Mask::NONE);
                    let through = self.steps(body, mask);
                    mask = through | self.returned.pop().unwrap_or_default();
                }
                Step::Barrier { workgroup, storage, line } => {
                    self.barrier(*workgroup, *storage, *line, mask);
                }
                Step::Break => mask = leave(&mut self.broken, mask),
                Step::Continue => mask = leave(&mut self.continued, mask),
                Step::Return => mask = leave(&mut self.returned, mask),
            }
        }
        mask
    }

    fn switch(&mut self, selector: Register, cases: &'p [Case], mask: Mask) -> Mask {
        let values = self.register(selector).to_vec();
        let matches = |value: u32| mask.lanes().filter(|lane| values[*lane] == value).collect();
        let known: Vec<Mask> =
            cases.iter().map(|case| case.value.map_or(Mask::NONE, matches)).collect();
        let others = known.iter().fold(mask, |rest, known| rest.without(*known));
        self.broken.push(Mask::NONE);
        let (mut through, mut falling) = (Mask::NONE, Mask::NONE);
        for (case, known) in cases.iter().zip(known) {
            let own = if case.value.is_none() { others } else { known };
            let end = self.steps(&case.body, own | falling);
            if case.falls_through {
                falling = end;
            } else {
                falling = Mask::NONE;
                through |= end;
            }
        }
        through | falling | self.broken.pop().unwrap_or_default()
    }

    fn repeat(
        &mut self,
        body: &'p [Step],
        continuing: &'p [Step],
        break_if: Option<Register>,
        line: u32,
        mut mask: Mask,
    ) -> Mask {
        let mut left = Mask::NONE;
        for _ in 0..MOST_ROUNDS {
            self.broken.push(Mask::NONE);
            self.continued.push(Mask::NONE);
            let through = self.steps(body, mask);
            mask = through | self.continued.pop().unwrap_or_default();
            mask = self.steps(continuing, mask);
            if let Some(condition) = break_if {
                let ends = mask & Mask::of(self.register(condition));
                left |= ends;
                mask = mask.without(ends);
            }
            left |= self.broken.pop().unwrap_or_default();
            if mask.is_empty() {
                return left;
            }
        }
        panic!("{}:{line}: a loop that does not end", self.program.file);
    }

    fn barrier(&mut self, workgroup: bool, storage: bool, line: u32, mask: Mask) {
        if mask != self.all {
            let missing = self.all.without(mask);
            self.find(Fault::DivergentBarrier, line, || {
                format!("a barrier that only {} come to; {} do not", lanes(mask), lanes(missing))
            });
        }
        self.memory.barrier(workgroup, storage);
        if let Some(counts) = &mut self.counts {
            counts.barriers += 1;
        }
        if let Some(tracer) = &mut self.tracer {
            tracer.barrier();
        }
    }

    fn compute(&mut self, compute: &Compute, mask: Mask) {
        let Compute { operation, class, to, operands, .. } = *compute;
        let lanes = self.lanes;
        // Results come after what they are made of.
        let (before, after) = self.registers.split_at_mut(to as usize * lanes);
        let operand = |register: Register| {
            let start = register as usize * lanes;
            &before[start..start + lanes]
        };
        apply(operation, &mut after[..lanes], operands.map(operand));
        if operation.can_be_not_finite() {
            self.check_finite(compute, mask);
        } else if operation.can_fail() {
            self.check_whole(compute, mask);
        } else {
            self.wrapped.pass_on(compute, lanes, &self.registers);
        }
        if let Some(counts) = &mut self.counts {
            let warps = mask.warps();
            match class {
                Class::Free => {}
                Class::Fused => counts.fused += warps,
                Class::Float => counts.real += warps,
                Class::Integer => counts.whole += warps,
            }
        }
    }
}

/// Lanes leave for where the innermost of `targets` leads.
fn leave(targets: &mut [Mask], mask: Mask) -> Mask {
    *targets.last_mut().expect("a function, loop or switch") |= mask;
    Mask::NONE
}
