//! WikiText's own tokens: the words between white space, and `<eos>` for each line end.

use serde_json::{Value, json};
use std::collections::HashMap;

pub(super) const UNKNOWN: &str = "<unk>";
pub(super) const LINE_END: &str = "<eos>";

/// The words of a training text, the most frequent first. Every other word is `<unk>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Words {
    words: Vec<String>,
    ids: HashMap<String, u32>,
    unknown: u32,
    line_end: u32,
}

impl Words {
    /// Learns all words of a text, in order of frequency, equally frequent ones in order of first
    /// appearance. `<unk>` and `<eos>` are always among them.
    pub fn learn(text: &str) -> Words {
        let mut counts: HashMap<&str, (usize, usize)> = HashMap::new();
        for (index, word) in text.split_inclusive('\n').flat_map(tokens).enumerate() {
            counts.entry(word).or_insert((0, index)).0 += 1;
        }
        for special in [UNKNOWN, LINE_END] {
            counts.entry(special).or_insert((0, usize::MAX));
        }
        let mut words: Vec<_> = counts.into_iter().collect();
        words.sort_unstable_by_key(|&(word, (count, first))| {
            (std::cmp::Reverse(count), first, word)
        });
        let words = words.into_iter().map(|(word, _)| word.to_string()).collect();
        Words::from_list(words).expect("a map's keys differ, and the specials are in")
    }

    /// The vocabulary from its list, which the errors are about.
    fn from_list(words: Vec<String>) -> Result<Words, String> {
        let mut ids = HashMap::with_capacity(words.len());
        for (id, word) in words.iter().enumerate() {
            if ids.insert(word.clone(), id as u32).is_some() {
                return Err(format!("the word `{word}` is in it twice"));
            }
        }
        let find = |word| ids.get(word).copied().ok_or(format!("it lacks the word {word}"));
        let (unknown, line_end) = (find(UNKNOWN)?, find(LINE_END)?);
        Ok(Words { words, ids, unknown, line_end })
    }

    /// The ids of a text's words and line ends.
    pub fn encode(&self, text: &str) -> Vec<u32> {
        let id = |word| self.ids.get(word).copied().unwrap_or(self.unknown);
        text.split_inclusive('\n').flat_map(tokens).map(id).collect()
    }

    /// Which tokens of a text, by their place from 0, are words that were never learnt. A `<unk>` that
    /// stands in the text itself is not among them.
    pub fn unknown_in(&self, text: &str) -> Vec<usize> {
        let words = text.split_inclusive('\n').flat_map(tokens).enumerate();
        words.filter(|(_, word)| !self.ids.contains_key(*word)).map(|(place, _)| place).collect()
    }

    /// The words with a space between them; `<eos>` is a line end.
    pub fn decode(&self, ids: &[u32]) -> String {
        let mut text = String::new();
        for &id in ids {
            if id == self.line_end {
                text.push('\n');
                continue;
            }
            if !text.is_empty() && !text.ends_with('\n') {
                text.push(' ');
            }
            text.push_str(self.words.get(id as usize).map_or(UNKNOWN, String::as_str));
        }
        text
    }

    /// The id of `<unk>`.
    pub fn unknown(&self) -> u32 {
        self.unknown
    }

    /// The number of words, `<unk>` and `<eos>` included.
    pub fn vocabulary(&self) -> usize {
        self.words.len()
    }

    /// All of them, each at the place of its id.
    pub(super) fn words(&self) -> &[String] {
        &self.words
    }

    pub(super) fn to_json(&self) -> String {
        json!({"kind": "words", "words": self.words}).to_string()
    }

    pub(super) fn from_json(json: &Value) -> Result<Words, String> {
        let list = json.get("words").and_then(Value::as_array).ok_or("it has no list of words")?;
        let words: Option<Vec<_>> =
            list.iter().map(|word| word.as_str().map(String::from)).collect();
        Words::from_list(words.ok_or("its words are not all strings")?)
    }
}

/// A line's words, and `<eos>` if it ends.
fn tokens(line: &str) -> impl Iterator<Item = &str> {
    line.split_whitespace().chain(line.ends_with('\n').then_some(LINE_END))
}

#[cfg(test)]
mod tests {
    use super::super::tokenizer::words_and_line_ends;
    use super::*;
    use std::path::Path;

    #[test]
    fn frequent_words_come_first() {
        let words = Words::learn("b a a\nc\n c a");
        assert_eq!(words.words, ["a", "<eos>", "c", "b", "<unk>"]);
        assert_eq!(words.encode("a  x\n\nb"), [0, 4, 1, 1, 3]);
        assert_eq!(words.decode(&[0, 4, 1, 1, 3]), "a <unk>\n\nb");
        assert_eq!(words.unknown_in("a  x\n\n<unk> y"), [1, 5]);
    }

    /// The published counts of WikiText-2 (Merity et al. 2016).
    #[test]
    fn wikitext_2_has_its_published_counts() {
        let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/data/wikitext-2"));
        let read = |split| std::fs::read_to_string(folder.join(format!("wiki.{split}.tokens")));
        let Ok(train) = read("train") else {
            println!("left out: no WikiText-2 in {}", folder.display());
            return;
        };
        let words = Words::learn(&train);
        assert_eq!(words.vocabulary(), 33_278);
        for (split, count) in [("train", 2_088_628), ("valid", 217_646), ("test", 245_569)] {
            let text = read(split).unwrap();
            assert_eq!(words.encode(&text).len(), count);
            assert_eq!(words_and_line_ends(&text), count);
        }
    }
}
