//! One model at work: its settings, its cache, and what is told of it.

use crate::arguments::{Arguments, WhenFullName};
use crate::common::interrupts;
use crate::common::language_models::AnyTokenizer;
use crate::common::program::Result;
use crate::common::progress::Progress;
use crate::prompts::{self, Prompt};
use crate::writing::{self, Orders, Speed, Written};
use neutreno::engine::Device;
use neutreno::engine::random::Key;
use neutreno::language::{Generation, GenerationSettings, KeyValueCache, Loaded, Sampling};
use neutreno::open::Source;
use neutreno::report::{bytes, thousands};
use serde_json::{Value, json};

/// A result that is told as JSON.
pub struct Told<'a> {
    pub prompt: &'a str,
    pub prompt_ids: &'a [u32],
    pub written: &'a Written,
    /// From 1: of the prompt, or of the answer in a chat.
    pub number: usize,
    pub speed: &'a Speed,
}

/// A model, and all that it is asked.
#[derive(Clone, Copy)]
pub struct Session<'a> {
    pub arguments: &'a Arguments,
    pub found: &'a Source,
    pub loaded: &'a Loaded,
    pub tokenizer: &'a AnyTokenizer,
    pub device: &'a Device,
}

impl<'a> Session<'a> {
    /// How to write, where at most `usual_tokens` are wanted if nobody says how many.
    pub fn settings(&self, usual_tokens: usize) -> Result<GenerationSettings> {
        let Loaded { model, generation, end_tokens, .. } = self.loaded;
        let mut settings = self.arguments.writing.settings(generation.as_ref(), usual_tokens)?;
        settings.end_tokens = end_tokens.clone();
        settings.when_full = self.arguments.cache.when_full.into();
        // Neither a token that says nothing, nor those that stand for none.
        let padding = self.tokenizer.size() as u32..model.config().vocab_size as u32;
        settings.sampling.excluded.extend(self.tokenizer.unknown().into_iter().chain(padding));
        Ok(settings)
    }

    /// The tokens of prompts, all of which must fit into the context.
    pub fn tokens(&self, prompts: &'a [Prompt]) -> Result<Vec<(&'a Prompt, Vec<u32>)>> {
        let begin = self.loaded.begin_token;
        let tokens =
            |prompt| prompts::tokens(prompt, self.tokenizer, begin).map(|ids| (prompt, ids));
        prompts.iter().map(tokens).collect()
    }

    /// How many tokens the cache needs room for.
    pub fn context(&self, prompts: &[(&Prompt, Vec<u32>)], tokens: usize) -> Result<usize> {
        let longest = self.longest_context()?;
        let (prompt, needed) = prompts
            .iter()
            .map(|(prompt, ids)| (prompt, ids.len()))
            .max_by_key(|(_, length)| *length)
            .ok_or("there is no prompt")?;
        let context = self.arguments.cache.context.unwrap_or(longest.min(needed + tokens));
        if needed <= context {
            return Ok(context);
        }
        let advice = match self.arguments.cache.context {
            Some(_) if longest > context => format!("; up to --context {longest} would do"),
            _ => String::new(),
        };
        Err(format!(
            "{} has {} tokens, and the context of {} has room for {}: give a shorter prompt{advice}",
            prompt.place,
            thousands(needed as u64),
            self.found.name,
            thousands(context as u64)
        )
        .into())
    }

    /// The model's longest context, which --context may not exceed.
    pub fn longest_context(&self) -> Result<usize> {
        let longest = self.loaded.model.config().max_position_embeddings;
        match self.arguments.cache.context {
            Some(context) if context > longest => Err(format!(
                "--context {context}: the longest context of {} has {longest} tokens",
                self.found.name
            )
            .into()),
            _ => Ok(longest),
        }
    }

