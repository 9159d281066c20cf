//! What stands beside a language model's weights.

use super::{as_written, type_name};
use crate::engine::half::Half;
use crate::language::{LanguageModelConfig, RopeScaling};
use serde_json::{Value, json};

/// Tokens with a meaning of their own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tokens {
    /// The one that texts begin with.
    pub begin: Option<u32>,
    /// Those after which a text is at its end.
    pub end: Vec<u32>,
    /// The one that fills up shorter texts of a batch.
    pub padding: Option<u32>,
}

impl Tokens {
    /// The keys that say so. Each is there, if only as null: Llama has other tokens by default.
    fn keys(&self) -> [(&'static str, Value); 3] {
        let end = match &self.end[..] {
            [] => Value::Null,
            [one] => json!(one),
            several => json!(several),
        };
        [
            ("bos_token_id", json!(self.begin)),
            ("eos_token_id", end),
            ("pad_token_id", json!(self.padding)),
        ]
    }
}

/// The `config.json` of a language model. `precision` is that of the weights, `None` for f32.
///
/// What the versions of `transformers` call differently stands there under both names.
pub fn language_config(
    config: &LanguageModelConfig,
    precision: Option<Half>,
    tokens: &Tokens,
) -> Value {
    let kind = config.kind();
    let mut json = as_written(config);
    json["architectures"] = json!([kind.architecture()]);
    if !kind.is_plain() {
        json["auto_map"] = kind.auto_map();
    }
    json["head_dim"] = config.head_size().into();
    json["attention_dropout"] = 0.0.into();
    json["initializer_range"] = 0.02.into();
    json["use_cache"] = true.into();
    let theta = json["rope_theta"].clone();
    let mut rotation = match &config.rope_scaling {
        Some(scaling) => as_written::<RopeScaling>(scaling),
        None => json!({ "rope_type": "default" }),
    };
    rotation["rope_theta"] = theta;
    json["rope_parameters"] = rotation;
    json["rope_scaling"] = config.rope_scaling.as_ref().map_or(Value::Null, as_written);
    for key in ["dtype", "torch_dtype"] {
        json[key] = type_name(precision).into();
    }
    for (key, value) in tokens.keys() {
        json[key] = value;
    }
    json
}

/// What a language model's folder says of generation where its makers said nothing: the likeliest
/// token, until the longest context.
pub fn generation_config(config: &LanguageModelConfig, tokens: &Tokens) -> Value {
    let mut json = json!({ "do_sample": false, "max_length": config.max_position_embeddings });
    for (key, value) in tokens.keys() {
        json[key] = value;
    }
    json
}

/// What `transformers` would not take from a configuration that is sound here, a sentence each.
pub fn misgivings(config: &LanguageModelConfig) -> Vec<String> {
    let (width, heads) = (config.hidden_size, config.num_attention_heads);
    if width.is_multiple_of(heads) {
        return Vec::new();
    }
    vec![format!(
        "hidden_size {width} is no multiple of {heads} heads: version 4 of transformers does not \
         mind, version 5 refuses it"
    )]
}

#[cfg(test)]
mod tests {
    use super::super::weights;
    use super::*;
    use crate::engine::{Device, Parameters, Result, Tensor};
    use crate::language::{ConfigFile, LanguageModel, Loaded};
    use crate::variant::{ResformerKind, Variant, VariantConfig};
    use std::fs;
    use std::path::Path;

    /// One of everything that a configuration can say, for each variant.
    fn configurations() -> Vec<LanguageModelConfig> {
        let kinds = [
            ResformerKind::Identity,
            ResformerKind::Constant,
            ResformerKind::Sparse,
            ResformerKind::Learnable,
            ResformerKind::LearnablePlus,
        ];
        let of_kind = |kind| VariantConfig {
            resformer_kind: Some(kind),
            ..VariantConfig::new(Variant::Resformer)
        };
        let variants = Variant::ALL.map(VariantConfig::new).into_iter();
        // The second layer has no keys of its own where layers share them.
        let given = VariantConfig::given(3, |layer| [[0.5, 0.25, 0.1], [1.0, 0.0, 0.0]][layer % 2]);
        let variants =
            variants.chain(kinds.map(of_kind)).chain([VariantConfig::neutreno_resformer(), given]);
        let plain = LanguageModelConfig::new(50, 16, 3, 2, 8);
        let llama3 = RopeScaling::Llama3 {
            factor: 8.0,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_max_position_embeddings: 4,
        };
        let everything = LanguageModelConfig {
            num_key_value_heads: 1,
            head_dim: Some(6),
            attention_bias: true,
            mlp_bias: true,
            tie_word_embeddings: false,
            rope_theta: 5e5,
            rope_scaling: Some(llama3),
            dropout: 0.1,
            ..plain.clone()
        };
        let sharing = LanguageModelConfig { share_keys: 2, ..plain.clone() };
        variants
            .flat_map(|variant| {
                [&plain, &everything, &sharing]
                    .map(|sizes| LanguageModelConfig { variant: variant.clone(), ..sizes.clone() })
            })
            .collect()
    }

