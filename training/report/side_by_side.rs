//! Models of any runs side by side: which of them belong together, what each row is called, and how the
//! rows differ.

use super::collected::Collected;
use super::measures::Measure;
use super::paired::{Paired, compare};
use super::{Group, RunMetrics, label};
use crate::run::{CONSTANTS, STRETCHED, Summary, VariantSummary};
use serde_json::Value;
use std::collections::BTreeMap;

/// Settings that change what is shown of a model, and not the model.
const SHOWN: [&str; 8] = [
    "evaluate_every",
    "evaluate_start",
    "sample_every",
    "measure_every",
    "evaluation_tokens",
    "final_evaluation_tokens",
    "evaluate_all",
    "evaluation_images",
];

/// Settings by which the same seed gives another order of the data.
const ORDER: [&str; 3] = ["batch", "context", "accumulate"];

/// Where a row has what it learnt from.
const DATA: &str = "data";

/// Where a model has the run that it is of.
const RUN: &str = "run";

/// So many settings that differ have room in a name.
const MOST_NAMED: usize = 3;

/// Models that were trained alike, one for each seed, wherever they were trained.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// The variant and what differs from other rows of it.
    pub label: String,
    /// The variant, as it was called where it was trained.
    pub variant: String,
    /// The runs that its models are of.
    pub runs: Vec<String>,
    /// All that makes the models what they are: settings, constants, data.
    pub settings: BTreeMap<String, String>,
}

/// The models of several runs, or the variants of one, compared.
#[derive(Clone, Debug)]
pub struct SideBySide {
    /// All models as those of one run, in which each row is a variant.
    pub summary: Summary,
    /// Their metrics, as far as they were read.
    pub metrics: Vec<RunMetrics>,
    /// The rows, in the order in which they first appear.
    pub rows: Vec<Row>,
    /// The name of the score that rows are compared by.
    pub score: &'static str,
    /// What the rows differ in, by name.
    pub differing: Vec<String>,
    /// Each row but the baseline against it, as far as they can be compared.
    pub differences: Vec<Paired>,
    /// What a reader has to know before comparing, by the names of runs and rows.
    pub warnings: Vec<String>,
}

impl SideBySide {
    /// Compares runs. `baseline` is a row's number from 1, its label or its variant; without one it is the
    /// Transformer, else the first row. `score` is the name of a score, such as `validation_loss`.
    ///
    /// # Errors
    /// In words: the runs learnt other tasks, there is no such row or score, or nothing to compare.
    pub fn new(
        runs: &[Collected],
        baseline: Option<&str>,
        score: Option<&str>,
    ) -> Result<SideBySide, String> {
        let Some(first) = runs.first() else { return Err("there is no run to compare".into()) };
        if let Some(other) = runs.iter().find(|run| run.summary.task != first.summary.task) {
            return Err(format!(
                "{} learnt {}, and {} learnt {}: their scores do not compare",
                first.name, first.summary.task, other.name, other.summary.task
            ));
        }
        let mut warnings: Vec<String> = runs.iter().flat_map(|run| run.notes.clone()).collect();
        let (mut rows, mut models, mut metrics) = (Vec::<Row>::new(), Vec::new(), Vec::new());
        for run in runs {
            for model in &run.summary.variants {
                let settings = settings(&run.summary, model);
                let is_same = |row: &Row| row.settings == settings && row.variant == model.variant;
                let place = rows.iter().position(is_same).unwrap_or(rows.len());
                if place == rows.len() {
                    let (variant, runs) = (model.variant.clone(), Vec::new());
                    rows.push(Row { label: label(&variant), variant, runs, settings });
                }
                if let Some(warning) = repeated(&models, place, model, &rows[place], &run.name) {
                    warnings.push(warning);
                    continue;
                }
                if !rows[place].runs.contains(&run.name) {
                    rows[place].runs.push(run.name.clone());
                }
                let is_its =
                    |of: &&RunMetrics| (&of.variant, of.seed) == (&model.variant, model.seed);
                metrics.extend(run.metrics.iter().find(is_its).map(|of| (place, of.clone())));
                let mut model = model.clone();
                model.results.set(RUN, run.name.as_str());
                models.push((place, model));
            }
        }
        name(&mut rows);
        // As the variants of one run: models of a row beside each other.
        models.sort_by_key(|(place, model): &(usize, VariantSummary)| (*place, model.seed));
        let named = |(place, model): (usize, VariantSummary)| VariantSummary {
            variant: rows[place].label.clone(),
            ..model
        };
        let variants = models.into_iter().map(named).collect();
        let named = |(place, of): (usize, RunMetrics)| RunMetrics {
            variant: rows[place].label.clone(),
            ..of
        };
        let metrics = metrics.into_iter().map(named).collect();
        let baseline = chosen(&rows, baseline)?;
        let names: Vec<&str> = runs.iter().map(|run| run.name.as_str()).collect();
        let summary = Summary {
            name: names.join(", "),
            baseline: Some(rows[baseline].label.clone()),
            variants,
            growing: false,
            ..first.summary.clone()
        };
        warnings.extend(about_data(&rows));
        warnings.extend(about_devices(&summary));
        let differing = differing(&rows.iter().collect::<Vec<_>>());
        let mut side_by_side = SideBySide {
            score: scored(&summary, &rows, score)?,
            summary,
            metrics,
            rows,
            differing,
            differences: Vec::new(),
            warnings,
        };
        side_by_side.warnings.extend(side_by_side.about_order());
        side_by_side.warnings.extend(side_by_side.about_schedules());
        side_by_side.compare(baseline);
        Ok(side_by_side)
    }

