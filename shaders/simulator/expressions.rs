//! Expressions, compiled: values become registers, pointers places.

use super::arithmetic::Operation::{self, *};
use super::compile::{Compiler, Frame, word_of};
use super::layout::{Elements, Known, Layout, count};
use super::program::{Class, Index, Register, Root, Step};
use naga::{
    BinaryOperator, Expression, Handle, MathFunction, RelationalFunction, ScalarKind, TypeInner,
    UnaryOperator, VectorSize,
};

/// What an expression is while a program is compiled.
#[derive(Clone)]
pub enum Value {
    /// A register for each component.
    Registers(Vec<Register>),
    Pointer(Place),
}

/// What a pointer points to.
#[derive(Clone)]
pub struct Place {
    pub root: Root,
    pub layout: Layout,
    pub offset: u32,
    pub indices: Vec<Index>,
    pub ty: TypeInner,
    pub name: String,
    pub read_only: bool,
}

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
                let kind = kind_of(frame.type_of(self.module, expr))?;
                let operation = match (op, kind) {
                    (UnaryOperator::Negate, ScalarKind::Float) => NegateF,
                    (UnaryOperator::Negate, ScalarKind::Sint) => NegateI,
                    (UnaryOperator::LogicalNot, ScalarKind::Bool) => Not,
                    (UnaryOperator::BitwiseNot, ScalarKind::Sint | ScalarKind::Uint) => Complement,
                    _ => return Err(format!("{op:?} of {kind:?}")),
                };
                let from = self.value(frame, expr, steps)?;
                self.each(operation, &[from], line, steps)?
            }
            Expression::Binary { op, left, right } => {
                self.binary(frame, handle, (op, left, right), steps)?
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

    /// The operation on each component; a single component meets all those of the others.
    fn each(
        &mut self,
        operation: Operation,
        operands: &[Vec<Register>],
        line: u32,
        steps: Steps,
    ) -> Known<Vec<Register>> {
        self.each_as(operation, class_of(operation), operands, line, steps)
    }

    fn each_as(
        &mut self,
        operation: Operation,
        class: Class,
        operands: &[Vec<Register>],
        line: u32,
        steps: Steps,
    ) -> Known<Vec<Register>> {
        if operands.len() != operation.operands() {
            return Err(format!("{operation:?} of {} operands", operands.len()));
        }
        let width = operands.iter().map(Vec::len).max().unwrap_or(0);
        let make = |part: usize| {
            let at = |operand: &Vec<Register>| operand[if operand.len() == 1 { 0 } else { part }];
            let first = at(&operands[0]);
            let registers = [0, 1, 2].map(|index| operands.get(index).map_or(first, at));
            self.compute(operation, class, registers, line, steps)
        };
        Ok((0..width).map(make).collect())
    }

    /// The components, joined by an operation.
    fn reduce(
        &mut self,
        operation: Operation,
        from: &[Register],
        line: u32,
        steps: Steps,
    ) -> Register {
        let mut parts = from.iter().copied();
        let first = parts.next().expect("a component");
        let class = class_of(operation);
        parts.fold(first, |x, y| self.compute(operation, class, [x, y, x], line, steps))
    }

    /// Σ x y, as multiply-adds.
    fn dot(
        &mut self,
        x: &[Register],
        y: &[Register],
        line: u32,
        steps: Steps,
    ) -> Register {
        let mut sum = None;
        for (x, y) in x.iter().zip(y) {
            let class = if sum.is_some() { Class::Free } else { Class::Fused };
            let term = self.compute(MultiplyF, class, [*x, *y, *x], line, steps);
            sum = Some(match sum {
                Some(sum) => self.compute(AddF, Class::Fused, [sum, term, sum], line, steps),
                None => term,
            });
        }
        sum.expect("a component")
    }

    fn binary(
        &mut self,
        frame: &mut Frame<'a>,
        handle: Handle<Expression>,
        (op, left, right): (BinaryOperator, Handle<Expression>, Handle<Expression>),
        steps: Steps,
    ) -> Known<Vec<Register>> {
        let line = self.line(frame, handle);
        let types = [left, right].map(|operand| frame.type_of(self.module, operand).clone());
        let x = self.value(frame, left, steps)?;
        let y = self.value(frame, right, steps)?;
        let is_matrix = types.each_ref().map(|ty| matches!(ty, TypeInner::Matrix { .. }));
        let is_scalar = types.each_ref().map(|ty| matches!(ty, TypeInner::Scalar(_)));
        if op == BinaryOperator::Multiply && is_matrix != [false; 2] && is_scalar == [false; 2] {
            return Ok(self.matrix_product(&types, &x, &y, line, steps));
        }
        let kind = kind_of(&types[0])?;
        let (operation, turned) = operation_of(op, kind)?;
        let operands = if turned { [y, x] } else { [x, y] };
        let sums_product = [left, right].iter().any(|operand| frame.fused.contains(operand));
        let class = match op {
            BinaryOperator::Multiply if frame.fused.contains(&handle) => Class::Free,
            BinaryOperator::Add | BinaryOperator::Subtract if sums_product => Class::Fused,
            _ => class_of(operation),
        };
        self.each_as(operation, class, &operands, line, steps)
    }

    /// A product of which one operand is a matrix, and none a number. Matrices are columns, one after
    /// another.
    fn matrix_product(
        &mut self,
        types: &[TypeInner; 2],
        x: &[Register],
        y: &[Register],
        line: u32,
        steps: Steps,
    ) -> Vec<Register> {
        // A vector on the left is a row, one on the right a column.
        let rows = match types[0] {
            TypeInner::Matrix { rows, .. } => rows as usize,
            _ => 1,
        };
        let depth = x.len() / rows;
        let columns = y.len() / depth;
        let mut product = Vec::new();
        for column in 0..columns {
            for row in 0..rows {
                let left: Vec<Register> = (0..depth).map(|k| x[k * rows + row]).collect();
                let right = &y[column * depth..(column + 1) * depth];
                product.push(self.dot(&left, right, line, steps));
            }
        }
        product
    }

    fn math(
        &mut self,
        fun: MathFunction,
        ty: &TypeInner,
        operands: Vec<Vec<Register>>,
        line: u32,
        steps: Steps,
    ) -> Known<Vec<Register>> {
        use MathFunction as M;
        if let (M::Transpose, TypeInner::Matrix { columns, rows, .. }) = (fun, ty) {
            let (columns, rows) = (*columns as usize, *rows as usize);
            let from = &operands[0];
            let places = (0..rows).flat_map(|row| (0..columns).map(move |c| c * rows + row));
            return Ok(places.map(|place| from[place]).collect());
        }
        let kind = kind_of(ty)?;
        let is_real = kind == ScalarKind::Float;
        let [least, most] = match kind {
            ScalarKind::Float => [MinF, MaxF],
            ScalarKind::Sint => [MinI, MaxI],
            _ => [MinU, MaxU],
        };
        let operation = match fun {
            M::Min => least,
            M::Max => most,
            M::Clamp => {
                let raised = self.each(most, &operands[..2], line, steps)?;
                return self.each(least, &[raised, operands[2].clone()], line, steps);
            }
            M::Saturate => {
                let [zero, one] = [self.constant(0)?, self.constant(1.0_f32.to_bits())?];
                let raised = self.each(MaxF, &[operands[0].clone(), vec![zero]], line, steps)?;
                return self.each(MinF, &[raised, vec![one]], line, steps);
            }
            M::Dot if is_real => {
                return Ok(vec![self.dot(&operands[0], &operands[1], line, steps)]);
            }
            M::Length if is_real && matches!(ty, TypeInner::Vector { .. }) => {
                let square = self.dot(&operands[0], &operands[0], line, steps);
                return self.each(Sqrt, &[vec![square]], line, steps);
            }
            M::Mix => {
                // x (1 - t) + y t.
                let [x, y, t] = [0, 1, 2].map(|index| operands[index].clone());
                let one = vec![self.constant(1.0_f32.to_bits())?];
                let rest = self.each(SubtractF, &[one, t.clone()], line, steps)?;
                let own = self.each(MultiplyF, &[x, rest], line, steps)?;
                let other = self.each_as(MultiplyF, Class::Free, &[y, t], line, steps)?;
                return self.each_as(AddF, Class::Fused, &[own, other], line, steps);
            }
            M::Abs if kind == ScalarKind::Uint => return Ok(operands[0].clone()),
            M::Abs => if is_real { AbsF } else { AbsI },
            M::Sign => if is_real { SignF } else { SignI },
            M::CountOneBits => CountOnes,
            M::CountLeadingZeros => LeadingZeros,
            M::CountTrailingZeros => TrailingZeros,
            M::ReverseBits => ReverseBits,
            _ => real_function(fun).ok_or_else(|| format!("the function {fun:?}"))?,
        };
        self.each(operation, &operands, line, steps)
    }

    fn convert(
        &mut self,
        from: ScalarKind,
        to: ScalarKind,
        value: Vec<Register>,
        line: u32,
        steps: Steps,
    ) -> Known<Vec<Register>> {
        use ScalarKind::{Bool, Float, Sint, Uint};
        let operation = match (from, to) {
            (Uint | Bool, Float) => FloatOfU,
            (Sint, Float) => FloatOfI,
            (Float, Uint) => UOfFloat,
            (Float, Sint) => IOfFloat,
            (Float, Bool) => BoolOfFloat,
            (Sint | Uint, Bool) => BoolOfWord,
            _ if from == to => return Ok(value),
            // The same bits.
            (Sint | Uint | Bool, Sint | Uint) => return Ok(value),
            _ => return Err(format!("{from:?} as {to:?}")),
        };
        self.each(operation, &[value], line, steps)
    }
}

