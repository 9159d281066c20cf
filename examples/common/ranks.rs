//! The processes that train together: with the feature `mpi` those that `mpirun` has started, else this one.

use super::arguments::{Machine, RankFlags};
use super::program::{Result, exit, list_devices, quiet_libraries};
use super::{interrupts, resume, show};
use clap::Parser;
use neutreno::data::corpus;
use neutreno::ranks::Ranks;
use neutreno::run::{name_from_json, name_to_json};
use neutreno::training::Error;
use serde_json::{Value, json};
use std::ffi::OsString;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::process::ExitCode;

/// What a program that trains does, as [`super::program::main`] does for the others. On all ranks the flags
/// are those of the first one. `work` begins on the first one and, once that has its data, on the others
/// ([`super::program::train`]), so that what is downloaded or kept is made once. A rank that fails says why and
/// ends all.
pub fn main<A: Parser>(
    flags: impl Fn(&A) -> (&Machine, &RankFlags),
    work: impl Fn(&A, &dyn Ranks) -> Result<()>,
) -> ExitCode {
    quiet_libraries();
    let ranks = match begin() {
        Ok(ranks) => ranks,
        Err(error) => return exit(Err(error)),
    };
    let ranks = &*ranks;
    match catch_unwind(AssertUnwindSafe(|| run(ranks, flags, work))) {
        Ok(code) => code,
        Err(panic) if ranks.size() == 1 => resume_unwind(panic),
        // What it was is said already.
        Err(_) => end_all(ranks, "has panicked"),
    }
}

fn run<A: Parser>(
    ranks: &dyn Ranks,
    flags: impl Fn(&A) -> (&Machine, &RankFlags),
    work: impl Fn(&A, &dyn Ranks) -> Result<()>,
) -> ExitCode {
    let follows = ranks.rank() > 0;
    if follows {
        interrupts::leave_to_others();
    }
    let arguments = match typed(ranks).map(A::try_parse_from) {
        Ok(Ok(arguments)) => arguments,
        Ok(Err(refused)) => {
            // All ranks have read the same, and one says it.
            if !follows {
                // Nobody is left who could be told.
                let _ = refused.print();
            }
            return ExitCode::from(u8::try_from(refused.exit_code()).unwrap_or(1));
        }
        Err(error) => return end(ranks, Err(error)),
    };
    let (machine, rank_flags) = flags(&arguments);
    let work = || {
        // One says it, and ends the others.
        if !follows {
            check_number(rank_flags, ranks)?;
        }
        match (machine.list_devices, follows) {
            (true, true) => return Ok(()),
            (true, false) => return list_devices(machine),
            (false, true) => ranks.wait_for_all()?,
            (false, false) => {}
        }
        work(&arguments, ranks)
    };
    end(ranks, work())
}

/// Ends this rank, and where it has failed all of them.
fn end(ranks: &dyn Ranks, result: Result<()>) -> ExitCode {
    match result {
        Err(error) if ranks.size() > 1 && !is_interruption(&*error) => {
            end_all(ranks, &format!("error: {error}"))
        }
        result => exit(result),
    }
}

/// Whether the user wanted it. The others have been told then.
fn is_interruption(error: &(dyn std::error::Error + 'static)) -> bool {
    matches!(error.downcast_ref(), Some(Error::Interrupted))
}

fn end_all(ranks: &dyn Ranks, why: &str) -> ExitCode {
    match ranks.rank() {
        0 => show::note(why),
        _ => show::note(format!("{}: {why}", ranks.name())),
    }
    ranks.abort(1);
    ExitCode::FAILURE
}

/// What was typed for the first rank, with what a run to go on with keeps.
///
/// # Errors
/// If that cannot be read, or if another rank was started with something else.
fn typed(ranks: &dyn Ranks) -> Result<Vec<OsString>> {
    if ranks.size() == 1 {
        return resume::typed();
    }
    let typed: Vec<Value> = std::env::args_os().skip(1).map(|text| name_to_json(&text)).collect();
    let mine = serde_json::to_vec(&json!([ranks.name(), typed]))?;
    let all = ranks.gather(&mine)?;
    if ranks.rank() > 0 {
        let told: Vec<Value> = serde_json::from_slice(&ranks.broadcast(Vec::new())?)?;
        return told
            .iter()
            .map(|text| name_from_json(text).ok_or("flags cannot be read".into()))
            .collect();
    }
    for other in &all {
        let other: Value = serde_json::from_slice(other)?;
        if other[1] != json!(typed) {
            return Err(format!(
                "all ranks need the same flags, and {} was started with {} where rank 0 has {}",
                other[0].as_str().unwrap_or("another"),
                other[1],
                json!(typed)
            )
            .into());
        }
    }
    let typed = resume::typed()?;
    if let Some(data) = resume::value(&typed, "--data")
        && !corpus::can_be_read_again(Path::new(&data))
    {
        let data = Path::new(&data).display();
        let help = "each rank reads the data: save it to a file that all of them see";
        return Err(format!("--data {data} can be read only once, and {help}").into());
    }
    let told: Vec<Value> = typed.iter().map(|text| name_to_json(text)).collect();
    ranks.broadcast(serde_json::to_vec(&told)?)?;
    Ok(typed)
}

/// That there are as many ranks as were expected.
#[cfg(feature = "mpi")]
fn check_number(flags: &RankFlags, ranks: &dyn Ranks) -> Result<()> {
    match flags.expect_ranks {
        Some(expected) if expected != ranks.size() => Err(format!(
            "--expect-ranks {expected}: there are {}. mpirun -n {expected}, of the MPI that this program was \
             built with, starts as many",
            ranks.size()
        )
        .into()),
        _ => Ok(()),
    }
}

#[cfg(not(feature = "mpi"))]
fn check_number(_: &RankFlags, _: &dyn Ranks) -> Result<()> {
    Ok(())
}

#[cfg(feature = "mpi")]
fn begin() -> Result<Box<dyn Ranks>> {
    Ok(Box::new(neutreno::ranks::Mpi::begin()?))
}

#[cfg(not(feature = "mpi"))]
fn begin() -> Result<Box<dyn Ranks>> {
    Ok(Box::new(neutreno::ranks::Alone))
}
