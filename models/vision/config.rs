//! The configuration of a model of images: `config.json`, with the keys of Hugging Face's ViT and
//! those of the variant.

use crate::check;
use crate::model_type::{Guard, ModelType, SEGMENTER, VIT};
use crate::variant::{Variant, VariantConfig};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::collections::BTreeMap;

/// The size of an image in pixels: one number in `config.json` if it is square, else
/// `[height, width]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ImageSize {
    /// The same height and width.
    Square(usize),
    /// Height and width.
    Sides([usize; 2]),
}

impl ImageSize {
    /// The size with this height and width.
    pub fn new(height: usize, width: usize) -> ImageSize {
        if height == width { ImageSize::Square(height) } else { ImageSize::Sides([height, width]) }
    }

    /// Pixels from top to bottom.
    pub fn height(self) -> usize {
        match self {
            ImageSize::Square(side) | ImageSize::Sides([side, _]) => side,
        }
    }

    /// Pixels from left to right.
    pub fn width(self) -> usize {
        match self {
            ImageSize::Square(side) | ImageSize::Sides([_, side]) => side,
        }
    }
}

/// Sizes and constants of a model of images. Keys as in Hugging Face's `ViTConfig`, and a few more.
///
/// In JSON there is also [`model_type`](VisionConfig::model_type), and with a variant that is not plain
/// a `guard`, which keeps Hugging Face's own ViT from loading what it would compute wrongly.
///
/// ```
/// use neutreno_models::vision::VisionConfig;
/// let config = VisionConfig::deit_tiny(&["cat".into(), "dog".into()]);
/// let (layers, width, heads) = (12, 192, 3);
/// assert_eq!(config.num_hidden_layers, layers);
/// assert_eq!((config.hidden_size, config.num_attention_heads), (width, heads));
/// assert_eq!(config.patches(), [14, 14]);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct VisionConfig {
    /// The size of the images.
    pub image_size: ImageSize,
    /// The side of the square patches that become tokens.
    pub patch_size: usize,
    /// The channels of the images: 1 for grey, 3 for colour.
    pub num_channels: usize,
    /// The width of the residual stream.
    pub hidden_size: usize,
    /// The width inside the feed-forward part.
    pub intermediate_size: usize,
    /// The number of blocks of the encoder.
    pub num_hidden_layers: usize,
    /// The number of heads.
    pub num_attention_heads: usize,
    /// The activation: always `gelu`, the exact one.
    pub hidden_act: String,
    /// ε of the layer norms.
    pub layer_norm_eps: f32,
    /// ε of the layer norm over a segmenter's scores; `None` for that of the others. Where all classes
    /// score alike, so small a one makes gradients a hundred times as large.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mask_norm_eps: Option<f32>,
    /// The standard deviation of the initial weights of linear layers.
    #[serde(default = "usual_range")]
    pub initializer_range: f32,
    /// Whether queries, keys and values have biases.
    pub qkv_bias: bool,
    /// The classes and their names.
    #[serde(deserialize_with = "numbered")]
    pub id2label: BTreeMap<usize, String>,
    /// Whether a class token goes through the encoder with the patches. A classifier reads it, or
    /// without it the mean of all tokens; a segmenter leaves it out after the encoder.
    #[serde(default = "yes")]
    pub class_token: bool,
    /// The probability with which a sample skips a branch of the last block of the encoder. It
    /// rises evenly from 0 in the first block (stochastic depth, Huang et al. 2016).
    #[serde(default)]
    pub drop_path_rate: f32,
    /// The number of blocks of a segmenter's mask transformer; none in a classifier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub num_decoder_layers: Option<usize>,
    /// The scores that a segmenter's mask has along each side of a patch, by sub-pixel convolution
    /// (Shi et al. 2016): 1 as in Segmenter, or more, for what is smaller than a patch.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub mask_upscale: usize,
    /// The variant and its constants.
    #[serde(flatten)]
    pub variant: VariantConfig,
}

/// With what follows from the variant.
#[derive(Serialize)]
struct Written<'a> {
    model_type: String,
    #[serde(flatten, with = "VisionConfig")]
    config: &'a VisionConfig,
    #[serde(skip_serializing_if = "Option::is_none")]
    guard: Option<Guard>,
}

impl Serialize for VisionConfig {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let kind = self.kind();
        Written { model_type: kind.name(), config: self, guard: kind.guard() }.serialize(serializer)
    }
}

