//! Hugging Face's `config.json` of a ViT that classifies images, or ours. Every key is honoured, or
//! refused by name if it asks for what is not computed here, or known to change nothing that is computed.
//! What is left is told.

use super::config::{ImageSize, VisionConfig};
use crate::json::{Keys, short};
use crate::model_type::{ModelType, VIT, variant};
use crate::variant::{Variant, VariantConfig};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// What the `config.json` of a classifier says.
///
/// ```
/// use neutreno_models::vision::VisionConfigFile;
/// let text = r#"{
///     "model_type": "vit", "image_size": 32, "patch_size": 8, "hidden_size": 48,
///     "num_attention_heads": 3, "id2label": {"0": "cat", "1": "dog"}, "colour": "blue"
/// }"#;
/// let file = VisionConfigFile::parse(text.as_bytes())?;
/// assert_eq!(file.config.patches(), [4, 4]);
/// assert_eq!(file.config.id2label[&1], "dog");
/// assert_eq!(file.config.num_hidden_layers, 12);
/// assert_eq!(file.unknown, [r#"colour ("blue")"#]);
///
/// let problem = VisionConfigFile::parse(br#"{"model_type": "deit"}"#).unwrap_err();
/// assert!(problem.contains("distillation token"));
/// # Ok::<(), String>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct VisionConfigFile {
    /// The model. What the file leaves out is as in `transformers`.
    pub config: VisionConfig,
    /// The keys that are not known here, each with its value. They were not used.
    pub unknown: Vec<String>,
}

/// Keys that may have one value only, or null, with what can be done about another.
fn fixed() -> [(&'static str, Value, &'static str); 7] {
    let dropout = "such dropout is not known here; set it to 0 to go without, in training too";
    [
        ("hidden_act", json!("gelu"), "another activation is another model: take a ViT with gelu"),
        ("hidden_dropout_prob", json!(0.0), dropout),
        ("attention_probs_dropout_prob", json!(0.0), dropout),
        (
            "quantization_config",
            Value::Null,
            "take the weights before they were quantised, in float32, float16 or bfloat16",
        ),
        ("num_decoder_layers", Value::Null, "it is a segmenter, and a classifier is needed"),
        ("pruned_heads", json!({}), "such layers are not computed here: take a plain ViT"),
        ("is_encoder_decoder", json!(false), "such layers are not computed here: take a plain ViT"),
    ]
}

/// Keys that change nothing of what a classifier computes: names, versions, the pooler, which it does
/// not use, and how `transformers` computes.
const WITHOUT_EFFECT: [&str; 20] = [
    "_attn_implementation",
    "_attn_implementation_autoset",
    "_commit_hash",
    "_name_or_path",
    "attn_implementation",
    "chunk_size_feed_forward",
    "dtype",
    "encoder_stride",
    "finetuning_task",
    "guard",
    "mask_upscale",
    "output_attentions",
    "output_hidden_states",
    "pooler_act",
    "pooler_output_size",
    "problem_type",
    "return_dict",
    "torch_dtype",
    "torchscript",
    "transformers_version",
];

impl VisionConfigFile {
    /// Reads the text of a `config.json`.
    ///
    /// # Errors
    /// What is no JSON, not a ViT that classifies, asks for what is not computed here, or does not fit
    /// together: a message that names the key, its value and what can be done.
    pub fn parse(text: &[u8]) -> Result<VisionConfigFile, String> {
        let mut keys = Keys::parse(text)?;
        let model_type = model_type(&mut keys)?;
        keys.take_fixed(fixed())?;
        WITHOUT_EFFECT.iter().for_each(|key| drop(keys.take(key)));
        let of_type = of_name(&model_type).unwrap_or(Variant::Transformer);
        let variant = variant(&mut keys, of_type)?;
        let config = config(&mut keys, variant, model_type != MEAN_POOLED)?;
        config.check()?;
        check_classes(&mut keys, &model_type, config.kind())?;
        let unknown = keys.rest().map(|(key, value)| format!("{key} ({})", short(value))).collect();
        Ok(VisionConfigFile { config, unknown })
    }
}

