//! The walkthrough's pages are true: their code is the programs' code, their outputs and pictures are what the
//! programs make, and what they name exists. `tests/book` says how to write them anew.

mod common;
#[path = "walkthrough/compare.rs"]
mod compare;
#[path = "walkthrough/origin.rs"]
mod origin;
#[path = "walkthrough/page.rs"]
mod page;
#[path = "walkthrough/pages.rs"]
mod pages;
#[path = "walkthrough/pieces.rs"]
mod pieces;
#[path = "walkthrough/programs.rs"]
mod programs;
#[path = "walkthrough/terms.rs"]
mod terms;
#[path = "walkthrough/update.rs"]
mod update;

use compare::{Allowed, compare, words};
use libtest_mimic::{Arguments, Failed, Trial};
use origin::Shown;
use page::Page;
use programs::{Outcomes, Setting};
use std::fs;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let mode = std::env::var("NEUTRENO_BOOK").unwrap_or_default();
    let pages = match pages::all() {
        Ok(pages) => pages,
        Err(problem) => {
            eprintln!("{problem}");
            return ExitCode::FAILURE;
        }
    };
    if mode == "update" {
        let only = |page: &&Page| arguments.filter.as_ref().is_none_or(|f| page.name.contains(f));
        return update::update(pages.iter().filter(only));
    }
    let setting = if mode == "full" { Setting::Full } else { Setting::Quick };
    let mut trials = vec![
        Trial::test("chapters, pages and pictures belong together", pages::belong_together),
        Trial::test("chapter 2 stands alone", pages::chapter_2_stands_alone),
        Trial::test("terms are in the glossary", || Ok(terms::are_explained(&pages::all()?)?)),
    ];
    let adapters = neutreno::engine::device::list();
    let has_llvmpipe = adapters.iter().any(|adapter| adapter.name.contains(LLVMPIPE));
    let is_expected = std::env::var("NEUTRENO_EXPECT_GPU").is_ok_and(|name| name == "1");
    for page in pages {
        let name = page.name.clone();
        // Where any adapter will do, it is one that is not here.
        let is_missing = !has_llvmpipe && (!adapters.is_empty() || !is_expected);
        let is_left_out = needs_llvmpipe(&page) && is_missing;
        let of_page = name.clone();
        trials.push(Trial::test(format!("{name} is well formed"), move || {
            Ok(pages::is_well_formed(&pages::read(&of_page)?)?)
        }));
        let shows = Trial::test(format!("{name} shows what its programs make"), move || {
            shows_what_is_made(&page, setting)
        });
        trials.push(shows.with_ignored_flag(is_left_out));
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// The software driver that the test command installs, whose numbers some pages show.
const LLVMPIPE: &str = "llvmpipe";

/// Whether a page's commands or outputs ask for it.
fn needs_llvmpipe(page: &Page) -> bool {
    let outputs = page.blocks().map(|block| block.origin.as_str());
    page.commands().chain(outputs).any(|text| text.contains(LLVMPIPE))
}

/// Runs each command of a chapter's program that the page prints, and compares.
fn shows_what_is_made(page: &Page, setting: Setting) -> Result<(), Failed> {
    let mut outcomes = Outcomes::new(setting);
    for command in origin::chapter_commands(page) {
        outcomes.get(command)?;
    }
    let mut problems = Vec::new();
    for block in page.blocks() {
        let Some(rest) = block.origin.strip_prefix("output:") else { continue };
        let shown = Shown::parse(rest)?;
        let made = outcomes.output(&shown, page);
        let result = made.and_then(|made| compare(&block.lines, made, shown.allowed(setting)));
        problems.extend(result.err().map(|what| format!("line {}: {what}", block.line)));
    }
    for (file, how) in page.pictures() {
        let made = outcomes.picture(&file);
        let result = made.and_then(|made| shows_picture(&file, &how, &made, setting));
        problems.extend(result.err().map(|what| format!("picture {file}: {what}")));
    }
    if problems.is_empty() {
        return Ok(());
    }
    let hint = "if the programs are right, `tests/book update` writes the page anew";
    Err(format!("{}\n{hint}", problems.join("\n")).into())
}

fn shows_picture(file: &str, how: &str, made: &str, setting: Setting) -> Result<(), String> {
    let path = pages::folder().join("pictures").join(file);
    let shown = fs::read_to_string(&path).map_err(|error| error.to_string())?;
    let allowed = origin::allowed(how, setting)?;
    if allowed == Allowed::AnyNumbers {
        return compare(&words(&shown), &words(made), allowed);
    }
    let lines = |svg: &str| svg.lines().map(str::to_owned).collect::<Vec<String>>();
    compare(&lines(&shown), &lines(made), allowed)
}
