//! An exercise is made from its solution, so that the two can't part.
//!
//! A solution file is whole and right as it stands. What lies between `// SOLUTION` and `// INSTEAD` is left
//! out of the exercise, and the lines between `// INSTEAD` and `// END`, which are comments, become code. Each
//! `// HINT` at the file's end begins a hint.

/// What is read from a solution file.
pub struct Text {
    /// Its first line.
    pub title: String,
    /// The file as the reader gets it.
    pub given: String,
    /// The file as it is when it is solved.
    pub solved: String,
    pub hints: Vec<String>,
}

#[derive(Clone, Copy, PartialEq)]
enum Part {
    Both,
    Solution,
    Instead,
    Hint,
}

pub fn read(file: &str) -> Text {
    let title = file.lines().next().unwrap_or_default().trim_start_matches("// ").to_owned();
    let (mut given, mut solved, mut hints) = (String::new(), String::new(), Vec::<String>::new());
    let mut part = Part::Both;
    for line in file.lines() {
        part = match line.trim() {
            "// SOLUTION" => Part::Solution,
            "// INSTEAD" => Part::Instead,
            "// END" => Part::Both,
            "// HINT" => {
                hints.push(String::new());
                Part::Hint
            }
            _ => {
                match part {
                    Part::Both => [&mut given, &mut solved].map(|text| add(text, line)),
                    Part::Solution => [add(&mut solved, line), ()],
                    Part::Instead => [add(&mut given, &uncommented(line)), ()],
                    Part::Hint => {
                        let hint = hints.last_mut().expect("a hint has begun");
                        [add(hint, line.trim_start_matches("// ")), ()]
                    }
                };
                continue;
            }
        };
    }
    let [given, solved] = [given, solved].map(|text| format!("{}\n", text.trim_end()));
    let hints = hints.iter().map(|hint| hint.trim().replace('\n', " ")).collect();
    Text { title, given, solved, hints }
}

fn add(text: &mut String, line: &str) {
    text.push_str(line);
    text.push('\n');
}

/// `    // code` as `    code`.
fn uncommented(line: &str) -> String {
    let code = line.trim_start();
    let indent = &line[..line.len() - code.len()];
    let code = code.strip_prefix("//").unwrap_or(code);
    let code = code.strip_prefix(' ').unwrap_or(code);
    if code.is_empty() { String::new() } else { format!("{indent}{code}") }
}
