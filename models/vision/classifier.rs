//! Classification of images.

use super::blocks::Linear;
use super::{Encoder, Pass, VisionConfig};
use crate::engine::{Builder, Device, Tensor};

/// An encoder with a linear layer on its class token, or on the mean of its tokens if it has none.
///
/// ```
/// use neutreno::engine::{Device, Parameters, Tensor};
/// use neutreno::vision::{ImageClassifier, ImageSize, Pass, SoftTargets, VisionConfig};
/// let device = Device::cpu();
/// let names = ["shirt".to_string(), "shoe".to_string()];
/// let config = VisionConfig::new(ImageSize::new(8, 8), 4, 16, 2, 2, &names);
/// let build = |builder: &mut _| ImageClassifier::new(&config, builder);
/// let (model, parameters) = Parameters::build(&device, 1, build);
/// let images = Tensor::zeros([3, 3, 8, 8], &device);
/// let targets = SoftTargets::new(&[0, 1, 1], 2, 0.1);
/// let loss = model.loss(&images, &targets, &Pass::evaluation());
/// let gradients = loss.backward()?;
/// assert!(parameters.missing_gradients(&gradients).is_empty());
/// # Ok::<(), neutreno::engine::Error>(())
/// ```
pub struct ImageClassifier {
    encoder: Encoder,
    head: Linear,
}

impl ImageClassifier {
    /// Makes the parameters of a model: `vit...` and `classifier...`.
    ///
    /// # Panics
    /// If the configuration is not sound; [`VisionConfig::check`] tells beforehand.
    pub fn new(config: &VisionConfig, builder: &mut Builder) -> ImageClassifier {
        let encoder = Encoder::new(config, &mut builder.scope("vit"));
        let sizes = [config.classes(), config.hidden_size];
        ImageClassifier { encoder, head: Linear::new("classifier", sizes, true, builder) }
    }

    /// The encoder.
    pub fn encoder(&self) -> &Encoder {
        &self.encoder
    }

    /// The configuration.
    pub fn config(&self) -> &VisionConfig {
        self.encoder.config()
    }

    /// The logits (batch, classes) of images (batch, channels, height, width).
    ///
    /// # Panics
    /// If the images do not have the configured size.
    #[track_caller]
    pub fn logits(&self, images: &Tensor, pass: &Pass) -> Tensor {
        let tokens = self.encoder.forward(images, pass);
        let (batch, width) = (tokens.shape()[0], tokens.shape()[2]);
        let pooled = match self.config().class_token {
            true => tokens.slice(1, 0..1).reshape([batch, width]),
            false => tokens.mean(&[1], false),
        };
        self.head.forward(&pooled)
    }

    /// The mean cross-entropy (nats) of images with their targets.
    ///
    /// # Panics
    /// If the images do not have the configured size, or the targets are not for as many images
    /// and classes.
    #[track_caller]
    pub fn loss(&self, images: &Tensor, targets: &SoftTargets, pass: &Pass) -> Tensor {
        let logits = self.logits(images, pass);
        let targets = targets.on(logits.device());
        let images = targets.shape()[0] as f32;
        logits.log_softmax(-1).multiply(&targets).sum_all().scale(-1.0 / images)
    }
}

/// For each image, how likely each class is meant to be: (images, classes).
///
/// ```
/// use neutreno::vision::SoftTargets;
/// let mut targets = SoftTargets::new(&[0, 2], 4, 0.2);
/// assert_eq!(targets.row(0), [0.85, 0.05, 0.05, 0.05]);
/// // Mixup: 0.7 of image 0 and 0.3 of image 1.
/// targets.mix(0, 1, 0.7);
/// assert!((targets.row(0)[2] - (0.7 * 0.05 + 0.3 * 0.85)).abs() < 1e-6);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct SoftTargets {
    classes: usize,
    /// Those of [`SoftTargets::new`], from which mixtures are made.
    pure: Vec<f32>,
    mixed: Vec<f32>,
}

impl SoftTargets {
    /// The targets of images that belong to one class each; label smoothing spreads the share
    /// `smoothing` evenly over all classes (Szegedy et al. 2016).
    ///
    /// # Panics
    /// If a label is not a class.
    #[track_caller]
    pub fn new(labels: &[u32], classes: usize, smoothing: f32) -> SoftTargets {
        let mut pure = vec![smoothing / classes as f32; labels.len() * classes];
        for (row, label) in pure.chunks_exact_mut(classes).zip(labels) {
            assert!((*label as usize) < classes, "label {label} is not one of {classes} classes");
            row[*label as usize] += 1.0 - smoothing;
        }
        SoftTargets { classes, mixed: pure.clone(), pure }
    }

    /// Makes image `image` a mixture, as mixup and CutMix do: `share` of itself and the rest of
    /// image `other`, both as they were before any mixing.
    ///
    /// # Panics
    /// If there is no such image.
    #[track_caller]
    pub fn mix(&mut self, image: usize, other: usize, share: f32) {
        let [own, others] = [image, other].map(|image| image * self.classes);
        for class in 0..self.classes {
            let (own, other) = (self.pure[own + class], self.pure[others + class]);
            self.mixed[image * self.classes + class] = share * own + (1.0 - share) * other;
        }
    }

    /// The targets of one image.
    pub fn row(&self, image: usize) -> &[f32] {
        &self.mixed[image * self.classes..(image + 1) * self.classes]
    }

    fn on(&self, device: &Device) -> Tensor {
        Tensor::new(&self.mixed, [self.mixed.len() / self.classes, self.classes], device)
    }
}
