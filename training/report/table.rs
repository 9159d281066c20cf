//! The table over the variants: its columns, for the terminal and the page, and the terminal's
//! layout.

use super::Group;
use super::best;
use super::extent::Extent;
use super::format::{bytes, duration, fixed, shortened, thousands};
use super::group::labels;
use super::measures::{Measure, scaled};
use super::ranks;
use crate::run::Summary;

/// The most characters in a line on the terminal.
const WIDTH: usize = 100;

/// One column: its title, in two lines, and its cell for a variant.
pub(super) struct Column {
    pub title: [String; 2],
    pub cell: Box<dyn Fn(&Group) -> String>,
}

impl Column {
    pub fn new(title: [&str; 2], cell: impl Fn(&Group) -> String + 'static) -> Column {
        Column { title: title.map(str::to_owned), cell: Box::new(cell) }
    }
}

/// How well a variant does: a column for each score, one for each split of which a part was scored,
/// and the best score of training.
pub(super) fn quality(summary: &Summary) -> Vec<Column> {
    let column = |measure: &'static Measure| {
        let cell = |group: &Group| measure.show(&group.spread(|run| run.number(measure.name)));
        Column::new(measure.title, cell)
    };
    // The table has no room for what bits a byte say as well.
    let bits = Measure::present(summary).any(|measure| measure.name == "bits_per_byte");
    let shown = |measure: &&Measure| !(bits && measure.name == "test_loss");
    let mut columns: Vec<Column> = Measure::present(summary).filter(shown).map(column).collect();
    let extents = summary.variants.iter().flat_map(|run| Extent::beside(&run.results));
    let mut splits: Vec<String> =
        extents.filter(Extent::is_part).map(|extent| extent.split).collect();
    splits.sort_by(|a, b| b.cmp(a));
    splits.dedup();
    for split in splits {
        columns.push(Column::new([&split.clone(), "scored"], move |group| scored(group, &split)));
    }
    if summary.variants.iter().any(|run| run.results.get(INITIAL_LOSS).is_some()) {
        let cell = |group: &Group| group.spread(|run| run.number(INITIAL_LOSS)).show(4);
        columns.push(Column::new(["validation loss", "before step 1"], cell));
    }
    if let Some(measure) = best::measured_by(summary) {
        let cell = |group: &Group| best::cell(measure, group);
        columns.push(Column::new(["best while training,", "at step"], cell));
    }
    columns
}

/// How much of a split the models of a variant were scored on.
fn scored(group: &Group, split: &str) -> String {
    let extents = group.runs.iter().flat_map(|run| Extent::beside(&run.results));
    let mut shares: Vec<String> =
        extents.filter(|extent| extent.split == split).map(|extent| extent.short()).collect();
    shares.dedup();
    shares.join(", ")
}

/// What a variant costs.
pub(super) fn cost(summary: &Summary) -> Vec<Column> {
    let has = |name: &str| summary.variants.iter().any(|run| run.results.get(name).is_some());
    let rate = format!("{}s_per_second", summary.unit);
    let mut columns =
        vec![Column::new(["", "parameters"], |group| thousands(group.runs[0].parameters))];
    if has(KV_CACHE) {
        columns.push(Column::new(["KV cache", "per token"], |group| {
            bytes(group.runs[0].number(KV_CACHE) as u64)
        }));
    }
    let unit = format!("{}s", summary.unit);
    let speed = move |group: &Group| scaled(&group.spread(|run| run.number(&rate)));
    columns.push(Column::new([&unit, "per second"], speed));
    columns.push(Column::new(["peak", "memory"], |group| bytes(peak_memory(group))));
    let steps = |group: &Group| fixed(group.spread(|run| run.steps as f64).mean, 0);
    columns.push(Column::new(["", "steps"], steps));
    let time = |group: &Group| duration(group.spread(|run| run.wall_seconds).mean);
    columns.push(Column::new(["", "time"], time));
    columns
}

/// The validation loss of a model before its first step, where that was scored.
pub(super) const INITIAL_LOSS: &str = "initial_validation_loss";

/// The result of language models that tells what generation keeps in memory.
pub(super) const KV_CACHE: &str = "kv_cache_bytes_per_token";

/// The most memory that any of the runs had in use at once.
pub(super) fn peak_memory(group: &Group) -> u64 {
    group.runs.iter().map(|run| run.peak_memory_bytes).max().unwrap_or(0)
}

impl Summary {
    /// The results for a terminal, at most 100 characters wide: how well each variant predicts,
    /// what it costs, where the time of ranks went if several trained together, and notes. Ends with a line end.
    ///
    /// ```
    /// # use neutreno::run::{Summary, VariantSummary};
    /// let run = VariantSummary { variant: "transformer".into(), ..VariantSummary::default() };
    /// let summary = Summary { variants: vec![run], ..Summary::default() };
    /// assert!(summary.table().contains("Transformer"));
    /// ```
    pub fn table(&self) -> String {
        let groups = self.groups();
        let names = labels(&groups);
        let mut text = aligned(&names, &groups, &quality(self), WIDTH);
        text.push('\n');
        text += &aligned(&names, &groups, &cost(self), WIDTH);
        text.push('\n');
        text += &ranks::table(self, WIDTH);
        for note in self.notes() {
            text += &wrapped(&note, WIDTH);
        }
        text
    }
}

