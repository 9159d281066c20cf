//! A trained classifier of images from its folder: one of ours, or a ViT of Hugging Face's.

use super::classifier::ImageClassifier;
use super::config::{ImageSize, VisionConfig};
use super::hugging_face::VisionConfigFile;
use super::positions::interpolate;
use super::preprocessing::Preprocessing;
use crate::engine::{Device, Error, Parameters, Result};
use crate::json;
use crate::weights::{Weights, list};
use std::path::Path;

/// What the learned positions are called.
pub(super) const POSITIONS: &str = "vit.embeddings.position_embeddings";

/// A classifier that was loaded.
pub struct LoadedClassifier {
    /// The model.
    pub model: ImageClassifier,
    /// Its parameters.
    pub parameters: Parameters,
    /// What it is given instead of a picture's bytes, if `preprocessor_config.json` is there.
    pub preprocessing: Option<Preprocessing>,
    /// What a user should know, a line each: keys that were not known, tensors that were not used.
    pub notices: Vec<String>,
}

impl ImageClassifier {
    /// Loads a trained model from a folder with `config.json` and `model.safetensors`: a classifier of a
    /// run (`runs/NAME/VARIANT-seedS`), or a ViT of Hugging Face's that classifies
    /// (`ViTForImageClassification`), there also in several files. Weights in f16 and bf16 become f32. A
    /// pooler, which a classifier does not use, is left.
    ///
    /// With an `image_size` the model is for images of that size: its positions are interpolated between
    /// those that were learned, as with `interpolate_pos_encoding=True` in `transformers`.
    ///
    /// ```
    /// use neutreno_models::engine::{Device, Parameters, Tensor};
    /// use neutreno_models::vision::{ImageClassifier, ImageSize, VisionConfig};
    /// let device = Device::cpu();
    /// let names = ["shirt".to_string(), "shoe".to_string()];
    /// let config = VisionConfig::new(ImageSize::new(8, 8), 4, 16, 2, 2, &names);
    /// let build = |builder: &mut _| ImageClassifier::new(&config, builder);
    /// let (model, parameters) = Parameters::build(&device, 1, build);
    ///
    /// let folder = tempfile::tempdir().unwrap();
    /// let text = serde_json::to_string(&config).unwrap();
    /// std::fs::write(folder.path().join("config.json"), text).unwrap();
    /// parameters.save(&folder.path().join("model.safetensors"), &Default::default())?;
    ///
    /// let loaded = ImageClassifier::load(folder.path(), None, &device)?;
    /// let image = Tensor::full(0.5, [1, 3, 8, 8], &device);
    /// assert_eq!(loaded.model.logits(&image).to_vec()?, model.logits(&image).to_vec()?);
    /// let larger = ImageClassifier::load(folder.path(), Some(ImageSize::new(12, 16)), &device)?;
    /// assert_eq!(larger.model.config().patches(), [3, 4]);
    /// # Ok::<(), neutreno_models::engine::Error>(())
    /// ```
    ///
    /// # Errors
    /// If a file cannot be read or is not that of a classifier, the configuration asks for what is not
    /// computed here ([`VisionConfigFile::parse`]), the weights do not fit it, the size is none of whole
    /// patches, or the device fails.
    pub fn load(
        folder: &Path,
        image_size: Option<ImageSize>,
        device: &Device,
    ) -> Result<LoadedClassifier> {
        let path = folder.join("config.json");
        let failed = |reason: String| Error::File { path: path.clone(), reason };
        let VisionConfigFile { config, unknown } =
            VisionConfigFile::parse(&json::read(&path)?).map_err(failed)?;
        let mut notices = Vec::new();
        if !unknown.is_empty() {
            let unknown = list(&unknown);
            notices.push(format!(
                "config.json: keys that are not known, and were not used: {unknown}"
            ));
        }
        let mut weights = Weights::open(folder)?;
        check_size(&config, &weights).map_err(failed)?;
        let preprocessing = read_preprocessing(folder, config.num_channels, &mut notices)?;
        // Whether the weights fit is asked before memory is taken.
        let build = |builder: &mut _| ImageClassifier::new(&config, builder);
        let (_, planned) = Parameters::build(&Device::plan(), 0, build);
        weights.check(&planned, is_of_pooler)?;
        let left: Vec<&str> = weights.names().filter(|name| is_of_pooler(name)).collect();
        if !left.is_empty() {
            notices.push(format!(
                "tensors of a pooler, which a classifier does not use: {}",
                list(&left)
            ));
        }
        let resized =
            VisionConfig { image_size: image_size.unwrap_or(config.image_size), ..config.clone() };
        resized.check().map_err(failed)?;
        let build = |builder: &mut _| ImageClassifier::new(&resized, builder);
        let (model, parameters) = Parameters::build(device, 0, build);
        for (name, tensor) in parameters.iter() {
            if name == POSITIONS && resized.patches() != config.patches() {
                let learned = weights.read(POSITIONS)?;
                tensor.overwrite(&seen_through(&learned, &config, resized.patches()));
            } else {
                weights.read_into(name, tensor)?;
            }
        }
        device.synchronize()?;
        Ok(LoadedClassifier { model, parameters, preprocessing, notices })
    }
}

pub(super) fn is_of_pooler(name: &str) -> bool {
    name.starts_with("vit.pooler.")
}

/// That of the class token, if there is one, and those of the patches on another grid.
pub(super) fn seen_through(
    learned: &[f32],
    config: &VisionConfig,
    patches: [usize; 2],
) -> Vec<f32> {
    let width = config.hidden_size;
    let (class, grid) = learned.split_at(usize::from(config.class_token) * width);
    [class, &interpolate(grid, width, config.patches(), patches)].concat()
}

/// `preprocessor_config.json`, where it is there.
fn read_preprocessing(
    folder: &Path,
    channels: usize,
    notices: &mut Vec<String>,
) -> Result<Option<Preprocessing>> {
    let path = folder.join("preprocessor_config.json");
    if !path.exists() {
        return Ok(None);
    }
    match Preprocessing::parse(&json::read(&path)?, channels) {
        Ok(file) => {
            if !file.unused.is_empty() {
                let unused = list(&file.unused);
                notices.push(format!(
                    "preprocessor_config.json: keys that are not known, and were not used: {unused}"
                ));
            }
            Ok(Some(file))
        }
        Err(reason) => Err(Error::File { path, reason }),
    }
}

/// That the model is not larger than its weights, before anything is made in its size.
fn check_size(config: &VisionConfig, weights: &Weights) -> std::result::Result<(), String> {
    let [width, inner, layers, patch, channels, tokens, classes] = [
        config.hidden_size,
        config.intermediate_size,
        config.num_hidden_layers,
        config.patch_size,
        config.num_channels,
        config.tokens(),
        config.classes(),
    ]
    .map(|size| size as u128);
    // Without biases, norms, and values, of which one variant has less.
    let block = 3 * width + 2 * inner;
    let least = layers
        .saturating_mul(block)
        .saturating_add(patch * patch * channels)
        .saturating_add(tokens + classes)
        .saturating_mul(width);
    let there = weights.elements();
    if least <= there {
        return Ok(());
    }
    Err(format!(
        "it describes a model of {least} numbers or more, and the weights beside it have {there}: \
         are they of another model?"
    ))
}
