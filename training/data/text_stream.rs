//! From token ids to text, one after another as a model writes them.

use super::pretrained::PretrainedTokenizer;
use super::tokenizer::Tokenizer;

/// What a stream of text asks of a tokenizer.
pub trait Decoder {
    /// The bytes that a token stands for, wherever it stands. `None` if its text depends on the tokens
    /// before it.
    fn bytes(&self, id: u32) -> Option<Vec<u8>>;

    /// The text of a few tokens together.
    fn text(&self, ids: &[u32]) -> String;
}

impl Decoder for PretrainedTokenizer {
    fn bytes(&self, id: u32) -> Option<Vec<u8>> {
        PretrainedTokenizer::bytes(self, id)
    }

    fn text(&self, ids: &[u32]) -> String {
        PretrainedTokenizer::text(self, ids)
    }
}

impl Decoder for Tokenizer {
    fn bytes(&self, id: u32) -> Option<Vec<u8>> {
        match self {
            Tokenizer::Words(_) => None,
            // 0xff occurs in no UTF-8 text.
            Tokenizer::Bytes => Some(vec![u8::try_from(id).unwrap_or(0xff)]),
            Tokenizer::BytePairs(pairs) => Some(pairs.bytes(id)),
            Tokenizer::Pretrained(pretrained) => pretrained.bytes(id),
        }
    }

    fn text(&self, ids: &[u32]) -> String {
        match self {
            Tokenizer::Pretrained(pretrained) => pretrained.text(ids),
            _ => self.decode(ids),
        }
    }
}

/// Text that comes token by token. A character that takes several tokens appears when it is whole;
/// bytes that make no character become replacement characters.
///
/// ```
/// use neutreno::data::TextStream;
/// use neutreno::data::tokenizer::Tokenizer;
/// let mut stream = TextStream::new(&Tokenizer::Bytes);
/// let texts: Vec<String> = "né".bytes().map(|byte| stream.push(byte.into())).collect();
/// assert_eq!(texts, ["n", "", "é"]);
/// assert_eq!(stream.push(0xe2), "");
/// assert_eq!(stream.finish(), "\u{fffd}");
/// ```
pub struct TextStream<'a, D: Decoder> {
    decoder: &'a D,
    /// The beginning of a character.
    bytes: Vec<u8>,
    /// The tokens of the latest text: what comes after them can depend on them.
    before: Vec<u32>,
}

