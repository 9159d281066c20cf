//! Which trained models a program is to use.

use super::arguments::place;
use super::program::Result;
use super::progress::Progress;
use clap::{ArgAction, Args};
use neutreno::open::{Found, Source, Wanted};
use neutreno::run::Use;
use std::path::PathBuf;

/// Which models, and which of their weights.
#[derive(Debug, Args)]
pub struct Which {
    /// A run (runs/NAME), the folder of one model in it (runs/NAME/svformer-seed1), or a folder of
    /// Hugging Face's with config.json and model.safetensors, of text with tokenizer.json too
    #[arg(value_name = "MODEL", value_parser = place())]
    pub place: Option<PathBuf>,
    /// The same, said with a flag
    #[arg(long, value_name = "PATH", value_parser = place(), conflicts_with = "place", help_heading = "Models")]
    pub model: Option<PathBuf>,
    /// Only these models of a run: variants, or names of their folders [default: all, one after
    /// another]
    #[arg(long, value_name = "NAME,...", action = ArgAction::Set, value_delimiter = ',', help_heading = "Models")]
    pub variant: Vec<String>,
    #[command(flatten, next_help_heading = "Models")]
    pub weights: WhichWeights,
}

/// Which weights of a model of a run.
#[derive(Debug, Args)]
pub struct WhichWeights {
    /// Which weights of a model of a run: last, best (by the scores while it was trained), or those
    /// after so many steps, of which there is a checkpoint
    #[arg(long = "use", visible_alias = "checkpoint", value_name = "WEIGHTS", default_value_t = Use::Last)]
    pub which: Use,
}

impl Which {
    /// The path that was given, if any.
    pub fn path(&self) -> Option<&PathBuf> {
        self.place.as_ref().or(self.model.as_ref())
    }

    /// Finds the models, and says what is to be known of them.
    ///
    /// # Errors
    /// If the path leads to none.
    pub fn find(&self, progress: &Progress) -> Result<Vec<Source>> {
        let path = self.path().ok_or("which model? Name a run, or a model's folder")?;
        let (variants, weights) = (self.variant.clone(), self.weights.which);
        let found = Found::at(path, &Wanted { variants, weights, seed: None })?;
        found.notices.iter().for_each(|line| progress.line(line));
        Ok(found.sources)
    }
}
