//! Curves over training steps: moving averages, means over seeds, differences between variants.

use super::Spread;
use std::collections::BTreeMap;

/// A number for each step, by step.
pub(super) type Curve = BTreeMap<u64, f64>;

/// The mean of each step's number and those of the `window − 1` steps before it, as far as they
/// were logged. Numbers that are not finite are left out. The window may grow with the step.
pub(super) fn moving_average(curve: &Curve, window: impl Fn(u64) -> u64) -> Curve {
    let finite: Vec<(u64, f64)> =
        curve.iter().map(|(&step, &y)| (step, y)).filter(|(_, y)| y.is_finite()).collect();
    let mut first = 0;
    let mean = |(i, &(step, _)): (usize, &(u64, f64))| {
        while finite[first].0 + window(step) <= step {
            first += 1;
        }
        let inside = &finite[first..=i];
        (step, inside.iter().map(|(_, y)| y).sum::<f64>() / inside.len() as f64)
    };
    finite.iter().enumerate().map(mean).collect()
}

/// The mean and spread over the curves at every step that any of them has.
pub(super) fn over_seeds(curves: &[Curve]) -> BTreeMap<u64, Spread> {
    let mut steps: BTreeMap<u64, Vec<f64>> = BTreeMap::new();
    for (&step, &y) in curves.iter().flatten() {
        steps.entry(step).or_default().push(y);
    }
    steps.into_iter().map(|(step, numbers)| (step, Spread::of(numbers))).collect()
}

/// One curve less another, at the steps that both have.
pub(super) fn difference(curve: &Curve, baseline: &Curve) -> Curve {
    curve.iter().filter_map(|(step, y)| Some((*step, y - baseline.get(step)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moving_average_counts_steps_not_lines() {
        let curve = Curve::from([(1, 1.0), (2, 3.0), (3, f64::NAN), (4, 5.0), (10, 7.0)]);
        let expected = Curve::from([(1, 1.0), (2, 2.0), (4, 4.0), (10, 7.0)]);
        assert_eq!(moving_average(&curve, |_| 3), expected);
        assert_eq!(moving_average(&Curve::new(), |_| 3), Curve::new());
        assert_eq!(moving_average(&curve, |_| 100)[&10], 4.0);
    }

    #[test]
    fn seeds_are_averaged_where_they_are() {
        let curves = [Curve::from([(1, 1.0), (2, 4.0)]), Curve::from([(1, 3.0)])];
        let spread = over_seeds(&curves);
        assert_eq!((spread[&1].mean, spread[&1].count), (2.0, 2));
        assert_eq!((spread[&2].mean, spread[&2].deviation), (4.0, None));
        assert_eq!(difference(&curves[0], &curves[1]), Curve::from([(1, -2.0)]));
    }
}
