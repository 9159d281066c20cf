//! What is said of an exercise.

use crate::say::wrapped;

/// Whether it is solved, and what is said of it.
#[derive(Clone)]
pub struct Verdict {
    pub is_solved: bool,
    /// Whole lines.
    pub text: String,
}

impl Verdict {
    /// Solved; what it printed is shown.
    pub fn right(text: &str) -> Verdict {
        Verdict { is_solved: true, text: text.to_owned() }
    }

    /// What is wrong, in a line and in more.
    pub fn wrong(what: &str, more: &str) -> Verdict {
        let text = format!("{}\n\n{}", wrapped(what), more.trim_end());
        Verdict { is_solved: false, text: format!("{}\n", text.trim_end()) }
    }
}
