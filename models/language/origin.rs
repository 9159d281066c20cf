//! Models of any variant that start from a trained one: its weights, and what a variant adds set so that
//! the start is as close to it as the variant allows.

use super::config::LanguageModelConfig;
use super::load::Opened;
use super::model::LanguageModel;
use crate::engine::{Device, Group, Parameters, Result};
use crate::names::by_layers;
use crate::variant::{
    LAMBDA_FIRST, LAMBDA_LOGITS, LAMBDA_OWN, LAMBDA_SCALE, ResformerKind, Variant,
};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// A trained model that others start from: its files, open.
///
/// ```
/// use neutreno_models::engine::{Device, Ids, Parameters};
/// use neutreno_models::language::{Origin, Transfer};
/// use neutreno_models::{LanguageModel, LanguageModelConfig, ResformerKind, Variant, VariantConfig};
/// let config = LanguageModelConfig::new(50, 16, 3, 2, 8);
/// let device = Device::cpu();
/// let build = |builder: &mut _| LanguageModel::new(&config, builder);
/// let (model, parameters) = Parameters::build(&device, 1, build);
/// let folder = tempfile::tempdir().unwrap();
/// let text = serde_json::to_string(&config).unwrap();
/// std::fs::write(folder.path().join("config.json"), text).unwrap();
/// parameters.save(&folder.path().join("model.safetensors"), &Default::default())?;
///
/// let mut origin = Origin::open(folder.path())?;
/// let mut resformer = origin.config().clone();
/// resformer.variant = VariantConfig::new(Variant::Resformer);
/// resformer.variant.resformer_kind = Some(ResformerKind::Learnable);
/// let (started, _) = origin.start(&resformer, &device, 1)?;
/// let logits = |model: &LanguageModel| model.logits(&Ids::new(vec![1, 2, 3], [1, 3])).to_vec();
/// assert_eq!(logits(&started)?, logits(&model)?);
///
/// let transfer = Transfer::new(origin.config(), &resformer, 1.0);
/// assert_eq!((transfer.new.len(), transfer.left.len(), transfer.change), (4, 0, None));
/// # Ok::<(), neutreno_models::engine::Error>(())
/// ```
pub struct Origin {
    opened: Opened,
}

impl Origin {
    /// Opens a folder as [`LanguageModel::load`] reads it.
    ///
    /// # Errors
    /// As there.
    pub fn open(folder: &Path) -> Result<Origin> {
        Origin::open_with(folder, None)
    }

    /// The same with the file of the weights where it is none in the folder, and what stands before the
    /// names of its tensors, as [`LoadSettings::weights`](super::LoadSettings::weights).
    ///
    /// # Errors
    /// As [`Origin::open`].
    pub fn open_with(folder: &Path, weights: Option<(&Path, &str)>) -> Result<Origin> {
        Ok(Origin { opened: Opened::open(folder, false, weights)? })
    }

    /// The model's configuration.
    pub fn config(&self) -> &LanguageModelConfig {
        &self.opened.config
    }

    /// The files of its weights.
    pub fn files(&self) -> &[PathBuf] {
        self.opened.weights.paths()
    }

    /// What a user should know of the folder, a line each.
    pub fn notices(&self) -> &[String] {
        &self.opened.notices
    }

