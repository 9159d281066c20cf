//! The exercises of the walkthrough: as they are given each fails, and for its own reason; its solution
//! passes; and wrong attempts are told what is wrong with them.

mod common;

use common::programs::{path_of, program, said};
use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const FILES: [&str; 14] = [
    "01_product.rs",
    "02_backward.rs",
    "03_softmax.rs",
    "04_strides.rs",
    "05_broadcast.rs",
    "06_matmul.rs",
    "07_map.wgsl",
    "08_guard.wgsl",
    "09_reduce.wgsl",
    "10_tile.wgsl",
    "11_softmax.wgsl",
    "12_transpose.wgsl",
    "13_matmul.wgsl",
    "14_attention.wgsl",
];

/// A solution file, with its markers.
fn solution(file: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/walkthrough/exercises");
    fs::read_to_string(folder.join("solutions").join(file)).expect("a solution")
}

/// A folder with some files in it, beside which the program puts the others.
fn folder_with(files: &[(&str, String)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (file, text) in files {
        fs::write(folder.path().join(file), text).unwrap();
    }
    folder
}

fn exercises(folder: &Path, flags: &[&str]) -> Output {
    let mut command = program("exercises");
    command.arg("--folder").arg(folder).args(flags).output().unwrap()
}

fn shown(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What is said of an attempt, which must not pass.
#[track_caller]
fn of_attempt(file: &str, text: String) -> String {
    let folder = folder_with(&[(file, text)]);
    let output = exercises(folder.path(), &["--once", file]);
    let text = shown(&output);
    assert_eq!(output.status.code(), Some(1), "{file}: {text}{}", said(&output));
    text
}

/// A solution with other lines in it: an attempt with a typical mistake. LINE in what should be said is the
/// number of the first of those lines.
#[track_caller]
fn is_told(file: &str, changes: &[(&str, &str)], words: &[&str]) {
    let mut text = solution(file);
    for (from, to) in changes {
        assert!(text.contains(from), "{file} has no {from:?}");
        text = text.replace(from, to);
    }
    let (before, _) = text.split_once(changes[0].1).expect("it is there now");
    let line = (before.matches('\n').count() + 1).to_string();
    let said = of_attempt(file, text);
    for word in words {
        let word = &*word.replace("LINE", &line);
        assert!(said.contains(word), "{file}, {changes:?}: no {word:?} in\n{said}");
    }
}

#[test]
fn as_given_each_fails_for_its_own_reason() {
    let reasons: [&[&str]; 14] = [
        &["by_rule: with u = 2, u' = 3, v = 5, v' = 7: got 21, expected 29"],
        &["order, (x + y)·z: got [0, 1, 2, 3, 4], where node 0 comes before node 4"],
        &["softmax of [1000, 1000], at logit 0: got NaN, expected 0.5"],
        &["View::new(&[2, 3]).strides: got [1, 2], expected [3, 1]"],
        &["add of [3, 4] and [3, 1], at row 0, column 1: got"],
        &["gradient_of_a with m = 2, k = 3, n = 4, at row 0, column 0: got"],
        &["element 0: nothing was written, expected 1\n", "and 61 more of 64 are wrong"],
        &["The numbers are right", "index 100 into 100 elements of x, in lanes 36 to 63"],
        &["The numbers are right", "A data race, ", "reads word 16 of parts, which lane 16 wrote"],
        &["The numbers are right, but memory is read 634 times where 132 would do"],
        &["row 1, column 0: got NaN", "A number that is not finite", "Exp of 9.6e1 is inf"],
        &["The numbers are right, but there are 992 bank conflicts in 64 accesses"],
        &["The numbers are right, but memory is read 16384 times where 1024 would do"],
        &["The numbers are right, but scores has 820 numbers for 40 tokens"],
    ];
    let folder = folder_with(&[]);
    for (file, words) in FILES.iter().zip(reasons) {
        let output = exercises(folder.path(), &["--once", file]);
        let text = shown(&output);
        assert_eq!(output.status.code(), Some(1), "{text}{}", said(&output));
        for word in words {
            assert!(text.contains(word), "{file}: no {word:?} in\n{text}");
        }
        fits(file, folder.path(), &text);
        let title = solution(file).lines().next().unwrap().replace("// ", "== ");
        assert!(text.contains(&format!("{title} ==\n")), "{text}");
        // Without what the solution is made of.
        let given = fs::read_to_string(folder.path().join(file)).unwrap();
        for marker in ["SOLUTION", "INSTEAD", "// END", "HINT"] {
            assert!(!given.contains(marker), "{file}: {given}");
        }
    }
}

#[test]
fn every_solution_passes() {
    // As the program shows them,
    let texts = FILES.map(|file| shown(&exercises(Path::new("none"), &["--solution", file])));
    let folder = folder_with(&FILES.into_iter().zip(texts).collect::<Vec<_>>());
    let output = exercises(folder.path(), &["--once"]);
    assert!(output.status.success(), "{}{}", shown(&output), said(&output));
    assert_eq!(shown(&output), FILES.map(|file| format!("solved: {file}\n")).concat());
    // and as the files are, with their markers.
    let files: Vec<_> = FILES[5..].iter().map(|file| (*file, solution(file))).collect();
    let folder = folder_with(&files);
    let output = exercises(folder.path(), &[&["--all"], &FILES[5..]].concat());
    assert!(output.status.success(), "{}{}", shown(&output), said(&output));
    assert_eq!(shown(&output).matches("\nsolved ").count(), FILES.len() - 5);
}

#[test]
fn mistakes_in_rust_are_told() {
    let file = "01_product.rs";
    is_told(file, &[("(2.0 * step)", "step")], &["by_differences: of x³ at 2: got 24"]);
    let one_sided = [("f(x - step)) / (2.0 * step)", "f(x)) / step")];
    is_told(file, &one_sided, &["by_differences: of x³ at 2: got 12.00006"]);
    let file = "02_backward.rs";
    let twice = [("if order.contains(&node)", "if nodes.is_empty()")];
    is_told(file, &twice, &["which has node 0 twice"]);
    let overwrites = [("] += gradient", "] = gradient")];
    is_told(file, &overwrites, &["gradients of x·x + y, at node 0: got 2, expected 4"]);
    is_told(file, &[("order.iter().rev()", "order.iter()")], &["gradients of (x + y)·z, at node"]);
    let file = "03_softmax.rs";
    is_told(file, &[("    gradient[target] -= 1.0;\n", "")], &["target 2, at logit 2: got 0.5"]);
    let file = "04_strides.rs";
    is_told(file, &[("view.strides.swap(a, b);", "")], &["the strides of [2, 3, 4], axes 0 and 2"]);
    let file = "05_broadcast.rs";
    let overwrites = [("of_each[place] += ", "of_each[place] = ")];
    is_told(
        file,
        &overwrites,
        &["gradient_of_b for [1, 4] from that of [3, 4], at row 0, column 0"],
    );
    let file = "06_matmul.rs";
    let not_turned =
        [("of_c[row * n + column] * b[i * n + column]", "of_c[row * n + i] * b[column]")];
    is_told(file, &not_turned, &["gradient_of_a with m = "]);
}

#[test]
fn what_does_not_run_in_rust_is_told() {
    let file = "04_strides.rs";
    let typo = [("view.strides.swap(a, b);", "view.stride.swap(a, b);")];
    is_told(file, &typo, &["It does not compile.", "no field `stride`", "04_strides.rs:LINE:14"]);
    let outside = [("strides[axis - 1] = ", "strides[axis + 1] = ")];
    is_told(file, &outside, &["It panics.", "04_strides.rs:LINE:", "index out of bounds"]);
    let endless = [("view.strides.swap(a, b);", "loop { std::thread::park() }")];
    is_told(file, &endless, &["Is there a loop that does not end?"]);
    let talks = [(
        "view.strides.swap(a, b);",
        "loop { println!(\"{a} and {b:<999}\"); std::thread::sleep(SHORT) }\nconst SHORT: std::time::Duration = std::time::Duration::from_micros(100);",
    )];
    is_told(file, &talks, &["0 and 2", "(and more)", "Is there a loop that does not end?"]);
    let ends = [("view.strides.swap(a, b);", "std::process::exit(0);")];
    is_told(file, &ends, &["It ends the program before the check does."]);
    assert!(of_attempt(file, String::new()).contains("It does not compile."));
}

#[test]
fn mistakes_in_simple_kernels_are_told() {
    let file = "07_map.wgsl";
    let late = ["element 0: nothing was written", "An index outside", "y[i + 1u] = 3.0"];
    is_told(file, &[("y[i] =", "y[i + 1u] =")], &late);
    let of_lane =
        "element 0 was written in line LINE, by lane 0 of workgroup (0, 0), which had read\nx[0].";
    is_told(file, &[("+ 1.0", "+ 2.0")], &["element 0: got 2, expected 1", of_lane]);
    let file = "08_guard.wgsl";
    let one_more = ["An index outside", "index 100 into 100 elements of x, in lane 36"];
    is_told(file, &[("i < uniforms", "i <= uniforms")], &one_more);
    is_told(file, &[("i < uniforms.elements", "i < 64u")], &["element 64: nothing was written"]);
    let file = "09_reduce.wgsl";
    let inside = [
        ("        // SOLUTION\n        workgroupBarrier();\n", ""),
        (
            "parts[lane] += parts[lane + half];",
            "parts[lane] += parts[lane + half]; workgroupBarrier();",
        ),
    ];
    let apart =
        ["A barrier that not all come to", "only lanes 0 to 31 come to; lanes 32 to 63 do not"];
    is_told(file, &inside, &apart);
    is_told(file, &[("half > 0u", "half > 1u")], &["element 0: got"]);
    let first = [("64u + lane];\n    workgroupBarrier();", "64u + lane];")];
    is_told(file, &first, &["A data race", "reads word 32 of parts, which lane 32 wrote"]);
    let of_all = [("sums[group.x]", "sums[0]")];
    is_told(
        file,
        &of_all,
        &["with 192 elements", "A data race between workgroups", "sums[0] = parts"],
    );
    let file = "10_tile.wgsl";
    let no_barrier = [("    workgroupBarrier();\n", "")];
    is_told(file, &no_barrier, &["The numbers are right", "A data race", "of tile, which lane"]);
    let no_edge = [("if lane < 2u * REACH {", "if lane < REACH {")];
    is_told(file, &no_edge, &["Memory that was not written", "lane 63 reads word 66 of tile"]);
    is_told(file, &[("tile[lane + step]", "tile[lane]")], &["element 1: got"]);
}

#[test]
fn mistakes_in_larger_kernels_are_told() {
    let file = "11_softmax.wgsl";
    // Rows of negative numbers need a largest below zero.
    is_told(file, &[("var most = -3.4e38;", "var most = 0.0;")], &["row 2, column 0: got NaN"]);
    let a_lane_each = [(
        "column < uniforms.columns; column += 64u) {\n        sum",
        "column < 64u; column += 64u) {\n        sum",
    )];
    is_told(file, &a_lane_each, &["row 0, column 0: got"]);
    let file = "12_transpose.wgsl";
    is_told(file, &[("PITCH = 33u", "PITCH = 34u")], &["32 bank conflicts in 64 accesses"]);
    let direct = [
        (
            "square[row * PITCH + id.x] = number;",
            "y[(first_column + id.x) * uniforms.rows + first_row + row] = number;",
        ),
        ("first_column + column < uniforms.columns &&", "uniforms.rows == 0u &&"),
    ];
    is_told(file, &direct, &["The numbers are right", "but 1152 sectors of 32 bytes"]);
    let file = "13_matmul.wgsl";
    let ahead = [("        }\n        workgroupBarrier();\n    }\n", "        }\n    }\n")];
    is_told(file, &ahead, &["The numbers are right", "A data race", "which lane"]);
    let no_guard = [("if row < uniforms.m && first + id.x < uniforms.k {", "if true {")];
    is_told(file, &no_guard, &["with m = 20, k = 19, n = 21", "An index outside"]);
    let file = "14_attention.wgsl";
    is_told(file, &[("mean[c] * before", "mean[c]")], &["row 1, column 0: got"]);
    is_told(file, &[("j <= i", "j < uniforms.tokens")], &["row 0, column 0: got"]);
    let not_stable = [("let next = max(largest, s);", "let next = 0.0;"), ("-3.4e38", "0.0")];
    is_told(file, &not_stable, &["A number that is not finite"]);
    let of_each = [(
        "    var sum = 0.0;\n    var mean",
        "    var row: array<f32, 72>;\n    row[i] = 0.0;\n    var sum = row[i];\n    var mean",
    )];
    is_told(file, &of_each, &["in each invocation row has 72 numbers"]);
    let shared = [
        ("fn score(", "var<workgroup> all: array<f32, 1600>;\nfn score("),
        (
            "        let s = score(i, j);",
            "        all[i * 40u + j] = score(i, j);\n        let s = all[i * 40u + j];",
        ),
    ];
    is_told(file, &shared, &["The numbers are right, but all has 1600 numbers for 40 tokens"]);
}

#[test]
fn what_does_not_run_in_wgsl_is_told() {
    let file = "07_map.wgsl";
    let typo = [("3.0 * x[i]", "3.0 * x[j]")];
    is_told(file, &typo, &["It is no valid WGSL.", "identifier: `j`", "07_map.wgsl:LINE:20", "^"]);
    is_told(file, &[("3.0 * x[i]", "3 * (x[i]")], &["07_map.wgsl:LINE:"]);
    is_told(file, &[("3.0 * x[i]", "true * x[i]")], &["07_map.wgsl:LINE:"]);
    is_told(file, &[("fn map", "fn mop")], &["There is no `@compute` function `map`"]);
    let endless = [("y[i] = 3.0", "var k = 0u; while k < 2u { k = 1u - k; }\n    y[i] = 3.0")];
    is_told(file, &endless, &["07_map.wgsl:LINE: a loop that does not end"]);
    let unknown = [("3.0 * x[i]", "degrees(x[i])")];
    is_told(file, &unknown, &["not supported: ", "07_map.wgsl:LINE: the function Degrees"]);
    let other_binding = [("@binding(2) var", "@binding(3) var")];
    is_told(file, &other_binding, &["nothing is bound for y"]);
    let is_written = [("<storage, read> x", "<storage, read_write> x")];
    is_told(file, &is_written, &["x: what is written must be an output"]);
    assert!(of_attempt(file, String::new()).contains("There is no `@compute` function `map`"));
}

/// Nested loops of which each ends, one day.
#[test]
fn a_kernel_that_takes_too_long_is_stopped() {
    let long = "for (var k = 0u; k < 4000000u; k++) { for (var l = 0u; l < 4000000u; l++) { y[i] = x[i]; } }";
    let text = solution("07_map.wgsl").replace("y[i] = 3.0", &format!("{long}\n    y[i] = 3.0"));
    let start = Instant::now();
    assert!(of_attempt("07_map.wgsl", text).contains("Is there a loop that does not end?"));
    assert!(start.elapsed() < Duration::from_secs(25));
}

/// What is shown of an exercise in a terminal of 80 columns, and of a kernel its picture.
#[track_caller]
fn fits(file: &str, folder: &Path, text: &str) {
    for line in text.lines().filter(|line| !line.contains(&*path_of(folder))) {
        assert!(line.chars().count() <= 80, "{file}: {line}");
    }
    let name = file.split('.').next().unwrap();
    let picture = folder.join(format!("{name}.svg"));
    assert_eq!(picture.exists(), file.ends_with(".wgsl"), "{file}");
    if !picture.exists() {
        return;
    }
    assert!(text.contains(&format!("picture: {}", picture.display())), "{text}");
    let svg = fs::read_to_string(&picture).unwrap();
    resvg::usvg::Tree::from_str(&svg, &resvg::usvg::Options::default()).expect("an SVG");
    assert!(svg.contains("prefers-color-scheme: dark"));
    // One line of the legend, and one for each of the 16 reads that race.
    let races = svg.matches("<line class=\"race\"").count();
    assert_eq!(races, if name == "09_reduce" { 17 } else { 1 }, "{file}");
    assert!(name == "07_map" || svg.matches("<line ").count() > 20, "{file}");
}

#[test]
fn help_fits_a_terminal() {
    let help = program("exercises").arg("--help").env("COLUMNS", "80").output().unwrap();
    assert!(shown(&help).lines().all(|line| line.chars().count() <= 80), "{}", shown(&help));
    assert!(!shown(&help).contains("--judge"));
}

#[test]
fn what_is_in_the_folder_is_kept() {
    let mine = "// mine\n".to_owned();
    let folder = folder_with(&[("03_softmax.rs", mine.clone())]);
    let output = exercises(folder.path(), &["--once", "07"]);
    assert!(shown(&output).starts_with("13 exercises were put into"), "{}", shown(&output));
    let read = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
    assert_eq!(read("03_softmax.rs"), mine);
    let again = exercises(folder.path(), &["--once", "map"]);
    assert!(!shown(&again).contains("were put into"));
    // Only when that is asked for, and then it is kept under another name.
    let output = exercises(folder.path(), &["--reset", "3"]);
    assert!(output.status.success(), "{}", said(&output));
    assert!(shown(&output).contains("03_softmax.rs is as it was given; yours is now"));
    assert_eq!(read("03_softmax.rs.1"), mine);
    assert!(read("03_softmax.rs").starts_with("// 3. Softmax"));
    exercises(folder.path(), &["--reset", "softmax.rs"]);
    exercises(folder.path(), &["--reset", "03_softmax"]);
    assert_eq!((read("03_softmax.rs.1"), read("03_softmax.rs.2")), (mine, read("03_softmax.rs")));
}

#[test]
fn hints_come_in_two_steps() {
    let folder = folder_with(&[]);
    for file in FILES {
        let [first, second] = ["--hint", "--second-hint"].map(|flag| {
            let output = exercises(&folder.path().join("none"), &[flag, file]);
            assert!(output.status.success(), "{}", said(&output));
            shown(&output)
        });
        assert!(first.len() > 40 && second.len() > 40 && first != second, "{first}{second}");
        assert!(solution(file).contains(first.split_whitespace().next().unwrap()));
    }
    assert!(!folder.path().join("none").exists(), "a hint needs no folder");
}

#[test]
fn what_cannot_be_done_is_said() {
    let folder = folder_with(&[("file", String::new())]);
    let refused = |path: PathBuf, flags: &[&str], words: &str| {
        let output = exercises(&path, flags);
        assert_eq!(output.status.code(), Some(1), "{}", shown(&output));
        assert!(said(&output).contains(words), "{}", said(&output));
    };
    let file = folder.path().join("file");
    refused(file.clone(), &["--once"], "cannot make the folder");
    refused(file.join("below"), &["--once"], "choose another one by --folder");
    let path = folder.path().to_owned();
    refused(path.clone(), &["--once", "99"], "there is no exercise \"99\"; there are 01_product, ");
    refused(path.clone(), &["--hint", "nothing"], "14_attention, and numbers will do");
    refused(path.clone(), &["--reset", ""], "there is no exercise \"\"");
    fs::create_dir(path.join("folder")).unwrap();
    fs::create_dir(path.join("folder/01_product.rs")).unwrap();
    refused(path.join("folder"), &["--once"], "01_product.rs");
    let mut command = program("exercises");
    let output = command.args(["--once", "1", "--folder"]).arg(path.join("new")).env("CARGO", "");
    let output = output.env("PATH", "").output().unwrap();
    assert!(said(&output).contains("rustc cannot be started"), "{}", said(&output));
}

#[test]
fn a_reader_may_go_away() {
    let folder = folder_with(&[]);
    for flags in [["--solution", "9"], ["--once", "9"]] {
        let mut command = program("exercises");
        command.arg("--folder").arg(folder.path()).args(flags).stdout(Stdio::piped());
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        // It may have said all before.
        assert!(matches!(output.status.code(), Some(0 | 1)), "{}", output.status);
        assert_eq!(said(&output), "");
    }
}

/// A program that watches, and what it has said so far.
struct Watching {
    child: Child,
    text: Arc<Mutex<String>>,
}

impl Watching {
    fn start(folder: &Path, flags: &[&str]) -> Watching {
        let mut command: Command = program("exercises");
        command.arg("--folder").arg(folder).args(flags);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the program");
        let text = Arc::new(Mutex::new(String::new()));
        let (kept, mut stream) = (text.clone(), child.stdout.take().expect("its output"));
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = stream.read(&mut buffer) {
                kept.lock().unwrap().push_str(&String::from_utf8_lossy(&buffer[..count]));
            }
        });
        Watching { child, text }
    }

    /// Waits until this is said, and forgets what came before.
    #[track_caller]
    fn says(&self, words: &str) {
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(60) {
            let mut text = self.text.lock().unwrap();
            if let Some(at) = text.find(words) {
                text.drain(..at + words.len());
                return;
            }
            drop(text);
            sleep(Duration::from_millis(20));
        }
        panic!("no {words:?} in\n{}", self.text.lock().unwrap());
    }

    fn types(&mut self, line: &str) {
        writeln!(self.child.stdin.as_mut().expect("its input"), "{line}").expect("it reads");
    }

    fn status(mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }
}

