//! Models of images, in the four variants: a classifier and a segmenter on the same encoder.
//!
//! [`Encoder`] is a vision transformer as in DeiT (Touvron et al. 2021): patches, learned
//! positions, pre-norm blocks with full attention. [`ImageClassifier`] puts a linear layer on its
//! class token, or on the mean of its tokens; [`ImageSegmenter`] a mask transformer (Strudel et al.
//! 2021). Names of parameters are those of Hugging Face's `ViTForImageClassification`, and of
//! Segmenter's code for the mask transformer.

mod blocks;
mod classifier;
mod config;
mod encoder;
mod segmenter;

pub use blocks::Blocks;
pub use classifier::{ImageClassifier, SoftTargets};
pub use config::{ImageSize, VisionConfig};
pub use encoder::Encoder;
pub use segmenter::ImageSegmenter;

use crate::engine::random::Key;

/// What one pass through a model of images needs to know beside the images.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pass {
    /// The key that decides which samples skip which branches (stochastic depth); `None` for no
    /// skipping, as in evaluation. A fresh one for each micro-batch.
    pub stochastic_depth: Option<Key>,
}

impl Pass {
    /// A training pass.
    pub fn training(stochastic_depth: Key) -> Pass {
        Pass { stochastic_depth: Some(stochastic_depth) }
    }

    /// A pass in which nothing is left to chance.
    pub fn evaluation() -> Pass {
        Pass::default()
    }
}
