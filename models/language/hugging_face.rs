//! Hugging Face's `config.json` of a Llama, or ours. Every key is honoured, or refused by name if it
//! asks for what is not computed here, or known to change nothing that is computed. What is left is
//! told: it may matter.

use super::config::LanguageModelConfig;
use super::rotary::RopeScaling;
use crate::json::{Keys, short};
use crate::model_type::{LLAMA, ModelType, variant};
use crate::variant::{Variant, VariantConfig};
use serde_json::{Value, json};

/// What a `config.json` says.
///
/// ```
/// use neutreno_models::language::ConfigFile;
/// let mut text = r#"{
///     "model_type": "llama", "vocab_size": 100, "hidden_size": 16, "intermediate_size": 32,
///     "num_hidden_layers": 2, "num_attention_heads": 4, "head_dim": 8, "eos_token_id": [2, 7],
///     "rope_parameters": {"rope_theta": 500000.0, "rope_type": "linear", "factor": 2.0},
///     "colour": "blue"
/// }"#;
/// let file = ConfigFile::parse(text.as_bytes())?;
/// assert_eq!(file.config.head_size(), 8);
/// assert_eq!(file.config.rope_theta, 500_000.0);
/// assert_eq!(file.end_tokens, [2, 7]);
/// assert_eq!(file.unknown, [r#"colour ("blue")"#]);
///
/// let gelu = text.replace(r#""colour": "blue""#, r#""hidden_act": "gelu""#);
/// let problem = ConfigFile::parse(gelu.as_bytes()).unwrap_err();
/// assert!(problem.starts_with(r#"hidden_act is "gelu""#));
/// # Ok::<(), String>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct ConfigFile {
    /// The model. What the file leaves out is as in `transformers`.
    pub config: LanguageModelConfig,
    /// The token that texts begin with (`bos_token_id`).
    pub begin_token: Option<u32>,
    /// The tokens after which a text is at its end (`eos_token_id`, one or several).
    pub end_tokens: Vec<u32>,
    /// The keys that are not known here, each with its value. They were not used.
    pub unknown: Vec<String>,
}

/// Keys that may have one value only, or null: with another, the numbers would be others. With what
/// can be done about it.
fn fixed() -> [(&'static str, Value, &'static str); 12] {
    let other_layers = "such layers are not computed here: take a plain Llama";
    [
        (
            "hidden_act",
            json!("silu"),
            "another activation is another model: take a Llama with silu",
        ),
        (
            "pretraining_tp",
            json!(1),
            "it only cuts the products of the first training in pieces, so it can be set to 1",
        ),
        (
            "sliding_window",
            Value::Null,
            "every token sees all before it here; for texts that are no longer than the window it \
             can be set to null",
        ),
        (
            "quantization_config",
            Value::Null,
            "take the weights before they were quantised, in float32, float16 or bfloat16",
        ),
        (
            "partial_rotary_factor",
            json!(1.0),
            "all channels of a head are turned here: take a model that does so",
        ),
        (
            "rope_interleaved",
            json!(false),
            "channels i and i + size/2 make pairs here: have the weights of the query and the key \
             permuted accordingly",
        ),
        ("original_max_position_embeddings", Value::Null, "it belongs into rope_scaling"),
        (
            "attention_dropout",
            json!(0.0),
            "dropout does not act on attention weights here; set it to 0 to go without",
        ),
        ("add_cross_attention", json!(false), other_layers),
        ("is_encoder_decoder", json!(false), other_layers),
        ("pruned_heads", json!({}), other_layers),
        ("per_layer_config", Value::Null, other_layers),
    ]
}

