//! Elementary functions as polynomials that compilers turn into vector code, each within a few
//! units in the last place of f32 and right at the ends: infinities and NaN included.

/// eˣ, within 2 ulp; 0 below −104, ∞ above 88.73, NaN stays NaN.
///
/// x = n·ln 2 + r with |r| ≤ ln 2 / 2: e^r by its series to r⁷, then 2ⁿ by the exponent's bits.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    // The clamp keeps n within what the exponent can hold; comparisons let a NaN through.
    let clamped = if x > 89.0 { 89.0 } else { x };
    let clamped = if clamped < -105.0 { -105.0 } else { clamped };
    const ROUND: f32 = 12_582_912.0; // 1.5 · 2²³: adding it rounds to a whole number.
    let shifted = clamped.mul_add(std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    // ln 2 in two parts, so that n · ln 2 is exact where it matters.
    let r = n.mul_add(-0.693_145_75, clamped);
    let r = n.mul_add(-1.428_606_8e-6, r);
    let mut series = 1.0 / 5040.0;
    for coefficient in [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
        series = r.mul_add(series, coefficient);
    }
    // 2ⁿ in two factors: n reaches −151 and 128, past what one exponent holds. (Nothing wraps: but
    // a check for overflow would keep a debug build from vectorising the loop around this.)
    let bits = (shifted.to_bits() as i32).wrapping_sub(ROUND.to_bits() as i32);
    let half = bits >> 1;
    let power = |n: i32| f32::from_bits((n.wrapping_add(127) << 23) as u32);
    series * power(half) * power(bits.wrapping_sub(half))
}

/// 1 / (1 + e⁻ˣ).
#[inline(always)]
pub fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// The hyperbolic tangent, within 3 ulp.
#[inline(always)]
pub fn tanh(x: f32) -> f32 {
    // Near 0 the quotient below would lose digits: an odd polynomial serves there.
    let square = x * x;
    let small = {
        let mut series = -1382.0 / 155_925.0;
        for coefficient in [62.0 / 2835.0, -17.0 / 315.0, 2.0 / 15.0, -1.0 / 3.0] {
            series = square.mul_add(series, coefficient);
        }
        (square * series).mul_add(x, x)
    };
    let magnitude = x.abs();
    let large = (1.0 - 2.0 / (exp(2.0 * magnitude) + 1.0)).copysign(x);
    if magnitude < 0.35 { small } else { large }
}

/// The natural logarithm, within 3 ulp; −∞ at 0, NaN below.
///
/// x = 2ⁿ·m with m in [√½, √2), and ln m = 2·artanh(s), s = (m − 1) / (m + 1), by its series.
#[inline(always)]
pub fn log(x: f32) -> f32 {
    const SQRT_HALF: u32 = 0x3f35_04f3;
    // Numbers below the normal range lack the leading bit that the exponent is found by.
    let subnormal = x < f32::MIN_POSITIVE;
    let scaled = if subnormal { x * 8_388_608.0 } else { x };
    let shifted = scaled.to_bits().wrapping_sub(SQRT_HALF);
    let n = (shifted as i32 >> 23) as f32 - if subnormal { 23.0 } else { 0.0 };
    let m = f32::from_bits((shifted & 0x007f_ffff).wrapping_add(SQRT_HALF));
    let s = (m - 1.0) / (m + 1.0);
    let square = s * s;
    let mut series = 2.0 / 11.0;
    for coefficient in [2.0 / 9.0, 2.0 / 7.0, 2.0 / 5.0, 2.0 / 3.0] {
        series = square.mul_add(series, coefficient);
    }
    let mantissa = (square * series).mul_add(s, 2.0 * s);
    // ln 2 in two parts, the large one exact when multiplied by n.
    let logarithm = n.mul_add(0.693_145_75, n.mul_add(1.428_606_8e-6, mantissa));
    if x > 0.0 && x < f32::INFINITY {
        logarithm
    } else if x == 0.0 {
        f32::NEG_INFINITY
    } else if x > 0.0 {
        x
    } else {
        f32::NAN
    }
}

/// The error function 2/√π ∫₀ˣ e^(−t²) dt, within 3 ulp.
///
/// An odd polynomial near 0; beyond, 1 − e^(−p) with a polynomial p ≈ −ln(1 − erf). Both are
/// minimax fits (Remez) of the relative error on [0, 0.9] and [0.9, 4].
#[inline(always)]
pub fn erf(x: f32) -> f32 {
    let square = x * x;
    let mut series = -6.090_36e-4;
    for coefficient in
        [5.011_963e-3, -2.677_891e-2, 1.128_214_1e-1, -3.761_252_4e-1, 1.283_791_5e-1]
    {
        series = square.mul_add(series, coefficient);
    }
    let small = series.mul_add(x, x);
    let magnitude = x.abs();
    // At 4 the result has been 1 for a while; comparisons let a NaN through.
    let clamped = if magnitude > 4.0 { 4.0 } else { magnitude };
    let mut p = 1.261_384_4e-3;
    for coefficient in [-1.565_256_8e-2, 9.132_28e-2, 6.504_538e-1, 1.120_397_8, 1.822_264_4e-3] {
        p = clamped.mul_add(p, coefficient);
    }
    let large = (1.0 - exp(-p)).copysign(x);
    if magnitude < 0.9 { small } else { large }
}

/// sin x, within 3 ulp for every x; NaN at ±∞.
#[inline(always)]
pub fn sin(x: f32) -> f32 {
    sine(x, 0)
}

/// cos x, within 3 ulp for every x; NaN at ±∞.
#[inline(always)]
pub fn cos(x: f32) -> f32 {
    sine(x, 1)
}