/// A table, or several where the columns do not fit beside each other: two lines of titles and a
/// line for each group; names to the left, numbers to the right. No line is longer than `width`.
pub(super) fn aligned(
    names: &[String],
    groups: &[Group],
    columns: &[Column],
    width: usize,
) -> String {
    let fits = |count: &usize| {
        let text = side_by_side(names, groups, &columns[..*count], width);
        text.lines().all(|line| line.chars().count() <= width)
    };
    let count = (2..=columns.len()).rev().find(fits).unwrap_or(columns.len().min(1));
    let mut text = side_by_side(names, groups, &columns[..count], width);
    if count < columns.len() {
        text.push('\n');
        text += &aligned(names, groups, &columns[count..], width);
    }
    text
}

/// All columns in one table.
fn side_by_side(names: &[String], groups: &[Group], columns: &[Column], width: usize) -> String {
    let mut rows = vec![vec![String::new()]; 2];
    for (i, row) in rows.iter_mut().enumerate() {
        row.extend(columns.iter().map(|column| column.title[i].clone()));
    }
    for (name, group) in names.iter().zip(groups) {
        let mut row = vec![shortened(name, 2 * width / 5)];
        row.extend(columns.iter().map(|column| (column.cell)(group)));
        rows.push(row);
    }
    let length = |text: &String| text.chars().count();
    let widths: Vec<usize> = (0..=columns.len())
        .map(|i| rows.iter().map(|row| length(&row[i])).max().unwrap_or(0))
        .collect();
    let mut text = String::new();
    for row in &rows {
        let mut line = format!("{:<1$}", row[0], widths[0]);
        for (cell, width) in row.iter().zip(&widths).skip(1) {
            line += &format!("  {cell:>width$}");
        }
        text += line.trim_end();
        text.push('\n');
    }
    text
}

/// A note as lines of at most so many characters.
pub(super) fn wrapped(note: &str, most: usize) -> String {
    let mut text = String::new();
    let mut length = 0;
    for word in note.split_whitespace() {
        let width = word.chars().count();
        if length > 0 && length + 1 + width > most {
            text.push('\n');
            length = 0;
        } else if length > 0 {
            text.push(' ');
            length += 1;
        }
        text += word;
        length += width;
    }
    text + "\n"
}

#[cfg(test)]
mod tests {
    use super::super::samples::summary;
    use crate::run::Values;

    #[test]
    fn columns_line_up() {
        let text = summary(1).table();
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[2].starts_with("Transformer "), "{text}");
        for table in [&lines[1..6], &lines[8..13]] {
            let widths: Vec<usize> = table.iter().map(|line| line.chars().count()).collect();
            assert!(widths.iter().all(|width| *width == widths[0]), "{text}");
        }
        assert!(text.contains("4.0 KiB") && text.contains("312.4 MiB"), "{text}");
        assert!(!text.contains('±') && !text.contains("inside"), "{text}");
        assert!(text.contains("--seeds 3"), "{text}");
    }

    /// What was scored stands beside the scores; columns that do not fit go below.
    #[test]
    fn parts_and_the_best_step_have_columns() {
        let mut summary = summary(2);
        for run in &mut summary.variants {
            run.results.set("validation_tokens_scored", 5_000);
            run.results.set("validation_tokens", 20_000);
            run.results.set("test_tokens_scored", 20_000);
            run.results.set("test_tokens", 20_000);
            run.results.set("best_step", 100 * run.seed);
            run.results.set("best_validation_loss", 5.0);
            run.results.set("last_validation_loss", 5.0);
        }
        summary.variants[0].results.set("validation_tokens_scored", 20_000);
        let text = summary.table();
        assert!(text.contains("scored") && text.contains("all, 25.0 %"), "{text}");
        assert!(text.contains("5.000 ± 0.000 at 100–200"), "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
    }

    #[test]
    fn even_extreme_numbers_fit_100_columns() {
        let mut summary = summary(3);
        for (i, run) in summary.variants.iter_mut().enumerate() {
            run.variant = format!("neutreno+resformer-learnable-plus-{}", i / 3);
            run.parameters = 9_999_999_999;
            run.peak_memory_bytes = 1023 << 30;
            run.results = Values::default();
            for (name, number) in [
                ("kv_cache_bytes_per_token", f64::from(1023 << 20)),
                ("validation_loss", 10.0 * (i + 1) as f64),
                ("validation_token_perplexity", 900.0 * (i + 1) as f64),
                ("validation_bits_per_byte", 22.0 + i as f64),
                ("test_token_perplexity", f64::MAX),
                ("test_loss", f64::NAN),
                ("bits_per_byte", 33.0 + i as f64),
                ("tokens_per_second", 999_999.0 + i as f64),
            ] {
                run.results.set(name, number);
            }
            run.steps = 100_000;
            run.wall_seconds = 9e5;
        }
        let text = summary.table();
        for line in text.lines() {
            assert!(line.chars().count() <= 100, "{} characters: {line}", line.chars().count());
        }
    }
}
