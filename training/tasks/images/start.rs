//! A trained model of images that all models of a run start from.

use super::ImageSettings;
use crate::data::images::ImageData;
use crate::engine::{Device, Parameters};
use crate::error::Error;
use crate::run::{RunFolder, Use, Weights};
use crate::tasks::start_files::{FROM, StartFiles, find};
use crate::vision::{VisionConfig, VisionOrigin, VisionTransfer};
use serde_json::Value;
use std::path::Path;

/// A trained model of images that all models of a run start from, whatever each of them does: the encoder of
/// a classifier may go into a segmenter. The run keeps its configuration, and what its files were.
#[derive(Clone, Debug, PartialEq)]
pub struct ImageStart {
    config: VisionConfig,
    files: StartFiles,
}

impl ImageStart {
    /// A run of one model, the folder of one, or a ViT of Hugging Face's; with it come lines that a user
    /// should see.
    ///
    /// # Errors
    /// If there is no such folder, or no model of images in it; if its files are not what a run wrote.
    pub fn open(path: &Path, weights: Use) -> Result<(ImageStart, Vec<String>), Error> {
        let source = find(path, weights)?;
        let origin = VisionOrigin::open(&source.folder, source.checkpoint().map(Weights::file))?;
        let files = StartFiles::of(&source, origin.files())?;
        let notices = origin.notices().to_vec();
        Ok((ImageStart { config: origin.config().clone(), files }, notices))
    }

    /// That of a run, by its `run.json`; `None` if its models start from nothing. The folder is not looked
    /// at.
    ///
    /// # Errors
    /// If that is not what a run writes.
    pub fn of_run(run: &RunFolder) -> Result<Option<ImageStart>, Error> {
        let facts = run.facts()?;
        let Some(from) = facts.get(FROM) else { return Ok(None) };
        let config = serde_json::from_value(from["config"].clone()).ok();
        match config.zip(StartFiles::of_facts(from)) {
            Some((config, files)) => Ok(Some(ImageStart { config, files })),
            None => Err(Error::Settings(format!(
                "{}: it does not say what its models start from",
                run.run_json().display()
            ))),
        }
    }

    /// The folder, as an absolute path.
    pub fn folder(&self) -> &Path {
        self.files.folder()
    }

    /// Makes the sizes of these settings those of the model.
    pub fn sizes(&self, settings: &mut ImageSettings) {
        let config = &self.config;
        settings.layers = config.num_hidden_layers;
        settings.width = config.hidden_size;
        settings.feed_forward = Some(config.intermediate_size);
        settings.heads = config.num_attention_heads;
        settings.patch = Some(config.patch_size);
        settings.class_token = config.class_token;
    }

    /// Finds out whether the folder is as it was when the run began.
    ///
    /// # Errors
    /// The first file that is not.
    pub fn check(&self) -> Result<(), Error> {
        self.files.check()
    }

    /// A configuration made for some images, with what the settings do not have as in this model.
    ///
    /// # Errors
    /// If the images have other channels.
    pub(in crate::tasks) fn adapt(
        &self,
        config: VisionConfig,
        data: &ImageData,
    ) -> Result<VisionConfig, Error> {
        let [own, given] = [self.config.num_channels, config.num_channels];
        if own != given {
            return Err(Error::Settings(format!(
                "the model to start from (--from {}) sees images of {own} channels, and those of {} have \
                 {given}",
                self.folder().display(),
                data.name
            )));
        }
        let VisionConfig { layer_norm_eps, qkv_bias, .. } = self.config;
        Ok(VisionConfig { layer_norm_eps, qkv_bias, ..config })
    }

    /// What a model of this configuration takes of it.
    pub fn transfer(&self, config: &VisionConfig) -> VisionTransfer {
        VisionTransfer::new(&self.config, config)
    }

    /// A new model and its parameters, with what it has in common with what it starts from, if it does.
    pub(in crate::tasks) fn begin<M>(
        start: Option<&ImageStart>,
        config: &VisionConfig,
        (seed, device): (u64, &Device),
        build: impl Fn(&mut crate::engine::Builder) -> M,
    ) -> Result<(M, Parameters), Error> {
        match start {
            Some(start) => start.fill(config, (seed, device), build),
            None => Ok(Parameters::build(device, seed, build)),
        }
    }

    /// Overwrites what a new model has in common with it.
    fn fill<M>(
        &self,
        config: &VisionConfig,
        (seed, device): (u64, &Device),
        build: impl Fn(&mut crate::engine::Builder) -> M,
    ) -> Result<(M, Parameters), Error> {
        self.check()?;
        let (model, parameters) = Parameters::build(device, seed, build);
        let weights = self.files.weights();
        let weights = weights.as_ref().map(|(path, prefix)| (path.as_path(), *prefix));
        VisionOrigin::open(self.folder(), weights)?.fill(&parameters, config)?;
        Ok((model, parameters))
    }

    /// What a run keeps of it.
    pub(in crate::tasks) fn facts(&self) -> Value {
        self.files.facts(&self.config)
    }
}