/// Keys that change nothing of what is computed: names, versions, the type that weights were kept in
/// (the file of the weights says that itself), how `transformers` computes, and what it returns.
const WITHOUT_EFFECT: [&str; 40] = [
    "_attn_implementation",
    "_attn_implementation_autoset",
    "_commit_hash",
    "_from_model_config",
    "_model_name_or_path",
    "_name_or_path",
    "attn_implementation",
    "chunk_size_feed_forward",
    "cls_token_id",
    "cross_attention_hidden_size",
    "dtype",
    "finetuning_task",
    "gradient_checkpointing",
    "guard",
    "id2label",
    "is_decoder",
    "is_llama_config",
    "label2id",
    "mask_token_id",
    "name_or_path",
    "num_labels",
    "output_attentions",
    "output_hidden_states",
    "pad_token_id",
    "prefix",
    "problem_type",
    "return_dict",
    "sep_token_id",
    "task_specific_params",
    "tf_legacy_loss",
    "tie_encoder_decoder",
    "tokenizer_class",
    "torch_dtype",
    "torchscript",
    "transformers_version",
    "unk_token_id",
    "use_bfloat16",
    "use_cache",
    "use_return_dict",
    "unsloth_version",
];

impl ConfigFile {
    /// Reads the text of a `config.json`.
    ///
    /// # Errors
    /// What is no JSON, not a Llama, asks for what is not computed here, or does not fit together:
    /// a message that names the key, its value and what can be done.
    pub fn parse(text: &[u8]) -> Result<ConfigFile, String> {
        let mut keys = Keys::parse(text)?;
        let model_type = model_type(&mut keys)?;
        keys.take_fixed(fixed())?;
        WITHOUT_EFFECT.iter().for_each(|key| drop(keys.take(key)));
        let of_type = of_name(&model_type).unwrap_or(Variant::Transformer);
        let variant = variant(&mut keys, of_type)?;
        let config = config(&mut keys, variant)?;
        check_classes(&mut keys, &model_type, config.kind())?;
        check_layer_types(keys.take("layer_types"), config.num_hidden_layers)?;
        config.check()?;
        let begin_token = keys.tokens("bos_token_id")?.and_then(|ids| ids.first().copied());
        let end_tokens = keys.tokens("eos_token_id")?.unwrap_or_default();
        let unknown = keys.rest().map(|(key, value)| format!("{key} ({})", short(value)));
        Ok(ConfigFile { begin_token, end_tokens, unknown: unknown.collect(), config })
    }
}

/// Which architecture the file is of: a Llama, or one of our variants of it.
fn model_type(keys: &mut Keys) -> Result<String, String> {
    let Some(given) = keys.text("model_type")? else {
        return Err(
            "model_type is missing: it says of which architecture the model is (\"llama\")".into(),
        );
    };
    if of_name(&given).is_some() {
        return Ok(given);
    }
    let mut known: Vec<String> = Variant::ALL.map(|variant| llama(variant).name()).into();
    known.push(SHARED_KEYS.into());
    Err(format!(
        "model_type is {given:?}, and only {} are known: take a model of that architecture",
        known.iter().map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", ")
    ))
}

fn llama(variant: Variant) -> ModelType {
    ModelType { variant, plain: LLAMA, differs: None }
}

/// A plain Transformer in which layers share keys.
const SHARED_KEYS: &str = "shared_keys_llama";

/// The variant that a `model_type` names.
fn of_name(model_type: &str) -> Option<Variant> {
    if model_type == SHARED_KEYS {
        return Some(Variant::Transformer);
    }
    Variant::ALL.into_iter().find(|variant| llama(*variant).name() == model_type)
}

/// That what the file calls itself fits its variant, and that it names no code but ours.
fn check_classes(keys: &mut Keys, model_type: &str, kind: ModelType) -> Result<(), String> {
    kind.check(model_type)?;
    if let Some(auto_map) = keys.take("auto_map") {
        kind.check_auto_map(&auto_map)?;
    }
    let Some(architectures) = keys.take("architectures") else { return Ok(()) };
    let plain = model_type == LLAMA;
    let expected = json!([if plain { llama(Variant::Transformer) } else { kind }.architecture()]);
    if architectures == expected {
        return Ok(());
    }
    Err(format!(
        "architectures is {}, and only {expected} is known: take a model that writes text",
        short(&architectures)
    ))
}

