//! The grammar of the generated corpus: symbols, and the rules that replace them.

use super::lexicon::*;
use Part::{Expand, LineEnd, Word};

/// How deep relative clauses nest in a subject.
const DEPTH: u8 = 3;

/// An article has 1 to this many paragraphs, and a paragraph 1 to this many sentences between the
/// meeting and the parting.
const PARAGRAPHS: u8 = 4;
const SENTENCES: u8 = 6;

/// What is expanded, with all that must agree inside it. A topic, a name and so on is its index in
/// the lists of the lexicon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Symbol {
    /// A title line and paragraphs about one topic.
    Article,
    /// At most so many more paragraphs.
    Paragraphs {
        topic: usize,
        left: u8,
    },
    /// Chooses the paragraph's first person.
    Paragraph {
        topic: usize,
    },
    /// Chooses the second, another one.
    Meeting {
        topic: usize,
        hero: usize,
    },
    /// At most so many more sentences, then the parting.
    Sentences {
        topic: usize,
        cast: Cast,
        left: u8,
    },
    /// A sentence without its full stop.
    Sentence {
        topic: usize,
        cast: Cast,
    },
    /// A subject and what it does or is.
    Clause {
        topic: usize,
        initial: bool,
    },
    /// What someone does: verb and object.
    Action {
        topic: usize,
        number: Number,
    },
    /// Determiner, perhaps an adjective, noun, perhaps a modifier.
    NounPhrase {
        topic: usize,
        kind: Kind,
        number: Number,
        depth: u8,
        initial: bool,
    },
    /// A place or a relative clause after a noun, or nothing.
    Modifier {
        topic: usize,
        kind: Kind,
        number: Number,
        depth: u8,
    },
    /// One word of a kind of words.
    Determiner {
        number: Number,
        initial: bool,
    },
    Adjective(Kind),
    Noun {
        topic: usize,
        kind: Kind,
        number: Number,
    },
    VerbOnPerson(Number),
    VerbOnThing(Number),
    VerbAlone(Number),
    Adverb,
    Preposition,
    Parting,
}

/// The two people of a paragraph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Cast {
    pub(super) hero: usize,
    pub(super) friend: usize,
}

/// One part of a rule.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Part {
    Word(&'static str),
    LineEnd,
    Expand(Symbol),
}

/// One way to replace a symbol.
pub(super) struct Rule {
    pub(super) probability: f64,
    pub(super) parts: Vec<Part>,
}

fn rule(probability: f64, parts: impl Into<Vec<Part>>) -> Rule {
    Rule { probability, parts: parts.into() }
}

