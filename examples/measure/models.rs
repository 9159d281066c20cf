//! Loading the models of a run, and what they are measured on.

use crate::common::images;
use crate::common::program::Result;
use crate::common::progress::Progress;
use crate::common::resume;
use neutreno::data::corpus::Corpus;
use neutreno::data::images::{Broken, ImageData, ReadOptions, Task};
use neutreno::data::lookup::{Lookup, lookup};
use neutreno::data::tokenizer::Tokenizer;
use neutreno::engine::random::Key;
use neutreno::engine::{Device, Ids, Parameters, Tensor};
use neutreno::export::load_weights;
use neutreno::measure::{Measured, attention_map, measure, probe};
use neutreno::report::{Map, MeasuredModel, draw_map, label};
use neutreno::run::{Data, ModelFolder, Picture, RunFolder, TrainedModel, Weights};
use neutreno::trace::Trace;
use neutreno::vision::{ImageClassifier, ImageSegmenter, VisionConfig};
use neutreno::{LanguageModel, LanguageModelConfig};
use serde::de::DeserializeOwned;
use std::fs;
use std::path::{Path, PathBuf};

/// What to measure.
pub struct Request<'a> {
    pub data: Option<&'a Path>,
    pub sequences: usize,
    /// Blocks and heads, from 1.
    pub heads: &'a [(usize, usize)],
    pub device: &'a Device,
    /// Whether models are named by their run too.
    pub several: bool,
}

/// Sequences that go through a model at once.
const BATCH: usize = 16;

/// A model that was measured, with maps of its attention.
type WithMaps = (MeasuredModel, Vec<Map>);

/// Measures every model of a run, and draws the attention of those with the first seed. Comes with
/// what they were measured on.
pub fn measure_run(
    run: &RunFolder,
    request: &Request,
    progress: &Progress,
) -> Result<(Probes, Vec<WithMaps>)> {
    run.check_files()?;
    let (data, models) = models(run, progress)?;
    let probes = Probes::find(run, &data, &models, request)?;
    let first_seed = models.first().map(|model| model.seed);
    let mut results = Vec::new();
    for model in &models {
        let prefix = if request.several { format!("{}: ", run.name()) } else { String::new() };
        let name = format!("{prefix}{}", model.variant);
        let (shown, steps) = (label(&name), model.weights.step);
        let so_far = if model.finished { "" } else { ", its latest checkpoint" };
        progress.line(&format!("{shown}, seed {}, after {steps} steps{so_far}", model.seed));
        if model.finished {
            model.folder.check_files()?;
        }
        let (trace, decoder_blocks) = probes.tracer(model, request)?;
        let mut parts = Vec::new();
        let mut maps = Vec::new();
        for first in (0..probes.len()).step_by(BATCH) {
            let last = (first + BATCH).min(probes.len());
            let trace = trace(first, last);
            parts.push((measure(&trace)?, last - first));
            if first == 0 && Some(model.seed) == first_seed {
                maps = attention_maps(&name, &trace, request)?;
            }
        }
        let steps = vec![(steps, Measured::mean(&parts))];
        results.push((MeasuredModel { name, seed: model.seed, decoder_blocks, steps }, maps));
    }
    Ok((probes, results))
}

/// A model of a run: the final one, or that of its latest checkpoint.
struct Model {
    variant: String,
    seed: u64,
    folder: ModelFolder,
    finished: bool,
    weights: Weights,
}

/// Where a run's data was, and its models, as far as they are there.
fn models(run: &RunFolder, progress: &Progress) -> Result<(Data, Vec<Model>)> {
    let facts = run.facts()?;
    let unusable = |error| format!("{}: not what a run writes: {error}", run.run_json().display());
    let data: Data = serde_json::from_value(facts["data"].clone()).map_err(unusable)?;
    let mut models = Vec::new();
    for TrainedModel { variant, seed, folder, finished, weights } in run.models()? {
        match (variant.name(), weights) {
            (variant, Some(weights)) => {
                models.push(Model { variant, seed, folder, finished, weights });
            }
            (variant, None) => progress.line(&format!(
                "{}, seed {seed}: left out, it has no checkpoint yet",
                label(&variant)
            )),
        }
    }
    if models.is_empty() {
        let run = run.path().display();
        return Err(format!("{run} has no trained models, and no checkpoint of one yet").into());
    }
    Ok((data, models))
}

