//! Says what is wrong with a reader's kernel, and draws it.

use crate::costs::Cost;
use crate::focus::{Focus, unwritten};
use crate::kernels::{Case, Kernel};
use crate::say::wrapped;
use crate::simulate::{self, Ran};
use crate::verdict::Verdict;
use crate::{picture, table};
use neutreno_simulator::{Counts, Does, Fault, Finding, Touch};

/// How many wrong numbers, and how many findings, are shown.
const SHOWN: usize = 3;
/// How many of the words that a lane has read are named.
const MOST_READ: usize = 6;

/// What is said of a kernel, and its picture if it ran.
pub fn judge(file: &str, text: &str, kernel: &Kernel) -> (Verdict, Option<String>) {
    let module = match simulate::parse(file, text) {
        Ok(module) => module,
        Err(error) => return (Verdict::wrong("It is no valid WGSL.", &error), None),
    };
    if !module.entry_points.iter().any(|entry| entry.name == kernel.entry_point) {
        let what = format!("There is no `@compute` function `{}` in it.", kernel.entry_point);
        return (Verdict::wrong(&what, "That is the one that is run, so it keeps its name."), None);
    }
    let own = simulate::own_array(&module);
    let mut first = None;
    for case in &kernel.cases {
        let ran = match simulate::run(text, kernel.entry_point, case) {
            Ok(ran) => ran,
            Err(what) => {
                let what = wrapped(&what.replace("exercise.wgsl", file));
                return (Verdict::wrong("The simulated GPU cannot run it.", &what), None);
            }
        };
        let size = case.uniforms[0];
        let cost = Cost { counts: ran.counts, trace: &ran.trace, size, own: own.as_ref() };
        let dear = || (kernel.cost)(&cost).map(|dear| (wrapped(&dear.what), dear.focus));
        if let Some((what, focus)) = faults(file, text, case, &ran).or_else(dear) {
            let how = format!("It runs with {}, and is not right yet.", case.what);
            let parts = [what, table::draw(&ran.trace, &focus), counts(&ran.counts)];
            let parts = parts.iter().map(|part| part.trim_end()).filter(|part| !part.is_empty());
            let more = parts.collect::<Vec<_>>().join("\n\n");
            return (Verdict::wrong(&how, &more), Some(draw(file, case, &ran, &focus)));
        }
        first.get_or_insert((case, ran));
    }
    let (case, ran) = first.expect("a kernel has a case");
    (Verdict::right(&counts(&ran.counts)), Some(draw(file, case, &ran, &Focus::Start)))
}

fn draw(file: &str, case: &Case, ran: &Ran, focus: &Focus) -> String {
    let name = file.rsplit(['/', '\\']).next().unwrap_or(file);
    picture::draw(&format!("{name}, with {}", case.what), &ran.trace, focus)
}

/// What is wrong with numbers and accesses, and where to look.
fn faults(file: &str, text: &str, case: &Case, ran: &Ran) -> Option<(String, Focus)> {
    let numbers = wrong_numbers(case, ran);
    if numbers.is_none() && ran.findings.is_empty() {
        return None;
    }
    let right = "The numbers are right. What is wrong is how they come about.\n";
    let mut what = numbers.unwrap_or_else(|| right.to_owned());
    // What comes of memory that nothing orders is the root of all else.
    let mut findings: Vec<&Finding> = ran.findings.iter().collect();
    findings.sort_by_key(|finding| !is_race(finding));
    for finding in findings.iter().take(SHOWN) {
        what.push_str(&format!("\n{}", describe(file, text, finding)));
    }
    if findings.len() > SHOWN {
        what.push_str(&format!("\n{} more faults are not shown.\n", findings.len() - SHOWN));
    }
    let focus = match findings.first() {
        Some(finding) if is_race(finding) => Focus::Race,
        Some(finding) if finding.fault == Fault::OutOfBounds => Focus::Outside(finding.line),
        Some(finding) if finding.fault == Fault::Unwritten => {
            unwritten(&ran.trace).unwrap_or(Focus::Line(finding.line))
        }
        Some(finding) => Focus::Line(finding.line),
        None => Focus::Start,
    };
    Some((what, focus))
}

fn is_race(finding: &Finding) -> bool {
    matches!(finding.fault, Fault::Race | Fault::RaceOfGroups)
}

