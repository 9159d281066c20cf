//! A corpus that ships as code: articles from a small probabilistic grammar, for machines without
//! real text, and with something real text can't offer: its entropy is known exactly, so it is
//! known how low a model's loss can go.
//!
//! What there is to learn reaches far. An article keeps to the topic in its title. A verb agrees
//! in number with its subject, past relative clauses full of nouns of the other number ("the boats
//! that the sailor near these nets paints are old"). The two people who meet when a paragraph
//! opens are the ones who speak in it and part when it closes.
//!
//! **The entropy.** A text is made by expanding symbols: a symbol S is replaced by one of its
//! rules r with probability p(r), independently of everything else. As no two ways of expanding
//! give the same text (a test reads texts back and finds one way only), a text's probability is
//! the product of its rules' probabilities, and the expected −ln of that is
//!
//! H(S) = Σ_r p(r) · (−ln p(r) + Σ_{children c of r} H(c)),
//!
//! with the expected number of tokens L(S) = Σ_r p(r) · (words of r + Σ_c L(c)) alongside. What
//! agrees over a distance is part of the symbol, and clauses nest to a fixed depth, so the
//! recursion ends. Articles are independent: the entropy rate is H(Article) / L(Article).

use super::Splits;
use super::grammar::Part::{Expand, LineEnd, Word};
use super::grammar::{Rule, Symbol, rules};
use crate::engine::random::{Generator, Key};
use std::collections::HashMap;

/// How many tokens (words and line ends) the splits have, at least.
pub const SIZES: Splits<usize> = Splits { train: 1_000_000, validation: 100_000, test: 100_000 };

/// The lowest loss that any model can have on this text: the entropy rate in nats a token, where
/// words and line ends are tokens.
///
/// ```
/// let nats = neutreno::data::generated::entropy_rate();
/// assert!(nats > 1.0 && nats < 3.0);
/// ```
pub fn entropy_rate() -> f64 {
    let expected = expect(Symbol::Article, &mut HashMap::new());
    expected.nats / expected.tokens
}

/// Expected values over all texts of a symbol.
#[derive(Clone, Copy, Debug, Default)]
struct Expected {
    nats: f64,
    tokens: f64,
}

fn expect(symbol: Symbol, known: &mut HashMap<Symbol, Expected>) -> Expected {
    if let Some(&expected) = known.get(&symbol) {
        return expected;
    }
    let mut sum = Expected::default();
    for Rule { probability, parts } in rules(symbol) {
        sum.nats -= probability * probability.ln();
        for part in parts {
            let of_part = match part {
                Word(_) | LineEnd => Expected { nats: 0.0, tokens: 1.0 },
                Expand(child) => expect(child, known),
            };
            sum.nats += probability * of_part.nats;
            sum.tokens += probability * of_part.tokens;
        }
    }
    known.insert(symbol, sum);
    sum
}

/// The corpus of a key, of at least so many tokens (words and line ends) a split, in whole
/// articles.
///
/// ```
/// use neutreno::data::{Splits, generated};
/// use neutreno::engine::random::Key;
/// let sizes = Splits { train: 500, validation: 100, test: 100 };
/// let text = generated::splits(Key::new(1), sizes);
/// assert!(text.train.starts_with(" = "));
/// assert_eq!(text, generated::splits(Key::new(1), sizes));
/// ```
pub fn splits(key: Key, tokens: Splits<usize>) -> Splits<String> {
    Splits {
        train: articles(key.named("train"), tokens.train),
        validation: articles(key.named("validation"), tokens.validation),
        test: articles(key.named("test"), tokens.test),
    }
}

fn articles(key: Key, tokens: usize) -> String {
    let mut generator = key.generator();
    let mut writer = Writer::default();
    while writer.tokens < tokens {
        writer.expand(Symbol::Article, &mut generator);
    }
    writer.text
}

/// Writes text as WikiText has it: a space before and after each line, and between words.
#[derive(Default)]
struct Writer {
    text: String,
    tokens: usize,
}

