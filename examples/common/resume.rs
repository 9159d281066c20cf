//! Going on with a run: its `run.json` holds what was typed, and what is typed now comes on top.

use super::arguments::meant;
use super::program::Result;
use super::text::is_tokenizer_file;
use neutreno::run::{RunFolder, name_from_json};
use std::ffi::{OsStr, OsString};
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
/// If the run cannot be read, or is another program's; a flag that is for resumed runs alone.
pub fn typed() -> Result<Vec<OsString>> {
    let mut now = std::env::args_os();
    let program = now.next().unwrap_or_default();
    let now = settled(now.collect());
    let mut all = vec![program];
    let can_resume = PROGRAMS.iter().any(|(_, program)| *program == PROGRAM);
    let refused_by_clap = value(&now, EITHER).is_some();
    if can_resume {
        check_once(&now)?;
    }
    match value(&now, "--resume").filter(|_| can_resume && !refused_by_clap) {
        // clap would name the number of steps that the minutes became, which nobody typed.
        Some(_) if value(&now, "--minutes").is_some() => {
            return Err("--minutes is for new runs: with --resume, give more --steps".into());
        }
        Some(run) => all.extend(of_run(Path::new(&run), &now)?),
        // clap's `requires` says nothing where a flag is typed that excludes --resume, as --out does.
        None if can_resume && value(&now, "--longer").is_some() => {
            return Err("--longer is for a run that goes on: it needs --resume".into());
        }
        None => all.extend(now),
    }
    Ok(all)
}

/// That no flag is typed twice where both values may be meant: of any flag, the last one counts, as where
/// a run goes on with what is typed then.
fn check_once(now: &[OsString]) -> Result<()> {
    const LISTS: [(&str, &str); 7] = [
        ("--variant", "type one list, as in --variant transformer,svformer"),
        ("--neutreno-lambda", "for several in one run: --variant neutreno:0.2,neutreno:0.4"),
        ("--resformer-kind", "for several in one run: --variant resformer,resformer:sparse"),
        (
            "--resformer-lambda",
            "for several in one run: --variant resformer:sparse:2,resformer:sparse:5",
        ),
        ("--resformer-layers", "type one list, as in --resformer-layers 5,6"),
        ("--seed", "for several seeds in one run: --seeds 3"),
        ("--seeds", "it is how many seeds there are"),
    ];
    let times = |flag: &str| now.iter().filter(|argument| split(argument).0 == flag).count();
    match LISTS.iter().find(|(flag, _)| times(flag) > 1) {
        Some((flag, help)) => Err(format!("{flag} is typed twice; {help}").into()),
        None => Ok(()),
    }
}

/// What was typed, with --resume or --out in place of --resume-or-start. What clap refuses stays as it
/// is.
fn settled(now: Vec<OsString>) -> Vec<OsString> {
    let place = value(&now, EITHER).filter(|place| !place.is_empty());
    let Some(place) = place.filter(|place| meant(Path::new(place)).is_ok()) else { return now };
    if ["--resume", "--out"].iter().any(|flag| value(&now, flag).is_some()) {
        return now;
    }
    let resumes = Path::new(&place).join("run.json").is_file();
    // Of a run that is there, the minutes were turned into steps when it began.
    let dropped: &[&str] = if resumes { &[EITHER, "--minutes"] } else { &[EITHER] };
    let mut settled = without(now, dropped);
    settled.extend([if resumes { "--resume" } else { "--out" }.into(), place]);
    settled
}

/// The flag that stands for --resume where there is a run, and for --out where there is none.
const EITHER: &str = "--resume-or-start";

/// The arguments without these flags and their values.
fn without(arguments: Vec<OsString>, flags: &[&str]) -> Vec<OsString> {
    let mut kept = Vec::new();
    let mut arguments = arguments.into_iter();
    while let Some(argument) = arguments.next() {
        match split(&argument) {
            (flag, None) if flags.contains(&flag.as_str()) => drop(arguments.next()),
            (flag, Some(_)) if flags.contains(&flag.as_str()) => {}
            _ => kept.push(argument),
        }
    }
    kept
}

/// What was typed for an earlier run, and now.
fn of_run(run: &Path, now: &[OsString]) -> Result<Vec<OsString>> {
    meant(run).map_err(|problem| format!("--resume {}: {problem}", run.display()))?;
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
    let mut arguments = kept(&facts).ok_or_else(unusable)?;
    let its_variants = value(&arguments, "--variant").unwrap_or_else(|| "all".into());
    // A number of minutes became a number of steps, which stays.
    if let (Some(steps), None) = (facts["settings"]["steps"].as_u64(), value(now, "--steps")) {
        arguments.extend(["--steps".into(), steps.to_string().into()]);
    }
    arguments.extend(now.iter().cloned());
    // The run keeps its variants and seeds, and gets those that are typed now.
    if let Some(new) = value(now, "--variant") {
        arguments.extend(["--variant".into(), both(its_variants, new)]);
    }
    if value(now, "--seed").is_some() && value(now, "--seeds").is_none() {
        arguments.extend(["--seeds".into(), "1".into()]);
    }
    Ok(last_of_each(arguments))
}