#[derive(Deserialize)]
struct Read {
    model_type: String,
    #[serde(flatten, with = "VisionConfig")]
    config: VisionConfig,
}

impl<'de> Deserialize<'de> for VisionConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Read { model_type, config } = Read::deserialize(deserializer)?;
        config.kind().check(&model_type).map_err(de::Error::custom)?;
        Ok(config)
    }
}

/// Names by number. JSON has the numbers as texts.
fn numbered<'de, D: Deserializer<'de>>(keys: D) -> Result<BTreeMap<usize, String>, D::Error> {
    let by_text = BTreeMap::<String, String>::deserialize(keys)?;
    let numbered = |(number, name): (String, String)| match number.parse() {
        Ok(number) => Ok((number, name)),
        Err(_) => Err(de::Error::custom(format!("id2label: {number:?} is no number of a class"))),
    };
    by_text.into_iter().map(numbered).collect()
}

fn usual_range() -> f32 {
    0.02
}

fn yes() -> bool {
    true
}

fn one() -> usize {
    1
}

fn is_one(count: &usize) -> bool {
    *count == 1
}

impl VisionConfig {
    /// A plain Transformer that classifies colour images, with a class token and without
    /// stochastic depth; its feed-forward part is four times as wide as its residual stream.
    pub fn new(
        image_size: ImageSize,
        patch_size: usize,
        width: usize,
        layers: usize,
        heads: usize,
        classes: &[String],
    ) -> VisionConfig {
        VisionConfig {
            image_size,
            patch_size,
            num_channels: 3,
            hidden_size: width,
            intermediate_size: 4 * width,
            num_hidden_layers: layers,
            num_attention_heads: heads,
            hidden_act: "gelu".into(),
            layer_norm_eps: 1e-6,
            mask_norm_eps: None,
            initializer_range: usual_range(),
            qkv_bias: true,
            id2label: (0..).zip(classes.iter().cloned()).collect(),
            class_token: true,
            drop_path_rate: 0.0,
            num_decoder_layers: None,
            mask_upscale: 1,
            variant: VariantConfig::of_images(Variant::Transformer),
        }
    }

    /// DeiT-tiny (Touvron et al. 2021): 224 × 224 pixels in patches of 16, 12 layers of width 192
    /// with 3 heads.
    pub fn deit_tiny(classes: &[String]) -> VisionConfig {
        VisionConfig::new(ImageSize::Square(224), 16, 192, 12, 3, classes)
    }

    /// The same encoder for segmentation, with a mask transformer of so many layers.
    #[must_use]
    pub fn segmenting(self, decoder_layers: usize) -> VisionConfig {
        VisionConfig { num_decoder_layers: Some(decoder_layers), mask_norm_eps: Some(0.01), ..self }
    }

    /// What `config.json` calls the architecture: `vit` for a classifier that is a plain Transformer, which
    /// every program that knows ViT computes rightly, `mean_pooled_vit` without a class token, else
    /// `neutreno_vit` and so on; for a segmenter `segmenter`, `neutreno_segmenter` and so on.
    pub fn model_type(&self) -> String {
        self.kind().name()
    }

    pub(crate) fn kind(&self) -> ModelType {
        let segments = self.num_decoder_layers.is_some();
        ModelType {
            variant: self.variant.variant,
            plain: if segments { SEGMENTER } else { VIT },
            differs: (!segments && !self.class_token).then_some("mean_pooled"),
        }
    }

    /// The number of classes.
    pub fn classes(&self) -> usize {
        self.id2label.len()
    }

    /// The patches from top to bottom and from left to right.
    pub fn patches(&self) -> [usize; 2] {
        [self.image_size.height(), self.image_size.width()].map(|side| side / self.patch_size)
    }

    /// The tokens of an image in the encoder.
    pub fn tokens(&self) -> usize {
        let [rows, columns] = self.patches();
        rows * columns + usize::from(self.class_token)
    }

    /// The channels of one head.
    pub fn head_size(&self) -> usize {
        self.hidden_size / self.num_attention_heads
    }

