//! What a process takes of its machine where several that train together run there: a GPU, and some of the
//! cores.

use super::arguments::Machine;
use super::program::Result;
use neutreno::engine::device::gpu_of;
use neutreno::ranks::{Local, Ranks};
use std::fs;
use std::thread::available_parallelism;

/// What a process takes of its machine. Without others: all of it.
#[derive(Clone, Debug, Default)]
pub struct Share {
    local: Local,
    /// The threads of the CPU, where nothing else is asked for; 0 for one a core.
    pub threads: usize,
    /// What the user is told of it.
    pub lines: Vec<String>,
}

impl Share {
    /// The share of one of these ranks, all of which find theirs at once.
    ///
    /// # Errors
    /// If another rank has ended.
    pub fn of(ranks: &dyn Ranks, machine: &Machine) -> Result<Share> {
        let local = ranks.local();
        let mut share = Share { local, ..Share::default() };
        if ranks.size() == 1 {
            return Ok(share);
        }
        // Those that may use the same cores of one machine share them.
        let mine = format!("{}\n{}", ranks.host(), allowed_cores());
        let all = ranks.gather(mine.as_bytes())?;
        let same = all.iter().filter(|other| **other == mine.as_bytes()).count();
        if machine.threads == 0 {
            let cores = available_parallelism().map_or(1, usize::from);
            share.threads = threads_of(cores, same);
            share.lines.extend(said_of_threads(cores, same, local.size));
        }
        if is_gpu_auto(machine) {
            let (_, gpus) = gpu_of(local.rank, machine.as_hardware)?;
            share.lines.extend(said_of_gpus(gpus, local.size));
        }
        Ok(share)
    }

    /// The name under which to open the device that was asked for.
    ///
    /// # Errors
    /// If a GPU of its own is asked for, and there is none.
    pub fn device(&self, machine: &Machine) -> neutreno::engine::Result<String> {
        match is_gpu_auto(machine) {
            true => Ok(format!("gpu:{}", gpu_of(self.local.rank, machine.as_hardware)?.0)),
            false => Ok(machine.device.clone()),
        }
    }
}

fn is_gpu_auto(machine: &Machine) -> bool {
    machine.device.trim().eq_ignore_ascii_case("gpu:auto")
}

/// The threads of each of so many processes that share so many cores.
fn threads_of(cores: usize, processes: usize) -> usize {
    (cores / processes).max(1)
}

fn said_of_threads(cores: usize, same: usize, on_machine: usize) -> Option<String> {
    let threads = counted(threads_of(cores, same), "thread");
    let cores = counted(cores, "core");
    match (same, on_machine) {
        (1, 1) => None,
        (1, _) => Some(format!(
            "threads: the processes here have cores of their own; {threads} for {cores}"
        )),
        _ => Some(format!(
            "threads: {same} processes share {cores} here, {threads} each (--threads)"
        )),
    }
}

fn said_of_gpus(gpus: usize, processes: usize) -> Option<String> {
    let several = processes > gpus;
    several.then(|| {
        format!("gpu:auto: {processes} processes share {} here, in turn", counted(gpus, "GPU"))
    })
}

fn counted(number: usize, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

/// The cores that this process may use, as Linux lists them; nothing where they are not known, as if all
/// processes had the same.
fn allowed_cores() -> String {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    line.unwrap_or_default().trim().to_owned()
}
