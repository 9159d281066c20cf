//! What someone says in a chat, line by line: typed on a terminal, or through a pipe.

use crate::common::program::Result;
use neutreno::training::Error;
use rustyline::error::ReadlineError;
use rustyline::{Behavior, Config, DefaultEditor};
use std::io::{self, BufRead, IsTerminal};

/// Where the lines come from.
pub enum Lines {
    /// With editing, and the arrow keys for what was said before.
    Terminal(Box<DefaultEditor>),
    /// With the number of the line.
    Pipe(usize),
}

impl Lines {
    /// # Errors
    /// If the terminal can't be used.
    pub fn open() -> Result<Lines> {
        if !io::stdin().is_terminal() {
            return Ok(Lines::Pipe(0));
        }
        // What is said is no part of what the model writes, wherever that goes.
        let behavior = match io::stdout().is_terminal() {
            true => Behavior::Stdio,
            false => Behavior::PreferTerm,
        };
        let config = Config::builder().behavior(behavior).auto_add_history(true).build();
        Ok(Lines::Terminal(Box::new(DefaultEditor::with_config(config)?)))
    }

    /// Whether someone is there who can say something else.
    pub fn is_terminal(&self) -> bool {
        matches!(self, Lines::Terminal(_))
    }

    /// The next line; `None` at the end.
    ///
    /// # Errors
    /// If it is no text, or Ctrl-C came instead.
    pub fn next(&mut self) -> Result<Option<String>> {
        match self {
            Lines::Terminal(editor) => match editor.readline("> ") {
                Ok(line) => Ok(Some(line)),
                Err(ReadlineError::Eof) => Ok(None),
                Err(ReadlineError::Interrupted) => Err(Error::Interrupted.into()),
                Err(error) => Err(format!("the terminal cannot be read: {error}").into()),
            },
            Lines::Pipe(number) => {
                *number += 1;
                let mut line = Vec::new();
                if io::stdin().lock().read_until(b'\n', &mut line)? == 0 {
                    return Ok(None);
                }
                let text = String::from_utf8(line).map_err(|_| {
                    format!("line {number} of what comes through the pipe is no text in UTF-8")
                })?;
                Ok(Some(text.trim_end_matches(['\n', '\r']).to_owned()))
            }
        }
    }
}
