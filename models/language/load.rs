//! A trained language model from its folder.

use super::config::LanguageModelConfig;
use super::model::LanguageModel;
use crate::engine::{Device, Error, Parameters, Result};
use std::fs;
use std::path::Path;

impl LanguageModel {
    /// Loads a trained model: `config.json` and `model.safetensors` in a folder, as each model of a run
    /// has them (`runs/NAME/VARIANT-seedS`).
    ///
    /// ```
    /// use neutreno_models::engine::{Device, Ids, Parameters};
    /// use neutreno_models::{LanguageModel, LanguageModelConfig};
    /// let config = LanguageModelConfig::new(50, 16, 3, 2, 8);
    /// let device = Device::cpu();
    /// let (model, parameters) =
    ///     Parameters::build(&device, 1, |builder| LanguageModel::new(&config, builder));
    ///
    /// let folder = tempfile::tempdir().unwrap();
    /// let text = serde_json::to_string(&config).unwrap();
    /// std::fs::write(folder.path().join("config.json"), text).unwrap();
    /// parameters.save(&folder.path().join("model.safetensors"), &Default::default())?;
    ///
    /// let (loaded, _) = LanguageModel::load(folder.path(), &device)?;
    /// let prompt = Ids::new(vec![1, 2, 3], [1, 3]);
    /// let next = loaded.next_logits(&prompt, &[2]);
    /// assert_eq!(next.to_vec()?, model.next_logits(&prompt, &[2]).to_vec()?);
    /// # Ok::<(), neutreno_models::engine::Error>(())
    /// ```
    ///
    /// # Errors
    /// If a file cannot be read or is not that of a language model, the weights do not fit the
    /// configuration, or the device fails.
    pub fn load(folder: &Path, device: &Device) -> Result<(LanguageModel, Parameters)> {
        let path = folder.join("config.json");
        let failed = |reason: String| Error::File { path: path.clone(), reason };
        let text = fs::read(&path).map_err(|error| failed(error.to_string()))?;
        let config: LanguageModelConfig =
            serde_json::from_slice(&text).map_err(|error| failed(error.to_string()))?;
        config.check().map_err(failed)?;
        let build = |builder: &mut _| LanguageModel::new(&config, builder);
        let (model, parameters) = Parameters::build(device, 0, build);
        parameters.load(&folder.join("model.safetensors"))?;
        Ok((model, parameters))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    #[test]
    fn what_is_no_trained_language_model_is_refused_by_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let refused = |file: &str| -> String {
            let Err(error) = LanguageModel::load(folder.path(), &Device::cpu()) else {
                panic!("it was loaded")
            };
            let path: PathBuf = folder.path().join(file);
            assert!(error.to_string().contains(&*path.to_string_lossy()), "{error}");
            error.to_string()
        };
        refused("config.json");
        let write = |config: &LanguageModelConfig| {
            let text = serde_json::to_string(config).unwrap();
            fs::write(folder.path().join("config.json"), text).unwrap();
        };
        let config = LanguageModelConfig::new(50, 16, 3, 2, 8);
        write(&LanguageModelConfig { num_attention_heads: 3, ..config.clone() });
        assert!(refused("config.json").contains("16"));
        write(&config);
        refused("model.safetensors");
        let build = |builder: &mut _| LanguageModel::new(&config, builder);
        let (_, parameters) = Parameters::build(&Device::cpu(), 0, build);
        parameters.save(&folder.path().join("model.safetensors"), &Default::default()).unwrap();
        write(&LanguageModelConfig { num_hidden_layers: 2, ..config.clone() });
        assert!(refused("model.safetensors").contains("layers.2."));
        write(&config);
        LanguageModel::load(folder.path(), &Device::cpu()).unwrap();
    }
}
