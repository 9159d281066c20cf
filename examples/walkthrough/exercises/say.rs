//! Writing to the terminal, or to whatever stands in its place.

use std::fmt::Display;
use std::io::Write;

/// Says a line, or several. Whoever reads may go away: then the program ends.
pub fn say(text: impl Display) {
    let mut to = std::io::stdout().lock();
    if writeln!(to, "{text}").and_then(|()| to.flush()).is_err() {
        std::process::exit(1);
    }
}

/// In lines of 80 letters.
pub fn wrapped(text: &str) -> String {
    textwrap::fill(text, 80)
}
