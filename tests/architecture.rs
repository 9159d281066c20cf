//! What docs/ARCHITECTURE.md promises of the house: no files that use each other in a circle, floors
//! and rooms that know only those below them, and a map that is true.

#[path = "architecture/circles.rs"]
mod circles;
#[path = "architecture/sources.rs"]
mod sources;
#[path = "architecture/words.rs"]
mod words;

use circles::circles;
use sources::{Crate, Uses};
use std::fs;
use std::path::{Path, PathBuf};
use words::words_of;

/// The crates, from the ground up: the folder, the first file, and the names in `Cargo.toml` of those
/// of ours that it uses.
const CRATES: [(&str, &str, &[&str]); 5] = [
    ("shaders", "shaders/lib.rs", &[]),
    ("engine", "engine/src/lib.rs", &["neutreno-shaders"]),
    ("shaders/simulator", "shaders/simulator/lib.rs", &["neutreno-engine"]),
    ("models", "models/lib.rs", &["neutreno-engine"]),
    (".", "training/lib.rs", &["neutreno-models"]),
];

/// The engine in the order in which it can be read: each row uses only rows above it, and itself.
const ENGINE: [&[&str]; 8] = [
    &["shape.rs", "ids.rs", "half.rs", "memory_use.rs", "error.rs", "random.rs", "computation.rs"],
    &["device/"],
    &["tensor.rs", "debug.rs", "finite.rs"],
    &["autograd/"],
    &["proof.rs"],
    &["ops/"],
    &["proof/check.rs"],
    &["parameters.rs", "parameters/", "optim.rs", "optim/", "checkpoint.rs"],
];

/// The rooms of training, each with those that it may know. The files beside the folders are the loop.
const ROOMS: [(&str, &[&str]); 8] = [
    ("data", &[]),
    ("ranks", &[]),
    ("run", &[]),
    ("report", &["run"]),
    ("loop", &["ranks", "run", "report"]),
    ("tasks", &["data", "run", "loop", "open"]),
    ("open", &["run", "report", "loop"]),
    ("export", &["data", "run", "report", "loop", "open"]),
];

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn parse(first: &str) -> Crate {
    Crate::parse(repository(), first)
}

#[test]
fn no_files_use_each_other_in_a_circle() {
    let uses: Uses = CRATES.iter().flat_map(|(_, first, _)| parse(first).uses()).collect();
    let found = circles(&uses);
    assert!(found.is_empty(), "{}", found.join("\n\n"));
}

/// What is looked for above is found: through re-exports, imports and macros, but not in tests.
#[test]
fn a_circle_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    fs::create_dir(folder.path().join("room")).unwrap();
    write("lib.rs", "mod first; mod room; mod last; pub use room::Inner;");
    write(
        "first.rs",
        "pub struct First; fn f() { println!(\"{:?}\", crate::room::Inner::new()); }",
    );
    write("room/mod.rs", "mod inner; pub use inner::Inner;");
    write("room/inner.rs", "use super::super::last; pub struct Inner; type A = last::Last;");
    write("last.rs", "pub struct Last; #[cfg(test)] mod tests { use crate::first::First; }");
    let found = || circles(&Crate::parse(folder.path(), "lib.rs").uses());
    assert_eq!(found(), Vec::<String>::new());
    write("last.rs", "pub struct Last; fn f(first: super::first::First) {}");
    let circle =
        "first.rs uses new of\nroom/inner.rs uses Last of\nlast.rs uses First of\nfirst.rs";
    assert_eq!(found(), [circle]);
}

#[test]
fn each_floor_uses_only_the_one_below() {
    for (folder, _, below) in CRATES {
        let manifest = fs::read_to_string(repository().join(folder).join("Cargo.toml")).unwrap();
        let (_, dependencies) = manifest.split_once("\n[dependencies]\n").unwrap_or_default();
        let lines = dependencies.lines().take_while(|line| !line.starts_with('['));
        let names = lines.filter_map(|line| line.split([' ', '.', '=']).next());
        let ours: Vec<&str> = names.filter(|name| name.starts_with("neutreno")).collect();
        assert_eq!(ours, below, "{folder}/Cargo.toml");
    }
}

#[test]
fn the_engine_can_be_read_in_order() {
    let row = |file: &str| {
        let file = file.strip_prefix("engine/src/").expect("a file of the engine");
        let holds = |name: &&str| file == *name || name.ends_with('/') && file.starts_with(*name);
        let row = ENGINE.iter().position(|row| row.iter().any(&holds));
        row.unwrap_or_else(|| panic!("{file}: a file that is not in ENGINE"))
    };
    for ((user, used), names) in parse("engine/src/lib.rs").uses() {
        let in_order = user == "engine/src/lib.rs" || row(&used) <= row(&user);
        assert!(in_order, "{user} uses {names:?} of {used}, which comes after it");
    }
}

