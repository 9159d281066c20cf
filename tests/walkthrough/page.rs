//! A page of the walkthrough, in parts: what is written by hand, and blocks that a comment says the origin of.

use std::fmt;

/// A page's lines, in which blocks can be put anew.
pub struct Page {
    /// The file's name, such as `01_derivative.md`.
    pub name: String,
    pub parts: Vec<Part>,
}

pub enum Part {
    /// Lines outside of blocks.
    Text(Vec<String>),
    Block(Block),
}

/// A fenced block, with the comment above it.
pub struct Block {
    /// The line of the file that it begins at.
    pub line: usize,
    /// What the comment says: `code: FILE#PIECE`, `output: …`, `drawing`, `formula`, or nothing.
    pub origin: String,
    pub language: String,
    pub lines: Vec<String>,
}

impl Page {
    /// # Errors
    /// If a fence does not end.
    pub fn parse(name: &str, text: &str) -> Result<Page, String> {
        let mut parts = vec![Part::Text(Vec::new())];
        let mut lines = text.lines().zip(1..);
        while let Some((line, number)) = lines.next() {
            let Some(language) = line.strip_prefix("```") else {
                last_text(&mut parts).push(line.to_owned());
                continue;
            };
            let above = last_text(&mut parts).last().and_then(|line| comment(line));
            let origin = above.unwrap_or_default().to_owned();
            let mut inside = Vec::new();
            loop {
                match lines.next() {
                    Some(("```", _)) => break,
                    Some((line, _)) => inside.push(line.to_owned()),
                    None => return Err(format!("{name}: the block at line {number} does not end")),
                }
            }
            let language = language.to_owned();
            parts.push(Part::Block(Block { line: number, origin, language, lines: inside }));
            parts.push(Part::Text(Vec::new()));
        }
        Ok(Page { name: name.to_owned(), parts })
    }

    pub fn blocks(&self) -> impl Iterator<Item = &Block> {
        self.parts.iter().filter_map(|part| match part {
            Part::Block(block) => Some(block),
            Part::Text(_) => None,
        })
    }

    /// The lines that are written by hand.
    pub fn text(&self) -> impl Iterator<Item = &str> {
        let lines = self.parts.iter().flat_map(|part| match part {
            Part::Text(lines) => lines.as_slice(),
            Part::Block(_) => &[],
        });
        lines.map(String::as_str)
    }

    /// The commands of its shell blocks.
    pub fn commands(&self) -> impl Iterator<Item = &str> {
        let shell = self.blocks().filter(|block| block.language == "sh");
        shell.flat_map(|block| block.lines.iter()).map(String::as_str)
    }

    /// The pictures, each with what a comment above says of it: file, and rest.
    pub fn pictures(&self) -> Vec<(String, String)> {
        let lines: Vec<&str> = self.text().collect();
        let mut pictures = Vec::new();
        for (index, line) in lines.iter().enumerate() {
            let Some((_, rest)) = line.split_once("](pictures/") else { continue };
            let file = rest.split(')').next().unwrap_or_default();
            let above = index.checked_sub(1).and_then(|above| comment(lines[above]));
            let origin = above.and_then(|comment| comment.strip_prefix("picture:"));
            pictures.push((file.to_owned(), origin.unwrap_or_default().trim().to_owned()));
        }
        pictures
    }
}

fn last_text(parts: &mut [Part]) -> &mut Vec<String> {
    match parts.last_mut() {
        Some(Part::Text(lines)) => lines,
        _ => unreachable!("text follows each block"),
    }
}

fn comment(line: &str) -> Option<&str> {
    Some(line.strip_prefix("<!--")?.strip_suffix("-->")?.trim())
}

impl fmt::Display for Page {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        for part in &self.parts {
            match part {
                Part::Text(lines) => lines.iter().try_for_each(|line| writeln!(f, "{line}"))?,
                Part::Block(Block { language, lines, .. }) => {
                    writeln!(f, "```{language}")?;
                    lines.iter().try_for_each(|line| writeln!(f, "{line}"))?;
                    writeln!(f, "```")?;
                }
            }
        }
        Ok(())
    }
}
