//! What a comparison of runs looks like: a page, a part of a run's page, and a table for a terminal.

use super::escape::escaped;
use super::figures::{legend, swatch};
use super::head::head;
use super::measures::Measure;
use super::paired::{Paired, probability};
use super::table::{Column, aligned, cost, quality, wrapped};
use super::trade_offs::{curves, pareto};
use super::{Group, SideBySide};
use maud::{DOCTYPE, Markup, html};

/// The most characters in a line on a terminal.
const WIDTH: usize = 80;

impl SideBySide {
    /// The page: a whole HTML document.
    pub fn page(&self) -> String {
        let groups = self.summary.groups();
        let document = html! {
            (DOCTYPE)
            html lang="en" {
                (head("Comparison", false))
                body {
                    h1 { "Comparison" }
                    p { (self.about()) }
                    @for warning in &self.warnings { p.warning { (warning) } }
                    (self.rows_table(&groups))
                    h2 { "Scores" }
                    (table(&groups, &quality(&self.summary)))
                    h2 { "Differences" }
                    (self.section())
                    @if !self.metrics.is_empty() {
                        h2 { "Training" }
                        (legend(&self.labels()))
                        (curves(self))
                    }
                    h2 { "Cost" }
                    (table(&groups, &cost(&self.summary)))
                }
            }
        };
        escaped(&document.into_string())
    }

    /// The differences with what chance has to do with them, and scores against costs.
    pub(super) fn section(&self) -> Markup {
        let groups = self.summary.groups();
        html! {
            @if self.differences.is_empty() {
                p.quiet { "No two rows can be compared." }
            } @else {
                (table(&groups, &self.difference_columns()))
                ul.notes.quiet {
                    @for sentence in self.sentences() { li { (sentence) } }
                    li { (HOW) }
                }
            }
            (legend(&self.labels()))
            (pareto(self))
        }
    }

    /// The comparison for a terminal, at most 80 characters wide. Ends with a line end.
    pub fn table(&self) -> String {
        let groups = self.summary.groups();
        let mut text = wrapped(&self.about(), WIDTH);
        for (number, (row, group)) in (1..).zip(self.rows.iter().zip(&groups)) {
            let (runs, seeds) = (row.runs.join(", "), seeds(group));
            text += &wrapped(&format!("{number} {}: {runs}; {seeds}", row.label), WIDTH);
        }
        for warning in &self.warnings {
            text += &wrapped(&format!("! {warning}"), WIDTH);
        }
        for columns in [quality(&self.summary), self.difference_columns(), cost(&self.summary)] {
            if !columns.is_empty() {
                text.push('\n');
                text += &aligned(&self.labels(), &groups, &columns, WIDTH);
            }
        }
        text.push('\n');
        for sentence in self.sentences() {
            text += &wrapped(&sentence, WIDTH);
        }
        if !self.differences.is_empty() {
            text += &wrapped(HOW, WIDTH);
        }
        text
    }

    /// What the rows are called; as variants of the summary they have these names already.
    fn labels(&self) -> Vec<String> {
        self.rows.iter().map(|row| row.label.clone()).collect()
    }

    /// What is compared, in a sentence.
    fn about(&self) -> String {
        let (models, rows) = (self.summary.variants.len(), self.rows.len());
        let baseline = self.summary.baseline.as_deref().unwrap_or_default();
        format!(
            "{models} models of {} in {rows} rows: {}. Compared by {} with {baseline}.",
            self.summary.task,
            self.summary.name,
            self.measure().words,
        )
    }

    /// How each row differs from the baseline; none where there is nothing to compare.
    fn difference_columns(&self) -> Vec<Column> {
        if self.differences.is_empty() {
            return Vec::new();
        }
        let measure = self.measure();
        let column = |title: [&str; 2], cell: fn(&Measure, &Paired) -> String| {
            let differences = self.differences.clone();
            let cell = move |group: &Group| {
                let of = differences.iter().find(|paired| paired.label == group.variant);
                of.map_or_else(|| "–".into(), |paired| cell(measure, paired))
            };
            Column::new(title, cell)
        };
        vec![
            column(["", "n"], |_, paired| paired.spread.count.to_string()),
            column(["less the", "baseline's"], |measure, paired| {
                plain(measure.show_difference([paired.spread.mean]))
            }),
            column(["95 %", "interval"], |measure, paired| match paired.spread.interval() {
                Some(interval) => plain(measure.show_difference(interval)),
                None => "–".into(),
            }),
            column(["", "p"], |_, paired| paired.chance.map_or_else(|| "–".into(), probability)),
            column(["p,", "corrected"], |_, paired| {
                paired.corrected.map_or_else(|| "–".into(), probability)
            }),
        ]
    }

    /// Which row is what, and what it differs in.
    fn rows_table(&self, groups: &[Group]) -> Markup {
        html! {
            div.wide { table.results {
                thead { tr { th { "row" } th { "runs" } th { "seeds" }
                    @for name in &self.differing { th { (name.replace('_', " ")) } } } }
                tbody { @for (i, (row, group)) in self.rows.iter().zip(groups).enumerate() { tr {
                    td { (swatch(i)) (row.label) }
                    td { (row.runs.join(", ")) }
                    td { (seeds(group)) }
                    @for name in &self.differing {
                        td { (row.settings.get(name).map_or("–", String::as_str)) }
                    }
                } } }
            } }
        }
    }
}

/// How differences are to be read.
const HOW: &str = "Differences are taken seed by seed, between models that learnt from the same data; n \
                   is how many pairs there are. The interval is Student's t, each for its own comparison; p \
                   is that of the paired t-test, and p, corrected, Holm's for all of these comparisons \
                   together.";

/// A difference without its unit.
fn plain(difference: String) -> String {
    let units = [" nats", " percentage points"];
    units.iter().fold(difference, |text, unit| text.replace(unit, ""))
}

fn seeds(group: &Group) -> String {
    let seeds: Vec<String> = group.runs.iter().map(|run| run.seed.to_string()).collect();
    let word = if seeds.len() == 1 { "seed" } else { "seeds" };
    format!("{word} {}", seeds.join(", "))
}

fn table(groups: &[Group], columns: &[Column]) -> Markup {
    html! {
        div.wide { table.results {
            thead { tr {
                th { "row" }
                @for Column { title: [above, below], .. } in columns { th { (above) br; (below) } }
            } }
            tbody { @for (i, group) in groups.iter().enumerate() { tr {
                td { (swatch(i)) (group.variant) }
                @for column in columns { td { ((column.cell)(group)) } }
            } } }
        } }
    }
}
