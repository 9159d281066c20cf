//! Statements, compiled to steps; functions are inlined.

use super::compiler::{Compiler, Frame};
use super::layout::{Known, Layout, count};
use super::program::{Case, Register, Root, Step};
use super::values::{Place, Value};
use naga::valid::FunctionInfo;
use naga::{
    Barrier, BinaryOperator, Block, Expression, Function, Handle, Module, ScalarKind, Statement,
    SwitchValue, TypeInner,
};
use std::collections::{HashMap, HashSet};

impl<'a> Compiler<'a> {
    /// The body of a function, inlined.
    pub fn body(
        &mut self,
        function: &'a Function,
        info: &'a FunctionInfo,
        arguments: Vec<Value>,
        result: Option<Register>,
    ) -> Known<Vec<Step>> {
        let mark = self.next;
        let fused = fused_products(self.module, function, info);
        let (values, locals) = (HashMap::new(), HashMap::new());
        let mut frame = Frame { function, info, values, arguments, locals, fused, result };
        let mut steps = Vec::new();
        for (handle, local) in function.local_variables.iter() {
            let ty = self.module.types[local.ty].inner.clone();
            let words = count(self.module, &ty)?;
            let first = self.registers(words);
            let zero = self.constant(0)?;
            let from = match local.init {
                Some(init) => self.value(&mut frame, init, &mut steps)?,
                None => vec![zero; words as usize],
            };
            for (to, from) in (first..).zip(from) {
                steps.push(Step::Copy { to, from, count: 1 });
            }
            let name = local.name.clone().unwrap_or_default();
            let (root, layout) = (Root::Registers(first), Layout::Registers);
            let indices = Vec::new();
            let place = Place { root, layout, offset: 0, indices, ty, name, read_only: false };
            frame.locals.insert(handle, place);
        }
        self.block(&mut frame, &function.body, &mut steps)?;
        self.next = mark;
        Ok(steps)
    }

    /// A block on its own: what it computes is not used behind it.
    fn scope(&mut self, frame: &mut Frame<'a>, block: &'a Block) -> Known<Vec<Step>> {
        let mark = self.next;
        let mut steps = Vec::new();
        self.block(frame, block, &mut steps)?;
        self.next = mark;
        Ok(steps)
    }

    fn block(
        &mut self,
        frame: &mut Frame<'a>,
        block: &'a Block,
        steps: &mut Vec<Step>,
    ) -> Known<()> {
        for (statement, span) in block.span_iter() {
            let line = self.source.line(*span);
            self.statement(frame, statement, line, steps).map_err(|what| {
                if what.contains(".wgsl:") {
                    what
                } else {
                    format!("{}:{line}: {what}", self.source.name)
                }
            })?;
        }
        Ok(())
    }

