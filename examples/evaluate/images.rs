//! Scoring images.

use crate::Arguments;
use crate::common::csv_file::{CsvFile, number};
use crate::common::data_of_run::{check_hash, data_of, images_of};
use crate::common::program::{Result, open_device};
use crate::common::progress::Progress;
use crate::common::show;
use crate::common::split::Split;
use crate::table::{self, OF_CLASSIFIERS, OF_SEGMENTERS};
use neutreno::data::images::{EvaluationImages, ImageBatch, ImageData, Normalization};
use neutreno::engine::Device;
use neutreno::open::{ImageModel, OpenedImages, Source};
use neutreno::report::{duration, thousands};
use neutreno::run::Values;
use neutreno::tasks::classification::evaluate_classifier;
use neutreno::tasks::images::Confusion;
use neutreno::tasks::segmentation::evaluate_segmenter;
use neutreno::vision::VisionConfig;
use serde_json::{Value, json};
use std::time::Instant;

/// What came out for one model.
struct Scored<'a> {
    source: &'a Source,
    values: Values,
    confusion: Confusion,
    classes: Vec<String>,
    seconds: f64,
}

/// Scores models of images, and shows what came out.
pub fn evaluate(arguments: &Arguments, models: &[Source], progress: &Progress) -> Result<()> {
    let split = arguments.split.unwrap_or(Split::Test);
    let device = open_device(&arguments.machine, progress)?;
    let mut data: Option<ImageData> = None;
    let (mut scored, mut results) = (Vec::new(), Vec::new());
    let mut columns = &OF_CLASSIFIERS;
    for source in models {
        let opened = ImageModel::open(source, &device)?;
        opened.notices.iter().for_each(|line| progress.line(line));
        let config = opened.model.config();
        if config.num_decoder_layers.is_some() {
            columns = &OF_SEGMENTERS;
        }
        // The models of a run share their images.
        let data = match &mut data {
            Some(data) => data,
            None => data.insert(find(arguments, source, config, split, progress)?),
        };
        data.normalization = normalization(source, &opened)?;
        let batches = batches(data, split, arguments.batch.unwrap_or(16));
        let work = || score(source, &opened.model, &device, batches);
        let one = progress.during(&format!("scoring with {}", source.name), work)?;
        progress.line(&format!("  {}: scored in {}", source.name, duration(one.seconds)));
        let images = split.of(&data.splits).iter().map(|(_, set)| set.len()).sum::<usize>();
        let result = told(&one, split, images, &device);
        if arguments.json {
            show::json(&result);
        }
        results.push(result);
        scored.push(one);
    }
    write_files(arguments, &scored)?;
    if !arguments.json {
        show::result(table::table(&results, columns));
    }
    Ok(())
}

/// The images, of which it is said what they are.
fn find(
    arguments: &Arguments,
    source: &Source,
    config: &VisionConfig,
    split: Split,
    progress: &Progress,
) -> Result<ImageData> {
    let run = source.of_run.as_ref().map(|of_run| &of_run.run);
    let data = match (&arguments.data, run) {
        (Some(path), run) => images_of(run, Some(path), config)?,
        (None, Some(run)) => {
            let then = data_of(run)?;
            let data = images_of(Some(run), then.path.as_deref(), config)?;
            check_hash(run, &then, &split.of(&data.hashes))?;
            data
        }
        (None, None) => {
            return Err("--data DIR is missing: the images to score, as the model is of no run \
                        that would say"
                .into());
        }
    };
    data.describe().iter().for_each(|line| progress.line(line));
    if data.shape.channels != config.num_channels {
        return Err(format!(
            "{} has images of {} channels, and the model sees {}: grey images and coloured ones do not \
             go together",
            data.source, data.shape.channels, config.num_channels
        )
        .into());
    }
    let names: Vec<&String> = config.id2label.values().collect();
    if !data.classes.iter().eq(names.iter().copied()) {
        return Err(format!(
            "{} has the classes {}, and the model {}",
            data.source,
            data.classes.join(", "),
            names.into_iter().cloned().collect::<Vec<_>>().join(", ")
        )
        .into());
    }
    for (name, set) in split.of(&data.splits) {
        progress.line(&format!("scored: {} {name} images", thousands(set.len() as u64)));
    }
    Ok(data)
}

