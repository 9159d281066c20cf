//! What was measured inside the models: over depth, over training, and what it can mean.

use super::curves::{Curve, over_seeds};
use super::escape::escaped;
use super::figures::{Drawn, figure, swatch};
use super::head::head;
use super::heat_maps::{DrawnMap, HeatMap, Panel};
use super::plots::{Line, Plot};
use super::{RunMetrics, Spread, label};
use crate::measure::{MEASUREMENTS, Measured, Measurement, OF_HEADS};
use crate::run::{MEASURED, Metric, Picture, Summary};
use maud::{DOCTYPE, Markup, html};
use std::collections::BTreeMap;

/// What was measured inside one model.
#[derive(Clone, Debug, PartialEq)]
pub struct MeasuredModel {
    /// The variant, with the run's name before it where there are several runs. Models of the same
    /// name with other seeds are shown as one line.
    pub name: String,
    /// The seed.
    pub seed: u64,
    /// How many of its last blocks are those of a mask transformer.
    pub decoder_blocks: usize,
    /// Steps of training made, and what was measured then; the last is the trained model.
    pub steps: Vec<(u64, Measured)>,
}

/// An attention matrix to look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Map {
    /// The name of its model, as in [`MeasuredModel::name`].
    pub model: String,
    /// The picture.
    pub picture: Picture,
}

/// The models of one name, a model a seed.
struct Variant<'a> {
    name: &'a str,
    models: Vec<&'a MeasuredModel>,
}

/// What was measured inside the models of a run.
pub(super) fn measured(summary: &Summary, runs: &[RunMetrics]) -> Vec<MeasuredModel> {
    // Models that classify have the setting, and no mask transformer.
    let segmenting = summary.task == "image-segmentation";
    let decoder = summary.settings["decoder_layers"].as_u64().filter(|_| segmenting);
    let decoder_blocks = decoder.unwrap_or(0) as usize;
    let model = |run: &RunMetrics| {
        let line =
            |line: &Metric| Some((line.step, Measured::from_json(line.values.get(MEASURED)?)));
        let steps = run.metrics.iter().filter_map(line).collect();
        MeasuredModel { name: run.variant.clone(), seed: run.seed, decoder_blocks, steps }
    };
    runs.iter().map(model).filter(|model| !model.steps.is_empty()).collect()
}

/// A page for what was measured after training: a whole HTML document.
///
/// ```
/// use neutreno::measure::Measured;
/// use neutreno::report::{MeasuredModel, measurements_page};
/// let rank = Measured([("value_rank".to_string(), vec![3.0, 2.5])].into());
/// let steps = vec![(100, rank)];
/// let model = MeasuredModel { name: "resformer".into(), seed: 1, decoder_blocks: 0, steps };
/// let page = measurements_page("first", "64 sequences", &[model], &[]);
/// assert!(page.contains("ResFormer") && page.contains("Effective rank of the values"));
/// ```
pub fn measurements_page(
    title: &str,
    about: &str,
    models: &[MeasuredModel],
    maps: &[Map],
) -> String {
    let document = html! {
        (DOCTYPE)
        html lang="en" {
            (head(title, true))
            body {
                h1 { (title) }
                p { (about) }
                (section(models, maps))
            }
        }
    };
    escaped(&document.into_string())
}

/// The part of a page about the insides of models; nothing if nothing was measured.
pub(super) fn section(models: &[MeasuredModel], maps: &[Map]) -> Markup {
    let variants = variants(models);
    let measured = |measurement: &&Measurement| {
        models
            .iter()
            .any(|model| model.steps.iter().any(|(_, m)| m.get(measurement.name).is_some()))
    };
    let measurements: Vec<&Measurement> = MEASUREMENTS.iter().filter(measured).collect();
    let over_training = models.iter().any(|model| model.steps.len() > 1);
    html! {
        @if !measurements.is_empty() {
            h2 { "Inside the models" }
            ul.legend { @for (i, variant) in variants.iter().enumerate() {
                li { (swatch(i)) (label(variant.name)) }
            } }
            div.plots { @for measurement in &measurements {
                (figure(&depth(measurement, &variants), measurement.title, measurement.meaning))
            } }
            (table(&measurements, &variants))
            @if over_training { details {
                summary { "Over training" }
                div.plots { @for measurement in &measurements {
                    (figure(&training(measurement, &variants), measurement.title,
                        "The mean over the blocks."))
                } }
            } }
            (attention_maps(maps, &variants))
            (reading(&measurements, &variants))
        }
    }
}