    /// The models of one run that are trained to the end, each variant with the run's baseline; none
    /// where there is nothing to compare.
    pub(super) fn within(summary: &Summary) -> Option<SideBySide> {
        let baseline = summary.compared_with()?.to_owned();
        let (name, mut summary) = (summary.name.clone(), summary.clone());
        summary.variants.retain(|run| run.finished);
        let run = Collected { name, summary, metrics: Vec::new(), notes: Vec::new() };
        let compared = SideBySide::new(&[run], Some(&baseline), None).ok()?;
        (compared.rows.len() > 1).then_some(compared)
    }

    /// The score that rows are compared by.
    pub(super) fn measure(&self) -> &'static Measure {
        Measure::named(self.score).expect("it was looked up")
    }

    /// Compares every row with one of them.
    fn compare(&mut self, baseline: usize) {
        let groups = self.summary.groups();
        let is_compared = |place: usize| place != baseline && self.is_comparable(place);
        let rows = groups.iter().enumerate().filter(|(place, _)| is_compared(*place));
        let rows: Vec<&Group> = rows.map(|(_, group)| group).collect();
        let (differences, problems) = compare(self.score, &rows, &groups[baseline]);
        self.differences = differences;
        self.warnings.extend(problems);
        if groups.len() > 1 && groups.iter().all(|group| group.runs.len() == 1) {
            self.warnings.push(
                "Each row has one seed, which says nothing about chance: --resume RUN --seeds 3, or more, \
                 tells."
                    .into(),
            );
        }
    }

    /// The baseline and the rows that are compared with it.
    fn compared(&self) -> Vec<&Row> {
        let rows = self.rows.iter().enumerate();
        rows.filter(|(place, _)| self.is_comparable(*place)).map(|(_, row)| row).collect()
    }

    /// A sentence where the schedule of some rows was stretched, and that of others was not, or elsewhere.
    fn about_schedules(&self) -> Option<String> {
        let rows = self.compared();
        let told = rows.iter().map(|row| match row.settings.get(STRETCHED) {
            Some(step) => format!("{}: after {step} steps", row.label),
            None => format!("{}: never", row.label),
        });
        differing(&rows).iter().any(|name| name == STRETCHED).then(|| {
            format!(
                "The learning rate's schedule was not stretched at the same step for all, so rows did \
                 not learn alike, and do not compare. {}.",
                told.collect::<Vec<_>>().join("; ")
            )
        })
    }

    /// A sentence where rows that are compared saw their data in another order.
    fn about_order(&self) -> Option<String> {
        let mut names = differing(&self.compared());
        names.retain(|name| ORDER.contains(&name.as_str()));
        (!names.is_empty()).then(|| {
            format!(
                "Rows differ in {}, so the same seed did not show them the data in the same order: \
                 differences between them hold more chance than those of models that differ in the \
                 variant alone.",
                names.join(", ")
            )
        })
    }

    /// Whether a row learnt from the same data and in the same tokens as the baseline.
    pub(super) fn is_comparable(&self, row: usize) -> bool {
        let is_baseline = |row: &&Row| Some(&row.label) == self.summary.baseline.as_ref();
        let baseline = self.rows.iter().find(is_baseline);
        baseline.is_some_and(|baseline| learnt_from(baseline) == learnt_from(&self.rows[row]))
    }

    /// The sentences below the table.
    pub fn sentences(&self) -> Vec<String> {
        self.differences.iter().map(|paired| paired.sentence(self.measure())).collect()
    }
}

