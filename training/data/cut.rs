//! One text cut in three.

use super::Splits;

/// One text in three: validation begins at the first line that begins at or after 90 % of the bytes,
/// test at the first at or after 95 %; where that leaves a part blank, at the first word, or the
/// first character. With it comes where it was cut, in words. None if it is too short for that.
pub(super) fn in_three(text: &str) -> Option<(Splits<String>, &'static str)> {
    CUTS.iter().find_map(|(ends, words)| Some((cut_after(text, *ends)?, *words)))
}

/// Where a text may be cut: whether it may after a character, and how to say it.
type Ends = fn(char) -> bool;

/// From the best to the last resort. Old Macs end lines with a carriage return.
const CUTS: [(Ends, &str); 4] = [
    (|end| end == '\n', "at line ends"),
    (|end| end == '\r', "at line ends (carriage returns alone, as on old Macs)"),
    (char::is_whitespace, "between words, since it has too few lines"),
    (|_| true, "between characters, since it has no words"),
];

/// Cuts at the first places at or after 90 % and 95 %; none if that leaves a part blank.
fn cut_after(text: &str, ends: Ends) -> Option<Splits<String>> {
    let place = |percent: u64| {
        let byte = (text.len() as u64 * percent / 100) as usize;
        // The character before may end there.
        let mut before = (0..byte).rev();
        let from = before.find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        let after = text[from..].char_indices().map(|(at, end)| (from + at + end.len_utf8(), end));
        let mut after = after.filter(|(at, end)| *at >= byte && ends(*end));
        after.next().map_or(text.len(), |(at, _)| at)
    };
    let (validation, test) = (place(90), place(95));
    let splits = Splits {
        train: text[..validation].to_string(),
        validation: text[validation..test].to_string(),
        test: text[test..].to_string(),
    };
    let blank = splits.iter().any(|split| split.trim().is_empty());
    (!blank).then_some(splits)
}