    fn statement(
        &mut self,
        frame: &mut Frame<'a>,
        statement: &'a Statement,
        line: u32,
        steps: &mut Vec<Step>,
    ) -> Known<()> {
        match statement {
            Statement::Emit(range) => {
                for handle in range.clone() {
                    let value = self.expression(frame, handle, steps)?;
                    frame.values.insert(handle, value);
                }
            }
            Statement::Block(block) => steps.push(Step::If {
                condition: self.constant(1)?,
                accept: self.scope(frame, block)?,
                reject: Vec::new(),
            }),
            Statement::If { condition, accept, reject } => {
                let condition = self.value(frame, *condition, steps)?[0];
                let (accept, reject) = (self.scope(frame, accept)?, self.scope(frame, reject)?);
                steps.push(Step::If { condition, accept, reject });
            }
            Statement::Switch { selector, cases } => {
                let selector = self.value(frame, *selector, steps)?[0];
                let case = |case: &'a naga::SwitchCase| {
                    let value = match case.value {
                        SwitchValue::I32(value) => Some(value as u32),
                        SwitchValue::U32(value) => Some(value),
                        SwitchValue::Default => None,
                    };
                    let body = self.scope(frame, &case.body)?;
                    Ok(Case { value, body, falls_through: case.fall_through })
                };
                let cases = cases.iter().map(case).collect::<Known<_>>()?;
                steps.push(Step::Switch { selector, cases });
            }
            Statement::Loop { body, continuing, break_if } => {
                let mark = self.next;
                let (mut inside, mut after) = (Vec::new(), Vec::new());
                self.block(frame, body, &mut inside)?;
                self.block(frame, continuing, &mut after)?;
                let break_if = match break_if {
                    Some(condition) => Some(self.value(frame, *condition, &mut after)?[0]),
                    None => None,
                };
                self.next = mark;
                steps.push(Step::Loop { body: inside, continuing: after, break_if, line });
            }
            Statement::Break => steps.push(Step::Break),
            Statement::Continue => steps.push(Step::Continue),
            Statement::Return { value } => {
                if let (Some(value), Some(to)) = (value, frame.result) {
                    let from = self.value(frame, *value, steps)?;
                    set(to, &from, steps);
                }
                steps.push(Step::Return);
            }
            Statement::ControlBarrier(flags) => steps.push(Step::Barrier {
                workgroup: flags.contains(Barrier::WORK_GROUP),
                storage: flags.contains(Barrier::STORAGE),
                line,
            }),
            Statement::Store { pointer, value } => {
                let from = self.value(frame, *value, steps)?;
                let place = self.pointer(frame, *pointer, steps)?;
                self.store(place, from, line, steps)?;
            }
            Statement::WorkGroupUniformLoad { pointer, result } => {
                let barrier = || Step::Barrier { workgroup: true, storage: false, line };
                steps.push(barrier());
                let place = self.pointer(frame, *pointer, steps)?;
                let value = self.load(place, line, steps)?;
                steps.push(barrier());
                frame.values.insert(*result, value);
            }
            Statement::Call { function, arguments, result } => {
                let arguments = arguments.iter().map(|a| self.expression(frame, *a, steps));
                let arguments = arguments.collect::<Known<Vec<Value>>>()?;
                let callee = &self.module.functions[*function];
                let to = match &callee.result {
                    Some(of) => {
                        let words = count(self.module, &self.module.types[of.ty].inner)?;
                        let to = self.registers(words);
                        if let Some(result) = result {
                            let value = Value::Registers((to..to + words).collect());
                            frame.values.insert(*result, value);
                        }
                        Some(to)
                    }
                    None => None,
                };
                let info = &self.source.info[*function];
                steps.push(Step::Call(self.body(callee, info, arguments, to)?));
            }
            other => {
                let text = format!("{other:?}");
                let name = text.split([' ', '(', '{']).next().unwrap_or_default();
                return Err(format!("the statement {name}"));
            }
        }
        Ok(())
    }

    fn store(
        &mut self,
        place: Place,
        from: Vec<Register>,
        line: u32,
        steps: &mut Vec<Step>,
    ) -> Known<()> {
        if let (Root::Registers(first), true) = (place.root, place.indices.is_empty()) {
            set(first + place.offset, &from, steps);
            return Ok(());
        }
        let access = self.access(place, line)?;
        steps.push(Step::Store { access, from });
        Ok(())
    }
}

/// Sets registers that lie next to each other, in as few steps as can be.
fn set(first: Register, from: &[Register], steps: &mut Vec<Step>) {
    let mut done = 0;
    for run in from.chunk_by(|one, next| *next == one + 1) {
        let count = run.len() as u32;
        steps.push(Step::Set { to: first + done, from: run[0], count });
        done += count;
    }
}

/// The products of real numbers that are used once, in a sum or a difference.
fn fused_products(
    module: &Module,
    function: &Function,
    info: &FunctionInfo,
) -> HashSet<Handle<Expression>> {
    let is_real = |handle: Handle<Expression>| {
        let ty = info[handle].ty.inner_with(&module.types);
        let single = matches!(ty, TypeInner::Scalar(_) | TypeInner::Vector { .. });
        single && ty.scalar_kind() == Some(ScalarKind::Float)
    };
    let is_product = |handle: Handle<Expression>| match function.expressions[handle] {
        Expression::Binary { op: BinaryOperator::Multiply, left, right } => {
            is_real(left) && is_real(right) && info[handle].ref_count == 1
        }
        _ => false,
    };
    let product = |(_, expression): (_, &Expression)| match *expression {
        Expression::Binary { op: BinaryOperator::Add | BinaryOperator::Subtract, left, right } => {
            [right, left].into_iter().find(|operand| is_product(*operand))
        }
        _ => None,
    };
    function.expressions.iter().filter_map(product).collect()
}
