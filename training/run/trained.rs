//! The models of a run, as far as they are there.

use super::checkpoint::{Weights, newest_weights};
use super::{Error, ModelFolder, RunFolder};
use crate::variant::VariantConfig;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// A model of a run: trained to the end, still being trained, or not begun.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainedModel {
    /// The variant with its constants; [`VariantConfig::name`] is what the model's folder is called
    /// after.
    pub variant: VariantConfig,
    /// The seed.
    pub seed: u64,
    /// Its folder, which may not be there yet.
    pub folder: ModelFolder,
    /// Whether it is trained to the end.
    pub finished: bool,
    /// The trained weights: the final ones, or those of the newest whole checkpoint; `None` before the
    /// first.
    pub weights: Option<Weights>,
}

impl RunFolder {
    /// All models of the run, every variant with the first seed, and so on. Nothing is written, locked
    /// or made, so the run may be trained meanwhile, and lie where nothing can be written.
    ///
    /// ```
    /// # use neutreno::run::{Error, RunFolder, write_json};
    /// # let parent = tempfile::tempdir().unwrap();
    /// let fill = |folder: &RunFolder, _: &str| {
    ///     let facts = serde_json::json!({ "variants": [{ "variant": "svformer" }], "seeds": [1, 2] });
    ///     write_json(&folder.run_json(), &facts)
    /// };
    /// let run = RunFolder::create(parent.path(), Some("new".as_ref()), "", "", fill)?;
    /// let models = run.models()?;
    /// assert!(models[1].folder.path().ends_with("new/svformer-seed2"));
    /// assert!(models[1].weights.is_none() && !models[1].folder.path().exists());
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    /// If `run.json` cannot be read, or is not what a run writes.
    pub fn models(&self) -> Result<Vec<TrainedModel>, Error> {
        let facts = self.facts()?;
        let variants: Vec<VariantConfig> = self.fact(&facts, "variants")?;
        let seeds: Vec<u64> = self.fact(&facts, "seeds")?;
        let all =
            seeds.iter().flat_map(|seed| variants.iter().map(move |variant| (variant, *seed)));
        all.map(|(variant, seed)| {
            let folder = self.model_at(&variant.name(), seed)?;
            let (finished, weights) = match folder.result() {
                Some(result) => {
                    let (step, path) = (result.steps, folder.model_safetensors());
                    (true, Some(Weights { step, path, average: false }))
                }
                None => (false, newest_weights(&folder)),
            };
            Ok(TrainedModel { variant: variant.clone(), seed, folder, finished, weights })
        })
        .collect()
    }

    fn fact<T: DeserializeOwned>(&self, facts: &Value, name: &str) -> Result<T, Error> {
        serde_json::from_value(facts[name].clone()).map_err(|source| Error::Contents {
            path: self.run_json(),
            line: 1,
            source,
        })
    }
}
