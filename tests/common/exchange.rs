//! Models that are exported, and what other programs must find with them.

use neutreno::engine::checkpoint::Metadata;
use neutreno::engine::half::Half;
use neutreno::engine::{Device, Parameters, Tensor};
use neutreno::export::{Export, Exported};
use neutreno::run::{Use, write_json};
use serde::Serialize;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};

/// Where models are left: a folder that is looked at afterwards, or one that goes away.
pub struct Place {
    path: PathBuf,
    _temporary: Option<tempfile::TempDir>,
}

impl Place {
    pub fn new() -> Place {
        match env::var_os("NEUTRENO_EXCHANGE") {
            Some(path) => Place { path: path.into(), _temporary: None },
            None => {
                let folder = tempfile::tempdir().unwrap();
                Place { path: folder.path().to_owned(), _temporary: Some(folder) }
            }
        }
    }

    /// A new folder in it.
    pub fn folder(&self, name: &str) -> PathBuf {
        let path = self.path.join(name);
        fs::create_dir_all(&path).unwrap();
        path
    }
}

/// A folder as training leaves it.
pub fn write_as_trained(folder: &Path, config: &impl Serialize, parameters: &Parameters) {
    write_json(&folder.join("config.json"), config).unwrap();
    let metadata = Metadata::from([("format".into(), "pt".into())]);
    parameters.save(&folder.join("model.safetensors"), &metadata).unwrap();
}

/// Exports one model.
pub fn export(from: &Path, to: &Path, precision: Option<Half>) -> Exported {
    let _ = fs::remove_dir_all(to);
    let [from, to] = [from, to].map(Path::to_owned);
    Export { from, to, variant: None, seed: None, weights: Use::Last, precision }
        .write(&Device::cpu())
        .unwrap()
}

/// Every bit of a model.
pub fn bits(parameters: &Parameters) -> Vec<(String, Vec<u32>)> {
    let bits = |tensor: &Tensor| tensor.to_vec().unwrap().iter().map(|x| x.to_bits()).collect();
    parameters.iter().map(|(name, tensor)| (name.to_owned(), bits(tensor))).collect()
}
