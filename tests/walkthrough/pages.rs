//! The pages of the walkthrough, and what must be true of each as it stands.

use super::common::programs::program;
use super::origin::{Shown, parts};
use super::page::{Block, Page, Part};
use super::pieces::{piece, whole};
use libtest_mimic::Failed;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Words of prose, and lines of code and output, that are read in a minute.
const WORDS_A_MINUTE: f64 = 180.0;
const LINES_A_MINUTE: f64 = 12.0;

pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

pub fn folder() -> PathBuf {
    root().join("docs/walkthrough")
}

/// All pages, in order of their names.
pub fn all() -> Result<Vec<Page>, String> {
    let names = names(&folder(), ".md")?;
    names.iter().map(|name| read(name)).collect()
}

pub fn read(name: &str) -> Result<Page, String> {
    let path = folder().join(name);
    let text = fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    Page::parse(name, &text)
}

fn names(folder: &Path, ending: &str) -> Result<Vec<String>, String> {
    let entries = fs::read_dir(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    let names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut names: Vec<String> = names.filter(|name| name.ends_with(ending)).collect();
    names.sort_unstable();
    Ok(names)
}

fn is_chapter(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_digit())
}

/// Twelve chapters, each with a program, a page, and a link from the page before; no picture that no page shows;
/// all pages in the book's table of contents; and the whole time said is the sum.
pub fn belong_together() -> Result<(), Failed> {
    let chapters: Vec<Page> = all()?.into_iter().filter(|page| is_chapter(&page.name)).collect();
    let names: Vec<&str> =
        chapters.iter().filter_map(|page| page.name.strip_suffix(".md")).collect();
    let programs = root().join("examples/walkthrough");
    let programs = self::names(&programs, ".rs")?;
    let programs: Vec<&str> = programs.iter().filter_map(|name| name.strip_suffix(".rs")).collect();
    assert_eq!(programs, names, "programs and pages");
    assert_eq!(names.len(), 12);
    let read = |file: &str| fs::read_to_string(folder().join(file));
    let (contents, first) = (read("SUMMARY.md")?, read("index.md")?);
    for page in all()?.iter().filter(|page| page.name != "SUMMARY.md") {
        assert!(contents.contains(&format!("]({})", page.name)), "SUMMARY.md lacks {}", page.name);
    }
    for pair in chapters.windows(2) {
        let link = format!("]({})", pair[1].name);
        let last = pair[0].text().filter(|line| !line.is_empty()).last().unwrap_or_default();
        assert!(last.contains(&link), "{} does not end with a link to the next", pair[0].name);
    }
    let shown: Vec<String> = all()?.iter().flat_map(Page::pictures).map(|(file, _)| file).collect();
    for picture in self::names(&folder().join("pictures"), ".svg")? {
        assert!(shown.contains(&picture), "no page shows {picture}");
    }
    are_led_to(&names)?;
    let minutes: f64 = chapters.iter().map(minutes).sum();
    let said = minutes_said(&first).ok_or("index.md does not say how long all takes")?;
    assert!((minutes - said).abs() < 10.0, "all takes {minutes:.0} minutes, not {said}");
    Ok(())
}

/// Chapter 2's program is one short file that the compiler alone builds.
pub fn chapter_2_stands_alone() -> Result<(), Failed> {
    let file = root().join("examples/walkthrough/02_one_file.rs");
    assert!(fs::read_to_string(&file)?.lines().count() <= 250, "it is longer than 250 lines");
    let folder = tempfile::tempdir()?;
    let compiler = std::env::var_os("RUSTC").unwrap_or("rustc".into());
    let built = Command::new(compiler)
        .args(["-O", "-D", "warnings", "-o"])
        .arg(folder.path().join("02_one_file"))
        .arg(file)
        .output()?;
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    Ok(())
}

/// The README leads to the walkthrough in its first screen, the crate's front page and the map list the chapters.
fn are_led_to(names: &[&str]) -> Result<(), Failed> {
    let read = |file: &str| fs::read_to_string(root().join(file));
    let first_screen: Vec<String> = read("README.md")?.lines().take(25).map(Into::into).collect();
    let is_led_to = first_screen.iter().any(|line| line.contains("](docs/walkthrough/index.md)"));
    assert!(is_led_to, "README.md does not lead to the walkthrough");
    let (front, map) = (read("training/lib.rs")?, read("docs/ARCHITECTURE.md")?);
    for name in names {
        assert!(front.contains(&format!("| `{name}` |")), "training/lib.rs does not list {name}");
        let link = format!("](walkthrough/{name}.md)");
        assert!(map.contains(&link), "docs/ARCHITECTURE.md does not list {name}");
    }
    Ok(())
}