    /// Empty texts, each with a key of its own, in a cache of so many tokens.
    pub fn begin(
        &self,
        keys: Vec<Key>,
        context: usize,
        settings: &GenerationSettings,
    ) -> Result<Generation<'a>> {
        let (model, precision) = (&self.loaded.model, self.arguments.cache.cache_precision);
        let config = model.config();
        let cache = KeyValueCache::new(config, keys.len(), context, precision, self.device);
        let cache = cache.map_err(|error| {
            let needed = keys.len() * context * config.kv_cache_bytes_per_token_in(precision);
            format!(
                "a cache for {} × {context} tokens takes {}: choose a smaller --context or --batch, or \
                 --cache-precision bf16 ({error})",
                keys.len(),
                bytes(needed as u64)
            )
        })?;
        Ok(Generation::with_keys(model, cache, settings.clone(), keys))
    }

    /// Goes on with what was added; Ctrl-C ends it, and so does it that nobody reads.
    pub fn write(
        &self,
        generation: &mut Generation,
        show: &(dyn Fn(usize, &str) -> bool + Sync),
    ) -> Result<(Vec<Written>, Speed)> {
        let (tokenizer, stop) = (self.tokenizer, self.arguments.writing.stop.as_slice());
        Ok(interrupts::while_writing(|interrupted| {
            let orders = Orders { tokenizer, stop, interrupted, show };
            self.device.install(|| writing::write(generation, &orders))
        })?)
    }

    /// Says how fast it went and what the cache takes.
    pub fn report(&self, speed: &Speed, cache: &KeyValueCache, progress: &Progress) {
        let rate = |(tokens, _): (usize, f64), rate: Option<f64>| {
            let at = rate.map(|rate| format!(" at {} tokens/s", shown(rate))).unwrap_or_default();
            format!("{} tokens{at}", thousands(tokens as u64))
        };
        progress.line(&format!(
            "{}: read {}, wrote {}",
            self.found.name,
            rate(speed.read, speed.reading()),
            rate((speed.tokens, 0.0), speed.writing())
        ));
        let (sequences, context) = (cache.lengths().len(), cache.context());
        progress.line(&format!(
            "  cache: {} in {} for {sequences} × {context} tokens, {} a token",
            bytes(cache.bytes()),
            cache.precision(),
            bytes(cache.bytes() / (sequences * context) as u64)
        ));
    }

    /// Says why a text ended, if it is not what was wished for.
    pub fn tell_end(
        &self,
        what: &str,
        written: &Written,
        cache: &KeyValueCache,
        text: usize,
        progress: &Progress,
    ) {
        let (context, read) = (cache.context(), cache.lengths()[text]);
        if written.ended == "context" {
            progress.line(&format!(
                "{what}stopped: its context of {context} tokens is full; --when-full slide goes on"
            ));
        } else if read > context {
            progress.line(&format!(
                "{what}the context of {context} tokens was full: it went on without the oldest {}",
                read - context
            ));
        } else if written.ended == "no token" {
            progress.line(&format!(
                "{what}stopped: no token has a probability, the logits are no numbers"
            ));
        }
    }

    /// All that is known of one result.
    pub fn json(&self, of: &Told, settings: &GenerationSettings, cache: &KeyValueCache) -> Value {
        let Told { prompt, prompt_ids, written, number, speed } = of;
        let (sequences, context) = (cache.lengths().len(), cache.context());
        let Sampling { repetition_penalty, temperature, top_k, top_p, min_p, .. } =
            &settings.sampling;
        let (variant, seed) = self.found.variant_and_seed().unzip();
        json!({
            "model": self.found.name,
            "folder": self.found.folder.to_string_lossy(),
            "variant": variant,
            "model_seed": seed,
            "device": self.device.to_string(),
            "precision": self.arguments.models.precision.name(),
            "prompt": prompt,
            "prompt_ids": prompt_ids,
            "text": written.text,
            "ids": written.ids,
            "ended": written.ended,
            "seed": self.arguments.writing.seed,
            "number": number,
            "settings": {
                "tokens": settings.tokens,
                "temperature": temperature,
                "top_k": top_k,
                "top_p": top_p,
                "min_p": min_p,
                "repetition_penalty": repetition_penalty,
                "stop": self.arguments.writing.stop,
                "end_tokens": settings.end_tokens,
                "context": context,
                "when_full": match self.arguments.cache.when_full {
                    WhenFullName::Stop => "stop",
                    WhenFullName::Slide => "slide",
                },
            },
            "cache_precision": cache.precision().name(),
            "cache_bytes": cache.bytes(),
            "cache_bytes_per_token": cache.bytes() / (sequences * context) as u64,
            "at_once": sequences,
            "prefill_tokens_per_second": speed.reading(),
            "decoding_tokens_per_second": speed.writing(),
        })
    }
}

/// A rate with three digits or so.
fn shown(rate: f64) -> String {
    match rate {
        rate if rate < 100.0 => format!("{rate:.1}"),
        rate => thousands(rate.round() as u64),
    }
}
