//! Four transformer variants on the neutreno engine: models, data, training, measurement.

pub use neutreno_engine as engine;

pub mod data;
pub mod report;
