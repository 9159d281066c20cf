//! The way from a path to trained models, for whatever is done with them: writing, scoring, measuring,
//! predicting, exporting, training on.
//!
//! [`Found`] says which models are meant, of a run or in a folder of their own, and which of their weights
//! ([`Use`](crate::run::Use)); [`language_model`] and [`ImageModel`] open them.

mod load;
mod source;

pub use load::{ImageModel, OpenedImages, language_model, load_weights};
pub use source::{Found, Kind, OfRun, Source, Wanted};