/// Whether all that a page names is there, and as it shows it.
pub fn is_well_formed(page: &Page) -> Result<(), String> {
    let mut problems = Vec::new();
    for block in page.blocks() {
        let problem = check_block(block).err();
        problems.extend(problem.map(|what| format!("line {}: {what}", block.line)));
    }
    for part in &page.parts {
        if let Part::Text(lines) = part {
            problems.extend(lines.iter().flat_map(|line| broken_links(line)));
        }
    }
    if is_chapter(&page.name) {
        problems.extend(check_frame(page));
    }
    if problems.is_empty() { Ok(()) } else { Err(problems.join("\n")) }
}

fn check_block(block: &Block) -> Result<(), String> {
    let origin = block.origin.as_str();
    if let Some(source) = origin.strip_prefix("code:") {
        let right = code(source.trim())?;
        return match block.lines == right {
            true => Ok(()),
            false => Err(format!("{source} is not as in the file; `tests/book update` copies it")),
        };
    }
    if let Some(output) = origin.strip_prefix("output:") {
        return Shown::parse(output).map(|_| ());
    }
    match block.language.as_str() {
        "sh" => block.lines.iter().try_for_each(|command| check_command(command)),
        "text" if ["drawing", "formula"].contains(&origin) => Ok(()),
        _ => Err("code and outputs must come from programs: see the comments above others".into()),
    }
}

/// The piece of a file that `FILE#PIECE` names, or all of a shader.
pub fn code(source: &str) -> Result<Vec<String>, String> {
    let (file, name) = source.split_once('#').unwrap_or((source, ""));
    let text = fs::read_to_string(root().join(file)).map_err(|e| format!("{file}: {e}"))?;
    match name {
        "" if file.ends_with(".wgsl") => Ok(whole(&text)),
        "" => Err(format!("{file} has no piece named")),
        _ => piece(&text, name).map_err(|what| format!("{file}: {what}")),
    }
}

/// A command must be of an example, and of flags that it has; those of chapters are run besides.
fn check_command(command: &str) -> Result<(), String> {
    let known = ["git clone", "cd ", "tests/", "rustc ", "./", "cargo doc", "cargo install mdbook"];
    if known.iter().any(|start| command.starts_with(start)) {
        return Ok(());
    }
    let Some((name, flags)) = parts(command) else {
        return Err(format!("`{command}` is no command that is known here"));
    };
    let listed = program(&name).arg("--help").output().map_err(|error| error.to_string())?;
    let help = String::from_utf8_lossy(&listed.stdout);
    let words = flags.split_whitespace().filter(|word| word.starts_with("--"));
    let flags = words.map(|word| word.split('=').next().unwrap_or(word));
    let unknown: Vec<&str> = flags.filter(|flag| !help.contains(flag)).collect();
    if unknown.is_empty() { Ok(()) } else { Err(format!("{name} has no {}", unknown.join(", "))) }
}

/// Links to files that are not there.
fn broken_links(line: &str) -> Vec<String> {
    let targets = line.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let files = targets.filter(|target| !target.starts_with("http"));
    let file = |target: &str| target.split('#').next().unwrap_or_default().to_owned();
    let missing = files.filter(|target| !folder().join(file(target)).exists());
    missing.map(|target| format!("{target} does not exist")).collect()
}

fn check_frame(page: &Page) -> Vec<String> {
    let mut problems = Vec::new();
    let text: Vec<&str> = page.text().collect();
    let number = page.name[..2].trim_start_matches('0');
    let program = page.name.replace(".md", ".rs");
    let name = page.name.trim_end_matches(".md");
    let mut lacks = |is_there: bool, what: &str| {
        if !is_there {
            problems.push(format!("it lacks {what}"));
        }
    };
    let heading = text.first().is_some_and(|line| line.starts_with(&format!("# {number}. ")));
    lacks(heading, "a first line with its number");
    let link = format!("](../../examples/walkthrough/{program})");
    lacks(text.iter().any(|line| line.contains(&link)), "a link to its program");
    let map = text.iter().any(|line| line.contains("](../ARCHITECTURE.md"));
    lacks(map, "a link to ARCHITECTURE.md");
    let command = format!("cargo run --release --example {name}");
    lacks(page.commands().any(|line| line.starts_with(&command)), "the command of its program");
    let to_try = text.iter().skip_while(|line| **line != "## To try");
    let tries = to_try.filter(|line| line.starts_with(|c: char| c.is_ascii_digit())).count();
    lacks(tries == 3, "three things to try");
    let (said, right) = (minutes_said(&text.join("\n")).unwrap_or(0.0), minutes(page));
    if (said - right).abs() > 2.5 {
        problems.push(format!("it takes about {right:.0} minutes to read, not {said}"));
    }
    problems
}

fn minutes(page: &Page) -> f64 {
    let prose = page.text().filter(|line| !line.starts_with("<!--"));
    let words = prose.flat_map(str::split_whitespace).count();
    let lines: usize = page.blocks().map(|block| block.lines.len()).sum();
    words as f64 / WORDS_A_MINUTE + lines as f64 / LINES_A_MINUTE
}

/// N of "About N minutes".
fn minutes_said(text: &str) -> Option<f64> {
    let (_, rest) = text.split_once("*About ")?;
    rest.split_once(" minutes")?.0.parse().ok()
}
