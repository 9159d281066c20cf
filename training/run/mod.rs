//! What a run leaves behind: its folder with its lock, checkpoints, metrics and summary.
//!
//! Everything here works on plain data, knows no tensor and no device, and can be read back:
//!
//! - [`RunFolder`] says what is in `runs/NAME/`, makes it and locks it;
//! - [`write_atomically`] writes files that are never half there, [`write_folder`] folders;
//! - [`Metric`] is one line of `metrics.jsonl`, [`MetricsWriter`] adds them;
//! - [`Summary`] is `summary.json`, and [`Status`] is `status.json`.
//!
//! `docs/FILES.md` has all files with all fields.

pub(crate) mod checkpoint;
mod choice;
pub(crate) mod disk;
mod draft;
mod error;
mod events;
mod folder;
mod lock;
mod metrics;
mod names;
mod paths;
mod pictures;
pub(crate) mod state;
mod status;
mod summary;
mod trained;
mod values;

pub use checkpoint::{Weights, newest_weights};
pub use choice::Use;
pub use disk::{write_atomically, write_json};
pub use draft::write_folder;
pub use error::Error;
pub(crate) use events::EventWriter;
pub(crate) use folder::FILES;
pub use folder::{ModelFolder, RunFolder};
pub use lock::RunLock;
pub use metrics::{MEASURED, Metric, MetricsWriter, read_metrics};
pub(crate) use names::check_name;
pub use paths::{name_from_json, name_to_json};
pub use pictures::{Picture, read_pictures, write_pictures};
pub use status::{Going, Status};
pub(crate) use summary::{CONSTANTS, STRETCHED, constants};
pub use summary::{Data, RankTimes, STOPPED_EARLY, Summary, VariantSummary};
pub use trained::TrainedModel;
pub use values::Values;
