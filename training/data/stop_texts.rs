//! Texts at which writing ends.

/// Looks for the first of several texts in one that comes piece by piece, and lets through what stands
/// before it. What may be its beginning is held back until more is known.
///
/// ```
/// use neutreno::data::StopTexts;
/// let mut stop = StopTexts::new(&["\nQ:"]);
/// assert_eq!(stop.push("four"), "four");
/// assert_eq!(stop.push("\n"), "");
/// assert_eq!(stop.push("or "), "\nor ");
/// assert_eq!(stop.push("five\nQ: how"), "five");
/// assert!(stop.found());
/// ```
#[derive(Clone, Debug)]
pub struct StopTexts {
    texts: Vec<String>,
    held: String,
    found: bool,
}

impl StopTexts {
    /// Texts to stop at; an empty one is nowhere found.
    pub fn new<T: AsRef<str>>(texts: &[T]) -> StopTexts {
        let texts = texts.iter().map(|text| text.as_ref().to_owned());
        let texts = texts.filter(|text| !text.is_empty()).collect();
        StopTexts { texts, held: String::new(), found: false }
    }

    /// What is let through with one piece more; nothing after a text was found.
    pub fn push(&mut self, piece: &str) -> String {
        if self.found {
            return String::new();
        }
        self.held.push_str(piece);
        // The one that is whole first, so that it does not matter how the text is cut in pieces.
        let whole = |text: &String| self.held.find(text).map(|place| (place + text.len(), place));
        if let Some((_, place)) = self.texts.iter().filter_map(whole).min() {
            self.found = true;
            self.held.truncate(place);
            return std::mem::take(&mut self.held);
        }
        let begins = |place: &usize| {
            let rest = &self.held[*place..];
            self.texts.iter().any(|text| text.starts_with(rest))
        };
        let mut places = self.held.char_indices().map(|(place, _)| place);
        let keep = places.find(begins).unwrap_or(self.held.len());
        let rest = self.held.split_off(keep);
        std::mem::replace(&mut self.held, rest)
    }

    /// Whether one of the texts came.
    pub fn found(&self) -> bool {
        self.found
    }

    /// What was held back, when no more comes: it was the beginning of no text.
    pub fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// However it is cut in pieces, the same is let through, and as early as can be.
    #[test]
    fn pieces_do_not_matter() {
        let text = "aab naïve 🙂 stoop stopp\u{e9}e";
        for (texts, expected, found) in [
            (vec!["stop"], "aab naïve 🙂 stoop ", true),
            (vec!["ab", "aab"], "", true),
            (vec!["aab naïve", "b n"], "aa", true),
            (vec!["ve 🙂 s", "e 🙂"], "aab naïv", true),
            (vec!["stops", ""], text, false),
            (vec!["\u{e9}e!"], text, false),
            (vec![], text, false),
        ] {
            for size in 1..8 {
                let mut stop = StopTexts::new(&texts);
                let letters: Vec<char> = text.chars().collect();
                let pieces = letters.chunks(size).map(|piece| piece.iter().collect::<String>());
                let got: String = pieces.map(|piece| stop.push(&piece)).collect();
                let got = got + &stop.finish();
                assert_eq!((got.as_str(), stop.found()), (expected, found), "{texts:?}, {size}");
            }
        }
    }

    #[test]
    fn only_a_beginning_is_held_back() {
        let mut stop = StopTexts::new(&["stop", "top!"]);
        assert_eq!(stop.push("a st"), "a ");
        assert_eq!(stop.push("o"), "");
        let mut stop = StopTexts::new(&["stops", "top!"]);
        assert_eq!(stop.push("stop"), "");
        assert_eq!(stop.push("!"), "s");
        assert!(stop.found());
        assert_eq!(stop.push("more") + &stop.finish(), "");
    }
}
