//! What a model writes while someone looks on: it comes as it is written, Ctrl-C ends it, and so does it
//! that nobody reads. On a terminal, a chat goes on after that.
#![cfg(unix)]

mod common;

use common::folder::{Folder, TEMPLATE};
use common::jobs::{end_of, send};
use common::programs::{path_of, program};
use serde_json::Value;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::FromRawFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::ptr::null_mut;
use std::sync::mpsc::{Receiver, channel};
use std::thread::sleep;
use std::time::Duration;

/// A program that writes and writes.
fn endless(folder: &Folder) -> Command {
    let mut command = program("generate");
    command
        .args("--device cpu --threads 1 --greedy --tokens 2000000000 --when-full slide".split(' '));
    command.args(["--model", &path_of(folder.path())]);
    command
}

/// What a program shows, as far as it was read.
struct Shown {
    pieces: Receiver<Vec<u8>>,
    left: Vec<u8>,
}

impl Shown {
    fn new(mut from: impl Read + Send + 'static) -> Shown {
        let (sender, pieces) = channel();
        std::thread::spawn(move || {
            let mut piece = [0; 4096];
            while let Ok(count @ 1..) = from.read(&mut piece) {
                if sender.send(piece[..count].to_vec()).is_err() {
                    return;
                }
            }
        });
        Shown { pieces, left: Vec::new() }
    }

    /// Goes on behind the next place with this text, which must come soon, and returns what was before.
    fn until(&mut self, text: &str) -> String {
        loop {
            let place = self.left.windows(text.len()).position(|part| part == text.as_bytes());
            if let Some(place) = place {
                let before = self.left.drain(..place + text.len()).take(place).collect::<Vec<_>>();
                return String::from_utf8_lossy(&before).into_owned();
            }
            let piece = self.pieces.recv_timeout(Duration::from_secs(60));
            let so_far = || String::from_utf8_lossy(&self.left).into_owned();
            self.left.extend(piece.unwrap_or_else(|_| panic!("no {text:?} came: {}", so_far())));
        }
    }
}

#[test]
fn text_comes_as_it_is_written_until_ctrl_c() {
    let folder = Folder::new();
    let mut command = endless(&folder);
    let mut child = command
        .args(["--prompt", "Go"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let expected = folder.text(&folder.likeliest("Go", 20));
    let mut shown = Shown::new(child.stdout.take().unwrap());
    shown.until(&expected);
    send("-INT", &child);
    let mut told = String::new();
    child.stderr.take().unwrap().read_to_string(&mut told).unwrap();
    assert_eq!(end_of(child).code(), Some(130));
    assert!(told.contains("it went on without the oldest"), "{told}");
}

#[test]
fn a_result_that_was_interrupted_says_so() {
    let folder = Folder::new();
    let mut command = endless(&folder);
    command.args(["--prompt", "Go", "--json"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut shown = Shown::new(child.stderr.take().unwrap());
    shown.until("the likeliest token each time");
    sleep(Duration::from_millis(300));
    send("-INT", &child);
    let mut text = String::new();
    child.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    assert_eq!(end_of(child).code(), Some(130));
    let result: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(result["ended"], "interrupted");
    assert!(result["ids"].as_array().unwrap().len() > 20);
    // Another signal ends the program at once.
    let mut child =
        endless(&folder).args(["--prompt", "Go"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut shown = Shown::new(child.stdout.take().unwrap());
    shown.until(&folder.text(&folder.likeliest("Go", 20)));
    send("-TERM", &child);
    assert_eq!(end_of(child).code(), Some(143));
}

#[test]
fn nobody_writes_for_a_reader_who_is_gone() {
    let folder = Folder::new();
    let mut command = endless(&folder);
    let mut child = command
        .args(["--prompt", "Go"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut reader = child.stdout.take().unwrap();
    let mut first = [0; 1];
    reader.read_exact(&mut first).unwrap();
    drop(reader);
    assert_eq!(end_of(child).code(), Some(0));
}

/// The two ends of a terminal: ours, and the program's.
fn terminal() -> [File; 2] {
    let [mut ours, mut theirs] = [-1, -1];
    let mut size = libc::winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: all that is pointed to outlives the call, which returns two open descriptors that nobody
    // else has.
    unsafe {
        assert_eq!(libc::openpty(&mut ours, &mut theirs, null_mut(), null_mut(), &raw mut size), 0);
        [File::from_raw_fd(ours), File::from_raw_fd(theirs)]
    }
}

/// Starts a program on a terminal of its own: our end of it, and what is shown there.
fn on_terminal(command: &mut Command) -> (File, Shown, Child) {
    let [ours, theirs] = terminal();
    let end = || Stdio::from(theirs.try_clone().unwrap());
    command.stdin(end()).stdout(end()).stderr(end()).env("TERM", "xterm");
    // SAFETY: between fork and exec only these calls are made, which are allowed there.
    unsafe {
        command.pre_exec(|| {
            libc::setsid();
            libc::ioctl(0, libc::TIOCSCTTY as _, 0);
            Ok(())
        });
    }
    let child = command.spawn().unwrap();
    let shown = Shown::new(ours.try_clone().unwrap());
    (ours, shown, child)
}

#[test]
fn ctrl_c_ends_an_answer_and_then_the_chat() {
    let folder = Folder::new();
    folder.write("chat_template.jinja", TEMPLATE);
    let (mut terminal, mut shown, child) = on_terminal(endless(&folder).arg("--chat"));
    shown.until("/new begins a new one");
    terminal.write_all(b"Hi\r").unwrap();
    // So long an answer that the terminal's lines are full of it.
    let answer = folder.text(&folder.likeliest("<turn>u Hi<end><turn>a ", 12));
    shown.until(&answer);
    terminal.write_all(b"\x03").unwrap();
    shown.until("(interrupted)");
    // All of that has no room any more; a new chat does.
    shown.until("> ");
    terminal.write_all(b"/new\r").unwrap();
    shown.until("a new chat");
    terminal.write_all(b"Hi\r").unwrap();
    shown.until(&answer);
    terminal.write_all(b"\x03").unwrap();
    shown.until("> ");
    terminal.write_all(b"\x03").unwrap();
    assert_eq!(end_of(child).code(), Some(130));
    // Ctrl-D at the beginning of a line is a good end.
    let (mut terminal, mut shown, child) = on_terminal(endless(&folder).arg("--chat"));
    shown.until("> ");
    terminal.write_all(b"\x04").unwrap();
    assert_eq!(end_of(child).code(), Some(0));
}

#[test]
fn a_terminal_is_asked_for_a_prompt() {
    let folder = Folder::new();
    let (_terminal, mut shown, child) = on_terminal(&mut endless(&folder));
    shown.until("there is no prompt: give one with --prompt TEXT");
    assert_eq!(end_of(child).code(), Some(1));
}
