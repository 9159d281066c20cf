//! Which text to learn from, for the programs that take text.

use super::program::Result;
use super::progress::Progress;
use clap::Args;
use neutreno::data::corpus::Corpus;
use neutreno::data::lookup::{Lookup, lookup};
use std::path::PathBuf;

/// The flag.
#[derive(Debug, Args)]
pub struct Text {
    /// Folder with wiki.{train,valid,test}.tokens (or .raw, or {train,valid,test}.txt), or any
    /// text file [default: WikiText-2 from the cache or the network, else generated text]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

impl Text {
    /// Finds it, by the rules of `how`, and says where.
    ///
    /// # Errors
    /// If what was asked for is not there.
    pub fn find(&self, how: Lookup, progress: &Progress) -> Result<Corpus> {
        let (corpus, notices) = lookup(&Lookup { data: self.data.clone(), ..how })?;
        notices.iter().for_each(|notice| progress.line(notice));
        Ok(corpus)
    }
}
