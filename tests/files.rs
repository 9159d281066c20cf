//! docs/FILES.md against the files of runs: it has every file and field that is written, with its type, and
//! none that is not.

mod common;

use common::programs::{SMALL, path_of, program, said, text_file};
use neutreno::measure::{MEASUREMENTS, OF_HEADS};
use neutreno::run::{Going, Status};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// A table of the page: a row's first cell, and the cells after it.
type Table = BTreeMap<String, Vec<String>>;

/// What the page says.
struct Page {
    tables: BTreeMap<String, Table>,
    /// The rows that were found in a run.
    seen: BTreeSet<(String, String)>,
    problems: BTreeSet<String>,
}

impl Page {
    fn read() -> Page {
        let text = fs::read_to_string("docs/FILES.md").unwrap();
        let mut tables: BTreeMap<String, Table> = BTreeMap::new();
        let mut heading = String::new();
        for line in text.lines() {
            if let Some(title) = line.strip_prefix("##") {
                heading = title.trim_start_matches('#').trim().trim_matches('`').to_owned();
            }
            let Some(row) = line.strip_prefix("| `").and_then(|row| row.strip_suffix(" |")) else {
                continue;
            };
            let (field, cells) = row.split_once("` | ").unwrap();
            let cells = cells.split(" | ").map(|cell| cell.trim().to_owned()).collect();
            let before = tables.entry(heading.clone()).or_default().insert(field.into(), cells);
            assert!(before.is_none(), "{heading}: {field} is there twice");
        }
        Page { tables, seen: BTreeSet::new(), problems: BTreeSet::new() }
    }

    /// Finds out whether a field is in one of the tables, with its type.
    fn field(&mut self, file: &str, tables: &[&str], field: &str, value: &Value) {
        let find = |table: &&&str| self.tables[**table].contains_key(field);
        let Some(table) = tables.iter().find(find) else {
            self.problems.insert(format!("{file}: {field} is not on the page: {value}"));
            return;
        };
        self.seen.insert((table.to_string(), field.into()));
        let kind = &self.tables[*table][field][0];
        if !is(value, kind) {
            self.problems.insert(format!("{file}: {field} is no {kind}: {value}"));
        }
    }

    /// All fields of an object. Those below a field that the page has as a whole belong to it.
    fn object(&mut self, file: &str, tables: &[&str], prefix: &str, value: &Value) {
        for (name, value) in value.as_object().expect("an object") {
            let field = format!("{prefix}{name}");
            let is_known = |field: &str| tables.iter().any(|t| self.tables[*t].contains_key(field));
            let named = format!("{prefix}NAME");
            let inner = match value {
                _ if is_known(&field) => None,
                _ if is_known(&named) && !value.is_object() => {
                    self.field(file, tables, &named, value);
                    continue;
                }
                Value::Object(_) => Some((format!("{field}."), vec![value.clone()])),
                Value::Array(all) if all.iter().any(Value::is_object) => {
                    Some((format!("{field}[]."), all.clone()))
                }
                _ => None,
            };
            match inner {
                None => self.field(file, tables, &field, value),
                // What several files have in common stands in tables of its own.
                Some((_, all)) if field == "settings" => {
                    self.object(file, &["settings"], "", &all[0]);
                }
                Some((_, all)) if field == "variants" && file == "summary.json" => {
                    all.iter().for_each(|model| self.object(file, &["result.json"], "", model));
                }
                Some((prefix, all)) => {
                    all.iter().for_each(|value| self.object(file, tables, &prefix, value));
                }
            }
        }
    }

    /// A file of a run, by its path from the run's folder.
    fn file(&mut self, run: &Path, path: &Path) {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let known = pattern(path.strip_prefix(run).unwrap());
        match self.tables["The folder of a run"].contains_key(&known) {
            true => drop(self.seen.insert(("The folder of a run".into(), known.clone()))),
            false => drop(self.problems.insert(format!("the file {known} is not on the page"))),
        }
        let json = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        let text = || fs::read_to_string(path).unwrap();
        let tables: &[&str] = match &*name {
            "run.json" | "summary.json" => &[&name, "The data"],
            "metrics.jsonl" => {
                text().lines().for_each(|line| self.object(&name, &[&name], "", &json(line)));
                return;
            }
            // Formats of others.
            "config.json" | "tokenizer.json" => return,
            other if other.ends_with(".json") => &[&name],
            _ => return,
        };
        let value = json(&text());
        assert!(value["version"].is_string(), "{known} has no version");
        self.object(&name, tables, "", &value);
    }

    /// All files of a run.
    fn folder(&mut self, run: &Path, folder: &Path) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { self.folder(run, &path) } else { self.file(run, &path) }
        }
    }

    /// The rows that no run has, but for those that only other runs have.
    fn unseen(&self) -> Vec<String> {
        let rows = self.tables.iter().filter(|(table, _)| *table != "What is measured");
        let rows = rows.flat_map(|(table, rows)| rows.iter().map(move |row| (table, row)));
        rows.filter(|(table, (field, cells))| {
            let elsewhere = cells.last().is_some_and(|what| what.starts_with("Only "));
            !elsewhere && !self.seen.contains(&((*table).clone(), (*field).clone()))
        })
        .map(|(table, (field, _))| format!("{table}: {field} is never written"))
        .collect()
    }
}