/// A plain Transformer that has no class token.
const MEAN_POOLED: &str = "mean_pooled_vit";

fn vit(variant: Variant) -> ModelType {
    ModelType { variant, plain: VIT, differs: None }
}

/// The variant that a `model_type` names.
fn of_name(model_type: &str) -> Option<Variant> {
    if model_type == MEAN_POOLED {
        return Some(Variant::Transformer);
    }
    Variant::ALL.into_iter().find(|variant| vit(*variant).name() == model_type)
}

/// Which architecture the file is of: a ViT, or one of our variants of it.
fn model_type(keys: &mut Keys) -> Result<String, String> {
    let Some(given) = keys.text("model_type")? else {
        return Err(
            "model_type is missing: it says of which architecture the model is (\"vit\")".into()
        );
    };
    if given == "deit" {
        return Err(
            "model_type is \"deit\": such a model has a distillation token beside its class token, \
             which is not computed here. DeiTs that were trained without one are ViTs (\"vit\")"
                .into(),
        );
    }
    if of_name(&given).is_some() {
        return Ok(given);
    }
    let mut known: Vec<String> = Variant::ALL.map(|variant| vit(variant).name()).into();
    known.push(MEAN_POOLED.into());
    Err(format!(
        "model_type is {given:?}, and only {} are known: take a model of that architecture",
        known.iter().map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", ")
    ))
}

/// That what the file calls itself fits what it says, and that it names no code but ours.
fn check_classes(keys: &mut Keys, model_type: &str, kind: ModelType) -> Result<(), String> {
    kind.check(model_type)?;
    if let Some(auto_map) = keys.take("auto_map") {
        kind.check_auto_map(&auto_map)?;
    }
    let Some(architectures) = keys.take("architectures") else { return Ok(()) };
    let named = if model_type == VIT { vit(Variant::Transformer) } else { kind };
    let expected = json!([named.architecture()]);
    if architectures == expected {
        return Ok(());
    }
    Err(format!(
        "architectures is {}, and only {expected} is known: take a model that classifies images",
        short(&architectures)
    ))
}

/// Sizes and constants, where they are missing those of a ViT-base.
fn config(
    keys: &mut Keys,
    variant: VariantConfig,
    class_token: bool,
) -> Result<VisionConfig, String> {
    let size = |keys: &mut Keys, key: &str, usual| keys.size(key).map(|size| size.unwrap_or(usual));
    let width = size(keys, "hidden_size", 768)?;
    let layers = size(keys, "num_hidden_layers", 12)?;
    let heads = size(keys, "num_attention_heads", 12)?;
    let image = sides(keys, "image_size", 224)?;
    let patch = sides(keys, "patch_size", 16)?;
    if patch.height() != patch.width() {
        return Err(format!(
            "patch_size is [{}, {}], and only square patches are known",
            patch.height(),
            patch.width()
        ));
    }
    let plain = VisionConfig::new(image, patch.height(), width, layers, heads, &[]);
    let number = |keys: &mut Keys, key: &str, usual: f32| {
        keys.number(key).map(|number| number.map_or(usual, |number| number as f32))
    };
    Ok(VisionConfig {
        num_channels: size(keys, "num_channels", 3)?,
        intermediate_size: size(keys, "intermediate_size", 3072)?,
        layer_norm_eps: number(keys, "layer_norm_eps", 1e-12)?,
        initializer_range: number(keys, "initializer_range", 0.02)?,
        drop_path_rate: number(keys, "drop_path_rate", 0.0)?,
        qkv_bias: keys.flag("qkv_bias")?.unwrap_or(true),
        class_token: keys.flag("class_token")?.unwrap_or(class_token),
        id2label: labels(keys)?,
        variant,
        ..plain
    })
}

/// A size in pixels: one number, or `[height, width]`.
fn sides(keys: &mut Keys, key: &str, usual: usize) -> Result<ImageSize, String> {
    let Some(value) = keys.take(key) else { return Ok(ImageSize::Square(usual)) };
    let wrong = || format!("{key} is {}; it must be a whole number, or two", short(&value));
    let found: ImageSize = serde_json::from_value(value.clone()).map_err(|_| wrong())?;
    let small = |side: usize| u32::try_from(side).is_ok();
    let found = Some(found).filter(|size| small(size.height()) && small(size.width()));
    found.map(|size| ImageSize::new(size.height(), size.width())).ok_or_else(wrong)
}

