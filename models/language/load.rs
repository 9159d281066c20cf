//! A trained language model from its folder: one of ours, or one of Hugging Face's.

use super::config::LanguageModelConfig;
use super::generation_config::GenerationConfig;
use super::hugging_face::ConfigFile;
use super::matrix::Source;
use super::model::LanguageModel;
use crate::engine::half::{Half, Precision};
use crate::engine::ops::half_matrix::HalfMatrix;
use crate::engine::{Builder, Device, Error, Group, Parameters, Result, Shape};
use crate::json;
use crate::model_type::{MODELING, MODULE};
use crate::weights::{Weights, list};
use std::cell::RefCell;
use std::fs;
use std::path::Path;

/// What the output layer's weights are called.
const HEAD: &str = "lm_head.weight";
const EMBEDDING: &str = "model.embed_tokens.weight";

/// A model that was loaded.
pub struct Loaded {
    /// The model.
    pub model: LanguageModel,
    /// Its parameters. In half precision these are only vectors, such as the weights of norms: matrices
    /// are the model's alone, and read only.
    pub parameters: Parameters,
    /// The bytes of all weights as they are kept.
    pub weight_bytes: u64,
    /// The token that texts begin with, by `generation_config.json`, else by the configuration.
    pub begin_token: Option<u32>,
    /// The tokens after which a text is at its end, by the same files.
    pub end_tokens: Vec<u32>,
    /// How its makers want text to be written, if `generation_config.json` is there.
    pub generation: Option<GenerationConfig>,
    /// What a user should know, a line each: keys that were not known, tensors that were not used.
    pub notices: Vec<String>,
}

/// How a model is loaded.
pub struct LoadSettings<'a> {
    /// Whether a key of the configuration that nobody knows is an error instead of a notice.
    pub strict: bool,
    /// The file of the weights where it is none in the folder, and what stands before the names of its
    /// tensors, as `average.` in that of a running average. Tensors named otherwise are left.
    pub weights: Option<(&'a Path, &'a str)>,
    /// What matrices are kept in. In half precision a model can be written and scored with, and takes half
    /// the memory, but not be trained.
    pub precision: Precision,
    /// How each parameter will be trained: by its name, its shape, and whether the model wants weight
    /// decay for it, as in [`Parameters::build_with_groups`].
    pub group: &'a dyn Fn(&str, Shape, bool) -> Group,
}

impl Default for LoadSettings<'_> {
    fn default() -> Self {
        LoadSettings {
            strict: false,
            weights: None,
            precision: Precision::F32,
            group: &|_, _, decay| Group::with_decay(decay),
        }
    }
}

impl LanguageModel {
    /// Loads a trained model from a folder with `config.json` and `model.safetensors`: each model of a
    /// run (`runs/NAME/VARIANT-seedS`), or a Llama of Hugging Face's, there also in several files with
    /// `model.safetensors.index.json`. Weights in f16 and bf16 become f32. They are read piece by
    /// piece, so hardly more memory is taken than the model has.
    ///
    /// Where the configuration ties the output layer to the embedding and there is an `lm_head.weight`
    /// beside it, it is as in version 5 of `transformers`: if both are the same it is left, and if
    /// they differ the model is not tied, with a notice.
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
    /// let loaded = LanguageModel::load(folder.path(), &device)?;
    /// let prompt = Ids::new(vec![1, 2, 3], [1, 3]);
    /// let next = loaded.model.next_logits(&prompt, &[2]);
    /// assert_eq!(next.to_vec()?, model.next_logits(&prompt, &[2]).to_vec()?);
    /// assert!(loaded.notices.is_empty());
    /// # Ok::<(), neutreno_models::engine::Error>(())
    /// ```
    ///
    /// # Errors
    /// If a file cannot be read or is not that of a language model, the configuration asks for what is
    /// not computed here ([`ConfigFile::parse`]), the weights do not fit it, or the device fails.
    pub fn load(folder: &Path, device: &Device) -> Result<Loaded> {
        LanguageModel::load_with(folder, device, &LoadSettings::default())
    }

