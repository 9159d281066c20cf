//! What stands beside the weights of a classifier of images.

use super::{as_written, type_name};
use crate::engine::half::Half;
use crate::vision::VisionConfig;
use serde_json::{Map, Value, json};

/// The `config.json` of a classifier of images. `precision` is that of the weights, `None` for f32.
///
/// What the versions of `transformers` call differently stands there under both names.
///
/// ```
/// use neutreno_models::exchange::classifier_config;
/// use neutreno_models::vision::{VisionConfig, VisionConfigFile};
/// let config = VisionConfig::deit_tiny(&["cat".into(), "dog".into()]);
/// let json = classifier_config(&config, None);
/// assert_eq!(json["architectures"][0], "ViTForImageClassification");
/// assert_eq!(VisionConfigFile::parse(json.to_string().as_bytes())?.config, config);
/// # Ok::<(), String>(())
/// ```
///
/// # Panics
/// If it is a segmenter's.
#[track_caller]
pub fn classifier_config(config: &VisionConfig, precision: Option<Half>) -> Value {
    assert!(config.num_decoder_layers.is_none(), "the configuration is that of a segmenter");
    let kind = config.kind();
    let mut json = as_written(config);
    json["architectures"] = json!([kind.architecture()]);
    if !kind.is_plain() {
        json["auto_map"] = kind.auto_map();
    }
    let classes: Map<String, Value> =
        config.id2label.iter().map(|(class, name)| (name.clone(), json!(class))).collect();
    json["label2id"] = classes.into();
    for key in ["hidden_dropout_prob", "attention_probs_dropout_prob"] {
        json[key] = 0.0.into();
    }
    for key in ["dtype", "torch_dtype"] {
        json[key] = type_name(precision).into();
    }
    json
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::variant::{Variant, VariantConfig};
    use crate::vision::{ImageSize, VisionConfigFile};

    #[test]
    fn every_key_is_known_and_plain_models_need_no_code() {
        let names = ["cat".to_string(), "dog".to_string(), "cat".to_string()];
        for variant in Variant::ALL {
            for class_token in [true, false] {
                let config = VisionConfig {
                    class_token,
                    variant: VariantConfig::of_images(variant),
                    ..VisionConfig::new(ImageSize::new(24, 16), 8, 32, 2, 4, &names)
                };
                let json = classifier_config(&config, Some(Half::Bf16));
                let file = VisionConfigFile::parse(json.to_string().as_bytes()).unwrap();
                assert_eq!(file, VisionConfigFile { config, unknown: Vec::new() });
                let plain = variant == Variant::Transformer && class_token;
                assert_eq!(json["model_type"] == "vit", plain);
                assert_eq!(json["auto_map"].is_null() && json["guard"].is_null(), plain);
                assert_eq!(json["torch_dtype"], "bfloat16");
            }
        }
    }
}
