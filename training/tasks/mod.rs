//! What a model can learn: [`language`], [`classification`] and [`segmentation`]. Each says in one
//! file, its `mod.rs`, what the loop asks of a [`Task`](crate::training::Task): the model, its
//! batches, its loss and its scores.

pub mod classification;
pub mod images;
pub mod language;
pub mod segmentation;
mod start_files;
