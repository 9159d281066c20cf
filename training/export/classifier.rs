//! A classifier of images, with what pictures become before it sees them.

use super::card::About;
use super::model::{Model, pretty, unfinished};
use crate::engine::Device;
use crate::engine::half::Half;
use crate::error::Error;
use crate::exchange;
use crate::open::{ImageModel, Source};

/// Loads a model, and says what stands beside it.
pub(super) fn model(
    source: &Source,
    precision: Option<Half>,
    device: &Device,
) -> Result<Model, Error> {
    let opened = ImageModel::open(source, device)?;
    let (config, parameters) = (opened.model.config().clone(), opened.parameters);
    let mut notices = opened.notices;
    notices.extend(source.checkpoint().map(unfinished));
    let json = exchange::classifier_config(&config, precision);
    let mut files = Vec::new();
    if let (Some(_), Some(preprocessing)) = (&source.of_run, &opened.preprocessing) {
        files.push(("preprocessor_config.json", pretty(&preprocessing.to_json())));
    } else if !source.folder.join("preprocessor_config.json").is_file() {
        notices.push(
            "there is no preprocessor_config.json beside the model, so none was exported".into(),
        );
    }
    let about = About::classifier(&config, json["dtype"].as_str().unwrap_or_default());
    let class = "AutoModelForImageClassification";
    Ok(Model { json, class, variant: config.variant, parameters, about, files, notices })
}
