//! What operations do with the words of all lanes at once.

/// An operation on words. What its letter says they are: F real, I whole with a sign, U whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[rustfmt::skip]
pub enum Operation {
    AddF, SubtractF, MultiplyF, DivideF, RemainderF, MinF, MaxF, Power, Atan2, Step, FusedF,
    NegateF, AbsF, SignF, Floor, Ceil, Round, Truncate, Fract,
    Exp, Exp2, Log, Log2, Sqrt, InverseSqrt,
    Sin, Cos, Tan, Sinh, Cosh, Tanh, Asin, Acos, Atan,
    AddU, SubtractU, MultiplyU, DivideU, RemainderU, MinU, MaxU,
    AddI, SubtractI, MultiplyI, DivideI, RemainderI, MinI, MaxI, NegateI, AbsI, SignI,
    And, Or, Xor, Complement, Not, ShiftLeft, ShiftRightU, ShiftRightI,
    CountOnes, LeadingZeros, TrailingZeros, ReverseBits,
    EqualF, NotEqualF, LessF, LessEqualF,
    Equal, NotEqual, LessU, LessEqualU, LessI, LessEqualI,
    FloatOfU, FloatOfI, UOfFloat, IOfFloat, BoolOfFloat, BoolOfWord,
    IsNan, IsInf,
    /// The second operand where the first is true, else the third.
    Select,
}

use Operation::*;

impl Operation {
    pub fn operands(self) -> usize {
        match self {
            FusedF | Select => 3,
            AddF | SubtractF | MultiplyF | DivideF | RemainderF | MinF | MaxF | Power | Atan2
            | Step | AddU | SubtractU | MultiplyU | DivideU | RemainderU | MinU | MaxU | AddI
            | SubtractI | MultiplyI | DivideI | RemainderI | MinI | MaxI | And | Or | Xor
            | ShiftLeft | ShiftRightU | ShiftRightI | EqualF | NotEqualF | LessF | LessEqualF
            | Equal | NotEqual | LessU | LessEqualU | LessI | LessEqualI => 2,
            _ => 1,
        }
    }

    /// Whether it makes real numbers, which can come out without being numbers.
    pub fn can_be_not_finite(self) -> bool {
        matches!(
            self,
            AddF | SubtractF
                | MultiplyF
                | DivideF
                | RemainderF
                | Power
                | Atan2
                | FusedF
                | Exp
                | Exp2
                | Log
                | Log2
                | Sqrt
                | InverseSqrt
                | Sin
                | Cos
                | Tan
                | Sinh
                | Cosh
                | Tanh
                | Asin
                | Acos
                | Atan
        )
    }

    /// Whether its result can be too large for a word, or it has none.
    pub fn can_fail(self) -> bool {
        matches!(
            self,
            AddU | SubtractU
                | MultiplyU
                | AddI
                | SubtractI
                | MultiplyI
                | NegateI
                | AbsI
                | DivideU
                | RemainderU
                | DivideI
                | RemainderI
                | ShiftLeft
                | ShiftRightU
                | ShiftRightI
        )
    }

    /// Whether it makes a whole number of whole numbers, so that one that wrapped makes others that did.
    pub fn passes_on(self) -> bool {
        matches!(self, And | Or | Xor | Complement | MinU | MaxU | MinI | MaxI | SignI | Select)
            || self.can_fail()
    }
}

/// What can be wrong with an operation on whole numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The result is too large for a word.
    Wraps,
    DivisionByZero,
    ShiftTooFar,
}

/// What is wrong with an operation on these words, in one lane.
pub fn failure(operation: Operation, x: u32, y: u32) -> Option<Failure> {
    let (i, j) = (x as i32, y as i32);
    let wraps = match operation {
        AddU => x.checked_add(y).is_none(),
        SubtractU => x < y,
        MultiplyU => u64::from(x) * u64::from(y) > u64::from(u32::MAX),
        AddI => i.checked_add(j).is_none(),
        SubtractI => i.checked_sub(j).is_none(),
        MultiplyI => i.checked_mul(j).is_none(),
        NegateI | AbsI => i == i32::MIN,
        DivideU | RemainderU if y == 0 => return Some(Failure::DivisionByZero),
        DivideI | RemainderI if y == 0 => return Some(Failure::DivisionByZero),
        DivideI | RemainderI => i == i32::MIN && j == -1,
        ShiftLeft | ShiftRightU | ShiftRightI if y >= 32 => return Some(Failure::ShiftTooFar),
        _ => false,
    };
    wraps.then_some(Failure::Wraps)
}