fn config(keys: &mut Keys, variant: VariantConfig) -> Result<LanguageModelConfig, String> {
    let mut size = |key: &str| {
        keys.size(key)?.ok_or_else(|| format!("{key} is missing: the model needs its size"))
    };
    let (vocabulary, width) = (size("vocab_size")?, size("hidden_size")?);
    let (layers, heads) = (size("num_hidden_layers")?, size("num_attention_heads")?);
    let intermediate_size = size("intermediate_size")?;
    let context = keys.size("max_position_embeddings")?.unwrap_or(2048);
    let (rope_theta, rope_scaling) = rotation(keys, context)?;
    let plain = LanguageModelConfig::new(vocabulary, width, layers, heads, context);
    // Both say with which deviation weights begin before any training.
    let range = keys.number("initializer_range")?.map_or(0.02, |range| range as f32);
    let deviation = keys.number("embedding_deviation")?.map(|deviation| deviation as f32);
    Ok(LanguageModelConfig {
        intermediate_size,
        num_key_value_heads: keys.size("num_key_value_heads")?.unwrap_or(heads),
        share_keys: keys.size("share_keys")?.unwrap_or(1),
        head_dim: keys.size("head_dim")?.filter(|size| Some(*size) != width.checked_div(heads)),
        attention_bias: keys.flag("attention_bias")?.unwrap_or(false),
        mlp_bias: keys.flag("mlp_bias")?.unwrap_or(false),
        rms_norm_eps: keys.number("rms_norm_eps")?.map_or(1e-6, |epsilon| epsilon as f32),
        rope_theta,
        rope_scaling,
        tie_word_embeddings: keys.flag("tie_word_embeddings")?.unwrap_or(false),
        dropout: keys.number("dropout")?.map_or(0.0, |probability| probability as f32),
        embedding_deviation: deviation.unwrap_or(range),
        variant,
        ..plain
    })
}

/// θ and the scaling of frequencies, which stand in up to three places: `rope_theta`, `rope_scaling`,
/// and with version 5 of `transformers` together in `rope_parameters`.
fn rotation(keys: &mut Keys, context: usize) -> Result<(f32, Option<RopeScaling>), String> {
    let mut theta = keys.number("rope_theta")?;
    let mut scalings = Vec::new();
    for place in ["rope_scaling", "rope_parameters"] {
        let Some(mut given) = keys.object(place)? else { continue };
        let within = |problem: String| format!("{place}: {problem}");
        let its_theta = given.number("rope_theta").map_err(within)?;
        match (theta, its_theta) {
            (Some(one), Some(other)) if one != other => {
                return Err(format!(
                    "rope_theta is {one}, and in {place} it is {other}: leave the right one"
                ));
            }
            _ => theta = its_theta.or(theta),
        }
        // θ alone says nothing of scaling.
        if given.rest().next().is_some() {
            scalings.push(scaling(&mut given, context).map_err(within)?);
        }
    }
    if scalings.len() > 1 && scalings[0] != scalings[1] {
        return Err(
            "rope_scaling and rope_parameters scale differently: leave the right one".into()
        );
    }
    let theta = theta.map_or(10_000.0, |theta| theta as f32);
    Ok((theta, scalings.into_iter().next().flatten()))
}

