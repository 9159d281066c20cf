//! Expressions, compiled: values become registers, pointers places.

use super::arithmetic::Operation::{And, IsInf, IsNan, Or, Select};
use super::compiler::{Compiler, Frame, word_of};
use super::layout::{Elements, Known, Layout, count};
use super::operations::kind_of;
use super::program::{Index, Register, Root, Step};
use super::values::{Place, Value};
use naga::{Expression, Handle, RelationalFunction, TypeInner};

type Steps<'s> = &'s mut Vec<Step>;

impl<'a> Compiler<'a> {
    /// The registers of an expression that is a value.
    pub fn value(
        &mut self,
        frame: &mut Frame<'a>,
        handle: Handle<Expression>,
        steps: Steps,
    ) -> Known<Vec<Register>> {
        match self.expression(frame, handle, steps)? {
            Value::Registers(registers) => Ok(registers),
            Value::Pointer(_) => Err("a pointer as a value".into()),
        }
    }

    /// The place of an expression that is a pointer.
    pub fn pointer(
        &mut self,
        frame: &mut Frame<'a>,
        handle: Handle<Expression>,
        steps: Steps,
    ) -> Known<Place> {
        match self.expression(frame, handle, steps)? {
            Value::Pointer(place) => Ok(place),
            Value::Registers(_) => Err("a value as a pointer".into()),
        }
    }

    pub fn expression(
        &mut self,
        frame: &mut Frame<'a>,
        handle: Handle<Expression>,
        steps: Steps,
    ) -> Known<Value> {
        if let Some(value) = frame.values.get(&handle) {
            return Ok(value.clone());
        }
        let line = self.line(frame, handle);
        Ok(Value::Registers(match frame.function.expressions[handle] {
            Expression::FunctionArgument(index) => {
                return Ok(frame.arguments[index as usize].clone());
            }
            Expression::GlobalVariable(variable) => {
                let place = self.globals.get(&variable).ok_or("a variable that is not used")?;
                return Ok(Value::Pointer(place.clone()));
            }
            Expression::LocalVariable(local) => {
                return Ok(Value::Pointer(frame.locals[&local].clone()));
            }
            Expression::Access { base, index } => {
                let index = self.value(frame, index, steps)?[0];
                return match self.expression(frame, base, steps)? {
                    Value::Pointer(place) => Ok(Value::Pointer(self.indexed(place, index)?)),
                    Value::Registers(from) => {
                        let ty = frame.type_of(self.module, base).clone();
                        let first = self.registers(from.len() as u32);
                        for (to, from) in (first..).zip(from) {
                            steps.push(Step::Copy { to, from, count: 1 });
                        }
                        let (root, layout) = (Root::Registers(first), Layout::Registers);
                        let (name, indices) = ("a value".into(), Vec::new());
                        let read_only = true;
                        let place = Place { root, layout, offset: 0, indices, ty, name, read_only };
                        let place = self.indexed(place, index)?;
                        self.load(place, line, steps)
                    }
                };
            }
            Expression::AccessIndex { base, index } => {
                match self.expression(frame, base, steps)? {
                    Value::Pointer(place) => {
                        return Ok(Value::Pointer(self.part(place, index)?));
                    }
                    Value::Registers(from) => {
                        let ty = frame.type_of(self.module, base);
                        let (start, of) = self.part_of(Layout::Registers, ty, index)?;
                        let words = count(self.module, &of)?;
                        from[start as usize..(start + words) as usize].to_vec()
                    }
                }
            }
            Expression::Load { pointer } => {
                let place = self.pointer(frame, pointer, steps)?;
                return self.load(place, line, steps);
            }
            Expression::ArrayLength(pointer) => {
                let place = self.pointer(frame, pointer, steps)?;
                let Elements { stride, .. } = place.layout.elements(self.module, &place.ty)?;
                let variable = self.variable_of(place.root).ok_or("the length of no storage")?;
                let to = self.registers(1);
                steps.push(Step::Length { to, variable, from: place.offset, stride });
                vec![to]
            }
            Expression::Literal(_)
            | Expression::Constant(_)
            | Expression::Override(_)
            | Expression::ZeroValue(_) => {
                self.constant_expression(&frame.function.expressions[handle])?
            }
            Expression::Compose { ref components, .. } => {
                let mut registers = Vec::new();
                for component in components {
                    registers.extend(self.value(frame, *component, steps)?);
                }
                registers
            }
            Expression::Splat { size, value } => {
                vec![self.value(frame, value, steps)?[0]; size as usize]
            }
            Expression::Swizzle { size, vector, pattern } => {
                let from = self.value(frame, vector, steps)?;
                pattern[..size as usize].iter().map(|part| from[*part as usize]).collect()
            }
            Expression::Unary { op, expr } => {
                let from = self.value(frame, expr, steps)?;
                let ty = frame.type_of(self.module, expr);
                self.unary(op, ty, from, line, steps)?
            }
            Expression::Binary { op, left, right } => {
                let x = self.value(frame, left, steps)?;
                let y = self.value(frame, right, steps)?;
                let types = [left, right].map(|side| frame.type_of(self.module, side).clone());
                let class = frame.class_of(handle, [left, right]);
                self.binary(op, &types, [x, y], class, line, steps)?
            }
            Expression::Select { condition, accept, reject } => {
                let operands = [condition, accept, reject];
                let operands = operands.map(|operand| self.value(frame, operand, steps));
                let operands = operands.into_iter().collect::<Known<Vec<_>>>()?;
                self.each(Select, &operands, line, steps)?
            }
            Expression::Relational { fun, argument } => {
                let from = self.value(frame, argument, steps)?;
                match fun {
                    RelationalFunction::IsNan => self.each(IsNan, &[from], line, steps)?,
                    RelationalFunction::IsInf => self.each(IsInf, &[from], line, steps)?,
                    RelationalFunction::All => vec![self.reduce(And, &from, line, steps)],
                    RelationalFunction::Any => vec![self.reduce(Or, &from, line, steps)],
                }
            }
            Expression::Math { fun, arg, arg1, arg2, .. } => {
                let ty = frame.type_of(self.module, arg).clone();
                let mut operands = Vec::new();
                for operand in [Some(arg), arg1, arg2].into_iter().flatten() {
                    operands.push(self.value(frame, operand, steps)?);
                }
                self.math(fun, &ty, operands, line, steps)?
            }
            Expression::As { expr, kind, convert } => {
                let from = kind_of(frame.type_of(self.module, expr))?;
                let value = self.value(frame, expr, steps)?;
                match convert {
                    Some(4 | 1) => self.convert(from, kind, value, line, steps)?,
                    Some(bytes) => return Err(format!("numbers of {bytes} bytes")),
                    // The same bits.
                    None => value,
                }
            }
            ref other => {
                let text = format!("{other:?}");
                let name = text.split([' ', '(', '{']).next().unwrap_or_default();
                return Err(format!("the expression {name}"));
            }
        }))
    }

