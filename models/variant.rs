//! What makes the four variants different, all of it.
//!
//! Every layer after the first computes, per head,
//!
//! O = P · (a·V + b·V₁) + c·(V₁ − V),   P = softmax(Q Kᵀ / √d, masked)
//!
//! where V₁ is the value of the first layer. The first layer is plain attention. V₁ beside V is what
//! the papers call a value residual.
//!
//! | variant | a (own value) | b (first value) | c (fidelity) | |
//! |---|---|---|---|---|
//! | Transformer | 1 | 0 | 0 | Vaswani et al. 2017 |
//! | NeuTRENO | 1 | 0 | λ | Nguyen et al. 2023, arXiv 2312.00751 |
//! | ResFormer | λ₂ | λ₁ | 0 | Zhou et al. 2024, arXiv 2410.17897 |
//! | SVFormer | 0 | 1 | 0 | the same; layers after the first have no W_V |
//!
//! A model asks [`VariantConfig::has_own_value`] which layers have a value projection and [`mixings`]
//! for their coefficients a, b, c; a [`FirstValue`] goes through its layers.

use crate::engine::autograd::recompute;
use crate::engine::ops::attention::{Coefficient, Mixing};
use crate::engine::ops::cache::{Cache, Places};
use crate::engine::ops::cached_attention::Fidelity;
use crate::engine::{Builder, Initial, Tensor};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};

/// One of the four variants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Variant {
    /// Plain attention.
    Transformer,
    /// A fidelity term λ(V₁ − V), against over-smoothing: it keeps the output close to V₁.
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
    /// The logits start at zero (the paper does not say) and s at the number of layers. A model of
    /// one layer has neither, since nothing in it is mixed.
    LearnablePlus,
    /// A rule of one's own: a, b and c of each layer are given ([`VariantConfig::given`]).
    Given,
}

