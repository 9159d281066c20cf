//! Images to train on: reading them in the formats that people have them in, generating them,
//! changing them at random, and dealing them out in batches.
//!
//! [`ImageData`] is the form that all are read into: bytes in memory. [`TrainingImages`] makes a
//! batch of numbers for the model from them as a function of seed and step alone, so that a run is
//! resumed from a number.

mod affine;
mod augmentation;
mod batches;
mod choice;
mod cifar;
mod class_folders;
mod colours;
mod drawing;
mod error;
mod folder;
mod generated;
mod gzip;
mod holding_out;
mod idx;
mod jpeg;
mod known;
mod label_image;
mod listing;
mod mirroring;
mod mixing;
mod naming;
mod picture;
mod read;
mod samples;
mod seen;
mod segmentation_folders;
mod set;
mod task;

pub use augmentation::Augmentation;
pub use batches::{EvaluationImages, ImageBatch, TrainingImages};
pub use error::{Broken, BrokenSample, ImageError};
pub use folder::ReadOptions;
pub use mixing::Mixed;
pub use seen::{PictureReader, SeenPicture, pictures_in};
pub use set::{ImageData, ImageSet, ImageShape, Normalization, VOID};
pub use task::Task;
