//! Compiles an exercise in Rust with the program that checks it, and runs that.

use crate::process;
use crate::say::wrapped;
use crate::verdict::Verdict;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const COMPILING: Duration = Duration::from_secs(120);
const RUNNING: Duration = Duration::from_secs(4);

/// What every check uses.
const CHECK: &str = include_str!("checks/check.rs");
/// What a check prints last.
const RIGHT: &str = "all is right\n";

/// Whether an exercise is solved.
///
/// # Errors
/// If nothing can be compiled here.
pub fn judge(folder: &Path, file: &str, check: &str) -> Result<Verdict, String> {
    let place = tempfile::tempdir().map_err(|error| format!("no temporary folder: {error}"))?;
    let whole = folder.canonicalize().map_err(|error| format!("{}: {error}", folder.display()))?;
    let main = format!("mod check;\n#[path = {:?}]\nmod exercise;\n{check}", whole.join(file));
    for (name, text) in [("main.rs", main.as_str()), ("check.rs", CHECK)] {
        std::fs::write(place.path().join(name), text)
            .map_err(|error| format!("cannot write a temporary file: {error}"))?;
    }
    let program = place.path().join(format!("check{}", std::env::consts::EXE_SUFFIX));
    let mut command = Command::new(rustc());
    command
        .args(["--edition", "2024", "-O", "--cap-lints", "allow", "-o"])
        .args([&program, &place.path().join("main.rs")]);
    // Messages name the files as they were typed.
    for (from, to) in [(whole.as_path(), folder), (place.path(), Path::new("the check"))] {
        let mut remapped = from.as_os_str().to_owned();
        remapped.push("=");
        remapped.push(to);
        command.arg("--remap-path-prefix").arg(remapped);
    }
    if std::io::stdout().is_terminal() {
        command.args(["--color", "always"]);
    }
    let compiled = process::run(&mut command, COMPILING).map_err(|error| {
        let name = command.get_program().display();
        format!("{name} cannot be started ({error}); exercises in Rust are compiled with it")
    })?;
    match compiled.status {
        Some(0) => {}
        Some(_) => return Ok(Verdict::wrong("It does not compile.", &compiled.stderr)),
        None => return Err("rustc takes longer than two minutes".to_owned()),
    }
    let ran = process::run(Command::new(&program).env("RUST_BACKTRACE", "0"), RUNNING)
        .map_err(|error| format!("the check cannot be started: {error}"))?;
    Ok(match (ran.status, ran.stdout.strip_suffix(RIGHT)) {
        (Some(0), Some(printed)) => Verdict::right(printed),
        (Some(0), None) => {
            Verdict::wrong("It ends the program before the check does.", &ran.stdout)
        }
        (Some(1), _) => Verdict::wrong("It compiles, and is not right yet.", &wrapped(&ran.stdout)),
        (Some(_), _) => {
            Verdict::wrong("It panics.", &format!("{}{}", ran.stdout, panic_of(&ran.stderr)))
        }
        (None, _) => {
            let what = format!(
                "It ran for {} s and was stopped. Is there a loop that does not end?",
                RUNNING.as_secs()
            );
            Verdict::wrong(&what, &ran.stdout)
        }
    })
}

/// The compiler beside the cargo that runs this program, or else the one on the path.
fn rustc() -> PathBuf {
    let name = format!("rustc{}", std::env::consts::EXE_SUFFIX);
    let beside = std::env::var_os("CARGO").map(|cargo| Path::new(&cargo).with_file_name(&name));
    beside.filter(|path| path.is_file()).unwrap_or(name.into())
}

/// A panic's message, without the advice on backtraces.
fn panic_of(stderr: &str) -> String {
    let lines = stderr.lines().filter(|line| !line.starts_with("note: ") && !line.is_empty());
    lines.map(|line| format!("{line}\n")).collect()
}
