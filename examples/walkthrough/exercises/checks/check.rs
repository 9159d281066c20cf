//! What the checks of the Rust exercises share. A check stops at the first thing that is wrong, and says it.

/// What a check prints last if all is right. An exercise that ends the program early does not come here.
pub fn all_is_right() {
    println!("all is right");
}

pub fn wrong(message: &str) -> ! {
    println!("{message}");
    std::process::exit(1);
}

/// That a number is what it should be, up to a share of its size (of 1 if it is smaller).
pub fn number(what: &str, got: f64, expected: f64, tolerance: f64) {
    let far = (got - expected).abs() / expected.abs().max(1.0);
    if far.is_nan() || far > tolerance {
        wrong(&format!("{what}: got {got}, expected {expected}"));
    }
}

/// That all numbers are what they should be. `index` names the place of one.
pub fn numbers(what: &str, got: &[f64], expected: &[f64], index: impl Fn(usize) -> String) {
    if got.len() != expected.len() {
        wrong(&format!("{what}: got {} numbers, expected {}", got.len(), expected.len()));
    }
    for (place, (got, expected)) in got.iter().zip(expected).enumerate() {
        number(&format!("{what}, at {}", index(place)), *got, *expected, 1e-9);
    }
}

/// Names an element of a matrix in row-major order.
pub fn of_matrix(columns: usize) -> impl Fn(usize) -> String {
    move |place| format!("row {}, column {}", place / columns, place % columns)
}

/// Numbers that look like any, from −1 to 1.
pub fn some_numbers(count: usize) -> Vec<f64> {
    (1..=count).map(|i| (12.9898 * i as f64).sin() * 43_758.545_3 % 1.0).collect()
}

/// The derivative of `f` by each of the numbers, by differences.
pub fn by_differences(f: impl Fn(&[f64]) -> f64, numbers: &[f64]) -> Vec<f64> {
    let at = |place: usize, step: f64| {
        let mut near = numbers.to_vec();
        near[place] += step;
        f(&near)
    };
    let slope = |place| (at(place, 1e-6) - at(place, -1e-6)) / 2e-6;
    (0..numbers.len()).map(slope).collect()
}

/// Rounded to where differences are right.
pub fn rounded(numbers: &[f64]) -> Vec<f64> {
    numbers.iter().map(|number| (number * 1e7).round() / 1e7).collect()
}