/// The first numbers that are wrong: where, what came, what should have.
fn wrong_numbers(case: &Case, ran: &Ran) -> Option<String> {
    let is_near = |got: Option<f32>, expected: f32| {
        got.is_some_and(|got| (got - expected).abs() <= 1e-4 * expected.abs().max(1.0))
    };
    let all = ran.output.iter().zip(&case.expected).enumerate();
    let wrong: Vec<_> = all.filter(|(_, (got, expected))| !is_near(**got, **expected)).collect();
    let place = |at: usize| match case.columns {
        0 => format!("element {at}"),
        columns => format!("row {}, column {}", at / columns, at % columns),
    };
    let shown = wrong.iter().take(SHOWN).map(|(at, (got, expected))| {
        let got = got.map_or("nothing was written".to_owned(), |got| format!("got {got}"));
        format!("{}: {got}, expected {expected}\n", place(*at))
    });
    let mut text: String = shown.collect();
    if wrong.len() > SHOWN {
        let (more, all) = (wrong.len() - SHOWN, case.expected.len());
        text.push_str(&format!("and {more} more of {all} are wrong\n"));
    }
    let written = wrong.iter().find(|(_, (got, _))| got.is_some());
    if let Some(how) = written.and_then(|(at, _)| origin(case, ran, *at, &place(*at))) {
        text.push_str(&format!("\n{}\n", wrapped(&how)));
    }
    (!wrong.is_empty()).then_some(text)
}

/// Who wrote a number of the output last, and what that lane had read.
fn origin(case: &Case, ran: &Ran, at: usize, place: &str) -> Option<String> {
    let variables = &ran.trace.variables;
    let name = |touch: &Touch| &variables[touch.variable as usize];
    let is_it = |touch: &Touch| {
        let is_output = name(touch).binding == Some(case.inputs.len() as u32 + 1);
        is_output && touch.word == at as u32 && touch.does == Does::Write
    };
    let end = ran.trace.touches.iter().rposition(is_it)?;
    let Touch { line, lane, workgroup, .. } = ran.trace.touches[end];
    let mut read: Vec<String> = Vec::new();
    for touch in &ran.trace.touches[..end] {
        let text = format!("{}[{}]", name(touch).name, touch.word);
        let is_own = (touch.workgroup, touch.lane) == (workgroup, lane);
        if is_own && touch.does == Does::Read && !read.contains(&text) {
            read.push(text);
        }
        if read.len() > MOST_READ {
            read[MOST_READ] = "…".to_owned();
            break;
        }
    }
    let read = if read.is_empty() { "nothing".to_owned() } else { read.join(", ") };
    let [x, y] = workgroup;
    let whole =
        format!("{place} was written in line {line}, by lane {lane} of workgroup ({x}, {y})");
    Some(format!("{whole}, which had read {read}."))
}

/// A finding with its line of the shader.
fn describe(file: &str, text: &str, finding: &Finding) -> String {
    let Finding { line, what, times, .. } = finding;
    let name = match finding.fault {
        Fault::Race => "A data race",
        Fault::RaceOfGroups => "A data race between workgroups",
        Fault::Overlap => "Bindings that overlap",
        Fault::OutOfBounds => "An index outside",
        Fault::Unwritten => "Memory that was not written",
        Fault::DivergentBarrier => "A barrier that not all come to",
        Fault::WrappedIndex => "An index that was too large, or negative",
        Fault::Shift => "A shift too far",
        Fault::DivisionByZero => "A division by zero",
        Fault::NotFinite => "A number that is not finite",
    };
    let source = text.lines().nth((*line as usize).saturating_sub(1)).unwrap_or_default();
    let often = if *times > 1 { format!(" ({times} times)") } else { String::new() };
    let place = format!("{name}, {file}:{line}:\n    {}\n", source.trim());
    format!("{place}{}\n", wrapped(&format!("{what}{often}")))
}

fn counts(counts: &Counts) -> String {
    let Counts { workgroups, loads, stores, sectors, fewest_sectors, .. } = counts;
    let Counts { workgroup_accesses, bank_conflicts, barriers, .. } = counts;
    format!(
        "counted: {workgroups} workgroups, {loads} loads, {stores} stores, {sectors} sectors (at least \
         {fewest_sectors})\n         workgroup memory: {workgroup_accesses} accesses, {bank_conflicts} bank \
         conflicts; {barriers} barriers\n"
    )
}