    /// What is wrong with the sizes, if anything.
    ///
    /// # Errors
    /// A message that names the key and the numbers.
    pub fn check(&self) -> Result<(), String> {
        let sizes = [
            ("image_size", self.image_size.height().min(self.image_size.width())),
            ("patch_size", self.patch_size),
            ("num_channels", self.num_channels),
            ("hidden_size", self.hidden_size),
            ("intermediate_size", self.intermediate_size),
            ("num_hidden_layers", self.num_hidden_layers),
            ("num_attention_heads", self.num_attention_heads),
            ("id2label", self.classes()),
            ("num_decoder_layers", self.num_decoder_layers.unwrap_or(1)),
            ("mask_upscale", self.mask_upscale),
        ];
        check::at_least_one(&sizes)?;
        let (height, width) = (self.image_size.height(), self.image_size.width());
        let patch = self.patch_size;
        if !height.is_multiple_of(patch) || !width.is_multiple_of(patch) {
            return Err(format!(
                "patch_size {patch} does not divide images of {height} × {width} pixels; choose a \
                 divisor of both sides"
            ));
        }
        let width = self.hidden_size;
        check::heads_divide(self.num_attention_heads, width)?;
        let upscale = self.mask_upscale;
        if !width.is_multiple_of(upscale) || !patch.is_multiple_of(upscale) {
            return Err(format!(
                "mask_upscale {upscale} must divide the width {width} and patch_size {patch}"
            ));
        }
        check::above_zero("initializer_range", self.initializer_range)?;
        if let Some(epsilon) = self.mask_norm_eps {
            check::above_zero("mask_norm_eps", epsilon)?;
        }
        check::probability("drop_path_rate", self.drop_path_rate)?;
        if !self.id2label.keys().copied().eq(0..self.classes()) {
            return Err("id2label must name the classes 0, 1, 2 and so on".into());
        }
        check::activation(&self.hidden_act, "gelu")?;
        if self.variant.resformer_coefficients.is_some() && self.num_decoder_layers.is_some() {
            return Err(
                "resformer_coefficients are those of one stack of layers, and a segmenter has two"
                    .into(),
            );
        }
        self.variant.check(self.num_hidden_layers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    #[test]
    fn goes_through_json_with_either_kind_of_size() {
        let names = ["sky".to_string(), "road".to_string()];
        for size in [ImageSize::new(28, 28), ImageSize::new(120, 160)] {
            let config = VisionConfig::new(size, 4, 64, 3, 2, &names).segmenting(2);
            let text = serde_json::to_string(&config).unwrap();
            assert_eq!(serde_json::from_str::<VisionConfig>(&text).unwrap(), config);
            assert_eq!(config.check(), Ok(()));
        }
    }

    /// Others must not take a variant for a plain ViT; before, all files said that they were one.
    #[test]
    fn files_name_their_variant_and_older_ones_are_read() {
        let names = ["sky".to_string(), "road".to_string()];
        let plain = VisionConfig::new(ImageSize::new(28, 28), 4, 64, 3, 2, &names);
        let variant = VariantConfig::of_images(Variant::Neutreno);
        let neutreno = VisionConfig { variant, ..plain.clone() };
        for (config, name, older, is_guarded) in [
            (plain.clone(), "vit", "vit", false),
            (neutreno.clone(), "neutreno_vit", "vit", true),
            (VisionConfig { class_token: false, ..plain.clone() }, "mean_pooled_vit", "vit", true),
            (VisionConfig { class_token: false, ..neutreno.clone() }, "neutreno_vit", "vit", true),
            (plain.segmenting(2), "segmenter", "segmenter", false),
            (neutreno.segmenting(2), "neutreno_segmenter", "segmenter", true),
        ] {
            let mut file = serde_json::to_value(&config).unwrap();
            assert_eq!(file["model_type"], name);
            assert_eq!(file["guard"]["model_type"] == "vit", is_guarded);
            let read = |file: &Value| serde_json::from_value::<VisionConfig>(file.clone());
            assert_eq!(read(&file).unwrap(), config);
            file["model_type"] = older.into();
            assert_eq!(read(&file).unwrap(), config);
            file["model_type"] = "swin".into();
            assert!(read(&file).unwrap_err().to_string().contains("model_type is \"swin\""));
        }
    }

    #[test]
    fn says_which_size_is_wrong() {
        let names = ["a".to_string()];
        let config = VisionConfig::new(ImageSize::new(120, 160), 16, 64, 3, 2, &names);
        assert!(config.check().unwrap_err().contains("patch_size 16 does not divide"));
        let config = VisionConfig::new(ImageSize::new(32, 32), 16, 64, 3, 5, &names);
        assert!(config.check().unwrap_err().contains("5 heads do not divide the width 64"));
        let config = VisionConfig::new(ImageSize::new(32, 32), 16, 64, 3, 2, &[]);
        assert!(config.check().unwrap_err().contains("id2label"));
    }
}