/// Whether something is wrong with one of the lanes.
pub fn any_fails(operation: Operation, x: &[u32], y: &[u32]) -> bool {
    let any = |fails: fn(u32, u32) -> bool| {
        x.iter().zip(y).fold(false, |any, (x, y)| any | fails(*x, *y))
    };
    // All bits that any lane has: an upper bound, which mostly tells enough.
    let bits = |words: &[u32]| words.iter().fold(0, |bits, word| bits | word);
    match operation {
        AddU => (bits(x) | bits(y)) >> 31 != 0 && any(|x, y| x.wrapping_add(y) < x),
        SubtractU => any(|x, y| x < y),
        MultiplyU => {
            bits(x).leading_zeros() + bits(y).leading_zeros() < 32
                && any(|x, y| (u64::from(x) * u64::from(y)) >> 32 != 0)
        }
        DivideU | RemainderU => any(|_, y| y == 0),
        ShiftLeft | ShiftRightU | ShiftRightI => any(|_, y| y >= 32),
        _ => x.iter().zip(y).any(|(x, y)| failure(operation, *x, *y).is_some()),
    }
}

/// Whether a word is no finite real number.
pub fn is_not_finite(word: u32) -> bool {
    word & 0x7f80_0000 == 0x7f80_0000
}

#[inline(always)]
fn one(to: &mut [u32], x: &[u32], f: impl Fn(u32) -> u32) {
    to.iter_mut().zip(x).for_each(|(to, x)| *to = f(*x));
}

#[inline(always)]
fn two(to: &mut [u32], x: &[u32], y: &[u32], f: impl Fn(u32, u32) -> u32) {
    to.iter_mut().zip(x).zip(y).for_each(|((to, x), y)| *to = f(*x, *y));
}

#[inline(always)]
fn real(to: &mut [u32], x: &[u32], f: impl Fn(f32) -> f32) {
    one(to, x, |x| f(f32::from_bits(x)).to_bits());
}

#[inline(always)]
fn reals(to: &mut [u32], x: &[u32], y: &[u32], f: impl Fn(f32, f32) -> f32) {
    two(to, x, y, |x, y| f(f32::from_bits(x), f32::from_bits(y)).to_bits());
}

#[inline(always)]
fn compare(to: &mut [u32], x: &[u32], y: &[u32], f: impl Fn(f32, f32) -> bool) {
    two(to, x, y, |x, y| u32::from(f(f32::from_bits(x), f32::from_bits(y))));
}

#[inline(always)]
fn signed(to: &mut [u32], x: &[u32], y: &[u32], f: impl Fn(i32, i32) -> i32) {
    two(to, x, y, |x, y| f(x as i32, y as i32) as u32);
}

