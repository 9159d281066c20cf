//! Training processes that get signals.

use super::programs::{SMALL, path_of, program, text_file};
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// A run of so many steps in `folder`, and its folder.
pub fn training(folder: &Path, steps: u64) -> (Command, PathBuf) {
    let out = folder.join("run");
    let mut command = program("lm_wikitext");
    command.args(SMALL.split_whitespace()).args(["--steps", &steps.to_string()]);
    command.args(["--data", &path_of(&text_file(folder)), "--out", &path_of(&out)]);
    // The tests themselves may run under nohup.
    // SAFETY: between fork and exec only this call is made, which is allowed there.
    unsafe {
        command.pre_exec(|| {
            libc::signal(libc::SIGHUP, libc::SIG_DFL);
            Ok(())
        });
    }
    (command, out)
}

/// Waits until a run has logged something.
pub fn await_steps(run: &Path) {
    let metrics = run.join("transformer-seed1/metrics.jsonl");
    let started = Instant::now();
    while fs::metadata(&metrics).map_or(0, |file| file.len()) < 1000 {
        assert!(started.elapsed() < Duration::from_secs(120), "no steps are logged");
        sleep(Duration::from_millis(5));
    }
}

/// Sends a signal, such as `-TERM`.
pub fn send(signal: &str, child: &Child) {
    let id = child.id().to_string();
    assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
}

/// How a program ends; it must do so soon.
pub fn end_of(mut child: Child) -> ExitStatus {
    let started = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if started.elapsed() > Duration::from_secs(60) {
            child.kill().unwrap();
            panic!("it goes on");
        }
        sleep(Duration::from_millis(5));
    }
}

/// Whether a run of one model has all that it is to leave behind.
pub fn is_whole(run: &Path) {
    for file in ["summary.json", "report.html", "transformer-seed1/model.safetensors"] {
        assert!(run.join(file).is_file(), "{file}");
    }
    let checkpoints = run.join("transformer-seed1/checkpoints");
    assert!(fs::read_dir(checkpoints).unwrap().count() > 0);
}
