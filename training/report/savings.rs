//! How many fewer parameters, and how much less data, a variant needs for the same loss.
//!
//! Losses of models of several sizes, or trained on several amounts of data, lie near a power law
//! L(x) = A · x^−α (Kaplan et al. 2020, arXiv 2001.08361). One is fitted for each variant; what the
//! variant saves is the horizontal gap between the two curves, as in Zhou et al. 2024 (arXiv
//! 2410.17897, figure 1).

use super::Spread;

/// L(x) = A · x^−α.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PowerLaw {
    ln_factor: f64,
    /// α: how fast the loss falls.
    pub exponent: f64,
}

impl PowerLaw {
    /// The law nearest to the points (x, loss): a line of least squares through their logarithms.
    /// `None` without two different x, or if a number is not positive.
    ///
    /// ```
    /// use neutreno::report::PowerLaw;
    /// let law = PowerLaw::fit(&[(1.0, 8.0), (4.0, 4.0), (16.0, 2.0)]).unwrap();
    /// assert!((law.exponent - 0.5).abs() < 1e-12);
    /// assert!((law.loss(64.0) - 1.0).abs() < 1e-12);
    /// assert!((law.x(1.0) - 64.0).abs() < 1e-9);
    /// ```
    pub fn fit(points: &[(f64, f64)]) -> Option<PowerLaw> {
        if points.iter().any(|(x, loss)| !(*x > 0.0 && *loss > 0.0 && loss.is_finite())) {
            return None;
        }
        let count = points.len() as f64;
        let logarithms = || points.iter().map(|(x, loss)| (x.ln(), loss.ln()));
        let (sum_x, sum_y) = logarithms().fold((0.0, 0.0), |(a, b), (x, y)| (a + x, b + y));
        let (mean_x, mean_y) = (sum_x / count, sum_y / count);
        let spread: f64 = logarithms().map(|(x, _)| (x - mean_x).powi(2)).sum();
        let slope: f64 =
            logarithms().map(|(x, y)| (x - mean_x) * (y - mean_y)).sum::<f64>() / spread;
        let law = PowerLaw { ln_factor: mean_y - slope * mean_x, exponent: -slope };
        law.exponent.is_finite().then_some(law)
    }

    /// The loss at x.
    pub fn loss(&self, x: f64) -> f64 {
        (self.ln_factor - self.exponent * x.ln()).exp()
    }

    /// Where the loss is reached.
    pub fn x(&self, loss: f64) -> f64 {
        ((self.ln_factor - loss.ln()) / self.exponent).exp()
    }

    /// The share of x that `other` saves: 1 − x′ / x, where it reaches at x′ the loss that this
    /// law has at x. Negative if it needs more. `None` if a loss does not fall.
    pub fn saved_by(&self, other: &PowerLaw, x: f64) -> Option<f64> {
        let falling = self.exponent > 0.0 && other.exponent > 0.0;
        falling.then(|| 1.0 - other.x(self.loss(x)) / x)
    }
}

/// The loss of one trained model.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// The variant.
    pub variant: String,
    /// The seed.
    pub seed: u64,
    /// The parameters without the embedding, or the training tokens.
    pub x: f64,
    /// Its validation loss.
    pub loss: f64,
}

/// What a variant saves against another, seed by seed.
#[derive(Clone, Debug, PartialEq)]
pub struct Saving {
    /// The variant.
    pub variant: String,
    /// The share saved in the middle of the range, over the seeds: a law is fitted for each.
    pub spread: Spread,
    /// The laws through all seeds: the baseline's and the variant's.
    pub laws: [PowerLaw; 2],
}

