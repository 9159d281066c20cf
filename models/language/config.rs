//! The configuration of a language model: `config.json`, with the keys of Hugging Face's Llama
//! and those of the variant.

use super::rotary::RopeScaling;
use crate::check;
use crate::engine::half::Precision;
use crate::engine::ops::rope;
use crate::model_type::{Guard, LLAMA, ModelType};
use crate::variant::{Keeps, Variant, VariantConfig};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Sizes and constants of a language model. Keys as in Hugging Face's `LlamaConfig`.
///
/// In JSON there is also [`model_type`](LanguageModelConfig::model_type), and with a variant that is
/// not plain a `guard`, which keeps Hugging Face's own Llama from loading what it would compute
/// wrongly.
///
/// ```
/// use neutreno_models::{LanguageModelConfig, Variant, VariantConfig};
/// let mut config = LanguageModelConfig::new(1000, 64, 8, 4, 128);
/// assert_eq!(config.kv_cache_bytes_per_token(), 2 * 8 * 64 * 4);
/// config.variant = VariantConfig::new(Variant::Svformer);
/// assert_eq!(config.kv_cache_bytes_per_token(), 9 * 64 * 4);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct LanguageModelConfig {
    /// The number of different tokens.
    pub vocab_size: usize,
    /// The width of the residual stream.
    pub hidden_size: usize,
    /// The width inside the feed-forward part.
    pub intermediate_size: usize,
    /// The number of blocks.
    pub num_hidden_layers: usize,
    /// The number of query heads.
    pub num_attention_heads: usize,
    /// The number of key and value heads; a divisor of the number of query heads.
    pub num_key_value_heads: usize,
    /// How many layers that follow each other share the keys and values of the first of them
    /// (cross-layer attention: Brandon et al. 2024, arXiv 2405.12981); 1 for none.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub share_keys: usize,
    /// The channels of one head, where they are not `hidden_size` / `num_attention_heads`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head_dim: Option<usize>,
    /// Whether the projections of attention (query, key, value, output) have biases.
    #[serde(default)]
    pub attention_bias: bool,
    /// Whether the linear layers of the feed-forward part have biases.
    #[serde(default)]
    pub mlp_bias: bool,
    /// The longest context.
    pub max_position_embeddings: usize,
    /// ε of the norms.
    pub rms_norm_eps: f32,
    /// The base of the rotary position embedding's wavelengths.
    pub rope_theta: f32,
    /// How these were changed for longer contexts, if they were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rope_scaling: Option<RopeScaling>,
    /// Whether the output layer uses the embedding's weights.
    pub tie_word_embeddings: bool,
    /// The activation: always `silu`.
    pub hidden_act: String,
    /// The probability with which dropout drops, on the embedding and on what each part of a
    /// block adds; 0 for none.
    #[serde(default)]
    pub dropout: f32,
    /// The standard deviation of the initial embeddings. By default 1/√`hidden_size`, which with the
    /// norm that follows is the factor √d of Vaswani et al. 2017, section 3.4; the 0.02 of GPT-2 and
    /// Llama goes with widths of thousands, and lets narrow models learn more slowly.
    #[serde(default = "of_llama")]
    pub embedding_deviation: f32,
    /// The variant and its constants.
    #[serde(flatten)]
    pub variant: VariantConfig,
}

/// What a file that does not say has.
fn one() -> usize {
    1
}

fn is_one(number: &usize) -> bool {
    *number == 1
}

/// With what follows from the variant.
#[derive(Serialize)]
struct Written<'a> {
    model_type: String,
    #[serde(flatten, with = "LanguageModelConfig")]
    config: &'a LanguageModelConfig,
    #[serde(skip_serializing_if = "Option::is_none")]
    guard: Option<Guard>,
}

impl Serialize for LanguageModelConfig {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let kind = self.kind();
        Written { model_type: kind.name(), config: self, guard: kind.guard() }.serialize(serializer)
    }
}

#[derive(Deserialize)]
struct Read {
    model_type: String,
    #[serde(flatten, with = "LanguageModelConfig")]
    config: LanguageModelConfig,
}

impl<'de> Deserialize<'de> for LanguageModelConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Read { model_type, config } = Read::deserialize(deserializer)?;
        config.kind().check(&model_type).map_err(de::Error::custom)?;
        Ok(config)
    }
}

/// In files that do not say.
fn of_llama() -> f32 {
    0.02
}

impl LanguageModelConfig {
    /// A plain Transformer: heads of their own for keys and values, a feed-forward part of 8/3 of
    /// the width rounded up to a multiple of 32, tied weights, no dropout, embeddings that begin with
    /// a deviation of 1/√`width`.
    pub fn new(
        vocabulary: usize,
        width: usize,
        layers: usize,
        heads: usize,
        context: usize,
    ) -> LanguageModelConfig {
        LanguageModelConfig {
            vocab_size: vocabulary,
            hidden_size: width,
            intermediate_size: (8 * width).div_ceil(3).next_multiple_of(32),
            num_hidden_layers: layers,
            num_attention_heads: heads,
            num_key_value_heads: heads,
            share_keys: 1,
            head_dim: None,
            attention_bias: false,
            mlp_bias: false,
            max_position_embeddings: context,
            rms_norm_eps: 1e-5,
            rope_theta: 10_000.0,
            rope_scaling: None,
            tie_word_embeddings: true,
            hidden_act: "silu".into(),
            dropout: 0.0,
            embedding_deviation: 1.0 / (width as f32).sqrt(),
            variant: VariantConfig::new(Variant::Transformer),
        }
    }

