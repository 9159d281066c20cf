//! What the two tasks on images share: settings, batches, counts of what was taken for what, and
//! pictures.

pub(crate) mod batches;
mod confusion;
pub(crate) mod confusion_matrix;
pub(crate) mod facts;
mod linear;
mod settings;
pub(crate) mod svg;

pub use confusion::Confusion;
pub use linear::linear_baseline;
pub use settings::ImageSettings;