fn scaling(keys: &mut Keys, context: usize) -> Result<Option<RopeScaling>, String> {
    let [new, old] = [keys.text("rope_type")?, keys.text("type")?];
    if let (Some(new), Some(old)) = (&new, &old)
        && new != old
    {
        return Err(format!("rope_type is {new:?} and type is {old:?}: leave the right one"));
    }
    match keys.number("partial_rotary_factor")? {
        None | Some(1.0) => {}
        Some(part) => {
            return Err(format!(
                "partial_rotary_factor is {part}, and only 1 is known: all channels of a head are \
                 turned here"
            ));
        }
    }
    let kind = new.or(old).unwrap_or_else(|| "default".into());
    let needed = |keys: &mut Keys, key: &str| {
        let number = keys.number(key)?;
        number.ok_or_else(|| format!("{key} is missing, which the type {kind} needs"))
    };
    let found = match kind.as_str() {
        "default" => None,
        "linear" => Some(RopeScaling::Linear { factor: needed(keys, "factor")? }),
        "llama3" => Some(RopeScaling::Llama3 {
            factor: needed(keys, "factor")?,
            low_freq_factor: needed(keys, "low_freq_factor")?,
            high_freq_factor: needed(keys, "high_freq_factor")?,
            original_max_position_embeddings: keys
                .size("original_max_position_embeddings")?
                .unwrap_or(context),
        }),
        other => {
            return Err(format!(
                "the type is {other:?}, and default, linear and llama3 are known: a model scaled \
                 in another way would be computed wrongly"
            ));
        }
    };
    // Of one constant of a formula it can't be said that it does not matter.
    match keys.rest().find(|(_, value)| !value.is_null()) {
        Some((key, value)) => {
            Err(format!("{key} is {}, which the type {kind} does not use", short(value)))
        }
        None => Ok(found),
    }
}