    fn make(config: &LanguageModelConfig) -> Parameters {
        Parameters::build(&Device::cpu(), 1, |builder| LanguageModel::new(config, builder)).1
    }

    fn write(
        folder: &Path,
        config: &LanguageModelConfig,
        parameters: &Parameters,
        half: Option<Half>,
    ) {
        let json = language_config(config, half, &Tokens::default());
        fs::write(folder.join("config.json"), json.to_string()).unwrap();
        let chunks: Result<Vec<Vec<u8>>> = weights(parameters, half).collect();
        fs::write(folder.join("model.safetensors"), chunks.unwrap().concat()).unwrap();
    }

    fn bits(parameters: &Parameters) -> Vec<(String, Vec<u32>)> {
        let bits =
            |tensor: &Tensor| tensor.to_vec().unwrap().into_iter().map(f32::to_bits).collect();
        parameters.iter().map(|(name, tensor)| (name.to_owned(), bits(tensor))).collect()
    }

    #[test]
    fn what_is_exported_is_loaded_with_the_same_bits() {
        for config in configurations() {
            let parameters = make(&config);
            let folder = tempfile::tempdir().unwrap();
            write(folder.path(), &config, &parameters, None);
            let Loaded { model, parameters: loaded, notices, .. } =
                LanguageModel::load(folder.path(), &Device::cpu()).unwrap();
            assert_eq!(notices, Vec::<String>::new(), "{config:?}");
            assert_eq!(model.config(), &config);
            assert_eq!(bits(&loaded), bits(&parameters));
        }
    }

    #[test]
    fn half_precision_is_the_nearest_or_refused() {
        let config = LanguageModelConfig::new(50, 16, 3, 2, 8);
        let parameters = make(&config);
        let norm = parameters.get("model.norm.weight").unwrap();
        for half in [Half::Bf16, Half::F16] {
            let folder = tempfile::tempdir().unwrap();
            write(folder.path(), &config, &parameters, Some(half));
            let loaded = LanguageModel::load(folder.path(), &Device::cpu()).unwrap().parameters;
            for ((name, ours), (_, theirs)) in parameters.iter().zip(loaded.iter()) {
                let [ours, theirs] = [ours, theirs].map(|tensor| tensor.to_vec().unwrap());
                let nearest: Vec<f32> = ours.iter().map(|x| half.value(half.nearest(*x))).collect();
                assert_eq!(theirs, nearest, "{name}");
            }
        }
        norm.overwrite(&[1e6; 16]);
        let refused =
            weights(&parameters, Some(Half::F16)).find_map(Result::err).unwrap().to_string();
        assert!(refused.contains("model.norm.weight: 1e6 is too large for F16"), "{refused}");
        assert!(weights(&parameters, Some(Half::Bf16)).all(|chunk| chunk.is_ok()));
    }

    /// Under both names, where the versions of `transformers` have two.
    #[test]
    fn every_key_is_known_and_stands_where_it_is_looked_for() {
        let tokens = Tokens { begin: Some(1), end: vec![2, 3], padding: Some(0) };
        for config in configurations() {
            let json = language_config(&config, Some(Half::F16), &tokens);
            let file = ConfigFile::parse(json.to_string().as_bytes()).unwrap();
            assert_eq!((file.config, file.unknown), (config.clone(), Vec::new()));
            assert_eq!((file.begin_token, file.end_tokens), (Some(1), vec![2, 3]));
            let plain = config.model_type() == "llama";
            assert_eq!(json["architectures"] == json!(["LlamaForCausalLM"]), plain);
            assert_eq!(json["auto_map"].is_object(), !plain);
            assert_eq!(
                (&json["dtype"], &json["torch_dtype"]),
                (&json!("float16"), &json!("float16"))
            );
            assert_eq!(json["rope_theta"], json["rope_parameters"]["rope_theta"]);
            let scaled = config.rope_scaling.is_some();
            assert_eq!(json["rope_scaling"].is_object(), scaled);
            let kind = if scaled { "llama3" } else { "default" };
            assert_eq!(json["rope_parameters"]["rope_type"], kind);
            assert_eq!(misgivings(&config), Vec::<String>::new());
        }
        // Llama begins with 1 and ends with 2, unless it is told that there are no such tokens.
        let json = language_config(&configurations()[0], None, &Tokens::default());
        for key in ["bos_token_id", "eos_token_id", "pad_token_id"] {
            assert!(json.as_object().unwrap().contains_key(key) && json[key].is_null());
        }
        assert_eq!(json["rms_norm_eps"].to_string(), "0.00001");
        let odd =
            LanguageModelConfig { head_dim: Some(8), ..LanguageModelConfig::new(50, 20, 3, 3, 8) };
        assert!(misgivings(&odd)[0].contains("hidden_size 20 is no multiple of 3 heads"));
    }
}
