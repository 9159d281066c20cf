//! Loading the models of a run, and what they are measured on.

use crate::common::images;
use crate::common::program::Result;
use crate::common::progress::Progress;
use neutreno::data::corpus::Corpus;
use neutreno::data::images::{Broken, ImageData, ReadOptions, Task};
use neutreno::data::lookup::{Lookup, lookup};
use neutreno::data::tokenizer::Tokenizer;
use neutreno::engine::random::Key;
use neutreno::engine::{Device, Ids, Parameters, Tensor};
use neutreno::measure::{Measured, attention_map, measure, probe};
use neutreno::report::{Map, MeasuredModel, draw_map, label};
use neutreno::run::{ModelFolder, Picture, RunFolder, Summary};
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

/// Measures every model of a run, and draws the attention of those with the first seed.
pub fn measure_run(
    run: &RunFolder,
    request: &Request,
    progress: &Progress,
) -> Result<Vec<(MeasuredModel, Vec<Map>)>> {
    let summary: Summary = read(&run.summary_json())?;
    let probes = Probes::find(run, &summary, request)?;
    let first_seed = summary.variants.first().map(|model| model.seed);
    let mut results = Vec::new();
    for model in &summary.variants {
        let prefix = if request.several { format!("{}: ", run.name()) } else { String::new() };
        let name = format!("{prefix}{}", model.variant);
        let shown = label(&name);
        progress.line(&format!("{shown}, seed {}, after {} steps", model.seed, model.steps));
        let folder = run.model(&model.variant, model.seed)?;
        let (trace, decoder_blocks) = probes.tracer(&folder, request)?;
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
        let steps = vec![(model.steps, Measured::mean(&parts))];
        results.push((MeasuredModel { name, seed: model.seed, decoder_blocks, steps }, maps));
    }
    Ok(results)
}

/// What models are measured on.
enum Probes {
    Texts(Vec<Vec<u32>>),
    Images { data: Box<ImageData>, count: usize },
}

/// Gives the trace of the probes from one number up to another.
type Tracer<'a> = Box<dyn Fn(usize, usize) -> Trace + 'a>;

impl Probes {
    fn find(run: &RunFolder, summary: &Summary, request: &Request) -> Result<Probes> {
        // Where it was then.
        let source = &summary.data.source;
        let then = source.strip_prefix("folder ").or_else(|| source.strip_prefix("file "));
        let path = request.data.map(PathBuf::from).or_else(|| then.map(PathBuf::from));
        let Some(model) = summary.variants.first() else {
            return Err(format!("{} has no trained models", run.path().display()).into());
        };
        let config = run.model(&model.variant, model.seed)?.config_json();
        let kind: serde_json::Value = read(&config)?;
        let (probes, hash) = match kind["model_type"].as_str() {
            Some("llama") => {
                let corpus = find_text(path, source)?;
                let config: LanguageModelConfig = read(&config)?;
                let tokenizer = Tokenizer::load(run.tokenizer_json())?;
                let tokens = tokenizer.encode(&corpus.splits.validation);
                let length = config.max_position_embeddings.min(tokens.len());
                let windows = probe::windows(&tokens, length, request.sequences, Key::new(1));
                (Probes::Texts(windows.unwrap_or_default()), corpus.hashes.validation)
            }
            Some("vit" | "segmenter") => {
                let config: VisionConfig = read(&config)?;
                let data = find_images(path.as_deref(), &config, typed_options(run)?)?;
                let count = request.sequences.min(data.splits.validation.len());
                let hash = data.hashes.validation.clone();
                (Probes::Images { data: Box::new(data), count }, hash)
            }
            other => {
                let reason = format!("{}: unknown model_type {other:?}", config.display());
                return Err(reason.into());
            }
        };
        let expected = summary.data.hashes.get("validation");
        if expected.is_some_and(|expected| *expected != hash) {
            return Err(format!(
                "the data found now is not what {} was trained on ({source}): give that with --data",
                run.path().display()
            )
            .into());
        }
        Ok(probes)
    }

    fn len(&self) -> usize {
        match self {
            Probes::Texts(windows) => windows.len(),
            Probes::Images { count, .. } => *count,
        }
    }

    /// Loads a model that is to be measured, and says how many of its last blocks are those of a
    /// mask transformer.
    fn tracer<'a>(
        &'a self,
        folder: &ModelFolder,
        request: &Request,
    ) -> Result<(Tracer<'a>, usize)> {
        let device = request.device.clone();
        let weights = folder.model_safetensors();
        match self {
            Probes::Texts(windows) => {
                let config: LanguageModelConfig = read(&folder.config_json())?;
                let build = |builder: &mut _| LanguageModel::new(&config, builder);
                let (model, parameters) = Parameters::build(&device, 0, build);
                parameters.load(&weights)?;
                let tracer = move |first, last| {
                    let windows = &windows[first..last];
                    model.trace(&Ids::new(windows.concat(), [windows.len(), windows[0].len()]))
                };
                Ok((Box::new(tracer), 0))
            }
            Probes::Images { data, .. } => {
                let config: VisionConfig = read(&folder.config_json())?;
                let images = move |first: usize, last: usize| {
                    let batch = data.validation_images(first..last);
                    Tensor::new(&batch.pixels, batch.shape, &device)
                };
                if let Some(blocks) = config.num_decoder_layers {
                    let build = |builder: &mut _| ImageSegmenter::new(&config, builder);
                    let (model, parameters) = Parameters::build(request.device, 0, build);
                    parameters.load(&weights)?;
                    return Ok((Box::new(move |a, b| model.trace(&images(a, b))), blocks));
                }
                let build = |builder: &mut _| ImageClassifier::new(&config, builder);
                let (model, parameters) = Parameters::build(request.device, 0, build);
                parameters.load(&weights)?;
                Ok((Box::new(move |a, b| model.encoder().trace(&images(a, b))), 0))
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
    let facts: serde_json::Value = read(&run.run_json())?;
    let typed: Vec<&str> =
        facts["arguments"].as_array().into_iter().flatten().filter_map(|a| a.as_str()).collect();
    let value = |flag: &str| {
        let joined = format!("{flag}=");
        let mut values = typed.iter().enumerate().filter_map(|(index, word)| match *word == flag {
            true => typed.get(index + 1).copied(),
            false => word.strip_prefix(&joined),
        });
        values.next_back()
    };
    let numbers = |values: &str| values.split(',').map(|value| value.parse().ok()).collect();
    Ok(ReadOptions {
        // Had broken pictures not been left out in training, there would be no run.
        broken: Broken::Skip,
        void: value("--void").and_then(|index| index.parse().ok()),
        label_values: value("--label-values").and_then(numbers),
        ground: value("--ground").and_then(|colour| images::colour(colour).ok()),
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
