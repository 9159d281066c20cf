//! `report.html`: one page that needs nothing else, no network and no script.
//!
//! Whatever comes from outside (names, settings, text that a model wrote) is escaped by `maud`,
//! and a content security policy forbids scripts and loading on top.

use super::escape::escaped;
use super::figures::{costs, legend, plots, swatch};
use super::format::thousands;
use super::group::labels;
use super::head::head;
use super::inside;
use super::ranks;
use super::table::{Column, cost, quality};
use super::{Group, RunMetrics, SideBySide, label};
use crate::run::Summary;
use maud::{DOCTYPE, Markup, html};
use serde_json::Value;

/// The page for a run: a whole HTML document.
///
/// ```
/// # use neutreno::report::page;
/// # use neutreno::run::Summary;
/// let summary = Summary { name: "a < b".to_owned(), ..Summary::default() };
/// assert!(page(&summary, &[]).contains("a &lt; b"));
/// ```
pub fn page(summary: &Summary, runs: &[RunMetrics]) -> String {
    let groups = summary.groups();
    let document = html! {
        (DOCTYPE)
        html lang="en" {
            (head(&summary.name, true))
            body {
                (header(summary, &groups))
                @if !groups.is_empty() {
                    h2 { "Results" }
                    (table(summary, &groups, &quality(summary)))
                    (notes(summary))
                    h2 { "Training" }
                    (legend(&labels(&groups)))
                    (plots(summary, &groups, runs))
                    (inside::section(&inside::measured(summary, runs), &[]))
                    @if let Some(compared) = SideBySide::within(summary) {
                        h2 { "Compared" }
                        @for warning in &compared.warnings { p.warning { (warning) } }
                        (compared.section())
                    }
                    h2 { "Cost" }
                    (costs(summary, &groups))
                    (table(summary, &groups, &cost(summary)))
                    (ranks::section(summary))
                }
                h2 { "What differs" }
                (formula())
                (samples(&groups, runs))
                (pictures(&groups, runs))
                h2 { "Settings" }
                (settings(summary))
            }
        }
    };
    escaped(&document.into_string())
}

fn header(summary: &Summary, groups: &[Group]) -> Markup {
    html! {
        h1 { (summary.name) }
        p { (sentence(summary, groups)) }
        p.quiet { "Begun " (summary.started) " · neutreno " (summary.version) }
        @let interrupted = summary.variants.iter().filter(|run| !run.finished).count();
        @if summary.growing {
            p.warning { "This run goes on, and this page grows with it: it is written anew every \
                minute." }
        } @else if interrupted > 0 {
            p.warning { "Interrupted: " (interrupted) " of " (summary.variants.len())
                " trainings did not come to their end." }
        }
    }
}

/// What ran, in one sentence.
fn sentence(summary: &Summary, groups: &[Group]) -> String {
    let Some(run) = summary.variants.first() else {
        return format!("No model was trained on {}.", summary.data.name);
    };
    let longest = summary.variants.iter().max_by_key(|run| run.steps).unwrap_or(run);
    let what = match groups {
        [only] => format!("One model ({})", label(only.variant)),
        _ => format!("{} variants of one model ({})", groups.len(), labels(groups).join(", ")),
    };
    let seeds = groups.iter().map(|group| group.runs.len()).max().unwrap_or(1);
    let seeds = if seeds > 1 { format!(", with {seeds} seeds each") } else { String::new() };
    // Without an adapter it is a kind of device by itself: "the CPU".
    let kind = || format!("the {}", run.device.to_uppercase());
    let device = run.adapter.clone().unwrap_or_else(kind);
    format!(
        "{what}: {}, {} steps ({} {}s) of {}, on {device}{seeds}.",
        summary.task,
        thousands(longest.steps),
        thousands(longest.number(&format!("{}s_seen", summary.unit)) as u64),
        summary.unit,
        summary.data.name,
    )
}

fn table(summary: &Summary, groups: &[Group], columns: &[Column]) -> Markup {
    let unfinished = if summary.growing { "(being trained)" } else { "(interrupted)" };
    html! {
        div.wide { table.results {
            thead { tr {
                th { "variant" }
                @for Column { title: [above, below], .. } in columns { th { (above) br; (below) } }
            } }
            tbody { @for (i, group) in groups.iter().enumerate() {
                tr {
                    td { (swatch(i)) (label(group.variant))
                        @if group.finished() < group.runs.len() {
                            " " span.warning { (unfinished) }
                        }
                    }
                    @for column in columns { td { ((column.cell)(group)) } }
                }
            } }
        } }
    }
}

fn notes(summary: &Summary) -> Markup {
    html! { ul.notes.quiet { @for note in summary.notes() { li { (note) } } } }
}

