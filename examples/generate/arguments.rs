//! The flags of generate, and what they make of a model's own settings.

use crate::common::arguments::{Machine, above_zero, few, non_negative, number, place, positive};
use crate::common::language_models::Models;
use clap::{Args, Parser, ValueEnum};
use neutreno::engine::half::Precision;
use neutreno::language::{GenerationConfig, GenerationSettings, Sampling, WhenFull};
use std::path::PathBuf;

/// Lets trained language models write: those of a run, side by side, or one of Hugging Face's.
///
/// The prompt is --prompt, --prompt-file or what comes through a pipe; --chat talks with a model
/// that was taught to. What a model writes goes to standard output, without the prompt; all else,
/// such as speed and memory, to standard error. The same seed gives the same text.
#[derive(Debug, Parser)]
#[command(version, name = "generate", max_term_width = 100)]
pub struct Arguments {
    #[command(flatten)]
    pub models: Models,
    #[command(flatten)]
    pub prompts: Prompts,
    #[command(flatten)]
    pub writing: Writing,
    #[command(flatten)]
    pub cache: Cache,
    #[command(flatten)]
    pub table: Table,
    /// Print each result as a line of JSON, when it is whole
    #[arg(long, help_heading = "Output")]
    pub json: bool,
    /// Print results only
    #[arg(long, short, help_heading = "Output")]
    pub quiet: bool,
    #[command(flatten)]
    pub machine: Machine,
}

/// What to go on with.
#[derive(Debug, Args)]
pub struct Prompts {
    /// The text to go on with
    #[arg(
        long,
        value_name = "TEXT",
        allow_hyphen_values = true,
        group = "source",
        help_heading = "Prompt"
    )]
    pub prompt: Option<String>,
    /// A file with the text to go on with; the line end at its end is left out
    #[arg(long, value_name = "FILE", value_parser = place(), group = "source", help_heading = "Prompt")]
    pub prompt_file: Option<PathBuf>,
    /// A file with a prompt in each line. What is written for one does not depend on the others
    #[arg(long, value_name = "FILE", value_parser = place(), group = "source", help_heading = "Prompt")]
    pub batch_of_prompts: Option<PathBuf>,
    /// Of these, so many at once
    #[arg(long, value_name = "PROMPTS", default_value_t = 16, value_parser = positive, requires = "batch_of_prompts", conflicts_with_all = ["prompt", "prompt_file", "chat"], help_heading = "Prompt")]
    pub batch: usize,
    /// Talk with the model, as its chat template says: on a terminal, or a message in each line
    /// that comes through a pipe. Ctrl-C ends an answer, Ctrl-D the chat, /new begins a new one
    #[arg(long, group = "source", help_heading = "Prompt")]
    pub chat: bool,
    /// What a chat's system message says [default: what the template has]
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true, requires = "chat", conflicts_with_all = ["prompt", "prompt_file", "batch_of_prompts"], help_heading = "Prompt")]
    pub system: Option<String>,
}

/// How to write. What is not said is as the model's generation_config.json wants it.
#[derive(Debug, Args)]
pub struct Writing {
    /// How many tokens are written at most [default: max_new_tokens of the model's
    /// generation_config.json, else 200, and 1000 for an answer of a chat]
    #[arg(long, value_name = "TOKENS", value_parser = positive, help_heading = "Writing")]
    pub tokens: Option<usize>,
    /// What all logits are divided by: less than 1 makes the likeliest likelier, 0 takes it alone
    /// [default: the model's; 0.8 where it has none]
    #[arg(long, value_parser = non_negative, help_heading = "Writing")]
    pub temperature: Option<f64>,
    /// Draw from so many of the likeliest tokens; 0 for all [default: the model's; 40 where it has
    /// none]
    #[arg(long, value_name = "TOKENS", value_parser = number::<usize>, help_heading = "Writing")]
    pub top_k: Option<usize>,
    /// Draw from the likeliest tokens whose probabilities add up to this; 1 for all
    #[arg(long, value_name = "SHARE", value_parser = above_zero, help_heading = "Writing")]
    pub top_p: Option<f32>,
    /// Leave out tokens less likely than this part of the likeliest one's probability
    #[arg(long, value_name = "SHARE", value_parser = non_negative, help_heading = "Writing")]
    pub min_p: Option<f64>,
    /// What the logits of tokens seen before are divided by (or multiplied with, if negative); 1
    /// for nothing
    #[arg(long, value_name = "FACTOR", value_parser = above_zero, help_heading = "Writing")]
    pub repetition_penalty: Option<f32>,
    /// Always take the likeliest token
    #[arg(long, conflicts_with_all = ["temperature", "top_k", "top_p", "min_p"], help_heading = "Writing")]
    pub greedy: bool,
    /// Stop before this text; may be given several times
    #[arg(long, value_name = "TEXT", value_parser = not_empty, allow_hyphen_values = true, help_heading = "Writing")]
    pub stop: Vec<String>,
    /// The seed of what is drawn
    #[arg(long, default_value_t = 1, help_heading = "Writing")]
    pub seed: u64,
}

