//! Loading the models of a run, and what they are measured on.

use crate::common::data_of_run::{data_of, images_of, text_of};
use crate::common::program::Result;
use crate::common::progress::Progress;
use neutreno::LanguageModelConfig;
use neutreno::data::images::ImageData;
use neutreno::data::tokenizer::Tokenizer;
use neutreno::engine::random::Key;
use neutreno::engine::{Device, Ids, Tensor};
use neutreno::language::LoadSettings;
use neutreno::measure::{Measured, attention_map, measure, probe};
use neutreno::open::{Found, ImageModel, Kind, OfRun, Source, Wanted, language_model};
use neutreno::report::{Map, MeasuredModel, draw_map, label};
use neutreno::run::{Picture, RunFolder, Use};
use neutreno::trace::Trace;
use neutreno::vision::VisionConfig;
use serde::de::DeserializeOwned;
use std::fs;
use std::path::Path;

/// What to measure.
pub struct Request<'a> {
    pub data: Option<&'a Path>,
    pub sequences: usize,
    /// Blocks and heads, from 1.
    pub heads: &'a [(usize, usize)],
    pub device: &'a Device,
    /// Which weights of each model.
    pub weights: Use,
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
    let wanted = Wanted { weights: request.weights, ..Wanted::default() };
    let Found { sources, notices } = Found::at(run.path(), &wanted)?;
    notices.iter().for_each(|line| progress.line(line));
    let models: Vec<(&Source, &OfRun)> =
        sources.iter().filter_map(|source| Some((source, source.of_run.as_ref()?))).collect();
    let probes = Probes::find(run, models[0].0, request)?;
    let first_seed = models[0].1.model.seed;
    let mut results = Vec::new();
    for (source, of_run) in models {
        let prefix = if request.several { format!("{}: ", run.name()) } else { String::new() };
        let (variant, seed) = (of_run.model.variant.name(), of_run.model.seed);
        let name = format!("{prefix}{variant}");
        let (shown, steps) = (label(&name), of_run.weights.step);
        progress.line(&format!("{shown}, seed {seed}, after {steps} steps"));
        let (trace, decoder_blocks) = probes.tracer(source, request)?;
        let mut parts = Vec::new();
        let mut maps = Vec::new();
        for first in (0..probes.len()).step_by(BATCH) {
            let last = (first + BATCH).min(probes.len());
            let trace = trace(first, last);
            parts.push((measure(&trace)?, last - first));
            if first == 0 && seed == first_seed {
                maps = attention_maps(&name, &trace, request)?;
            }
        }
        let steps = vec![(steps, Measured::mean(&parts))];
        results.push((MeasuredModel { name, seed, decoder_blocks, steps }, maps));
    }
    Ok((probes, results))
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
    kind: Of,
    /// What the data is called.
    name: String,
    /// The hash of the validation data.
    hash: String,
}

enum Of {
    Texts(Vec<Vec<u32>>),
    Images { data: Box<ImageData>, count: usize },
}

impl PartialEq for Probes {
    fn eq(&self, other: &Probes) -> bool {
        let same = match (&self.kind, &other.kind) {
            (Of::Texts(a), Of::Texts(b)) => a == b,
            (Of::Images { count: a, data: x }, Of::Images { count: b, data: y }) => {
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
    fn find(run: &RunFolder, first: &Source, request: &Request) -> Result<Probes> {
        let then = data_of(run)?;
        let config = first.folder.join("config.json");
        let (kind, hash) = match first.kind()? {
            Kind::Language => {
                let corpus = text_of(run, &then, request.data)?;
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
                (Of::Texts(windows.unwrap_or_default()), corpus.hashes.validation)
            }
            Kind::Classifier | Kind::Segmenter => {
                let config: VisionConfig = read(&config)?;
                let path = request.data.or(then.path.as_deref());
                let data = images_of(Some(run), path, &config)?;
                let count = request.sequences.min(data.splits.validation.len());
                let hash = data.hashes.validation.clone();
                (Of::Images { data: Box::new(data), count }, hash)
            }
        };
        let expected = then.hashes.get("validation");
        if expected.is_some_and(|expected| *expected != hash) {
            return Err(format!(
                "the data found now is not what {} was trained on ({}): give that with --data",
                run.path().display(),
                then.source
            )
            .into());
        }
        Ok(Probes { kind, name: then.name, hash })
    }

    fn len(&self) -> usize {
        match &self.kind {
            Of::Texts(windows) => windows.len(),
            Of::Images { count, .. } => *count,
        }
    }

    /// How many of what they are.
    fn describe(&self) -> String {
        let (count, name) = (self.len(), &self.name);
        match &self.kind {
            Of::Texts(windows) => {
                let length = windows.first().map_or(0, Vec::len);
                format!("{count} windows of {length} tokens of the validation text of {name}")
            }
            Of::Images { .. } => format!("{count} validation images of {name}"),
        }
    }

    /// Loads a model that is to be measured, and says how many of its last blocks are those of a
    /// mask transformer.
    fn tracer<'a>(&'a self, source: &Source, request: &Request) -> Result<(Tracer<'a>, usize)> {
        let device = request.device.clone();
        match &self.kind {
            Of::Texts(windows) => {
                let loaded = language_model(source, &device, &LoadSettings::default())?;
                let tracer = move |first, last| {
                    let windows = &windows[first..last];
                    let ids = Ids::new(windows.concat(), [windows.len(), windows[0].len()]);
                    loaded.model.trace(&ids)
                };
                Ok((Box::new(tracer), 0))
            }
            Of::Images { data, .. } => {
                let opened = ImageModel::open(source, &device)?;
                let blocks = opened.model.config().num_decoder_layers.unwrap_or(0);
                let images = move |first: usize, last: usize| {
                    let batch = data.validation_images(first..last);
                    Tensor::new(&batch.pixels, batch.shape, &device)
                };
                let tracer = move |first, last| match &opened.model {
                    ImageModel::Classifier(model) => model.encoder().trace(&images(first, last)),
                    ImageModel::Segmenter(model) => model.trace(&images(first, last)),
                };
                Ok((Box::new(tracer), blocks))
            }
        }
    }
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
