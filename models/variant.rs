//! What makes the four variants different, all of it.
//!
//! Every layer after the first computes, per head,
//!
//! O = P · (a·V + b·V₁) + c·(V₁ − V),   P = softmax(Q Kᵀ / √d, masked)
//!
//! where V₁ is the value of the first layer. The first layer is plain attention.
//!
//! | variant | a (own value) | b (first value) | c (fidelity) | |
//! |---|---|---|---|---|
//! | Transformer | 1 | 0 | 0 | Vaswani et al. 2017 |
//! | NeuTRENO | 1 | 0 | λ | Nguyen et al. 2023, arXiv 2312.00751 |
//! | ResFormer | λ₂ | λ₁ | 0 | Zhou et al. 2024, arXiv 2410.17897 |
//! | SVFormer | 0 | 1 | 0 | the same; layers after the first have no W_V |

use crate::engine::ops::attention::{Coefficient, Mixing};
use crate::engine::{Builder, Initial, Tensor};
use serde::{Deserialize, Serialize};
use std::fmt;

/// One of the four variants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Variant {
    /// Plain attention.
    Transformer,
    /// A term λ(V₁ − V) that pulls the output towards the first value, against over-smoothing.
    Neutreno,
    /// Attention over a mix of the first and the own value.
    Resformer,
    /// Attention over the first value alone, which halves the key-value cache.
    Svformer,
}

impl Variant {
    /// All four, the baseline first.
    pub const ALL: [Variant; 4] =
        [Variant::Transformer, Variant::Neutreno, Variant::Resformer, Variant::Svformer];

    /// The name as typed: `transformer`, `neutreno`, `resformer`, `svformer`.
    pub fn name(self) -> &'static str {
        match self {
            Variant::Transformer => "transformer",
            Variant::Neutreno => "neutreno",
            Variant::Resformer => "resformer",
            Variant::Svformer => "svformer",
        }
    }
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How ResFormer mixes the first value and its own: V′ = λ₁·V₁ + λ₂·V (Zhou et al., section 3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ResformerKind {
    /// λ₁ = λ₂ = ½.
    #[default]
    Identity,
    /// λ₁ is fixed, λ₂ = 1.
    Constant,
    /// λ₁ is fixed on chosen layers and 0 on the others, λ₂ = 1.
    Sparse,
    /// Both are learned, a pair for each layer, from ½.
    Learnable,
    /// λ₁ is a learned share of a learned total: s · softmax over the layers of a logit each.
    /// The logits start at zero (the paper does not say) and s at the number of layers.
    LearnablePlus,
}

/// The variant of a model with its constants: part of its configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VariantConfig {
    /// The variant.
    pub variant: Variant,
    /// λ of NeuTRENO's term. ResFormer takes it on top of its mix (0 if absent).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub neutreno_lambda: Option<f32>,
    /// How ResFormer mixes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resformer_kind: Option<ResformerKind>,
    /// λ₁ of the kinds constant and sparse.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resformer_lambda: Option<f32>,
    /// The layers (counted from 0) that mix in the kind sparse.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resformer_layers: Option<Vec<usize>>,
}

impl VariantConfig {
    /// λ of NeuTRENO in language models, as tuned by Zhou et al. among 0.2–0.8.
    pub const NEUTRENO_LAMBDA: f32 = 0.4;
    /// λ of NeuTRENO in models of images, of Nguyen et al.'s code.
    pub const NEUTRENO_LAMBDA_OF_IMAGES: f32 = 0.6;
    /// The best λ₁ of the constant kind, of the same paper.
    pub const CONSTANT_LAMBDA: f32 = 2.0;
    /// The best λ₁ of the sparse kind, of the same paper.
    pub const SPARSE_LAMBDA: f32 = 5.0;

    /// A variant with its usual constants.
    pub fn new(variant: Variant) -> VariantConfig {
        let lambda = (variant == Variant::Neutreno).then_some(Self::NEUTRENO_LAMBDA);
        let kind = (variant == Variant::Resformer).then_some(ResformerKind::Identity);
        VariantConfig {
            variant,
            neutreno_lambda: lambda,
            resformer_kind: kind,
            resformer_lambda: None,
            resformer_layers: None,
        }
    }