/// What the models of several runs were measured on, in a sentence or more.
pub fn about(models: usize, probed: &[(String, Probes)]) -> String {
    let counted = if models == 1 { "1 model".into() } else { format!("{models} models") };
    let of = |probes: &Probes| probes.describe();
    match probed {
        [] => format!("{counted}."),
        [(_, first), rest @ ..] if rest.iter().all(|(_, other)| other == first) => {
            let each = if models == 1 { "measured on" } else { "each measured on the same" };
            format!("{counted}, {each} {}.", of(first))
        }
        several => {
            let each = several.iter().map(|(run, probes)| format!("{run} on {}", of(probes)));
            let each: Vec<String> = each.collect();
            format!(
                "{counted}, not all measured on the same data, so that numbers of different runs do \
                 not compare: {}.",
                each.join("; ")
            )
        }
    }
}

/// What models are measured on.
pub struct Probes {
    kind: Kind,
    /// What the data is called.
    name: String,
    /// The hash of the validation data.
    hash: String,
}

enum Kind {
    Texts(Vec<Vec<u32>>),
    Images { data: Box<ImageData>, count: usize },
}

impl PartialEq for Probes {
    fn eq(&self, other: &Probes) -> bool {
        let same = match (&self.kind, &other.kind) {
            (Kind::Texts(a), Kind::Texts(b)) => a == b,
            (Kind::Images { count: a, data: x }, Kind::Images { count: b, data: y }) => {
                a == b && x.task == y.task && x.shape == y.shape
            }
            _ => false,
        };
        same && self.hash == other.hash
    }
}

/// Gives the trace of the probes from one number up to another.
type Tracer<'a> = Box<dyn Fn(usize, usize) -> Trace + 'a>;

impl Probes {
    fn find(run: &RunFolder, then: &Data, models: &[Model], request: &Request) -> Result<Probes> {
        let source = &then.source;
        let path = request.data.map(PathBuf::from).or_else(|| then.path.clone());
        let config = models[0].folder.config_json();
        let kind: serde_json::Value = read(&config)?;
        // Of a variant its name comes first, as in `neutreno_llama`.
        let plain = kind["model_type"].as_str().and_then(|kind| kind.rsplit('_').next());
        let (kind, hash) = match plain {
            Some("llama") => {
                let kept = run.kept_text().filter(|_| request.data.is_none());
                let corpus = find_text(kept.or(path), source)?;
                let config: LanguageModelConfig = read(&config)?;
                let tokenizer = Tokenizer::load(run.tokenizer_json())?;
                // That of a pretrained model often has more tokens than its tokenizer.
                let padded = matches!(tokenizer, Tokenizer::Pretrained(_))
                    && tokenizer.vocabulary() < config.vocab_size;
                if tokenizer.vocabulary() != config.vocab_size && !padded {
                    return Err(format!(
                        "{} has {} tokens, and the models have {}: it is not the one they were \
                         trained with",
                        run.tokenizer_json().display(),
                        tokenizer.vocabulary(),
                        config.vocab_size
                    )
                    .into());
                }
                let tokens = tokenizer.encode(&corpus.splits.validation);
                // What they were trained on; a pretrained model could take more.
                let context = run.facts()?["settings"]["context"].as_u64();
                let context = context.map_or(usize::MAX, |context| context as usize);
                let length = config.max_position_embeddings.min(context).min(tokens.len());
                let windows = probe::windows(&tokens, length, request.sequences, Key::new(1));
                (Kind::Texts(windows.unwrap_or_default()), corpus.hashes.validation)
            }
            Some("vit" | "segmenter") => {
                let config: VisionConfig = read(&config)?;
                let data = find_images(path.as_deref(), &config, typed_options(run)?)?;
                let count = request.sequences.min(data.splits.validation.len());
                let hash = data.hashes.validation.clone();
                (Kind::Images { data: Box::new(data), count }, hash)
            }
            other => {
                let reason = format!("{}: unknown model_type {other:?}", config.display());
                return Err(reason.into());
            }
        };
        let expected = then.hashes.get("validation");
        if expected.is_some_and(|expected| *expected != hash) {
            return Err(format!(
                "the data found now is not what {} was trained on ({source}): give that with --data",
                run.path().display()
            )
            .into());
        }
        Ok(Probes { kind, name: then.name.clone(), hash })
    }

    fn len(&self) -> usize {
        match &self.kind {
            Kind::Texts(windows) => windows.len(),
            Kind::Images { count, .. } => *count,
        }
    }

    /// How many of what they are.
    fn describe(&self) -> String {
        let (count, name) = (self.len(), &self.name);
        match &self.kind {
            Kind::Texts(windows) => {
                let length = windows.first().map_or(0, Vec::len);
                format!("{count} windows of {length} tokens of the validation text of {name}")
            }
            Kind::Images { .. } => format!("{count} validation images of {name}"),
        }
    }

