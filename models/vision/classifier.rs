//! Classification of images.

use super::blocks::Linear;
use super::config::VisionConfig;
use super::encoder::{Encoder, Pass};
use crate::engine::{Builder, Device, Tensor, no_grad};

/// An encoder with a linear layer on its class token, or on the mean of its tokens if it has none.
///
/// ```
/// use neutreno_models::engine::{Device, Parameters, Tensor};
/// use neutreno_models::vision::{ImageClassifier, ImageSize, Pass, SoftTargets, VisionConfig};
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
/// # Ok::<(), neutreno_models::engine::Error>(())
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
        ImageClassifier { encoder, head: Linear::new(config, "classifier", sizes, true, builder) }
    }

    /// The encoder.
    pub fn encoder(&self) -> &Encoder {
        &self.encoder
    }

    /// The configuration.
    pub fn config(&self) -> &VisionConfig {
        self.encoder.config()
    }

    /// Where the parameters are.
    pub fn device(&self) -> &Device {
        self.encoder.device()
    }

    /// The logits (batch, classes) of images (batch, channels, height, width), as numbers to look at:
    /// nothing is kept for gradients.
    ///
    /// # Panics
    /// If the images do not have the configured size.
    #[track_caller]
    pub fn logits(&self, images: &Tensor) -> Tensor {
        self.encoder.check_images(images);
        no_grad(|| self.forward(images, &Pass::evaluation()))
    }

    /// The same for a loss of one's own: they can be differentiated.
    ///
    /// # Panics
    /// As [`ImageClassifier::logits`].
    #[track_caller]
    pub fn forward(&self, images: &Tensor, pass: &Pass) -> Tensor {
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
        let logits = self.forward(images, pass);
        let targets = targets.on(logits.device());
        let images = targets.shape()[0] as f32;
        logits.log_softmax(-1).multiply(&targets).sum_all().scale(-1.0 / images)
    }
}

/// For each image, how likely each class is meant to be: (images, classes).
///
/// ```
/// use neutreno_models::vision::SoftTargets;
/// let targets = SoftTargets::new(&[0, 2], 4, 0.5);
/// assert_eq!(targets.row(0), [0.625, 0.125, 0.125, 0.125]);
/// let mixed = targets.mix(&SoftTargets::new(&[2, 0], 4, 0.5), 0.5);
/// assert_eq!(mixed.row(0), [0.375, 0.125, 0.375, 0.125]);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct SoftTargets {
    classes: usize,
    shares: Vec<f32>,
}

impl SoftTargets {
    /// The targets of images that belong to one class each; label smoothing spreads the share
    /// `smoothing` evenly over all classes (Szegedy et al. 2016).
    ///
    /// # Panics
    /// If a label is not a class.
    #[track_caller]
    pub fn new(labels: &[u32], classes: usize, smoothing: f32) -> SoftTargets {
        let mut shares = vec![smoothing / classes as f32; labels.len() * classes];
        for (row, label) in shares.chunks_exact_mut(classes).zip(labels) {
            assert!((*label as usize) < classes, "label {label} is not one of {classes} classes");
            row[*label as usize] += 1.0 - smoothing;
        }
        SoftTargets { classes, shares }
    }

    /// The targets of images that were mixed (mixup, CutMix): the share `share` of `others` and
    /// the rest of these.
    ///
    /// # Panics
    /// If they are not for as many images and classes.
    #[track_caller]
    pub fn mix(&self, others: &SoftTargets, share: f32) -> SoftTargets {
        let same = self.classes == others.classes && self.shares.len() == others.shares.len();
        assert!(same, "targets of different sizes");
        let pairs = self.shares.iter().zip(&others.shares);
        let shares = pairs.map(|(own, other)| (1.0 - share) * own + share * other).collect();
        SoftTargets { classes: self.classes, shares }
    }

    /// The targets of one image.
    ///
    /// # Panics
    /// If there is no such image.
    #[track_caller]
    pub fn row(&self, image: usize) -> &[f32] {
        &self.shares[image * self.classes..(image + 1) * self.classes]
    }

    fn on(&self, device: &Device) -> Tensor {
        Tensor::new(&self.shares, [self.shares.len() / self.classes, self.classes], device)
    }
}
