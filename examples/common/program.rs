//! From flags to a run.

use super::arguments::{Common, Machine};
use super::progress::Progress;
use super::{interrupts, resume, show};
use clap::Parser;
use neutreno::VariantConfig;
use neutreno::engine::Device;
use neutreno::engine::device::{self, room_for_threads};
use neutreno::ranks::Ranks;
use neutreno::training::{Comparison, Error, Settings, Task, follow};
use std::error::Error as _;
use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

pub type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Reads the flags, those of a run to go on with among them, then lists the devices if that is
/// asked for, else does `work`, and says what went wrong. `machine` finds the shared flags.
pub fn main<A: Parser>(
    machine: impl Fn(&A) -> &Machine,
    work: impl Fn(&A) -> Result<()>,
) -> ExitCode {
    quiet_libraries();
    let result = resume::typed().and_then(|typed| {
        let arguments = A::parse_from(typed);
        let machine = machine(&arguments);
        if machine.list_devices { list_devices(machine) } else { work(&arguments) }
    });
    exit(result)
}

/// Ends a program, and says what went wrong.
pub fn exit(result: Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if matches!(error.downcast_ref(), Some(Error::Interrupted)) => {
            ExitCode::from(interrupts::exit_status())
        }
        Err(error) => {
            show::note(format!("error: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// Keeps a library of the system's from complaining, wherever GPUs are looked for on a machine
/// without a display, that there is no folder for the display's socket. To be called first.
pub fn quiet_libraries() {
    const FOLDER: &str = "XDG_RUNTIME_DIR";
    let known = std::env::var_os(FOLDER).is_some_and(|folder| PathBuf::from(folder).is_absolute());
    if cfg!(target_os = "linux") && !known {
        // SAFETY: there is no other thread yet that could read the environment meanwhile.
        unsafe { std::env::set_var(FOLDER, std::env::temp_dir()) };
    }
}

/// Lists what --device can name.
///
/// # Errors
/// If the threads of the CPU do not start.
pub fn list_devices(machine: &Machine) -> Result<()> {
    show::result(format!("cpu    {}", Device::open("cpu", machine.threads())?.name()));
    for (index, description) in device::list().iter().enumerate() {
        let note = if description.is_software() { "  [used only if asked for]" } else { "" };
        show::result(format!("gpu:{index}  {description}{note}"));
    }
    if let Some(several) = several_gpus() {
        show::result(several);
    }
    Ok(())
}

/// What to say where there are several GPUs that are real hardware.
pub fn several_gpus() -> Option<String> {
    let (_, gpus) = device::gpu_of(0, false).ok()?;
    (gpus > 1).then(|| {
        format!("gpu:auto  of several processes (mpirun) each takes another of the {gpus}")
    })
}

/// Opens the device that was asked for, and says which it is.
///
/// # Errors
/// If there is no such device, or it cannot be opened.
pub fn open_device(machine: &Machine, progress: &Progress) -> Result<Device> {
    let not_started = |why: &dyn std::error::Error| {
        format!(
            "the system does not start threads ({why}). There may be a limit on processes \
             (ulimit -u) or memory (ulimit -v); --threads 1 needs the fewest"
        )
    };
    room_for_threads(machine.threads()).map_err(|error| not_started(&error))?;
    // These threads read data. Started when they are first needed, they could not fail in peace.
    let threads = rayon::ThreadPoolBuilder::new().num_threads(machine.threads());
    // An error without a source says that they are there already.
    if let Err(error) = threads.build_global()
        && let Some(source) = error.source()
    {
        return Err(not_started(source).into());
    }
    let device = machine.open()?;
    let fallback = machine.device.eq_ignore_ascii_case("auto") && device.kind() == "cpu";
    let why = if fallback { "; there is no GPU that is real hardware" } else { "" };
    progress.line(&format!("device: {device}{why}"));
    let share = machine.share.get();
    share.iter().flat_map(|share| &share.lines).for_each(|line| progress.line(line));
    Ok(device)
}

/// Trains all variants with all seeds, writes the run's folder and prints the results; or, on a rank that
/// does not lead, trains with the one that does. The device is
/// given away, so that nothing holds on to it if it fails and another one is opened.
///
/// # Errors
/// Whatever stops the run, an interruption too.
pub fn train(
    task: &impl Task,
    settings: Settings,
    variants: &[VariantConfig],
    common: &Common,
    device: Device,
    progress: &mut Progress,
    ranks: &dyn Ranks,
) -> Result<()> {
    if ranks.rank() > 0 {
        return Ok(follow(task, &settings, &common.safeguards.safety(), &device, ranks)?);
    }
    // The others wait until the first one has its data.
    ranks.wait_for_all()?;
    let (parent, name) = folder_of_run(common)?;
    let minutes = common.training.minutes.filter(|_| common.output.resume.is_none());
    let comparison = Comparison {
        task,
        variants,
        seeds: &common.training.seeds.all(),
        settings,
        minutes,
        device,
        ranks,
        shard_optimizer: common.ranks.shards_optimizer(),
        open: &|| common.machine.open(),
        parent,
        name,
        resume: common.output.resume.clone(),
        longer: common.training.longer.map(Into::into),
        // As it is called, or as it was typed: `neutreno:0.2`.
        baseline: common.output.baseline.as_ref().map(|name| name.replace(':', "-")),
        safety: common.safeguards.safety(),
        show_every: Duration::from_secs(60),
        arguments: resume::to_keep(resume::typed()?),
        started: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
        interrupted: interrupts::interrupted(),
        checkpoint: interrupts::checkpoint_wanted(),
        tensorboard: common.output.tensorboard,
    };
    let (summary, folder) = comparison.run(progress)?;
    let table = summary.table();
    if common.output.json {
        progress.line(&format!("\n{table}"));
    } else {
        show::result(format!("\n{table}"));
    }
    progress.line(&format!("The report: {}", folder.report_html().display()));
    if common.output.json {
        show::json(&summary);
    }
    let trained = summary.variants.iter().filter(|model| model.finished).count();
    // More than is asked for now, where a run has more.
    let all = folder.models()?.len();
    if trained < all { Err(Error::Interrupted.into()) } else { Ok(()) }
}

/// Where the run's folder goes: the folder it is made in, and its name if that was given.
fn folder_of_run(common: &Common) -> Result<(PathBuf, Option<OsString>)> {
    let Some(out) = &common.output.out else { return Ok(("runs".into(), None)) };
    // A link stays one: the run goes where it leads.
    let out = &match fs::symlink_metadata(out) {
        Ok(found) if found.is_symlink() => fs::canonicalize(out).map_err(|error| {
            format!("--out {} is a link that leads nowhere: {error}", out.display())
        })?,
        _ => out.clone(),
    };
    let name = out.file_name().ok_or("--out needs the name of a folder")?;
    let parent = out.parent().map(PathBuf::from).unwrap_or_default();
    let parent = if parent.as_os_str().is_empty() { ".".into() } else { parent };
    Ok((parent, Some(name.to_owned())))
}