/// Does an operation on the words of all lanes. Operands that it does not have are not looked at.
pub fn apply(operation: Operation, to: &mut [u32], [x, y, z]: [&[u32]; 3]) {
    match operation {
        AddF => reals(to, x, y, |x, y| x + y),
        SubtractF => reals(to, x, y, |x, y| x - y),
        MultiplyF => reals(to, x, y, |x, y| x * y),
        DivideF => reals(to, x, y, |x, y| x / y),
        RemainderF => reals(to, x, y, |x, y| x % y),
        MinF => reals(to, x, y, f32::min),
        MaxF => reals(to, x, y, f32::max),
        Power => reals(to, x, y, f32::powf),
        Atan2 => reals(to, x, y, f32::atan2),
        Step => reals(to, x, y, |edge, x| f32::from(u8::from(edge <= x))),
        FusedF => {
            reals(to, x, y, |x, y| x * y);
            to.iter_mut().zip(z).for_each(|(to, z)| {
                *to = (f32::from_bits(*to) + f32::from_bits(*z)).to_bits();
            });
        }
        NegateF => real(to, x, |x| -x),
        AbsF => real(to, x, f32::abs),
        SignF => real(to, x, |x| if x == 0.0 { 0.0 } else { x.signum() }),
        Floor => real(to, x, f32::floor),
        Ceil => real(to, x, f32::ceil),
        Round => real(to, x, f32::round_ties_even),
        Truncate => real(to, x, f32::trunc),
        Fract => real(to, x, |x| x - x.floor()),
        Exp => real(to, x, f32::exp),
        Exp2 => real(to, x, f32::exp2),
        Log => real(to, x, f32::ln),
        Log2 => real(to, x, f32::log2),
        Sqrt => real(to, x, f32::sqrt),
        InverseSqrt => real(to, x, |x| 1.0 / x.sqrt()),
        Sin => real(to, x, f32::sin),
        Cos => real(to, x, f32::cos),
        Tan => real(to, x, f32::tan),
        Sinh => real(to, x, f32::sinh),
        Cosh => real(to, x, f32::cosh),
        Tanh => real(to, x, f32::tanh),
        Asin => real(to, x, f32::asin),
        Acos => real(to, x, f32::acos),
        Atan => real(to, x, f32::atan),
        AddU | AddI => two(to, x, y, u32::wrapping_add),
        SubtractU | SubtractI => two(to, x, y, u32::wrapping_sub),
        MultiplyU | MultiplyI => two(to, x, y, u32::wrapping_mul),
        DivideU => two(to, x, y, |x, y| x.checked_div(y).unwrap_or(x)),
        RemainderU => two(to, x, y, |x, y| x.checked_rem(y).unwrap_or(0)),
        MinU => two(to, x, y, u32::min),
        MaxU => two(to, x, y, u32::max),
        DivideI => signed(to, x, y, |x, y| x.checked_div(y).unwrap_or(x)),
        RemainderI => signed(to, x, y, |x, y| x.checked_rem(y).unwrap_or(0)),
        MinI => signed(to, x, y, i32::min),
        MaxI => signed(to, x, y, i32::max),
        NegateI => one(to, x, u32::wrapping_neg),
        AbsI => one(to, x, |x| (x as i32).wrapping_abs() as u32),
        SignI => one(to, x, |x| (x as i32).signum() as u32),
        And => two(to, x, y, |x, y| x & y),
        Or => two(to, x, y, |x, y| x | y),
        Xor => two(to, x, y, |x, y| x ^ y),
        Complement => one(to, x, |x| !x),
        Not => one(to, x, |x| x ^ 1),
        ShiftLeft => two(to, x, y, u32::wrapping_shl),
        ShiftRightU => two(to, x, y, u32::wrapping_shr),
        ShiftRightI => two(to, x, y, |x, y| (x as i32).wrapping_shr(y) as u32),
        CountOnes => one(to, x, u32::count_ones),
        LeadingZeros => one(to, x, u32::leading_zeros),
        TrailingZeros => one(to, x, u32::trailing_zeros),
        ReverseBits => one(to, x, u32::reverse_bits),
        EqualF => compare(to, x, y, |x, y| x == y),
        NotEqualF => compare(to, x, y, |x, y| x != y),
        LessF => compare(to, x, y, |x, y| x < y),
        LessEqualF => compare(to, x, y, |x, y| x <= y),
        Equal => two(to, x, y, |x, y| u32::from(x == y)),
        NotEqual => two(to, x, y, |x, y| u32::from(x != y)),
        LessU => two(to, x, y, |x, y| u32::from(x < y)),
        LessEqualU => two(to, x, y, |x, y| u32::from(x <= y)),
        LessI => two(to, x, y, |x, y| u32::from((x as i32) < y as i32)),
        LessEqualI => two(to, x, y, |x, y| u32::from(x as i32 <= y as i32)),
        FloatOfU => one(to, x, |x| (x as f32).to_bits()),
        FloatOfI => one(to, x, |x| (x as i32 as f32).to_bits()),
        UOfFloat => one(to, x, |x| f32::from_bits(x) as u32),
        IOfFloat => one(to, x, |x| f32::from_bits(x) as i32 as u32),
        BoolOfFloat => one(to, x, |x| u32::from(f32::from_bits(x) != 0.0)),
        BoolOfWord => one(to, x, |x| u32::from(x != 0)),
        IsNan => one(to, x, |x| u32::from(f32::from_bits(x).is_nan())),
        IsInf => one(to, x, |x| u32::from(f32::from_bits(x).is_infinite())),
        Select => {
            let choose = |x: &u32, y: &u32, z: &u32| if *x != 0 { *y } else { *z };
            let words = x.iter().zip(y).zip(z);
            to.iter_mut().zip(words).for_each(|(to, ((x, y), z))| *to = choose(x, y, z));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fails_in_one_lane_fails_in_all_of_them() {
        let words = [0, 1, 7, 31, 32, 1 << 16, i32::MAX as u32, 1 << 31, u32::MAX];
        for operation in [
            AddU,
            SubtractU,
            MultiplyU,
            AddI,
            SubtractI,
            MultiplyI,
            NegateI,
            AbsI,
            DivideU,
            RemainderU,
            DivideI,
            RemainderI,
            ShiftLeft,
            ShiftRightU,
            ShiftRightI,
        ] {
            let mut failures = 0;
            for x in words {
                for y in words {
                    let fails = failure(operation, x, y).is_some();
                    assert_eq!(any_fails(operation, &[x], &[y]), fails, "{operation:?} {x} {y}");
                    failures += usize::from(fails);
                }
            }
            assert!((1..81).contains(&failures), "{operation:?}: {failures}");
        }
    }
}