/// What made a model: settings, constants, tokens and data, each as text.
fn settings(summary: &Summary, model: &VariantSummary) -> BTreeMap<String, String> {
    let shown = |value: &Value| match value {
        Value::String(text) => text.clone(),
        Value::Number(number) if number.is_f64() => {
            // Single-precision numbers show all digits of their double-precision neighbours.
            number.as_f64().map_or_else(|| number.to_string(), |number| (number as f32).to_string())
        }
        other => other.to_string(),
    };
    let mut all = BTreeMap::new();
    for (name, value) in summary.settings.as_object().into_iter().flatten() {
        if !SHOWN.contains(&name.as_str()) && !value.is_null() {
            all.insert(name.clone(), shown(value));
        }
    }
    for (name, value) in
        model.results.get(CONSTANTS).and_then(Value::as_object).into_iter().flatten()
    {
        all.insert(name.clone(), shown(value));
    }
    all.extend(model.results.get(STRETCHED).map(|step| (STRETCHED.to_owned(), shown(step))));
    for name in ["tokenizer", "vocabulary"] {
        all.extend(summary.facts.get(name).map(|value| (name.to_owned(), shown(value))));
    }
    let start = summary.facts.get("from").and_then(|from| from["files"].as_object());
    if let Some(files) = start {
        let hashes = files.values().filter_map(Value::as_str);
        all.insert("start".into(), short(hashes));
    }
    let hashes = short(summary.data.hashes.values().map(String::as_str));
    all.insert(DATA.into(), format!("{} ({hashes})", summary.data.name));
    all
}

/// Hashes, as far as they tell files apart to people.
fn short<'a>(hashes: impl Iterator<Item = &'a str>) -> String {
    let mut hashes: Vec<String> = hashes.map(|hash| hash.chars().take(8).collect()).collect();
    hashes.sort_unstable();
    hashes.join(" ")
}

/// Data and tokens of a row: scores of others do not compare.
fn learnt_from(row: &Row) -> [Option<&String>; 3] {
    [DATA, "tokenizer", "vocabulary"].map(|name| row.settings.get(name))
}

/// A sentence where a model of a row and a seed was there before.
fn repeated(
    models: &[(usize, VariantSummary)],
    place: usize,
    model: &VariantSummary,
    row: &Row,
    run: &str,
) -> Option<String> {
    let (_, other) = models.iter().find(|(of, other)| *of == place && other.seed == model.seed)?;
    let score = ["mean_iou", "top1_accuracy", "validation_loss"];
    let score = score.into_iter().find(|name| model.number(name).is_finite());
    let same = score.is_none_or(|score| model.number(score) == other.number(score));
    Some(format!(
        "{} with seed {} is in {run} as well as in {}, and counts once{}.",
        row.label,
        model.seed,
        row.runs.join(", "),
        if same {
            "; its scores are the same"
        } else {
            "; its scores differ, as those of other devices may"
        }
    ))
}

/// The names of what rows differ in.
fn differing(rows: &[&Row]) -> Vec<String> {
    let names: std::collections::BTreeSet<&String> =
        rows.iter().flat_map(|row| row.settings.keys()).collect();
    let differs = |name: &&String| {
        rows.iter().any(|row| row.settings.get(*name) != rows[0].settings.get(*name))
    };
    names.into_iter().filter(differs).cloned().collect()
}

