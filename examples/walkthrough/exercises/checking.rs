//! Checks an exercise, and says how it is.

use crate::folder::Folder;
use crate::puzzles::{Check, Puzzle};
use crate::say::say;
use crate::verdict::Verdict;
use crate::{process, rust};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// A kernel may take so long.
const RUNNING: Duration = Duration::from_secs(5);

/// Says how an exercise is.
pub fn show(folder: &Folder, puzzle: &Puzzle, verdict: &Verdict) {
    say(format!("\n== {} ==\n", puzzle.text.title));
    let path = folder.of(puzzle);
    if verdict.is_solved {
        say(format!("{} is solved.", path.display()));
        if !verdict.text.is_empty() {
            say(format!("\n{}", verdict.text.trim_end()));
        }
    } else {
        say(format!("{}\n{}", path.display(), verdict.text.trim_end()));
    }
}

/// Whether an exercise is solved.
///
/// # Errors
/// If that cannot be found out.
pub fn check(folder: &Folder, puzzle: &Puzzle) -> Result<Verdict, String> {
    if folder.read(puzzle)?.is_none() {
        let path = folder.of(puzzle);
        return Err(format!("{} is gone; start again, and it is put there anew", path.display()));
    }
    match puzzle.check {
        Check::Rust(check) => rust::judge(folder.path(), puzzle.file, check),
        Check::Kernel(_) => check_kernel(folder.path(), puzzle),
    }
}

/// Checks a kernel by this same program, in a process of its own: it may have a loop that does not end.
fn check_kernel(folder: &Path, puzzle: &Puzzle) -> Result<Verdict, String> {
    let program = std::env::current_exe().map_err(|error| format!("this program: {error}"))?;
    let mut command = Command::new(program);
    command.arg("--folder").arg(folder).args(["--judge", puzzle.file]);
    let ended = process::run(&mut command, RUNNING)
        .map_err(|error| format!("this program cannot be started again: {error}"))?;
    Ok(match ended.status {
        Some(0) => Verdict { is_solved: true, text: ended.stdout },
        Some(2) => Verdict { is_solved: false, text: ended.stdout },
        Some(_) => return Err(ended.stderr.trim_start_matches("error: ").trim_end().to_owned()),
        None => {
            let what = format!(
                "It ran for {} s and was stopped. Is there a loop that does not end?",
                RUNNING.as_secs()
            );
            Verdict::wrong(&what, "")
        }
    })
}