    /// The same for a model of images, where NeuTRENO's λ is larger.
    pub fn of_images(variant: Variant) -> VariantConfig {
        let lambda = (variant == Variant::Neutreno).then_some(Self::NEUTRENO_LAMBDA_OF_IMAGES);
        VariantConfig { neutreno_lambda: lambda, ..VariantConfig::new(variant) }
    }

    /// NeuTRENO's term on top of ResFormer's mix, with the strength of Zhou et al.'s code: its
    /// "λ = 0.2" is 0.1 here, since it subtracts the value that is already mixed.
    pub fn neutreno_resformer() -> VariantConfig {
        VariantConfig { neutreno_lambda: Some(0.1), ..VariantConfig::new(Variant::Resformer) }
    }

    /// The name by which results are kept: `transformer`, `neutreno`, `resformer`,
    /// `resformer-learnable`, `neutreno+resformer`, `svformer`, ...
    pub fn name(&self) -> String {
        if self.variant != Variant::Resformer {
            return self.variant.name().into();
        }
        let both = if self.neutreno_lambda.is_some() { "neutreno+" } else { "" };
        let kind = match self.resformer_kind.unwrap_or_default() {
            ResformerKind::Identity => "",
            ResformerKind::Constant => "-constant",
            ResformerKind::Sparse => "-sparse",
            ResformerKind::Learnable => "-learnable",
            ResformerKind::LearnablePlus => "-learnable-plus",
        };
        format!("{both}resformer{kind}")
    }

    /// λ of the energy E that NeuTRENO lowers: its own, or `usual` for the other variants.
    pub fn energy_lambda(&self, usual: f32) -> f32 {
        match self.variant {
            Variant::Neutreno => self.neutreno_lambda.unwrap_or(usual),
            _ => usual,
        }
    }

    /// Whether layer `layer` has a value projection of its own.
    pub fn has_own_value(&self, layer: usize) -> bool {
        layer == 0 || self.variant != Variant::Svformer
    }

    /// What is wrong with these constants for a model of `layers` layers, if anything.
    ///
    /// # Errors
    /// A message that names the constant.
    pub fn check(&self, layers: usize) -> Result<(), String> {
        let finite = |name: &str, value: Option<f32>| match value {
            Some(value) if !value.is_finite() => Err(format!("{name} must be finite, not {value}")),
            _ => Ok(()),
        };
        finite("neutreno_lambda", self.neutreno_lambda)?;
        finite("resformer_lambda", self.resformer_lambda)?;
        let unused = |name: &str, there: bool, users: &str| match there {
            true => Err(format!("{name} has no effect on {}: only {users} use it", self.variant)),
            false => Ok(()),
        };
        let resformer = self.variant == Variant::Resformer;
        let takes_lambda = resformer || self.variant == Variant::Neutreno;
        let kind = self.resformer_kind.unwrap_or_default();
        let fixed = matches!(kind, ResformerKind::Constant | ResformerKind::Sparse);
        unused(
            "neutreno_lambda",
            self.neutreno_lambda.is_some() && !takes_lambda,
            "neutreno and resformer",
        )?;
        unused("resformer_kind", self.resformer_kind.is_some() && !resformer, "resformer")?;
        unused(
            "resformer_lambda",
            self.resformer_lambda.is_some() && !(resformer && fixed),
            "resformer's kinds constant and sparse",
        )?;
        unused(
            "resformer_layers",
            self.resformer_layers.is_some() && !(resformer && kind == ResformerKind::Sparse),
            "resformer's kind sparse",
        )?;
        match self.resformer_layers.iter().flatten().find(|layer| !(1..layers).contains(layer)) {
            Some(layer) => Err(format!(
                "resformer_layers: layer {layer} cannot mix; with {layers} layers these can: 1 to {}",
                layers.saturating_sub(1)
            )),
            None => Ok(()),
        }
    }

    /// The layers that mix in the kind sparse: those given, else the last three eighths, as in
    /// the paper (6 to 8 of 8, counted from 1).
    fn sparse_layers(&self, layers: usize) -> Vec<usize> {
        let usual = || (layers.saturating_sub((layers * 3).div_ceil(8)).max(1)..layers).collect();
        self.resformer_layers.clone().unwrap_or_else(usual)
    }
}

/// How one layer mixes its values.
pub struct LayerMixing {
    own: Lambda,
    first: Lambda,
    fidelity: f32,
}