/// The grammar: all rules of a symbol.
pub(super) fn rules(symbol: Symbol) -> Vec<Rule> {
    match symbol {
        Symbol::Article => equally(0..TOPICS.len(), |topic| {
            let title = Word(TOPICS[topic].place);
            vec![
                Word("="),
                title,
                Word("="),
                LineEnd,
                Expand(Symbol::Paragraphs { topic, left: PARAGRAPHS }),
            ]
        }),
        Symbol::Paragraphs { topic, left } => {
            let paragraph = Expand(Symbol::Paragraph { topic });
            let rest = Expand(Symbol::Paragraphs { topic, left: left.saturating_sub(1) });
            match left {
                0 => vec![rule(1.0, [])],
                PARAGRAPHS => vec![rule(1.0, [paragraph, rest])],
                _ => vec![rule(0.6, [paragraph, rest]), rule(0.4, [])],
            }
        }
        Symbol::Paragraph { topic } => {
            equally(0..NAMES.len(), |hero| vec![Expand(Symbol::Meeting { topic, hero })])
        }
        Symbol::Meeting { topic, hero } => {
            let others = (0..NAMES.len()).filter(|&other| other != hero);
            equally(others, |friend| meeting(topic, Cast { hero, friend }))
        }
        Symbol::Sentences { topic, cast, left } => sentences(topic, cast, left),
        Symbol::Sentence { topic, cast } => sentence(topic, cast),
        Symbol::Clause { topic, initial } => clause(topic, initial),
        Symbol::Action { topic, number } => action(topic, number),
        Symbol::NounPhrase { topic, kind, number, depth, initial } => {
            let determiner = Expand(Symbol::Determiner { number, initial });
            let adjective = Expand(Symbol::Adjective(kind));
            let noun = Expand(Symbol::Noun { topic, kind, number });
            let modifier = Expand(Symbol::Modifier { topic, kind, number, depth });
            vec![
                rule(0.7, [determiner, noun, modifier]),
                rule(0.3, [determiner, adjective, noun, modifier]),
            ]
        }
        Symbol::Modifier { topic, kind, number, depth } => modifier(topic, kind, number, depth),
        Symbol::Determiner { number, initial } => one_of(match (number, initial) {
            (Number::Singular, false) => &["the", "this", "every"],
            (Number::Plural, false) => &["the", "these", "some", "many"],
            (Number::Singular, true) => &["The", "This", "Every"],
            (Number::Plural, true) => &["The", "These", "Some", "Many"],
        }),
        Symbol::Adjective(Kind::Person) => one_of(&PERSON_ADJECTIVES),
        Symbol::Adjective(Kind::Thing) => one_of(&THING_ADJECTIVES),
        Symbol::Noun { topic, kind, number } => match kind {
            Kind::Person => one_of(&TOPICS[topic].people.map(|noun| noun.form(number))),
            Kind::Thing => one_of(&TOPICS[topic].things.map(|noun| noun.form(number))),
        },
        Symbol::VerbOnPerson(number) => one_of(&VERBS_ON_PEOPLE.map(|verb| verb.form(number))),
        Symbol::VerbOnThing(number) => one_of(&VERBS_ON_THINGS.map(|verb| verb.form(number))),
        Symbol::VerbAlone(number) => one_of(&VERBS_ALONE.map(|verb| verb.form(number))),
        Symbol::Adverb => one_of(&ADVERBS),
        Symbol::Preposition => one_of(&PREPOSITIONS),
        Symbol::Parting => one_of(&PARTINGS),
    }
}

/// "Clara meets Felix near the harbour . … At last Felix thanks Clara ."
fn meeting(topic: usize, cast: Cast) -> Vec<Part> {
    let place = Word(TOPICS[topic].place);
    let (hero, friend) = (Word(NAMES[cast.hero].name), Word(NAMES[cast.friend].name));
    let near = Expand(Symbol::Preposition);
    let rest = Expand(Symbol::Sentences { topic, cast, left: SENTENCES });
    vec![hero, Word("meets"), friend, near, Word("the"), place, Word("."), rest, LineEnd]
}

fn sentences(topic: usize, cast: Cast, left: u8) -> Vec<Rule> {
    let (hero, friend) = (Word(NAMES[cast.hero].name), Word(NAMES[cast.friend].name));
    let part = |first, second| {
        [Word("At"), Word("last"), first, Expand(Symbol::Parting), second, Word(".")]
    };
    let sentence = Expand(Symbol::Sentence { topic, cast });
    let rest = Expand(Symbol::Sentences { topic, cast, left: left.saturating_sub(1) });
    match left {
        0 => vec![rule(0.5, part(hero, friend)), rule(0.5, part(friend, hero))],
        SENTENCES => vec![rule(1.0, [sentence, Word("."), rest])],
        _ => vec![
            rule(0.8, [sentence, Word("."), rest]),
            rule(0.1, part(hero, friend)),
            rule(0.1, part(friend, hero)),
        ],
    }
}

fn sentence(topic: usize, cast: Cast) -> Vec<Rule> {
    let says = |person: usize| {
        let clause = Expand(Symbol::Clause { topic, initial: false });
        [Word(NAMES[person].name), Word("says"), Word("that"), clause]
    };
    let act = |number| Expand(Symbol::Action { topic, number });
    vec![
        rule(0.5, [Expand(Symbol::Clause { topic, initial: true })]),
        rule(0.1, says(cast.hero)),
        rule(0.1, says(cast.friend)),
        rule(0.15, [Word(NAMES[cast.hero].pronoun), act(Number::Singular)]),
        rule(0.15, [Word("They"), act(Number::Plural)]),
    ]
}

