//! The command line.

use crate::common::arguments::{
    Machine, RankFlags, Seeds, above_zero, at_least_two, few, non_negative, place, positive, share,
};
use crate::common::sizes::{check_numbers, check_windows};
use crate::common::text::Text;
use crate::common::variants::{Choice, ChoiceParser, VariantName, What};
use clap::{ArgAction, Parser};
use neutreno::VariantConfig;
use neutreno::data::tokenizer::TokenizerChoice;
use neutreno::tasks::language::LanguageSettings;
use neutreno::training::Settings;
use std::path::PathBuf;

/// Finds how many fewer parameters, and how much less data, a variant of the transformer needs for
/// the same loss: trains language models of several sizes on the same tokens, and models of one
/// size on several amounts of tokens, each with several seeds, and fits a power law to the losses
/// of each variant.
///
/// This takes hours. Stopped at any time, the same command goes on where it was, and
/// efficiency.html shows the results so far.
#[derive(Debug, Parser)]
#[command(version, name = "efficiency", max_term_width = 100)]
#[command(mut_arg("seeds", |seeds| seeds.default_value("3")))]
pub struct Arguments {
    #[command(flatten)]
    pub text: Text,
    /// words, bytes or bpe:N (N tokens)
    #[arg(long, value_name = "KIND", default_value = "bpe:2000")]
    pub tokenizer: TokenizerChoice,
    /// What is compared with the transformer, as lm_wikitext takes it
    #[arg(long, value_parser = ChoiceParser, action = ArgAction::Set, value_delimiter = ',', default_value = "resformer")]
    pub variant: Vec<Choice>,
    /// Blocks of every model
    #[arg(long, default_value_t = 8, value_parser = few)]
    pub layers: usize,
    /// Widths of the models of several sizes; multiples of the head size
    #[arg(long, action = ArgAction::Set, value_delimiter = ',', default_value = "64,96,128,192", value_parser = positive)]
    pub widths: Vec<usize>,
    /// Channels of a head
    #[arg(long, default_value_t = 32, value_parser = positive)]
    pub head_size: usize,
    /// Training tokens of the models of several sizes
    #[arg(long, default_value_t = 2_000_000, value_parser = positive)]
    pub tokens: usize,
    /// Training tokens of the models of one size, which is the second of the widths
    #[arg(long, action = ArgAction::Set, value_delimiter = ',', default_value = "250000,500000,1000000,2000000", value_parser = positive)]
    pub budgets: Vec<usize>,
    /// Tokens a training window
    #[arg(long, default_value_t = 128, value_parser = positive)]
    pub context: usize,
    /// Windows in a batch
    #[arg(long, default_value_t = 16, value_parser = positive)]
    pub batch: usize,
    /// Batches in a step; their gradients are averaged
    #[arg(long, default_value_t = 1, value_parser = few)]
    pub accumulate: usize,
    /// The largest learning rate
    #[arg(long, default_value_t = 3e-3, value_parser = non_negative)]
    pub lr: f64,
    /// The share of the steps in which the learning rate rises
    #[arg(long, default_value_t = 0.05, value_parser = share::<f64>)]
    pub warmup: f64,
    /// The standard deviation of the initial embeddings [default: 1/√width; GPT-2 and Llama have 0.02]
    #[arg(long, value_parser = above_zero, value_name = "DEVIATION")]
    pub embedding_deviation: Option<f32>,
    /// Score so many tokens of the validation text [default: all]
    #[arg(long, value_name = "TOKENS", value_parser = at_least_two)]
    pub eval_tokens: Option<usize>,
    #[command(flatten)]
    pub seeds: Seeds,
    /// The folder of all runs; if it is there, what is missing in it is trained
    #[arg(long, value_name = "DIR", default_value = "runs/efficiency", value_parser = place())]
    pub out: PathBuf,
    /// Print results only
    #[arg(long, short)]
    pub quiet: bool,
    #[command(flatten)]
    pub machine: Machine,
    #[command(flatten)]
    pub ranks: RankFlags,
}

/// One size of model and one amount of data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell {
    pub width: usize,
    pub tokens: usize,
}

impl Arguments {
    /// The width of the models that are trained on several amounts of data.
    pub fn middle_width(&self) -> usize {
        self.widths[1.min(self.widths.len() - 1)]
    }

    /// All that is to be trained, the cheapest first.
    pub fn cells(&self) -> Vec<Cell> {
        let sizes = self.widths.iter().map(|width| Cell { width: *width, tokens: self.tokens });
        let width = self.middle_width();
        let amounts = self.budgets.iter().map(|tokens| Cell { width, tokens: *tokens });
        let mut cells: Vec<Cell> = sizes.chain(amounts).collect();
        cells.sort_by_key(|cell| (cell.tokens as u128 * (cell.width as u128).pow(2), cell.tokens));
        cells.dedup();
        cells
    }

    /// The Transformer and what is compared with it.
    ///
    /// # Errors
    /// A variant that does not fit.
    pub fn variants(&self) -> Result<Vec<VariantConfig>, String> {
        let mut variant = vec![VariantName::Transformer.into()];
        variant.extend(self.variant.iter().cloned());
        let what = What {
            variant,
            neutreno_lambda: None,
            resformer_kind: None,
            resformer_lambda: None,
            resformer_layers: None,
        };
        what.variants(self.layers, VariantConfig::new)
    }

    /// The settings of a cell.
    ///
    /// # Errors
    /// Numbers that do not fit together, by the names of their flags.
    pub fn settings(&self, cell: Cell) -> Result<(LanguageSettings, Settings), String> {
        let Cell { width, tokens } = cell;
        if !width.is_multiple_of(self.head_size) || !self.head_size.is_multiple_of(2) {
            return Err(format!(
                "--widths {width}: must be a multiple of --head-size {}, which must be even",
                self.head_size
            ));
        }
        let inside = ("a feed-forward part of", 4 * width);
        check_numbers("parameters", &[("--layers", self.layers), ("--widths", width), inside])?;
        let [batch, context] = [("--batch", self.batch), ("--context", self.context)];
        check_numbers("numbers in one tensor", &[batch, context, inside])?;
        check_windows(self.batch, self.context)?;
        let per_step = self.batch.saturating_mul(self.context).saturating_mul(self.accumulate);
        let steps = (tokens / per_step) as u64;
        if steps < 10 {
            return Err(format!(
                "{tokens} tokens are only {steps} steps of {per_step} tokens (--batch × --accumulate × \
                 --context); at least 10 are needed"
            ));
        }
        let (mut sizes, mut settings) = LanguageSettings::preset("tiny").expect("a preset");
        sizes.layers = self.layers;
        sizes.width = width;
        sizes.heads = width / self.head_size;
        sizes.context = self.context;
        sizes.embedding_deviation = self.embedding_deviation;
        sizes.final_evaluation_tokens = self.eval_tokens;
        sizes.evaluate_all = self.eval_tokens.is_none();
        settings.batch = self.batch;
        settings.accumulate = self.accumulate;
        settings.steps = steps;
        settings.learning_rate = self.lr;
        settings.warmup = (self.warmup * steps as f64) as u64;
        settings.evaluate_every = 0;
        settings.sample_every = 0;
        Ok((sizes, settings))
    }
}
