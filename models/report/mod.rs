//! What a run leaves behind: its folder, its measurements line by line, its summary and a page to
//! look at.
//!
//! Everything here works on plain data, knows no tensor and no device, and can be read back:
//!
//! - [`RunFolder`] makes `runs/NAME/` and writes files that are never half there;
//! - [`Metric`] is one line of `metrics.jsonl`, [`MetricsWriter`] appends them;
//! - [`Summary`] is `summary.json`, and prints the table at the end of a run;
//! - [`page`] turns a summary and the metrics into `report.html`.

mod curves;
pub(crate) mod disk;
mod draft;
mod efficiency;
mod figures;
mod format;
mod html;
mod inside;
mod measures;
mod metrics;
mod pictures;
mod plots;
mod run_folder;
#[cfg(test)]
mod samples;
mod summary;
mod table;
mod values;

use serde::{Deserialize, Deserializer};
use std::io;
use std::path::{Path, PathBuf};

pub use efficiency::Efficiency;
pub use format::{bytes, duration, thousands};
pub use html::{RunMetrics, page};
pub use inside::{Map, MeasuredModel, measurements_page};
pub use measures::describe;
pub use metrics::{MEASURED, Metric, MetricsWriter, read_metrics};
pub use pictures::{Picture, read_pictures, write_pictures};
pub use run_folder::{ModelFolder, RunFolder, RunLock, write_atomically, write_json};
pub use summary::{Data, Difference, Group, Spread, Summary, VariantSummary};
pub use values::Values;

/// Why a run's files could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The folder of a new run could not be made.
    #[error(
        "cannot create the folder {}: {source}. Name a place that can be written with --out",
        path.display()
    )]
    Create {
        /// The folder that could not be made.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The folder of a new run is there already; it is left as it is.
    #[error(
        "{} already exists and was left as it is. Name another place with --out, or, if it is a \
         run, go on with it: --resume {}",
        path.display(), path.display()
    )]
    Exists {
        /// The folder that is there.
        path: PathBuf,
    },
    /// Another process is training in this folder.
    #[error(
        "another process{} is training in {}. Wait until it is done, or stop it",
        process.as_ref().map(|id| format!(" ({id})")).unwrap_or_default(),
        path.display()
    )]
    Running {
        /// The run's folder.
        path: PathBuf,
        /// The process, if it can be told.
        process: Option<String>,
    },
    /// The folder to continue was not made by a run.
    #[error("{} is not the folder of a run: it has no run.json", path.display())]
    NotARun {
        /// The folder without a `run.json`.
        path: PathBuf,
    },
    /// A name that some system does not allow for a folder.
    #[error(
        "{name:?} cannot be the name of a folder: it must be 1 to 200 bytes long, without control \
         characters and any of < > : \" / \\ | ? *, and neither begin nor end with a dot or space"
    )]
    Name {
        /// The name as it was given.
        name: String,
    },
    /// A checkpoint's files are not those that were written.
    #[error("the checkpoint {} is damaged: {reason}", path.display())]
    Damaged {
        /// The checkpoint's folder.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A file could not be written or read.
    #[error("cannot {action} {}: {source}", path.display())]
    File {
        /// `create`, `read`, `write`, `sync` or `remove`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file was read but its contents are not what they should be.
    #[error("{}, line {line}: {source}", path.display())]
    Contents {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        source: serde_json::Error,
    },
}

impl Error {
    fn file(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
        let path = path.to_owned();
        move |source| Error::File { action, path, source }
    }
}

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

/// JSON has no NaN and no infinity: they are written as null, which is read back as NaN.
fn null_is_nan<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or(f64::NAN))
}
