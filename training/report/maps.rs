//! Pictures of attention matrices.

use crate::measure::AttentionMap;
use image::{GrayImage, Luma};
use std::io::Cursor;

/// An attention matrix as a PNG, the darker the more attention. The scale is by square root, so that
/// small weights are seen too.
///
/// ```
/// use neutreno::measure::AttentionMap;
/// let png = neutreno::report::draw_map(&AttentionMap { side: 1, weights: vec![1.0] });
/// assert_eq!(png[1..4], *b"PNG");
/// ```
pub fn draw_map(map: &AttentionMap) -> Vec<u8> {
    let side = map.side as u32;
    let zoom = (256 / side).max(1);
    let image = GrayImage::from_fn(side * zoom, side * zoom, |x, y| {
        let (row, column) = ((y / zoom) as usize, (x / zoom) as usize);
        let weight = map.weights[row * map.side + column];
        Luma([(255.0 * (1.0 - weight.clamp(0.0, 1.0).sqrt())).round() as u8])
    });
    let mut png = Cursor::new(Vec::new());
    image.write_to(&mut png, image::ImageFormat::Png).expect("memory takes any picture");
    png.into_inner()
}
