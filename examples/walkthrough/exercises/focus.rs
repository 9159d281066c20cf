//! Which accesses of a dispatch are worth a picture.

use neutreno_simulator::{Does, Touch, Trace, Traced};
use std::collections::BTreeSet;

/// The lanes that do an instruction together, on the GPUs that are counted after.
pub const WARP: u32 = 32;

/// What a picture should show.
#[derive(Clone, Debug, PartialEq)]
pub enum Focus {
    /// What happens first.
    Start,
    /// What happens at a line of the shader.
    Line(u32),
    /// Where lanes went outside at a line: the access of the fewest lanes.
    Outside(u32),
    /// The first race.
    Race,
    /// Everything that a workgroup does to one word.
    Word { workgroup: [u32; 2], variable: u32, word: u32 },
    /// The access with the most bank conflicts.
    Banks,
    /// The access with the most sectors.
    Sectors,
}

/// One access of a workgroup: what its lanes do together.
pub struct Scene<'a> {
    pub variable: &'a Traced,
    pub line: u32,
    pub does: Does,
    pub touches: Vec<&'a Touch>,
}

impl Scene<'_> {
    /// As a heading: where, and what.
    pub fn title(&self) -> String {
        let does = if self.does == Does::Read { "read" } else { "write" };
        let [x, y] = self.touches[0].workgroup;
        format!("line {}: lanes of workgroup ({x}, {y}) {does} {}", self.line, self.variable.name)
    }

    /// The lanes of the first warp that comes here, each with the word that it touches first.
    pub fn warp(&self) -> Vec<(u32, u32)> {
        let mut lanes = self.lanes();
        let warp = lanes[0].0 / WARP;
        lanes.retain(|(lane, _)| lane / WARP == warp);
        lanes
    }

    /// The words that the first lanes touch.
    pub fn words(&self, lanes: u32) -> impl Iterator<Item = u32> {
        self.touches.iter().filter(move |touch| touch.lane < lanes).map(|touch| touch.word)
    }

    /// The last lanes that come here.
    pub fn last_lanes(&self, count: usize) -> Vec<(u32, u32)> {
        let lanes = self.lanes();
        lanes[lanes.len().saturating_sub(count)..].to_vec()
    }

    fn lanes(&self) -> Vec<(u32, u32)> {
        let lanes = self.touches.chunk_by(|one, next| one.lane == next.lane);
        lanes.map(|touches| (touches[0].lane, touches[0].word)).collect()
    }

    /// How many words of one bank the warp's lanes want at most.
    pub fn of_a_bank(&self) -> usize {
        let mut words: Vec<u32> = self.warp().iter().map(|(_, word)| *word).collect();
        words.sort_unstable();
        words.dedup();
        let bank = |word: u32| (self.variable.start + word) % 32;
        let of = |one| words.iter().filter(|word| bank(**word) == one).count();
        (0..32).map(of).max().unwrap_or(0)
    }

    /// How many sectors of memory the warp's words lie in.
    pub fn sectors(&self) -> usize {
        let mut sectors: Vec<u32> = self.warp().iter().map(|(_, word)| word / 8).collect();
        sectors.sort_unstable();
        sectors.dedup();
        sectors.len()
    }
}

/// The accesses of a trace in their order.
fn accesses(trace: &Trace) -> Vec<Scene<'_>> {
    let together = |a: &Touch, b: &Touch| (a.workgroup, a.step) == (b.workgroup, b.step);
    trace
        .touches
        .chunk_by(together)
        .map(|touches| Scene {
            variable: &trace.variables[touches[0].variable as usize],
            line: touches[0].line,
            does: touches[0].does,
            touches: touches.iter().collect(),
        })
        .collect()
}

/// At most so many scenes for a focus, in the order in which they happen.
pub fn scenes<'a>(trace: &'a Trace, focus: &Focus, most: usize) -> Vec<Scene<'a>> {
    let all = accesses(trace);
    let mut scenes = match focus {
        Focus::Start => each_line_once(all),
        Focus::Line(line) => each_line_once(all.into_iter().filter(|one| one.line == *line)),
        Focus::Outside(line) => {
            let mut here: Vec<Scene> = all.into_iter().filter(|one| one.line == *line).collect();
            here.sort_by_key(|one| one.touches.len());
            each_line_once(here)
        }
        Focus::Race => race(all),
        Focus::Word { workgroup, variable, word } => {
            let is_it = |touch: &&Touch| {
                (touch.workgroup, touch.variable, touch.word) == (*workgroup, *variable, *word)
            };
            all.into_iter().filter(|one| one.touches.iter().any(is_it)).collect()
        }
        Focus::Banks => {
            let of_workgroup = all.into_iter().filter(|one| one.variable.binding.is_none());
            worst(of_workgroup, Scene::of_a_bank)
        }
        Focus::Sectors => {
            worst(all.into_iter().filter(|one| one.variable.binding.is_some()), Scene::sectors)
        }
    };
    scenes.truncate(most);
    scenes
}

/// The first word of workgroup memory that was read before that workgroup wrote it.
pub fn unwritten(trace: &Trace) -> Option<Focus> {
    let mut written = BTreeSet::new();
    for touch in &trace.touches {
        let Touch { workgroup, variable, word, .. } = *touch;
        if trace.variables[variable as usize].binding.is_some() {
            continue;
        }
        match touch.does {
            Does::Write => drop(written.insert((workgroup, variable, word))),
            Does::Read if written.contains(&(workgroup, variable, word)) => {}
            Does::Read => return Some(Focus::Word { workgroup, variable, word }),
        }
    }
    None
}

/// The first access of each line to each variable.
fn each_line_once<'a>(all: impl IntoIterator<Item = Scene<'a>>) -> Vec<Scene<'a>> {
    let mut scenes: Vec<Scene> = Vec::new();
    for one in all {
        let same = |other: &Scene| {
            (other.line, &other.variable.name, other.does)
                == (one.line, &one.variable.name, one.does)
        };
        if !scenes.iter().any(same) {
            scenes.push(one);
        }
    }
    scenes
}

/// The access where the first race is seen, after the one that it races with.
fn race(all: Vec<Scene>) -> Vec<Scene> {
    let raced = |one: &Scene| one.touches.iter().find(|touch| touch.races).map(|touch| **touch);
    let Some((at, late)) = all.iter().enumerate().find_map(|(at, one)| Some((at, raced(one)?)))
    else {
        return Vec::new();
    };
    let races_with = |touch: &&Touch| {
        let is_other = (touch.workgroup, touch.lane) != (late.workgroup, late.lane);
        let one_writes = touch.does == Does::Write || late.does == Does::Write;
        (touch.variable, touch.word) == (late.variable, late.word) && is_other && one_writes
    };
    let before = all[..at].iter().rposition(|one| one.touches.iter().any(races_with));
    all.into_iter()
        .enumerate()
        .filter(|(index, _)| *index == at || Some(*index) == before)
        .map(|(_, one)| one)
        .collect()
}

/// The first of those that are the worst.
fn worst<'a>(
    all: impl Iterator<Item = Scene<'a>>,
    how: impl Fn(&Scene<'a>) -> usize,
) -> Vec<Scene<'a>> {
    let mut worst: Option<(usize, Scene)> = None;
    for one in all {
        let bad = how(&one);
        if worst.as_ref().is_none_or(|(most, _)| bad > *most) {
            worst = Some((bad, one));
        }
    }
    worst.into_iter().map(|(_, one)| one).collect()
}
