//! Text from elsewhere, made safe to look at.

/// A text with its control characters written out, as `\\u{1b}`. Names, data and what a model writes
/// may hold any; on a terminal they would move the cursor or change the letters, and a page must not
/// have them. Line ends and tabs stay, and so does everything that is not invisible.
///
/// ```
/// # use neutreno::report::escaped;
/// assert_eq!(escaped("a\u{1b}[31m\u{0}\nb\tc \u{1f40e}"), "a\\u{1b}[31m\\u{0}\nb\tc \u{1f40e}");
/// ```
pub fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\n' | '\t' => safe.push(character),
            // Those that turn the direction of what follows are no controls by name, but act so.
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                safe.extend(character.escape_unicode());
            }
            _ if character.is_control() => safe.extend(character.escape_default()),
            _ => safe.push(character),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_acts_on_a_terminal_is_left() {
        let every: String = ('\0'..='\u{2fff}').collect();
        let safe = escaped(&every);
        assert!(!safe.contains(|c: char| c.is_control() && c != '\n' && c != '\t'));
        assert!(!safe.contains('\u{202e}') && safe.contains("\\u{202e}"));
        assert!(safe.contains("\\r") && safe.contains("\\u{7f}") && safe.contains("\\u{9b}"));
        let printed: String = (' '..='~').chain('\u{a0}'..='\u{2029}').collect();
        assert!(safe.contains(&printed[..95]) && escaped(&printed) == printed);
    }
}