/// The variant of a model with its constants: part of its configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VariantConfig {
    /// The variant.
    pub variant: Variant,
    /// λ of NeuTRENO's term. ResFormer takes it on top of its mix (0 if absent), but for the kind given.
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
    /// [a, b, c] of each layer after the first, for the kind given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resformer_coefficients: Option<Vec<[f32; 3]>>,
    /// Whether the constants are part of the [name](VariantConfig::name), as where a run has one variant
    /// with several.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub constants_in_name: bool,
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
            resformer_coefficients: None,
            constants_in_name: false,
        }
    }

    /// A mixing rule of one's own: `rule` gives a, b and c of each layer after the first, which are
    /// counted from 1, in a model of `layers` layers. All of them have values of their own.
    ///
    /// ```
    /// use neutreno_models::VariantConfig;
    /// // NeuTRENO's term, weaker from layer to layer.
    /// let fading = VariantConfig::given(4, |layer| [1.0, 0.0, 0.6 / layer as f32]);
    /// assert_eq!(fading.name(), "resformer-given");
    /// assert_eq!(fading.coefficients(0, 4, 1), [Some(1.0), Some(0.0), Some(0.0)]);
    /// assert_eq!(fading.coefficients(2, 4, 1), [Some(1.0), Some(0.0), Some(0.3)]);
    /// assert!(fading.check(5).unwrap_err().contains("resformer_coefficients"));
    /// ```
    pub fn given(layers: usize, rule: impl FnMut(usize) -> [f32; 3]) -> VariantConfig {
        VariantConfig {
            resformer_kind: Some(ResformerKind::Given),
            resformer_coefficients: Some((1..layers).map(rule).collect()),
            ..VariantConfig::new(Variant::Resformer)
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
    /// `resformer-learnable`, `neutreno+resformer`, `svformer`, ... With
    /// [`constants_in_name`](VariantConfig::constants_in_name) the constants that are set follow: λ before
    /// the kind, λ₁ and the layers after it.
    ///
    /// ```
    /// use neutreno_models::variant::{ResformerKind, Variant, VariantConfig};
    /// let usual = VariantConfig::new(Variant::Neutreno);
    /// assert_eq!(usual.name(), "neutreno");
    /// let named = VariantConfig { constants_in_name: true, ..usual };
    /// assert_eq!(named.name(), "neutreno-0.4");
    /// let sparse = VariantConfig {
    ///     resformer_kind: Some(ResformerKind::Sparse),
    ///     resformer_lambda: Some(3.0),
    ///     resformer_layers: Some(vec![5, 6]),
    ///     constants_in_name: true,
    ///     ..VariantConfig::new(Variant::Resformer)
    /// };
    /// assert_eq!(sparse.name(), "resformer-sparse-3-5+6");
    /// ```
    pub fn name(&self) -> String {
        self.named("-")
    }

    /// The same as it is typed in the programs: `neutreno:0.2`.
    ///
    /// ```
    /// # use neutreno_models::{ResformerKind, Variant, VariantConfig};
    /// let config = VariantConfig {
    ///     resformer_kind: Some(ResformerKind::Sparse),
    ///     resformer_lambda: Some(5.0),
    ///     resformer_layers: Some(vec![6, 7]),
    ///     constants_in_name: true,
    ///     ..VariantConfig::new(Variant::Resformer)
    /// };
    /// assert_eq!(config.name(), "resformer-sparse-5-6+7");
    /// assert_eq!(config.typed(), "resformer:sparse:5:6+7");
    /// ```
    pub fn typed(&self) -> String {
        self.named(":")
    }

    /// Its name with `between` before each constant.
    fn named(&self, between: &str) -> String {
        let resformer = self.variant == Variant::Resformer;
        let name = match resformer && self.neutreno_lambda.is_some() {
            true => "neutreno+resformer",
            false => self.variant.name(),
        };
        let mut parts = vec![name.to_owned()];
        let in_name = self.constants_in_name;
        parts.extend(self.neutreno_lambda.filter(|_| in_name).map(|lambda| lambda.to_string()));
        if resformer {
            match self.resformer_kind.unwrap_or_default() {
                ResformerKind::Identity => {}
                ResformerKind::Constant => parts.push("constant".into()),
                ResformerKind::Sparse => parts.push("sparse".into()),
                ResformerKind::Learnable => parts.push("learnable".into()),
                ResformerKind::LearnablePlus => parts.push("learnable-plus".into()),
                ResformerKind::Given => parts.push("given".into()),
            }
        }
        parts.extend(self.resformer_lambda.filter(|_| in_name).map(|lambda| lambda.to_string()));
        if let Some(layers) = self.resformer_layers.as_ref().filter(|_| in_name) {
            let layers: Vec<String> = layers.iter().map(usize::to_string).collect();
            parts.push(layers.join("+"));
        }
        if let Some(layers) = self.resformer_coefficients.as_ref().filter(|_| in_name) {
            let of_layer = |layer: &[f32; 3]| layer.map(|number| number.to_string()).join("_");
            parts.push(layers.iter().map(of_layer).collect::<Vec<_>>().join("+"));
        }
        parts.join(between)
    }

    /// Whether models of `layers` layers compute the same with both, whatever they are called.
    pub fn is_same(&self, other: &VariantConfig, layers: usize) -> bool {
        let kind = |config: &VariantConfig| config.resformer_kind.unwrap_or_default();
        let coefficients = |config: &VariantConfig| {
            (0..layers).map(|layer| config.coefficients(layer, layers, 1)).collect::<Vec<_>>()
        };
        self.variant == other.variant
            && kind(self) == kind(other)
            && coefficients(self) == coefficients(other)
    }

    /// λ of the energy E that NeuTRENO lowers: its own, or `usual` for the other variants.
    pub fn energy_lambda(&self, usual: f32) -> f32 {
        match self.variant {
            Variant::Neutreno => self.neutreno_lambda.unwrap_or(usual),
            _ => usual,
        }
    }

    /// Whether layer `layer`, counted from 0, has a value projection, if it shares no other's keys and
    /// values.
    pub fn has_own_value(&self, layer: usize) -> bool {
        layer == 0 || self.variant != Variant::Svformer
    }

    /// What layer `layer`, counted from 0, keeps of each token when text is generated: its key, and what
    /// its attention averages, a·V + b·V₁. V₁ is what layer 0 keeps, so SVFormer's other layers keep keys
    /// alone. NeuTRENO's term needs only the values of the token that is being computed.
    ///
    /// Where every `share_keys` layers share the keys and values of the first of them (cross-layer
    /// attention: Brandon et al. 2024, arXiv 2405.12981), the others keep nothing, for they make none.
    ///
    /// ```
    /// use neutreno_models::variant::{Keeps, Variant, VariantConfig};
    /// let svformer = VariantConfig::new(Variant::Svformer);
    /// assert_eq!(svformer.keeps(4, 1), Keeps { key: true, value: false });
    /// assert_eq!(svformer.keeps(5, 2), Keeps { key: false, value: false });
    /// ```
    pub fn keeps(&self, layer: usize, share_keys: usize) -> Keeps {
        let key = layer.is_multiple_of(share_keys);
        Keeps { key, value: key && self.has_own_value(layer) }
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
        for number in self.resformer_coefficients.iter().flatten().flatten() {
            finite("resformer_coefficients", Some(*number))?;
        }
        let unused = |name: &str, there: bool, users: &str| match there {
            true => Err(format!("{name} has no effect on {}: only {users} use it", self.variant)),
            false => Ok(()),
        };
        let resformer = self.variant == Variant::Resformer;
        let kind = self.resformer_kind.unwrap_or_default();
        let given = resformer && kind == ResformerKind::Given;
        let takes_lambda = (resformer && !given) || self.variant == Variant::Neutreno;
        let fixed = matches!(kind, ResformerKind::Constant | ResformerKind::Sparse);
        unused(
            "neutreno_lambda",
            self.neutreno_lambda.is_some() && !takes_lambda,
            if given { "neutreno and resformer's other kinds" } else { "neutreno and resformer" },
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
        unused(
            "resformer_coefficients",
            self.resformer_coefficients.is_some() && !given,
            "resformer's kind given",
        )?;
        let count = self.resformer_coefficients.as_ref().map_or(0, Vec::len);
        let mixing = layers.saturating_sub(1);
        if given && count != mixing {
            return Err(format!(
                "resformer_coefficients: {count} times [a, b, c], and the kind given needs them for each \
                 of the {mixing} layers after the first"
            ));
        }
        match self.resformer_layers.iter().flatten().find(|layer| !(1..layers).contains(layer)) {
            Some(layer) => Err(format!(
                "resformer_layers: layer {layer} cannot mix; with {layers} layers these can: 1 to {}",
                layers.saturating_sub(1)
            )),
            None => Ok(()),
        }
    }

    /// The coefficients a, b and c of layer `layer`, counted from 0, in a model of so many; `None` for
    /// what is learned. A layer that shares another's keys and values ([`VariantConfig::keeps`]) takes
    /// them as they were mixed there.
    ///
    /// ```
    /// use neutreno_models::{Variant, VariantConfig};
    /// let coefficients = |variant| VariantConfig::new(variant).coefficients(3, 8, 1);
    /// assert_eq!(coefficients(Variant::Neutreno), [Some(1.0), Some(0.0), Some(0.4)]);
    /// assert_eq!(coefficients(Variant::Resformer), [Some(0.5), Some(0.5), Some(0.0)]);
    /// ```
    pub fn coefficients(&self, layer: usize, layers: usize, share_keys: usize) -> [Option<f32>; 3] {
        let lambda = self.neutreno_lambda.unwrap_or(0.0);
        let first = |usual: f32| self.resformer_lambda.unwrap_or(usual);
        let constant = |coefficients: [f32; 3]| coefficients.map(Some);
        // ANCHOR: coefficients
        match (layer, self.variant) {
            (layer, _) if !self.keeps(layer, share_keys).key => constant([1.0, 0.0, 0.0]),
            (0, _) | (_, Variant::Transformer) => constant([1.0, 0.0, 0.0]),
            (_, Variant::Neutreno) => constant([1.0, 0.0, lambda]),
            // Without a V; `LayerValues::attend` says how this is computed.
            (_, Variant::Svformer) => constant([0.0, 1.0, 0.0]),
            (_, Variant::Resformer) => match self.resformer_kind.unwrap_or_default() {
                ResformerKind::Identity => constant([0.5, 0.5, lambda]),
                ResformerKind::Constant => constant([1.0, first(Self::CONSTANT_LAMBDA), lambda]),
                ResformerKind::Sparse if self.sparse_layers(layers).contains(&layer) => {
                    constant([1.0, first(Self::SPARSE_LAMBDA), lambda])
                }
                ResformerKind::Sparse => constant([1.0, 0.0, lambda]),
                ResformerKind::Learnable | ResformerKind::LearnablePlus => {
                    [None, None, Some(lambda)]
                }
                ResformerKind::Given => constant(self.given_to(layer)),
            },
        }
        // ANCHOR_END: coefficients
    }

    /// a, b and c of a layer after the first in the kind given; plain where none are.
    fn given_to(&self, layer: usize) -> [f32; 3] {
        let of_layer = self.resformer_coefficients.as_ref().and_then(|all| all.get(layer - 1));
        of_layer.copied().unwrap_or([1.0, 0.0, 0.0])
    }

    /// The layers that mix in the kind sparse: those given, else the last three eighths, as in
    /// the paper (6 to 8 of 8, counted from 1).
    fn sparse_layers(&self, layers: usize) -> Vec<usize> {
        let usual = || (layers.saturating_sub((layers * 3).div_ceil(8)).max(1)..layers).collect();
        self.resformer_layers.clone().unwrap_or_else(usual)
    }
}

/// What a layer makes of each token for attention, and so keeps of it when text is generated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keeps {
    /// Whether it has keys of its own.
    pub key: bool,
    /// Whether it has values of its own.
    pub value: bool,
}

/// The coefficients of each layer of a stack: this function and [`FirstValue`] are the difference
/// between the variants.
///
/// Learned coefficients become parameters below the builder's scope: `lambda_logits`, `lambda_scale`,
/// and in what `attention` calls each layer's attention, `lambda_own` and `lambda_first`. A layer that
/// shares another's keys and values ([`VariantConfig::keeps`]) takes them as they were mixed there.
pub fn mixings(
    config: &VariantConfig,
    layers: usize,
    share_keys: usize,
    builder: &mut Builder,
    attention: impl Fn(usize) -> String,
) -> Vec<LayerMixing> {
    let kind = config.resformer_kind.unwrap_or_default();
    let shares = config.variant == Variant::Resformer && kind == ResformerKind::LearnablePlus;
    // One layer has nothing to mix, so it could not learn them.
    let total = (shares && layers > 1).then(|| {
        let logits = builder.parameter(LAMBDA_LOGITS, [layers], Initial::Zeros, false);
        (logits, builder.parameter(LAMBDA_SCALE, [1], Initial::Full(layers as f32), false))
    });
    let mixing = |layer: usize| {
        let mut learned = |name: &str| {
            let name = format!("{}.{name}", attention(layer));
            Coefficient::Tensor(builder.parameter(&name, [1], Initial::Full(0.5), false))
        };
        let [own, first, fidelity] = config.coefficients(layer, layers, share_keys);
        let own = own.map_or_else(|| learned(LAMBDA_OWN), Coefficient::from);
        let (first, share) = match (first, &total) {
            (Some(first), _) => (first.into(), None),
            (None, None) => (learned(LAMBDA_FIRST), None),
            // 0 until `LayerMixing::mixing` puts the share there.
            (None, Some((logits, scale))) => {
                let share = Share { logits: logits.clone(), scale: scale.clone(), layer };
                (0.0.into(), Some(share))
            }
        };
        let fidelity = fidelity.unwrap_or(0.0);
        LayerMixing { own, first, fidelity, grown: AtomicU32::new(1_f32.to_bits()), share }
    };
    (0..layers).map(mixing).collect()
}

/// What learned coefficients are called: two for all layers, and two of each layer's attention.
pub(crate) const LAMBDA_LOGITS: &str = "lambda_logits";
pub(crate) const LAMBDA_SCALE: &str = "lambda_scale";
pub(crate) const LAMBDA_OWN: &str = "lambda_own";
pub(crate) const LAMBDA_FIRST: &str = "lambda_first";

/// The coefficients a, b and c of one layer, constant or learned.
pub struct LayerMixing {
    own: Coefficient,
    first: Coefficient,
    fidelity: f32,
    /// The bits of the number that c is multiplied with.
    grown: AtomicU32,
    /// b in ResFormer's kind learnable-plus.
    share: Option<Share>,
}

/// One layer's share of a learned total: scale · softmax(logits)[layer].
struct Share {
    logits: Tensor,
    scale: Tensor,
    layer: usize,
}

impl LayerMixing {
    /// The coefficients as they are now: learned ones change from step to step.
    pub fn mixing(&self) -> Mixing {
        let first = match &self.share {
            None => self.first.clone(),
            Some(Share { logits, scale, layer }) => {
                let share = logits.softmax(-1).slice(0, *layer..*layer + 1);
                Coefficient::Tensor(share.multiply(scale))
            }
        };
        let grown = f32::from_bits(self.grown.load(Ordering::Relaxed));
        Mixing { own: self.own.clone(), first, fidelity: (grown * self.fidelity).into() }
    }

    /// Multiplies the constant c with a number from 0 to 1, from now on. 1 is what it is at first.
    pub fn grow_fidelity(&self, grown: f32) {
        self.grown.store(grown.to_bits(), Ordering::Relaxed);
    }
}

/// V₁ on its way through a stack of layers: the first layer sets it, the others read it. It stays
/// part of the graph, so the gradients of all layers flow into the first layer's value projection.
/// Each pass through each stack begins with an empty one, [`FirstValue::default`].
///
/// ```
/// use neutreno_models::engine::{Device, Parameters, Tensor};
/// use neutreno_models::variant::{FirstValue, Variant, VariantConfig, mixings};
/// let neutreno = VariantConfig::new(Variant::Neutreno);
/// let build = |builder: &mut _| mixings(&neutreno, 2, 1, builder, |layer| layer.to_string());
/// let device = Device::cpu();
/// let (mixings, _) = Parameters::build(&device, 1, build);
/// // One token of one head with one channel: P = 1.
/// let token = |number: f32| Tensor::full(number, [1, 1, 1, 1], &device);
/// let mut first_value = FirstValue::default();
/// let mut layer = |value: f32, mixing| {
///     let values = first_value.of_layer(Some(token(value)), mixing);
///     values.attend(&token(0.0), &token(0.0), true).to_scalar()
/// };
/// assert_eq!(layer(3.0, &mixings[0])?, 3.0);
/// assert_eq!(layer(1.0, &mixings[1])?, 1.0 + 0.4 * (3.0 - 1.0));
/// # Ok::<(), neutreno_models::engine::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct FirstValue(Option<Tensor>);

impl FirstValue {
    /// What the next layer attends over: its own value V (batch, keys, kv heads, head size), which
    /// is `None` in SVFormer's layers after the first, and V₁, mixed by the layer's coefficients.
    ///
    /// # Panics
    /// If the first layer has no value of its own.
    #[track_caller]
    pub fn of_layer(&mut self, own: Option<Tensor>, mixing: &LayerMixing) -> LayerValues {
        let first = self.0.get_or_insert_with(|| own.clone().expect("the first layer has a value"));
        LayerValues { first: first.clone(), own: own.map(|own| (own, mixing.mixing())) }
    }

    /// Runs a layer that keeps only its inputs x and V₁ for backward, where it is run again
    /// ([`recompute`]). `layer` makes its output from both.
    #[track_caller]
    pub fn recompute(
        &mut self,
        x: &Tensor,
        layer: impl Fn(&Tensor, &mut FirstValue) -> Tensor + Send + Sync + 'static,
    ) -> Tensor {
        let inputs: Vec<&Tensor> = [x].into_iter().chain(&self.0).collect();
        let mut outputs = recompute(&inputs, move |inputs| {
            let mut first_value = FirstValue(inputs.get(1).cloned());
            let output = layer(&inputs[0], &mut first_value);
            // V₁ comes out of the layer that it did not go into: the first.
            let new = first_value.0.filter(|_| inputs.len() == 1);
            [output].into_iter().chain(new).collect()
        });
        if outputs.len() > 1 {
            self.0 = outputs.pop();
        }
        outputs.remove(0)
    }
}

/// The values that one layer attends over: V with its coefficients, and V₁.
#[derive(Clone, Debug)]
pub struct LayerValues {
    own: Option<(Tensor, Mixing)>,
    /// V₁.
    pub first: Tensor,
}

impl LayerValues {
    /// P·(a·V + b·V₁) + c·(V₁ − V), P being the attention of queries (batch, queries, heads, head
    /// size) to keys (batch, keys, kv heads, head size); with `causal`, to those up to their own
    /// position. The result has the queries' shape.
    ///
    /// Without a V, (a, b, c) = (0, 1, 0) is computed as plain attention over V₁: the same numbers,
    /// without a value projection that would be multiplied by zero, or a mix to be made.
    #[track_caller]
    pub fn attend(&self, query: &Tensor, key: &Tensor, causal: bool) -> Tensor {
        match &self.own {
            Some((own, mixing)) => query.attention(key, own, Some((&self.first, mixing)), causal),
            None => query.attention(key, &self.first, None, causal),
        }
    }

    /// The same for the queries of new tokens, (rows, heads, head size), over what was kept of their
    /// sequences: K, and P's values mixed. V and V₁ of the fidelity term are those of the new tokens.
    #[track_caller]
    pub fn attend_cached(
        &self,
        query: &Tensor,
        keys: &Cache,
        values: &Cache,
        places: &Places,
    ) -> Tensor {
        let fidelity = self.own.as_ref().and_then(|(own, mixing)| match &mixing.fidelity {
            Coefficient::Constant(0.0) => None,
            coefficient => Some(Fidelity { own, first: &self.first, coefficient }),
        });
        query.cached_attention(keys, values, fidelity.as_ref(), places)
    }

    /// V; V₁ where the layer has none.
    pub fn own(&self) -> &Tensor {
        self.own.as_ref().map_or(&self.first, |(own, _)| own)
    }

    /// a·V + b·V₁: what the attention matrix averages.
    pub fn mixed(&self) -> Tensor {
        match &self.own {
            Some((own, mixing)) => mixing.mix(own, &self.first),
            None => self.first.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{Device, Parameters};

    /// What no layer uses would have no gradient.
    #[test]
    fn one_layer_has_no_coefficients_to_learn() {
        for (kind, of_three) in [
            (ResformerKind::Identity, 0),
            (ResformerKind::Constant, 0),
            (ResformerKind::Sparse, 0),
            (ResformerKind::Learnable, 4),
            (ResformerKind::LearnablePlus, 4),
            (ResformerKind::Given, 0),
        ] {
            let config = VariantConfig {
                resformer_kind: Some(kind),
                ..VariantConfig::new(Variant::Resformer)
            };
            let learned = |layers: usize| {
                let build =
                    |builder: &mut _| mixings(&config, layers, 1, builder, |i| i.to_string());
                Parameters::build(&Device::cpu(), 1, build).1.names().count()
            };
            assert_eq!([learned(1), learned(3)], [0, of_three], "{kind:?}");
        }
    }

    /// The kind given has as many coefficients as there are layers to take them, and nothing else has
    /// any.
    #[test]
    fn given_coefficients_are_those_of_the_layers() {
        let given = VariantConfig::given(3, |layer| [layer as f32, -0.5, 0.25]);
        given.check(3).unwrap();
        let constants = |layer| given.coefficients(layer, 3, 1).map(Option::unwrap);
        assert_eq!(
            [0, 1, 2].map(constants),
            [[1.0, 0.0, 0.0], [1.0, -0.5, 0.25], [2.0, -0.5, 0.25]]
        );
        let named = VariantConfig { constants_in_name: true, ..given.clone() };
        assert_eq!(named.name(), "resformer-given-1_-0.5_0.25+2_-0.5_0.25");
        let json = serde_json::to_string(&given).unwrap();
        assert_eq!(serde_json::from_str::<VariantConfig>(&json).unwrap(), given);

        let refused = |config: VariantConfig, layers| config.check(layers).unwrap_err();
        assert!(refused(given.clone(), 4).contains("2 times [a, b, c]"));
        assert!(refused(VariantConfig::given(3, |_| [1.0, f32::NAN, 0.0]), 3).contains("finite"));
        let lambda = VariantConfig { neutreno_lambda: Some(0.4), ..given.clone() };
        assert!(refused(lambda, 3).contains("neutreno_lambda has no effect"));
        let none = VariantConfig { resformer_coefficients: None, ..given.clone() };
        assert!(refused(none, 3).contains("0 times"));
        for variant in Variant::ALL {
            let stray = VariantConfig {
                resformer_coefficients: given.resformer_coefficients.clone(),
                ..VariantConfig::new(variant)
            };
            assert!(
                refused(stray, 3).contains("resformer_coefficients has no effect"),
                "{variant}"
            );
        }
    }
}
