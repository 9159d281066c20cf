//! Scores of single tokens: as a file, and by how many were seen before.

use crate::common::csv_file::CsvFile;
use crate::common::language_models::AnyTokenizer;
use crate::common::program::Result;
use neutreno::data::Decoder;
use neutreno::open::Source;
use neutreno::tasks::language::{TokenScore, TokenizedText};
use serde_json::{Value, json};
use std::path::Path;

/// Writes a row for each token and model. Where a token is a part of a character, its bytes stand
/// there as `\xNN`.
pub fn write_tokens(
    path: &Path,
    models: &[(&Source, Vec<TokenScore>)],
    text: &TokenizedText,
    tokenizer: &AnyTokenizer,
) -> Result<()> {
    let titles = ["model", "variant", "seed", "place", "seen", "token_id", "token", "nats"];
    let mut table = CsvFile::new(titles);
    for (source, tokens) in models {
        let (variant, seed) = source.variant_and_seed().unzip();
        let (variant, seed) =
            (variant.unwrap_or_default(), seed.map(|seed| seed.to_string()).unwrap_or_default());
        for TokenScore { place, seen, nats } in tokens {
            let id = text.tokens[*place];
            let [place, seen, number] =
                [*place as u64, *seen as u64, id.into()].map(|number| number.to_string());
            let (shown, nats) = (shown(id, tokenizer), nats.to_string());
            table.row([&source.name, &variant, &seed, &place, &seen, &number, &shown, &nats]);
        }
    }
    Ok(table.write(path)?)
}

fn shown(id: u32, tokenizer: &AnyTokenizer) -> String {
    let Some(bytes) = tokenizer.bytes(id) else { return tokenizer.text(&[id]) };
    String::from_utf8(bytes).unwrap_or_else(|error| {
        error.as_bytes().iter().map(|byte| format!("\\x{byte:02x}")).collect()
    })
}

/// The mean loss of tokens that were seen with 1, 2–3, 4–7, … tokens before them.
pub fn by_position(tokens: &[TokenScore]) -> Vec<Value> {
    let mut sums: Vec<(u64, f64)> = Vec::new();
    for token in tokens {
        let group = token.seen.ilog2() as usize;
        sums.resize(sums.len().max(group + 1), (0, 0.0));
        sums[group].0 += 1;
        sums[group].1 += token.nats;
    }
    let longest = tokens.iter().map(|token| token.seen).max().unwrap_or(0);
    let group = |(group, (count, nats)): (usize, (u64, f64))| {
        let (first, last) = (1_usize << group, (2_usize << group) - 1);
        let mean = (count > 0).then(|| nats / count as f64);
        json!({ "seen_from": first, "seen_to": last.min(longest), "tokens": count,
            "nats_per_token": mean })
    };
    sums.into_iter().enumerate().map(group).collect()
}

/// The same as a table: a row for each group, a column for each model.
pub fn table_of_positions(results: &[Value]) -> String {
    let groups = |result: &Value| result["by_position"].as_array().cloned().unwrap_or_default();
    let mut columns = vec![vec!["tokens seen before".to_owned()]];
    let longest = results.iter().map(groups).max_by_key(Vec::len).unwrap_or_default();
    columns[0].extend(longest.iter().map(|group| match [&group["seen_from"], &group["seen_to"]] {
        [from, to] if from == to => from.to_string(),
        [from, to] => format!("{from}–{to}"),
    }));
    for result in results {
        let title = result["model"].as_str().unwrap_or_default().to_owned();
        let groups = groups(result);
        let cell = |index: usize| {
            let nats = groups.get(index).and_then(|group| group["nats_per_token"].as_f64());
            nats.map_or("–".into(), |nats| format!("{nats:.4}"))
        };
        columns.push(std::iter::once(title).chain((0..longest.len()).map(cell)).collect());
    }
    format!("nats a token\n{}", crate::table::aligned(&columns))
}
