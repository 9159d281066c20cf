//! The compiler's state: what is known of a program and of a function while they are compiled.

use super::arithmetic::Operation;
use super::layout::{Known, count};
use super::program::{Access, Class, Compute, Program, Register, Root, Step};
use super::source::Source;
use super::values::{Place, Value};
use naga::valid::FunctionInfo;
use naga::{
    Expression, Function, GlobalVariable, Handle, Literal, LocalVariable, Module, TypeInner,
};
use std::collections::{HashMap, HashSet};

/// What is known of a function while its body is compiled. Each call has its own.
pub struct Frame<'a> {
    pub function: &'a Function,
    pub info: &'a FunctionInfo,
    pub values: HashMap<Handle<Expression>, Value>,
    pub arguments: Vec<Value>,
    pub locals: HashMap<Handle<LocalVariable>, Place>,
    /// Products that the sums that they stand in take for themselves.
    pub fused: HashSet<Handle<Expression>>,
    /// Where the result goes.
    pub result: Option<Register>,
}

impl Frame<'_> {
    pub fn type_of<'m>(&'m self, module: &'m Module, handle: Handle<Expression>) -> &'m TypeInner {
        self.info[handle].ty.inner_with(&module.types)
    }

    /// How an expression is counted, if it is a part of a fused multiply-add: the product, or the sum that
    /// has one among its operands. (What else has a product that is fused for an operand, is that sum.)
    pub fn class_of(
        &self,
        handle: Handle<Expression>,
        operands: [Handle<Expression>; 2],
    ) -> Option<Class> {
        if self.fused.contains(&handle) {
            return Some(Class::Free);
        }
        operands.iter().any(|operand| self.fused.contains(operand)).then_some(Class::Fused)
    }
}

pub struct Compiler<'a> {
    pub source: &'a Source,
    pub module: &'a Module,
    pub lanes: u32,
    constants: HashMap<u32, Register>,
    pub globals: HashMap<Handle<GlobalVariable>, Place>,
    pub next: Register,
    pub program: Program,
}

impl<'a> Compiler<'a> {
    pub fn new(source: &'a Source, lanes: u32) -> Compiler<'a> {
        let module = &source.module;
        let mut constants: Vec<u32> = constants_of(module);
        constants.extend([0, 1, 0xffff_ffff, 1.0_f32.to_bits(), lanes]);
        constants.sort_unstable();
        constants.dedup();
        let program = Program {
            file: source.name.clone(),
            entry_point: String::new(),
            size: [1; 3],
            registers: 0,
            constants: constants.clone(),
            uniforms: None,
            builtins: Vec::new(),
            variables: Vec::new(),
            accesses: Vec::new(),
            body: Vec::new(),
        };
        let next = constants.len() as Register;
        let constants = constants.into_iter().zip(0..).collect();
        Compiler { source, module, lanes, constants, globals: HashMap::new(), next, program }
    }

    pub fn load(&mut self, place: Place, line: u32, steps: &mut Vec<Step>) -> Known<Value> {
        let words = count(self.module, &place.ty)?;
        if let (Root::Registers(first), true) = (place.root, place.indices.is_empty()) {
            let parts = place.layout.components(self.module, &place.ty)?;
            let from = parts.iter().map(|part| first + place.offset + part);
            if place.read_only {
                return Ok(Value::Registers(from.collect()));
            }
            let to = self.registers(words);
            steps.push(Step::Copy { to, from: first + place.offset, count: words });
            return Ok(Value::Registers((to..to + words).collect()));
        }
        let to = self.registers(words);
        let access = self.access(place, line)?;
        steps.push(Step::Load { access, to });
        Ok(Value::Registers((to..to + words).collect()))
    }

    /// Notes an access to the whole of a place.
    pub fn access(&mut self, place: Place, line: u32) -> Known<u32> {
        let components = place.layout.components(self.module, &place.ty)?;
        let Place { root, offset, indices, name, .. } = place;
        self.program.accesses.push(Access { root, offset, indices, components, name, line });
        Ok(self.program.accesses.len() as u32 - 1)
    }

    /// New registers, next to each other.
    pub fn registers(&mut self, count: u32) -> Register {
        let first = self.next;
        self.next += count;
        self.program.registers = self.program.registers.max(self.next);
        first
    }

    pub fn constant(&self, value: u32) -> Known<Register> {
        let known = self.constants.get(&value).copied();
        known.ok_or_else(|| format!("the constant {value}, which stands nowhere in the shader"))
    }

    pub fn variable_of(&self, root: Root) -> Option<u32> {
        match root {
            Root::Variable(index) => Some(index),
            Root::Registers(_) => None,
        }
    }

    pub fn compute(
        &mut self,
        operation: Operation,
        class: Class,
        operands: [Register; 3],
        line: u32,
        steps: &mut Vec<Step>,
    ) -> Register {
        let to = self.registers(1);
        steps.push(Step::Compute(Compute { operation, class, to, operands, line }));
        to
    }

    pub fn line(&self, frame: &Frame, handle: Handle<Expression>) -> u32 {
        self.source.line(frame.function.expressions.get_span(handle))
    }
}

/// All words that stand in a module as constants.
fn constants_of(module: &Module) -> Vec<u32> {
    let functions = module.functions.iter().map(|(_, function)| function);
    let entries = module.entry_points.iter().map(|entry| &entry.function);
    let arenas = functions.chain(entries).map(|function| &function.expressions);
    let expressions = arenas.chain([&module.global_expressions]).flat_map(|arena| arena.iter());
    let word = |(_, expression): (_, &Expression)| match *expression {
        Expression::Literal(literal) => word_of(literal),
        Expression::AccessIndex { index, .. } => Some(index),
        _ => None,
    };
    expressions.filter_map(word).collect()
}

/// The word of a literal, if it is one.
pub fn word_of(literal: Literal) -> Option<u32> {
    match literal {
        Literal::F32(value) => Some(value.to_bits()),
        Literal::U32(value) => Some(value),
        Literal::I32(value) => Some(value as u32),
        Literal::Bool(value) => Some(u32::from(value)),
        _ => None,
    }
}
