//! Writing to the terminal, or to whatever stands in its place.
//!
//! Whoever reads may go away: `… | head -2` has seen enough, a terminal is closed. `println!` then
//! ends the program. Here what can't be shown is dropped, and the run goes on; what must be kept is
//! in its folder.

use neutreno::report::escaped;
use serde::Serialize;
use std::fmt::Display;
use std::io::{self, ErrorKind, IsTerminal, Write};
use textwrap::{Options, WordSplitter};

/// Shows a result: a line on standard output. Names, data and what models write may hold anything,
/// so what would act on a terminal is written out.
pub fn result(text: impl Display) {
    print(escaped(&text.to_string()));
}

/// Shows a result for other programs: a line of JSON on standard output, left as it is.
pub fn json(value: &impl Serialize) {
    print(serde_json::to_string(value).expect("what is shown has only text for keys"));
}

fn print(text: impl Display) {
    if let Err(error) = write(&mut io::stdout().lock(), text)
        && error.kind() != ErrorKind::BrokenPipe
    {
        note(format!("standard output cannot be written: {error}"));
    }
}

/// Shows a piece of a result that comes piece by piece. False if nobody reads any more.
pub fn piece(text: &str) -> bool {
    let mut to = io::stdout().lock();
    to.write_all(escaped(text).as_bytes()).and_then(|()| to.flush()).is_ok()
}

/// Says something beside the results: a line on standard error, wrapped between words where a
/// terminal would break it within them.
pub fn note(text: impl Display) {
    let text = escaped(&text.to_string());
    let text = match width() {
        Some(width) => wrapped(&text, width),
        None => text,
    };
    // Nobody is left who could be told.
    let _ = write(&mut io::stderr().lock(), text);
}

/// The columns of the terminal that standard error goes to, if it is one.
pub fn width() -> Option<usize> {
    let (width, _) =
        io::stderr().is_terminal().then(|| terminal_size::terminal_size_of(io::stderr()))??;
    (width.0 > 0).then_some(width.0.into())
}

fn write(to: &mut impl Write, text: impl Display) -> io::Result<()> {
    // In one piece, so that lines of several processes don't mix.
    to.write_all(format!("{text}\n").as_bytes())?;
    to.flush()
}

/// The lines of `text`, none longer than `width` unless a single word is. What continues a line is
/// indented as the line is.
fn wrapped(text: &str, width: usize) -> String {
    let line = |line: &str| {
        let indent: String = line.chars().take_while(|letter| *letter == ' ').collect();
        let options = Options::new(width)
            .subsequent_indent(&indent)
            .break_words(false)
            .word_splitter(WordSplitter::NoHyphenation);
        textwrap::fill(line, options)
    };
    text.split('\n').map(line).collect::<Vec<_>>().join("\n")
}
