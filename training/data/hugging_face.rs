//! Our tokenizers as Hugging Face's `tokenizer.json`, for other programs: the same ids, the same text.

use super::byte_level::letters;
use super::tokenizer::Tokenizer;
use super::words::{LINE_END, UNKNOWN, Words};
use serde_json::{Map, Value, json};

impl Tokenizer {
    /// The tokenizer in the format of Hugging Face's `tokenizers`, which reads and writes text with it
    /// as this does. [`Tokenizer::save`] writes words and bytes in a form of our own.
    ///
    /// Only lines of a MiB or more without a break, which byte pairs are cut in here, can have other
    /// tokens there.
    ///
    /// ```
    /// use neutreno::data::tokenizer::TokenizerChoice;
    /// use neutreno::data::{PretrainedTokenizer, decode};
    /// let words = TokenizerChoice::Words.build("the cat saw the dog\n")?;
    /// let theirs: PretrainedTokenizer = words.to_hugging_face().parse()?;
    /// let text = "the cat\nsaw a dog";
    /// assert_eq!(theirs.encode(text, true)?, words.encode(text));
    /// assert_eq!(decode(&theirs, &words.encode(text)), "the cat\nsaw <unk> dog");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn to_hugging_face(&self) -> String {
        match self {
            Tokenizer::Words(words) => of_words(words).to_string(),
            Tokenizer::Bytes => of_bytes().to_string(),
            Tokenizer::BytePairs(pairs) => by_line(&pairs.to_json()),
            Tokenizer::Pretrained(pretrained) => pretrained.json().to_owned(),
        }
    }
}

/// A file without what nothing here needs.
fn file(parts: Value) -> Value {
    let mut file = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [],
        "normalizer": null, "pre_tokenizer": null, "post_processor": null, "decoder": null
    });
    for (key, part) in parts.as_object().into_iter().flatten() {
        file[key] = part.clone();
    }
    file
}

/// `<unk>` and `<eos>` are words like others here, and no special tokens, which would be found within
/// words too.
fn of_words(words: &Words) -> Value {
    let vocabulary: Map<String, Value> =
        words.words().iter().zip(0..).map(|(word, id)| (word.clone(), json!(id))).collect();
    let replace = |pattern: Value, content: &str| json!({ "type": "Replace", "pattern": pattern, "content": content });
    let decoders = [
        // Token by token, so that a word which holds this name stays as it is.
        replace(json!({ "Regex": format!("\\A{LINE_END}\\z") }), "\n"),
        // A space before each token but the first. No word begins with this prefix, which it removes.
        json!({ "type": "WordPiece", "prefix": "\t", "cleanup": false }),
        json!({ "type": "Fuse" }),
        replace(json!({ "Regex": " ?\n ?" }), "\n"),
    ];
    file(json!({
        "normalizer": replace(json!({ "String": "\n" }), &format!(" {LINE_END} ")),
        "pre_tokenizer": { "type": "WhitespaceSplit" },
        "decoder": { "type": "Sequence", "decoders": decoders },
        "model": { "type": "WordLevel", "vocab": vocabulary, "unk_token": UNKNOWN }
    }))
}

/// Byte pairs without a pair.
fn of_bytes() -> Value {
    let vocabulary: Map<String, Value> =
        letters().zip(0..).map(|(letter, byte)| (letter.to_string(), json!(byte))).collect();
    let level = json!({
        "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false
    });
    file(json!({
        "pre_tokenizer": level,
        "decoder": level,
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
            "ignore_merges": false, "vocab": vocabulary, "merges": []
        }
    }))
}

/// The same byte pairs, told that text is taken line by line.
fn by_line(json: &str) -> String {
    let mut file: Value = serde_json::from_str(json).expect("it was written as JSON");
    let lines = json!({
        "type": "Split", "pattern": { "String": "\n" }, "behavior": "MergedWithPrevious",
        "invert": false
    });
    let level = file["pre_tokenizer"].take();
    file["pre_tokenizer"] = json!({ "type": "Sequence", "pretokenizers": [lines, level] });
    file.to_string()
}

#[cfg(test)]
mod tests {
    use super::super::pretrained::PretrainedTokenizer;
    use super::super::text_stream::decode;
    use super::super::tokenizer::TokenizerChoice;
    use super::*;
    use crate::engine::random::Key;

    const TEXT: &str = "the cat saw the dog , and x<eos>y <unk> <eos>y \\A .\n\n \
                        naïve → 東京 \t tab\r\nline\u{2028}of\u{a0}spaces\n  the  cat 's 'S don't\n\n\n";

    fn kinds() -> [Tokenizer; 3] {
        [TokenizerChoice::Words, TokenizerChoice::Bytes, TokenizerChoice::BytePairs(300)]
            .map(|choice| choice.build(TEXT).unwrap())
    }

    fn theirs(ours: &Tokenizer) -> PretrainedTokenizer {
        ours.to_hugging_face().parse().unwrap()
    }

    #[test]
    fn other_programs_find_the_same_ids() {
        for ours in kinds() {
            let theirs = theirs(&ours);
            assert_eq!(theirs.largest() as usize + 1, ours.vocabulary());
            for text in [
                TEXT,
                "",
                " ",
                "\n",
                "\n\n cat\n",
                "cat",
                " cat the",
                "unheard of words, 東 京\n",
                "<eos> <unk> x<eos>y <eos>\n<eos>",
                "\u{feff}a\0b\u{301} \u{1f642}\u{2029}\n\n\n  end",
            ] {
                let ids = ours.encode(text);
                for special in [true, false] {
                    assert_eq!(
                        theirs.encode(text, special).unwrap(),
                        ids,
                        "{}: {text:?}",
                        ours.name()
                    );
                }
            }
        }
    }

    /// Also of tokens that no text has, as a model may write them.
    #[test]
    fn other_programs_write_the_same_text() {
        for ours in kinds() {
            let theirs = theirs(&ours);
            let mut random = Key::new(1).generator();
            let mut texts = vec![ours.encode(TEXT), ours.encode("\n\n cat\n"), Vec::new()];
            for length in 1..200 {
                let vocabulary = ours.vocabulary() as u64;
                texts.push((0..length).map(|_| random.below(vocabulary) as u32).collect());
            }
            for ids in texts {
                assert_eq!(theirs.text(&ids), ours.decode(&ids), "{}: {ids:?}", ours.name());
                // Token by token too, as a text is written.
                assert_eq!(decode(&theirs, &ids), ours.decode(&ids), "{}: {ids:?}", ours.name());
            }
        }
    }
}
