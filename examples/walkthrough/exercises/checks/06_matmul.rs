use crate::check::{all_is_right, by_differences, number, some_numbers, wrong};
use crate::exercise::{Sizes, gradient_of_a, gradient_of_b, multiply};

/// Σ of C, each element times its gradient: its derivatives are the gradients of A and B.
fn sum(a: &[f64], b: &[f64], of_c: &[f64], sizes: Sizes) -> f64 {
    multiply(a, b, sizes).iter().zip(of_c).map(|(c, gradient)| c * gradient).sum()
}

fn compare(what: &str, got: &[f64], expected: &[f64], columns: usize) {
    if got.len() != expected.len() {
        wrong(&format!("{what}: got {} numbers, expected {}", got.len(), expected.len()));
    }
    for (place, (got, expected)) in got.iter().zip(expected).enumerate() {
        let [row, column] = [place / columns, place % columns];
        let expected = (expected * 1e6).round() / 1e6;
        number(&format!("{what}, at row {row}, column {column}"), *got, expected, 1e-5);
    }
}

fn main() {
    for (m, k, n) in [(1, 1, 1), (2, 3, 4), (4, 2, 3)] {
        let sizes = Sizes { m, k, n };
        let [a, b, of_c] = [m * k, k * n, m * n].map(some_numbers);
        let what = |of: &str| format!("gradient_of_{of} with m = {m}, k = {k}, n = {n}");
        let expected = by_differences(|a| sum(a, &b, &of_c, sizes), &a);
        compare(&what("a"), &gradient_of_a(&of_c, &b, sizes), &expected, k);
        let expected = by_differences(|b| sum(&a, b, &of_c, sizes), &b);
        compare(&what("b"), &gradient_of_b(&a, &of_c, sizes), &expected, n);
    }
    all_is_right();
}
