//! The files of a comparison.

use crate::common::csv_file::{CsvFile, number};
use neutreno::report::{Paired, Row, SideBySide};
use neutreno::run::{Error, write_atomically, write_json};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::Path;

/// Writes all of them.
pub fn write(compared: &SideBySide, folder: &Path) -> Result<(), Error> {
    write_json(&folder.join("compare.json"), &json(compared))?;
    for (name, lines) in [
        ("models.csv", models(compared)),
        ("differences.csv", differences(compared)),
        ("curves.csv", curves(compared)),
    ] {
        let [titles, rows @ ..] = &lines[..] else { unreachable!("titles at least") };
        let mut table = CsvFile::new(titles);
        rows.iter().for_each(|row| table.row(row));
        table.write(&folder.join(name))?;
    }
    write_atomically(&folder.join("compare.html"), compared.page().as_bytes())
}

/// The comparison for other programs.
pub fn json(compared: &SideBySide) -> Value {
    let row = |row: &Row| {
        let of_row = |run: &&neutreno::run::VariantSummary| run.variant == row.label;
        let models: Vec<_> = compared.summary.variants.iter().filter(of_row).collect();
        json!({
            "row": row.label, "variant": row.variant, "runs": row.runs, "settings": row.settings,
            "models": models,
        })
    };
    let difference = |paired: &Paired| {
        json!({
            "row": paired.label, "baseline": paired.baseline, "n": paired.spread.count,
            "mean": paired.spread.mean, "deviation": paired.spread.deviation,
            "interval": paired.spread.interval(), "p": paired.chance,
            "p_corrected": paired.corrected,
        })
    };
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "task": compared.summary.task,
        "score": compared.score,
        "baseline": compared.summary.baseline,
        "differing": compared.differing,
        "rows": compared.rows.iter().map(row).collect::<Vec<_>>(),
        "differences": compared.differences.iter().map(difference).collect::<Vec<_>>(),
        "warnings": compared.warnings,
    })
}

/// A line for each model: what it is, what it scored, what it cost.
fn models(compared: &SideBySide) -> Vec<Vec<String>> {
    let runs = &compared.summary.variants;
    let is_plain = |value: &Value| value.is_number() || value.is_string() || value.is_boolean();
    let results = |run: &neutreno::run::VariantSummary| -> Vec<String> {
        let plain = run.results.iter().filter(|(_, value)| is_plain(value));
        plain.map(|(name, _)| name.to_owned()).filter(|name| name != "run").collect()
    };
    let scores: BTreeSet<String> = runs.iter().flat_map(results).collect();
    let of_all =
        ["parameters", "steps", "train_loss", "peak_memory_bytes", "wall_seconds", "device"];
    // What is among the columns already has no second one.
    let differing: Vec<&String> =
        compared.differing.iter().filter(|name| !of_all.contains(&name.as_str())).collect();
    let mut header: Vec<String> = ["row", "run", "variant", "seed"].map(String::from).into();
    header.extend(differing.iter().map(|name| (*name).clone()));
    header.extend(of_all.map(String::from));
    header.extend(scores.iter().cloned());
    let mut lines = vec![header];
    for run in runs {
        let row = compared.rows.iter().find(|row| row.label == run.variant).expect("its row");
        let fields = serde_json::to_value(run).expect("numbers and texts are valid JSON");
        let field = |name: &str| text(&fields[name]);
        let mut line = vec![run.variant.clone(), field("run"), row.variant.clone(), field("seed")];
        line.extend(
            differing.iter().map(|name| row.settings.get(*name).cloned().unwrap_or_default()),
        );
        line.extend(of_all.map(field));
        line.extend(scores.iter().map(|name| field(name)));
        lines.push(line);
    }
    lines
}

/// A line for each row that is compared with the baseline.
fn differences(compared: &SideBySide) -> Vec<Vec<String>> {
    let header =
        ["row", "baseline", "score", "n", "mean", "deviation", "low", "high", "p", "p_corrected"];
    let line = |paired: &Paired| {
        let interval = paired.spread.interval();
        let numbers = [
            Some(paired.spread.mean),
            paired.spread.deviation,
            interval.map(|[low, _]| low),
            interval.map(|[_, high]| high),
            paired.chance,
            paired.corrected,
        ];
        let mut line =
            vec![paired.label.clone(), paired.baseline.clone(), compared.score.to_owned()];
        line.push(paired.spread.count.to_string());
        line.extend(numbers.map(number));
        line
    };
    [header.map(String::from).into()]
        .into_iter()
        .chain(compared.differences.iter().map(line))
        .collect()
}

/// A line for each step that was logged.
fn curves(compared: &SideBySide) -> Vec<Vec<String>> {
    let seen = format!("{}s", compared.summary.unit);
    let mut header: Vec<String> = ["row", "seed", "step"].map(String::from).into();
    header.extend([seen.clone(), "seconds".into(), "train_loss".into(), compared.score.to_owned()]);
    let mut lines = vec![header];
    for run in &compared.metrics {
        lines.extend(run.metrics.iter().map(|line| {
            let mut cells = vec![run.variant.clone(), run.seed.to_string(), line.step.to_string()];
            cells.extend([
                number(Some(line.values.number(&seen))),
                number(Some(line.seconds)),
                number(Some(line.loss)),
                number(Some(line.values.number(compared.score))),
            ]);
            cells
        }));
    }
    lines
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