impl<'a, D: Decoder> TextStream<'a, D> {
    /// A text from its beginning.
    pub fn new(decoder: &'a D) -> TextStream<'a, D> {
        TextStream { decoder, bytes: Vec::new(), before: Vec::new() }
    }

    /// What follows a text of these tokens: a space between the two is not lost.
    ///
    /// ```
    /// use neutreno::data::TextStream;
    /// use neutreno::data::tokenizer::TokenizerChoice;
    /// let words = TokenizerChoice::Words.build("the cat saw the dog\n")?;
    /// let mut stream = TextStream::after(&words.encode("the cat"), &words);
    /// assert_eq!(stream.push(words.encode("saw")[0]), " saw");
    /// # Ok::<(), neutreno::data::tokenizer::TokenizerError>(())
    /// ```
    pub fn after(prompt: &[u32], decoder: &'a D) -> TextStream<'a, D> {
        // No character has more bytes than four, and special tokens may stand between.
        const ENOUGH: usize = 16;
        let mut stream = TextStream::new(decoder);
        for id in &prompt[prompt.len().saturating_sub(ENOUGH)..] {
            stream.push(*id);
        }
        stream
    }

    /// The text that is whole with one token more.
    pub fn push(&mut self, id: u32) -> String {
        match self.decoder.bytes(id) {
            Some(bytes) => {
                if bytes.is_empty() {
                    return String::new();
                }
                if self.bytes.is_empty() {
                    self.before.clear();
                }
                self.before.push(id);
                self.bytes.extend(bytes);
                take_whole(&mut self.bytes)
            }
            None => {
                let left = self.take_rest();
                let before = self.decoder.text(&self.before);
                self.before.push(id);
                let both = self.decoder.text(&self.before);
                self.before = vec![id];
                let same = before.bytes().zip(both.bytes()).take_while(|(a, b)| a == b).count();
                let same = (0..=same).rev().find(|end| both.is_char_boundary(*end)).unwrap_or(0);
                left + &both[same..]
            }
        }
    }

    /// What is left: the beginning of a character of which the rest never came.
    pub fn finish(mut self) -> String {
        self.take_rest()
    }

    fn take_rest(&mut self) -> String {
        String::from_utf8_lossy(&std::mem::take(&mut self.bytes)).into_owned()
    }
}

/// Takes everything but the beginning of a character that may go on.
fn take_whole(bytes: &mut Vec<u8>) -> String {
    let mut text = String::new();
    loop {
        match std::str::from_utf8(bytes) {
            Ok(rest) => {
                text.push_str(rest);
                bytes.clear();
                return text;
            }
            Err(error) => {
                let rest = bytes.split_off(error.valid_up_to());
                text.push_str(&String::from_utf8_lossy(bytes));
                *bytes = rest;
                let Some(broken) = error.error_len() else { return text };
                text.push('\u{fffd}');
                bytes.drain(..broken);
            }
        }
    }
}

/// The text of tokens, as a stream gives it. Special tokens have none.
///
/// ```
/// use neutreno::data::{decode, tokenizer::Tokenizer};
/// assert_eq!(decode(&Tokenizer::Bytes, &[0x61, 0xe2]), "a\u{fffd}");
/// ```
pub fn decode(decoder: &impl Decoder, ids: &[u32]) -> String {
    let mut stream = TextStream::new(decoder);
    let text: String = ids.iter().map(|id| stream.push(*id)).collect();
    text + &stream.finish()
}

#[cfg(test)]
mod tests {
    use super::super::pretrained::tests::sentence_piece;
    use super::*;
    use crate::data::tokenizer::TokenizerChoice;

    const TEXT: &str = "The naïve 東京 café 🙂🙃\n  two  spaces, „quotes“\n\n";

    #[test]
    fn every_kind_gives_the_text_back() {
        for choice in ["bytes", "bpe:300", "words"] {
            let tokenizer = choice.parse::<TokenizerChoice>().unwrap().build(TEXT).unwrap();
            let ids = tokenizer.encode(TEXT);
            assert_eq!(decode(&tokenizer, &ids), tokenizer.decode(&ids), "{choice}");
        }
        let tokenizer = sentence_piece();
        let ids = tokenizer.encode(TEXT, true).unwrap();
        assert_eq!(ids[0], tokenizer.id_of("<s>").unwrap());
        assert!(ids.iter().any(|id| tokenizer.token(*id).unwrap() == "<0xF0>"));
        assert_eq!(decode(&tokenizer, &ids), TEXT);
        assert_eq!(decode(&tokenizer, &ids), tokenizer.text(&ids));
    }

    /// Never a half of one, never earlier or later than it is whole.
    #[test]
    fn characters_appear_when_they_are_whole() {
        let tokenizer = sentence_piece();
        let ids = tokenizer.encode("a 🙂🙃b", false).unwrap();
        let mut stream = TextStream::new(&tokenizer);
        let texts: Vec<String> = ids.iter().map(|id| stream.push(*id)).collect();
        let expected = ["", "a", " ", "", "", "", "🙂", "", "", "", "🙃", "b"];
        assert_eq!(texts, expected);
        assert_eq!(stream.finish(), "");
        let cut = &ids[..5];
        assert_eq!(decode(&tokenizer, cut), "a \u{fffd}");
    }

    /// What goes before is as it was, whatever comes: no text is taken back.
    #[test]
    fn bytes_that_make_no_character_are_replaced() {
        let tokenizer = sentence_piece();
        let id = |token: &str| tokenizer.id_of(token).unwrap();
        let [first, second, b] = [id("<0xC3>"), id("<0xA9>"), id("b")];
        for (ids, expected) in [
            (vec![first, second, first, b], "é\u{fffd}b"),
            (vec![second, first, second], "\u{fffd}é"),
            (vec![first, id("</s>"), second], "é"),
            (vec![first, u32::MAX, b], "\u{fffd}\u{fffd}b"),
        ] {
            assert_eq!(decode(&tokenizer, &ids), expected, "{ids:?}");
        }
    }

    /// The space before a word is the word's own, but not at the beginning of a text.
    #[test]
    fn a_text_goes_on_after_another() {
        let tokenizer = sentence_piece();
        for prompt in ["a", "é", "a 🙂"] {
            let ids = tokenizer.encode(prompt, true).unwrap();
            let mut stream = TextStream::after(&ids, &tokenizer);
            assert_eq!(stream.push(tokenizer.id_of("▁t").unwrap()), " t", "{prompt}");
        }
        assert_eq!(TextStream::new(&tokenizer).push(tokenizer.id_of("▁t").unwrap()), "t");
    }
}
