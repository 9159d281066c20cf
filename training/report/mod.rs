//! What is made of a run's results: tables and pages to look at. Everything here works on plain data.
//!
//! - [`page`] turns a summary and the metrics into `report.html`;
//! - [`Difference`] says how a variant compares with another, over seeds;
//! - [`measurements_page`] shows what was measured inside models.

mod curves;
mod efficiency;
mod figures;
mod format;
mod html;
mod inside;
mod maps;
mod measures;
mod plots;
#[cfg(test)]
mod samples;
mod summary;
mod table;

pub use efficiency::Efficiency;
pub use format::{bytes, duration, thousands};
pub use html::{RunMetrics, page};
pub use inside::{Map, MeasuredModel, measurements_page};
pub use maps::draw_map;
pub use measures::describe;
pub use summary::{Difference, Group, Spread};

/// A variant's name as its authors write it: `neutreno` is NeuTRENO. Other words stay.
///
/// ```
/// # use neutreno::report::label;
/// assert_eq!(label("svformer"), "SVFormer");
/// assert_eq!(label("neutreno+resformer"), "NeuTRENO+ResFormer");
/// ```
pub fn label(variant: &str) -> String {
    const NAMES: [&str; 4] = ["Transformer", "NeuTRENO", "ResFormer", "SVFormer"];
    NAMES.iter().fold(variant.to_owned(), |label, name| label.replace(&name.to_lowercase(), name))
}