/// "the sailor who the old divers know repairs the net", "these nets are red"
fn clause(topic: usize, initial: bool) -> Vec<Rule> {
    NUMBERS
        .into_iter()
        .flat_map(|number| {
            let subject =
                |kind| Expand(Symbol::NounPhrase { topic, kind, number, depth: DEPTH, initial });
            let be = Word(number.choose("is", "are"));
            let quality = Expand(Symbol::Adjective(Kind::Thing));
            [
                rule(0.3, [subject(Kind::Person), Expand(Symbol::Action { topic, number })]),
                rule(0.2, [subject(Kind::Thing), be, quality]),
            ]
        })
        .collect()
}

fn action(topic: usize, number: Number) -> Vec<Rule> {
    let object =
        |kind, number| Expand(Symbol::NounPhrase { topic, kind, number, depth: 1, initial: false });
    let mut all = vec![
        rule(0.15, [Expand(Symbol::VerbAlone(number))]),
        rule(0.15, [Expand(Symbol::VerbAlone(number)), Expand(Symbol::Adverb)]),
    ];
    for of_object in NUMBERS {
        let (person, thing) = (object(Kind::Person, of_object), object(Kind::Thing, of_object));
        all.push(rule(0.15, [Expand(Symbol::VerbOnPerson(number)), person]));
        all.push(rule(0.2, [Expand(Symbol::VerbOnThing(number)), thing]));
    }
    all
}

/// Nothing, "near the gate", "who the captains know", "that the captain paints". A noun has at most
/// one modifier and a place has none, so that it is always clear which noun is modified.
fn modifier(topic: usize, kind: Kind, number: Number, depth: u8) -> Vec<Rule> {
    if depth == 0 {
        return vec![rule(1.0, [])];
    }
    let phrase = |kind, number, depth| {
        Expand(Symbol::NounPhrase { topic, kind, number, depth, initial: false })
    };
    let mut all = vec![rule(0.5, [])];
    for other in NUMBERS {
        let place = phrase(Kind::Thing, other, 0);
        let subject = phrase(Kind::Person, other, depth - 1);
        all.push(rule(0.1, [Expand(Symbol::Preposition), place]));
        match kind {
            Kind::Person => {
                let verb = |number| Expand(Symbol::VerbOnPerson(number));
                let object = phrase(Kind::Person, other, 0);
                all.push(rule(0.1, [Word("who"), subject, verb(other)]));
                all.push(rule(0.05, [Word("who"), verb(number), object]));
            }
            Kind::Thing => {
                let verb = Expand(Symbol::VerbOnThing(other));
                all.push(rule(0.15, [Word("that"), subject, verb]));
            }
        }
    }
    all
}

/// Rules with equal probabilities.
fn equally(
    choices: impl Iterator<Item = usize> + Clone,
    parts: impl Fn(usize) -> Vec<Part>,
) -> Vec<Rule> {
    let probability = 1.0 / choices.clone().count() as f64;
    choices.map(|choice| rule(probability, parts(choice))).collect()
}

/// A word, the earlier in its list the more often: p ∝ 1 / rank, as in Zipf's law.
fn one_of(words: &[&'static str]) -> Vec<Rule> {
    let total: f64 = (1..=words.len()).map(|rank| 1.0 / rank as f64).sum();
    let probability = |index: usize| 1.0 / ((index + 1) as f64 * total);
    words.iter().enumerate().map(|(i, &word)| rule(probability(i), [Word(word)])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn reachable(symbol: Symbol, seen: &mut HashSet<Symbol>) {
        if seen.insert(symbol) {
            for part in rules(symbol).into_iter().flat_map(|rule| rule.parts) {
                if let Expand(child) = part {
                    reachable(child, seen);
                }
            }
        }
    }

    #[test]
    fn probabilities_sum_to_one() {
        let mut symbols = HashSet::new();
        reachable(Symbol::Article, &mut symbols);
        for symbol in symbols {
            let sum: f64 = rules(symbol).iter().map(|rule| rule.probability).sum();
            assert!((sum - 1.0).abs() < 1e-12, "{symbol:?}: {sum}");
        }
    }
}
