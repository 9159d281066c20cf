//! Drawing the next token from its logits.

use crate::engine::random::Generator;
use std::cmp::Ordering;

/// How a token is drawn. The settings act in the order in which they stand here, which is that of
/// Hugging Face's `generate`; the default draws from all tokens by their probabilities.
///
/// ```
/// use neutreno_models::engine::random::Key;
/// use neutreno_models::language::Sampling;
/// let logits = [1.0, 3.0, 2.9, -1.0];
/// let mut random = Key::new(1).generator();
/// assert_eq!(Sampling::GREEDY.draw(&logits, &[], &mut random), Some(1));
/// let two = Sampling { top_k: Some(2), ..Sampling::default() };
/// assert!((0..100).all(|_| matches!(two.draw(&logits, &[], &mut random), Some(1 | 2))));
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Sampling {
    /// Tokens that are never drawn.
    pub excluded: Vec<u32>,
    /// What the logits of tokens seen before are divided by if they are positive, and multiplied with
    /// if not (Keskar et al. 2019); 1 for none, more for less repetition.
    pub repetition_penalty: f64,
    /// What all logits are divided by: below 1 the likeliest become likelier still; 0 takes the
    /// likeliest alone.
    pub temperature: f64,
    /// Only so many of the likeliest.
    pub top_k: Option<usize>,
    /// Only the likeliest of which the probabilities add up to this (Holtzman et al. 2020); 1 for all.
    pub top_p: f64,
    /// Only those whose probability is at least this part of the likeliest one's (Nguyen et al. 2024);
    /// 0 for all.
    pub min_p: f64,
}

impl Default for Sampling {
    fn default() -> Sampling {
        Sampling { temperature: 1.0, ..Sampling::GREEDY }
    }
}

impl Sampling {
    /// Always the likeliest token.
    pub const GREEDY: Sampling = Sampling {
        excluded: Vec::new(),
        repetition_penalty: 1.0,
        temperature: 0.0,
        top_k: None,
        top_p: 1.0,
        min_p: 0.0,
    };

    /// Whether the settings can be drawn with.
    ///
    /// # Errors
    /// What is out of its range.
    pub fn check(&self) -> Result<(), String> {
        let Sampling { repetition_penalty, temperature, top_k, top_p, min_p, .. } = *self;
        if !(temperature >= 0.0 && temperature.is_finite()) {
            return Err(format!("a temperature of {temperature}; it is 0 or more"));
        }
        if !(repetition_penalty > 0.0 && repetition_penalty.is_finite()) {
            return Err(format!("a repetition penalty of {repetition_penalty}; it is more than 0"));
        }
        if top_k == Some(0) {
            return Err("the likeliest 0 tokens leave none to draw".into());
        }
        if !(top_p > 0.0 && top_p <= 1.0) {
            return Err(format!("a top-p of {top_p}; it is more than 0 and at most 1"));
        }
        if !(0.0..=1.0).contains(&min_p) {
            return Err(format!("a min-p of {min_p}; it is in [0, 1]"));
        }
        Ok(())
    }

    /// Draws a token by its logits (vocabulary); `seen` are the tokens before it. `None` if there is
    /// none to draw: all are excluded, have no probability, or have logits that are not numbers.
    ///
    /// # Panics
    /// If the settings are out of their ranges ([`Sampling::check`]).
    #[track_caller]
    pub fn draw(&self, logits: &[f32], seen: &[u32], random: &mut Generator) -> Option<u32> {
        if let Err(problem) = self.check() {
            panic!("sampling: {problem}");
        }
        let mut tokens = self.candidates(logits, seen);
        let (likeliest, largest) = tokens.iter().copied().min_by(likelier)?;
        if self.temperature == 0.0 {
            return Some(likeliest);
        }
        if let Some(count) = self.top_k.filter(|count| *count < tokens.len()) {
            // Sorting a whole vocabulary would take as long as a small model does for the token.
            tokens.select_nth_unstable_by(count - 1, likelier);
            tokens.truncate(count);
            tokens.sort_unstable_by(likelier);
        }
        for (_, weight) in &mut tokens {
            *weight = ((*weight - largest) / self.temperature).exp();
        }
        self.keep_top_p(&mut tokens);
        tokens.retain(|(_, weight)| *weight >= self.min_p);
        let total = tokens.iter().map(|(_, weight)| weight).sum::<f64>();
        let mut left = f64::from(random.uniform()) * total;
        for (token, weight) in &tokens {
            left -= weight;
            if left < 0.0 {
                return Some(*token);
            }
        }
        Some(likeliest)
    }