#[test]
fn files_are_watched() {
    let folder = folder_with(&[("07_map.wgsl", solution("07_map.wgsl"))]);
    let file = |name: &str| folder.path().join(name);
    let mut watching = Watching::start(folder.path(), &["7", "8", "9", "12"]);
    watching.says("solved: 07_map.wgsl");
    watching.says("== 8. Guard ==");
    watching.says("An index outside");
    watching.says("q quit.");
    // A save that does not help, and one that does.
    fs::write(file("08_guard.wgsl"), solution("08_guard.wgsl").replace("i < u", "i <= u")).unwrap();
    watching.says("in lane 36");
    watching.types("h");
    watching.says("hint: Only the invocations that have an element");
    watching.types("H");
    watching.says("hint: An `if` around the line");
    watching.types("h");
    watching.says("--solution 8 shows a solution");
    watching.types("what");
    watching.says("\"what\" means nothing here");
    fs::write(file("08_guard.wgsl"), solution("08_guard.wgsl")).unwrap();
    watching.says("08_guard.wgsl is solved.");
    watching.says("== 9. Reduce ==");
    watching.says("q quit.");
    // A file that goes away and comes back.
    fs::remove_file(file("09_reduce.wgsl")).unwrap();
    watching.says("09_reduce.wgsl is gone: put it back, or make it anew by --reset 9");
    fs::write(file("09_reduce.wgsl"), "fn reduce() {}").unwrap();
    watching.says("There is no `@compute` function `reduce`");
    fs::write(file("09_reduce.wgsl"), solution("09_reduce.wgsl")).unwrap();
    watching.says("09_reduce.wgsl is solved.");
    watching.says("== 12. ");
    // What was solved and is no longer comes first again.
    fs::write(file("07_map.wgsl"), "").unwrap();
    watching.says("== 7. Map ==");
    fs::write(file("07_map.wgsl"), solution("07_map.wgsl")).unwrap();
    watching.says("== 12. ");
    fs::write(file("12_transpose.wgsl"), solution("12_transpose.wgsl")).unwrap();
    watching.says("All exercises are solved.");
    assert_eq!(watching.status(), Some(0));
}

#[test]
fn watching_ends_when_it_is_asked_to() {
    let folder = folder_with(&[]);
    let mut watching = Watching::start(folder.path(), &["7", "8"]);
    watching.says("== 7. Map ==");
    watching.types("n");
    watching.says("== 8. Guard ==");
    watching.types("q");
    assert_eq!(watching.status(), Some(1));
    let mut watching = Watching::start(folder.path(), &["7"]);
    watching.says("== 7. Map ==");
    watching.types("n");
    watching.says("All but 1 that you went past are solved.");
    assert_eq!(watching.status(), Some(1));
}