/// What the model was trained to see, whatever these images are like.
fn normalization(source: &Source, opened: &OpenedImages) -> Result<Normalization> {
    let known = opened.known_preprocessing(source)?;
    Ok(Normalization { mean: known.mean.clone(), deviation: known.deviation.clone() })
}

fn batches(
    data: &ImageData,
    split: Split,
    batch: usize,
) -> impl Iterator<Item = ImageBatch> + use<> {
    let sets = split.of(&data.splits).into_iter();
    let sets: Vec<_> = sets.map(|(_, set)| EvaluationImages::new(data, set, batch)).collect();
    sets.into_iter().flat_map(|set| (0..set.len()).map(move |index| set.batch(index)))
}

fn score<'a>(
    source: &'a Source,
    model: &ImageModel,
    device: &Device,
    batches: impl Iterator<Item = ImageBatch> + Send,
) -> Result<Scored<'a>> {
    let started = Instant::now();
    let batches = batches.map(Ok);
    // As text, for errors can't leave the device's threads.
    let (values, confusion) = device
        .install(|| match model {
            ImageModel::Classifier(model) => evaluate_classifier(model, batches),
            ImageModel::Segmenter(model) => evaluate_segmenter(model, batches),
        })
        .map_err(|error| error.to_string())?;
    let seconds = started.elapsed().as_secs_f64();
    let classes = model.config().id2label.values().cloned().collect();
    Ok(Scored { source, values, confusion, classes, seconds })
}

/// A result as JSON.
fn told(scored: &Scored, split: Split, images: usize, device: &Device) -> Value {
    let Scored { source, values, confusion, classes, seconds } = scored;
    let (accuracies, ious) = (confusion.accuracies(), confusion.ious());
    let class = |(class, name): (usize, &String)| {
        json!({ "class": name, "count": confusion.labels(class), "given": confusion.given(class),
            "accuracy": accuracies[class], "iou": ious[class] })
    };
    let mut told = table::about(source, split);
    table::extend(&mut told, json!({ "images": images }));
    table::extend(&mut told, json!(values));
    let classes: Vec<Value> = classes.iter().enumerate().map(class).collect();
    let how = json!({ "classes": classes, "device": device.to_string(), "seconds": seconds });
    table::extend(&mut told, how);
    told
}

/// The tables that were asked for.
fn write_files(arguments: &Arguments, scored: &[Scored]) -> Result<()> {
    let about = |scored: &Scored| {
        let (variant, seed) = scored.source.variant_and_seed().unzip();
        let seed = seed.map(|seed| seed.to_string()).unwrap_or_default();
        [scored.source.name.clone(), variant.unwrap_or_default(), seed]
    };
    let titles = ["model", "variant", "seed", "class"].map(String::from);
    if let Some(path) = &arguments.per_class {
        let more = ["count", "given", "accuracy", "iou"].map(String::from);
        let mut table = CsvFile::new(titles.iter().chain(&more));
        for one in scored {
            let (accuracies, ious) = (one.confusion.accuracies(), one.confusion.ious());
            for (class, name) in one.classes.iter().enumerate() {
                let counts = [one.confusion.labels(class), one.confusion.given(class)];
                let counts = counts.map(|count| count.to_string());
                let shares = [accuracies[class], ious[class]].map(number);
                table.row(about(one).into_iter().chain([name.clone()]).chain(counts).chain(shares));
            }
        }
        table.write(path)?;
    }
    if let Some(path) = &arguments.confusion {
        let mut table = CsvFile::new(titles.iter().chain(&scored[0].classes));
        for one in scored {
            for (class, name) in one.classes.iter().enumerate() {
                let counts = (0..one.classes.len()).map(|given| one.confusion.count(class, given));
                let counts = counts.map(|count| count.to_string());
                table.row(about(one).into_iter().chain([name.clone()]).chain(counts));
            }
        }
        table.write(path)?;
    }
    Ok(())
}
