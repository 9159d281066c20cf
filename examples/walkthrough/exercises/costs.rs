//! What a kernel does that is too dear, though its numbers are right.

use crate::focus::Focus;
use neutreno_simulator::{Counts, Does, Touch, Trace};
use std::collections::BTreeMap;

/// What a dispatch cost.
pub struct Cost<'a> {
    pub counts: Counts,
    pub trace: &'a Trace,
    /// The first of the uniforms.
    pub size: u32,
    /// The largest array that each invocation has of its own: its name and its numbers.
    pub own: Option<&'a (String, u32)>,
}

/// What is too dear, in words, and where to look.
pub struct TooDear {
    pub what: String,
    pub focus: Focus,
}

pub fn none(_: &Cost) -> Option<TooDear> {
    None
}

/// Each workgroup reads each element of an input at most once.
pub fn each_read_once(cost: &Cost) -> Option<TooDear> {
    let mut times = BTreeMap::<([u32; 2], u32, u32), u64>::new();
    let mut all = 0;
    let is_input = |touch: &&Touch| {
        touch.does == Does::Read && variable(cost.trace, touch.variable).binding.is_some()
    };
    for touch in cost.trace.touches.iter().filter(is_input) {
        *times.entry((touch.workgroup, touch.variable, touch.word)).or_default() += 1;
        all += 1;
    }
    let once = times.len();
    // The first of those that are read most.
    let most = times.iter().rev().max_by_key(|(_, times)| **times)?;
    let ((workgroup, index, word), most) = (*most.0, *most.1);
    (most > 1).then(|| TooDear {
        what: format!(
            "The numbers are right, but memory is read {all} times where {once} would do: workgroup ({}, {}) \
             reads {}[{word}] {most} times. Let it fetch each number once, into workgroup memory.",
            workgroup[0],
            workgroup[1],
            variable(cost.trace, index).name
        ),
        focus: Focus::Word { workgroup, variable: index, word },
    })
}

/// Workgroup memory without conflicts, and memory in whole sectors.
pub fn no_conflicts_and_whole_sectors(cost: &Cost) -> Option<TooDear> {
    let Counts { sectors, fewest_sectors, bank_conflicts, workgroup_accesses, .. } = cost.counts;
    if sectors > fewest_sectors {
        let what = format!(
            "The numbers are right, but {sectors} sectors of 32 bytes are moved where {fewest_sectors} would do: \
             neighbouring invocations should read, and write, neighbouring numbers of x and y."
        );
        return Some(TooDear { what, focus: Focus::Sectors });
    }
    (bank_conflicts > 0).then(|| TooDear {
        what: format!(
            "The numbers are right, but there are {bank_conflicts} bank conflicts in {workgroup_accesses} \
             accesses to workgroup memory: so often a bank has to be asked again, because invocations want \
             different words of it at once."
        ),
        focus: Focus::Banks,
    })
}

/// Nothing as large as the number of tokens, squared; in each invocation nothing as large as that number.
pub fn no_square_of_tokens(cost: &Cost) -> Option<TooDear> {
    let writes = |touch: &&Touch| touch.does == Does::Write;
    for (index, variable) in (0..).zip(&cost.trace.variables) {
        let mut words: Vec<u32> = cost
            .trace
            .touches
            .iter()
            .filter(writes)
            .filter(|touch| touch.variable == index)
            .map(|touch| touch.word)
            .collect();
        words.sort_unstable();
        words.dedup();
        let held = if variable.binding.is_some() { words.len() as u32 } else { variable.words };
        if held > cost.size * cost.size / 2 {
            let what = format!(
                "The numbers are right, but {} has {held} numbers for {} tokens, as many as there are scores. \
                 For twice the tokens that is four times as much.",
                variable.name, cost.size
            );
            let focus = words.first().map_or(Focus::Start, |word| Focus::Word {
                workgroup: [0; 2],
                variable: index,
                word: *word,
            });
            return Some(TooDear { what, focus });
        }
    }
    let (name, numbers) = cost.own.filter(|(_, numbers)| *numbers > 16)?;
    let what = format!(
        "The numbers are right, but in each invocation {name} has {numbers} numbers: for all queries together \
         that is the matrix of scores again, and more tokens than that do not fit."
    );
    Some(TooDear { what, focus: Focus::Start })
}

fn variable(trace: &Trace, index: u32) -> &neutreno_simulator::Traced {
    &trace.variables[index as usize]
}
