//! Which part of the data a program is to look at.

use clap::ValueEnum;
use neutreno::data::Splits;

/// A part of the data, as typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Split {
    /// What models learnt from
    Train,
    /// What chose the best checkpoint
    Validation,
    /// What they were tested on
    Test,
    /// Everything
    All,
}

impl Split {
    /// What it is called.
    pub fn name(self) -> &'static str {
        match self {
            Split::Train => "train",
            Split::Validation => "validation",
            Split::Test => "test",
            Split::All => "all",
        }
    }

    /// What of the splits is meant, with their names.
    pub fn of<T: Clone>(self, splits: &Splits<T>) -> Vec<(&'static str, T)> {
        let named = splits.clone().named().into_iter();
        named.filter(|(name, _)| self == Split::All || *name == self.name()).collect()
    }
}
