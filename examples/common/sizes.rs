//! The flags of a model's size that text and images share.

use super::arguments::{few, positive, share};
use clap::Args;
use neutreno::report::bytes;

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

/// Whether so many numbers could be had somewhere: their sizes by the names of their flags, which
/// are multiplied.
///
/// # Errors
/// If not, with the numbers.
pub fn check_numbers(what: &str, sizes: &[(&str, usize)]) -> Result<(), String> {
    const MOST: f64 = 1e12;
    let count: f64 = sizes.iter().map(|(_, size)| *size as f64).product();
    if count <= MOST {
        return Ok(());
    }
    let sizes: Vec<String> = sizes.iter().map(|(name, size)| format!("{name} {size}")).collect();
    Err(format!(
        "{} are {count:.1e} {what}, and no machine holds more than {MOST:.0e}; choose smaller ones",
        sizes.join(" × ")
    ))
}

/// Whether the system would give so many bytes for batches `of` what is in them, before any are
/// made.
///
/// # Errors
/// If not, with the numbers.
pub fn check_batch(batch: usize, of: &str, bytes_an_example: usize) -> Result<(), String> {
    // One is in use, and some are made ahead.
    const BATCHES: usize = 4;
    let needed = batch.saturating_mul(bytes_an_example).saturating_mul(BATCHES);
    check_room(&format!("--batch {batch} {of}"), needed).map_err(|problem| {
        format!("{problem}; a smaller --batch with a larger --accumulate makes the same steps")
    })
}

/// The same for batches of windows of text: inputs and targets, an id each.
///
/// # Errors
/// If not, with the numbers.
pub fn check_windows(batch: usize, context: usize) -> Result<(), String> {
    check_batch(batch, &format!("of --context {context}"), 2 * size_of::<u32>() * context)
}

/// Whether the system would give so many bytes for `what`.
///
/// # Errors
/// If not, with the number.
pub fn check_room(what: &str, needed: usize) -> Result<(), String> {
    Vec::<u8>::new().try_reserve_exact(needed).map_err(|_| {
        format!("{what} needs {}, which the system does not give", bytes(needed as u64))
    })
}
