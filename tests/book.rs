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
use programs::{Outcome, Setting, run};
use std::collections::BTreeMap;
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
    let has_gpu = !neutreno::engine::device::list().is_empty();
    let is_expected = std::env::var_os("NEUTRENO_EXPECT_GPU").is_some();
    for page in pages {
        let name = page.name.clone();
        let is_left_out = needs_gpu(&page) && !has_gpu && !is_expected;
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

/// Whether a page's commands ask for an adapter by name.
fn needs_gpu(page: &Page) -> bool {
    page.commands().any(|command| command.contains("--device llvmpipe"))
}

/// Runs each command of a chapter's program that the page prints, and compares.
fn shows_what_is_made(page: &Page, setting: Setting) -> Result<(), Failed> {
    let mut outcomes: BTreeMap<(String, String), Outcome> = BTreeMap::new();
    for (name, flags) in origin::chapter_commands(page) {
        let outcome = run(&name, &flags, setting)?;
        outcomes.insert((name, flags), outcome);
    }
    let mut problems = Vec::new();
    for block in page.blocks() {
        let Some(rest) = block.origin.strip_prefix("output:") else { continue };
        let shown = Shown::parse(rest)?;
        let key = shown.command(page);
        if !outcomes.contains_key(&key) {
            let outcome = run(&key.0, &key.1, setting)?;
            outcomes.insert(key.clone(), outcome);
        }
        let made = outcomes[&key].sections.get(&shown.title);
        let result = match made {
            Some(made) => compare(&block.lines, made, shown.allowed(setting)),
            None => Err(format!("nothing is printed below {:?}", shown.title)),
        };
        problems.extend(result.err().map(|what| format!("line {}: {what}", block.line)));
    }
    for (file, how) in page.pictures() {
        let made = outcomes.values().find_map(|outcome| outcome.picture(&file).ok());
        let result = match made {
            Some(made) => shows_picture(&file, &how, &made, setting),
            None => Err("no program of this page draws it".into()),
        };
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
