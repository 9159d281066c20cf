//! What is made of a run's results: tables and pages to look at. Everything here works on plain data.
//!
//! - [`page`] turns a summary and the metrics into `report.html`;
//! - [`figures`] gives its figures one by one, with their numbers;
//! - [`collect`] reads any runs, and [`SideBySide`] compares their models, paired by seed ([`Paired`]);
//! - [`measurements_page`] shows what was measured inside models;
//! - [`savings`] says how many fewer parameters, and how much less data, a variant needs for the same
//!   loss, and [`Efficiency`] shows it.

mod best;
mod collected;
mod compared;
mod curves;
mod efficiency;
mod escape;
mod extent;
mod figures;
mod format;
mod group;
mod head;
mod heat_maps;
mod html;
mod inside;
mod language;
mod maps;
mod measures;
mod paired;
mod plots;
mod publish;
mod ranks;
mod run_metrics;
#[cfg(test)]
mod samples;
mod savings;
mod side_by_side;
mod spread;
mod summary;
mod table;
mod trade_offs;

pub use collected::{Collected, collect};
pub use efficiency::Efficiency;
pub use escape::escaped;
pub use format::{bytes, duration, label, thousands};
pub use group::Group;
pub use html::page;
pub use inside::{Map, MeasuredModel, measurements_page};
pub use language::MANY_UNKNOWN;
pub use maps::draw_map;
pub use measures::describe;
pub use paired::Paired;
pub use publish::{Figure, figures};
pub use run_metrics::RunMetrics;
pub use savings::{Point, PowerLaw, Saving, savings};
pub use side_by_side::{Row, SideBySide};
pub use spread::Spread;