#[test]
fn rooms_of_training_know_only_those_below() {
    let room = |file: &str| {
        let file = file.strip_prefix("training/").expect("a file of training");
        // A folder that has a file of its name beside it is what that file consists of.
        let is_room = |room: &str| !repository().join(format!("training/{room}.rs")).exists();
        let room = file.split_once('/').map(|(room, _)| room).filter(|room| is_room(room));
        room.unwrap_or("loop").to_owned()
    };
    for ((user, used), names) in parse("training/lib.rs").uses() {
        let (own, other) = (room(&user), room(&used));
        let below = ROOMS.iter().find(|(room, _)| *room == own);
        let (_, below) = below.unwrap_or_else(|| panic!("{user}: a room that is not in ROOMS"));
        let allowed = own == other || below.contains(&other.as_str());
        assert!(allowed, "{user} uses {names:?} of {used}: {own} must not know {other}");
    }
}

#[test]
fn only_one_place_names_wgpu_and_none_above_the_engine_a_kind_of_device() {
    for (_, first, _) in CRATES {
        for (path, file) in &parse(first).files {
            let words = words_of(file);
            let names_wgpu = words.contains("wgpu");
            assert!(!names_wgpu || path.starts_with("engine/src/device/gpu/"), "{path} names wgpu");
            let kind =
                ["cpu", "gpu", "cpu_with_threads"].iter().find(|kind| words.contains(**kind));
            let above = path.starts_with("models/") || path.starts_with("training/");
            assert!(!above || kind.is_none(), "{path} names {kind:?}");
        }
    }
}

#[test]
fn only_one_place_names_mpi() {
    for (path, file) in &parse("training/lib.rs").files {
        let is_there = ["training/ranks/mpi.rs", "training/ranks/mod.rs"].contains(&path.as_str());
        assert!(is_there || !words_of(file).contains("mpi"), "{path} names mpi");
    }
}

/// Windows can neither shorten nor lock a file that is open for appending.
#[test]
fn no_file_is_opened_for_appending() {
    for (_, first, _) in CRATES {
        for (path, file) in &parse(first).files {
            assert!(!words_of(file).contains("append"), "{path}: open for writing, and seek");
        }
    }
}

/// Every path in the tables of the map is there: those of the first column in the folder that the
/// text before the table names, others in that or in the folder of their row, or from the root. And
/// every file is in a first column, or in a folder that is.
#[test]
fn the_map_is_true() {
    let text = fs::read_to_string(repository().join("docs/ARCHITECTURE.md")).unwrap();
    let (_, map) = text.split_once("## The map\n").expect("a map");
    let map = map.split("\n## ").next().expect("it ends somewhere");
    let (mut base, mut paths) = (PathBuf::new(), Vec::new());
    for paragraph in map.split("\n\n") {
        let is_row = |line: &&str| line.starts_with('|') && !line.starts_with("|---");
        if !paragraph.trim_start().starts_with('|') {
            let folders = code(paragraph).filter(|word| word.ends_with('/'));
            base = folders.last().map(PathBuf::from).unwrap_or_default();
            continue;
        }
        for row in paragraph.lines().filter(is_row).skip(1) {
            let (first, rest) = row[1..].split_once('|').expect("two columns or more");
            let mut own = base.clone();
            for path in code(first) {
                own = base.join(path);
                assert!(repository().join(&own).exists(), "{} is not there", own.display());
                // The rows of the first table are whole crates.
                if base != Path::new("") {
                    paths.push(own.clone());
                }
            }
            let is_path = |word: &&str| {
                word.contains('/') || [".rs", ".sh", ".md"].iter().any(|end| word.ends_with(end))
            };
            for path in code(rest).filter(is_path) {
                let mut folders = [Path::new(""), &base, &own].into_iter();
                let there = folders.any(|folder| repository().join(folder).join(path).exists());
                assert!(there, "{path} is not there: {row}");
            }
        }
    }
    for (_, first, _) in &CRATES[1..] {
        for file in parse(first).uses().into_keys().flat_map(|(user, used)| [user, used]) {
            let is_known =
                file == *first || paths.iter().any(|path| Path::new(&file).starts_with(path));
            assert!(is_known, "the map lacks {file}");
        }
    }
}

/// What stands in backticks.
fn code(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}
