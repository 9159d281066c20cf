//! What the programs of the walkthrough print and draw.

use super::common::programs::{program, said};
use super::origin::Shown;
use super::page::Page;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::PathBuf;
use tempfile::TempDir;

/// How a program is run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Setting {
    /// With `--quick`.
    Quick,
    /// As the page says.
    Full,
}

/// What came of a run.
pub struct Outcome {
    /// What was printed below each title.
    pub sections: BTreeMap<String, Vec<String>>,
    /// Where pictures are.
    pub folder: TempDir,
}

/// What came of the commands of a page, each of which is run once.
pub struct Outcomes {
    setting: Setting,
    of: BTreeMap<(String, String), Outcome>,
}

impl Outcomes {
    pub fn new(setting: Setting) -> Outcomes {
        Outcomes { setting, of: BTreeMap::new() }
    }

    /// That of a program with its flags.
    ///
    /// # Errors
    /// As [`run`].
    pub fn get(&mut self, command: (String, String)) -> Result<&Outcome, String> {
        match self.of.entry(command) {
            Entry::Occupied(known) => Ok(known.into_mut()),
            Entry::Vacant(new) => {
                let (name, flags) = new.key();
                let outcome = run(name, flags, self.setting)?;
                Ok(new.insert(outcome))
            }
        }
    }

    /// What an output shows.
    ///
    /// # Errors
    /// As [`run`], or if nothing is printed below its title.
    pub fn output(&mut self, shown: &Shown, page: &Page) -> Result<&[String], String> {
        let made = self.get(shown.command(page))?.sections.get(&shown.title);
        made.map(Vec::as_slice).ok_or(format!("nothing is printed below {:?}", shown.title))
    }

    /// A picture that one of them has drawn.
    ///
    /// # Errors
    /// If none has.
    pub fn picture(&self, file: &str) -> Result<String, String> {
        let drawn = self.of.values().find_map(|outcome| outcome.picture(file));
        drawn.ok_or("no program of this page draws it".into())
    }
}

/// Runs an example with these flags.
///
/// # Errors
/// If it fails, or prints a title twice.
fn run(name: &str, flags: &str, setting: Setting) -> Result<Outcome, String> {
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let out = folder.path().join("out");
    let mut command = program(name);
    command.args(flags.split_whitespace());
    if name.starts_with(|c: char| c.is_ascii_digit()) && name != "02_one_file" {
        command.arg("--out").arg(&out);
    }
    if setting == Setting::Quick && name != "exercises" {
        command.arg("--quick");
    }
    let output = command.current_dir(folder.path()).output().map_err(|error| error.to_string())?;
    // An exercise that is not solved ends with 1.
    let is_unsolved = name == "exercises" && output.status.code() == Some(1);
    if !output.status.success() && !is_unsolved {
        return Err(format!("{name} {flags}: {}\n{}", output.status, said(&output)));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let text = text.replace(&*out.to_string_lossy(), "runs/walkthrough");
    Ok(Outcome { sections: sections(name, &text)?, folder })
}

impl Outcome {
    /// A picture that was drawn, where chapters draw or where exercises do.
    fn picture(&self, file: &str) -> Option<String> {
        let folders = ["out", "exercises"].map(|folder| self.folder.path().join(folder));
        let read = |folder: PathBuf| std::fs::read_to_string(folder.join(file)).ok();
        folders.into_iter().find_map(read)
    }
}

/// What stands below each `== title ==`, without empty lines around it.
fn sections(name: &str, text: &str) -> Result<BTreeMap<String, Vec<String>>, String> {
    let mut sections: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut current: Option<Vec<String>> = None;
    let mut title = String::new();
    for line in text.lines().chain(["== end =="]) {
        let next = line.strip_prefix("== ").and_then(|line| line.strip_suffix(" =="));
        let Some(next) = next else {
            current.get_or_insert_default().push(line.trim_end().to_owned());
            continue;
        };
        let lines = trimmed(current.take().unwrap_or_default());
        if sections.insert(title, lines).is_some() {
            return Err(format!("{name} has two sections of one title, before {next}"));
        }
        title = next.to_owned();
    }
    Ok(sections)
}

fn trimmed(mut lines: Vec<String>) -> Vec<String> {
    let start = lines.iter().position(|line| !line.is_empty()).unwrap_or(lines.len());
    lines.drain(..start);
    while lines.last().is_some_and(String::is_empty) {
        lines.pop();
    }
    lines
}
