//! Where the time of ranks went, for runs that several trained together.

use super::format::{fixed, shortened};
use super::measures::scaled;
use super::{Spread, label};
use crate::run::Summary;
use maud::{Markup, html};

/// The titles of the columns between the rank and its device.
fn titles(summary: &Summary) -> [String; 4] {
    let speed = format!("{}s per second", summary.unit);
    [speed, "computing".into(), "waiting".into(), "communicating".into()]
}

/// A rank: its name, the cells of its columns, its device.
type Row = (String, [String; 4], String);

/// A row for each rank of each model.
fn rows(summary: &Summary) -> Vec<Row> {
    let trained = summary.variants.iter().filter(|model| !model.ranks.is_empty());
    let several = trained.clone().count() > 1;
    let seeds = trained.clone().any(|model| model.seed != summary.variants[0].seed);
    let of_model = trained.map(|model| {
        let seed = if seeds { format!(" (seed {})", model.seed) } else { String::new() };
        let model_name = format!("{}{seed}, ", label(&model.variant));
        let model_name = if several { model_name } else { String::new() };
        model.ranks.iter().enumerate().map(move |(rank, times)| {
            let share = |share: f64| format!("{} %", fixed(100.0 * share, 1));
            let speed = scaled(&Spread::of([times.units_per_second]));
            let parts = [times.computing, times.waiting, times.communicating].map(share);
            let [computing, waiting, communicating] = parts;
            let name = format!("{model_name}rank {rank} on {}", times.host);
            (name, [speed, computing, waiting, communicating], times.device.clone())
        })
    });
    of_model.flatten().collect()
}

/// The table for a terminal, no line of which is longer than `width`; nothing where no model was trained by
/// several ranks.
pub(super) fn table(summary: &Summary, width: usize) -> String {
    let rows = rows(summary);
    if rows.is_empty() {
        return String::new();
    }
    let titles = titles(summary);
    let length = |text: &String| text.chars().count();
    let left = width.saturating_sub(titles.iter().map(|title| 2 + length(title)).sum());
    let first = rows.iter().map(|(name, ..)| length(name)).max().unwrap_or(0).min(left);
    let line = |(name, cells, device): &Row| {
        let mut line = format!("{:<first$}", shortened(name, first));
        for (cell, title) in cells.iter().zip(&titles) {
            line += &format!("  {cell:>0$}", length(title));
        }
        let left = width.saturating_sub(length(&line) + 2);
        let device = if left > 8 { shortened(device, left) } else { String::new() };
        format!("{line}  {device}").trim_end().to_owned() + "\n"
    };
    let mut text = line(&(String::new(), titles.clone(), String::new()));
    text.extend(rows.iter().map(line));
    text + "\n"
}

/// The same for the page.
pub(super) fn section(summary: &Summary) -> Markup {
    let rows = rows(summary);
    html! {
        @if !rows.is_empty() {
            h2 { "Where the time of the ranks went" }
            div.wide { table.results {
                thead { tr {
                    th { "rank" }
                    @for title in titles(summary) { th { (title) } }
                    th style="text-align:left" { "device" }
                } }
                tbody { @for (name, cells, device) in &rows { tr {
                    td { (name) }
                    @for cell in cells { td { (cell) } }
                    td style="text-align:left" { (device) }
                } } }
            } }
            p.quiet { "What a rank goes through in a second is counted while it makes gradients. It then waits \
                for the slowest of the step, and all bring together what is not yet. The rest is the update, and \
                what the first one writes." }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::summary;
    use super::*;
    use crate::run::RankTimes;

    fn times(host: &str, units_per_second: f64) -> RankTimes {
        RankTimes {
            host: host.into(),
            device: "NVIDIA something with a very long name and more of it (Vulkan)".into(),
            units_per_second,
            computing: 0.75,
            waiting: 0.05,
            communicating: 0.2,
        }
    }

    #[test]
    fn one_process_has_no_such_table() {
        assert_eq!(table(&summary(2), 100), "");
        assert_eq!(section(&summary(2)).into_string(), "");
    }

    #[test]
    fn each_rank_has_a_row() {
        let mut summary = summary(1);
        summary.variants[1].ranks = vec![times("node1", 1234.0), times("node2", 99.5)];
        let text = table(&summary, 100);
        let lines: Vec<&str> = text.lines().collect();
        let titles = "tokens per second  computing  waiting  communicating";
        assert_eq!(lines[0].trim(), titles);
        assert!(
            lines[1].starts_with("rank 0 on node1              1,234     75.0 %    5.0 %"),
            "{text}"
        );
        assert!(
            lines[2].contains("rank 1 on node2") && lines[2].contains("20.0 %  NVIDIA"),
            "{text}"
        );
        // Of several models, each is named; and whatever hosts are called, lines stay short.
        summary.variants[2].ranks = vec![times(&"long".repeat(40), 1.0)];
        let text = summary.table();
        assert!(
            text.contains("NeuTRENO, rank 0 on node1") && text.contains("ResFormer, rank 0 on")
        );
        assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
        let page = section(&summary).into_string();
        assert!(page.contains("<td>NeuTRENO, rank 1 on node2</td>"), "{page}");
    }
}
