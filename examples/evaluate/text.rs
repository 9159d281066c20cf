//! Scoring a text.

use crate::Arguments;
use crate::common::data_of_run::{check_hash, data_of, text_of};
use crate::common::language_models::AnyTokenizer;
use crate::common::program::{Result, open_device};
use crate::common::progress::Progress;
use crate::common::show;
use crate::common::split::Split;
use crate::per_token::{by_position, table_of_positions, write_tokens};
use crate::table;
use neutreno::data::corpus::{Corpus, whole_text};
use neutreno::engine::Device;
use neutreno::open::Source;
use neutreno::report::{MANY_UNKNOWN, duration, thousands};
use neutreno::tasks::language::{
    Score, TokenScore, TokenizedText, evaluate_tokens, evaluate_with_stride,
};
use neutreno::training::Stop;
use serde_json::{Value, json};
use std::time::Instant;

/// Tokens that go through a model at once, where nothing else is said.
const AT_ONCE: usize = 2048;

/// Scores language models, and shows what came out.
pub fn evaluate(arguments: &Arguments, models: &[Source], progress: &Progress) -> Result<()> {
    let tokenizer = AnyTokenizer::of(models)?;
    let (text, split) = find(arguments, &models[0])?;
    let device = open_device(&arguments.machine, progress)?;
    // A run learnt from windows that begin anywhere in its text.
    let special = models[0].of_run.is_none();
    let tokens =
        progress.during("cutting the text into tokens", || tokenizer.encode(&text, special))?;
    if tokens.len() < 2 {
        let (what, count) = (name(arguments, split), tokens.len());
        return Err(
            format!("{what} is a text of {count} tokens, and scoring needs at least 2").into()
        );
    }
    let scored = Scored {
        split,
        keeps_every_byte: tokenizer.0.keeps_every_byte(),
        unknown: tokenizer.unknown_in(&text) as f64 / tokens.len() as f64,
        text: TokenizedText::from_tokens(tokens, &text),
    };
    scored.describe(progress);
    let (mut results, mut tokens) = (Vec::new(), Vec::new());
    for source in models {
        let score = || scored.by(source, arguments, &tokenizer, &device, progress);
        // As text, for errors can't leave the device's threads.
        let (result, of_tokens) = device.install(|| score().map_err(|error| error.to_string()))?;
        if arguments.json {
            show::json(&result);
        }
        results.push(result);
        tokens.push((source, of_tokens));
    }
    if let Some(path) = &arguments.per_token {
        write_tokens(path, &tokens, &scored.text, &tokenizer)?;
    }
    if !arguments.json {
        show::result(table::table(&results, &table::OF_TEXT));
        if arguments.by_position {
            show::result(format!("\n{}", table_of_positions(&results)));
        }
    }
    Ok(())
}

/// What is scored, in words.
fn name(arguments: &Arguments, split: Split) -> String {
    match &arguments.data {
        Some(data) if split == Split::All => data.display().to_string(),
        Some(data) => format!("the {} part of {}", split.name(), data.display()),
        None => format!("the {} text of the run", split.name()),
    }
}

/// The text to score, and which split that is.
fn find(arguments: &Arguments, source: &Source) -> Result<(String, Split)> {
    let data = arguments.data.as_deref();
    if let Some(path) = data.filter(|path| arguments.split.is_none() && !path.is_dir()) {
        return Ok((whole_text(path)?, Split::All));
    }
    let split = arguments.split.unwrap_or(Split::Test);
    let corpus = match (data, &source.of_run) {
        (Some(path), _) => Corpus::read(path)?,
        (None, Some(of_run)) => {
            let then = data_of(&of_run.run)?;
            let corpus = text_of(&of_run.run, &then, None)?;
            check_hash(&of_run.run, &then, &split.of(&corpus.hashes))?;
            corpus
        }
        (None, None) => {
            return Err("--data FILE is missing: the text to score, as the model is of no run \
                        that would say"
                .into());
        }
    };
    let text: String = split.of(&corpus.splits).into_iter().map(|(_, text)| text).collect();
    if text.is_empty() {
        return Err(
            format!("{} is empty: choose another with --split", name(arguments, split)).into()
        );
    }
    Ok((text, split))
}

/// A text to score.
struct Scored {
    split: Split,
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
            "text ({}): {} tokens, {} words and line ends, {} bytes",
            self.split.name(),
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

    /// The scores by one model, and those of each token where they are asked for.
    fn by(
        &self,
        source: &Source,
        arguments: &Arguments,
        tokenizer: &AnyTokenizer,
        device: &Device,
        progress: &Progress,
    ) -> Result<(Value, Vec<TokenScore>)> {
        let model = arguments.models.load(source, tokenizer, device, progress)?.model;
        let longest = model.config().max_position_embeddings;
        let context = arguments.context.unwrap_or(longest.min(AT_ONCE));
        if context > longest {
            return Err(format!(
                "--context {context}: the longest context of {} has {longest} tokens",
                source.name
            )
            .into());
        }
        let usual = if arguments.by_position { context } else { context.div_ceil(2) };
        let stride = arguments.stride.unwrap_or(usual);
        let rows = arguments.batch.unwrap_or((AT_ONCE / context).max(1));
        progress.line(&format!(
            "  windows of {context} tokens, one each {stride}: at least {} are seen before those scored",
            context.saturating_sub(stride)
        ));
        let started = Instant::now();
        let never = Stop::never();
        let each = arguments.by_position || arguments.per_token.is_some();
        let work = || -> std::result::Result<_, neutreno::training::Error> {
            if !each {
                let text = &self.text;
                let score = evaluate_with_stride(&model, text, context, stride, rows, &never)?;
                return Ok((score, Vec::new()));
            }
            let tokens = evaluate_tokens(&model, &self.text, context, stride, rows, &never)?;
            let nats = tokens.iter().map(|token| token.nats).sum();
            Ok((Score::new(nats, &self.text), tokens))
        };
        let (score, tokens) = progress.during(&format!("scoring with {}", source.name), work)?;
        let seconds = started.elapsed().as_secs_f64();
        progress.line(&format!(
            "  {} tokens scored in {}",
            thousands(score.tokens),
            duration(seconds)
        ));
        let mut told = self.told(source, &score);
        let how = json!({
            "precision": arguments.models.precision.name(),
            "device": device.to_string(),
            "context": context,
            "stride": stride,
            "seconds": seconds,
        });
        table::extend(&mut told, how);
        if arguments.by_position {
            table::extend(&mut told, json!({ "by_position": by_position(&tokens) }));
        }
        Ok((told, tokens))
    }

    /// A score with how it came about. What cannot be told is null.
    fn told(&self, source: &Source, score: &Score) -> Value {
        let bits = self.keeps_every_byte.then(|| score.bits_per_byte());
        let mut told = table::about(source, self.split);
        let scores = json!({
            "tokens_scored": score.tokens,
            "nats_per_token": score.loss(),
            "token_perplexity": score.token_perplexity(),
            "word_perplexity": score.perplexity(),
            "bits_per_byte": bits,
            "unknown_share": self.unknown,
        });
        table::extend(&mut told, scores);
        told
    }
}
