//! The settings of a model of images, and the presets.

use crate::data::images::{Augmentation, ImageData, ImageShape, Task};
use crate::engine::optim::Curve;
use crate::settings::{Preset, Settings};
use crate::variant::VariantConfig;
use crate::vision::{ImageSize, VisionConfig};
use serde::{Deserialize, Serialize};

/// How large a model of images is, how its images are changed, and how it is scored. The same for
/// every variant of a comparison.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ImageSettings {
    /// The number of blocks of the encoder.
    pub layers: usize,
    /// The width of the residual stream.
    pub width: usize,
    /// The width inside the feed-forward part; `None` for four times the width.
    pub feed_forward: Option<usize>,
    /// The number of heads.
    pub heads: usize,
    /// The side of the patches, in pixels; `None` for the largest divisor of both of the images' sides
    /// up to 8, or where that makes more than 1,024 patches of an image, the smallest up to 32 that
    /// makes fewer.
    pub patch: Option<usize>,
    /// Whether a class token is read, instead of the mean of the tokens. A segmenter does without.
    pub class_token: bool,
    /// The blocks of a segmenter's mask transformer.
    pub decoder_layers: usize,
    /// The scores of a segmenter along each side of a patch
    /// ([`mask_upscale`](VisionConfig::mask_upscale)); `None` for the most up to 4 that fit.
    pub mask_upscale: Option<usize>,
    /// ε of the norm over a segmenter's scores ([`mask_norm_eps`](VisionConfig::mask_norm_eps)); `None`
    /// for 0.01.
    #[serde(default)]
    pub mask_norm_epsilon: Option<f32>,
    /// The standard deviation of the initial weights of linear layers.
    pub initial_deviation: f32,
    /// The probability with which a sample skips a branch of the last block.
    pub drop_path: f32,
    /// The share of the target that label smoothing gives to all classes alike.
    pub label_smoothing: f32,
    /// How far a segmenter's loss makes up for rare classes (logit adjustment, Menon et al. 2021):
    /// while it learns, this times the logarithm of its frequency is added to each class's logit.
    /// 0 for not at all; with 1, all classes are as important.
    pub balance: f32,
    /// How training images are changed.
    pub augmentation: Augmentation,
    /// The validation images that are scored while training.
    pub evaluation_images: usize,
}

impl ImageSettings {
    /// All presets, the same for both tasks.
    pub const PRESETS: [Preset; 3] = [
        Preset { name: "tiny", purpose: "all four variants in minutes on two CPU cores" },
        Preset { name: "small", purpose: "8 layers of width 192; hours on a CPU" },
        Preset {
            name: "deit-tiny",
            purpose: "12 layers of width 192, patches of 16, for images of 224 × 224; for a GPU",
        },
    ];

    /// The settings of a preset; `None` if there is no such preset.
    ///
    /// ```
    /// use neutreno::data::images::Task;
    /// use neutreno::tasks::images::ImageSettings;
    /// let (sizes, training) = ImageSettings::preset("deit-tiny", Task::Classification).unwrap();
    /// assert_eq!((sizes.layers, sizes.width, sizes.heads, sizes.patch), (12, 192, 3, Some(16)));
    /// assert_eq!(training.weight_decay, 0.05);
    /// assert!(ImageSettings::preset("huge", Task::Segmentation).is_none());
    /// ```
    pub fn preset(name: &str, task: Task) -> Option<(ImageSettings, Settings)> {
        let (sizes, training) = match task {
            Task::Classification => classification(),
            Task::Segmentation => segmentation(),
        };
        let longer = Settings { learning_rate: 5e-4, warmup: 500, ..training.clone() };
        Some(match name {
            "tiny" => (sizes, training),
            "small" => {
                (small(sizes, task), Settings { steps: 10_000, average: Some(0.9995), ..longer })
            }
            "deit-tiny" => {
                let augmentation = match task {
                    Task::Classification => Augmentation::deit(),
                    Task::Segmentation => Augmentation::segmentation(),
                };
                let sizes = ImageSettings {
                    layers: 12,
                    width: 192,
                    heads: 3,
                    patch: Some(16),
                    class_token: true,
                    mask_upscale: Some(1),
                    initial_deviation: 0.02,
                    drop_path: 0.1,
                    label_smoothing: if task == Task::Classification { 0.1 } else { 0.0 },
                    augmentation,
                    ..sizes
                };
                (sizes, Settings { steps: 100_000, warmup: 2_000, average: Some(0.9998), ..longer })
            }
            _ => return None,
        })
    }

    /// The side of the patches of images of this shape.
    ///
    /// ```
    /// # use neutreno::data::images::{ImageShape, Task};
    /// # use neutreno::tasks::images::ImageSettings;
    /// let (sizes, _) = ImageSettings::preset("tiny", Task::Segmentation).unwrap();
    /// assert_eq!(sizes.patch_of(ImageShape { channels: 1, height: 28, width: 28 }), 7);
    /// assert_eq!(sizes.patch_of(ImageShape { channels: 3, height: 120, width: 160 }), 8);
    /// assert_eq!(sizes.patch_of(ImageShape { channels: 3, height: 480, width: 640 }), 20);
    /// assert_eq!(sizes.patch_of(ImageShape { channels: 3, height: 333, width: 500 }), 1);
    /// ```
    pub fn patch_of(&self, shape: ImageShape) -> usize {
        let divides =
            |side: &usize| shape.height.is_multiple_of(*side) && shape.width.is_multiple_of(*side);
        let affordable = |side: &usize| shape.pixels() / (side * side) <= 1024;
        let usual = || {
            let fine = (1..=8).rev().find(divides).expect("1 divides all sizes");
            if affordable(&fine) {
                return fine;
            }
            let coarser = || (fine + 1..=32).filter(divides);
            coarser().find(affordable).or(coarser().next_back()).unwrap_or(fine)
        };
        self.patch.unwrap_or_else(usual)
    }