    /// The same with settings.
    ///
    /// # Errors
    /// As [`LanguageModel::load`].
    pub fn load_with(folder: &Path, device: &Device, settings: &LoadSettings) -> Result<Loaded> {
        let opened = Opened::open(folder, settings.strict, settings.weights)?;
        let Opened { config, numbers, begin_token, end_tokens, mut weights, mut notices } = opened;
        let generation = read_generation(folder, settings.strict, &mut notices)?;
        let build = |builder: &mut _| LanguageModel::new(&config, builder);
        let (model, parameters) = match settings.precision.half() {
            None => Parameters::build_to_read(device, 0, settings.group, |_| false, build),
            Some(half) => build_half(&config, &mut weights, half, device)?,
        };
        for (name, tensor) in parameters.iter() {
            weights.read_into(name, tensor)?;
        }
        device.synchronize()?;
        let [all, vectors] = [numbers, parameters.count()].map(|count| count as u64);
        let weight_bytes = 4 * vectors + settings.precision.bytes() as u64 * (all - vectors);
        let of_file = generation.as_ref();
        let begin_token = of_file.and_then(|file| file.begin_token).or(begin_token);
        let end_tokens = of_file.and_then(|file| file.end_tokens.clone()).unwrap_or(end_tokens);
        Ok(Loaded { model, parameters, weight_bytes, begin_token, end_tokens, generation, notices })
    }
}

/// The model with matrices in half precision, and the parameters that are left.
fn build_half(
    config: &LanguageModelConfig,
    weights: &mut Weights,
    half: Half,
    device: &Device,
) -> Result<(LanguageModel, Parameters)> {
    let (weights, problem) = (RefCell::new(weights), RefCell::new(None));
    let read = |name: &str, shape: [usize; 2], device: &Device| {
        let mut problem = problem.borrow_mut();
        // The constructor runs on the planning device first.
        if device.kind() != "plan" && problem.is_none() {
            match weights.borrow_mut().read_half(name, half, device) {
                Ok(matrix) => return matrix,
                Err(error) => *problem = Some(error),
            }
        }
        HalfMatrix::zeros(shape, half, &Device::plan())
    };
    let frozen = |_: &str, _, _| Group::FROZEN;
    let build = |builder: &mut Builder| {
        LanguageModel::from_source(config, &mut Source::new(builder, Some(&read)))
    };
    let built = Parameters::build_to_read(device, 0, frozen, |_| false, build);
    match problem.take() {
        Some(error) => Err(error),
        None => Ok(built),
    }
}

/// A folder's configuration and weights, which were found to fit each other. Nothing is made yet.
pub(super) struct Opened {
    pub config: LanguageModelConfig,
    /// How many numbers its parameters have.
    numbers: usize,
    begin_token: Option<u32>,
    end_tokens: Vec<u32>,
    pub weights: Weights,
    pub notices: Vec<String>,
}

impl Opened {
    pub fn open(folder: &Path, strict: bool, file: Option<(&Path, &str)>) -> Result<Opened> {
        let path = folder.join("config.json");
        let failed = |reason: String| Error::File { path: path.clone(), reason };
        let ConfigFile { mut config, begin_token, end_tokens, unknown } =
            ConfigFile::parse(&json::read(&path)?).map_err(failed)?;
        let mut notices = Vec::new();
        tell_unused(&path, &unknown, strict, &mut notices)?;
        notices.extend(other_code(folder));
        let mut weights = match file {
            Some((file, prefix)) => Weights::open_file(file, prefix)?,
            None => Weights::open(folder)?,
        };
        check_size(&config, &weights).map_err(failed)?;
        untie(&mut config, &mut weights, &mut notices)?;
        // Whether the weights fit is asked before memory is taken.
        let build = |builder: &mut _| LanguageModel::new(&config, builder);
        let (_, planned) = Parameters::build(&Device::plan(), 0, build);
        let tied = config.tie_word_embeddings;
        weights.check(&planned, |name| is_table(name) || tied && name == HEAD)?;
        let tables: Vec<&str> = weights.names().filter(|name| is_table(name)).collect();
        if !tables.is_empty() {
            notices.push(format!(
                "tensors that are computed here, and were not used: {}",
                list(&tables)
            ));
        }
        Ok(Opened { config, numbers: planned.count(), begin_token, end_tokens, weights, notices })
    }
}

