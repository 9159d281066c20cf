//! Running a program with a limit on its time and on what it may say.

use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// The most bytes that are kept of what a program writes.
const MOST: usize = 16 << 10;

/// How a program ended.
pub struct Ended {
    /// `None` if it was stopped for taking too long.
    pub status: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// Runs a program to its end, or to the limit.
///
/// # Errors
/// If it cannot be started.
pub fn run(command: &mut Command, limit: Duration) -> std::io::Result<Ended> {
    let command = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    let readers = [
        child.stdout.take().map(|stream| thread::spawn(|| beginning(stream))),
        child.stderr.take().map(|stream| thread::spawn(|| beginning(stream))),
    ];
    let status = wait(&mut child, limit)?;
    let [stdout, stderr] =
        readers.map(|reader| reader.and_then(|reader| reader.join().ok()).unwrap_or_default());
    Ok(Ended { status, stdout, stderr })
}

/// Its exit status, 101 if it was ended by a signal, and `None` if it had to be stopped.
fn wait(child: &mut Child, limit: Duration) -> std::io::Result<Option<i32>> {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status.code().unwrap_or(101)));
        }
        if start.elapsed() > limit {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        thread::sleep(Duration::from_millis(10));
    }
}

/// The first bytes of a stream. The rest is read too, so that the program does not wait.
fn beginning(mut stream: impl Read) -> String {
    let (mut kept, mut buffer, mut is_cut) = (Vec::new(), vec![0; 1 << 14], false);
    while let Ok(count @ 1..) = stream.read(&mut buffer) {
        let room = MOST - kept.len();
        kept.extend_from_slice(&buffer[..count.min(room)]);
        is_cut |= count > room;
    }
    let text = String::from_utf8_lossy(&kept).into_owned();
    if is_cut { format!("{text}\n(and more)\n") } else { text }
}
