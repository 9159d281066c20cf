//! What a comment above a block or a picture says.

use super::compare::Allowed;
use super::page::Page;
use super::programs::Setting;

/// How far numbers may be off where nothing else is said.
const TOLERANCE: f64 = 0.01;

/// Where an output comes from: `PROGRAM "Title" attributes`.
pub struct Shown {
    pub program: String,
    pub title: String,
    attributes: String,
    flags: Option<String>,
}

impl Shown {
    /// # Errors
    /// If it does not have this form.
    pub fn parse(text: &str) -> Result<Shown, String> {
        let wrong = || format!("an output is `PROGRAM \"Title\" …`, not `{text}`");
        let (program, rest) = text.trim().split_once(" \"").ok_or_else(wrong)?;
        let (title, rest) = rest.split_once('"').ok_or_else(wrong)?;
        let (attributes, flags) = match rest.split_once("flags=\"") {
            Some((before, rest)) => {
                let (flags, after) = rest.split_once('"').ok_or_else(wrong)?;
                (format!("{before} {after}"), Some(flags.to_owned()))
            }
            None => (rest.to_owned(), None),
        };
        allowed(&attributes, Setting::Quick)?;
        Ok(Shown { program: program.to_owned(), title: title.to_owned(), attributes, flags })
    }

    /// The command whose output it is: the page's first one of that program, if no flags are given.
    pub fn command(&self, page: &Page) -> (String, String) {
        let flags = self.flags.clone().or_else(|| {
            let commands = page.commands().filter_map(parts);
            commands.into_iter().find(|(name, _)| *name == self.program).map(|(_, flags)| flags)
        });
        (self.program.clone(), flags.unwrap_or_default())
    }

    pub fn allowed(&self, setting: Setting) -> Allowed {
        allowed(&self.attributes, setting).expect("looked at in `parse`")
    }
}

/// How lines are compared, by attributes: `tolerance=SHARE`, `numbers=any`, `words=any`, `full` for what only the
/// default setting makes.
///
/// # Errors
/// If there is another word.
pub fn allowed(attributes: &str, setting: Setting) -> Result<Allowed, String> {
    let mut allowed = Allowed::Share(TOLERANCE);
    let mut is_full = false;
    for word in attributes.split_whitespace() {
        match word.split_once('=') {
            Some(("numbers", "any")) => allowed = Allowed::AnyNumbers,
            Some(("words", "any")) => allowed = Allowed::AnyWords,
            Some(("tolerance", share)) => {
                let share = share.parse().map_err(|_| format!("{share} is no tolerance"))?;
                allowed = Allowed::Share(share);
            }
            None if word == "full" => is_full = true,
            _ => return Err(format!("`{word}` is not known here")),
        }
    }
    let is_other = is_full && setting == Setting::Quick && allowed != Allowed::AnyWords;
    Ok(if is_other { Allowed::AnyNumbers } else { allowed })
}

/// A command's example and flags.
pub fn parts(command: &str) -> Option<(String, String)> {
    let rest = command.strip_prefix("cargo run --release --example ")?;
    let (name, flags) = rest.split_once(" -- ").unwrap_or((rest, ""));
    Some((name.to_owned(), flags.to_owned()))
}

/// The commands of chapters' programs on a page, each once.
pub fn chapter_commands(page: &Page) -> Vec<(String, String)> {
    let mut commands: Vec<(String, String)> = Vec::new();
    for command in page.commands().filter_map(parts) {
        let is_chapter = command.0.starts_with(|c: char| c.is_ascii_digit());
        if is_chapter && !commands.contains(&command) {
            commands.push(command);
        }
    }
    commands
}