/// The names of the classes. Where they have none there, they are numbered.
fn labels(keys: &mut Keys) -> Result<BTreeMap<usize, String>, String> {
    /// What is more is a mistake, and would take memory.
    const MOST: usize = 1_000_000;
    let count = keys.size("num_labels")?;
    if let Some(count) = count.filter(|count| *count > MOST) {
        return Err(format!("num_labels is {count}, and more than {MOST} classes are not known"));
    }
    let names = match keys.object("id2label")? {
        Some(given) => names(&given)?,
        None => (0..count.unwrap_or(2)).map(|class| (class, format!("LABEL_{class}"))).collect(),
    };
    if let Some(count) = count.filter(|count| *count != names.len()) {
        return Err(format!("num_labels is {count}, and id2label names {}", names.len()));
    }
    if let Some(given) = keys.object("label2id")? {
        for (name, class) in given.rest() {
            let text = class.as_str().map(str::to_owned).unwrap_or_else(|| class.to_string());
            let class =
                text.parse().ok().filter(|class| names.get(class).is_some_and(|n| n == name));
            if class.is_none() {
                return Err(format!(
                    "label2id has {} for {name:?}, and id2label does not: leave the right one",
                    short(&Value::from(text))
                ));
            }
        }
    }
    Ok(names)
}

