//! From naga's representation of a shader to a [`Program`].

use super::expressions::{Place, Value};
use super::layout::{Known, Layout, count};
use super::program::{
    Access, BuiltIn, Case, Class, Compute, Program, Register, Root, Space, Step, Variable,
};
use naga::valid::{Capabilities, FunctionInfo, ModuleInfo, ValidationFlags, Validator};
use naga::{
    AddressSpace, Barrier, BinaryOperator, Block, Expression, Function, GlobalVariable, Handle,
    Literal, LocalVariable, MathFunction, Module, Span, Statement, StorageAccess, SwitchValue,
    TypeInner,
};
use std::collections::{HashMap, HashSet};

/// A shader that was read and found valid.
pub struct Source {
    /// The file's.
    name: String,
    pub module: Module,
    info: ModuleInfo,
    /// Where lines begin.
    lines: Vec<usize>,
}

impl Source {
    /// # Errors
    /// If it is not valid.
    pub fn parse(name: &str, text: &str) -> Result<Source, String> {
        let module = naga::front::wgsl::parse_str(text)
            .map_err(|error| format!("shader {name} is not valid\n{}", error.emit_to_string(text)))?;
        let info = Validator::new(ValidationFlags::all(), Capabilities::empty())
            .validate(&module)
            .map_err(|error| format!("shader {name} is not valid\n{}", error.emit_to_string(text)))?;
        let breaks = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        let lines = std::iter::once(0).chain(breaks.map(|(at, _)| at + 1)).collect();
        let name = if name.ends_with(".wgsl") { name.into() } else { format!("{name}.wgsl") };
        Ok(Source { name, module, info, lines })
    }

    fn line(&self, span: Span) -> u32 {
        let at = span.to_range().map_or(0, |range| range.start);
        self.lines.partition_point(|begin| *begin <= at) as u32
    }

    /// Compiles an entry point.
    ///
    /// # Errors
    /// If there is none of that name, or it does what the simulator does not know.
    pub fn compile(&self, entry_point: &str, lanes: u32) -> Known<Program> {
        let entries = &self.module.entry_points;
        let index = entries.iter().position(|entry| entry.name == entry_point);
        let index = index.ok_or_else(|| format!("there is no entry point {entry_point}"))?;
        Compiler::new(self, lanes).compile(index)
    }
}

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
    result: Option<Register>,
}

impl Frame<'_> {
    pub fn type_of<'m>(&'m self, module: &'m Module, handle: Handle<Expression>) -> &'m TypeInner {
        self.info[handle].ty.inner_with(&module.types)
    }
}

pub struct Compiler<'a> {
    pub source: &'a Source,
    pub module: &'a Module,
    pub lanes: u32,
    constants: HashMap<u32, Register>,
    pub globals: HashMap<Handle<GlobalVariable>, Place>,
    next: Register,
    program: Program,
}