/// The cache of keys and values.
#[derive(Debug, Args)]
pub struct Cache {
    /// How many tokens it has room for [default: what is needed, at most the model's longest
    /// context; in a chat that, at most 8192]
    #[arg(long, value_name = "TOKENS", value_parser = positive, help_heading = "Cache")]
    pub context: Option<usize>,
    /// What to do when it is full
    #[arg(long, value_enum, default_value = "stop", help_heading = "Cache")]
    pub when_full: WhenFullName,
    /// How its numbers are kept: f32, bf16 or f16
    #[arg(long, value_name = "FORMAT", default_value_t = Precision::F32, help_heading = "Cache")]
    pub cache_precision: Precision,
}

/// The table of what caches take.
#[derive(Debug, Args)]
pub struct Table {
    /// Print what a cache takes for each variant, with fewer heads for keys and values, with keys
    /// shared by layers, in each precision, and stop: for the sizes of --model, or for these
    #[arg(long, conflicts_with_all = ["source", "system", "batch"], help_heading = "Table of caches")]
    pub cache_table: bool,
    /// Layers of the model
    #[arg(long, default_value_t = 8, value_parser = few, requires = "cache_table", conflicts_with = "model", help_heading = "Table of caches")]
    pub layers: usize,
    /// Channels of all its heads together
    #[arg(long, default_value_t = 256, value_parser = positive, requires = "cache_table", conflicts_with = "model", help_heading = "Table of caches")]
    pub width: usize,
    /// Its heads
    #[arg(long, default_value_t = 8, value_parser = few, requires = "cache_table", conflicts_with = "model", help_heading = "Table of caches")]
    pub heads: usize,
}

/// What to do when the cache is full, as typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum WhenFullName {
    /// End the text
    Stop,
    /// Go on, and forget the oldest tokens; of a chat, its oldest messages
    Slide,
}

impl From<WhenFullName> for WhenFull {
    fn from(name: WhenFullName) -> WhenFull {
        match name {
            WhenFullName::Stop => WhenFull::Stop,
            WhenFullName::Slide => WhenFull::Slide,
        }
    }
}

fn not_empty(text: &str) -> Result<String, String> {
    match text {
        "" => Err("an empty text is everywhere".into()),
        _ => Ok(text.into()),
    }
}

impl Writing {
    /// How to draw: as the model's makers want it, with what the flags change.
    ///
    /// # Errors
    /// A value that is out of its range.
    pub fn sampling(&self, of_model: Option<&GenerationConfig>) -> Result<Sampling, String> {
        let usual = || Sampling { temperature: 0.8, top_k: Some(40), ..Sampling::default() };
        let mut sampling = of_model.map_or_else(usual, |file| file.sampling.clone());
        let penalty = self.repetition_penalty.map_or(sampling.repetition_penalty, Into::into);
        if self.greedy {
            let excluded = sampling.excluded;
            return Ok(Sampling { excluded, repetition_penalty: penalty, ..Sampling::GREEDY });
        }
        let draws = self.top_k.is_some() || self.top_p.is_some() || self.min_p.is_some();
        if sampling.temperature == 0.0 && draws {
            sampling.temperature = 1.0;
        }
        sampling = Sampling {
            excluded: sampling.excluded,
            repetition_penalty: penalty,
            temperature: self.temperature.unwrap_or(sampling.temperature),
            top_k: self.top_k.map_or(sampling.top_k, |most| Some(most).filter(|most| *most > 0)),
            top_p: self.top_p.map_or(sampling.top_p, Into::into),
            min_p: self.min_p.unwrap_or(sampling.min_p),
        };
        sampling.check()?;
        Ok(sampling)
    }

    /// All settings but those of the cache, for a model.
    ///
    /// # Errors
    /// A value that is out of its range.
    pub fn settings(
        &self,
        of_model: Option<&GenerationConfig>,
        usual_tokens: usize,
    ) -> Result<GenerationSettings, String> {
        let of_file = of_model.and_then(|file| file.max_new_tokens).filter(|most| *most > 0);
        Ok(GenerationSettings {
            sampling: self.sampling(of_model)?,
            tokens: self.tokens.or(of_file).unwrap_or(usual_tokens),
            ..GenerationSettings::default()
        })
    }
}

/// How tokens are drawn, in words.
pub fn describe(sampling: &Sampling) -> String {
    let Sampling { repetition_penalty, temperature, top_k, top_p, min_p, .. } = sampling;
    let mut said = match temperature {
        0.0 => "the likeliest token each time".to_owned(),
        temperature => format!("temperature {temperature}"),
    };
    if *temperature > 0.0 {
        let top_k = top_k.map(|most| format!(", top-k {most}"));
        let top_p = (*top_p < 1.0).then(|| format!(", top-p {top_p}"));
        let min_p = (*min_p > 0.0).then(|| format!(", min-p {min_p}"));
        said.extend([top_k, top_p, min_p].into_iter().flatten());
    }
    if *repetition_penalty != 1.0 {
        said += &format!(", repetition penalty {repetition_penalty}");
    }
    said
}
