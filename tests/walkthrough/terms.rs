//! Terms: each is bold where it first appears, and in the glossary.

use super::page::Page;
use super::pages;
use std::collections::BTreeMap;
use std::fs;

/// # Errors
/// What is bold and not in the glossary, the other way round, bold twice, or out of order.
pub fn are_explained(pages: &[Page]) -> Result<(), String> {
    let mut problems = Vec::new();
    let mut explained: BTreeMap<String, String> = BTreeMap::new();
    for page in pages.iter().filter(|page| page.name.starts_with(|c: char| c.is_ascii_digit())) {
        for term in bold(&page.text().collect::<Vec<&str>>().join(" ")) {
            if let Some(before) = explained.insert(term.clone(), page.name.clone()) {
                problems.push(format!("{term} is bold in {before} and again in {}", page.name));
            }
        }
    }
    let path = pages::folder().join("glossary.md");
    let glossary = fs::read_to_string(path).map_err(|error| error.to_string())?;
    let mut listed = Vec::new();
    for line in glossary.lines().filter(|line| line.starts_with("- ")) {
        let term = bold(line).into_iter().next().ok_or(format!("no term in {line}"))?;
        let page = explained.get(&term);
        match page {
            Some(page) if line.contains(&format!("]({page})")) => {}
            Some(page) => {
                problems.push(format!("the glossary's line of {term} has no link to {page}"))
            }
            None => problems.push(format!("{term} is in the glossary, and bold nowhere")),
        }
        listed.push(term);
    }
    let lacking = explained.iter().filter(|(term, _)| !listed.contains(*term));
    problems.extend(lacking.map(|(term, page)| format!("{term} of {page} is not in the glossary")));
    if !listed.is_sorted_by_key(|term| term.to_lowercase()) {
        problems.push("the glossary is not in order".into());
    }
    if problems.is_empty() { Ok(()) } else { Err(problems.join("\n")) }
}

/// What stands between pairs of `**`, as in the middle of a sentence.
fn bold(text: &str) -> Vec<String> {
    let parts = text.split("**").skip(1).step_by(2);
    let spaced = |term: &str| term.split_whitespace().collect::<Vec<&str>>().join(" ");
    parts.map(|term| uncapitalised(&spaced(term))).collect()
}

/// An abbreviation and a name keep their capitals.
fn uncapitalised(term: &str) -> String {
    let mut letters = term.chars();
    match (letters.next(), letters.clone().next()) {
        (Some(first), Some(second)) if second.is_lowercase() => {
            first.to_lowercase().chain(letters).collect()
        }
        _ => term.to_owned(),
    }
}
