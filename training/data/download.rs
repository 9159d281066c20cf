//! Fetching WikiText-2 and keeping it: over TLS, limited in size and time, verified by hash.

use super::Splits;
use super::files::{hex, write_whole};
use sha1::{Digest, Sha1};
use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;
use thiserror::Error;

/// A published corpus: three files below one address.
pub(super) struct Remote {
    pub(super) name: &'static str,
    /// The address up to the file's name.
    pub(super) base: String,
    pub(super) files: Splits<RemoteFile>,
    /// The most bytes that a file may have.
    pub(super) limit: u64,
}

pub(super) struct RemoteFile {
    pub(super) name: &'static str,
    /// Git's name for exactly this content.
    pub(super) blob: String,
}

/// Why a file can't be used.
#[derive(Debug, Error)]
pub(super) enum DownloadError {
    #[error("{url}: {source}")]
    Network { url: String, source: Box<ureq::Error> },
    #[error(
        "{name}: {bytes} bytes with git hash {found} instead of {expected}, so it is damaged or changed"
    )]
    WrongContent { name: String, bytes: usize, expected: String, found: String },
    #[error("{path}: {source}")]
    File { path: String, source: io::Error },
}

impl Remote {
    /// WikiText-2 in words, as PyTorch's examples keep it (Merity et al. 2016; CC BY-SA).
    pub(super) fn wikitext_2() -> Remote {
        let file = |name, blob: &str| RemoteFile { name, blob: blob.into() };
        Remote {
            name: "WikiText-2",
            base: "https://raw.githubusercontent.com/pytorch/examples/main/word_language_model/\
                   data/wikitext-2/"
                .into(),
            files: Splits {
                train: file("train.txt", "2d84b35af79e411d73ea7cae83c73964c6ac83b4"),
                validation: file("valid.txt", "eec944eb2d9e46061cd34a6913528797db6842fc"),
                test: file("test.txt", "6f3fc88e4cd88456ea892971f9f12243e8428624"),
            },
            limit: 16 << 20,
        }
    }

    /// Fetches all files, verified. Without a network it gives up within seconds.
    pub(super) fn download(&self) -> Result<Splits<String>, DownloadError> {
        let seconds = |count| Some(Duration::from_secs(count));
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .timeout_resolve(seconds(5))
            .timeout_connect(seconds(5))
            .timeout_recv_response(seconds(10))
            .timeout_per_read(seconds(10))
            .timeout_global(seconds(600))
            .build()
            .into();
        self.files.as_ref().try_map(|file| {
            let url = format!("{}{}", self.base, file.name);
            let bytes = agent
                .get(&url)
                .call()
                .and_then(|mut reply| {
                    reply.body_mut().with_config().limit(self.limit).read_to_vec()
                })
                .map_err(|source| DownloadError::Network {
                    url: url.clone(),
                    source: Box::new(source),
                })?;
            file.verify(&url, bytes)
        })
    }

    /// What is kept in a folder, verified; `None` if not all files are there.
    pub(super) fn kept(&self, folder: &Path) -> Result<Option<Splits<String>>, DownloadError> {
        if !self.files.iter().all(|file| folder.join(file.name).exists()) {
            return Ok(None);
        }
        let read = |file: &RemoteFile| {
            let path = folder.join(file.name);
            let name = path.display().to_string();
            let bytes = fs::read(&path)
                .map_err(|source| DownloadError::File { path: name.clone(), source })?;
            file.verify(&name, bytes)
        };
        self.files.as_ref().try_map(read).map(Some)
    }

    /// Writes verified texts to a folder, each under a temporary name first.
    pub(super) fn keep(&self, texts: &Splits<String>, folder: &Path) -> Result<(), DownloadError> {
        let error =
            |path: &Path, source| DownloadError::File { path: path.display().to_string(), source };
        fs::create_dir_all(folder).map_err(|source| error(folder, source))?;
        for (file, text) in self.files.iter().zip(texts.iter()) {
            let path = folder.join(file.name);
            write_whole(&path, text.as_bytes()).map_err(|source| error(&path, source))?;
        }
        Ok(())
    }

    /// Whether texts are exactly these files.
    pub(super) fn matches(&self, texts: &Splits<String>) -> bool {
        let mut pairs = self.files.iter().zip(texts.iter());
        pairs.all(|(file, text)| git_blob(text.as_bytes()) == file.blob)
    }
}

impl RemoteFile {
    fn verify(&self, name: &str, bytes: Vec<u8>) -> Result<String, DownloadError> {
        let (found, length) = (git_blob(&bytes), bytes.len());
        let wrong = || DownloadError::WrongContent {
            name: name.into(),
            bytes: length,
            expected: self.blob.clone(),
            found: found.clone(),
        };
        if found != self.blob {
            return Err(wrong());
        }
        String::from_utf8(bytes).map_err(|_| wrong())
    }
}

/// Git's name of a content: SHA-1 of "blob", its length, a zero byte, and itself.
pub(super) fn git_blob(content: &[u8]) -> String {
    let mut hash = Sha1::new();
    hash.update(format!("blob {}\0", content.len()));
    hash.update(content);
    hex(&hash.finalize())
}
