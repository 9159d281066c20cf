//! The table of the models' scores.

use serde_json::Value;

/// The columns: the key of a result, the title in two lines, and the decimals.
const COLUMNS: [(&str, [&str; 2], usize); 4] = [
    ("nats_per_token", ["nats", "a token"], 4),
    ("token_perplexity", ["perplexity", "a token"], 2),
    ("word_perplexity", ["perplexity", "a word"], 2),
    ("bits_per_byte", ["bits", "a byte"], 4),
];

/// A line for each model, under titles. A dash stands for what cannot be told.
pub fn table(results: &[Value]) -> String {
    let name = |result: &Value| result["model"].as_str().unwrap_or_default().to_owned();
    let mut columns = vec![
        ["".to_owned(), "".to_owned()]
            .into_iter()
            .chain(results.iter().map(name))
            .collect::<Vec<_>>(),
    ];
    for (key, title, decimals) in COLUMNS {
        let cell = |result: &Value| match result[key].as_f64().filter(|number| number.is_finite()) {
            Some(number) if number < 1e7 => format!("{number:.decimals$}"),
            Some(number) => format!("{number:.1e}"),
            None => "–".to_owned(),
        };
        columns
            .push(title.map(str::to_owned).into_iter().chain(results.iter().map(cell)).collect());
    }
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
    (0..results.len() + 2).map(line).collect::<Vec<_>>().join("\n")
}