/// A factor, fixed or learned.
enum Lambda {
    Fixed(f32),
    /// A parameter of one element.
    Learned(Tensor),
    /// This layer's share of a learned total.
    Share {
        logits: Tensor,
        scale: Tensor,
        layer: usize,
    },
}

impl Lambda {
    fn coefficient(&self) -> Coefficient {
        match self {
            Lambda::Fixed(value) => Coefficient::Constant(*value),
            Lambda::Learned(tensor) => Coefficient::Tensor(tensor.clone()),
            Lambda::Share { logits, scale, layer } => {
                let share = logits.softmax(-1).slice(0, *layer..*layer + 1);
                Coefficient::Tensor(share.multiply(scale))
            }
        }
    }
}

impl LayerMixing {
    fn fixed(own: f32, first: f32, fidelity: f32) -> LayerMixing {
        LayerMixing { own: Lambda::Fixed(own), first: Lambda::Fixed(first), fidelity }
    }

    /// a, b and c of this layer. Learned ones are read anew at each step.
    pub fn mixing(&self) -> Mixing {
        Mixing {
            own: self.own.coefficient(),
            first: self.first.coefficient(),
            fidelity: Coefficient::Constant(self.fidelity),
        }
    }
}

/// How each layer of a language model mixes its values.
///
/// Learned factors become parameters `model.layers.N.self_attn.lambda_own`, `lambda_first`,
/// `model.lambda_logits` and `model.lambda_scale`.
pub fn mixings(config: &VariantConfig, layers: usize, builder: &mut Builder) -> Vec<LayerMixing> {
    let attention = |layer: usize| format!("layers.{layer}.self_attn");
    mixings_of(config, layers, &mut builder.scope("model"), attention)
}

/// How each layer mixes its values: this function is the difference between the variants.
///
/// Learned factors become parameters `ATTENTION.lambda_own` and `ATTENTION.lambda_first`, where
/// ATTENTION is what `attention` calls that part of a layer, and `lambda_logits` and `lambda_scale`.
pub fn mixings_of(
    config: &VariantConfig,
    layers: usize,
    builder: &mut Builder,
    attention: impl Fn(usize) -> String,
) -> Vec<LayerMixing> {
    let lambda = config.neutreno_lambda.unwrap_or(0.0);
    let kind = config.resformer_kind.unwrap_or_default();
    let sparse = config.sparse_layers(layers);
    let total = (config.variant == Variant::Resformer && kind == ResformerKind::LearnablePlus)
        .then(|| {
            let logits = builder.parameter("lambda_logits", [layers], Initial::Zeros, false);
            let start = Initial::Full(layers as f32);
            (logits, builder.parameter("lambda_scale", [1], start, false))
        });
    let mixing = |layer: usize| {
        let mut learned = |name: &str| {
            let name = format!("{}.{name}", attention(layer));
            Lambda::Learned(builder.parameter(&name, [1], Initial::Full(0.5), false))
        };
        match (layer, config.variant) {
            (0, _) | (_, Variant::Transformer) => LayerMixing::fixed(1.0, 0.0, 0.0),
            (_, Variant::Neutreno) => LayerMixing::fixed(1.0, 0.0, lambda),
            // Without a value of its own, a layer attends plainly to the first one.
            (_, Variant::Svformer) => LayerMixing::fixed(1.0, 0.0, 0.0),
            (_, Variant::Resformer) => match kind {
                ResformerKind::Identity => LayerMixing::fixed(0.5, 0.5, lambda),
                ResformerKind::Constant => {
                    let first = config.resformer_lambda.unwrap_or(VariantConfig::CONSTANT_LAMBDA);
                    LayerMixing::fixed(1.0, first, lambda)
                }
                ResformerKind::Sparse => {
                    let first = config.resformer_lambda.unwrap_or(VariantConfig::SPARSE_LAMBDA);
                    let first = if sparse.contains(&layer) { first } else { 0.0 };
                    LayerMixing::fixed(1.0, first, lambda)
                }
                ResformerKind::Learnable => LayerMixing {
                    own: learned("lambda_own"),
                    first: learned("lambda_first"),
                    fidelity: lambda,
                },
                ResformerKind::LearnablePlus => {
                    let (logits, scale) = total.clone().expect("made above for this kind");
                    let first = Lambda::Share { logits, scale, layer };
                    LayerMixing { own: learned("lambda_own"), first, fidelity: lambda }
                }
            },
        }
    };
    (0..layers).map(mixing).collect()
}