/// sin(x + quarters · π/2): x is n quarters of a turn and r with |r| ≤ π/4, and sin r or cos r is its
/// series to r⁹ or r¹⁰.
#[inline(always)]
fn sine(x: f32, quarters: i32) -> f32 {
    let turns = turns(x);
    let n = (4.0 * turns).round_ties_even();
    let r = ((turns - 0.25 * n) * std::f64::consts::TAU) as f32;
    let n = (n as i32).wrapping_add(quarters);
    let square = r * r;
    let mut odd = 1.0 / 362_880.0;
    for coefficient in [-1.0 / 5040.0, 1.0 / 120.0, -1.0 / 6.0] {
        odd = square.mul_add(odd, coefficient);
    }
    let odd = (square * odd).mul_add(r, r);
    let mut even = -1.0 / 3_628_800.0;
    for coefficient in [1.0 / 40_320.0, -1.0 / 720.0, 1.0 / 24.0, -0.5, 1.0] {
        even = square.mul_add(even, coefficient);
    }
    let value = if n & 1 == 0 { odd } else { even };
    if n & 2 == 0 { value } else { -value }
}

/// x / 2π without whole turns, between a few turns forth and back; NaN at ±∞.
///
/// The products of x, of 24 bits, and 28 bits of 1 / 2π at a time are exact in f64, and so is what they
/// are more than whole. So nothing is lost of an x of any size (as by Payne and Hanek 1983).
#[inline(always)]
fn turns(x: f32) -> f64 {
    const INVERSE: [u32; 7] =
        [0x28b_e60d, 0xb93_9105, 0x4a7_f09d, 0x5f4_7d4d, 0x377_036d, 0x8a5_664f, 0x10e_4107];
    let (mut turns, mut unit) = (0.0, 1.0);
    for bits in INVERSE {
        unit /= 268_435_456.0; // 2²⁸
        let product = f64::from(x) * (f64::from(bits) * unit);
        turns += product - product.round_ties_even();
    }
    turns
}

#[cfg(test)]
mod tests {
    use super::*;

    fn worst(
        range: std::ops::Range<f32>,
        f: impl Fn(f32) -> f32,
        exact: impl Fn(f64) -> f64,
    ) -> f64 {
        let points = 200_000;
        (0..points)
            .map(|i| {
                let x = range.start + (range.end - range.start) * i as f32 / points as f32;
                let expected = exact(f64::from(x));
                let unit = f64::from((expected as f32).next_up()) - f64::from(expected as f32);
                (f64::from(f(x)) - expected).abs() / unit.abs().max(f64::from(f32::from_bits(1)))
            })
            .fold(0.0, f64::max)
    }

    #[test]
    fn within_a_few_units_in_the_last_place() {
        assert!(worst(-104.0..88.7, exp, f64::exp) <= 2.0);
        assert!(worst(-12.0..12.0, tanh, f64::tanh) <= 3.0);
        assert!(worst(1e-40..2e-38, log, f64::ln) <= 3.0);
        assert!(worst(1e-3..3.0, log, f64::ln) <= 3.0);
        assert!(worst(3.0..1e30, log, f64::ln) <= 3.0);
        assert!(worst(-5.0..5.0, erf, exact_erf) <= 3.0);
        assert!(worst(-0.01..0.01, erf, exact_erf) <= 3.0);
        for range in [-0.9..0.9, -7.0..7.0, -1e5..1e5, 1e5..1e9, -1e38..-1e20] {
            assert!(worst(range.clone(), sin, f64::sin) <= 3.0, "{range:?}");
            assert!(worst(range.clone(), cos, f64::cos) <= 3.0, "{range:?}");
        }
        assert!(worst(-80.0..20.0, sigmoid, |x| 1.0 / (1.0 + (-x).exp())) <= 4.0);
    }

    /// 2/√π e^(−x²) Σ 2ⁿ x²ⁿ⁺¹ / (1 · 3 ··· (2n + 1)): a series of terms of one sign.
    fn exact_erf(x: f64) -> f64 {
        let mut term = x;
        let mut total = x;
        for n in 1..120 {
            term *= 2.0 * x * x / f64::from(2 * n + 1);
            total += term;
        }
        std::f64::consts::FRAC_2_SQRT_PI * (-x * x).exp() * total
    }

    #[test]
    fn ends_and_nan() {
        assert_eq!(exp(0.0), 1.0);
        assert_eq!(exp(f32::INFINITY), f32::INFINITY);
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
        assert_eq!(tanh(f32::INFINITY), 1.0);
        assert_eq!(tanh(f32::NEG_INFINITY), -1.0);
        assert_eq!(tanh(-0.0), 0.0);
        assert_eq!(log(1.0), 0.0);
        assert_eq!(log(0.0), f32::NEG_INFINITY);
        assert_eq!(log(f32::INFINITY), f32::INFINITY);
        assert!(log(-1.0).is_nan() && log(f32::NAN).is_nan());
        assert_eq!(erf(f32::INFINITY), 1.0);
        assert_eq!(erf(f32::NEG_INFINITY), -1.0);
        assert_eq!(erf(0.0), 0.0);
        assert!(erf(f32::NAN).is_nan());
        assert_eq!([sin(0.0), cos(0.0), sin(1e-30), cos(-1e-30)], [0.0, 1.0, 1e-30, 1.0]);
        for x in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            assert!(sin(x).is_nan() && cos(x).is_nan());
        }
        assert!(exp(f32::NAN).is_nan() && tanh(f32::NAN).is_nan() && sigmoid(f32::NAN).is_nan());
    }
}
