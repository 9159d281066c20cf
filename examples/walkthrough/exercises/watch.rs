//! Watches the files, and goes from one exercise to the next.

use crate::checking::{check, show};
use crate::folder::Folder;
use crate::puzzles::Puzzle;
use crate::say::{say, wrapped};
use crate::verdict::Verdict;
use std::collections::HashMap;
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::time::Duration;

/// Between two looks at the files.
const PAUSE: Duration = Duration::from_millis(250);
/// So many looks long a file may be gone, while an editor puts another in its place.
const GONE: usize = 8;

const KEYS: &str = "Save the file and it is checked again. With Enter: h hint, n next, q quit.";

struct Watch<'a> {
    folder: &'a Folder,
    puzzles: &'a [&'a Puzzle],
    /// What was said of which text, by the number of the exercise.
    known: HashMap<usize, (String, Verdict)>,
    /// How many hints of an exercise were shown.
    hints: HashMap<usize, usize>,
    skipped: Vec<usize>,
    gone: HashMap<usize, usize>,
}

/// Ends when all are solved, or when the reader says so.
pub fn watch(folder: &Folder, puzzles: &[&Puzzle]) -> Result<ExitCode, String> {
    let keys = keys();
    let mut watch = Watch {
        folder,
        puzzles,
        known: HashMap::new(),
        hints: HashMap::new(),
        skipped: Vec::new(),
        gone: HashMap::new(),
    };
    let mut shown: Option<(usize, String)> = None;
    loop {
        let Some(puzzle) = watch.first_unsolved()? else {
            say(format!("\n{}", watch.end()));
            return Ok(if watch.skipped.is_empty() {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            });
        };
        if let Some((text, verdict)) = watch.known.get(&puzzle.number) {
            let now = (puzzle.number, text.clone());
            if shown.as_ref() != Some(&now) {
                show(folder, puzzle, verdict);
                say(format!("\n{KEYS}"));
                shown = Some(now);
            }
        }
        match keys.try_recv().as_deref() {
            Ok("h") => watch.hint(puzzle),
            Ok("n") => watch.skipped.push(puzzle.number),
            Ok("q") => return Ok(ExitCode::FAILURE),
            Ok("") | Err(TryRecvError::Empty | TryRecvError::Disconnected) => {}
            Ok(other) => say(format!("{other:?} means nothing here: h hint, n next, q quit")),
        }
        std::thread::sleep(PAUSE);
    }
}

impl<'a> Watch<'a> {
    /// Checks what has changed, and tells of what is solved now.
    fn first_unsolved(&mut self) -> Result<Option<&'a Puzzle>, String> {
        for puzzle in self.puzzles {
            if self.skipped.contains(&puzzle.number) {
                continue;
            }
            let Some(text) = self.folder.read(puzzle)? else {
                self.is_gone(puzzle);
                return Ok(Some(puzzle));
            };
            self.gone.remove(&puzzle.number);
            let is_known = self.known.get(&puzzle.number).is_some_and(|(known, _)| *known == text);
            if !is_known {
                let was_known = self.known.contains_key(&puzzle.number);
                let Some(verdict) = self.check(puzzle)? else { return Ok(Some(puzzle)) };
                if verdict.is_solved && was_known {
                    show(self.folder, puzzle, &verdict);
                } else if verdict.is_solved {
                    say(format!("solved: {}", puzzle.file));
                }
                self.known.insert(puzzle.number, (text, verdict));
            }
            if !self.known[&puzzle.number].1.is_solved {
                return Ok(Some(puzzle));
            }
        }
        Ok(None)
    }

    /// A file may go away while it is checked: that is found at the next look.
    fn check(&self, puzzle: &Puzzle) -> Result<Option<Verdict>, String> {
        match check(self.folder, puzzle) {
            Ok(verdict) => Ok(Some(verdict)),
            Err(_) if self.folder.read(puzzle)?.is_none() => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn is_gone(&mut self, puzzle: &Puzzle) {
        let looks = self.gone.entry(puzzle.number).or_default();
        *looks += 1;
        if *looks == GONE {
            let path = self.folder.of(puzzle);
            say(format!(
                "\n{} is gone: put it back, or make it anew by --reset {}",
                path.display(),
                puzzle.number
            ));
        }
    }

    fn hint(&mut self, puzzle: &Puzzle) {
        let shown = self.hints.entry(puzzle.number).or_default();
        match puzzle.text.hints.get(*shown) {
            Some(hint) => say(format!("\n{}", wrapped(&format!("hint: {hint}")))),
            None => say(format!(
                "\nThere are no more hints; --solution {} shows a solution.",
                puzzle.number
            )),
        }
        *shown += 1;
    }

    fn end(&self) -> String {
        match self.skipped.len() {
            0 => "All exercises are solved.".to_owned(),
            count => format!("All but {count} that you went past are solved."),
        }
    }
}

/// Lines that are typed, without spaces around them.
fn keys() -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lines() {
            let Ok(line) = line else { return };
            if sender.send(line.trim().to_lowercase()).is_err() {
                return;
            }
        }
    });
    receiver
}
