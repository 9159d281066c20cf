//! What a model can learn: a room for each kind of data, with a file for each task.

pub mod images;
pub mod language;
