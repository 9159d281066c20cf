//! Models of images that start from a trained one, whatever each of them does: what has the same name and
//! the same shape is taken.

use super::classifier::ImageClassifier;
use super::config::VisionConfig;
use super::hugging_face::VisionConfigFile;
use super::load::{POSITIONS, is_of_pooler, seen_through};
use super::segmenter::ImageSegmenter;
use crate::engine::{Device, Error, Parameters, Result, Tensor};
use crate::json;
use crate::names::by_layers;
use crate::weights::{Weights, list};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A trained model of images that others start from: its files, open.
///
/// ```
/// use neutreno_models::engine::{Device, Parameters};
/// use neutreno_models::vision::{
///     ImageClassifier, ImageSegmenter, ImageSize, VisionConfig, VisionOrigin,
/// };
/// let device = Device::cpu();
/// let names = ["cat".to_string(), "dog".to_string()];
/// let config = VisionConfig::new(ImageSize::new(8, 8), 4, 16, 2, 2, &names);
/// let build = |builder: &mut _| ImageClassifier::new(&config, builder);
/// let (_, classifier) = Parameters::build(&device, 1, build);
/// let folder = tempfile::tempdir().unwrap();
/// let text = serde_json::to_string(&config).unwrap();
/// std::fs::write(folder.path().join("config.json"), text).unwrap();
/// classifier.save(&folder.path().join("model.safetensors"), &Default::default())?;
///
/// // Its encoder goes into a segmenter of larger images.
/// let mut origin = VisionOrigin::open(folder.path(), None)?;
/// let config = VisionConfig { image_size: ImageSize::new(8, 16), ..config }.segmenting(1);
/// let build = |builder: &mut _| ImageSegmenter::new(&config, builder);
/// let (_, segmenter) = Parameters::build(&device, 2, build);
/// let transfer = origin.fill(&segmenter, &config)?;
/// assert_eq!(transfer.fitted, ["vit.embeddings.position_embeddings"]);
/// assert!(transfer.left.contains(&"classifier.weight".to_string()));
/// assert!(transfer.new.iter().all(|name| name.starts_with("decoder.")));
/// let name = "vit.encoder.layer.1.intermediate.dense.weight";
/// let [one, other] = [&classifier, &segmenter].map(|all| all.get(name).unwrap().to_vec());
/// assert_eq!(one?, other?);
/// # Ok::<(), neutreno_models::engine::Error>(())
/// ```
pub struct VisionOrigin {
    config: VisionConfig,
    weights: Weights,
    notices: Vec<String>,
}

/// What a model that starts from another takes of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VisionTransfer {
    /// The parameters that are taken as they are.
    pub taken: Vec<String>,
    /// Those that are taken for another size or token.
    pub fitted: Vec<String>,
    /// The parameters that the model has not, which begin as those of any new model.
    pub new: Vec<String>,
    /// The model's tensors that are left.
    pub left: Vec<String>,
}

impl VisionOrigin {
    /// Opens the folder of a classifier or a segmenter, ours or a ViT of Hugging Face's. `weights` is the
    /// file of its weights where it is none in the folder, and what stands before the names of its tensors.
    ///
    /// # Errors
    /// If a file cannot be read, or is not that of such a model.
    pub fn open(folder: &Path, weights: Option<(&Path, &str)>) -> Result<VisionOrigin> {
        let path = folder.join("config.json");
        let failed = |reason: String| Error::File { path: path.clone(), reason };
        let text = json::read(&path)?;
        let kind: Value = serde_json::from_slice(&text).unwrap_or_default();
        let of_segmenter = kind["num_decoder_layers"].is_number();
        let (config, unknown) = match of_segmenter {
            true => {
                let config: VisionConfig =
                    serde_json::from_slice(&text).map_err(|error| failed(error.to_string()))?;
                config.check().map_err(failed)?;
                (config, Vec::new())
            }
            false => {
                let file = VisionConfigFile::parse(&text).map_err(failed)?;
                (file.config, file.unknown)
            }
        };
        let mut notices = Vec::new();
        if !unknown.is_empty() {
            let unknown = list(&unknown);
            notices.push(format!(
                "config.json: keys that are not known, and were not used: {unknown}"
            ));
        }
        let weights = match weights {
            Some((file, prefix)) => Weights::open_file(file, prefix)?,
            None => Weights::open(folder)?,
        };
        weights.check(&planned(&config), is_of_pooler)?;
        Ok(VisionOrigin { config, weights, notices })
    }

    /// The model's configuration.
    pub fn config(&self) -> &VisionConfig {
        &self.config
    }

    /// The files of its weights.
    pub fn files(&self) -> &[PathBuf] {
        self.weights.paths()
    }