/// Gives each row a label of its own: its variant, and what differs from other rows of it.
fn name(rows: &mut [Row]) {
    let labels: Vec<String> = rows
        .iter()
        .map(|row| {
            let alike: Vec<&Row> =
                rows.iter().filter(|other| other.variant == row.variant).collect();
            let names = differing(&alike);
            let value = |name: &String| {
                let value = row.settings.get(name).map_or("none", String::as_str);
                format!("{} {value}", name.replace('_', " "))
            };
            let base = label(&row.variant);
            match names.len() {
                0 => base,
                1..=MOST_NAMED => {
                    format!("{base}, {}", names.iter().map(value).collect::<Vec<_>>().join(", "))
                }
                _ => format!("{base} of {}", row.runs[0]),
            }
        })
        .collect();
    for (place, label) in labels.iter().enumerate() {
        let taken = labels[..place].contains(label);
        rows[place].label = if taken { format!("{label} ({})", place + 1) } else { label.clone() };
    }
}

/// The row that is meant.
fn chosen(rows: &[Row], wished: Option<&str>) -> Result<usize, String> {
    let Some(wished) = wished else {
        return Ok(rows.iter().position(|row| row.variant == "transformer").unwrap_or(0));
    };
    let number = wished.parse().ok().filter(|number| (1..=rows.len()).contains(number));
    let typed = wished.replace(':', "-");
    let is = |row: &Row| row.label.eq_ignore_ascii_case(wished);
    let is_variant = |row: &Row| row.variant.eq_ignore_ascii_case(&typed);
    let found = number.map(|number: usize| number - 1);
    let found =
        found.or_else(|| rows.iter().position(is)).or_else(|| rows.iter().position(is_variant));
    found.ok_or_else(|| {
        let all =
            rows.iter().enumerate().map(|(place, row)| format!("{} {}", place + 1, row.label));
        format!("--baseline {wished} is none of the rows: {}", all.collect::<Vec<_>>().join("; "))
    })
}

/// The score to compare by: the one wished for, or the task's; bits a byte where tokens differ.
fn scored(summary: &Summary, rows: &[Row], wished: Option<&str>) -> Result<&'static str, String> {
    if let Some(wished) = wished {
        let mut present = Measure::present(summary);
        return present
            .find(|measure| measure.name == wished)
            .map(|measure| measure.name)
            .ok_or_else(|| {
                let all: Vec<&str> =
                    Measure::present(summary).map(|measure| measure.name).collect();
                format!("--score {wished} is none of the scores: {}", all.join(", "))
            });
    }
    let tokens =
        |row: &Row| ["tokenizer", "vocabulary"].map(|name| row.settings.get(name).cloned());
    let differ = rows.iter().any(|row| tokens(row) != tokens(&rows[0]));
    let bits = "validation_bits_per_byte";
    let all_have = summary.variants.iter().all(|run| run.number(bits).is_finite());
    let name = if differ && all_have { bits } else { Measure::headline(summary).name };
    Ok(Measure::named(name).expect("both are in the list").name)
}

/// A sentence where rows learnt from other data or in other tokens.
fn about_data(rows: &[Row]) -> Vec<String> {
    let mut kinds: Vec<([Option<&String>; 3], Vec<&str>)> = Vec::new();
    for row in rows {
        match kinds.iter_mut().find(|(kind, _)| *kind == learnt_from(row)) {
            Some((_, labels)) => labels.push(&row.label),
            None => kinds.push((learnt_from(row), vec![&row.label])),
        }
    }
    if kinds.len() < 2 {
        return Vec::new();
    }
    let told = kinds.iter().map(|([data, tokenizer, _], labels)| {
        let tokens = tokenizer.map_or_else(String::new, |kind| format!(" in {kind}"));
        format!("{}: {}{tokens}", labels.join(", "), data.map_or("", String::as_str))
    });
    vec![format!(
        "Not all learnt from the same data and tokens, so there are no differences between them. {}.",
        told.collect::<Vec<_>>().join("; ")
    )]
}

/// A sentence where models were trained on several devices.
fn about_devices(summary: &Summary) -> Vec<String> {
    let mut devices: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for run in &summary.variants {
        let device = run.adapter.clone().unwrap_or_else(|| run.device.clone());
        let labels = devices.entry(device).or_default();
        if !labels.contains(&run.variant.as_str()) {
            labels.push(&run.variant);
        }
    }
    if devices.len() < 2 {
        return Vec::new();
    }
    let told = devices.iter().map(|(device, labels)| format!("{device}: {}", labels.join(", ")));
    vec![format!(
        "Trained on several devices, so times and memory do not compare. {}.",
        told.collect::<Vec<_>>().join("; ")
    )]
}
