//! Models from where they were found, with the weights that are meant.

use super::source::{Kind, OfRun, Source};
use crate::engine::optim::Average;
use crate::engine::{Device, Parameters, Tensor};
use crate::error::Error;
use crate::language::{LanguageModel, LoadSettings, Loaded};
use crate::run::Weights;
use crate::vision::{
    ImageClassifier, ImageSegmenter, LoadedClassifier, Preprocessing, VisionConfig,
    VisionConfigFile,
};

/// Opens a language model.
///
/// # Errors
/// As [`LanguageModel::load_with`].
pub fn language_model(
    source: &Source,
    device: &Device,
    settings: &LoadSettings,
) -> Result<Loaded, Error> {
    // Checkpoints have their files elsewhere, and averages their own names in them.
    let weights = source.of_run.as_ref().map(|of_run| of_run.weights.file());
    Ok(LanguageModel::load_with(&source.folder, device, &LoadSettings { weights, ..*settings })?)
}

/// A model of images.
pub enum ImageModel {
    /// It tells what an image shows.
    Classifier(Box<ImageClassifier>),
    /// It tells what each pixel belongs to.
    Segmenter(Box<ImageSegmenter>),
}

/// A model of images that was opened.
pub struct OpenedImages {
    /// The model.
    pub model: ImageModel,
    /// Its parameters.
    pub parameters: Parameters,
    /// What it is given instead of a picture's bytes, where that is known.
    pub preprocessing: Option<Preprocessing>,
    /// What a user should know, a line each.
    pub notices: Vec<String>,
}

impl OpenedImages {
    /// What it is given instead of a picture's bytes; `source` is where it was found.
    ///
    /// # Errors
    /// If that is not known.
    pub fn known_preprocessing(&self, source: &Source) -> Result<&Preprocessing, Error> {
        self.preprocessing.as_ref().ok_or_else(|| {
            Error::Settings(format!(
                "{}: preprocessor_config.json is missing, so it is not known what pictures become",
                source.folder.display()
            ))
        })
    }
}

impl ImageModel {
    /// Opens one.
    ///
    /// # Errors
    /// If it is a model of text, a file cannot be read, or the weights do not fit the configuration.
    pub fn open(source: &Source, device: &Device) -> Result<OpenedImages, Error> {
        let kind = source.kind()?;
        let (text, failed) = source.config()?;
        if kind == Kind::Language {
            return Err(failed("its model is of text, and one of images is needed".into()));
        }
        let (model, parameters, of_file, notices) = match (kind, source.checkpoint()) {
            (Kind::Segmenter, _) => {
                let config: VisionConfig =
                    serde_json::from_slice(&text).map_err(|error| failed(error.to_string()))?;
                config.check().map_err(failed)?;
                let build = |builder: &mut _| ImageSegmenter::new(&config, builder);
                let (model, parameters) = Parameters::build(device, 0, build);
                match &source.of_run {
                    Some(of_run) => load_weights(&of_run.weights, &parameters)?,
                    None => drop(parameters.load(&source.folder.join("model.safetensors"))?),
                }
                (ImageModel::Segmenter(model.into()), parameters, None, Vec::new())
            }
            (_, Some(weights)) => {
                let VisionConfigFile { config, .. } =
                    VisionConfigFile::parse(&text).map_err(failed)?;
                let build = |builder: &mut _| ImageClassifier::new(&config, builder);
                let (model, parameters) = Parameters::build(device, 0, build);
                load_weights(weights, &parameters)?;
                (ImageModel::Classifier(model.into()), parameters, None, Vec::new())
            }
            (_, None) => {
                let loaded = ImageClassifier::load(&source.folder, None, device)?;
                let LoadedClassifier { model, parameters, preprocessing, notices } = loaded;
                (ImageModel::Classifier(model.into()), parameters, preprocessing, notices)
            }
        };
        let preprocessing = match &source.of_run {
            Some(of_run) => Some(of_run.preprocessing(model.config())?),
            None => of_file,
        };
        Ok(OpenedImages { model, parameters, preprocessing, notices })
    }

    /// Its configuration.
    pub fn config(&self) -> &VisionConfig {
        match self {
            ImageModel::Classifier(model) => model.config(),
            ImageModel::Segmenter(model) => model.config(),
        }
    }

    /// Where its parameters are.
    pub fn device(&self) -> &Device {
        match self {
            ImageModel::Classifier(model) => model.device(),
            ImageModel::Segmenter(model) => model.device(),
        }
    }

    /// The logits of images: (image, class), or (image, row, column, class).
    ///
    /// # Panics
    /// If the images do not have the configured size.
    #[track_caller]
    pub fn logits(&self, images: &Tensor) -> Tensor {
        match self {
            ImageModel::Classifier(model) => model.logits(images),
            ImageModel::Segmenter(model) => model.logits(images),
        }
    }
}

impl OfRun {
    /// What pictures were made in the run.
    ///
    /// # Errors
    /// If it does not say so.
    pub fn preprocessing(&self, config: &VisionConfig) -> Result<Preprocessing, Error> {
        let numbers = |name: &str| -> Result<Vec<f32>, Error> {
            let found: Option<Vec<f32>> = serde_json::from_value(self.fact(name).clone()).ok();
            found.filter(|numbers| numbers.len() == config.num_channels).ok_or_else(|| {
                let path = self.run.run_json();
                Error::Settings(format!(
                    "{}: {name} is {}, and not {} numbers: what pictures were made is not known",
                    path.display(),
                    self.fact(name),
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
}

/// Puts a model's trained weights, the final ones or those of a checkpoint, in place of its parameters.
///
/// # Errors
/// If the file cannot be read or is of another model.
pub fn load_weights(weights: &Weights, parameters: &Parameters) -> Result<(), Error> {
    let Weights { path, average, .. } = weights;
    if !average {
        parameters.load(path)?;
        return Ok(());
    }
    let mut average = Average::new(parameters, 0.0);
    average.load(parameters, path)?;
    let read = || parameters.iter().map(|(_, tensor)| tensor.to_vec()).collect();
    let numbers: Result<Vec<Vec<f32>>, _> = average.with(parameters, read);
    for ((_, tensor), numbers) in parameters.iter().zip(numbers?) {
        tensor.overwrite(&numbers);
    }
    Ok(())
}