    /// What `config.json` calls the architecture: `llama` for a plain Transformer, which every program
    /// that knows Llama computes rightly, else `neutreno_llama`, `resformer_llama` or `svformer_llama`.
    ///
    /// ```
    /// use neutreno_models::{LanguageModelConfig, Variant, VariantConfig};
    /// let mut config = LanguageModelConfig::new(50, 16, 3, 2, 8);
    /// config.variant = VariantConfig::new(Variant::Resformer);
    /// let json = serde_json::to_value(&config).unwrap();
    /// assert_eq!(json["model_type"], config.model_type());
    /// ```
    pub fn model_type(&self) -> String {
        self.kind().name()
    }

    pub(crate) fn kind(&self) -> ModelType {
        let differs = (self.share_keys > 1).then_some("shared_keys");
        ModelType { variant: self.variant.variant, plain: LLAMA, differs }
    }

    /// The channels of one head.
    pub fn head_size(&self) -> usize {
        self.head_dim.unwrap_or(self.hidden_size / self.num_attention_heads)
    }

    /// By which angle each pair of a head's coordinates turns from position to position, in radians:
    /// `rope_theta`^(−2i / head size) for pair i, scaled by `rope_scaling`.
    pub fn rope_frequencies(&self) -> Vec<f64> {
        let plain = rope::frequencies(self.head_size(), self.rope_theta);
        let scaling = self.rope_scaling.as_ref();
        plain.map(|frequency| scaling.map_or(frequency, |how| how.scale(frequency))).collect()
    }

    /// What layer `layer`, counted from 0, makes of each token and keeps of it when text is generated.
    pub fn keeps(&self, layer: usize) -> Keeps {
        self.variant.keeps(layer, self.share_keys)
    }

    /// The bytes of keys and values that generation must keep for each token and sequence, in f32: K
    /// and V of every layer, except that SVFormer keeps its one V once, and layers that share keys and
    /// values keep them together.
    pub fn kv_cache_bytes_per_token(&self) -> usize {
        self.kv_cache_bytes_per_token_in(Precision::F32)
    }

    /// The same where they are kept in `precision`.
    ///
    /// ```
    /// use neutreno_models::LanguageModelConfig;
    /// use neutreno_models::engine::half::Precision;
    /// let config = LanguageModelConfig::new(1000, 64, 8, 4, 128);
    /// assert_eq!(config.kv_cache_bytes_per_token_in(Precision::Bf16), 2 * 8 * 64 * 2);
    /// ```
    pub fn kv_cache_bytes_per_token_in(&self, precision: Precision) -> usize {
        let kept = (0..self.num_hidden_layers).map(|layer| {
            let Keeps { key, value } = self.keeps(layer);
            usize::from(key) + usize::from(value)
        });
        kept.sum::<usize>() * self.num_key_value_heads * self.head_size() * precision.bytes()
    }

