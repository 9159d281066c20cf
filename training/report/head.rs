//! The head of a page.

use maud::{Markup, PreEscaped, html};

/// The head of every page; `pictures` allows those that the page itself contains.
pub(super) fn head(title: &str, pictures: bool) -> Markup {
    let sources = if pictures { "; img-src data:" } else { "" };
    let policy = format!("default-src 'none'; style-src 'unsafe-inline'{sources}");
    html! {
        head {
            meta charset="utf-8";
            meta name="viewport" content="width=device-width, initial-scale=1";
            meta http-equiv="Content-Security-Policy" content=(policy);
            title { (title) }
            style { (PreEscaped(include_str!("report.css"))) }
        }
    }
}