fn variants(models: &[MeasuredModel]) -> Vec<Variant<'_>> {
    let mut variants: Vec<Variant> = Vec::new();
    for model in models {
        match variants.iter_mut().find(|variant| variant.name == model.name) {
            Some(variant) => variant.models.push(model),
            None => variants.push(Variant { name: &model.name, models: vec![model] }),
        }
    }
    variants
}

impl MeasuredModel {
    /// The numbers of the trained model, a layer each.
    fn last(&self, measurement: &Measurement) -> &[f64] {
        self.steps.last().and_then(|(_, measured)| measured.get(measurement.name)).unwrap_or(&[])
    }
}

/// The plots over blocks, and over training where there was more than one measurement, of all that was
/// measured.
pub(super) fn drawn(models: &[MeasuredModel]) -> Vec<Drawn> {
    let variants = variants(models);
    let over_training = models.iter().any(|model| model.steps.len() > 1);
    let mut drawn = Vec::new();
    for measurement in &MEASUREMENTS {
        let Measurement { name, title, meaning, .. } = measurement;
        drawn.push(Drawn::new(name, title, meaning, depth(measurement, &variants)));
        if over_training {
            let (name, title) = (format!("{name}_over_training"), format!("{title} over training"));
            let caption = format!("The mean over the blocks. {meaning}");
            drawn.push(Drawn::new(&name, &title, &caption, training(measurement, &variants)));
        }
    }
    drawn
}

/// The heat maps: over blocks and steps, where there was more than one measurement; over blocks and heads,
/// of the trained models.
pub(super) fn heat_maps(models: &[MeasuredModel]) -> Vec<DrawnMap> {
    let variants = variants(models);
    let over_training = MEASUREMENTS.iter().filter(|_| models.iter().any(|m| m.steps.len() > 1));
    let of_steps = over_training.map(|measurement| {
        let Measurement { name, meaning, .. } = measurement;
        DrawnMap {
            name: format!("{name}_by_block_and_step"),
            title: format!("{} ({})", measurement.title, measurement.unit),
            caption: format!("Over training. {meaning}"),
            map: map(("step", true), &variants, |model| blocks_and_steps(model, measurement)),
            variants: variants.iter().map(|variant| variant.name.into()).collect(),
        }
    });
    let of_heads = OF_HEADS.iter().map(|measurement| DrawnMap {
        name: measurement.name.into(),
        title: measurement.title.into(),
        caption: format!("Of the trained models. {}", measurement.meaning),
        map: map(("head", false), &variants, |model| blocks_and_heads(model, measurement)),
        variants: variants.iter().map(|variant| variant.name.into()).collect(),
    });
    of_steps.chain(of_heads).collect()
}

