//! A small picture of a kernel for the terminal: who reads and writes what, in rows of cells.

use crate::focus::{Focus, Scene, scenes};
use neutreno_simulator::{Does, Touch, Trace};
use std::fmt::Write;

/// The cells of a row. Eight words are a sector.
const CELLS: usize = 8;
/// The letters of a cell of words.
const WIDTH: usize = 7;

pub fn draw(trace: &Trace, focus: &Focus) -> String {
    let scenes = scenes(trace, focus, 3);
    let (Some(first), Some(last)) = (scenes.first(), scenes.last()) else { return String::new() };
    match focus {
        Focus::Race => {
            let raced = last.touches.iter().find(|touch| touch.races);
            words(trace, raced.unwrap_or(&last.touches[0]), "between the same two barriers")
        }
        Focus::Word { word, .. } => {
            let one = first.touches.iter().find(|touch| touch.word == *word);
            words(trace, one.unwrap_or(&first.touches[0]), "from its beginning to its end")
        }
        _ => scenes.iter().map(|scene| lanes(scene, focus)).collect::<Vec<_>>().join("\n"),
    }
}

/// Words near to one that is touched, and the lanes of that workgroup that touch them: in that epoch if
/// it races, or else at all.
fn words(trace: &Trace, one: &Touch, when: &str) -> String {
    let variable = &trace.variables[one.variable as usize];
    let first = one.word / CELLS as u32 * CELLS as u32;
    let last = (first + CELLS as u32).min(variable.words);
    let is_near =
        |touch: &&Touch| touch.variable == one.variable && (first..last).contains(&touch.word);
    let near: Vec<&Touch> = trace.touches.iter().filter(is_near).collect();
    let is_now = |touch: &Touch| {
        touch.workgroup == one.workgroup && (!one.races || touch.epoch == one.epoch)
    };
    let lanes = |word: u32, does: Does| {
        let of = near.iter().filter(|touch| touch.word == word && touch.does == does);
        list(of.filter(|touch| is_now(touch)).map(|touch| touch.lane).collect())
    };
    let elsewhere = |word: u32| {
        let of = near.iter().filter(|touch| touch.word == word && one.races);
        let groups = of.filter(|touch| touch.workgroup != one.workgroup);
        list(groups.map(|touch| touch.workgroup[0]).collect())
    };
    let race = |word: u32| {
        let is_raced = near.iter().any(|touch| touch.word == word && touch.races);
        if is_raced { "race".to_owned() } else { String::new() }
    };
    let [x, y] = one.workgroup;
    let mut text = format!("{}, in workgroup ({x}, {y}), {when}:\n", variable.name);
    let mut row_of = |name: &str, cell: &dyn Fn(u32) -> String| {
        let cells: Vec<String> = (first..last).map(cell).collect();
        if cells.iter().any(|cell| !cell.is_empty()) {
            write_row(&mut text, name, &cells, WIDTH);
        }
    };
    row_of("word", &|word| word.to_string());
    row_of("written by", &|word| lanes(word, Does::Write));
    row_of("read by", &|word| lanes(word, Does::Read));
    row_of("and groups", &elsewhere);
    row_of("", &race);
    text
}

/// The lanes of a warp, and the word that each touches.
fn lanes(scene: &Scene, focus: &Focus) -> String {
    let warp = match focus {
        Focus::Outside(_) => scene.last_lanes(CELLS),
        _ => scene.warp(),
    };
    let mut text = format!("{}\n", scene.title());
    let shown = |cell: &dyn Fn(u32, u32) -> u32| {
        let mut cells: Vec<String> =
            warp.iter().take(CELLS).map(|(lane, word)| cell(*lane, *word).to_string()).collect();
        if let Some((lane, word)) = warp.get(CELLS..).and_then(<[_]>::last) {
            cells.push(format!("… {}", cell(*lane, *word)));
        }
        cells
    };
    write_row(&mut text, "lane", &shown(&|lane, _| lane), 6);
    write_row(&mut text, "word", &shown(&|_, word| word), 6);
    let start = scene.variable.start;
    match focus {
        Focus::Banks => {
            write_row(&mut text, "bank", &shown(&|_, word| (start + word) % 32), 6);
        }
        Focus::Sectors => write_row(&mut text, "sector", &shown(&|_, word| word / 8), 6),
        Focus::Outside(_) => {
            text.push_str("  and no other lane: the others are outside, or not there\n")
        }
        _ => {}
    }
    text
}

fn write_row(text: &mut String, name: &str, cells: &[String], width: usize) {
    let mut row = format!("  {name:<10}");
    for cell in cells {
        let _ = write!(row, " {cell:>width$}");
    }
    text.push_str(row.trim_end());
    text.push('\n');
}

/// Numbers in as few letters as a cell has.
fn list(mut all: Vec<u32>) -> String {
    all.sort_unstable();
    let count = all.len();
    all.dedup();
    let times =
        if count > all.len() && all.len() == 1 { format!(" ×{count}") } else { String::new() };
    let (Some(first), Some(last)) = (all.first(), all.last()) else { return String::new() };
    let text = match all[..] {
        [one] => format!("{one}{times}"),
        [one, other] => format!("{one}, {other}"),
        _ if (last - first) as usize + 1 == all.len() => format!("{first}–{last}"),
        _ => format!("{first}, …"),
    };
    if text.chars().count() > WIDTH { format!("{first}, …") } else { text }
}
