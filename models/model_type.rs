//! What `config.json` says of a model's architecture, so that no other program takes one of our variants
//! for the plain model that its layers are made like.

use crate::json::{Keys, short};
use crate::variant::{Variant, VariantConfig};
use serde::Serialize;
use serde_json::{Value, json};

/// The plain architecture of language models.
pub const LLAMA: &str = "llama";
/// That of classifiers of images.
pub const VIT: &str = "vit";
/// That of models that segment images, which `transformers` does not know; their encoder is a ViT.
pub const SEGMENTER: &str = "segmenter";

/// The Python module with our classes, which exported models bring with them.
pub const MODULE: &str = "modeling_neutreno";

/// Its text.
pub const MODELING: &str = include_str!("exchange/modeling_neutreno.py");

/// The architecture of a model: a plain one of Hugging Face's in one of the variants.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ModelType {
    /// The variant.
    pub variant: Variant,
    /// What it is without a variant: the `model_type` of a plain Transformer.
    pub plain: &'static str,
    /// In what even a plain Transformer differs from Hugging Face's model of that name, if it does.
    pub differs: Option<&'static str>,
}

impl ModelType {
    /// What `model_type` is: `neutreno_llama`, and of a plain Transformer `llama`.
    pub fn name(self) -> String {
        match (self.variant, self.differs) {
            (Variant::Transformer, None) => self.plain.into(),
            (Variant::Transformer, Some(differs)) => format!("{differs}_{}", self.plain),
            (variant, _) => format!("{variant}_{}", self.plain),
        }
    }

    /// Whether Hugging Face's own classes compute it.
    pub fn is_plain(self) -> bool {
        self.variant == Variant::Transformer && self.differs.is_none()
    }

    /// That a file says so. Older ones of ours name the plain architecture whatever the variant.
    pub fn check(self, given: &str) -> Result<(), String> {
        let own = self.name();
        if given == own || given == self.plain {
            return Ok(());
        }
        let ModelType { variant, plain, .. } = self;
        let known = if own == plain { String::new() } else { format!(" (or {plain:?})") };
        Err(format!("model_type is {given:?}, and of a {variant} it is {own:?}{known}"))
    }

    /// The key `guard`. Where the plain architecture's class of `transformers` is asked to load a
    /// variant, it does so with a mere warning, and would find wrong numbers. But it takes the values
    /// of an inner object that has its own `model_type` for its configuration, and stops at an
    /// activation that is not there, with its name. `None` for a plain model, which it may load.
    pub fn guard(self) -> Option<Guard> {
        let plain = if self.plain == SEGMENTER { VIT } else { self.plain };
        let own = self.name();
        (!self.is_plain()).then(|| Guard {
            model_type: plain,
            hidden_act: format!(
                "{own} is no plain {plain}: export it, and load that with an Auto class and \
                 trust_remote_code=True"
            ),
        })
    }

    /// The class of the Python file that comes with an exported model, without what it ends with.
    pub fn class(self) -> String {
        let capitalised = |word: &str| match word {
            VIT => "ViT".to_owned(),
            word => word[..1].to_uppercase() + &word[1..],
        };
        self.name().split('_').map(capitalised).collect()
    }

    /// The class that does what the model is for: `LlamaForCausalLM`.
    pub fn architecture(self) -> String {
        let task = if self.plain == LLAMA { "CausalLM" } else { "ImageClassification" };
        format!("{}For{task}", self.class())
    }

    /// The key `auto_map`: for each `Auto` class our own one.
    pub fn auto_map(self) -> Value {
        let (class, architecture) = (self.class(), self.architecture());
        let task = architecture.strip_prefix(&class).unwrap_or_default();
        json!({
            "AutoConfig": format!("{MODULE}.{class}Config"),
            "AutoModel": format!("{MODULE}.{class}Model"),
            (format!("AutoModel{task}")): format!("{MODULE}.{architecture}"),
        })
    }

    /// That an `auto_map` names our own classes and no others, be it with the place that they come
    /// from (`place--module.Class`).
    pub fn check_auto_map(self, given: &Value) -> Result<(), String> {
        let own = self.auto_map();
        let is_own = |(key, value): (&String, &Value)| {
            let class = value.as_str().map(|class| class.rsplit("--").next().unwrap_or(class));
            class.is_some() && own.get(key).and_then(Value::as_str) == class
        };
        let plain = self.is_plain();
        if !plain && given.as_object().is_some_and(|map| map.iter().all(is_own)) {
            return Ok(());
        }
        let known = if plain { "null".into() } else { short(&own) };
        Err(format!(
            "auto_map is {}, and only {known} is known: the folder's own code may compute something \
             else, and is not run; remove the key if the model is a plain {}",
            short(given),
            self.plain
        ))
    }
}

