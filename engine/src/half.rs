//! Numbers of 16 bits: what weights and caches are kept in to be read faster. Computing is done in f32.

use std::fmt;
use std::str::FromStr;

/// What numbers are kept in that are only read.
///
/// ```
/// use neutreno_engine::half::Precision;
/// assert_eq!("bf16".parse(), Ok(Precision::Bf16));
/// assert_eq!((Precision::F32.bytes(), Precision::F16.bytes()), (4, 2));
/// assert!("f64".parse::<Precision>().is_err());
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// 32 bits, as they are computed.
    #[default]
    F32,
    /// [`Half::Bf16`].
    Bf16,
    /// [`Half::F16`].
    F16,
}

impl Precision {
    /// All of them.
    pub const ALL: [Precision; 3] = [Precision::F32, Precision::Bf16, Precision::F16];

    /// The name as typed: `f32`, `bf16`, `f16`.
    pub fn name(self) -> &'static str {
        match self {
            Precision::F32 => "f32",
            Precision::Bf16 => "bf16",
            Precision::F16 => "f16",
        }
    }

    /// The bytes of a number.
    pub fn bytes(self) -> usize {
        if self == Precision::F32 { 4 } else { 2 }
    }

    /// The format, if it is one of 16 bits.
    pub fn half(self) -> Option<Half> {
        match self {
            Precision::F32 => None,
            Precision::Bf16 => Some(Half::Bf16),
            Precision::F16 => Some(Half::F16),
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Precision {
    type Err = String;

    fn from_str(text: &str) -> Result<Precision, String> {
        let named = Precision::ALL.into_iter().find(|precision| precision.name() == text);
        named.ok_or_else(|| format!("unknown precision `{text}`: choose f32, bf16 or f16"))
    }
}

/// A format of 16 bits.
///
/// ```
/// use neutreno_engine::half::Half;
/// assert_eq!(Half::F16.value(Half::F16.nearest(0.1)), 0.099975586);
/// assert_eq!(Half::Bf16.value(Half::Bf16.nearest(0.1)), 0.100097656);
/// assert_eq!(Half::F16.value(Half::F16.nearest(1e6)), f32::INFINITY);
/// assert_eq!(Half::F16.value(Half::F16.nearest_finite(1e6)), 65504.0);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Half {
    /// The upper half of an f32: its range, and 8 bits of precision.
    Bf16,
    /// IEEE 754's binary16: up to 65504, and 11 bits of precision down to 6e-5.
    F16,
}

impl Half {
    /// The name, as in safetensors files.
    pub fn name(self) -> &'static str {
        match self {
            Half::Bf16 => "BF16",
            Half::F16 => "F16",
        }
    }

    /// The largest number.
    pub fn largest(self) -> f32 {
        self.value(self.largest_bits())
    }

    fn largest_bits(self) -> u16 {
        match self {
            Half::Bf16 => 0x7f7f,
            Half::F16 => 0x7bff,
        }
    }

    /// The number that these bits stand for.
    pub fn value(self, bits: u16) -> f32 {
        match self {
            Half::Bf16 => bf16(bits.into()),
            Half::F16 => f16(bits.into()),
        }
    }

    /// The nearest number, of two that are equally near the one with an even last bit. What lies beyond
    /// the largest by half a step or more becomes infinite.
    pub fn nearest(self, number: f32) -> u16 {
        let bits = number.to_bits();
        let (sign, size) = (bits >> 16 & 0x8000, bits & 0x7fff_ffff);
        let nearest = match self {
            // No number at all, in either.
            _ if size > INFINITY => 0x7fff,
            Half::Bf16 => rounded(size, 16),
            // Beyond all that rounding could bring back.
            Half::F16 if size >= 143 << 23 => 31 << 10,
            // Below 2⁻¹⁴ steps are 2⁻²⁴ everywhere, as they are of f32 from 1/2 to 1.
            Half::F16 if size < 113 << 23 => {
                (f32::from_bits(size) + 0.5).to_bits() - 0.5_f32.to_bits()
            }
            Half::F16 => rounded(size - (112 << 23), 13),
        };
        (sign | nearest) as u16
    }

    /// The same, but what is finite stays so: what lies beyond the largest number becomes that.
    pub fn nearest_finite(self, number: f32) -> u16 {
        let limit = self.largest();
        self.nearest(if number.is_finite() { number.clamp(-limit, limit) } else { number })
    }
}

const INFINITY: u32 = 255 << 23;

