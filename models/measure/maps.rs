//! Pictures of attention matrices.

use super::attention::Attention;
use crate::engine::Result;
use crate::trace::Trace;
use image::{GrayImage, Luma};
use std::io::Cursor;

/// A matrix larger than this is shown in so many rows and columns, each the mean of several.
const MOST: usize = 128;

/// The attention matrix of one head of one sample as a PNG: a row a query, a column a key, the
/// darker the more attention. The scale is by square root, so that small weights are seen too.
///
/// # Errors
/// If the device failed.
///
/// # Panics
/// If there is no such layer, head or sample.
pub fn attention_map(trace: &Trace, layer: usize, head: usize, sample: usize) -> Result<Vec<u8>> {
    let attention = Attention::read(&trace.layers[layer], trace.causal)?;
    assert!(head < attention.heads(), "head {head} of {}", attention.heads());
    let tokens = attention.tokens();
    let side = tokens.min(MOST);
    let place = |token: usize| token * side / tokens;
    let mut sums = vec![0.0; side * side];
    let mut counts = vec![0_u32; side];
    (0..tokens).for_each(|token| counts[place(token)] += 1);
    attention.rows(sample, head, |row, weights| {
        for (column, weight) in weights.iter().enumerate() {
            sums[place(row) * side + place(column)] += weight;
        }
    });
    let (own, zoom) = (side as u32, (256 / side as u32).max(1));
    let image = GrayImage::from_fn(own * zoom, own * zoom, |x, y| {
        let (row, column) = ((y / zoom) as usize, (x / zoom) as usize);
        // The mean over the rows that share a line; columns add up, as attention does.
        let weight = sums[row * side + column] / f64::from(counts[row]);
        Luma([(255.0 * (1.0 - weight.clamp(0.0, 1.0).sqrt())).round() as u8])
    });
    let mut png = Cursor::new(Vec::new());
    image.write_to(&mut png, image::ImageFormat::Png).expect("memory takes any picture");
    Ok(png.into_inner())
}
