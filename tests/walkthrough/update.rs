//! Writes the pages anew from the programs.

use super::origin::Shown;
use super::page::{Page, Part};
use super::pages;
use super::programs::{Outcomes, Setting};
use std::fs;
use std::process::ExitCode;

pub fn update<'a>(pages: impl Iterator<Item = &'a Page>) -> ExitCode {
    let mut failed = false;
    for page in pages {
        eprintln!("{}", page.name);
        for problem in update_page(page) {
            eprintln!("  {problem}");
            failed = true;
        }
    }
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Writes what can be written, and returns what was wrong.
fn update_page(page: &Page) -> Vec<String> {
    let mut problems = Vec::new();
    let mut outcomes = Outcomes::new(Setting::Full);
    let mut page = match pages::read(&page.name) {
        Ok(page) => page,
        Err(problem) => return vec![problem],
    };
    let mut lines_of = Vec::new();
    for block in page.blocks() {
        let lines = match block.origin.split_once(':') {
            Some(("code", source)) => pages::code(source.trim()),
            Some(("output", shown)) => Shown::parse(shown)
                .and_then(|shown| outcomes.output(&shown, &page).map(<[String]>::to_vec)),
            _ => Ok(block.lines.clone()),
        };
        lines_of.push(lines.unwrap_or_else(|problem| {
            problems.push(format!("line {}: {problem}", block.line));
            block.lines.clone()
        }));
    }
    for (file, _) in page.pictures() {
        let folder = pages::folder().join("pictures");
        match outcomes.picture(&file) {
            Ok(svg) => {
                let written =
                    fs::create_dir_all(&folder).and_then(|()| fs::write(folder.join(&file), svg));
                problems.extend(written.err().map(|error| format!("{file}: {error}")));
            }
            Err(problem) => problems.push(format!("{file}: {problem}")),
        }
    }
    let blocks = page.parts.iter_mut().filter_map(|part| match part {
        Part::Block(block) => Some(block),
        Part::Text(_) => None,
    });
    for (block, lines) in blocks.zip(lines_of) {
        block.lines = lines;
    }
    let written = fs::write(pages::folder().join(&page.name), page.to_string());
    problems.extend(written.err().map(|error| error.to_string()));
    problems
}