/// That all layers attend alike, to everything before them.
fn check_layer_types(types: Option<Value>, layers: usize) -> Result<(), String> {
    let Some(types) = types else { return Ok(()) };
    let all = types.as_array().filter(|types| types.len() == layers);
    if all.is_some_and(|types| types.iter().all(|kind| kind == "full_attention")) {
        return Ok(());
    }
    Err(format!(
        "layer_types is {}, and only \"full_attention\" for each of the {layers} layers is known",
        short(&types)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A small Llama as `transformers` writes it, with other values for some keys.
    fn file(changes: Value) -> Value {
        let mut file = json!({
            "architectures": ["LlamaForCausalLM"], "attention_bias": false,
            "attention_dropout": 0.0, "bos_token_id": 1, "dtype": "float32", "eos_token_id": 2,
            "head_dim": 8, "hidden_act": "silu", "hidden_size": 32, "initializer_range": 0.02,
            "intermediate_size": 48, "max_position_embeddings": 64, "mlp_bias": false,
            "model_type": "llama", "num_attention_heads": 4, "num_hidden_layers": 2,
            "num_key_value_heads": 2, "pad_token_id": null, "pretraining_tp": 1,
            "rms_norm_eps": 1e-6, "tie_word_embeddings": false, "transformers_version": "5.24.0",
            "rope_parameters": {"rope_theta": 10000.0, "rope_type": "default"},
            "use_cache": true, "vocab_size": 61
        });
        let keys = file.as_object_mut().unwrap();
        for (key, value) in changes.as_object().unwrap() {
            if value == "absent" {
                keys.remove(key);
            } else {
                keys.insert(key.clone(), value.clone());
            }
        }
        file
    }

    fn read(changes: Value) -> Result<ConfigFile, String> {
        ConfigFile::parse(file(changes).to_string().as_bytes())
    }

    #[test]
    fn what_transformers_writes_is_read_whole() {
        let found = read(json!({})).unwrap();
        let expected = LanguageModelConfig {
            intermediate_size: 48,
            num_key_value_heads: 2,
            rms_norm_eps: 1e-6,
            tie_word_embeddings: false,
            embedding_deviation: 0.02,
            ..LanguageModelConfig::new(61, 32, 2, 4, 64)
        };
        assert_eq!(found.config, expected);
        assert_eq!((found.begin_token, found.end_tokens), (Some(1), vec![2]));
        assert_eq!(found.unknown, Vec::<String>::new());
    }

    #[test]
    fn ours_are_read_as_they_were_written() {
        for variant in Variant::ALL.map(VariantConfig::new) {
            let llama3 = RopeScaling::Llama3 {
                factor: 8.0,
                low_freq_factor: 1.0,
                high_freq_factor: 4.0,
                original_max_position_embeddings: 16,
            };
            let config = LanguageModelConfig {
                head_dim: Some(6),
                dropout: 0.1,
                attention_bias: true,
                rope_scaling: Some(llama3),
                variant,
                ..LanguageModelConfig::new(61, 32, 2, 4, 64)
            };
            let found = ConfigFile::parse(&serde_json::to_vec(&config).unwrap()).unwrap();
            assert_eq!(found.config, config);
            assert_eq!(found.unknown, Vec::<String>::new());
        }
    }

    /// As exported, and as older versions wrote it.
    #[test]
    fn our_variants_have_names_and_classes_of_their_own() {
        let exported = json!({
            "model_type": "resformer_llama", "architectures": ["ResformerLlamaForCausalLM"],
            "variant": "resformer", "resformer_kind": "learnable", "guard": {"model_type": "llama"},
            "auto_map": {
                "AutoConfig": "modeling_neutreno.ResformerLlamaConfig",
                "AutoModelForCausalLM": "modeling_neutreno.ResformerLlamaForCausalLM"
            }
        });
        let older = json!({"variant": "resformer", "resformer_kind": "learnable"});
        let [exported, older] = [exported, older].map(|keys| read(keys).unwrap());
        assert_eq!(exported, older);
        assert_eq!(exported.unknown, Vec::<String>::new());
        assert_eq!(exported.config.variant.name(), "resformer-learnable");
        let named = json!({"model_type": "svformer_llama", "architectures": "absent"});
        assert_eq!(read(named).unwrap().config.variant.variant, Variant::Svformer);
        let shared =
            LanguageModelConfig { share_keys: 2, ..LanguageModelConfig::new(61, 32, 4, 4, 64) };
        assert_eq!(shared.model_type(), "shared_keys_llama");
        let found = ConfigFile::parse(&serde_json::to_vec(&shared).unwrap()).unwrap();
        assert_eq!(found.config, shared);
    }

    /// Each changes the model, and leaving it out or null gives what `transformers` gives.
    #[test]
    fn every_key_of_the_model_is_honoured() {
        let found = |changes: Value| read(changes).unwrap().config;
        let heads = |value: Value| found(json!({ "num_key_value_heads": value }));
        let kv = [json!(null), json!("absent"), json!(1)].map(|v| heads(v).num_key_value_heads);
        assert_eq!(kv, [4, 4, 1]);
        let size = |value: Value| found(json!({ "head_dim": value })).head_size();
        assert_eq!([json!(null), json!("absent"), json!(8), json!(10)].map(size), [8, 8, 8, 10]);
        assert!(found(json!({"attention_bias": true})).attention_bias);
        assert!(found(json!({"mlp_bias": true})).mlp_bias);
        assert!(found(json!({"tie_word_embeddings": true})).tie_word_embeddings);
        assert_eq!(found(json!({"rms_norm_eps": "absent"})).rms_norm_eps, 1e-6);
        assert_eq!(found(json!({"max_position_embeddings": null})).max_position_embeddings, 2048);
        assert_eq!(found(json!({"initializer_range": 0.5})).embedding_deviation, 0.5);
        let both = json!({"initializer_range": 0.5, "embedding_deviation": 0.25});
        assert_eq!(found(both).embedding_deviation, 0.25);
        assert_eq!(read(json!({"eos_token_id": [2, 5]})).unwrap().end_tokens, [2, 5]);
        assert!(read(json!({"eos_token_id": null})).unwrap().end_tokens.is_empty());
        found(json!({"layer_types": ["full_attention", "full_attention"], "pretraining_tp": 1.0}));
    }

    #[test]
    fn rotations_are_found_wherever_they_stand() {
        let found = |changes: Value| {
            let config = read(changes)?.config;
            Ok::<_, String>((config.rope_theta, config.rope_scaling))
        };
        let old = |theta: Value, scaling: Value| {
            found(
                json!({"rope_parameters": "absent", "rope_theta": theta, "rope_scaling": scaling}),
            )
        };
        let linear = Some(RopeScaling::Linear { factor: 2.0 });
        assert_eq!(old(json!("absent"), json!(null)), Ok((10_000.0, None)));
        assert_eq!(old(json!(5e5), json!({"type": "default"})), Ok((5e5, None)));
        let named = json!({"type": "linear", "factor": 2.0});
        assert_eq!(old(json!(500000), named), Ok((5e5, linear.clone())));
        let both = json!({"type": "linear", "rope_type": "linear", "factor": 2});
        assert_eq!(old(json!("absent"), both), Ok((10_000.0, linear.clone())));
        let new = |given: Value| found(json!({ "rope_parameters": given }));
        let given = json!({"rope_theta": 7.0, "rope_type": "linear", "factor": 2.0});
        assert_eq!(new(given.clone()), Ok((7.0, linear.clone())));
        let twice = json!({
            "rope_parameters": given, "rope_theta": 7.0,
            "rope_scaling": {"type": "linear", "factor": 2.0}
        });
        assert_eq!(found(twice), Ok((7.0, linear)));
        let llama = json!({
            "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 16, "rope_theta": 5e5
        });
        let expected = |original| RopeScaling::Llama3 {
            factor: 8.0,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_max_position_embeddings: original,
        };
        assert_eq!(new(llama.clone()), Ok((5e5, Some(expected(16)))));
        let mut without = llama;
        without.as_object_mut().unwrap().remove("original_max_position_embeddings");
        assert_eq!(new(without), Ok((5e5, Some(expected(64)))));
    }

    #[test]
    fn what_is_not_computed_is_refused_by_name() {
        let rope = |given: Value| json!({ "rope_parameters": given });
        for (changes, words) in [
            (json!({"model_type": "mistral"}), ["model_type is \"mistral\"", "only \"llama\""]),
            (
                json!({"model_type": "neutreno_llama"}),
                ["architectures is [\"LlamaForCausalLM\"]", "NeutrenoLlamaForCausalLM"],
            ),
            (
                json!({"model_type": "svformer_llama", "variant": "neutreno"}),
                ["model_type is \"svformer_llama\"", "of a neutreno it is \"neutreno_llama\""],
            ),
            (
                json!({"variant": "neutreno", "auto_map": {"AutoConfig": "x.Y"}}),
                ["auto_map is {\"AutoConfig\":\"x.Y\"}", "NeutrenoLlamaConfig"],
            ),
            (json!({"model_type": "absent"}), ["model_type is missing", "architecture"]),
            (
                json!({"architectures": ["LlamaModel"]}),
                ["architectures is [\"LlamaModel\"]", "only"],
            ),
            (json!({"hidden_act": "gelu"}), ["hidden_act is \"gelu\"", "only \"silu\""]),
            (json!({"pretraining_tp": 2}), ["pretraining_tp is 2", "set to 1"]),
            (json!({"sliding_window": 4096}), ["sliding_window is 4096", "set to null"]),
            (
                json!({"quantization_config": {"bits": 4}}),
                ["quantization_config is {\"bits\":4}", ""],
            ),
            (json!({"partial_rotary_factor": 0.5}), ["partial_rotary_factor is 0.5", "only 1"]),
            (json!({"rope_interleaved": true}), ["rope_interleaved is true", "only false"]),
            (json!({"attention_dropout": 0.1}), ["attention_dropout is 0.1", "set it to 0"]),
            (json!({"auto_map": {"AutoModel": "x.Y"}}), ["auto_map is", "code"]),
            (json!({"add_cross_attention": true}), ["add_cross_attention is true", "only false"]),
            (json!({"is_encoder_decoder": true}), ["is_encoder_decoder is true", "only false"]),
            (json!({"pruned_heads": {"0": [1]}}), ["pruned_heads is", "only {}"]),
            (
                json!({"layer_types": ["full_attention", "sliding_attention"]}),
                ["layer_types is", ""],
            ),
            (json!({"layer_types": ["full_attention"]}), ["layer_types is", "each of the 2"]),
            (json!({"original_max_position_embeddings": 16}), ["original_max_", "rope_scaling"]),
            (json!({"rope_theta": 5.0}), ["rope_theta is 5", "in rope_parameters it is 10000"]),
            (
                json!({"rope_scaling": {"type": "linear", "factor": 2.0}}),
                ["rope_scaling and", "right"],
            ),
            (
                rope(json!({"type": "yarn", "factor": 2.0})),
                ["rope_parameters: the type is \"yarn\"", ""],
            ),
            (
                rope(json!({"type": "linear", "rope_type": "llama3"})),
                ["rope_type is \"llama3\"", "type"],
            ),
            (rope(json!({"rope_type": "linear"})), ["factor is missing", "linear needs"]),
            (rope(json!({"rope_type": "linear", "factor": "2"})), ["factor is \"2\"", "a number"]),
            (
                rope(json!({"rope_type": "linear", "factor": 0.0})),
                ["factor must be at least 1", ""],
            ),
            (
                rope(json!({"rope_type": "linear", "factor": 2, "beta_fast": 1})),
                ["beta_fast is 1", ""],
            ),
            (rope(json!({"partial_rotary_factor": 0.5})), ["partial_rotary_factor is 0.5", ""]),
            (rope(json!({"full_attention": {"rope_theta": 1e4}})), ["full_attention is {", ""]),
            (rope(json!(7)), ["rope_parameters is 7", "an object"]),
            (json!({"vocab_size": "absent"}), ["vocab_size is missing", "size"]),
            (json!({"vocab_size": -1}), ["vocab_size is -1", "whole number"]),
            (json!({"vocab_size": 0}), ["vocab_size must be at least 1", ""]),
            (json!({"num_attention_heads": 0}), ["num_attention_heads must be", ""]),
            (json!({"num_attention_heads": 3}), ["2 key-value heads do not divide", "3"]),
            (json!({"hidden_size": 33, "head_dim": null}), ["4 heads do not divide", "33"]),
            (json!({"head_dim": 7}), ["7 channels", "even"]),
            (json!({"rms_norm_eps": 0}), ["rms_norm_eps must be more than 0", ""]),
            (json!({"rms_norm_eps": "1e-6"}), ["rms_norm_eps is \"1e-6\"", "a number"]),
            (json!({"tie_word_embeddings": 1}), ["tie_word_embeddings is 1", "true or false"]),
            (json!({"eos_token_id": "</s>"}), ["eos_token_id is \"</s>\"", "id of a token"]),
            (json!({"eos_token_id": [1, -2]}), ["eos_token_id is [1,-2]", "id of a token"]),
            (json!({"variant": "bigformer"}), ["variant: unknown variant `bigformer`", ""]),
            (json!({"neutreno_lambda": 0.4}), ["neutreno_lambda is given", "no variant"]),
            (
                json!({"variant": "svformer", "neutreno_lambda": 0.4}),
                ["neutreno_lambda has no", ""],
            ),
        ] {
            let problem = read(changes.clone()).expect_err(&changes.to_string());
            assert!(words.iter().all(|words| problem.contains(words)), "{changes}: {problem}");
        }
    }

    /// Nothing is left for later readers to guess: each key is honoured, refused or listed.
    #[test]
    fn what_is_not_known_is_told_with_its_value() {
        let found = read(json!({"colour": "blue", "temperature": null})).unwrap();
        assert_eq!(found.unknown, [r#"colour ("blue")"#, "temperature (null)"]);
        for key in WITHOUT_EFFECT {
            assert_eq!(read(json!({ key: "x" })).unwrap().unknown, Vec::<String>::new());
        }
    }
}