/// Two lists as one, in which nothing is twice.
fn both(one: OsString, other: OsString) -> OsString {
    let (Some(one), Some(other)) = (one.to_str(), other.to_str()) else { return other };
    let mut all: Vec<&str> = Vec::new();
    for name in one.split(',').chain(other.split(',')) {
        if !all.contains(&name) {
            all.push(name);
        }
    }
    all.join(",").into()
}

/// Each flag once, with what was typed last: what a run keeps must not grow each time that it goes on. The
/// programs that train take nothing without a flag.
fn last_of_each(arguments: Vec<OsString>) -> Vec<OsString> {
    let mut typed: Vec<(String, Vec<OsString>)> = Vec::new();
    for argument in arguments {
        let is_flag = argument.to_str().is_some_and(|text| text.starts_with("--"));
        match typed.last_mut() {
            Some((_, words)) if !is_flag => words.push(argument),
            _ => {
                let (flag, _) = split(&argument);
                typed.retain(|(earlier, _)| *earlier != flag);
                typed.push((flag, vec![argument]));
            }
        }
    }
    typed.into_iter().flat_map(|(_, words)| words).collect()
}

/// The arguments that a run kept, from its `run.json`.
pub fn kept(facts: &serde_json::Value) -> Option<Vec<OsString>> {
    facts["arguments"].as_array()?.iter().map(name_from_json).collect()
}

/// The arguments that a run keeps: without the program's name and what concerns only this process.
/// Paths are made absolute, so that the run can be gone on with from anywhere.
pub fn to_keep(arguments: Vec<OsString>) -> Vec<OsString> {
    const OF_NOW: [&str; 6] =
        ["--minutes", "--resume", "--out", "--longer", "--line-every", "--expect-ranks"];
    let mut kept = Vec::new();
    let arguments = arguments.into_iter().skip(1).collect();
    let mut arguments = without(arguments, &OF_NOW).into_iter();
    while let Some(argument) = arguments.next() {
        let (flag, joined) = split(&argument);
        match flag.as_str() {
            "--json" | "--quiet" | "-q" | "--shard-optimizer" => {}
            flag @ ("--data" | "--from") => {
                let path = joined.or_else(|| arguments.next()).unwrap_or_default();
                if path == "-" {
                    kept.extend([flag.into(), path]);
                    continue;
                }
                let path = PathBuf::from(path);
                let path = std::path::absolute(&path).unwrap_or(path);
                kept.extend([flag.into(), path.into_os_string()]);
            }
            "--tokenizer" => {
                let name = joined.or_else(|| arguments.next()).unwrap_or_default();
                let is_file = name.to_str().is_none_or(is_tokenizer_file);
                let path = is_file.then(|| std::path::absolute(&name).ok()).flatten();
                kept.extend([flag.into(), path.map_or(name, PathBuf::into_os_string)]);
            }
            _ => kept.push(argument),
        }
    }
    kept
}

/// The last value of a flag.
pub fn value(arguments: &[OsString], flag: &str) -> Option<OsString> {
    let mut found = None;
    for (index, argument) in arguments.iter().enumerate() {
        match split(argument) {
            (name, Some(value)) if name == flag => found = Some(value),
            (name, None) if name == flag => found = arguments.get(index + 1).cloned(),
            _ => {}
        }
    }
    found
}

/// `--flag=value` as its two parts; anything else as it is.
fn split(argument: &OsStr) -> (String, Option<OsString>) {
    let text = argument.to_string_lossy();
    match text.split_once('=') {
        Some((flag, _)) if flag.starts_with("--") => {
            (flag.to_owned(), Some(after(argument, flag.len() + 1)))
        }
        _ => (text.into_owned(), None),
    }
}

/// What comes after so many ASCII characters, whether it is Unicode or not.
#[cfg(unix)]
fn after(argument: &OsStr, length: usize) -> OsString {
    use std::os::unix::ffi::OsStrExt;
    OsStr::from_bytes(&argument.as_bytes()[length..]).to_owned()
}

/// What comes after so many ASCII characters.
#[cfg(not(unix))]
fn after(argument: &OsStr, length: usize) -> OsString {
    argument.to_string_lossy()[length..].into()
}