    /// What a user should know of the folder, a line each.
    pub fn notices(&self) -> &[String] {
        &self.notices
    }

    /// Overwrites those parameters of a model of configuration `to` that this one has too. Learned
    /// positions are interpolated for another number of patches, and one of a class token that the model
    /// lacks is left. What belongs to single classes is taken if the classes are the same, by name and in
    /// order.
    ///
    /// # Errors
    /// If a file cannot be read, or the device fails.
    pub fn fill(&mut self, parameters: &Parameters, to: &VisionConfig) -> Result<VisionTransfer> {
        let transfer = VisionTransfer::new(&self.config, to);
        for name in &transfer.taken {
            let tensor = parameters.get(name).expect("it is one of these");
            self.weights.read_into(name, tensor)?;
        }
        for name in &transfer.fitted {
            let mut learned = self.weights.numbers(name)?;
            let own = VisionConfig { class_token: to.class_token, ..self.config.clone() };
            if self.config.class_token && !to.class_token {
                learned.drain(..self.config.hidden_size);
            }
            let tensor = parameters.get(name).expect("it is one of these");
            tensor.overwrite(&seen_through(&learned, &own, to.patches()));
        }
        if let Some((_, tensor)) = parameters.iter().next() {
            tensor.device().synchronize()?;
        }
        Ok(transfer)
    }
}

/// Whether a parameter has a part for each class.
fn is_of_classes(name: &str) -> bool {
    ["classifier.", "decoder.cls_emb", "decoder.mask_norm."].iter().any(|of| name.starts_with(of))
}

/// The parameters of a model, without any numbers.
fn planned(config: &VisionConfig) -> Parameters {
    let device = Device::plan();
    match config.num_decoder_layers {
        Some(_) => Parameters::build(&device, 0, |b| drop(ImageSegmenter::new(config, b))).1,
        None => Parameters::build(&device, 0, |b| drop(ImageClassifier::new(config, b))).1,
    }
}

impl VisionTransfer {
    /// What a model of configuration `to` takes of one of configuration `from`.
    pub fn new(from: &VisionConfig, to: &VisionConfig) -> VisionTransfer {
        let (theirs, own) = (planned(from), planned(to));
        let same_classes = from.id2label == to.id2label;
        // A model with a class token has no use for the positions of one without: that token's is missing.
        let fits = from.class_token || !to.class_token;
        let same_places = from.patches() == to.patches() && from.class_token == to.class_token;
        let mut transfer = VisionTransfer::default();
        for (name, tensor) in own.iter() {
            let same_shape = |theirs: &&Tensor| theirs.shape() == tensor.shape();
            let of_model = theirs.get(name);
            let taken = of_model.filter(same_shape).is_some();
            let group = match of_model {
                Some(_) if name == POSITIONS && !same_places && fits => &mut transfer.fitted,
                Some(_) if taken && (same_classes || !is_of_classes(name)) => &mut transfer.taken,
                _ => &mut transfer.new,
            };
            group.push(name.to_owned());
        }
        let used: Vec<&String> = transfer.taken.iter().chain(&transfer.fitted).collect();
        let is_left = |name: &&str| !used.iter().any(|used| used == name);
        transfer.left = theirs.names().filter(is_left).map(str::to_owned).collect();
        transfer.left.sort();
        transfer
    }

    /// All of it in one line. Of many parameters of one part of a model there is only their number.
    ///
    /// ```
    /// use neutreno_models::vision::VisionTransfer;
    /// let names = |names: &[&str]| names.iter().map(|name| name.to_string()).collect();
    /// let transfer = VisionTransfer {
    ///     taken: names(&["vit.encoder.layer.0.a", "vit.encoder.layer.1.a"]),
    ///     new: names(&["decoder.layer.0.b", "decoder.layer.1.b", "decoder.c"]),
    ///     ..VisionTransfer::default()
    /// };
    /// assert_eq!(
    ///     transfer.sentence(),
    ///     "2 tensors are taken; 3 are new: decoder.c, decoder.layer.0–1.b; none is left"
    /// );
    /// ```
    pub fn sentence(&self) -> String {
        let VisionTransfer { taken, fitted, new, left } = self;
        let mut parts = vec![format!("{} tensors are taken", taken.len())];
        if !fitted.is_empty() {
            parts.push(format!("positions are fitted to other patches: {}", fitted.join(", ")));
        }
        let groups = [(new, "are new", "none is new"), (left, "are left", "none is left")];
        parts.extend(groups.map(|(names, what, none)| match names.is_empty() {
            true => none.to_owned(),
            false => format!("{} {what}: {}", names.len(), by_parts(names)),
        }));
        parts.join("; ")
    }
}