    /// The tokens that can be drawn, with their logits.
    fn candidates(&self, logits: &[f32], seen: &[u32]) -> Vec<(u32, f64)> {
        let mut tokens: Vec<(u32, f64)> =
            (0..).zip(logits).map(|(token, logit)| (token, f64::from(*logit))).collect();
        if self.repetition_penalty != 1.0 {
            let mut seen = seen.to_vec();
            seen.sort_unstable();
            seen.dedup();
            for token in seen {
                if let Some((_, logit)) = tokens.get_mut(token as usize) {
                    let penalty = self.repetition_penalty;
                    *logit = if *logit > 0.0 { *logit / penalty } else { *logit * penalty };
                }
            }
        }
        for token in &self.excluded {
            if let Some((_, logit)) = tokens.get_mut(*token as usize) {
                *logit = f64::NEG_INFINITY;
            }
        }
        // Numbers alone: what is none compares with nothing.
        tokens.retain(|(_, logit)| *logit > f64::NEG_INFINITY);
        tokens
    }

    /// Leaves the likeliest tokens that reach top-p together, the one that does it included.
    fn keep_top_p(&self, tokens: &mut Vec<(u32, f64)>) {
        if self.top_p == 1.0 {
            return;
        }
        let mut left = self.top_p * tokens.iter().map(|(_, weight)| weight).sum::<f64>();
        // Usually few are enough, so only as many are sorted as it takes.
        let (mut sorted, mut end) = (0, 64);
        while sorted < tokens.len() {
            end = end.min(tokens.len());
            tokens[sorted..].select_nth_unstable_by(end - sorted - 1, likelier);
            tokens[sorted..end].sort_unstable_by(likelier);
            for index in sorted..end {
                left -= tokens[index].1;
                if left <= 0.0 {
                    return tokens.truncate(index + 1);
                }
            }
            (sorted, end) = (end, 8 * end);
        }
    }
}