/// A panel for each variant, of means over its seeds.
fn map(
    (x, over_steps): (&'static str, bool),
    variants: &[Variant],
    cells: impl Fn(&MeasuredModel) -> Vec<(u64, u64, f64)>,
) -> HeatMap {
    let panel = |variant: &Variant| {
        let mut all: BTreeMap<(u64, u64), Vec<f64>> = BTreeMap::new();
        for (x, y, number) in variant.models.iter().flat_map(|model| cells(model)) {
            all.entry((x, y)).or_default().push(number);
        }
        let cells = all.into_iter().map(|((x, y), numbers)| (x, y, Spread::of(numbers).mean));
        Panel { title: label(variant.name), cells: cells.collect() }
    };
    HeatMap { x, y: "block", over_steps, panels: variants.iter().map(panel).collect() }
}

fn blocks_and_steps(model: &MeasuredModel, measurement: &Measurement) -> Vec<(u64, u64, f64)> {
    let first = u64::from(!measurement.of_states);
    let of_step = |(step, measured): &(u64, Measured)| {
        let numbers = measured.get(measurement.name).unwrap_or_default();
        let cell = |(block, number): (u64, &f64)| (*step, block, *number);
        (first..).zip(numbers).map(cell).collect::<Vec<_>>()
    };
    model.steps.iter().flat_map(of_step).collect()
}

/// Heads, from 1, of each block.
fn blocks_and_heads(model: &MeasuredModel, measurement: &Measurement) -> Vec<(u64, u64, f64)> {
    let Some((_, measured)) = model.steps.last() else { return Vec::new() };
    let numbers = measured.get(measurement.name).unwrap_or_default();
    let blocks = measured.get("energy_ratio").unwrap_or_default().len();
    let heads = numbers.len() / blocks.max(1);
    let cell =
        |(i, number): (usize, &f64)| ((i % heads) as u64 + 1, (i / heads) as u64 + 1, *number);
    numbers.iter().enumerate().map(cell).collect()
}

/// What is on an axis.
fn named(measurement: &Measurement) -> String {
    // J and E keep their letters.
    let mut letters = measurement.title.chars();
    let first = letters.next().unwrap_or_default().to_lowercase();
    format!("{first}{} ({})", letters.as_str(), measurement.unit)
}

/// A line for each variant over the blocks; 0 is the embedding.
fn depth(measurement: &Measurement, variants: &[Variant]) -> Plot {
    let first = u64::from(!measurement.of_states);
    let curve = |model: &&MeasuredModel| -> Curve {
        (first..)
            .zip(model.last(measurement).iter().copied())
            .filter(|(_, y)| y.is_finite())
            .collect()
    };
    let line = |(colour, variant): (usize, &Variant)| {
        let curves: Vec<Curve> = variant.models.iter().map(curve).collect();
        Line { colour, points: over_seeds(&curves) }
    };
    Plot {
        x: "block",
        y: named(measurement),
        logarithmic: false,
        lines: variants.iter().enumerate().map(line).collect(),
        levels: vec![],
    }
}

/// A line for each variant over the steps of training: the mean over its blocks.
fn training(measurement: &Measurement, variants: &[Variant]) -> Plot {
    let skipped = usize::from(measurement.of_states);
    let point = |(step, measured): &(u64, Measured)| {
        let numbers = measured.get(measurement.name)?.get(skipped..)?;
        let mean = numbers.iter().sum::<f64>() / numbers.len() as f64;
        mean.is_finite().then_some((*step, mean))
    };
    let curve =
        |model: &&MeasuredModel| -> Curve { model.steps.iter().filter_map(point).collect() };
    let line = |(colour, variant): (usize, &Variant)| {
        let curves: Vec<Curve> = variant.models.iter().map(curve).collect();
        Line { colour, points: over_seeds(&curves) }
    };
    Plot {
        x: "step",
        y: named(measurement),
        logarithmic: false,
        lines: variants.iter().enumerate().map(line).collect(),
        levels: vec![],
    }
}

/// The numbers of the last block.
fn last_block(measurement: &Measurement, variant: &Variant) -> Spread {
    let last = |model: &&MeasuredModel| model.last(measurement).last().copied();
    Spread::of(variant.models.iter().filter_map(last))
}

fn table(measurements: &[&Measurement], variants: &[Variant]) -> Markup {
    html! {
        h3 { "In the last block" }
        div.wide { table.results {
            thead { tr { th {} @for (i, variant) in variants.iter().enumerate() {
                th { (swatch(i)) (label(variant.name)) }
            } } }
            tbody { @for measurement in measurements { tr {
                td { (measurement.title) }
                @for variant in variants { td { (last_block(measurement, variant).show(3)) } }
            } } }
        } }
    }
}

fn attention_maps(maps: &[Map], variants: &[Variant]) -> Markup {
    html! {
        @if !maps.is_empty() {
            h3 { "Attention" }
            p.quiet { "A row is a query, a column a key, both from the first token on; the darker, \
                the more attention." }
            @for (i, variant) in variants.iter().enumerate() {
                section.panel {
                    h3 { (swatch(i)) (label(variant.name)) }
                    div.plots { @for map in maps.iter().filter(|map| map.model == variant.name) {
                        figure {
                            img alt=(map.picture.title) src=(map.picture.address());
                            figcaption { (map.picture.title) }
                        }
                    } }
                }
            }
        }
    }
}

/// What these numbers can tell, and what not.
fn reading(measurements: &[&Measurement], variants: &[Variant]) -> Markup {
    let blocks = variants.iter().flat_map(|variant| &variant.models).flat_map(|model| {
        let of_layers = measurements.iter().filter(|measurement| !measurement.of_states);
        of_layers.map(|measurement| model.last(measurement).len())
    });
    let blocks = blocks.max().unwrap_or(0);
    let seeds = variants.iter().map(|variant| variant.models.len()).max().unwrap_or(0);
    let models = variants.iter().flat_map(|variant| &variant.models);
    let decoder = models.map(|model| model.decoder_blocks).max().unwrap_or(0);
    html! {
        h3 { "How to read this" }
        ul.notes.quiet {
            @if decoder > 0 {
                li { "Block 0 is the embedding. The last " (decoder) " blocks are those of the mask \
                    transformer, whose tokens are the patches and the classes, and whose first value \
                    is that of its own first block." }
            }
            @if seeds > 1 {
                li { "Lines are means over " (seeds) " seeds, bands and ± their sample standard \
                    deviation: how far seeds lie apart. That bands do not overlap is no proof of a \
                    difference, least of all with few seeds." }
            } @else {
                li { "One seed each: no spread is known, so a small difference between variants may \
                    be chance. Train with --seeds 3 to tell." }
            }
            li { "What shows at any size: how alike tokens become over depth; that attention lowers \
                J, and by how much; where NeuTRENO's term and ResFormer's mix change that." }
            li { "What needs size and long training: attention sinks, value-state drains and \
                residual-state peaks. At 468M parameters and 24 layers Zhou et al. (2024) find up \
                to about half of all attention on the first token in deep layers of Transformer and \
                NeuTRENO, at most 0.07 in ResFormer and 0.05 in SVFormer. A model that is trained \
                for minutes may have none of them yet, in any variant, and that says nothing about \
                the papers." }
            @if blocks < 8 {
                li { "These models have " (blocks) " blocks. Nothing is documented below 8: value \
                    residuals have more to bring the further a layer is from the first." }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(name: &str, seed: u64, steps: u64) -> MeasuredModel {
        let measured = |step: u64| {
            let number = |layer: usize| 0.1 * layer as f64 + 0.01 * (seed + step) as f64;
            let numbers = |m: &Measurement| (0..4 + usize::from(m.of_states)).map(number).collect();
            Measured(MEASUREMENTS.iter().map(|m| (m.name.to_owned(), numbers(m))).collect())
        };
        let steps = (1..=steps).map(|step| (step, measured(step))).collect();
        MeasuredModel { name: name.to_owned(), seed, decoder_blocks: 0, steps }
    }

    #[test]
    fn a_page_shows_every_measurement_and_its_spread() {
        let models =
            [model("transformer", 1, 3), model("transformer", 2, 3), model("<b>svformer", 1, 1)];
        let picture = Picture { title: "block 1, head 1".into(), ..Picture::default() };
        let map = Map { model: "transformer".into(), picture };
        let page = measurements_page("a < b", "", &models, &[map]);
        for text in ["a &lt; b", "&lt;b&gt;SVFormer", "Over training", "±", "have 4 blocks"] {
            assert!(page.contains(text), "{text}");
        }
        assert!(!page.contains("<b>") && !page.contains("NaN"));
        assert_eq!(page.matches("<svg").count(), 2 * MEASUREMENTS.len());
        assert!(MEASUREMENTS.iter().all(|measurement| page.contains(measurement.title)));
        assert_eq!(page.matches("<img").count(), 1);
    }

    #[test]
    fn what_was_not_measured_is_left_out() {
        assert!(!measurements_page("", "", &[], &[]).contains("Inside"));
        let nothing = Measured([("value_rank".to_owned(), vec![f64::NAN])].into());
        let steps = vec![(0, nothing)];
        let segmenter = MeasuredModel { name: "x".into(), seed: 1, decoder_blocks: 2, steps };
        let page = measurements_page("", "", &[segmenter], &[]);
        assert!(page.contains("Nothing was measured.") && !page.contains("Energy"));
        assert!(page.contains("last 2 blocks"));
    }
}
