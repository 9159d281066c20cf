//! Scores a text with trained language models: those of a run, or one of Hugging Face's.
//!
//! `cargo run --release --example evaluate -- --help` tells what it can do.

#[path = "../common/mod.rs"]
mod common;
mod table;

use clap::Parser;
use common::arguments::{Machine, place, positive};
use common::language_models::{AnyTokenizer, Found, Models};
use common::program::{Result, open_device};
use common::progress::Progress;
use common::{interrupts, show};
use neutreno::data::corpus::whole_text;
use neutreno::engine::Device;
use neutreno::report::{MANY_UNKNOWN, duration, thousands};
use neutreno::tasks::language::{Score, TokenizedText, evaluate_with_stride};
use neutreno::training::Stop;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

/// Scores a text with trained language models: nats a token, perplexity, bits a byte.
///
/// Every token but the first is scored once, in windows of --context tokens that begin --stride
/// tokens after each other: all but those of the first window are seen with at least --context −
/// --stride tokens before them. Of a run with several models there is a table.
#[derive(Debug, Parser)]
#[command(version, name = "evaluate", max_term_width = 100)]
struct Arguments {
    #[command(flatten)]
    models: Models,
    /// The text, a file in UTF-8
    #[arg(long, value_name = "FILE", value_parser = place(), required_unless_present = "list_devices", help_heading = "Text")]
    data: Option<PathBuf>,
    /// Tokens in a window [default: the longest context of the model, at most 2048]
    #[arg(long, value_name = "TOKENS", value_parser = positive, help_heading = "Text")]
    context: Option<usize>,
    /// Tokens from the beginning of a window to that of the next [default: half of --context]
    #[arg(long, value_name = "TOKENS", value_parser = positive, help_heading = "Text")]
    stride: Option<usize>,
    /// Windows at once [default: as many as have 2048 tokens together]
    #[arg(long, value_name = "WINDOWS", value_parser = positive, help_heading = "Text")]
    batch: Option<usize>,
    /// Print a line of JSON for each model instead of the table
    #[arg(long, help_heading = "Output")]
    json: bool,
    /// Show nothing while it works
    #[arg(long, short, help_heading = "Output")]
    quiet: bool,
    #[command(flatten)]
    machine: Machine,
}

/// Tokens that go through a model at once, where nothing else is said.
const AT_ONCE: usize = 2048;

fn main() -> ExitCode {
    common::program::main(|arguments: &Arguments| &arguments.machine, run)
}

fn run(arguments: &Arguments) -> Result<()> {
    interrupts::catch()?;
    interrupts::nothing_is_trained();
    let progress = Progress::new(arguments.quiet);
    let (models, tokenizer) = arguments.models.find(&progress)?;
    let data = arguments.data.as_ref().expect("it is required");
    let text = whole_text(data)?;
    let device = open_device(&arguments.machine, &progress)?;
    let tokens =
        progress.during("cutting the text into tokens", || tokenizer.encode(&text, true))?;
    if tokens.len() < 2 {
        let (data, count) = (data.display(), tokens.len());
        return Err(
            format!("{data} is a text of {count} tokens, and scoring needs at least 2").into()
        );
    }
    let scored = Scored {
        keeps_every_byte: tokenizer.0.keeps_every_byte(),
        unknown: tokenizer.unknown_in(&text) as f64 / tokens.len() as f64,
        text: TokenizedText::from_tokens(tokens, &text),
    };
    scored.describe(&progress);
    let mut results = Vec::new();
    for found in &models {
        let score = || scored.by(found, arguments, &tokenizer, &device, &progress);
        // As text, for errors can't leave the device's threads.
        let result = device.install(|| score().map_err(|error| error.to_string()))?;
        if arguments.json {
            show::json(&result);
        }
        results.push(result);
    }
    if !arguments.json {
        show::result(table::table(&results));
    }
    Ok(())
}

/// A text to score.
struct Scored {
    text: TokenizedText,
    /// Whether the tokens give the text back, so that its bytes are scored.
    keeps_every_byte: bool,
    /// The share of the tokens that stand for unknown words.
    unknown: f64,
}

impl Scored {
    /// Says what is scored, and in which units that makes sense.
    fn describe(&self, progress: &Progress) {
        let TokenizedText { tokens, words, bytes, .. } = &self.text;
        progress.line(&format!(
            "text: {} tokens, {} words and line ends, {} bytes",
            thousands(tokens.len() as u64),
            thousands(*words),
            thousands(*bytes)
        ));
        if !self.keeps_every_byte {
            progress.line("the tokens do not give every byte back, so there are no bits a byte");
        }
        if self.unknown > MANY_UNKNOWN {
            progress.line(&format!(
                "{:.1} % of the tokens are words that the models do not know, and all of them count as \
                 one, <unk>: these perplexities compare with no others",
                100.0 * self.unknown
            ));
        }
    }

    /// The scores by one model.
    fn by(
        &self,
        found: &Found,
        arguments: &Arguments,
        tokenizer: &AnyTokenizer,
        device: &Device,
        progress: &Progress,
    ) -> Result<Value> {
        let loaded = arguments.models.load(found, tokenizer, device, progress)?;
        let longest = loaded.model.config().max_position_embeddings;
        let context = arguments.context.unwrap_or(longest.min(AT_ONCE));
        if context > longest {
            return Err(format!(
                "--context {context}: the longest context of {} has {longest} tokens",
                found.name
            )
            .into());
        }
        let stride = arguments.stride.unwrap_or(context.div_ceil(2));
        let rows = arguments.batch.unwrap_or((AT_ONCE / context).max(1));
        progress.line(&format!(
            "  windows of {context} tokens, one each {stride}: at least {} are seen before those scored",
            context.saturating_sub(stride)
        ));
        let started = Instant::now();
        let never = Stop::never();
        let work =
            || evaluate_with_stride(&loaded.model, &self.text, context, stride, rows, &never);
        let score = progress.during(&format!("scoring with {}", found.name), work)?;
        let seconds = started.elapsed().as_secs_f64();
        progress.line(&format!(
            "  {} tokens scored in {}",
            thousands(score.tokens),
            duration(seconds)
        ));
        Ok(self.told(
            found,
            &score,
            json!({
                "precision": arguments.models.precision.name(),
                "device": device.to_string(),
                "context": context,
                "stride": stride,
                "seconds": seconds,
            }),
        ))
    }

    /// A score with how it came about. What cannot be told is null.
    fn told(&self, found: &Found, score: &Score, how: Value) -> Value {
        let bits = self.keeps_every_byte.then(|| score.bits_per_byte());
        let mut result = json!({
            "model": found.name,
            "folder": found.folder.to_string_lossy(),
            "variant": found.variant,
            "seed": found.seed,
            "tokens_scored": score.tokens,
            "nats_per_token": score.loss(),
            "token_perplexity": score.token_perplexity(),
            "word_perplexity": score.perplexity(),
            "bits_per_byte": bits,
            "unknown_share": self.unknown,
        });
        if let (Value::Object(result), Value::Object(how)) = (&mut result, how) {
            result.extend(how);
        }
        result
    }
}