/// The likelier token first; of two that are alike, the one with the smaller id.
fn likelier((one, a): &(u32, f64), (other, b): &(u32, f64)) -> Ordering {
    b.total_cmp(a).then(one.cmp(other))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::random::Key;

    /// How often each token is drawn, of 4,000 times.
    fn shares(sampling: &Sampling, logits: &[f32], seen: &[u32]) -> Vec<f64> {
        let mut random = Key::new(1).generator();
        let mut counts = vec![0.0; logits.len()];
        for _ in 0..4000 {
            counts[sampling.draw(logits, seen, &mut random).unwrap() as usize] += 1.0 / 4000.0;
        }
        counts
    }

    fn expect(sampling: Sampling, seen: &[u32], expected: [f64; 4]) {
        // Probabilities 0.4, 0.3, 0.2 and 0.1, and logits of both signs.
        let logits = [0.4_f32, 0.3, 0.2, 0.1].map(|p| (4.0 * p).ln());
        let got = shares(&sampling, &logits, seen);
        let fits = got.iter().zip(expected).all(|(got, expected)| (got - expected).abs() < 0.03);
        assert!(fits, "{sampling:?}: {got:?}");
        let none = got.iter().zip(expected).all(|(got, expected)| expected > 0.0 || *got == 0.0);
        assert!(none, "{sampling:?}: {got:?}");
    }

    #[test]
    fn each_setting_leaves_the_probabilities_that_it_says() {
        let all = Sampling::default;
        expect(all(), &[], [0.4, 0.3, 0.2, 0.1]);
        expect(Sampling::GREEDY, &[], [1.0, 0.0, 0.0, 0.0]);
        expect(Sampling { excluded: vec![0, 2], ..all() }, &[], [0.0, 0.75, 0.0, 0.25]);
        expect(Sampling { top_k: Some(2), ..all() }, &[], [4.0 / 7.0, 3.0 / 7.0, 0.0, 0.0]);
        expect(Sampling { top_p: 0.69, ..all() }, &[], [4.0 / 7.0, 3.0 / 7.0, 0.0, 0.0]);
        expect(Sampling { top_p: 0.71, ..all() }, &[], [4.0 / 9.0, 3.0 / 9.0, 2.0 / 9.0, 0.0]);
        expect(Sampling { top_p: 1e-9, ..all() }, &[], [1.0, 0.0, 0.0, 0.0]);
        expect(Sampling { min_p: 0.49, ..all() }, &[], [4.0 / 9.0, 3.0 / 9.0, 2.0 / 9.0, 0.0]);
        // Squares: 16, 9, 4 and 1 of 30.
        let colder = Sampling { temperature: 0.5, ..all() };
        expect(colder, &[], [16.0 / 30.0, 9.0 / 30.0, 4.0 / 30.0, 1.0 / 30.0]);
        // 1.6 becomes √1.6, and 0.4, whose logarithm is negative, 0.16; seen twice counts once.
        let penalised = Sampling { repetition_penalty: 2.0, ..all() };
        let weights = [1.6_f64.sqrt(), 1.2, 0.8, 0.16];
        let total = weights.iter().sum::<f64>();
        expect(penalised, &[3, 0, 0, 99], weights.map(|weight| weight / total));
    }

    #[test]
    fn what_is_no_number_or_has_no_probability_is_not_drawn() {
        let mut random = Key::new(1).generator();
        let mut draw = |logits: &[f32]| Sampling::default().draw(logits, &[], &mut random);
        assert_eq!(draw(&[f32::NAN, 1.0, f32::NEG_INFINITY]), Some(1));
        assert_eq!(draw(&[f32::NAN, f32::NEG_INFINITY]), None);
        assert_eq!(draw(&[]), None);
    }

    /// More tokens than are sorted at once, most of which are left out.
    #[test]
    fn a_large_vocabulary_is_cut_where_a_small_one_is() {
        let count = 5_000;
        let weight = |token: usize| 1.0 / (1.0 + (token * 17 % count) as f64);
        let logits: Vec<f32> = (0..count).map(|token| weight(token).ln() as f32).collect();
        let mut order: Vec<usize> = (0..count).collect();
        order.sort_by(|a, b| weight(*b).total_cmp(&weight(*a)));
        let total: f64 = (0..count).map(weight).sum();
        let reached = |part: f64| {
            let mut sum = 0.0;
            let enough = order.iter().position(|token| {
                sum += weight(*token);
                sum >= part * total
            });
            enough.unwrap() + 1
        };
        let mut random = Key::new(3).generator();
        for (top_k, top_p, kept) in
            [(Some(100), 1.0, 100), (None, 0.5, reached(0.5)), (None, 0.9, reached(0.9))]
        {
            let sampling = Sampling { top_k, top_p, ..Sampling::default() };
            let mut seen = vec![false; count];
            for _ in 0..20_000 {
                seen[sampling.draw(&logits, &[], &mut random).unwrap() as usize] = true;
            }
            assert!(order[kept..].iter().all(|token| !seen[*token]), "{sampling:?}");
            assert!(order[..20].iter().all(|token| seen[*token]), "{sampling:?}");
        }
    }

    #[test]
    fn settings_out_of_range_are_named() {
        for (sampling, words) in [
            (Sampling { temperature: -1.0, ..Sampling::default() }, "a temperature of -1"),
            (Sampling { temperature: f64::NAN, ..Sampling::default() }, "a temperature of NaN"),
            (Sampling { top_k: Some(0), ..Sampling::default() }, "the likeliest 0 tokens"),
            (Sampling { top_p: 0.0, ..Sampling::default() }, "a top-p of 0"),
            (Sampling { min_p: 1.5, ..Sampling::default() }, "a min-p of 1.5"),
            (Sampling { repetition_penalty: 0.0, ..Sampling::default() }, "a repetition penalty"),
        ] {
            let problem = sampling.check().unwrap_err();
            assert!(problem.contains(words), "{problem}");
        }
    }
}