    /// What is wrong with the sizes, if anything.
    ///
    /// # Errors
    /// A message that names the key and the numbers.
    pub fn check(&self) -> Result<(), String> {
        let sizes = [
            ("vocab_size", self.vocab_size),
            ("hidden_size", self.hidden_size),
            ("intermediate_size", self.intermediate_size),
            ("num_hidden_layers", self.num_hidden_layers),
            ("num_attention_heads", self.num_attention_heads),
            ("num_key_value_heads", self.num_key_value_heads),
            ("share_keys", self.share_keys),
            ("max_position_embeddings", self.max_position_embeddings),
            ("head_dim", self.head_dim.unwrap_or(1)),
        ];
        check::at_least_one(&sizes)?;
        let (width, heads) = (self.hidden_size, self.num_attention_heads);
        if self.head_dim.is_none() {
            check::heads_divide(heads, width)?;
        }
        if !self.head_size().is_multiple_of(2) {
            let from = match self.head_dim {
                Some(_) => "head_dim".into(),
                None => format!("{width} / {heads}"),
            };
            return Err(format!(
                "a head has {} channels ({from}); rotary positions need an even number",
                self.head_size()
            ));
        }
        let key_value_heads = self.num_key_value_heads;
        if !heads.is_multiple_of(key_value_heads) {
            return Err(format!(
                "{key_value_heads} key-value heads do not divide the {heads} query heads"
            ));
        }
        check::above_zero("rms_norm_eps", self.rms_norm_eps)?;
        check::above_zero("rope_theta", self.rope_theta)?;
        if let Some(scaling) = &self.rope_scaling {
            scaling.check()?;
        }
        check::above_zero("embedding_deviation", self.embedding_deviation)?;
        check::probability("dropout", self.dropout)?;
        check::activation(&self.hidden_act, "silu")?;
        self.variant.check(self.num_hidden_layers)?;
        let mixes_nothing = |layer: &usize| !self.keeps(*layer).key;
        let problem = |name: &str, layer: usize| {
            Err(format!(
                "{name}: layer {layer} mixes nothing; with share_keys = {} it takes its values from \
                 layer {}",
                self.share_keys,
                layer - layer % self.share_keys
            ))
        };
        let mut sparse = self.variant.resformer_layers.iter().flatten().copied();
        if let Some(layer) = sparse.find(mixes_nothing) {
            return problem("resformer_layers", layer);
        }
        let given = (1..).zip(self.variant.resformer_coefficients.iter().flatten());
        let mixing = given.filter(|(_, given)| **given != [1.0, 0.0, 0.0]);
        match mixing.map(|(layer, _)| layer).find(mixes_nothing) {
            Some(layer) => problem("resformer_coefficients", layer),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    /// A file of before heads could have sizes of their own, biases and scaled frequencies.
    #[test]
    fn what_a_file_does_not_say_is_as_it_was() {
        let config = LanguageModelConfig::new(50, 16, 3, 2, 8);
        let mut file = serde_json::to_value(&config).unwrap();
        let keys = file.as_object_mut().unwrap();
        for key in ["attention_bias", "mlp_bias"] {
            assert!(keys.remove(key).is_some());
        }
        assert!(["head_dim", "rope_scaling"].iter().all(|key| !keys.contains_key(*key)));
        assert_eq!(serde_json::from_value::<LanguageModelConfig>(file).unwrap(), config);
    }

    /// Others must not take a variant for a plain Llama; before, all files said that they were one.
    #[test]
    fn files_name_their_variant_and_older_ones_are_read() {
        for variant in Variant::ALL.map(VariantConfig::new) {
            let config =
                LanguageModelConfig { variant, ..LanguageModelConfig::new(50, 16, 3, 2, 8) };
            let mut file = serde_json::to_value(&config).unwrap();
            let plain = config.variant.variant == Variant::Transformer;
            assert_eq!(file["model_type"] == "llama", plain);
            assert_eq!(file["guard"]["model_type"] == "llama", !plain);
            let read = |file: &Value| serde_json::from_value::<LanguageModelConfig>(file.clone());
            assert_eq!(read(&file).unwrap(), config);
            file["model_type"] = "llama".into();
            file.as_object_mut().unwrap().remove("guard");
            assert_eq!(read(&file).unwrap(), config);
            file["model_type"] = "mistral".into();
            assert!(read(&file).unwrap_err().to_string().contains("model_type is \"mistral\""));
        }
    }

    #[test]
    fn heads_have_the_size_that_is_given() {
        let mut config = LanguageModelConfig::new(50, 20, 3, 3, 8);
        assert!(config.check().unwrap_err().contains("3 heads do not divide the width 20"));
        config.head_dim = Some(6);
        config.check().unwrap();
        assert_eq!((config.head_size(), config.rope_frequencies().len()), (6, 3));
        assert_eq!(config.kv_cache_bytes_per_token(), 2 * 3 * 3 * 6 * 4);
        config.head_dim = Some(7);
        assert!(config.check().unwrap_err().contains("7 channels (head_dim)"));
        config.head_dim = Some(0);
        assert!(config.check().unwrap_err().contains("head_dim must be at least 1"));
    }

    /// A layer that takes another's keys and values takes them as they were mixed there.
    #[test]
    fn nothing_is_given_to_a_layer_that_mixes_nothing() {
        let mut config = LanguageModelConfig::new(50, 16, 4, 2, 8);
        let only = |mixing: usize| {
            VariantConfig::given(4, |layer| [1.0, if layer == mixing { 0.5 } else { 0.0 }, 0.0])
        };
        (config.share_keys, config.variant) = (2, only(2));
        config.check().unwrap();
        config.variant = only(3);
        let problem = config.check().unwrap_err();
        assert!(problem.contains("resformer_coefficients: layer 3 mixes nothing"), "{problem}");
        config.share_keys = 1;
        config.check().unwrap();
    }

    #[test]
    fn frequencies_are_scaled_and_their_constants_checked() {
        let mut config = LanguageModelConfig::new(50, 16, 3, 4, 8);
        assert_eq!(config.rope_frequencies(), [1.0, 0.01]);
        config.rope_scaling = Some(RopeScaling::Linear { factor: 4.0 });
        assert_eq!(config.rope_frequencies(), [0.25, 0.0025]);
        config.rope_scaling = Some(RopeScaling::Linear { factor: 0.0 });
        assert!(config.check().unwrap_err().contains("factor must be at least 1"));
        for theta in [0.0, -1.0, f32::INFINITY] {
            config = LanguageModelConfig { rope_theta: theta, ..config };
            config.rope_scaling = None;
            assert!(config.check().unwrap_err().contains("rope_theta must be more than 0"));
        }
    }
}
