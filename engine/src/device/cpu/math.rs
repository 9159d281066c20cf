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
    // 2ⁿ in two factors: n reaches −151 and 128, past what one exponent holds.
    let bits = (shifted.to_bits() as i32).wrapping_sub(ROUND.to_bits() as i32);
    let half = bits >> 1;
    let power = |n: i32| f32::from_bits(((n + 127) << 23) as u32);
    series * power(half) * power(bits - half)
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
        assert!(worst(-80.0..20.0, sigmoid, |x| 1.0 / (1.0 + (-x).exp())) <= 4.0);
    }

    #[test]
    fn ends_and_nan() {
        assert_eq!(exp(0.0), 1.0);
        assert_eq!(exp(f32::INFINITY), f32::INFINITY);
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
        assert_eq!(tanh(f32::INFINITY), 1.0);
        assert_eq!(tanh(f32::NEG_INFINITY), -1.0);
        assert_eq!(tanh(-0.0), 0.0);
        assert!(exp(f32::NAN).is_nan() && tanh(f32::NAN).is_nan() && sigmoid(f32::NAN).is_nan());
    }
}
