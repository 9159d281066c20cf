//! Runs that a scheduler warns, ends and starts again.
#![cfg(unix)]

mod common;

use common::jobs::{await_steps, end_of, is_whole, send, training};
use common::programs::{SMALL, path_of, program, said, text_file};
use neutreno::run::{Going, Status};
use serde_json::Value;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Starts a program that says what it does into a file.
fn start(mut command: Command, log: &Path) -> Child {
    let log = fs::File::options().create(true).append(true).open(log).unwrap();
    command.stdout(Stdio::null()).stderr(log).spawn().unwrap()
}

/// A small run in `DIR/run` with more flags, by the one command that begins it and goes on with it.
fn resume_or_start(folder: &Path, flags: &[&str]) -> Command {
    let mut command = program("lm_wikitext");
    command.args(SMALL.split_whitespace()).args(["--data", &path_of(&text_file(folder))]);
    command.args(["--resume-or-start", &path_of(&folder.join("run"))]).args(flags);
    command
}

fn weights(run: &Path) -> Vec<u8> {
    fs::read(run.join("transformer-seed1/model.safetensors")).expect("trained weights")
}

/// The steps of a run's checkpoints.
fn checkpoints(run: &Path) -> Vec<String> {
    let entries = fs::read_dir(run.join("transformer-seed1/checkpoints")).into_iter().flatten();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with("step-")).collect()
}

fn await_text(log: &Path, text: &str) {
    let started = Instant::now();
    while !fs::read_to_string(log).is_ok_and(|said| said.contains(text)) {
        let said = fs::read_to_string(log);
        assert!(started.elapsed() < Duration::from_secs(60), "no {text:?} in {said:?}");
        sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_checkpoint_is_written_when_asked_for_and_training_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let (command, run) = training(folder.path(), 10_000_000);
    let mut child = start(command, &log);
    await_steps(&run);
    assert_eq!(checkpoints(&run), [""; 0]);
    send("-USR1", &child);
    await_text(&log, "a checkpoint was asked for");
    let there = checkpoints(&run);
    let said = fs::read_to_string(&log).unwrap();
    assert!(there.len() == 1 && said.contains(&there[0]), "{there:?} {said}");
    let length = || fs::metadata(run.join("transformer-seed1/metrics.jsonl")).unwrap().len();
    let before = length();
    let asked = Instant::now();
    while length() < before + 1000 {
        assert!(asked.elapsed() < Duration::from_secs(60) && child.try_wait().unwrap().is_none());
        sleep(Duration::from_millis(5));
    }
    // What is written for one signal is written once.
    assert_eq!(checkpoints(&run), there);
    // The time is up; the scheduler's next signal does not take away what is being written.
    send("-USR2", &child);
    send("-USR2", &child);
    send("-TERM", &child);
    assert_eq!(end_of(child).code(), Some(75));
    is_whole(&run);
    assert_eq!(checkpoints(&run).len(), 2);
    assert!(fs::read_to_string(&log).unwrap().contains("the time is up"));
    let status: Status =
        serde_json::from_slice(&fs::read(run.join("status.json")).unwrap()).unwrap();
    assert_eq!((status.state, status.number), (Going::Interrupted, 1));
}

/// One command begins a run, goes on with it as often as it was ended, and then says that it is done.
#[test]
fn one_command_begins_a_run_and_goes_on_with_it() {
    const STEPS: [&str; 2] = ["--steps", "3000"];
    let alone = tempfile::tempdir().unwrap();
    let output = resume_or_start(alone.path(), &STEPS).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    let folder = tempfile::tempdir().unwrap();
    let (run, log) = (folder.path().join("run"), folder.path().join("log"));
    let child = start(resume_or_start(folder.path(), &STEPS), &log);
    await_steps(&run);
    send("-USR2", &child);
    assert_eq!(end_of(child).code(), Some(75));
    let output = resume_or_start(folder.path(), &STEPS).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    assert!(said(&output).contains("going on after step"), "{}", said(&output));
    assert!(weights(&run) == weights(&alone.path().join("run")), "other weights");
    let output = resume_or_start(folder.path(), &STEPS).output().unwrap();
    assert!(output.status.success() && said(&output).contains("finished already"));
    let json = |name: &str| -> Value {
        serde_json::from_slice(&fs::read(run.join(name)).unwrap()).unwrap()
    };
    let status = json("status.json");
    assert_eq!((&status["state"], &status["step"]), (&"finished".into(), &3000.into()), "{status}");
    let kept = json("run.json")["arguments"].clone();
    let steps = kept.as_array().unwrap().iter().filter(|word| **word == "--steps").count();
    assert_eq!(steps, 1, "what is kept grows: {kept}");
}

/// Minutes become steps when the run begins, and the same command goes on with those.
#[test]
fn minutes_are_those_of_the_beginning() {
    let folder = tempfile::tempdir().unwrap();
    let begin = || resume_or_start(folder.path(), &["--minutes=0.01"]).output().unwrap();
    let output = begin();
    assert!(output.status.success(), "{}", said(&output));
    let output = begin();
    assert!(output.status.success() && said(&output).contains("finished already"));
}

#[test]
fn what_is_no_run_or_another_one_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |flags: &[&str], why: &str| {
        let output = resume_or_start(folder.path(), flags).output().unwrap();
        assert!(!output.status.success());
        assert!(said(&output).contains(why), "{}", said(&output));
    };
    for other in ["--out", "--resume"] {
        let why = "'--resume-or-start <DIR>' cannot be used with";
        refused(&["--steps", "2", other, "elsewhere"], why);
    }
    refused(&["--longer", "hold"], "--longer is for a run that goes on");
    refused(&["--resume-or-start", "~/run"], "for '--resume-or-start <DIR>'");
    let run = folder.path().join("run");
    fs::create_dir(&run).unwrap();
    fs::write(run.join("chapter"), "one").unwrap();
    refused(&[], "run already exists and was left as it is");
    assert_eq!(fs::read_dir(&run).unwrap().count(), 1);
    fs::remove_dir_all(&run).unwrap();
    let output = resume_or_start(folder.path(), &["--steps", "2"]).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    refused(&["--steps", "2", "--lr", "0.5"], "learning_rate was");
    let mut command = program("image_classification");
    let output = command.args(["--resume-or-start", &path_of(&run)]).output().unwrap();
    assert!(said(&output).contains("lm_wikitext --resume can"), "{}", said(&output));
}