    fn constant_expression(&mut self, expression: &Expression) -> Known<Vec<Register>> {
        match *expression {
            Expression::Literal(literal) => {
                let word = word_of(literal).ok_or_else(|| format!("{literal:?}"))?;
                Ok(vec![self.constant(word)?])
            }
            Expression::Constant(constant) => {
                self.global_expression(self.module.constants[constant].init)
            }
            Expression::Override(handle) => {
                let set = &self.module.overrides[handle];
                if set.name.as_deref() == Some("lanes") {
                    return Ok(vec![self.constant(self.lanes)?]);
                }
                self.global_expression(set.init.ok_or("an override that nobody sets")?)
            }
            Expression::ZeroValue(ty) => {
                let words = count(self.module, &self.module.types[ty].inner)?;
                Ok(vec![self.constant(0)?; words as usize])
            }
            ref other => Err(format!("the constant expression {other:?}")),
        }
    }

    /// An expression outside of functions.
    pub fn global_expression(&mut self, handle: Handle<Expression>) -> Known<Vec<Register>> {
        match &self.module.global_expressions[handle] {
            Expression::Compose { components, .. } => {
                let mut registers = Vec::new();
                for component in components {
                    registers.extend(self.global_expression(*component)?);
                }
                Ok(registers)
            }
            Expression::Splat { size, value } => {
                Ok(vec![self.global_expression(*value)?[0]; *size as usize])
            }
            other => self.constant_expression(other),
        }
    }

    /// An element of a place, by a computed index.
    fn indexed(&mut self, place: Place, register: Register) -> Known<Place> {
        let Elements { count, stride, of } = place.layout.elements(self.module, &place.ty)?;
        let mut indices = place.indices;
        indices.push(Index { register, stride, length: count, from: place.offset });
        Ok(Place { indices, ty: of, ..place })
    }

    /// An element or member of a place, by a number that stands in the shader.
    fn part(&mut self, place: Place, index: u32) -> Known<Place> {
        let is_bound = matches!(place.ty, TypeInner::Array { .. })
            && place.layout.elements(self.module, &place.ty)?.count.is_none();
        if is_bound {
            let register = self.constant(index)?;
            return self.indexed(place, register);
        }
        let (start, of) = self.part_of(place.layout, &place.ty, index)?;
        Ok(Place { offset: place.offset + start, ty: of, ..place })
    }

    fn part_of(&self, layout: Layout, ty: &TypeInner, index: u32) -> Known<(u32, TypeInner)> {
        if matches!(ty, TypeInner::Struct { .. }) {
            return layout.member(self.module, ty, index);
        }
        let Elements { stride, of, .. } = layout.elements(self.module, ty)?;
        Ok((index * stride, of))
    }
}
