//! Means over seeds.

use super::format::fixed;

/// The mean of a number over seeds, and how far the seeds lie apart.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// The mean.
    pub mean: f64,
    /// The sample standard deviation (divided by n − 1); none for fewer than two.
    pub deviation: Option<f64>,
    /// How many seeds there were.
    pub count: usize,
}

impl Spread {
    /// The spread of these numbers.
    ///
    /// ```
    /// # use neutreno::report::Spread;
    /// let spread = Spread::of([1.0, 2.0, 3.0]);
    /// assert_eq!((spread.mean, spread.deviation), (2.0, Some(1.0)));
    /// assert_eq!(Spread::of([5.0]).deviation, None);
    /// ```
    pub fn of(numbers: impl IntoIterator<Item = f64>) -> Spread {
        let numbers: Vec<f64> = numbers.into_iter().collect();
        let count = numbers.len();
        let mean = numbers.iter().sum::<f64>() / count as f64;
        let squares: f64 = numbers.iter().map(|x| (x - mean).powi(2)).sum();
        let deviation = (count > 1).then(|| (squares / (count - 1) as f64).sqrt());
        Spread { mean, deviation, count }
    }

    /// The spread of the same numbers, each multiplied by `factor`.
    pub(super) fn times(&self, factor: f64) -> Spread {
        let deviation = self.deviation.map(|deviation| factor * deviation);
        Spread { mean: factor * self.mean, deviation, ..*self }
    }

    /// `mean ± deviation`, both with so many decimals.
    pub(super) fn show(&self, decimals: usize) -> String {
        match self.deviation {
            Some(deviation) if deviation.is_finite() => {
                format!("{} ± {}", fixed(self.mean, decimals), fixed(deviation, decimals))
            }
            _ => fixed(self.mean, decimals),
        }
    }
}