/// What numbers a value consists of.
fn kind_of(ty: &TypeInner) -> Known<ScalarKind> {
    let size = match ty {
        TypeInner::Vector { size: VectorSize::Bi | VectorSize::Tri | VectorSize::Quad, .. } => true,
        TypeInner::Scalar(_) | TypeInner::Matrix { .. } => true,
        _ => false,
    };
    ty.scalar_kind().filter(|_| size).ok_or_else(|| format!("arithmetic with {ty:?}"))
}

/// The operation, and whether its operands change places.
fn operation_of(op: BinaryOperator, kind: ScalarKind) -> Known<(Operation, bool)> {
    use BinaryOperator as B;
    let row: [Operation; 7] = match kind {
        ScalarKind::Float => {
            [AddF, SubtractF, MultiplyF, DivideF, RemainderF, LessF, LessEqualF]
        }
        ScalarKind::Sint => {
            [AddI, SubtractI, MultiplyI, DivideI, RemainderI, LessI, LessEqualI]
        }
        _ => [AddU, SubtractU, MultiplyU, DivideU, RemainderU, LessU, LessEqualU],
    };
    let is_real = kind == ScalarKind::Float;
    Ok(match op {
        B::And | B::InclusiveOr | B::ExclusiveOr | B::LogicalAnd | B::LogicalOr if is_real => {
            return Err(format!("{op:?} of real numbers"));
        }
        B::Add => (row[0], false),
        B::Subtract => (row[1], false),
        B::Multiply => (row[2], false),
        B::Divide => (row[3], false),
        B::Modulo => (row[4], false),
        B::Less => (row[5], false),
        B::LessEqual => (row[6], false),
        B::Greater => (row[5], true),
        B::GreaterEqual => (row[6], true),
        B::Equal => (if is_real { EqualF } else { Equal }, false),
        B::NotEqual => (if is_real { NotEqualF } else { NotEqual }, false),
        B::And | B::LogicalAnd => (And, false),
        B::InclusiveOr | B::LogicalOr => (Or, false),
        B::ExclusiveOr => (Xor, false),
        B::ShiftLeft => (ShiftLeft, false),
        B::ShiftRight if kind == ScalarKind::Sint => (ShiftRightI, false),
        B::ShiftRight => (ShiftRightU, false),
    })
}

