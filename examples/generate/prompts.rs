//! Where prompts come from, and the tokens that they become.

use crate::arguments::Prompts;
use crate::common::language_models::AnyTokenizer;
use crate::common::program::Result;
use neutreno::data::corpus::whole_text;
use std::io::{self, IsTerminal};
use std::path::Path;

/// A text to go on with.
pub struct Prompt {
    pub text: String,
    /// How it is named where something is wrong with it.
    pub place: String,
}

/// All of them, from whichever source was named, or from a pipe.
///
/// # Errors
/// If there is none, or it cannot be read.
pub fn find(flags: &Prompts) -> Result<Vec<Prompt>> {
    if let Some(text) = &flags.prompt {
        return Ok(vec![Prompt { text: text.clone(), place: "--prompt".into() }]);
    }
    if let Some(path) = &flags.batch_of_prompts {
        let shown = path.display();
        let text = whole_text(path)?;
        let prompt = |(line, text): (usize, &str)| Prompt {
            text: text.to_owned(),
            place: format!("{shown}, line {line}"),
        };
        let prompts: Vec<Prompt> = (1..).zip(text.lines()).map(prompt).collect();
        return match prompts.is_empty() {
            true => Err(format!("{shown} has no prompts: write one in each line").into()),
            false => Ok(prompts),
        };
    }
    let (path, place) = match &flags.prompt_file {
        Some(path) => (path.as_path(), path.display().to_string()),
        None if io::stdin().is_terminal() => {
            return Err("there is no prompt: give one with --prompt TEXT, --prompt-file FILE or \
                        through a pipe, or talk with the model with --chat"
                .into());
        }
        None => (Path::new("-"), "the pipe".into()),
    };
    let mut text = whole_text(path)?;
    // What writes a line ends it, and a model would go on with another one.
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    Ok(vec![Prompt { text, place }])
}

/// The tokens of a prompt. For an empty one that is the token that texts begin with.
///
/// # Errors
/// If there are no tokens to go on with.
pub fn tokens(
    prompt: &Prompt,
    tokenizer: &AnyTokenizer,
    begin_token: Option<u32>,
) -> Result<Vec<u32>> {
    let mut tokens = tokenizer.encode(&prompt.text, true)?;
    if tokens.is_empty() {
        tokens.extend(begin_token);
    }
    if tokens.is_empty() {
        return Err(format!(
            "{} is an empty prompt, and the model has no token that texts begin with: give it a word \
             to go on with",
            prompt.place
        )
        .into());
    }
    Ok(tokens)
}