    /// Loads a model that is to be measured, and says how many of its last blocks are those of a
    /// mask transformer.
    fn tracer<'a>(&'a self, model: &Model, request: &Request) -> Result<(Tracer<'a>, usize)> {
        let device = request.device.clone();
        let folder = &model.folder;
        match &self.kind {
            Kind::Texts(windows) => {
                let config: LanguageModelConfig = read(&folder.config_json())?;
                let build = |builder: &mut _| LanguageModel::new(&config, builder);
                let (network, parameters) = Parameters::build(&device, 0, build);
                load_weights(&model.weights, &parameters)?;
                let tracer = move |first, last| {
                    let windows = &windows[first..last];
                    network.trace(&Ids::new(windows.concat(), [windows.len(), windows[0].len()]))
                };
                Ok((Box::new(tracer), 0))
            }
            Kind::Images { data, .. } => {
                let config: VisionConfig = read(&folder.config_json())?;
                let images = move |first: usize, last: usize| {
                    let batch = data.validation_images(first..last);
                    Tensor::new(&batch.pixels, batch.shape, &device)
                };
                if let Some(blocks) = config.num_decoder_layers {
                    let build = |builder: &mut _| ImageSegmenter::new(&config, builder);
                    let (network, parameters) = Parameters::build(request.device, 0, build);
                    load_weights(&model.weights, &parameters)?;
                    return Ok((Box::new(move |a, b| network.trace(&images(a, b))), blocks));
                }
                let build = |builder: &mut _| ImageClassifier::new(&config, builder);
                let (network, parameters) = Parameters::build(request.device, 0, build);
                load_weights(&model.weights, &parameters)?;
                Ok((Box::new(move |a, b| network.encoder().trace(&images(a, b))), 0))
            }
        }
    }
}

fn find_text(path: Option<PathBuf>, source: &str) -> Result<Corpus> {
    if path.is_none() && source.starts_with("generated") {
        return Ok(Corpus::generated());
    }
    Ok(lookup(&Lookup { data: path, ..Lookup::default() })?.0)
}

/// How the run that is measured read its images.
fn typed_options(run: &RunFolder) -> Result<ReadOptions> {
    let typed = resume::kept(&read(&run.run_json())?).unwrap_or_default();
    let value = |flag: &str| resume::value(&typed, flag)?.into_string().ok();
    let numbers =
        |values: String| values.split(',').map(|value| value.parse::<u8>().ok()).collect();
    Ok(ReadOptions {
        broken: if typed.iter().any(|flag| flag == "--skip-broken") {
            Broken::Skip
        } else {
            Broken::Stop
        },
        void: value("--void").and_then(|index| index.parse().ok()),
        label_values: value("--label-values").and_then(numbers),
        ground: value("--ground").and_then(|colour| images::colour(&colour).ok()),
        ..ReadOptions::default()
    })
}

fn find_images(
    path: Option<&Path>,
    config: &VisionConfig,
    options: ReadOptions,
) -> Result<ImageData> {
    let size = [config.image_size.height(), config.image_size.width()];
    let task = match config.num_decoder_layers {
        Some(_) => Task::Segmentation,
        None => Task::Classification,
    };
    let classes = Some(config.id2label.values().cloned().collect());
    let options = ReadOptions { classes, ..options };
    let exact = ImageData::find(path, task, &options);
    if let Ok(data) = exact
        && [data.shape.height, data.shape.width] == size
    {
        return Ok(data);
    }
    Ok(ImageData::find(path, task, &ReadOptions { size: Some(size), ..options })?)
}

fn attention_maps(name: &str, trace: &Trace, request: &Request) -> Result<Vec<Map>> {
    let blocks = trace.layers.len();
    let mut chosen = request.heads.to_vec();
    if chosen.is_empty() {
        chosen = vec![(1, 1), (blocks.div_ceil(2), 1), (blocks, 1)];
        chosen.dedup();
    }
    let heads = trace.layers[0].query.shape()[2];
    let map = |(block, head): (usize, usize)| {
        if block > blocks || head > heads {
            let reason =
                format!("--heads {block}:{head}: there are {blocks} blocks of {heads} heads");
            return Err(reason.into());
        }
        let picture = Picture {
            file: format!("attention-{block}-{head}.png"),
            title: format!("block {block}, head {head}"),
            bytes: draw_map(&attention_map(trace, block - 1, head - 1, 0)?),
            ..Picture::default()
        };
        Ok(Map { model: name.to_owned(), picture })
    };
    chosen.into_iter().map(map).collect()
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let text =
        fs::read(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    Ok(serde_json::from_slice(&text).map_err(|error| format!("{}: {error}", path.display()))?)
}
