//! From flags to a run.

use super::arguments::{Common, Machine};
use super::progress::Progress;
use super::resume;
use clap::Parser;
use neutreno::VariantConfig;
use neutreno::engine::{Device, device};
use neutreno::training::{Comparison, Settings, Task};
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

pub type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Reads the flags, those of a run to go on with among them, then lists the devices if that is
/// asked for, else does `work`, and says what went wrong. `common` finds the shared flags.
pub fn main<A: Parser>(
    common: impl Fn(&A) -> &Common,
    work: impl Fn(&A) -> Result<()>,
) -> ExitCode {
    let result = resume::typed().and_then(|typed| {
        let arguments = A::parse_from(typed);
        let machine = &common(&arguments).machine;
        if machine.list_devices { list_devices(machine) } else { work(&arguments) }
    });
    exit(result)
}

/// Ends a program, and says what went wrong.
pub fn exit(result: Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn list_devices(machine: &Machine) -> Result<()> {
    println!("cpu    {}", Device::cpu_with_threads(machine.threads.into()).name());
    for (index, description) in device::list().iter().enumerate() {
        let note = if description.is_software() { "  [used only if asked for]" } else { "" };
        println!("gpu:{index}  {description}{note}");
    }
    Ok(())
}

/// A flag that becomes true at the first Ctrl-C or SIGTERM; the second one stops the program at
/// once.
///
/// # Errors
/// If the system does not let us know.
pub fn catch_interrupts() -> Result<&'static AtomicBool> {
    static INTERRUPTED: AtomicBool = AtomicBool::new(false);
    ctrlc::set_handler(|| {
        if INTERRUPTED.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
        eprintln!("\nstopping after this step, with a checkpoint; once more to stop at once");
    })?;
    Ok(&INTERRUPTED)
}

/// Opens the device that was asked for, and says which it is.
///
/// # Errors
/// If there is no such device.
pub fn open_device(machine: &Machine, progress: &Progress) -> Result<Device> {
    let device = Device::open(&machine.device, machine.threads.into())?;
    let fallback = machine.device.eq_ignore_ascii_case("auto") && device.kind() == "cpu";
    let why = if fallback { "; there is no GPU that is real hardware" } else { "" };
    progress.line(&format!("device: {device}{why}"));
    Ok(device)
}

/// Trains all variants with all seeds, writes the run's folder and prints the results. The device is
/// given away, so that nothing holds on to it if it fails and another one is opened.
///
/// # Errors
/// Whatever stops the run.
pub fn train(
    task: &impl Task,
    settings: Settings,
    variants: &[VariantConfig],
    common: &Common,
    device: Device,
    progress: &mut Progress,
    interrupted: &AtomicBool,
) -> Result<()> {
    let (parent, name) = folder_of_run(common)?;
    let minutes = common.training.minutes.filter(|_| common.output.resume.is_none());
    let comparison = Comparison {
        task,
        variants,
        seeds: &common.training.seeds.all(),
        settings,
        minutes,
        device,
        open: &|| Device::open(&common.machine.device, common.machine.threads.into()),
        parent,
        name,
        resume: common.output.resume.clone(),
        longer: common.training.longer.map(Into::into),
        baseline: common.output.baseline.clone(),
        safety: common.safeguards.safety(),
        show_every: Duration::from_secs(60),
        arguments: resume::to_keep(resume::typed()?),
        started: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
        interrupted,
    };
    let (summary, folder) = comparison.run(progress)?;
    let table = summary.table();
    if common.output.json {
        progress.line(&format!("\n{table}"));
    } else {
        println!("\n{table}");
    }
    progress.line(&format!("The report: {}", folder.report_html().display()));
    if common.output.json {
        println!("{}", serde_json::to_string(&summary)?);
    }
    Ok(())
}

/// Where the run's folder goes: the folder it is made in, and its name if that was given.
fn folder_of_run(common: &Common) -> Result<(PathBuf, Option<OsString>)> {
    let Some(out) = &common.output.out else { return Ok(("runs".into(), None)) };
    let name = out.file_name().ok_or("--out needs the name of a folder")?;
    let parent = out.parent().map(PathBuf::from).unwrap_or_default();
    let parent = if parent.as_os_str().is_empty() { ".".into() } else { parent };
    Ok((parent, Some(name.to_owned())))
}
