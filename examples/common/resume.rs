//! Going on with a run: its `run.json` holds what was typed, and what is typed now comes on top.

use super::program::Result;
use neutreno::run::RunFolder;
use std::path::{Path, PathBuf};

/// The tasks, and the programs that go on with runs of them.
const PROGRAMS: [(&str, &str); 3] = [
    ("language-modelling", "lm_wikitext"),
    ("image-classification", "image_classification"),
    ("image-segmentation", "image_segmentation"),
];

/// This program, by the name of its crate.
const PROGRAM: &str = env!("CARGO_CRATE_NAME");

/// What was typed: the program's name, the arguments of the run to go on with, if this program does
/// that, and those of now.
///
/// # Errors
/// If the run cannot be read, or is another program's.
pub fn typed() -> Result<Vec<String>> {
    let mut now = std::env::args_os()
        .map(|text| text.into_string().map_err(|text| format!("{text:?} is not valid UTF-8")));
    let program = now.next().transpose()?.unwrap_or_default();
    let now: Vec<String> = now.collect::<std::result::Result<_, _>>()?;
    let mut all = vec![program];
    let can_resume = PROGRAMS.iter().any(|(_, program)| *program == PROGRAM);
    if let Some(run) = value(&now, "--resume").filter(|_| can_resume) {
        all.extend(of_run(Path::new(&run), &now)?);
    }
    all.extend(now);
    Ok(all)
}

/// What was typed for an earlier run.
fn of_run(run: &Path, now: &[String]) -> Result<Vec<String>> {
    let facts = RunFolder::open(run)?.facts()?;
    let its_own = PROGRAMS.iter().find(|(task, _)| facts["task"] == *task);
    if let Some((task, its_own)) = its_own.filter(|(_, its_own)| *its_own != PROGRAM) {
        return Err(format!(
            "{} is a run of {task}, which {PROGRAM} cannot go on with; {its_own} --resume can",
            run.display()
        )
        .into());
    }
    let unusable = || format!("{}: its run.json does not say how to go on", run.display());
    let arguments = facts["arguments"].as_array().ok_or_else(unusable)?;
    let text = |value: &serde_json::Value| value.as_str().map(str::to_owned).ok_or_else(unusable);
    let mut arguments = arguments.iter().map(text).collect::<std::result::Result<Vec<_>, _>>()?;
    // A number of minutes became a number of steps, which stays.
    if let (Some(steps), None) = (facts["settings"]["steps"].as_u64(), value(now, "--steps")) {
        arguments.extend(["--steps".to_owned(), steps.to_string()]);
    }
    Ok(arguments)
}

/// The arguments that a run keeps: without the program's name and what concerns only this process.
/// Paths are made absolute, so that the run can be gone on with from anywhere.
pub fn to_keep(arguments: Vec<String>) -> Vec<String> {
    let mut kept = Vec::new();
    let mut arguments = arguments.into_iter().skip(1);
    while let Some(argument) = arguments.next() {
        let (flag, joined) = match argument.split_once('=') {
            Some((flag, value)) if flag.starts_with("--") => (flag, Some(value.to_owned())),
            _ => (argument.as_str(), None),
        };
        match flag {
            "--json" | "--quiet" | "-q" => {}
            "--minutes" | "--resume" | "--out" => {
                if joined.is_none() {
                    arguments.next();
                }
            }
            "--data" => {
                let path = joined.or_else(|| arguments.next()).unwrap_or_default();
                let path = std::path::absolute(&path).unwrap_or(PathBuf::from(path));
                kept.extend(["--data".to_owned(), path.to_string_lossy().into_owned()]);
            }
            _ => kept.push(argument),
        }
    }
    kept
}

/// The last value of a flag.
fn value(arguments: &[String], flag: &str) -> Option<String> {
    let mut found = None;
    for (index, argument) in arguments.iter().enumerate() {
        let joined = argument.strip_prefix(flag).and_then(|rest| rest.strip_prefix('='));
        if let Some(value) = joined {
            found = Some(value.to_owned());
        } else if argument == flag {
            found = arguments.get(index + 1).cloned();
        }
    }
    found
}