/// The variant of a configuration, which has keys of its own; where none is named, it is the one that
/// `model_type` says.
///
/// # Errors
/// If they do not fit together: a message that names them.
pub fn variant(keys: &mut Keys, of_type: Variant) -> Result<VariantConfig, String> {
    let mut keys = keys.part(&[
        "variant",
        "neutreno_lambda",
        "resformer_kind",
        "resformer_lambda",
        "resformer_layers",
        "resformer_coefficients",
        "constants_in_name",
    ]);
    if !keys.contains_key("variant") && of_type == Variant::Transformer {
        return match keys.keys().next() {
            Some(key) => Err(format!("{key} is given, and no variant that it could belong to")),
            None => Ok(VariantConfig::new(Variant::Transformer)),
        };
    }
    let names = keys.keys().cloned().collect::<Vec<_>>().join(", ");
    keys.entry("variant").or_insert_with(|| of_type.name().into());
    serde_json::from_value(Value::Object(keys)).map_err(|error| format!("{names}: {error}"))
}

/// What stops a plain class from loading a variant.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Guard {
    model_type: &'static str,
    hidden_act: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_variant_has_a_name_of_its_own() {
        let of = |variant| ModelType { variant, plain: LLAMA, differs: None };
        let names = Variant::ALL.map(|variant| of(variant).name());
        assert_eq!(names, ["llama", "neutreno_llama", "resformer_llama", "svformer_llama"]);
        assert_eq!(of(Variant::Svformer).class(), "SvformerLlama");
        assert!(of(Variant::Transformer).guard().is_none());
        let guard = of(Variant::Neutreno).guard().unwrap();
        assert!(guard.hidden_act.contains("neutreno_llama is no plain llama"));
        assert_eq!(guard.model_type, "llama");
        for variant in Variant::ALL {
            of(variant).check(LLAMA).unwrap();
            of(variant).check(&of(variant).name()).unwrap();
        }
        let problem = of(Variant::Neutreno).check("svformer_llama").unwrap_err();
        let expected = "model_type is \"svformer_llama\", and of a neutreno it is \
                        \"neutreno_llama\" (or \"llama\")";
        assert_eq!(problem, expected);
    }

    #[test]
    fn classes_are_those_of_their_names() {
        let kind = ModelType { variant: Variant::Resformer, plain: LLAMA, differs: None };
        let expected = json!({
            "AutoConfig": "modeling_neutreno.ResformerLlamaConfig",
            "AutoModel": "modeling_neutreno.ResformerLlamaModel",
            "AutoModelForCausalLM": "modeling_neutreno.ResformerLlamaForCausalLM"
        });
        assert_eq!(kind.auto_map(), expected);
        kind.check_auto_map(&expected).unwrap();
        let from = json!({"AutoConfig": "someone/model--modeling_neutreno.ResformerLlamaConfig"});
        kind.check_auto_map(&from).unwrap();
        for other in [
            json!({"AutoConfig": "modeling_neutreno.NeutrenoLlamaConfig"}),
            json!({"AutoConfig": "modeling.ResformerLlamaConfig"}),
            json!({"AutoTokenizer": "modeling_neutreno.ResformerLlamaConfig"}),
            json!({"AutoConfig": ["modeling_neutreno.ResformerLlamaConfig"]}),
            json!("modeling_neutreno.ResformerLlamaConfig"),
        ] {
            let problem = kind.check_auto_map(&other).unwrap_err();
            assert!(problem.starts_with("auto_map is"), "{problem}");
        }
        let plain = ModelType { variant: Variant::Transformer, plain: LLAMA, differs: None };
        assert!(plain.check_auto_map(&plain.auto_map()).unwrap_err().contains("only null"));
    }

    /// Python has the same names.
    #[test]
    fn the_module_has_every_class() {
        for (plain, differs) in [(LLAMA, "shared_keys"), (VIT, "mean_pooled")] {
            for variant in Variant::ALL {
                let kind = ModelType { variant, plain, differs: Some(differs) };
                let named = |line: String| assert!(MODELING.contains(&line), "{line}");
                named(format!("    model_type = \"{}\"\n", kind.name()));
                for class in kind.auto_map().as_object().unwrap().values() {
                    let class = class.as_str().unwrap().strip_prefix("modeling_neutreno.").unwrap();
                    named(format!("class {class}("));
                }
            }
        }
    }
}
