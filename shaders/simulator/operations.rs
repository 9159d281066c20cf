//! Operators and functions of values, compiled to operations on words.

use super::arithmetic::Operation::{self, *};
use super::compiler::Compiler;
use super::layout::Known;
use super::program::{Class, Register, Step};
use naga::{BinaryOperator, MathFunction, ScalarKind, TypeInner, UnaryOperator};

type Steps<'s> = &'s mut Vec<Step>;

impl Compiler<'_> {
    /// The operation on each component; a single component meets all those of the others.
    pub fn each(
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
    pub fn reduce(
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
    fn dot(&mut self, x: &[Register], y: &[Register], line: u32, steps: Steps) -> Register {
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

    /// An operator; how it is counted is told where it is a part of a fused multiply-add.
    pub fn binary(
        &mut self,
        op: BinaryOperator,
        types: &[TypeInner; 2],
        [x, y]: [Vec<Register>; 2],
        class: Option<Class>,
        line: u32,
        steps: Steps,
    ) -> Known<Vec<Register>> {
        let is_matrix = types.each_ref().map(|ty| matches!(ty, TypeInner::Matrix { .. }));
        let is_scalar = types.each_ref().map(|ty| matches!(ty, TypeInner::Scalar(_)));
        if op == BinaryOperator::Multiply && is_matrix != [false; 2] && is_scalar == [false; 2] {
            return Ok(self.matrix_product(types, &x, &y, line, steps));
        }
        let (operation, turned) = operation_of(op, kind_of(&types[0])?)?;
        let operands = if turned { [y, x] } else { [x, y] };
        let class = class.unwrap_or_else(|| class_of(operation));
        self.each_as(operation, class, &operands, line, steps)
    }

    pub fn unary(
        &mut self,
        op: UnaryOperator,
        ty: &TypeInner,
        from: Vec<Register>,
        line: u32,
        steps: Steps,
    ) -> Known<Vec<Register>> {
        let operation = match (op, kind_of(ty)?) {
            (UnaryOperator::Negate, ScalarKind::Float) => NegateF,
            (UnaryOperator::Negate, ScalarKind::Sint) => NegateI,
            (UnaryOperator::LogicalNot, ScalarKind::Bool) => Not,
            (UnaryOperator::BitwiseNot, ScalarKind::Sint | ScalarKind::Uint) => Complement,
            (_, kind) => return Err(format!("{op:?} of {kind:?}")),
        };
        self.each(operation, &[from], line, steps)
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

    pub fn math(
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
            M::Abs => {
                if is_real {
                    AbsF
                } else {
                    AbsI
                }
            }
            M::Sign => {
                if is_real {
                    SignF
                } else {
                    SignI
                }
            }
            M::CountOneBits => CountOnes,
            M::CountLeadingZeros => LeadingZeros,
            M::CountTrailingZeros => TrailingZeros,
            M::ReverseBits => ReverseBits,
            _ => real_function(fun).ok_or_else(|| format!("the function {fun:?}"))?,
        };
        self.each(operation, &operands, line, steps)
    }

    pub fn convert(
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
pub fn kind_of(ty: &TypeInner) -> Known<ScalarKind> {
    match ty {
        TypeInner::Scalar(scalar)
        | TypeInner::Vector { scalar, .. }
        | TypeInner::Matrix { scalar, .. } => Ok(scalar.kind),
        _ => Err(format!("arithmetic with {ty:?}")),
    }
}

/// The operation, and whether its operands change places.
fn operation_of(op: BinaryOperator, kind: ScalarKind) -> Known<(Operation, bool)> {
    use BinaryOperator as B;
    let row: [Operation; 7] = match kind {
        ScalarKind::Float => [AddF, SubtractF, MultiplyF, DivideF, RemainderF, LessF, LessEqualF],
        ScalarKind::Sint => [AddI, SubtractI, MultiplyI, DivideI, RemainderI, LessI, LessEqualI],
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
        MinF
        | MaxF
        | NegateF
        | AbsF
        | SignF
        | Floor
        | Ceil
        | Round
        | Truncate
        | Fract
        | Operation::Step
        | EqualF
        | NotEqualF
        | LessF
        | LessEqualF
        | FloatOfU
        | FloatOfI
        | UOfFloat
        | IOfFloat
        | BoolOfFloat
        | IsNan
        | IsInf => Class::Float,
        _ if operation.can_be_not_finite() => Class::Float,
        _ => Class::Integer,
    }
}