/// A job whose time ends twice is requeued twice, and ends with the bits of a run left alone.
#[test]
fn a_job_of_slurm_is_requeued_until_it_is_done() {
    const STEPS: [&str; 2] = ["--steps", "4000"];
    let alone = tempfile::tempdir().unwrap();
    let output = resume_or_start(alone.path(), &STEPS).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));

    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let tools = root.join("tests/fixtures/slurm");
    let path = std::env::var_os("PATH").unwrap();
    let path = std::env::join_paths([tools].into_iter().chain(std::env::split_paths(&path)));
    let job = |run: &Path, flags: &[&str], times_up: &str| {
        let mut sbatch = Command::new("sbatch");
        sbatch.env("PATH", path.as_ref().unwrap()).env("TIMES_UP", times_up).stdin(Stdio::null());
        sbatch.env("PROGRAM", PathBuf::from(program("lm_wikitext").get_program()));
        sbatch.env("LOG", run.join("transformer-seed1/metrics.jsonl"));
        sbatch.arg(root.join("docs/train.slurm")).arg(run);
        sbatch.args(["--data", &path_of(&text_file(folder.path()))]);
        sbatch.args(SMALL.split_whitespace()).args(flags).output().unwrap()
    };
    let output = job(&run, &STEPS, "2");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text} {}", said(&output));
    let requeued = text.lines().filter(|line| line.starts_with("requeued")).count();
    assert_eq!(requeued, 2, "{text} {}", said(&output));
    assert_eq!(said(&output).matches("the time is up").count(), 2);
    assert!(weights(&run) == weights(&alone.path().join("run")), "other weights");
    // What fails for another reason is not tried again and again.
    let output = job(&folder.path().join("other"), &["--heads", "3"], "0");
    assert_eq!(output.status.code(), Some(1));
    assert!(!String::from_utf8_lossy(&output.stdout).contains("requeued"));
}

/// A job of several nodes says to Slurm and to the program what they need to know of each other, and is
/// requeued as one of one node is.
#[test]
fn a_job_of_several_nodes_starts_its_tasks_by_slurm() {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("program");
    // The time of the first one is up.
    let script = format!(
        "#!/bin/sh\necho \"$SRUN_OPTIONS: $@\"\n\
         [ -e {0} ] && exit 0\ntouch {0}\nexit 75\n",
        path_of(&folder.path().join("started"))
    );
    fs::write(&program, script).unwrap();
    fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let tools = root.join("tests/fixtures/slurm");
    let path = std::env::var_os("PATH").unwrap();
    let path = std::env::join_paths([tools].into_iter().chain(std::env::split_paths(&path)));
    let mut sbatch = Command::new("sbatch");
    sbatch.env("PATH", path.unwrap()).env("TIMES_UP", "0").env("PROGRAM", &program);
    sbatch.env("SLURM_NTASKS", "4").stdin(Stdio::null());
    let output = sbatch
        .arg(root.join("docs/distributed.slurm"))
        .args(["run", "--lr", "0.5"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text} {}", said(&output));
    let step = " --mpi=pmix --wait=10 --cpus-per-task=1: --resume-or-start run --threads 1 --expect-ranks 4 --lr 0.5";
    assert_eq!(text.lines().collect::<Vec<_>>(), [step, "requeued: 1", step]);
}
