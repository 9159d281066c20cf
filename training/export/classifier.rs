//! A classifier of images, with what pictures become before it sees them.

use super::card::About;
use super::model::{Model, load_weights, pretty, unfinished};
use super::source::{OfRun, Source};
use crate::engine::half::Half;
use crate::engine::{Device, Parameters};
use crate::error::Error;
use crate::exchange;
use crate::vision::{ImageClassifier, Preprocessing, VisionConfig, VisionConfigFile};
use serde_json::Value;

/// Loads a model, and says what stands beside it.
pub(super) fn model(
    source: &Source,
    precision: Option<Half>,
    device: &Device,
) -> Result<Model, Error> {
    let (config, parameters, mut notices) = load(source, device)?;
    let json = exchange::classifier_config(&config, precision);
    let mut files = Vec::new();
    if let Some(of_run) = &source.of_run {
        files
            .push(("preprocessor_config.json", pretty(&preprocessing(of_run, &config)?.to_json())));
    } else if !source.folder.join("preprocessor_config.json").is_file() {
        notices.push(
            "there is no preprocessor_config.json beside the model, so none was exported".into(),
        );
    }
    let about = About::classifier(&config, json["dtype"].as_str().unwrap_or_default());
    let class = "AutoModelForImageClassification";
    Ok(Model { json, class, variant: config.variant, parameters, about, files, notices })
}

fn load(
    source: &Source,
    device: &Device,
) -> Result<(VisionConfig, Parameters, Vec<String>), Error> {
    let (text, failed) = source.config()?;
    if let Some(weights) = source.checkpoint() {
        let VisionConfigFile { config, .. } = VisionConfigFile::parse(&text).map_err(failed)?;
        let build = |builder: &mut _| ImageClassifier::new(&config, builder);
        let (_, parameters) = Parameters::build(device, 0, build);
        load_weights(weights, &parameters)?;
        return Ok((config, parameters, vec![unfinished(weights)]));
    }
    let loaded = ImageClassifier::load(&source.folder, None, device)?;
    Ok((loaded.model.config().clone(), loaded.parameters, loaded.notices))
}

/// What pictures were made in the run.
fn preprocessing(of_run: &OfRun, config: &VisionConfig) -> Result<Preprocessing, Error> {
    let numbers = |name: &str| -> Result<Vec<f32>, Error> {
        let found: Option<Vec<f32>> = serde_json::from_value(of_run.fact(name).clone()).ok();
        found.filter(|numbers| numbers.len() == config.num_channels).ok_or_else(|| {
            let path = of_run.run.run_json();
            Error::Settings(format!(
                "{}: {name} is {}, and not {} numbers: what pictures were made is not known",
                path.display(),
                of_run.fact(name),
                config.num_channels
            ))
        })
    };
    Ok(Preprocessing {
        size: Some(config.image_size),
        mean: numbers("pixel_mean")?,
        deviation: numbers("pixel_deviation")?,
        unused: Vec::new(),
    })
}

/// Whether a configuration is that of a model of images.
pub(super) fn is_of_images(json: &Value) -> bool {
    let plain = json["model_type"].as_str().and_then(|kind| kind.rsplit('_').next());
    matches!(plain, Some("vit" | "deit" | "segmenter"))
}