impl<'a> Compiler<'a> {
    fn new(source: &'a Source, lanes: u32) -> Compiler<'a> {
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

    fn compile(mut self, index: usize) -> Known<Program> {
        let entry = &self.module.entry_points[index];
        self.program.entry_point = entry.name.clone();
        let info = self.source.info.get_entry_point(index);
        self.program.size = self.size(entry)?;
        let mut body = Vec::new();
        for (handle, variable) in self.module.global_variables.iter() {
            if !info[handle].is_empty() {
                let place = self.declare(variable, &mut body)?;
                self.globals.insert(handle, place);
            }
        }
        let arguments = entry.function.arguments.iter().map(|argument| {
            let Some(naga::Binding::BuiltIn(builtin)) = &argument.binding else {
                return Err("entry points with structures of built-in values".into());
            };
            self.builtin(*builtin)
        });
        let arguments = arguments.collect::<Known<Vec<Value>>>()?;
        body.push(Step::Call(self.body(&entry.function, info, arguments, None)?));
        self.program.body = body;
        Ok(self.program)
    }

    /// The invocations of a workgroup.
    fn size(&mut self, entry: &naga::EntryPoint) -> Known<[u32; 3]> {
        let mut size = entry.workgroup_size;
        for (axis, set) in entry.workgroup_size_overrides.into_iter().flatten().enumerate() {
            if let Some(expression) = set {
                let register = self.global_expression(expression)?[0];
                size[axis] = *(self.program.constants.get(register as usize))
                    .ok_or("workgroups of a size that is computed")?;
            }
        }
        Ok(size)
    }

    fn builtin(&mut self, builtin: naga::BuiltIn) -> Known<Value> {
        let triple = |make: fn(usize) -> BuiltIn| (0..3).map(make).collect();
        let parts: Vec<BuiltIn> = match builtin {
            naga::BuiltIn::LocalInvocationIndex => vec![BuiltIn::Lane],
            naga::BuiltIn::LocalInvocationId => triple(BuiltIn::Local),
            naga::BuiltIn::WorkGroupId => triple(BuiltIn::Group),
            naga::BuiltIn::GlobalInvocationId => triple(BuiltIn::Global),
            naga::BuiltIn::NumWorkGroups => triple(BuiltIn::Groups),
            naga::BuiltIn::WorkGroupSize => triple(BuiltIn::Size),
            other => return Err(format!("the built-in value {other:?}")),
        };
        let first = self.registers(parts.len() as u32);
        self.program.builtins.extend(parts.into_iter().zip(first..));
        Ok(Value::Registers((first..self.next).collect()))
    }

    /// Finds a place for a variable of the module's.
    fn declare(&mut self, variable: &'a GlobalVariable, steps: &mut Vec<Step>) -> Known<Place> {
        let ty = self.module.types[variable.ty].inner.clone();
        let name = variable.name.clone().unwrap_or_default();
        let (root, layout) = match variable.space {
            AddressSpace::Private => {
                let first = self.registers(count(self.module, &ty)?);
                self.initialize(first, variable.init, true, steps)?;
                (Root::Registers(first), Layout::Registers)
            }
            AddressSpace::Uniform => {
                let words = Layout::Memory.words(self.module, &ty)?;
                let first = self.registers(words);
                if self.program.uniforms.replace((first, words)).is_some() {
                    return Err("several uniform variables in an entry point".into());
                }
                (Root::Registers(first), Layout::Memory)
            }
            AddressSpace::WorkGroup => {
                let words = Layout::Memory.words(self.module, &ty)?;
                let used = |variable: &Variable| match variable.space {
                    Space::Workgroup { start } => start + variable.least,
                    Space::Storage { .. } => 0,
                };
                let start = self.program.variables.iter().map(used).max().unwrap_or(0);
                // As GPUs do it, a variable begins where a vector may.
                let space = Space::Workgroup { start: start.next_multiple_of(4) };
                (self.variable(name.clone(), space, words), Layout::Memory)
            }
            AddressSpace::Storage { access } => {
                let binding = variable.binding.as_ref().ok_or("storage that is not bound")?;
                if binding.group != 0 {
                    return Err(format!("bindings of group {}", binding.group));
                }
                let writes = access.contains(StorageAccess::STORE);
                let words = Layout::Memory.words(self.module, &ty)?;
                let space = Space::Storage { binding: binding.binding, writes };
                (self.variable(name.clone(), space, words), Layout::Memory)
            }
            space => return Err(format!("variables in {space:?}")),
        };
        let read_only = variable.space == AddressSpace::Uniform;
        Ok(Place { root, layout, offset: 0, indices: Vec::new(), ty, name, read_only })
    }

    fn variable(&mut self, name: String, space: Space, least: u32) -> Root {
        self.program.variables.push(Variable { name, space, least });
        Root::Variable(self.program.variables.len() as u32 - 1)
    }

    /// Sets a variable in registers to what it begins with.
    fn initialize(
        &mut self,
        first: Register,
        value: Option<Handle<Expression>>,
        is_global: bool,
        steps: &mut Vec<Step>,
    ) -> Known<()> {
        let zero = self.constant(0)?;
        let from = match value {
            Some(value) if is_global => self.global_expression(value)?,
            Some(_) => unreachable!("variables of functions are initialised in their body"),
            None => vec![zero; (self.next - first) as usize],
        };
        for (to, from) in (first..).zip(from) {
            steps.push(Step::Copy { to, from, count: 1 });
        }
        Ok(())
    }

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
            self.statement(frame, statement, line, steps)
                .map_err(|what| if what.contains(".wgsl:") { what } else {
                    format!("{}:{line}: {what}", self.source.name)
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
    fn access(&mut self, place: Place, line: u32) -> Known<u32> {
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
        operation: super::arithmetic::Operation,
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

/// Sets registers that lie next to each other, in as few steps as can be.
fn set(first: Register, from: &[Register], steps: &mut Vec<Step>) {
    let mut done = 0;
    for run in from.chunk_by(|one, next| *next == one + 1) {
        let count = run.len() as u32;
        steps.push(Step::Set { to: first + done, from: run[0], count });
        done += count;
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

/// The products of real numbers that are used once, in a sum or a difference.
fn fused_products(
    module: &Module,
    function: &Function,
    info: &FunctionInfo,
) -> HashSet<Handle<Expression>> {
    let is_real = |handle: Handle<Expression>| {
        let ty = info[handle].ty.inner_with(&module.types);
        let single = matches!(ty, TypeInner::Scalar(_) | TypeInner::Vector { .. });
        single && ty.scalar_kind() == Some(naga::ScalarKind::Float)
    };
    let is_product = |handle: Handle<Expression>| match function.expressions[handle] {
        Expression::Binary { op: BinaryOperator::Multiply, left, right } => {
            is_real(left) && is_real(right) && info[handle].ref_count == 1
        }
        Expression::Math { fun: MathFunction::Fma, .. } => false,
        _ => false,
    };
    let product = |(_, expression): (_, &Expression)| match *expression {
        Expression::Binary {
            op: BinaryOperator::Add | BinaryOperator::Subtract,
            left,
            right,
        } => [right, left].into_iter().find(|operand| is_product(*operand)),
        _ => None,
    };
    function.expressions.iter().filter_map(product).collect()
}