    /// Makes a model of another variant, with this one's weights where it has parameters of the same
    /// names. The coefficients that ResFormer learns begin as they are in this model, learned or not:
    /// after a Transformer a = 1 and b = 0. The shares of the kind learnable-plus are positive: they
    /// begin at the nearest, which is exact where all layers have one b, and so after a Transformer,
    /// as a total of 0. Value projections that this model lacks are drawn from `seed`.
    ///
    /// # Errors
    /// If a file cannot be read, or the device fails.
    ///
    /// # Panics
    /// If the configurations differ in sizes.
    #[track_caller]
    pub fn start(
        &mut self,
        config: &LanguageModelConfig,
        device: &Device,
        seed: u64,
    ) -> Result<(LanguageModel, Parameters)> {
        let own = names(&self.opened.config);
        let is_new = |name: &str| !own.contains(name);
        let group = |_: &str, _, decay| Group::with_decay(decay);
        let build = |builder: &mut _| LanguageModel::new(config, builder);
        let (model, parameters) = Parameters::build_to_read(device, seed, group, is_new, build);
        for (name, tensor) in parameters.iter().filter(|(name, _)| !is_new(name)) {
            self.opened.weights.read_into(name, tensor)?;
        }
        let new = |name: &str| parameters.get(name).filter(|_| is_new(name));
        let layers = config.num_hidden_layers;
        for layer in 1..layers {
            let [own, first] = [LAMBDA_OWN, LAMBDA_FIRST].map(|name| new(&of_layer(layer, name)));
            if let Some(tensor) = own {
                tensor.overwrite(&[self.own(layer)?]);
            }
            if let Some(tensor) = first {
                tensor.overwrite(&[self.first(layer)?]);
            }
        }
        let plus = [LAMBDA_LOGITS, LAMBDA_SCALE].map(|name| new(&of_all(name)));
        if let [Some(logits), Some(scale)] = plus {
            let mixes = |layer: &usize| *layer > 0 && config.keeps(*layer).key;
            let first =
                |layer| Some(layer).filter(mixes).map(|layer| self.first(layer)).transpose();
            let shares = shares(&(0..layers).map(first).collect::<Result<Vec<_>>>()?);
            logits.overwrite(&shares.0);
            scale.overwrite(&[shares.1]);
        }
        device.synchronize()?;
        Ok((model, parameters))
    }

    /// The coefficient a of a layer after the first.
    fn own(&mut self, layer: usize) -> Result<f32> {
        match self.coefficients(layer)[0] {
            Some(own) => Ok(own),
            None => Ok(self.opened.weights.numbers(&of_layer(layer, LAMBDA_OWN))?[0]),
        }
    }

    /// The coefficient b of a layer after the first.
    fn first(&mut self, layer: usize) -> Result<f32> {
        if let Some(first) = self.coefficients(layer)[1] {
            return Ok(first);
        }
        let weights = &mut self.opened.weights;
        if weights.shape(&of_all(LAMBDA_LOGITS)).is_none() {
            return Ok(weights.numbers(&of_layer(layer, LAMBDA_FIRST))?[0]);
        }
        let exponentials: Vec<f32> =
            weights.numbers(&of_all(LAMBDA_LOGITS))?.iter().map(|logit| logit.exp()).collect();
        let scale = weights.numbers(&of_all(LAMBDA_SCALE))?[0];
        Ok(scale * exponentials[layer] / exponentials.iter().sum::<f32>())
    }

    fn coefficients(&self, layer: usize) -> [Option<f32>; 3] {
        coefficients(&self.opened.config, layer)
    }
}

fn coefficients(config: &LanguageModelConfig, layer: usize) -> [Option<f32>; 3] {
    config.variant.coefficients(layer, config.num_hidden_layers, config.share_keys)
}

/// The names of a model's parameters.
fn names(config: &LanguageModelConfig) -> BTreeSet<String> {
    let build = |builder: &mut _| LanguageModel::new(config, builder);
    let (_, planned) = Parameters::build(&Device::plan(), 0, build);
    planned.names().map(str::to_owned).collect()
}

fn of_layer(layer: usize, name: &str) -> String {
    format!("model.layers.{layer}.self_attn.{name}")
}

fn of_all(name: &str) -> String {
    format!("model.{name}")
}

