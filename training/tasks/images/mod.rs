//! What the two tasks on images share: settings, batches, counts of what was taken for what,
//! pictures and masks.

pub(super) mod batches;
mod confusion;
pub(super) mod confusion_matrix;
pub(super) mod facts;
mod linear;
mod masks;
mod settings;
mod start;
pub(super) mod svg;

pub use confusion::Confusion;
pub use linear::linear_baseline;
pub use masks::{NOT_SEEN, class_colour, mask_png};
pub use settings::ImageSettings;
pub use start::ImageStart;