/// Names in few words, part by part: of a part with many, how many there are.
fn by_parts(names: &[String]) -> String {
    /// More than these nobody reads.
    const MOST: usize = 6;
    let part = |name: &String| name.split('.').next().unwrap_or_default().to_owned();
    let mut parts = BTreeMap::<String, Vec<String>>::new();
    names.iter().for_each(|name| parts.entry(part(name)).or_default().push(name.clone()));
    let shown = |(part, names): (String, Vec<String>)| {
        let listed = by_layers(&names);
        let many = listed.split(", ").count() > MOST;
        if many { format!("{} of {part}", names.len()) } else { listed }
    };
    parts.into_iter().map(shown).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::super::config::ImageSize;
    use super::*;
    use crate::variant::{Variant, VariantConfig};
    use std::fs;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn classifier(config: &VisionConfig, seed: u64) -> Parameters {
        let build = |builder: &mut _| drop(ImageClassifier::new(config, builder));
        Parameters::build(&Device::cpu(), seed, build).1
    }

    fn folder(config: &VisionConfig, parameters: &Parameters) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let text = serde_json::to_string(config).unwrap();
        fs::write(folder.path().join("config.json"), text).unwrap();
        parameters.save(&folder.path().join("model.safetensors"), &Default::default()).unwrap();
        folder
    }

    fn numbers(parameters: &Parameters, name: &str) -> Vec<f32> {
        parameters.get(name).unwrap().to_vec().unwrap()
    }

    #[test]
    fn other_classes_have_a_head_of_their_own() {
        let config = |classes: &[&str]| {
            VisionConfig::new(ImageSize::new(8, 8), 4, 16, 2, 2, &names(classes))
        };
        let (from, model) = (config(&["a", "b"]), classifier(&config(&["a", "b"]), 1));
        let folder = folder(&from, &model);
        let mut origin = VisionOrigin::open(folder.path(), None).unwrap();
        let other = classifier(&from, 2);
        let transfer = origin.fill(&other, &from).unwrap();
        assert!(transfer.new.is_empty() && transfer.left.is_empty() && transfer.fitted.is_empty());
        for (name, tensor) in other.iter() {
            assert_eq!(tensor.to_vec().unwrap(), numbers(&model, name), "{name}");
        }
        // As many, but not the same.
        for classes in [&["b", "a"][..], &["a", "b", "c"]] {
            let to = config(classes);
            let other = classifier(&to, 2);
            let before = numbers(&other, "classifier.weight");
            let transfer = origin.fill(&other, &to).unwrap();
            let head = ["classifier.bias", "classifier.weight"];
            let mut new = transfer.new.clone();
            new.sort();
            assert_eq!((new, &transfer.left), (names(&head), &names(&head)));
            assert_eq!(numbers(&other, "classifier.weight"), before);
            assert_eq!(transfer, VisionTransfer::new(&from, &to));
        }
    }

    #[test]
    fn positions_fit_a_model_without_a_class_token() {
        let classes = names(&["a", "b"]);
        let from = VisionConfig {
            class_token: true,
            ..VisionConfig::new(ImageSize::new(8, 8), 4, 16, 2, 2, &classes)
        };
        let model = classifier(&from, 1);
        let folder = folder(&from, &model);
        let mut origin = VisionOrigin::open(folder.path(), None).unwrap();
        let to = VisionConfig { class_token: false, ..from.clone() };
        let other = classifier(&to, 2);
        let transfer = origin.fill(&other, &to).unwrap();
        assert_eq!(transfer.fitted, [POSITIONS]);
        assert_eq!(numbers(&other, POSITIONS)[..], numbers(&model, POSITIONS)[16..]);
        assert_eq!(transfer.left, ["vit.embeddings.cls_token"]);
    }

    #[test]
    fn what_a_variant_lacks_is_left() {
        let classes = names(&["a", "b"]);
        let from = VisionConfig::new(ImageSize::new(8, 8), 4, 16, 3, 2, &classes);
        let variant = VariantConfig::of_images(Variant::Svformer);
        let transfer = VisionTransfer::new(&from, &VisionConfig { variant, ..from.clone() });
        assert!(transfer.new.is_empty());
        let sentence = transfer.sentence();
        let words = "vit.encoder.layer.1–2.attention.attention.value.weight";
        assert!(sentence.contains("4 are left: ") && sentence.contains(words), "{sentence}");
        let segmenter = VisionTransfer::new(&from, &from.clone().segmenting(2)).sentence();
        let words = "of decoder; 2 are left: classifier.bias, classifier.weight";
        assert!(segmenter.contains(words), "{segmenter}");
    }
}
