//! Programs whose reader goes away, whose terminal is closed, and which are asked to end.
#![cfg(unix)]

mod common;

use common::jobs::{await_steps, end_of, is_whole, send, training};
use common::programs::{path_of, program, said};
use neutreno::run::{Going, Status};
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Starts a program whose readers go away at once.
fn unread(command: &mut Command) -> Child {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop((child.stdout.take(), child.stderr.take()));
    child
}

#[test]
fn a_run_outlives_its_reader() {
    let folder = tempfile::tempdir().unwrap();
    let (mut command, run) = training(folder.path(), 20);
    let child = unread(command.arg("--json"));
    assert_eq!(end_of(child).code(), Some(0));
    is_whole(&run);
    // So do programs that only show something, and errors that nobody reads.
    for (name, flags, code) in [
        ("measure", vec![path_of(&run), "--device".into(), "cpu".into()], 0),
        ("lm_wikitext", vec!["--list-devices".into()], 0),
        ("lm_wikitext", vec!["--help".into()], 0),
        ("image_segmentation", vec!["--heads".into(), "3".into()], 1),
        (
            "bench_training",
            "--device cpu --layers 1 --width 8 --heads 1 --steps 5 --json"
                .split(' ')
                .map(str::to_owned)
                .collect(),
            0,
        ),
    ] {
        assert_eq!(
            end_of(unread(program(name).args(&flags))).code(),
            Some(code),
            "{name} {flags:?}"
        );
    }
}

#[test]
fn a_terminal_that_closes_leaves_a_whole_run() {
    let folder = tempfile::tempdir().unwrap();
    let (mut command, run) = training(folder.path(), 10_000_000);
    let child = unread(&mut command);
    await_steps(&run);
    // A shell and the system may both tell of it.
    send("-HUP", &child);
    send("-HUP", &child);
    assert_eq!(end_of(child).code(), Some(129));
    is_whole(&run);
}

#[test]
fn under_nohup_a_hang_up_means_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (command, run) = training(folder.path(), 10_000_000);
    let mut shell = Command::new("sh");
    shell.args(["-c", "trap '' HUP; exec \"$@\"", "sh"]).arg(command.get_program());
    shell.args(command.get_args()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = shell.spawn().unwrap();
    await_steps(&run);
    send("-HUP", &child);
    sleep(Duration::from_millis(500));
    assert!(child.try_wait().unwrap().is_none(), "it ended");
    send("-TERM", &child);
    assert_eq!(end_of(child).code(), Some(143));
    is_whole(&run);
}

#[test]
fn before_training_an_interrupt_ends_a_program_at_once() {
    let folder = tempfile::tempdir().unwrap();
    // Words enough to keep a tokenizer busy.
    let data = folder.path().join("long.txt");
    let word = |number: u64| format!("{:x} ", number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 24);
    let line = |line: u64| (0..10).map(|index| word(10 * line + index)).collect::<String>() + "\n";
    fs::write(&data, (0..100_000).map(line).collect::<String>()).unwrap();
    let (mut command, run) = training(folder.path(), 1);
    command.args(["--data", &path_of(&data), "--tokenizer", "bpe:30000"]);
    let child = command.stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
    sleep(Duration::from_millis(700));
    send("-INT", &child);
    let sent = Instant::now();
    let status = end_of(child);
    // On a busy machine it may come before the program listens.
    assert!(status.code() == Some(130) || status.signal() == Some(2), "{status}");
    assert!(sent.elapsed() < Duration::from_secs(5), "it took {:?}", sent.elapsed());
    assert!(!run.exists());
}

/// Without a terminal a line says now and then how far a model is; `status.json` says it sooner.
#[test]
fn far_from_a_terminal_lines_say_how_far_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let (mut command, run) = training(folder.path(), 10_000_000);
    command.args(["--line-every", "5"]);
    let child =
        command.stderr(fs::File::create(&log).unwrap()).stdout(Stdio::null()).spawn().unwrap();
    await_steps(&run);
    let status = || {
        let status = fs::read(run.join("status.json")).unwrap();
        serde_json::from_slice::<Status>(&status).unwrap()
    };
    assert_eq!((status().state, status().number, status().step), (Going::Training, 1, 0));
    let lines = || {
        let said = fs::read_to_string(&log).unwrap();
        said.lines()
            .filter(|line| line.contains(" left  step "))
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert_eq!(lines(), [""; 0]);
    // It sleeps until a line is due, which costs nobody anything.
    send("-STOP", &child);
    sleep(Duration::from_secs(6));
    send("-CONT", &child);
    let woken = Instant::now();
    while lines().is_empty() || status().step == 0 {
        assert!(woken.elapsed() < Duration::from_secs(60), "no line");
        sleep(Duration::from_millis(20));
    }
    let lines = lines();
    assert!(lines.len() == 1 && lines[0].contains("/10000000  loss "), "{lines:?}");
    let status = status();
    assert!(status.seconds_left > 0.0 && status.units_per_second > 0.0, "{status:?}");
    send("-TERM", &child);
    assert_eq!(end_of(child).code(), Some(143));
}

/// Without a display, libraries of the system complain where GPUs are looked for.
#[test]
fn a_server_without_a_display_hears_nothing_of_it() {
    let mut command = program("lm_wikitext");
    command.args(["--list-devices", "--quiet"]);
    let output = command.env_remove("XDG_RUNTIME_DIR").env_remove("NODEVICE_SELECT").output();
    assert_eq!(said(&output.unwrap()), "");
}

/// A run goes where a link leads, and the link stays one.
#[test]
fn the_folder_of_a_run_may_be_a_link() {
    let folder = tempfile::tempdir().unwrap();
    let (mut command, out) = training(folder.path(), 5);
    let target = folder.path().join("target");
    fs::create_dir(&target).unwrap();
    std::os::unix::fs::symlink(&target, &out).unwrap();
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    assert!(fs::symlink_metadata(&out).unwrap().is_symlink());
    is_whole(&target);
    // One that leads nowhere is named.
    fs::remove_dir_all(&target).unwrap();
    let (mut command, _) = training(folder.path(), 5);
    let output = command.output().unwrap();
    assert!(said(&output).contains("is a link that leads nowhere"), "{}", said(&output));
}

/// What the system does not give is an error with numbers, not a panic.
#[cfg(target_os = "linux")]
#[test]
fn limits_of_the_system_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let limited = |limit: &str, flags: &[&str]| {
        let (mut command, _) = training(folder.path(), 2);
        command.args(flags);
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("{limit}; exec \"$@\""), "sh"]).arg(command.get_program());
        let output = shell.args(command.get_args()).stdin(Stdio::null()).output().unwrap();
        let said = said(&output);
        assert!(!said.contains("panicked") && output.status.code() == Some(1), "{said}");
        said
    };
    let parameters = "ulimit -v 1500000";
    let said = limited(parameters, &["--width", "8192", "--feed-forward", "8192"]);
    assert!(
        said.contains("MiB more were asked for") || said.contains("GiB more were asked for"),
        "{said}"
    );
    let said = limited(parameters, &["--batch", "100000000"]);
    assert!(said.contains("--batch 100000000 of --context 16 needs"), "{said}");
    // Threads need room for their stacks, and are not even started where there is none: one that cannot
    // allocate as it starts ends the program.
    for limit in ["ulimit -v 300000", "ulimit -v 600000", "ulimit -v 2500000"] {
        let said = limited(limit, &["--threads", "1024"]);
        assert!(said.contains("does not start threads (memory allocation failed"), "{said}");
    }
}
