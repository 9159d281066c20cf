use crate::check::{all_is_right, number};
use crate::exercise::{by_differences, by_rule};

fn main() {
    number("by_rule: with u = 2, u' = 3, v = 5, v' = 7", by_rule(2.0, 3.0, 5.0, 7.0), 29.0, 1e-12);
    number("by_rule: of x·x at 4", by_rule(4.0, 1.0, 4.0, 1.0), 8.0, 1e-12);
    number(
        "by_rule: with u = −1, u' = 0, v = 2, v' = 0.5",
        by_rule(-1.0, 0.0, 2.0, 0.5),
        -0.5,
        1e-12,
    );
    number("by_differences: of x³ at 2", by_differences(|x| x.powi(3), 2.0), 12.0, 1e-8);
    number("by_differences: of sin(x) at 1", by_differences(f64::sin, 1.0), 1f64.cos(), 1e-8);
    // And the one checks the other, for x·sin(x).
    for x in [-3.0, 0.1, 2.0_f64] {
        let rule = by_rule(x, 1.0, x.sin(), x.cos());
        let differences = by_differences(|x| x * x.sin(), x);
        number(
            &format!("by_differences: of x·sin(x) at {x}, against by_rule"),
            differences,
            rule,
            1e-8,
        );
    }
    all_is_right();
}
