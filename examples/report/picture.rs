//! From SVG to PNG.

use crate::common::program::Result;
use epaint_default_fonts::UBUNTU_LIGHT;
use resvg::tiny_skia::{Pixmap, Transform};
use resvg::usvg::{Options, Tree, fontdb};
use std::sync::Arc;

/// Draws pictures with a font of its own, so that they are the same on every machine.
pub struct Pictures(Options<'static>);

impl Pictures {
    pub fn new() -> Pictures {
        let mut fonts = fontdb::Database::new();
        fonts.load_font_data(UBUNTU_LIGHT.to_vec());
        let family = fonts.faces().next().and_then(|face| Some(face.families.first()?.0.clone()));
        fonts.set_sans_serif_family(family.unwrap_or_default());
        Pictures(Options { fontdb: Arc::new(fonts), ..Options::default() })
    }

    /// A picture so many pixels wide.
    ///
    /// # Errors
    /// If it is no SVG, or larger than memory.
    pub fn png(&self, svg: &str, width: u32) -> Result<Vec<u8>> {
        let tree = Tree::from_str(svg, &self.0)?;
        let scale = width as f32 / tree.size().width();
        let height = (tree.size().height() * scale).round().max(1.0) as u32;
        let mut pixels = Pixmap::new(width, height).ok_or("a picture is too large")?;
        resvg::render(&tree, Transform::from_scale(scale, scale), &mut pixels.as_mut());
        Ok(pixels.encode_png()?)
    }
}
