// 1. The derivative of a product
//
// A derivative says how fast f(x) changes with x. There are two ways to it: try two
// values of x that lie close together, or know a rule. The first needs no thought and
// is never exact. The second is, and the first can check it.
//
// Mend both functions below.

/// The derivative of `f` at `x`, from two values of `f`.
///
/// Values on both sides of `x`, a step of 1e-5 away, are right to ten digits; one at `x` itself and one
/// beside it to five.
pub fn by_differences(f: impl Fn(f64) -> f64, x: f64) -> f64 {
    let step = 1e-5;
    // SOLUTION
    (f(x + step) - f(x - step)) / (2.0 * step)
    // INSTEAD
    // (f(x + step) - f(x)) / step
    // END
}

/// The derivative of u(x)·v(x), from what u and v are at x, and from their derivatives there.
pub fn by_rule(u: f64, u_slope: f64, v: f64, v_slope: f64) -> f64 {
    // SOLUTION
    u_slope * v + u * v_slope
    // INSTEAD
    // // v is not needed yet, and neither is u.
    // let _ = (u, v);
    // u_slope * v_slope
    // END
}

// HINT
// A product is the area of a field, u long and v wide. If both grow a little, the
// field gains a strip on each of two sides. How large is each?
// HINT
// The strips are u_slope·v and u·v_slope. For differences take f(x + step) − f(x −
// step): how far apart are those two?