/// The logits and the scale with which learnable-plus has these b, or the nearest that it can have: all of
/// one sign. A layer without one has a share that nothing takes.
fn shares(first: &[Option<f32>]) -> (Vec<f32>, f32) {
    let all = || first.iter().flatten();
    let one = all().next().copied().unwrap_or(0.0);
    if all().all(|b| *b == one) {
        return (vec![0.0; first.len()], one * first.len() as f32);
    }
    let sign = all().sum::<f32>().signum();
    let largest = all().fold(0.0, |largest: f32, b| largest.max(sign * b));
    let size = |b: &Option<f32>| b.map_or(largest, |b| (sign * b).max(1e-4 * largest));
    let sizes: Vec<f32> = first.iter().map(size).collect();
    (sizes.iter().map(|size| size.ln()).collect(), sign * sizes.iter().sum::<f32>())
}

/// What a model that starts from another takes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transfer {
    /// How many tensors are taken.
    pub taken: usize,
    /// The parameters that the model has not.
    pub new: Vec<String>,
    /// The model's tensors that are left.
    pub left: Vec<String>,
    /// How the start differs from the model, in words; `None` if it computes the same.
    pub change: Option<String>,
}

impl Transfer {
    /// What one of configuration `to` takes of one of configuration `from`, where its λ begins as so many
    /// times itself ([`LanguageModel::grow_fidelity`]).
    pub fn new(from: &LanguageModelConfig, to: &LanguageModelConfig, grown: f32) -> Transfer {
        let [theirs, own] = [from, to].map(names);
        let change = change(from, to, grown);
        Transfer {
            taken: theirs.intersection(&own).count(),
            new: own.difference(&theirs).cloned().collect(),
            left: theirs.difference(&own).cloned().collect(),
            change,
        }
    }

    /// All of it in one line.
    ///
    /// ```
    /// use neutreno_models::language::Transfer;
    /// use neutreno_models::{LanguageModelConfig, Variant, VariantConfig};
    /// let model = LanguageModelConfig::new(50, 16, 3, 2, 8);
    /// let mut svformer = model.clone();
    /// svformer.variant = VariantConfig::new(Variant::Svformer);
    /// let line = Transfer::new(&model, &svformer, 1.0).sentence();
    /// let expected = "27 tensors are taken; 2 are left: model.layers.1–2.self_attn.v_proj.weight; \
    ///     it begins with (a, b, c) = (0, 1, 0) in place of (1, 0, 0) in layers 1–2";
    /// assert_eq!(line, expected);
    /// ```
    pub fn sentence(&self) -> String {
        let Transfer { taken, new, left, change } = self;
        let mut parts = vec![format!("{taken} tensors are taken")];
        for (names, what) in [(left, "left"), (new, "new")] {
            if !names.is_empty() {
                parts.push(format!("{} are {what}: {}", names.len(), by_layers(names)));
            }
        }
        parts.push(change.clone().unwrap_or_else(|| "it begins as the model is".into()));
        parts.join("; ")
    }
}

