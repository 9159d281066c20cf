//! What the two tasks on images share: settings, batches, counts of what was taken for what, and
//! pictures.

pub(super) mod batches;
mod confusion;
pub(super) mod confusion_matrix;
pub(super) mod facts;
mod linear;
mod settings;
pub(super) mod svg;

pub use confusion::Confusion;
pub use linear::linear_baseline;
pub use settings::ImageSettings;
