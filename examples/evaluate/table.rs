//! The table of the models' scores, and what all results say.

use crate::common::split::Split;
use neutreno::open::Source;
use serde_json::{Value, json};

/// A column: the key of a result, the title in two lines, what the number is multiplied with, and the
/// decimals.
pub type Column = (&'static str, [&'static str; 2], f64, usize);

/// After how many steps the weights are, of a model of a run.
const STEP: Column = ("step", ["weights of", "step"], 1.0, 0);

/// Those of language models.
pub const OF_TEXT: [Column; 5] = [
    STEP,
    ("nats_per_token", ["nats", "a token"], 1.0, 4),
    ("token_perplexity", ["perplexity", "a token"], 1.0, 2),
    ("word_perplexity", ["perplexity", "a word"], 1.0, 2),
    ("bits_per_byte", ["bits", "a byte"], 1.0, 4),
];

/// Those of classifiers.
pub const OF_CLASSIFIERS: [Column; 5] = [
    STEP,
    ("loss", ["nats", "an image"], 1.0, 4),
    ("top1_accuracy", ["top-1", "%"], 100.0, 2),
    ("top5_accuracy", ["top-5", "%"], 100.0, 2),
    ("mean_class_accuracy", ["mean of", "classes, %"], 100.0, 2),
];

/// Those of segmenters.
pub const OF_SEGMENTERS: [Column; 5] = [
    STEP,
    ("loss", ["nats", "a pixel"], 1.0, 4),
    ("mean_iou", ["mean IoU", "%"], 100.0, 2),
    ("pixel_accuracy", ["pixels", "right, %"], 100.0, 2),
    ("mean_class_accuracy", ["mean of", "classes, %"], 100.0, 2),
];

/// What every result says of its model.
pub fn about(source: &Source, split: Split) -> Value {
    let (variant, seed) = source.variant_and_seed().unzip();
    json!({
        "model": source.name,
        "folder": source.folder.to_string_lossy(),
        "variant": variant,
        "seed": seed,
        "step": source.of_run.as_ref().map(|of_run| of_run.weights.step),
        "split": split.name(),
    })
}

/// Adds the entries of one object to another.
pub fn extend(result: &mut Value, more: Value) {
    if let (Value::Object(result), Value::Object(more)) = (result, more) {
        result.extend(more);
    }
}

/// A line for each model, under titles. A dash stands for what cannot be told.
pub fn table(results: &[Value], columns: &[Column]) -> String {
    let name = |result: &Value| result["model"].as_str().unwrap_or_default().to_owned();
    let titles = |titles: [&str; 2]| titles.map(str::to_owned).into_iter();
    let mut cells: Vec<Vec<String>> =
        vec![titles(["", ""]).chain(results.iter().map(name)).collect()];
    for (key, title, times, decimals) in columns {
        let cell = |result: &Value| match result[key].as_f64().filter(|number| number.is_finite()) {
            Some(number) if number < 1e7 => format!("{:.decimals$}", times * number),
            Some(number) => format!("{number:.1e}"),
            None => "–".to_owned(),
        };
        // What no model has is no column, as top-5 of few classes.
        if results.iter().any(|result| !result[key].is_null()) || *key == "bits_per_byte" {
            cells.push(titles(*title).chain(results.iter().map(cell)).collect());
        }
    }
    aligned(&cells)
}

/// Columns of cells as lines of text.
pub fn aligned(columns: &[Vec<String>]) -> String {
    let width =
        |column: &Vec<String>| column.iter().map(|cell| cell.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = columns.iter().map(width).collect();
    let line = |row: usize| {
        let cells =
            columns.iter().zip(&widths).enumerate().map(|(column, (cells, width))| match column {
                0 => format!("{:<width$}", cells[row]),
                _ => format!("  {:>width$}", cells[row]),
            });
        cells.collect::<String>().trim_end().to_owned()
    };
    let rows = columns.first().map_or(0, Vec::len);
    (0..rows).map(line).collect::<Vec<_>>().join("\n")
}