fn formula() -> Markup {
    let rows = [
        ("Transformer", "1", "0", "0", "plain attention"),
        ("NeuTRENO", "1", "0", "λ", "adds λ(V₁ − V), which holds values near those of layer 1"),
        ("ResFormer", "λ₂", "λ₁", "0", "mixes layer 1's values in; ½ and ½ by default"),
        ("SVFormer", "0", "1", "0", "uses layer 1's values only: later layers have none"),
    ];
    html! {
        div.panel {
            p { "All variants are one formula. In every layer after the first, each head computes" }
            p.formula { i { "O" } " = " i { "P" } " · (" i { "a" } " " i { "V" } " + " i { "b" } " "
                i { "V" } "₁) + " i { "c" } " (" i { "V" } "₁ − " i { "V" } ")" }
            p { "from its attention " i { "P" } " = softmax(" i { "QK" } "ᵀ / √" i { "d" }
                "), its values " i { "V" } " and the values of the first layer, " i { "V" } "₁." }
            div.wide { table {
                thead { tr { th { "variant" } th { i { "a" } } th { i { "b" } } th { i { "c" } }
                    th style="text-align:left" { "in words" } } }
                tbody { @for (name, a, b, c, words) in rows {
                    tr { td { (name) } td { (a) } td { (b) } td { (c) }
                        td style="text-align:left" { (words) } }
                } }
            } }
        }
    }
}

/// Text written while training, for each variant (its first seed that wrote any).
fn samples(groups: &[Group], runs: &[RunMetrics]) -> Markup {
    let of = |variant: &str| {
        runs.iter().filter(|run| run.variant == variant).map(written).find(|all| !all.is_empty())
    };
    html! {
        @if runs.iter().any(|run| run.metrics.iter().any(|line| line.sample.is_some())) {
            h2 { "What the models write" }
            div.samples { @for (i, group) in groups.iter().enumerate() {
                @let samples = of(group.variant).unwrap_or_default();
                @if let Some(((step, text), earlier)) = samples.split_last() {
                    section.panel {
                        h3 { (swatch(i)) (label(group.variant)) }
                        (sample(*step, text))
                        @if !earlier.is_empty() {
                            details {
                                summary { "Earlier in training" }
                                @for (step, text) in spaced(earlier, 6) { (sample(*step, text)) }
                            }
                        }
                    }
                }
            } }
        }
    }
}

/// The pictures of each variant (its first seed that has any).
fn pictures(groups: &[Group], runs: &[RunMetrics]) -> Markup {
    let of =
        |variant: &str| runs.iter().find(|run| run.variant == variant && !run.pictures.is_empty());
    html! {
        @if runs.iter().any(|run| !run.pictures.is_empty()) {
            h2 { "What the models see" }
            @for (i, group) in groups.iter().enumerate() { @if let Some(run) = of(group.variant) {
                section.panel {
                    h3 { (swatch(i)) (label(group.variant)) }
                    @for picture in &run.pictures {
                        figure {
                            h3 { (picture.title) }
                            img style="max-width:100%" alt=(picture.title) src=(picture.address());
                            figcaption { (picture.caption) }
                        }
                    }
                }
            } }
        }
    }
}

/// The text that one model wrote, with the steps.
fn written(run: &RunMetrics) -> Vec<(u64, &str)> {
    run.metrics.iter().filter_map(|line| Some((line.step, line.sample.as_deref()?))).collect()
}

fn sample(step: u64, text: &str) -> Markup {
    html! { div.sample { div.quiet { "after step " (thousands(step)) } (text) } }
}

/// At most `count` of the items, evenly spaced, the first and last among them.
fn spaced<T>(items: &[T], count: usize) -> Vec<&T> {
    match items.len() {
        length if length <= count => items.iter().collect(),
        length => (0..count).map(|i| &items[i * (length - 1) / (count - 1)]).collect(),
    }
}

fn settings(summary: &Summary) -> Markup {
    html! {
        div.columns {
            dl.panel {
                dt { "data" } dd { (summary.data.name) " (" (summary.data.source) ")" }
                @for (name, value) in summary.facts.iter() {
                    dt { (name.replace('_', " ")) } dd { (text(value)) }
                }
                @for (file, hash) in &summary.data.hashes { dt { (file) } dd { (hash) } }
            }
            dl.panel {
                @match &summary.settings {
                    Value::Object(settings) => @for (name, value) in settings {
                        dt { (name) } dd { (text(value)) }
                    },
                    other => { dt { "settings" } dd { (text(other)) } },
                }
            }
        }
    }
}

