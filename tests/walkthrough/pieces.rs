//! Named pieces of source files, between `ANCHOR: name` and `ANCHOR_END: name`.

/// A piece as a page shows it: without lines that are marks, and as far left as it goes.
///
/// # Errors
/// If there is no such piece, or it does not end.
pub fn piece(source: &str, name: &str) -> Result<Vec<String>, String> {
    let is_mark = |line: &str, mark: &str| {
        let marked = line.trim().strip_prefix("//").map(str::trim);
        marked.and_then(|line| line.strip_prefix(mark)).map(str::trim) == Some(name)
    };
    let lines: Vec<&str> = source.lines().collect();
    let find = |mark| lines.iter().position(|line| is_mark(line, mark));
    let start = find("ANCHOR:").ok_or(format!("there is no piece {name}"))?;
    let end = find("ANCHOR_END:").filter(|end| *end > start);
    let end = end.ok_or(format!("piece {name} does not end"))?;
    Ok(dedented(&lines[start + 1..end]))
}

/// All of a file.
pub fn whole(source: &str) -> Vec<String> {
    dedented(&source.lines().collect::<Vec<&str>>())
}

fn dedented(lines: &[&str]) -> Vec<String> {
    let shown = lines.iter().filter(|line| !is_any_mark(line));
    let depth = |line: &&&str| line.len() - line.trim_start().len();
    let least = shown.clone().filter(|line| !line.trim().is_empty()).map(|l| depth(&l)).min();
    let cut = |line: &&str| line.get(least.unwrap_or(0)..).unwrap_or_default().to_owned();
    shown.map(cut).collect()
}

fn is_any_mark(line: &str) -> bool {
    let comment = line.trim().strip_prefix("//").map(str::trim).unwrap_or_default();
    comment.starts_with("ANCHOR:") || comment.starts_with("ANCHOR_END:")
}