fn real_function(fun: MathFunction) -> Option<Operation> {
    use MathFunction as M;
    Some(match fun {
        M::Fma => FusedF,
        M::Pow => Power,
        M::Step => Operation::Step,
        M::Atan2 => Atan2,
        M::Floor => Floor,
        M::Ceil => Ceil,
        M::Round => Round,
        M::Trunc => Truncate,
        M::Fract => Fract,
        M::Exp => Exp,
        M::Exp2 => Exp2,
        M::Log => Log,
        M::Log2 => Log2,
        M::Sqrt => Sqrt,
        M::InverseSqrt => InverseSqrt,
        M::Sin => Sin,
        M::Cos => Cos,
        M::Tan => Tan,
        M::Sinh => Sinh,
        M::Cosh => Cosh,
        M::Tanh => Tanh,
        M::Asin => Asin,
        M::Acos => Acos,
        M::Atan => Atan,
        _ => return None,
    })
}

fn class_of(operation: Operation) -> Class {
    match operation {
        FusedF => Class::Fused,
        MinF | MaxF | NegateF | AbsF | SignF | Floor | Ceil | Round | Truncate | Fract
        | Operation::Step | EqualF | NotEqualF | LessF | LessEqualF | FloatOfU | FloatOfI
        | UOfFloat | IOfFloat | BoolOfFloat | IsNan | IsInf => Class::Float,
        _ if operation.can_be_not_finite() => Class::Float,
        _ => Class::Integer,
    }
}