fn names(given: &Keys) -> Result<BTreeMap<usize, String>, String> {
    let named = |(class, name): (&str, &Value)| match (class.parse(), name.as_str()) {
        (Ok(class), Some(name)) => Ok((class, name.to_owned())),
        _ => {
            Err(format!("id2label has {} for {class:?}, which is no name of a class", short(name)))
        }
    };
    given.rest().map(named).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A small ViT as `transformers` writes it, with other values for some keys.
    fn read(changes: Value) -> Result<VisionConfigFile, String> {
        let mut file = json!({
            "architectures": ["ViTForImageClassification"], "attention_probs_dropout_prob": 0.0,
            "dtype": "float32", "encoder_stride": 16, "hidden_act": "gelu",
            "hidden_dropout_prob": 0.0, "hidden_size": 32, "id2label": {"0": "cat", "1": "dog"},
            "image_size": 24, "initializer_range": 0.02, "intermediate_size": 64,
            "label2id": {"cat": 0, "dog": 1}, "layer_norm_eps": 1e-12, "model_type": "vit",
            "num_attention_heads": 4, "num_channels": 3, "num_hidden_layers": 2, "patch_size": 8,
            "pooler_act": "tanh", "pooler_output_size": 32, "qkv_bias": true,
            "transformers_version": "5.24.0"
        });
        let keys = file.as_object_mut().unwrap();
        for (key, value) in changes.as_object().unwrap() {
            match value == "absent" {
                true => drop(keys.remove(key)),
                false => drop(keys.insert(key.clone(), value.clone())),
            }
        }
        VisionConfigFile::parse(file.to_string().as_bytes())
    }

    #[test]
    fn what_transformers_writes_is_read_whole() {
        let found = read(json!({})).unwrap();
        let names = ["cat".to_string(), "dog".to_string()];
        let expected = VisionConfig {
            intermediate_size: 64,
            layer_norm_eps: 1e-12,
            ..VisionConfig::new(ImageSize::Square(24), 8, 32, 2, 4, &names)
        };
        assert_eq!(found, VisionConfigFile { config: expected, unknown: Vec::new() });
    }

    #[test]
    fn ours_are_read_as_they_were_written() {
        let names = ["cat".to_string(), "dog".to_string()];
        for (variant, class_token) in
            Variant::ALL.into_iter().flat_map(|variant| [(variant, true), (variant, false)])
        {
            let config = VisionConfig {
                class_token,
                num_channels: 1,
                qkv_bias: false,
                drop_path_rate: 0.1,
                variant: VariantConfig::of_images(variant),
                ..VisionConfig::new(ImageSize::new(24, 16), 8, 32, 2, 4, &names)
            };
            let found = VisionConfigFile::parse(&serde_json::to_vec(&config).unwrap()).unwrap();
            assert_eq!(found, VisionConfigFile { config, unknown: Vec::new() });
        }
    }

    #[test]
    fn every_key_is_honoured_and_missing_ones_are_those_of_transformers() {
        let found = |changes: Value| read(changes).unwrap().config;
        assert_eq!(found(json!({"image_size": [16, 24]})).patches(), [2, 3]);
        assert_eq!(found(json!({"patch_size": [4, 4]})).patch_size, 4);
        assert_eq!(found(json!({"num_channels": 1})).num_channels, 1);
        assert!(!found(json!({"qkv_bias": false})).qkv_bias);
        let unnamed = json!({"id2label": "absent", "label2id": "absent"});
        assert_eq!(found(unnamed).id2label[&1], "LABEL_1");
        let counted = json!({"id2label": "absent", "label2id": "absent", "num_labels": 5});
        assert_eq!(found(counted).classes(), 5);
        let base = VisionConfigFile::parse(br#"{"model_type": "vit"}"#).unwrap().config;
        let sizes = (base.hidden_size, base.intermediate_size, base.patches(), base.layer_norm_eps);
        assert_eq!(sizes, (768, 3072, [14, 14], 1e-12));
        let mean = json!({"model_type": "mean_pooled_vit", "architectures": "absent"});
        assert!(!found(mean).class_token);
        assert_eq!(read(json!({"colour": 1})).unwrap().unknown, ["colour (1)"]);
    }

    #[test]
    fn what_is_not_computed_is_refused_by_name() {
        for (changes, words) in [
            (json!({"model_type": "deit"}), "distillation token"),
            (json!({"model_type": "swin"}), "model_type is \"swin\", and only \"vit\""),
            (json!({"model_type": "absent"}), "model_type is missing"),
            (json!({"architectures": ["ViTModel"]}), "architectures is [\"ViTModel\"]"),
            (json!({"hidden_act": "gelu_new"}), "hidden_act is \"gelu_new\""),
            (json!({"hidden_dropout_prob": 0.1}), "hidden_dropout_prob is 0.1"),
            (json!({"attention_probs_dropout_prob": 0.1}), "attention_probs_dropout_prob is 0.1"),
            (json!({"quantization_config": {}}), "quantization_config is {}"),
            (json!({"num_decoder_layers": 2}), "num_decoder_layers is 2"),
            (json!({"auto_map": {"AutoModel": "x.Y"}}), "auto_map is"),
            (json!({"patch_size": [8, 4]}), "only square patches"),
            (json!({"patch_size": 7}), "patch_size 7 does not divide"),
            (json!({"patch_size": 0}), "patch_size must be at least 1"),
            (json!({"image_size": "24"}), "image_size is \"24\"; it must be"),
            (json!({"image_size": [24, 24, 3]}), "image_size is [24,24,3]"),
            (json!({"num_attention_heads": 3}), "3 heads do not divide"),
            (json!({"id2label": {"0": "cat", "2": "dog"}}), "label2id has"),
            (
                json!({"id2label": {"0": "cat", "2": "dog"}, "label2id": "absent"}),
                "id2label must name",
            ),
            (json!({"id2label": {"a": "cat"}}), "id2label has \"cat\" for \"a\""),
            (json!({"label2id": {"cat": 1}}), "label2id has \"1\" for \"cat\""),
            (json!({"num_labels": 4_000_000_000_u64}), "more than 1000000 classes are not known"),
            (json!({"num_labels": 3}), "num_labels is 3, and id2label names 2"),
            (json!({"class_token": false, "model_type": "neutreno_vit"}), "architectures is"),
            (json!({"neutreno_lambda": 0.4}), "neutreno_lambda is given, and no variant"),
            (
                json!({"variant": "svformer", "neutreno_lambda": 0.4}),
                "neutreno_lambda has no effect",
            ),
        ] {
            let problem = read(changes.clone()).expect_err(&changes.to_string());
            assert!(problem.contains(words), "{changes}: {problem}");
        }
    }
}