/// What each other variant saves against `baseline`, at the geometric middle of the x at hand.
/// Variants without enough points are left out.
pub fn savings(points: &[Point], baseline: &str) -> Vec<Saving> {
    let law = |variant: &str, seed: Option<u64>| {
        let of_it =
            |point: &&Point| point.variant == variant && seed.is_none_or(|seed| seed == point.seed);
        let points: Vec<(f64, f64)> =
            points.iter().filter(of_it).map(|point| (point.x, point.loss)).collect();
        PowerLaw::fit(&points)
    };
    let mean_ln = points.iter().map(|point| point.x.ln()).sum::<f64>() / points.len() as f64;
    let middle = mean_ln.exp();
    let mut seeds: Vec<u64> = points.iter().map(|point| point.seed).collect();
    seeds.sort_unstable();
    seeds.dedup();
    let saving = |variant: &str| {
        let of_seed = |seed: &u64| {
            let [base, own] = [baseline, variant].map(|variant| law(variant, Some(*seed)));
            base?.saved_by(&own?, middle)
        };
        let saved: Vec<f64> = seeds.iter().filter_map(of_seed).collect();
        let laws = [law(baseline, None)?, law(variant, None)?];
        let saving = Saving { variant: variant.to_owned(), spread: Spread::of(saved), laws };
        (saving.spread.count > 0).then_some(saving)
    };
    let mut variants: Vec<&str> = Vec::new();
    for point in points.iter().filter(|point| point.variant != baseline) {
        if !variants.contains(&point.variant.as_str()) {
            variants.push(&point.variant);
        }
    }
    variants.into_iter().filter_map(saving).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The published losses of models of three sizes (Zhou et al. 2024), for which the paper says
    /// 10.4 % fewer parameters.
    #[test]
    fn the_published_losses_give_about_the_published_saving() {
        let sizes = [82.0, 180.0, 468.0];
        let losses =
            [("transformer", [2.7389, 2.5015, 2.2806]), ("resformer", [2.7117, 2.4692, 2.2537])];
        let points: Vec<Point> = losses
            .iter()
            .flat_map(|(variant, losses)| {
                sizes.iter().zip(losses).map(|(x, loss)| Point {
                    variant: variant.to_string(),
                    seed: 1,
                    x: *x,
                    loss: *loss,
                })
            })
            .collect();
        let saving = &savings(&points, "transformer")[0];
        assert!((0.095..0.115).contains(&saving.spread.mean), "{}", saving.spread.mean);
        for x in sizes {
            let saved = saving.laws[0].saved_by(&saving.laws[1], x).unwrap();
            assert!((0.09..0.12).contains(&saved), "{saved} at {x}");
        }
        assert_eq!(saving.spread.deviation, None);
    }

    #[test]
    fn a_known_saving_is_found_seed_by_seed() {
        // The variant is worth a model larger by the half, more or less by seed.
        let mut points = Vec::new();
        for (seed, worth) in [(1, 1.4), (2, 1.6)] {
            for x in [10.0, 20.0, 40.0, 80.0_f64] {
                let level = 1.0 + 0.1 * seed as f64;
                let point = |variant: &str, x_worth: f64| Point {
                    variant: variant.into(),
                    seed,
                    x,
                    loss: level * 5.0 * x_worth.powf(-0.1),
                };
                points.push(point("transformer", x));
                points.push(point("svformer", x * worth));
            }
        }
        let saving = &savings(&points, "transformer")[0];
        let expected = [1.0 - 1.0 / 1.4, 1.0 - 1.0 / 1.6];
        assert!((saving.spread.mean - (expected[0] + expected[1]) / 2.0).abs() < 1e-9);
        assert!(saving.spread.deviation.unwrap() > 0.05);
        let reversed = savings(&points, "svformer");
        assert!((reversed[0].spread.mean + 0.5).abs() < 1e-9, "half as much again");
    }

    #[test]
    fn what_can_not_be_fitted_is_left_out() {
        assert_eq!(PowerLaw::fit(&[]), None);
        assert_eq!(PowerLaw::fit(&[(2.0, 1.0), (2.0, 1.5)]), None);
        assert_eq!(PowerLaw::fit(&[(1.0, f64::NAN), (2.0, 1.0)]), None);
        let rising = PowerLaw::fit(&[(1.0, 1.0), (2.0, 2.0)]).unwrap();
        assert_eq!(rising.saved_by(&rising, 1.0), None);
        assert!(savings(&[], "transformer").is_empty());
    }
}
