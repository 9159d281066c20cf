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
mod hugging_face;
mod load;
mod origin;
mod positions;
mod preprocessing;
mod segmenter;

pub use blocks::Blocks;
pub use classifier::{ImageClassifier, SoftTargets};
pub use config::{ImageSize, VisionConfig};
pub use encoder::{Encoder, Pass};
pub use hugging_face::VisionConfigFile;
pub use load::LoadedClassifier;
pub use origin::{VisionOrigin, VisionTransfer};
pub use preprocessing::Preprocessing;
pub use segmenter::ImageSegmenter;