/// How a start differs from the model. What is learned begins as it is in the model.
fn change(from: &LanguageModelConfig, to: &LanguageModelConfig, grown: f32) -> Option<String> {
    let layers = to.num_hidden_layers;
    let both = |layer: usize| {
        let theirs = coefficients(from, layer);
        let [own, first, fidelity] = coefficients(to, layer);
        let fidelity = fidelity.map(|c| grown * c);
        (theirs, [own.or(theirs[0]), first.or(theirs[1]), fidelity])
    };
    let differs = |layer: &usize| {
        let (theirs, own) = both(*layer);
        // Two that are learned are the same numbers.
        let learned = [0, 1].map(|i| coefficients(to, *layer)[i].is_none());
        let same = |i: usize| theirs[i] == own[i] && (theirs[i].is_some() || learned[i]);
        !(same(0) && same(1) && theirs[2] == own[2])
    };
    let changed: Vec<usize> = (1..layers).filter(differs).collect();
    let shown = |numbers: [Option<f32>; 3]| {
        numbers.map(|x| x.map_or("learned".into(), |x| x.to_string())).join(", ")
    };
    if let (Some(first), Some(last)) = (changed.first(), changed.last()) {
        let (theirs, own) = both(*first);
        let layers = match changed.len() {
            1 => format!("layer {first}"),
            count if last - first + 1 == count => format!("layers {first}–{last}"),
            count => format!("{count} layers, of which layer {first} is the first"),
        };
        let [own, theirs] = [own, theirs].map(shown);
        return Some(format!(
            "it begins with (a, b, c) = ({own}) in place of ({theirs}) in {layers}"
        ));
    }
    let plus = |config: &LanguageModelConfig| {
        config.variant.variant == Variant::Resformer
            && config.variant.resformer_kind == Some(ResformerKind::LearnablePlus)
    };
    let mixing = (1..layers).filter(|layer| to.keeps(*layer).key);
    let first: Vec<Option<f32>> = mixing.map(|layer| coefficients(from, layer)[1]).collect();
    let one = first.iter().all(|b| b.is_some() && *b == first[0]);
    (plus(to) && !plus(from) && !one).then(|| {
        "its shares of the first value are of one sign and none is 0: they begin at the nearest to \
         the model's b"
            .into()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Ids;
    use crate::variant::VariantConfig;

    fn resformer(kind: ResformerKind) -> VariantConfig {
        VariantConfig { resformer_kind: Some(kind), ..VariantConfig::new(Variant::Resformer) }
    }

    fn all() -> Vec<VariantConfig> {
        let kinds = [
            ResformerKind::Constant,
            ResformerKind::Sparse,
            ResformerKind::Learnable,
            ResformerKind::LearnablePlus,
        ];
        let four = Variant::ALL.map(VariantConfig::new).into_iter();
        let both = VariantConfig::neutreno_resformer();
        four.chain(kinds.map(resformer)).chain([both]).collect()
    }

    /// A model of a variant, whose learned coefficients are what `learned` gives for each, in a folder.
    fn folder(
        variant: &VariantConfig,
        share_keys: usize,
        learned: impl Fn(usize) -> f32,
    ) -> (tempfile::TempDir, LanguageModel) {
        let mut config = LanguageModelConfig::new(50, 16, 6, 2, 8);
        config.variant = variant.clone();
        config.share_keys = share_keys;
        let build = |builder: &mut _| LanguageModel::new(&config, builder);
        let (model, parameters) = Parameters::build(&Device::cpu(), 1, build);
        let lambdas = parameters.iter().filter(|(name, _)| name.contains("lambda"));
        for (number, (_, tensor)) in lambdas.enumerate() {
            let numbers = (0..tensor.elements()).map(|index| learned(number + 10 * index));
            tensor.overwrite(&numbers.collect::<Vec<_>>());
        }
        let folder = tempfile::tempdir().unwrap();
        let text = serde_json::to_string(&config).unwrap();
        std::fs::write(folder.path().join("config.json"), text).unwrap();
        parameters.save(&folder.path().join("model.safetensors"), &Default::default()).unwrap();
        (folder, model)
    }

    fn logits(model: &LanguageModel) -> Vec<f32> {
        model.logits(&Ids::new(vec![1, 2, 3, 4, 5, 6], [2, 3])).to_vec().unwrap()
    }

    /// From every variant to every variant: it is said that the start is the model exactly where it is.
    #[test]
    fn what_is_said_of_the_start_is_true() {
        let starts = [1, 2].map(|share_keys| all().into_iter().map(move |from| (share_keys, from)));
        for (share_keys, from) in &starts.into_iter().flatten().collect::<Vec<_>>() {
            let learned = |number: usize| 0.3 + 0.1 * (number % 7) as f32;
            let (folder, model) = folder(from, *share_keys, learned);
            let mut origin = Origin::open(folder.path()).unwrap();
            for to in &all() {
                let config = LanguageModelConfig { variant: to.clone(), ..origin.config().clone() };
                let (started, parameters) = origin.start(&config, &Device::cpu(), 2).unwrap();
                let transfer = Transfer::new(origin.config(), &config, 1.0);
                let pairs = logits(&started).into_iter().zip(logits(&model));
                let furthest = pairs.map(|(own, its)| (own - its).abs()).fold(0.0, f32::max);
                let same = transfer.change.is_none();
                let near = transfer.change.as_ref().is_some_and(|how| how.contains("nearest"));
                let of = format!("{} to {}: {furthest}, {transfer:?}", from.name(), to.name());
                assert!(if same { furthest < 1e-6 } else { near || furthest > 1e-4 }, "{of}");
                assert!(!near || furthest < 1e-4, "{of}");
                let all = parameters.names().count();
                assert_eq!(transfer.taken + transfer.new.len(), all, "{of}");
            }
        }
    }

    /// What the four and each kind say of a Transformer.
    #[test]
    fn a_transformer_starts_most_of_them_as_it_is() {
        let config = LanguageModelConfig::new(50, 16, 30, 2, 8);
        let change = |variant: VariantConfig, grown: f32| {
            let to = LanguageModelConfig { variant, ..config.clone() };
            Transfer::new(&config, &to, grown).change
        };
        let neutreno = || VariantConfig::new(Variant::Neutreno);
        assert_eq!(change(VariantConfig::new(Variant::Transformer), 1.0), None);
        assert_eq!(change(neutreno(), 0.0), None);
        assert_eq!(change(resformer(ResformerKind::Learnable), 1.0), None);
        assert_eq!(change(resformer(ResformerKind::LearnablePlus), 1.0), None);
        for (variant, said) in [
            (neutreno(), "(1, 0, 0.4) in place of (1, 0, 0) in layers 1–29"),
            (VariantConfig::new(Variant::Svformer), "(0, 1, 0) in place of (1, 0, 0)"),
            (resformer(ResformerKind::Identity), "(0.5, 0.5, 0) in"),
            (resformer(ResformerKind::Constant), "(1, 2, 0) in"),
            (resformer(ResformerKind::Sparse), "(1, 5, 0) in place of (1, 0, 0) in layers 18–29"),
        ] {
            let change = change(variant, 1.0).unwrap();
            assert!(change.contains(said), "{change}");
        }
    }

    /// Also where b of some layers is 0 or of another sign, as near as it comes.
    #[test]
    fn shares_are_those_that_come_nearest() {
        let of = |first: [f32; 3]| {
            let (logits, scale) =
                shares(&[None, Some(first[0]), None, Some(first[1]), Some(first[2])]);
            let sum: f32 = logits.iter().map(|logit| logit.exp()).sum();
            [1, 3, 4].map(|layer| scale * logits[layer].exp() / sum)
        };
        assert_eq!(shares(&[None, Some(0.0), Some(0.0)]), (vec![0.0; 3], 0.0));
        for (first, nearest) in [
            ([2.0, 2.0, 2.0], [2.0, 2.0, 2.0]),
            ([0.5, 0.1, 3.0], [0.5, 0.1, 3.0]),
            ([-0.5, -0.1, -3.0], [-0.5, -0.1, -3.0]),
            ([0.0, -0.1, 5.0], [0.0005, 0.0005, 5.0]),
        ] {
            for (own, nearest) in of(first).into_iter().zip(nearest) {
                assert!((own - nearest).abs() < 1e-5, "{first:?}: {own}");
            }
        }
    }

    #[test]
    fn values_that_an_svformer_lacks_are_drawn_from_the_seed() {
        let (folder, _) = folder(&VariantConfig::new(Variant::Svformer), 1, |_| 0.5);
        let mut origin = Origin::open(folder.path()).unwrap();
        let variant = VariantConfig::new(Variant::Transformer);
        let config = LanguageModelConfig { variant, ..origin.config().clone() };
        let mut value = |seed: u64| {
            let (_, parameters) = origin.start(&config, &Device::cpu(), seed).unwrap();
            parameters.get("model.layers.2.self_attn.v_proj.weight").unwrap().to_vec().unwrap()
        };
        assert_eq!(value(1), value(1));
        assert!(value(1) != value(2) && value(1).iter().all(|x| *x != 0.0));
    }
}
