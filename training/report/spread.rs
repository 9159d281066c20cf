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

    /// Where the mean of ever more seeds would lie, with a confidence of 95 % (Student's t); none for
    /// fewer than two.
    ///
    /// ```
    /// # use neutreno::report::Spread;
    /// let [least, most] = Spread::of([1.0, 2.0, 3.0]).interval().unwrap();
    /// // Two degrees of freedom: 4.303 standard errors to each side.
    /// assert!((most - 2.0 - 4.303 / 3_f64.sqrt()).abs() < 1e-3 && least + most == 4.0);
    /// ```
    pub fn interval(&self) -> Option<[f64; 2]> {
        let error = self.deviation? / (self.count as f64).sqrt();
        let half = quantile(0.95, self.count - 1) * error;
        Some([self.mean - half, self.mean + half])
    }

    /// How likely it is that the mean lies at least so far from 0 by chance, where that of ever more seeds
    /// is 0: Student's t-test with both tails; of paired differences, the paired test. None for fewer
    /// than two numbers.
    ///
    /// ```
    /// # use neutreno::report::Spread;
    /// // t = 2 / (1 / √3) = 3.464 with two degrees of freedom.
    /// let chance = Spread::of([1.0, 2.0, 3.0]).chance().unwrap();
    /// assert!((chance - 0.0742).abs() < 1e-4);
    /// assert_eq!(Spread::of([0.0, 0.0]).chance(), Some(1.0));
    /// ```
    pub fn chance(&self) -> Option<f64> {
        let error = self.deviation? / (self.count as f64).sqrt();
        if self.mean == 0.0 {
            return Some(1.0);
        }
        let inside = within((self.mean / error).abs(), self.count - 1);
        Some((1.0 - inside).clamp(0.0, 1.0))
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

/// How far to each side of zero Student's t of so many degrees of freedom lies with a probability.
fn quantile(probability: f64, freedom: usize) -> f64 {
    let (mut low, mut high) = (0.0, 1e3);
    for _ in 0..80 {
        let middle = 0.5 * (low + high);
        if within(middle, freedom) < probability { low = middle } else { high = middle }
    }
    high
}

/// The probability that Student's t lies between −t and t (Abramowitz & Stegun, 26.7.3 and 26.7.4).
fn within(t: f64, freedom: usize) -> f64 {
    let angle = (t / (freedom as f64).sqrt()).atan();
    let (sine, cosine) = angle.sin_cos();
    let odd = freedom % 2 == 1;
    let (mut term, mut sum) = if odd { (cosine, 0.0) } else { (1.0, 0.0) };
    for k in (if odd { 3 } else { 2 }..=freedom).step_by(2) {
        sum += term;
        term *= (k - 1) as f64 / k as f64 * cosine.powi(2);
    }
    if odd { (angle + sine * sum) * 2.0 / std::f64::consts::PI } else { sine * sum }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The limits of the tables, at which 5 % and 1 % are left.
    #[test]
    fn the_chance_at_the_limits_of_the_tables_is_theirs() {
        for (freedom, t, expected) in
            [(1, 12.7062, 0.05), (4, 2.7764, 0.05), (4, 4.6041, 0.01), (9, 3.2498, 0.01)]
        {
            let count = freedom + 1;
            let deviation = Some((count as f64).sqrt());
            let spread = Spread { mean: -t, deviation, count };
            approx::assert_abs_diff_eq!(spread.chance().unwrap(), expected, epsilon = 1e-5);
        }
        let certain = Spread { mean: 1.0, deviation: Some(0.0), count: 3 };
        assert!(certain.chance().unwrap() < 1e-9);
        assert_eq!(Spread::of([1.0]).chance(), None);
    }

    #[test]
    fn quantiles_of_students_t_are_those_of_the_tables() {
        for (freedom, expected) in
            [(1, 12.706), (2, 4.303), (3, 3.182), (4, 2.776), (7, 2.365), (30, 2.042), (999, 1.962)]
        {
            approx::assert_abs_diff_eq!(quantile(0.95, freedom), expected, epsilon = 6e-4);
        }
    }
}
