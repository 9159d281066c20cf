//! A long text in pieces, to be cut into tokens on several threads and in memory for one piece each.

/// A piece is at least so long.
const LONG: usize = 1 << 16;

/// So many bytes on either side of a place say whether it is one to cut at.
const AROUND: usize = 128;

/// So many places are tried before the rest of the text is left whole.
const TRIES: usize = 32;

/// The pieces of a text, which are the whole in turn. They end before white space, or after the end of a
/// line, where `is_sound` holds of what stands before and after. Where no place is found, what is left is
/// one piece.
pub(super) fn pieces(text: &str, is_sound: impl Fn(&str, &str) -> bool) -> Vec<&str> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(place) = place_to_cut(rest, &is_sound) {
        let (piece, after) = rest.split_at(place);
        pieces.push(piece);
        rest = after;
    }
    pieces.push(rest);
    pieces
}

/// Where the first piece of a text ends, unless it is the whole.
fn place_to_cut(text: &str, is_sound: &impl Fn(&str, &str) -> bool) -> Option<usize> {
    if text.len() <= 2 * LONG {
        return None;
    }
    let bytes = text.as_bytes();
    let may_end = |place: &usize| {
        let [before, after] = [bytes[place - 1], bytes[*place]];
        let word_ends = !before.is_ascii_whitespace() && after == b' ';
        let line_ends = before == b'\n' && !after.is_ascii_whitespace();
        word_ends || line_ends
    };
    let boundary = |place: usize| (0..=place).rev().find(|place| text.is_char_boundary(*place));
    let places = (LONG..text.len() - LONG).filter(may_end).take(TRIES);
    let sound = |place: &usize| {
        let from = boundary(place - AROUND).unwrap_or(0);
        let to = boundary(place + AROUND).unwrap_or(text.len());
        is_sound(&text[from..*place], &text[*place..to])
    };
    places.into_iter().find(sound)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_where_it_may_be() {
        let words = "žluťoučký kůň\n".repeat(20_000);
        let all = pieces(&words, |_, _| true);
        assert!(all.len() > 3 && all.concat() == words);
        let lengths = all.iter().map(|piece| piece.len());
        assert!(lengths.clone().all(|length| (LONG..=2 * LONG).contains(&length)));
        let lines = pieces(&words, |before, after| {
            assert!(before.len() >= AROUND && after.len() >= AROUND - 1);
            before.ends_with('\n') && after.starts_with('ž')
        });
        assert!(lines.len() > 3 && lines.iter().all(|piece| piece.ends_with('\n')));
        assert_eq!(pieces(&words, |_, _| false), [words.as_str()]);
        let one_word = "ü".repeat(3 * LONG);
        assert_eq!(pieces(&one_word, |_, _| true), [one_word.as_str()]);
        assert_eq!(pieces("", |_, _| true), [""]);
    }
}
