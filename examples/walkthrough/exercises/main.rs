//! The exercises of the walkthrough: puts them into a folder, watches the files there, and says what is
//! wrong with the first that is not solved.

mod checking;
#[path = "../common/mod.rs"]
mod common;
mod costs;
mod focus;
mod folder;
mod judge;
mod kernels;
mod markers;
mod picture;
mod process;
mod puzzles;
mod rust;
mod say;
mod simulate;
mod table;
mod verdict;
mod watch;

use checking::{check, show};
use clap::Parser;
use folder::Folder;
use puzzles::{Check, Puzzle, find};
use say::{say, wrapped};
use std::path::PathBuf;
use std::process::ExitCode;

/// Fourteen exercises: six in Rust, on derivatives and tensors, and eight kernels in WGSL, which run on a
/// simulated GPU
///
/// Puts them into a folder, watches the files there, and says of the first that is not solved what is
/// wrong. An exercise is named by its number or its name.
#[derive(Parser)]
struct Flags {
    /// Only these exercises; otherwise all, in their order
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// Where the exercises are, or are put. What is there is never overwritten
    #[arg(long, value_name = "FOLDER", default_value = "exercises")]
    folder: PathBuf,
    /// Check and end, with status 1 if an exercise is not solved
    #[arg(long)]
    once: bool,
    /// Check all of them, list them and end, with status 1 if one is not solved
    #[arg(long)]
    all: bool,
    /// Show a hint
    #[arg(long, value_name = "NAME")]
    hint: Option<String>,
    /// Show the hint after that
    #[arg(long, value_name = "NAME")]
    second_hint: Option<String>,
    /// Show a solution
    #[arg(long, value_name = "NAME")]
    solution: Option<String>,
    /// Make an exercise anew; what was there is kept under another name
    #[arg(long, value_name = "NAME")]
    reset: Option<String>,
    /// Check a kernel, in a process that can be stopped
    #[arg(long, hide = true)]
    judge: Option<String>,
}

fn main() -> ExitCode {
    let flags = Flags::parse();
    match run(&flags) {
        Ok(code) => code,
        Err(message) => common::end(&message),
    }
}

fn run(flags: &Flags) -> Result<ExitCode, String> {
    let all = puzzles::all();
    for (name, number) in [(&flags.hint, 0), (&flags.second_hint, 1)] {
        if let Some(name) = name {
            say(wrapped(&find(&all, name)?.text.hints[number]));
            return Ok(ExitCode::SUCCESS);
        }
    }
    if let Some(name) = &flags.solution {
        say(find(&all, name)?.text.solved.trim_end());
        return Ok(ExitCode::SUCCESS);
    }
    let (folder, made) = Folder::fill(&flags.folder, &all)?;
    if let Some(name) = &flags.judge {
        return judge_here(&folder, find(&all, name)?);
    }
    if let Some(name) = &flags.reset {
        return reset(&folder, find(&all, name)?);
    }
    let chosen = match &flags.names[..] {
        [] => all.iter().collect(),
        names => names.iter().map(|name| find(&all, name)).collect::<Result<Vec<_>, _>>()?,
    };
    if made > 0 {
        say(format!("{made} exercises were put into {}", flags.folder.display()));
    }
    if flags.all {
        return list(&folder, &chosen);
    }
    if flags.once {
        return once(&folder, &chosen);
    }
    watch::watch(&folder, &chosen)
}

fn reset(folder: &Folder, puzzle: &Puzzle) -> Result<ExitCode, String> {
    let path = folder.of(puzzle);
    match folder.reset(puzzle)? {
        Some(kept) => {
            say(format!("{} is as it was given; yours is now {}", path.display(), kept.display()));
        }
        None => say(format!("{} is as it was given", path.display())),
    }
    Ok(ExitCode::SUCCESS)
}

/// Checks up to the first that is not solved.
fn once(folder: &Folder, puzzles: &[&Puzzle]) -> Result<ExitCode, String> {
    for puzzle in puzzles {
        let verdict = check(folder, puzzle)?;
        if verdict.is_solved && puzzles.len() > 1 {
            say(format!("solved: {}", puzzle.file));
            continue;
        }
        show(folder, puzzle, &verdict);
        if !verdict.is_solved {
            say(format!("\nA hint: --hint {}", puzzle.number));
            return Ok(ExitCode::FAILURE);
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Checks all and lists them.
fn list(folder: &Folder, puzzles: &[&Puzzle]) -> Result<ExitCode, String> {
    say("\n== All exercises ==\n");
    let mut is_solved = true;
    for puzzle in puzzles {
        let verdict = check(folder, puzzle)?;
        is_solved &= verdict.is_solved;
        let mark = if verdict.is_solved { "solved" } else { "to do" };
        say(format!("{mark:<8}{:<20}{}", puzzle.file, puzzle.text.title));
    }
    Ok(if is_solved { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Checks a kernel, prints the verdict and tells by the status: 0 if it is solved, 2 if not.
fn judge_here(folder: &Folder, puzzle: &Puzzle) -> Result<ExitCode, String> {
    let Check::Kernel(kernel) = puzzle.check else {
        return Err(format!("{} is no kernel", puzzle.file));
    };
    let text = folder.read(puzzle)?.unwrap_or_default();
    let path = folder.of(puzzle).display().to_string();
    // What the simulator refuses is caught, and told as part of the verdict.
    std::panic::set_hook(Box::new(|_| {}));
    let (verdict, picture) = judge::judge(&path, &text, &kernel());
    if !verdict.text.is_empty() {
        say(verdict.text.trim_end());
    }
    if let Some(svg) = picture {
        say(format!("picture: {}", folder.picture(puzzle, &svg)?.display()));
    }
    Ok(if verdict.is_solved { ExitCode::SUCCESS } else { ExitCode::from(2) })
}