    /// A height and a width near those of images, which patches divide that are not too many.
    ///
    /// ```
    /// # use neutreno::data::images::ImageShape;
    /// # use neutreno::tasks::images::ImageSettings;
    /// let near = |height, width| ImageSettings::near(ImageShape { channels: 3, height, width });
    /// assert_eq!([near(333, 500), near(37, 37)], [[336, 496], [40, 40]]);
    /// ```
    pub fn near(shape: ImageShape) -> [usize; 2] {
        let rounded = |side: usize, patch: usize| ((side + patch / 2) / patch).max(1) * patch;
        let sizes = [8, 16, 32].map(|patch| {
            let size = [shape.height, shape.width].map(|side| rounded(side, patch));
            (size, size[0] * size[1] / (patch * patch))
        });
        sizes.iter().find(|(_, patches)| *patches <= 1024).unwrap_or(&sizes[2]).0
    }

    /// The scores of a segmenter along each side of patches of this side.
    ///
    /// ```
    /// # use neutreno::data::images::Task;
    /// # use neutreno::tasks::images::ImageSettings;
    /// let (sizes, _) = ImageSettings::preset("tiny", Task::Segmentation).unwrap();
    /// assert_eq!([7, 8, 10].map(|patch| sizes.mask_upscale_of(patch)), [1, 4, 2]);
    /// ```
    pub fn mask_upscale_of(&self, patch: usize) -> usize {
        let divides =
            |count: &usize| patch.is_multiple_of(*count) && self.width.is_multiple_of(*count);
        let most = || (1..=4).rev().find(divides).expect("1 divides all sizes");
        self.mask_upscale.unwrap_or_else(most)
    }

    /// The configuration of a model of this size for these images.
    pub fn model(&self, data: &ImageData, variant: &VariantConfig) -> VisionConfig {
        let size = ImageSize::new(data.shape.height, data.shape.width);
        let Self { width, layers, heads, .. } = *self;
        let patch = self.patch_of(data.shape);
        let config = VisionConfig::new(size, patch, width, layers, heads, &data.classes);
        let config = VisionConfig {
            num_channels: data.shape.channels,
            intermediate_size: self.feed_forward.unwrap_or(4 * width),
            class_token: self.class_token,
            initializer_range: self.initial_deviation,
            drop_path_rate: self.drop_path,
            variant: variant.clone(),
            ..config
        };
        match data.task {
            Task::Classification => config,
            Task::Segmentation => {
                let segmenter = config.segmenting(self.decoder_layers);
                VisionConfig {
                    mask_upscale: self.mask_upscale_of(patch),
                    mask_norm_eps: self.mask_norm_epsilon.or(segmenter.mask_norm_eps),
                    ..segmenter
                }
            }
        }
    }
}

/// The preset small, from tiny.
fn small(sizes: ImageSettings, task: Task) -> ImageSettings {
    let sizes = ImageSettings {
        layers: 8,
        width: 192,
        heads: 3,
        initial_deviation: 0.02,
        drop_path: 0.1,
        ..sizes
    };
    match task {
        Task::Classification => {
            ImageSettings { patch: Some(4), augmentation: Augmentation::light(), ..sizes }
        }
        Task::Segmentation => ImageSettings { augmentation: Augmentation::segmentation(), ..sizes },
    }
}

/// The preset tiny for classification.
fn classification() -> (ImageSettings, Settings) {
    let sizes = ImageSettings {
        layers: 4,
        width: 96,
        feed_forward: None,
        heads: 3,
        patch: None,
        class_token: false,
        decoder_layers: 2,
        mask_upscale: None,
        mask_norm_epsilon: None,
        // More than the 0.02 of larger models: a short training of a narrow one gains by it.
        initial_deviation: 0.1,
        drop_path: 0.0,
        label_smoothing: 0.1,
        balance: 0.0,
        // In a short training, moving the images costs more than it gives.
        augmentation: Augmentation { flip: 0.5, ..Augmentation::none() },
        evaluation_images: 1_000,
    };
    let training = Settings {
        batch: 64,
        accumulate: 1,
        steps: 1_000,
        learning_rate: 2e-3,
        warmup: 100,
        decay: Curve::Cosine,
        final_fraction: 0.01,
        weight_decay: 0.05,
        betas: [0.9, 0.99],
        clip: 1.0,
        average: Some(0.995),
        evaluate_every: 250,
        patience: None,
        evaluate_start: false,
        measure_every: 0,
        sample_every: 0,
        schedules: Vec::new(),
    };
    (sizes, training)
}

/// The preset tiny for segmentation.
fn segmentation() -> (ImageSettings, Settings) {
    let (sizes, training) = classification();
    let sizes = ImageSettings {
        width: 128,
        heads: 4,
        initial_deviation: 0.08,
        label_smoothing: 0.0,
        balance: 0.6,
        // Magnified images take many more steps to learn from.
        augmentation: Augmentation { scale: [1.0, 1.0], ..Augmentation::segmentation() },
        evaluation_images: 40,
        ..sizes
    };
    let training = Settings { batch: 8, steps: 600, learning_rate: 5e-4, warmup: 150, ..training };
    (sizes, training)
}