/// The bits without the last `count`, to the nearest, and to even.
fn rounded(bits: u32, count: u32) -> u32 {
    let half = (1 << (count - 1)) - 1;
    (bits + half + (bits >> count & 1)) >> count
}

/// Which format shaders are told that numbers are in: 0 for f32, 1 for bf16, 2 for f16.
pub(crate) fn format_number(half: Option<Half>) -> usize {
    match half {
        None => 0,
        Some(Half::Bf16) => 1,
        Some(Half::F16) => 2,
    }
}

/// The words that hold a matrix's numbers: two in each, those of a row from a word of its own on.
pub(crate) fn packed(bits: &[u16], columns: usize) -> Vec<u32> {
    let word = |pair: &[u16]| u32::from(pair[0]) | pair.get(1).map_or(0, |b| u32::from(*b) << 16);
    bits.chunks_exact(columns.max(1)).flat_map(|row| row.chunks(2).map(word)).collect()
}

/// The number of these lower 16 bits in bf16; those above are not looked at. Without branches, so that
/// loops over it become vector code.
#[inline(always)]
pub(crate) fn bf16(bits: u32) -> f32 {
    f32::from_bits(bits << 16)
}

/// The same in f16.
#[inline(always)]
pub(crate) fn f16(bits: u32) -> f32 {
    let (sign, size) = ((bits & 0x8000) << 16, (bits & 0x7fff) << 13);
    // Exponents are counted from −15 there and from −127 here.
    let larger = if size >= 31 << 23 { 224 << 23 } else { 112 << 23 };
    // Numbers below 2⁻¹⁴, by their difference from 2⁻¹⁴.
    let offset = f32::from_bits(113 << 23);
    let small = (f32::from_bits(size | 113 << 23) - offset).to_bits();
    let size = if size < 1 << 23 { small } else { size + larger };
    f32::from_bits(sign | size)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From the definition, in f64.
    fn expected(half: Half, bits: u16) -> f64 {
        let (exponent_bits, bias) = if half == Half::F16 { (5, 15) } else { (8, 127) };
        let fraction_bits = 15 - exponent_bits;
        let exponent = i32::from(bits >> fraction_bits) & ((1 << exponent_bits) - 1);
        let fraction = f64::from(bits & ((1 << fraction_bits) - 1)) / f64::from(1 << fraction_bits);
        let sign = if bits >> 15 == 1 { -1.0 } else { 1.0 };
        sign * match exponent {
            0 => fraction * 2.0_f64.powi(1 - bias),
            e if e == (1 << exponent_bits) - 1 && fraction == 0.0 => f64::INFINITY,
            e if e == (1 << exponent_bits) - 1 => f64::NAN,
            e => (1.0 + fraction) * 2.0_f64.powi(e - bias),
        }
    }

    #[test]
    fn all_numbers_there_and_back() {
        for half in [Half::Bf16, Half::F16] {
            for bits in 0..=u16::MAX {
                let (value, expected) = (half.value(bits), expected(half, bits));
                if expected.is_nan() {
                    assert!(value.is_nan() && half.value(half.nearest(value)).is_nan());
                    continue;
                }
                assert_eq!(f64::from(value), expected, "{half:?} {bits:#x}");
                assert_eq!(half.nearest(value), bits, "{half:?} {value}");
                assert_eq!(half.nearest_finite(value), bits, "{half:?} {value}");
            }
        }
    }

    /// Between two neighbours, the middle goes to the even one and all else to the nearer one.
    #[test]
    fn rounds_to_the_nearest_and_to_even() {
        for half in [Half::Bf16, Half::F16] {
            let infinite = half.nearest(f32::INFINITY);
            for below in 0..infinite {
                let step = match below + 1 == infinite {
                    true => f64::from(half.value(below)) - f64::from(half.value(below - 1)),
                    false => f64::from(half.value(below + 1)) - f64::from(half.value(below)),
                };
                let middle = (f64::from(half.value(below)) + step / 2.0) as f32;
                let even = below + below % 2;
                let [less, more] = [middle.next_down(), middle.next_up()];
                for (number, nearest) in [(less, below), (middle, even), (more, below + 1)] {
                    let sign = half.nearest(-number);
                    assert_eq!(half.nearest(number), nearest, "{half:?} {number}");
                    assert_eq!(sign, nearest | 0x8000, "{half:?} -{number}");
                    let finite = nearest.min(infinite - 1);
                    assert_eq!(half.nearest_finite(number), finite, "{half:?} {number}");
                }
            }
        }
    }
}