impl Writer {
    fn expand(&mut self, symbol: Symbol, generator: &mut Generator) {
        for part in choose(rules(symbol), generator).parts {
            match part {
                Word(word) => {
                    self.text.push(' ');
                    self.text.push_str(word);
                    self.tokens += 1;
                }
                LineEnd => {
                    self.text.push_str(" \n");
                    self.tokens += 1;
                }
                Expand(child) => self.expand(child, generator),
            }
        }
    }
}

fn choose(mut rules: Vec<Rule>, generator: &mut Generator) -> Rule {
    let mut rest = f64::from(generator.uniform());
    let chosen = rules.iter().position(|rule| {
        rest -= rule.probability;
        rest < 0.0
    });
    // Rounding may leave a last crumb of probability.
    rules.swap_remove(chosen.unwrap_or(rules.len() - 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    /// All ways to read a beginning of `tokens` as a symbol: how many tokens it takes, and ln p.
    fn readings(symbol: Symbol, tokens: &[&str]) -> Vec<(usize, f64)> {
        let mut all = Vec::new();
        for Rule { probability, parts } in rules(symbol) {
            let mut open = vec![(0, probability.ln())];
            for part in parts {
                let mut next = Vec::new();
                for (taken, ln_p) in open {
                    match part {
                        Word(word) if tokens.get(taken) == Some(&word) => {
                            next.push((taken + 1, ln_p));
                        }
                        LineEnd if tokens.get(taken) == Some(&"\n") => next.push((taken + 1, ln_p)),
                        Expand(child) => next.extend(
                            readings(child, &tokens[taken..])
                                .into_iter()
                                .map(|(length, of_child)| (taken + length, ln_p + of_child)),
                        ),
                        _ => {}
                    }
                }
                open = next;
            }
            all.extend(open);
        }
        all
    }

    /// Texts are read back knowing nothing of how they were made: each has one derivation, and
    /// −ln p a token over many of them comes to the entropy rate.
    #[test]
    fn the_entropy_is_that_of_the_text() {
        let mut articles = Vec::new();
        for number in 0..3000 {
            let mut writer = Writer::default();
            writer.expand(Symbol::Article, &mut Key::new(5).fold(number).generator());
            let tokens: Vec<&str> =
                writer.text.split(' ').filter(|word| !word.is_empty()).collect();
            assert_eq!(tokens.len(), writer.tokens);
            let whole: Vec<_> = readings(Symbol::Article, &tokens)
                .into_iter()
                .filter(|&(taken, _)| taken == tokens.len())
                .collect();
            assert_eq!(whole.len(), 1, "read in {} ways: {}", whole.len(), writer.text);
            articles.push((tokens.len() as f64, -whole[0].1));
        }
        let tokens: f64 = articles.iter().map(|article| article.0).sum();
        let rate = articles.iter().map(|article| article.1).sum::<f64>() / tokens;
        let squares: f64 = articles.iter().map(|(n, nats)| (nats - rate * n).powi(2)).sum();
        let standard_error = squares.sqrt() / tokens;
        let difference = rate - entropy_rate();
        assert!(standard_error < 0.003 * rate, "{standard_error} of {rate}");
        assert!(difference.abs() < 3.0 * standard_error, "{difference} ± {standard_error}");
    }

    #[test]
    fn it_looks_like_wikitext() {
        let sizes = Splits { train: 40_000, validation: 1_000, test: 1_000 };
        let text = splits(Key::new(1), sizes);
        assert_ne!(text.validation, text.test);
        assert!(text.train.lines().all(|line| line.starts_with(' ') && line.ends_with(" ")));
        assert!(!text.train.contains("  ") && text.train.ends_with(" \n"));
        let tokens = super::super::tokenizer::words_and_line_ends(&text.train);
        assert!((40_000..42_000).contains(&tokens));
        let words: HashSet<&str> = text.train.split_whitespace().collect();
        assert!((250..400).contains(&words.len()), "{} words", words.len());
    }
}