/// A path with what differs from run to run replaced by what stands for it on the page.
fn pattern(path: &Path) -> String {
    let part = |part: &std::ffi::OsStr| {
        let part = part.to_str().unwrap();
        if part.contains("-seed") {
            "VARIANT-seedN".into()
        } else if part.starts_with("step-") {
            "step-NNNNNN".into()
        } else if part.starts_with("events.out.tfevents.") {
            "events.out.tfevents.TIME.neutreno".into()
        } else if part.ends_with(".svg") {
            "NAME.svg".into()
        } else {
            part.to_owned()
        }
    };
    path.iter().map(part).collect::<Vec<String>>().join("/")
}

/// Whether a value is of a type in the page's words, one of several with "or".
fn is(value: &Value, kind: &str) -> bool {
    let all = |is: fn(&Value) -> bool| value.as_array().is_some_and(|all| all.iter().all(is));
    match kind {
        "text" => value.is_string(),
        "whole number" => value.is_u64(),
        "number" => value.is_number(),
        "true or false" => value.is_boolean(),
        "null" => value.is_null(),
        "object" => value.is_object(),
        "list of texts" => all(Value::is_string),
        // A number that is not finite is null.
        "list of numbers" => all(|value| value.is_number() || value.is_null()),
        _ => kind.split_once(" or ").is_some_and(|(one, rest)| is(value, one) || is(value, rest)),
    }
}

fn finish(mut command: std::process::Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
}

#[test]
fn every_file_and_field_is_on_the_page_and_none_that_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let mut page = Page::read();
    let small = "--device cpu --threads 1 --layers 2 --width 16 --heads 2 --batch 4 --tensorboard";
    let runs = [
        // Bytes and words; everything that is noted now and then.
        (
            "lm_wikitext",
            "text",
            "--tokenizer bpe:276 --average 0.9 --seeds 2 --hash-every 1 \
         --measure-every 2 --sample-every 2 --context 16 --eval-every 2 --steps 4 \
         --variant neutreno,transformer --baseline neutreno",
        ),
        (
            "lm_wikitext",
            "words",
            "--offline --context 16 --eval-every 2 --eval-tokens 200 --steps 4 \
         --variant resformer --resformer-kind sparse --resformer-lambda 3 --resformer-layers 1 \
         --lr 1e30 --warmup 0 --on-nonfinite skip",
        ),
        (
            "lm_wikitext",
            "stopped",
            "--context 16 --eval-every 1 --patience 1 --lr 0 --steps 4 --variant transformer",
        ),
        (
            "image_classification",
            "classes",
            "--steps 4 --eval-every 2 --eval-images 100 \
         --variant svformer",
        ),
        (
            "image_segmentation",
            "scenes",
            "--steps 4 --eval-every 2 --eval-images 20 \
         --variant transformer",
        ),
    ];
    for (name, run, flags) in runs {
        let mut command = program(name);
        command.args(small.split_whitespace()).args(flags.split_whitespace());
        if ["text", "stopped"].contains(&run) {
            command.args(["--data", &path_of(&text_file(folder.path()))]);
        }
        let run = folder.path().join(run);
        finish({
            command.arg("--out").arg(&run);
            command
        });
        let mut measure = program("measure");
        measure.args(["--device", "cpu", "--sequences", "2"]).arg(&run);
        finish(measure);
        page.folder(&run, &run);
    }
    let problems: Vec<String> = page.problems.iter().cloned().chain(page.unseen()).collect();
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

/// What is measured has its rows, in the order in which it is shown.
#[test]
fn all_that_is_measured_is_on_the_page() {
    let page = Page::read();
    let table = &page.tables["What is measured"];
    for measurement in MEASUREMENTS {
        let of = if measurement.of_states { "states" } else { "layers" };
        assert_eq!(table[measurement.name][..2], [of, measurement.unit], "{}", measurement.name);
    }
    for measurement in OF_HEADS {
        assert_eq!(
            table[measurement.name][..2],
            ["heads", measurement.unit],
            "{}",
            measurement.name
        );
    }
    assert_eq!(table.len(), MEASUREMENTS.len() + OF_HEADS.len());
}

/// `status.json` says how a run ended.
#[test]
fn the_status_says_how_a_run_ended() {
    let folder = tempfile::tempdir().unwrap();
    let data = path_of(&text_file(folder.path()));
    let ended = |name: &str, flags: &[&str]| {
        let run = folder.path().join(name);
        let mut command = program("lm_wikitext");
        command.args(SMALL.split_whitespace()).args(["--data", &data, "--steps", "5"]);
        let output = command.arg("--out").arg(&run).args(flags).output().unwrap();
        let status = fs::read(run.join("status.json")).unwrap();
        (output.status.success(), serde_json::from_slice::<Status>(&status).unwrap())
    };
    let (success, status) = ended("good", &["--seeds", "2"]);
    assert!(success && status.state == Going::Finished, "{status:?}");
    assert_eq!((status.number, status.models, status.seed), (2, 2, 2));
    assert_eq!((status.step, status.steps, status.scores_step), (5, 5, Some(5)));
    assert!(status.loss > 0.0 && status.scores.number("validation_loss") > 0.0, "{status:?}");
    let (success, status) = ended("bad", &["--lr", "1e38", "--warmup", "0"]);
    assert!(!success && status.state == Going::Failed, "{status:?}");
}