/// A value as text: a string without its quotes, a number without needless digits.
fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) if number.is_u64() => thousands(number.as_u64().unwrap_or_default()),
        Value::Number(number) => {
            // Single-precision numbers show all digits of their double-precision neighbours.
            number.as_f64().map_or_else(|| number.to_string(), |number| (number as f32).to_string())
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::{metrics, summary};
    use super::*;

    /// What every page must be: whole, and without scripts or anything from elsewhere.
    fn checked(summary: &Summary, runs: &[RunMetrics]) -> String {
        let page = page(summary, runs);
        assert!(page.starts_with("<!DOCTYPE html>") && page.ends_with("</html>"));
        assert!(!page.contains("<script") && !page.contains("NaN%"));
        for resource in [" src=", "href=", "url(", "@import"] {
            assert!(!page.contains(resource), "{resource}");
        }
        let count = |tag: &str| page.matches(tag).count();
        for tag in ["div", "figure", "table", "td", "svg", "details", "span", "li", "dl"] {
            let open = count(&format!("<{tag} ")) + count(&format!("<{tag}>"));
            assert_eq!(open, count(&format!("</{tag}>")), "{tag}");
        }
        page
    }

    #[test]
    fn a_whole_run_shows_everything() {
        let mut summary = summary(2);
        summary.facts.set("entropy_floor", 4.5);
        let page = checked(&summary, &metrics(&summary));
        for text in [
            "Transformer, NeuTRENO, ResFormer, SVFormer",
            "300 steps (614,400 tokens) of WikiText-2, on the CPU, with 2 seeds each",
            "Training loss",
            "Validation loss",
            "Relative loss",
            "unigram model",
            "entropy of the text",
            "<polygon",
            "±",
            "The text of svformer after 300 steps",
            "learning_rate",
            "prefers-color-scheme: dark",
        ] {
            assert!(page.contains(text), "{text}");
        }
        assert!(page.len() < 300_000, "{} bytes", page.len());
    }

    #[test]
    fn pairs_that_are_missing_are_named() {
        let mut summary = summary(2);
        summary.variants.retain(|run| (run.variant.as_str(), run.seed) != ("svformer", 2));
        let page = checked(&summary, &[]);
        let (_, compared) = page.split_once("<h2>Compared</h2>").unwrap();
        let warning = "<p class=\"warning\">SVFormer has no model of seed 2, which Transformer has";
        assert!(compared.starts_with(warning), "{compared}");
    }

    #[test]
    fn text_from_outside_is_escaped() {
        let attack = "</style></title><script>alert('&')</script>\" onload=\"x";
        let mut summary = summary(1);
        let mut runs = metrics(&summary);
        for (run, result) in runs.iter_mut().zip(&mut summary.variants) {
            run.variant += attack;
            result.variant = run.variant.clone();
            result.adapter = Some(attack.to_owned());
            run.metrics.iter_mut().for_each(|line| line.sample = Some(attack.to_owned()));
        }
        summary.settings = serde_json::json!({ attack: attack, "list": [attack] });
        summary.data.hashes.insert(attack.to_owned(), attack.to_owned());
        for field in [&mut summary.name, &mut summary.task, &mut summary.version] {
            *field = attack.to_owned();
        }
        summary.facts.set("tokenizer", attack);
        summary.facts.set(attack, attack);
        for field in [&mut summary.started, &mut summary.unit, &mut summary.data.name] {
            *field = attack.to_owned();
        }
        let page = checked(&summary, &runs);
        assert!(!page.contains(attack) && !page.contains("\" onload"));
        assert!(page.contains("&lt;script&gt;"));
    }

    #[test]
    fn unusual_runs_give_a_sound_page() {
        // Nothing at all; results without metrics.
        checked(&Summary::default(), &[]);
        checked(&summary(1), &[]);

        // One variant alone has nothing to be compared with.
        let mut alone = summary(1);
        alone.variants.truncate(1);
        let page = checked(&alone, &metrics(&alone));
        assert!(!page.contains("Relative loss"));

        // A single step; a loss that diverged; an interruption after the first variant.
        let mut unusual = summary(1);
        let mut runs = metrics(&unusual);
        runs.iter_mut().for_each(|run| run.metrics.truncate(1));
        checked(&unusual, &runs);
        runs[1].metrics[0].loss = f64::NAN;
        runs[2].metrics[0].loss = f64::INFINITY;
        unusual.variants.truncate(2);
        unusual.variants[0].train_loss = f64::NAN;
        unusual.variants[0].results.set("tokens_per_second", f64::INFINITY);
        unusual.facts.set("unigram_perplexity", f64::NAN);
        unusual.facts.set("tokens_per_word", 0.0);
        unusual.variants[1].finished = false;
        unusual.variants[1].results.set("validation_loss", f64::NAN);
        let page = checked(&unusual, &runs);
        assert!(page.contains("Interrupted: 1 of 2 trainings"));
        assert!(page.contains("NeuTRENO (seed 1) was interrupted after 300 steps"));
        assert!(page.contains("Transformer (seed 1) diverged"));
        unusual.growing = true;
        let page = checked(&unusual, &runs);
        assert!(page.contains("this page grows") && !page.contains("nterrupted"));
        assert!(page.contains("NeuTRENO (seed 1) is being trained: 300 steps so far"));
    }
}