/// A notice of keys that were not used, or if it is strict an error.
fn tell_unused(
    path: &Path,
    keys: &[String],
    strict: bool,
    notices: &mut Vec<String>,
) -> Result<()> {
    if keys.is_empty() {
        return Ok(());
    }
    let reason = format!("keys that are not known, and were not used: {}", list(keys));
    if strict {
        return Err(Error::File { path: path.into(), reason });
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    notices.push(format!("{name}: {reason}"));
    Ok(())
}

/// A notice if the folder brings a changed version of the code that computes our variants elsewhere.
fn other_code(folder: &Path) -> Option<String> {
    let name = format!("{MODULE}.py");
    let text = fs::read(folder.join(&name)).ok()?;
    let other = text != MODELING.as_bytes();
    other.then(|| format!("{name}: not the one of this version; what it computes is not run here"))
}

/// `generation_config.json`, where it is there.
fn read_generation(
    folder: &Path,
    strict: bool,
    notices: &mut Vec<String>,
) -> Result<Option<GenerationConfig>> {
    let path = folder.join("generation_config.json");
    if !path.exists() {
        return Ok(None);
    }
    match GenerationConfig::parse(&json::read(&path)?) {
        Ok(file) => {
            tell_unused(&path, &file.unused, strict, notices)?;
            Ok(Some(file))
        }
        Err(reason) => Err(Error::File { path, reason }),
    }
}

/// Whether a tensor is the frequencies of the rotary positions, which old files have in each layer.
fn is_table(name: &str) -> bool {
    name.ends_with("rotary_emb.inv_freq")
}

/// That the model is not larger than its weights, before anything is made in its size.
fn check_size(config: &LanguageModelConfig, weights: &Weights) -> std::result::Result<(), String> {
    let [vocabulary, width, inner, layers, heads, key_value_heads, head_size, share_keys] = [
        config.vocab_size,
        config.hidden_size,
        config.intermediate_size,
        config.num_hidden_layers,
        config.num_attention_heads,
        config.num_key_value_heads,
        config.head_size(),
        config.share_keys,
    ]
    .map(|size| size as u128);
    // Without biases, norms, and values, of which one variant has less.
    let block = 2 * heads * head_size + 3 * inner;
    let keys = layers.div_ceil(share_keys).saturating_mul(key_value_heads * head_size);
    let least = layers.saturating_mul(block).saturating_add(keys).saturating_add(vocabulary);
    let least = least.saturating_mul(width);
    let there = weights.elements();
    if least <= there {
        return Ok(());
    }
    Err(format!(
        "it describes a model of {least} numbers or more, and the weights beside it have {there}: \
         are they of another model?"
    ))
}

/// Takes back that a model is tied where the files have weights of both layers which differ.
fn untie(
    config: &mut LanguageModelConfig,
    weights: &mut Weights,
    notices: &mut Vec<String>,
) -> Result<()> {
    let both = weights.shape(EMBEDDING).zip(weights.shape(HEAD));
    let Some((embedding, head)) = both.filter(|_| config.tie_word_embeddings) else {
        return Ok(());
    };
    if embedding == head && weights.same(EMBEDDING, HEAD)? {
        return Ok(());
    }
    config.tie_word_embeddings = false;
    notices.push(format!(
        "tie_word_embeddings is true, but {HEAD} and {EMBEDDING} differ: both are used, as in \
         version 5 of transformers (version 4 uses only the embedding)"
    ));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::checkpoint::{Metadata, save_tensors};
    use crate::engine::{Ids, Tensor};
    use crate::language::LanguageModelConfig;
    use serde_json::json;
    use std::path::PathBuf;

    fn write(folder: &Path, config: &LanguageModelConfig) {
        fs::write(folder.join("config.json"), serde_json::to_string(config).unwrap()).unwrap();
    }

    fn make(config: &LanguageModelConfig) -> (LanguageModel, Parameters) {
        Parameters::build(&Device::cpu(), 1, |builder| LanguageModel::new(config, builder))
    }

    /// A folder with a model's weights, and other tensors beside them.
    fn folder(config: &LanguageModelConfig, more: &[(&str, Tensor)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), config);
        let (_, parameters) = make(config);
        let own = parameters.iter().map(|(name, tensor)| (name.to_owned(), tensor.clone()));
        let more = more.iter().map(|(name, tensor)| (String::from(*name), tensor.clone()));
        let tensors: Vec<(String, Tensor)> = own.chain(more).collect();
        let path = folder.path().join("model.safetensors");
        save_tensors(&path, &tensors, &Metadata::new()).unwrap();
        folder
    }

    fn logits(model: &LanguageModel) -> Vec<f32> {
        model.logits(&Ids::new(vec![1, 2, 3], [1, 3])).to_vec().unwrap()
    }

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
        let config = LanguageModelConfig::new(50, 16, 3, 2, 8);
        write(folder.path(), &LanguageModelConfig { num_attention_heads: 3, ..config.clone() });
        assert!(refused("config.json").contains("3 heads"));
        write(folder.path(), &config);
        refused("model.safetensors");
        let (_, parameters) = make(&config);
        parameters.save(&folder.path().join("model.safetensors"), &Default::default()).unwrap();
        write(folder.path(), &LanguageModelConfig { num_hidden_layers: 2, ..config.clone() });
        assert!(refused("model.safetensors").contains("layers.2."));
        write(folder.path(), &config);
        LanguageModel::load(folder.path(), &Device::cpu()).unwrap();
    }

    /// Before anything is made in its size.
    #[test]
    fn a_model_larger_than_its_weights_is_refused() {
        let config = LanguageModelConfig::new(50, 16, 3, 2, 8);
        let folder = folder(&config, &[]);
        const MOST: usize = 4_000_000_000;
        let larger = [
            LanguageModelConfig { vocab_size: MOST, ..config.clone() },
            LanguageModelConfig { hidden_size: MOST, ..config.clone() },
            LanguageModelConfig { num_hidden_layers: MOST, ..config.clone() },
            LanguageModelConfig { intermediate_size: MOST, ..config.clone() },
            LanguageModelConfig { head_dim: Some(MOST), ..config.clone() },
            LanguageModelConfig {
                head_dim: Some(MOST),
                hidden_size: MOST,
                num_attention_heads: MOST,
                num_hidden_layers: MOST,
                ..config.clone()
            },
        ];
        for config in larger {
            write(folder.path(), &config);
            let Err(error) = LanguageModel::load(folder.path(), &Device::cpu()) else {
                panic!("it was loaded")
            };
            assert!(error.to_string().contains("numbers or more, and the weights"), "{error}");
        }
    }

    #[test]
    fn an_output_layer_beside_tied_weights_counts_if_it_differs() {
        let config = LanguageModelConfig::new(50, 16, 3, 2, 8);
        let (model, parameters) = make(&config);
        let embedding = parameters.get(EMBEDDING).unwrap();
        let same = folder(&config, &[(HEAD, embedding.clone())]);
        let loaded = LanguageModel::load(same.path(), &Device::cpu()).unwrap();
        assert!(loaded.notices.is_empty() && loaded.model.config().tie_word_embeddings);
        assert_eq!(logits(&loaded.model), logits(&model));
        let other = folder(&config, &[(HEAD, embedding.scale(2.0))]);
        let loaded = LanguageModel::load(other.path(), &Device::cpu()).unwrap();
        assert!(loaded.notices[0].contains("differ: both are used"), "{:?}", loaded.notices);
        assert!(!loaded.model.config().tie_word_embeddings);
        let doubled: Vec<f32> = logits(&model).iter().map(|logit| 2.0 * logit).collect();
        assert_eq!(logits(&loaded.model), doubled);
    }

    #[test]
    fn what_was_not_used_is_told() {
        let config = LanguageModelConfig::new(50, 16, 3, 2, 8);
        let table = Tensor::zeros([4], &Device::cpu());
        let name = "model.layers.0.self_attn.rotary_emb.inv_freq";
        let folder = folder(&config, &[(name, table.clone())]);
        let mut file = serde_json::to_value(&config).unwrap();
        file["colour"] = json!("blue");
        file["eos_token_id"] = json!([4, 5]);
        fs::write(folder.path().join("config.json"), file.to_string()).unwrap();
        let loaded = LanguageModel::load(folder.path(), &Device::cpu()).unwrap();
        assert!(loaded.notices[0].contains(r#"colour ("blue")"#), "{:?}", loaded.notices);
        assert!(loaded.notices[1].contains(name), "{:?}", loaded.notices);
        assert_eq!((loaded.notices.len(), loaded.end_tokens), (2, vec![4, 5]));
        for (code, told) in [(MODELING, 2), ("changed", 3)] {
            fs::write(folder.path().join("modeling_neutreno.py"), code).unwrap();
            let loaded = LanguageModel::load(folder.path(), &Device::cpu()).unwrap();
            assert_eq!(loaded.notices.len(), told, "{:?}", loaded.notices);
        }
        let strict = LoadSettings { strict: true, ..LoadSettings::default() };
        let Err(error) = LanguageModel::load_with(folder.path(), &Device::cpu(), &strict) else {
            panic!("it was loaded")
        };
        assert!(error.to_string().contains(r#"config.json: keys that are not known"#), "{error}");
        let extra = super::tests::folder(&config, &[("model.extra", table)]);
        let Err(error) = LanguageModel::load(extra.path(), &Device::cpu()) else {
            panic!("it was loaded")
        };
        assert!(error.to_string().contains("model.extra [4] is in the file, but not"), "{error}");
    }

    #[test]
    fn the_generation_file_has_the_last_word() {
        let config = LanguageModelConfig::new(50, 16, 3, 2, 8);
        let folder = folder(&config, &[]);
        let mut file = serde_json::to_value(&config).unwrap();
        file["bos_token_id"] = json!(1);
        file["eos_token_id"] = json!(2);
        fs::write(folder.path().join("config.json"), file.to_string()).unwrap();
        let path = folder.path().join("generation_config.json");
        let load = || LanguageModel::load(folder.path(), &Device::cpu());
        for (text, end) in [
            (r#"{"eos_token_id": [3, 4], "do_sample": true}"#, vec![3, 4]),
            (r#"{"num_beams": 2}"#, vec![2]),
        ] {
            fs::write(&path, text).unwrap();
            let loaded = load().unwrap();
            assert_eq!((loaded.begin_token, loaded.end_tokens), (Some(1), end));
            let told = loaded.notices.iter().any(|line| line.contains("num_beams (2)"));
            assert_eq!(told, text.contains("num_beams"));
        }
        let strict = LoadSettings { strict: true, ..LoadSettings::default() };
        assert!(LanguageModel::load_with(folder.path(), &Device::cpu(), &strict).is_err());
        fs::write(&path, r#"{"top_p": 7}"#).unwrap();
        let Err(error) = load() else { panic!("it was loaded") };
        assert!(error.to_string().contains("generation_config.json: a top-p of 7"), "{error}");
    }

    /// As checkpoints have them, and averages in these.
    #[test]
    fn weights_may_be_elsewhere_and_have_longer_names() {
        let config = LanguageModelConfig::new(50, 16, 3, 2, 8);
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), &config);
        let (model, parameters) = make(&config);
        let file = folder.path().join("average.safetensors");
        let tensors =
            parameters.iter().map(|(name, tensor)| (format!("average.{name}"), tensor.clone()));
        let other = ("updates".to_owned(), Tensor::zeros([1], &Device::cpu()));
        let tensors: Vec<(String, Tensor)> = tensors.chain([other]).collect();
        save_tensors(&file, &tensors, &Metadata::new()).unwrap();
        let load_in = |precision, prefix| {
            let weights = Some((file.as_path(), prefix));
            let settings = LoadSettings { weights, precision, ..LoadSettings::default() };
            LanguageModel::load_with(folder.path(), &Device::cpu(), &settings)
        };
        let load = |prefix| load_in(Precision::F32, prefix);
        load_in(Precision::Bf16, "average.").unwrap();
        assert_eq!(logits(&load("average.").unwrap().model), logits(&model));
        let Err(error) = load("") else { panic!("it was loaded") };
        assert!(error.to_string().contains("embed_tokens.weight [50, 16] is missing"), "{error}");
    }

    /// As it is known when a model is built.
    #[test]
    fn parameters_are_grouped_as_asked_for() {
        let config = LanguageModelConfig::new(50, 16, 3, 2, 8);
        let folder = folder(&config, &[]);
        let group = |name: &str, _, wanted| Group::with_decay(wanted && name != EMBEDDING);
        let settings = LoadSettings { group: &group, ..LoadSettings::default() };
        let loaded = LanguageModel::load_with(folder.path(), &Device::cpu(), &settings).unwrap();
        assert_eq!(loaded.parameters.group(EMBEDDING).unwrap().decay, 0.0);
        assert_eq!(logits(&loaded.model), logits(&make(&config).0));
    }
}
