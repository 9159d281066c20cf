//! The flags of a model's size that text and images share.

use super::arguments::{few, positive, share};
use clap::Args;

/// All of them.
#[derive(Debug, Args)]
pub struct Sizes {
    /// Number of blocks; of a segmenter, those of the encoder
    #[arg(long, value_parser = few)]
    pub layers: Option<usize>,
    /// Width of the residual stream
    #[arg(long, value_parser = positive)]
    pub width: Option<usize>,
    /// Number of query heads; must divide the width
    #[arg(long, value_parser = positive)]
    pub heads: Option<usize>,
    /// Width inside the feed-forward part [default: 8/3 of the width for text, four times the width
    /// for images]
    #[arg(long, value_parser = positive)]
    pub feed_forward: Option<usize>,
    /// The share of each target that goes to all tokens, or classes, alike
    #[arg(long, value_parser = share::<f32>)]
    pub label_smoothing: Option<f32>,
}

/// Whether each head gets an equal part of the width.
///
/// # Errors
/// If not, by the names of the flags.
pub fn check_heads(width: usize, heads: usize) -> Result<(), String> {
    match width.is_multiple_of(heads) {
        true => Ok(()),
        false => Err(format!(
            "--heads {heads} does not divide --width {width}; each head gets an equal part"
        )),
    }
}
