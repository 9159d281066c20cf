//! What is found wrong.

use super::mask::Mask;
use std::collections::HashMap;
use std::fmt;

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// Two lanes of a workgroup touch an element of memory, one of them writing, and no barrier that
    /// orders this memory lies between.
    Race,
    /// Two workgroups of a dispatch touch an element of storage memory, one of them writing.
    RaceOfGroups,
    /// Two bindings of a dispatch see the same memory, and one is there to be written.
    Overlap,
    /// An index that lies outside.
    OutOfBounds,
    /// Workgroup memory that is read, and was not written before in this workgroup.
    Unwritten,
    /// A barrier that not all lanes of the workgroup come to.
    DivergentBarrier,
    /// An index that comes from a sum, difference or product that was too large for its 32 bits.
    WrappedIndex,
    /// A shift by 32 bits or more.
    Shift,
    /// A whole number divided by zero.
    DivisionByZero,
    /// A real number that came out as infinity or as no number, from operands that were finite.
    NotFinite,
}

/// A fault that was found, at a line of a shader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Of what kind.
    pub fault: Fault,
    /// The shader's file.
    pub shader: String,
    /// The entry point that was run.
    pub entry_point: String,
    /// The line of the shader, from 1; 0 where it is a matter of the whole dispatch.
    pub line: u32,
    /// What happened the first time, with lanes and elements.
    pub what: String,
    /// How often it happened.
    pub times: u64,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Finding { shader, line, entry_point, what, times, .. } = self;
        write!(f, "{shader}:{line}: {what} (in {entry_point}, {times} times)")
    }
}

/// All that was found. What happens again at a line is only counted.
#[derive(Debug, Default)]
pub struct Findings {
    list: Vec<Finding>,
    known: HashMap<(Fault, String, u32), usize>,
}

impl Findings {
    pub fn add(
        &mut self,
        fault: Fault,
        (shader, entry_point): (&str, &str),
        line: u32,
        what: impl FnOnce() -> String,
    ) {
        let key = (fault, entry_point.to_owned(), line);
        if let Some(index) = self.known.get(&key) {
            self.list[*index].times += 1;
            return;
        }
        self.known.insert(key, self.list.len());
        let (shader, entry_point) = (shader.to_owned(), entry_point.to_owned());
        self.list.push(Finding { fault, shader, entry_point, line, what: what(), times: 1 });
    }

    /// Adds what another list has.
    pub fn join(&mut self, other: Findings) {
        for found in other.list {
            let key = (found.fault, found.entry_point.clone(), found.line);
            match self.known.get(&key) {
                Some(index) => self.list[*index].times += found.times,
                None => {
                    self.known.insert(key, self.list.len());
                    self.list.push(found);
                }
            }
        }
    }

    pub fn list(&self) -> &[Finding] {
        &self.list
    }
}

/// Lanes in words.
pub fn lanes(mask: Mask) -> String {
    let all: Vec<usize> = mask.lanes().collect();
    match all[..] {
        [one] => format!("lane {one}"),
        [first, .., last] if last - first + 1 == all.len() => format!("lanes {first} to {last}"),
        _ => {
            let shown = all.iter().take(8).map(ToString::to_string).collect::<Vec<_>>().join(", ");
            format!("lanes {shown}{}", if all.len() > 8 { ", ..." } else { "" })
        }
    }
}
