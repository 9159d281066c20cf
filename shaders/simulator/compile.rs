//! From an entry point of a shader to a [`Program`].

use super::compiler::Compiler;
use super::layout::{Known, Layout, count};
use super::program::{BuiltIn, Program, Register, Root, Space, Step, Variable};
use super::source::Source;
use super::values::{Place, Value};
use naga::{AddressSpace, Expression, GlobalVariable, Handle, StorageAccess};

/// Compiles an entry point.
///
/// # Errors
/// If there is none of that name, or it does what the simulator does not know.
pub fn compile(source: &Source, entry_point: &str, lanes: u32) -> Known<Program> {
    let entries = &source.module.entry_points;
    let index = entries.iter().position(|entry| entry.name == entry_point);
    let index = index.ok_or_else(|| format!("there is no entry point {entry_point}"))?;
    Compiler::new(source, lanes).compile(index)
}

impl<'a> Compiler<'a> {
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
}
