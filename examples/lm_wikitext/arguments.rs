//! The command line.

use crate::common::arguments::{Common, above_zero, names_of, number, positive, set, share};
use crate::common::sizes::{Sizes, check_heads, check_numbers, check_windows};
use crate::common::text::{Text, TokenizerName};
use clap::Parser;
use neutreno::VariantConfig;
use neutreno::data::Source;
use neutreno::data::corpus::Corpus;
use neutreno::data::tokenizer::TokenizerChoice;
use neutreno::tasks::language::{LanguageSettings, Start};
use neutreno::training::Settings;
use std::str::FromStr;

/// Trains small language models on WikiText, or any text, and compares four transformer variants:
/// Transformer, NeuTRENO, ResFormer, SVFormer.
///
/// With no flags it trains all four at a small size, on a GPU if there is one and on the CPU if
/// not, and writes a report to look at into runs/.
#[derive(Debug, Parser)]
#[command(version, name = "lm_wikitext", max_term_width = 100, after_help = AFTER_HELP)]
#[command(args_override_self = true)]
pub struct Arguments {
    #[command(flatten)]
    pub common: Common,
    /// A set of sizes and settings; flags below change single ones [default: tiny, or generated
    /// where there is only generated text]
    #[arg(long, value_parser = names_of(&LanguageSettings::PRESETS), help_heading = "What")]
    pub preset: Option<String>,
    /// Let NeuTRENO's λ grow from 0 in so many steps, as after --from a Transformer. A model that is read before these are made has
    /// λ itself
    #[arg(long, value_name = "STEPS", help_heading = "What")]
    pub lambda_warmup: Option<u64>,

    #[command(flatten, next_help_heading = "Model")]
    pub sizes: Sizes,
    /// Number of key and value heads; must divide the query heads [default: as many]
    #[arg(long, value_parser = positive, help_heading = "Model")]
    pub kv_heads: Option<usize>,
    /// Let every so many layers share the keys and values of the first of them (cross-layer attention):
    /// as many times less to keep of each token when text is written [default: 1, none]
    #[arg(long, value_parser = positive, value_name = "LAYERS", help_heading = "Model")]
    pub share_keys: Option<usize>,
    /// Give the output layer weights of its own instead of the embedding's
    #[arg(long, help_heading = "Model")]
    pub untied: bool,
    /// Tokens a training window
    #[arg(long, value_parser = positive, help_heading = "Model")]
    pub context: Option<usize>,
    /// The probability with which dropout drops
    #[arg(long, value_parser = share::<f32>, help_heading = "Model")]
    pub dropout: Option<f32>,
    /// The standard deviation of the initial embeddings [default: 1/√width; GPT-2 and Llama have 0.02]
    #[arg(long, value_parser = above_zero, value_name = "DEVIATION", help_heading = "Model")]
    pub embedding_deviation: Option<f32>,

    /// Run blocks again on the way back instead of keeping what they computed: less memory, about
    /// a third more time
    #[arg(long, help_heading = "Machine")]
    pub recompute: bool,
    #[command(flatten, next_help_heading = "Text")]
    pub text: Text,
    /// Never touch the network
    #[arg(long, help_heading = "Text")]
    pub offline: bool,
    /// Stop if there is no real text, instead of going on with generated text
    #[arg(long, help_heading = "Text")]
    pub require_real_text: bool,
    /// words, bytes or bpe:N (N tokens), or a file: the tokenizer.json of a model of Hugging Face's, or
    /// that of a run [default: bpe:2000 for tiny; else words where the text is split into words, and
    /// bytes elsewhere]
    #[arg(long, value_name = "KIND|FILE", help_heading = "Text")]
    pub tokenizer: Option<TokenizerName>,
    /// Score so many tokens of each text at the end, or all [default: so many that scoring takes a
    /// tenth of the time of training]
    #[arg(long, value_name = "TOKENS", help_heading = "Text")]
    pub eval_tokens: Option<EvalTokens>,
    /// Write a sample of text every so many steps; 0 for only at the end
    #[arg(long, value_name = "STEPS", help_heading = "Text")]
    pub sample_every: Option<u64>,
}

const AFTER_HELP: &str = "\
Examples:
  lm_wikitext                                    all four variants, a few minutes
  lm_wikitext --variant resformer --minutes 10 --preset wikitext2
  lm_wikitext --data my.txt --tokenizer bpe:2000 --layers 6 --width 192 --heads 6
  lm_wikitext --variant transformer,svformer --seeds 3 --steps 500
  lm_wikitext --from SmolLM2-135M --lambda-warmup 100 --resformer-kind learnable --steps 400";

/// How many tokens to score, as typed: `5000`, `all`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EvalTokens {
    All,
    Most(usize),
}

impl FromStr for EvalTokens {
    type Err = String;

    fn from_str(text: &str) -> Result<EvalTokens, String> {
        if text == "all" {
            return Ok(EvalTokens::All);
        }
        match number(text).map_err(|problem| format!("{problem}, nor the word all"))? {
            0 | 1 => Err("must be at least 2: the first token is not scored".into()),
            count => Ok(EvalTokens::Most(count)),
        }
    }
}

impl Arguments {
    /// The tokens that were asked for, or those that go with the preset, which is `usual` if none was
    /// asked for.
    pub fn tokenizer(&self, usual: &str, corpus: &Corpus) -> TokenizerChoice {
        let preset = self.preset.as_deref().unwrap_or(usual);
        let split = corpus.official_words || matches!(corpus.source, Source::Generated(_));
        match self.tokenizer {
            Some(TokenizerName::Made(choice)) => choice,
            _ => LanguageSettings::tokenizer(preset, split),
        }
    }

    /// The preset, `usual` if none was asked for, with what the flags change; the sizes are those of
    /// `start` if there is one.
    ///
    /// # Errors
    /// What contradicts what, by the names of the flags.
    pub fn settings(
        &self,
        usual: &str,
        start: Option<&Start>,
    ) -> Result<(LanguageSettings, Settings), String> {
        let (mut sizes, mut training) = match start {
            Some(_) => LanguageSettings::starting(),
            None => LanguageSettings::preset(self.preset.as_deref().unwrap_or(usual))
                .expect("clap knows the presets"),
        };
        set(&mut sizes.layers, &self.sizes.layers);
        set(&mut sizes.width, &self.sizes.width);
        set(&mut sizes.heads, &self.sizes.heads);
        set(&mut sizes.context, &self.context);
        set(&mut sizes.dropout, &self.dropout);
        set(&mut sizes.label_smoothing, &self.sizes.label_smoothing);
        sizes.key_value_heads = self.kv_heads.or(sizes.key_value_heads);
        set(&mut sizes.share_keys, &self.share_keys);
        sizes.feed_forward = self.sizes.feed_forward.or(sizes.feed_forward);
        sizes.embedding_deviation = self.embedding_deviation.or(sizes.embedding_deviation);
        sizes.tied &= !self.untied;
        sizes.recompute |= self.recompute;
        match self.eval_tokens {
            Some(EvalTokens::Most(tokens)) => {
                sizes.final_evaluation_tokens = Some(tokens);
                sizes.evaluation_tokens = sizes.evaluation_tokens.min(tokens);
            }
            Some(EvalTokens::All) => sizes.evaluate_all = true,
            None => {}
        }
        set(&mut sizes.lambda_warmup, &self.lambda_warmup);
        self.common.apply(&mut training)?;
        set(&mut training.sample_every, &self.sample_every);
        if sizes.lambda_warmup > training.steps && self.common.training.minutes.is_none() {
            return Err(format!(
                "--lambda-warmup {} is longer than the {} steps (--steps)",
                sizes.lambda_warmup, training.steps
            ));
        }
        match start {
            None => check(&sizes)?,
            Some(start) => {
                let config = start.config();
                start.sizes(&mut sizes);
                let longest = config.max_position_embeddings;
                sizes.context = self.context.unwrap_or(sizes.context.min(longest));
                sizes.dropout = self.dropout.unwrap_or(config.dropout);
            }
        }
        let widest = sizes.feed_forward.unwrap_or(4 * sizes.width).max(sizes.width);
        let [layers, width] = [("--layers", sizes.layers), ("--width", sizes.width)];
        let inside = ("a feed-forward part of", widest);
        check_numbers("parameters", &[layers, width, inside])?;
        let [batch, context] = [("--batch", training.batch), ("--context", sizes.context)];
        check_numbers("numbers in one tensor", &[batch, context, inside])?;
        check_windows(training.batch, sizes.context)?;
        Ok((sizes, training))
    }
}

impl Arguments {
    /// That nothing is asked for that comes with the model to start from.
    ///
    /// # Errors
    /// If it is, by the name of the flag.
    pub fn check_start(&self) -> Result<(), String> {
        let given = [
            ("--preset", self.preset.is_some(), "sizes"),
            ("--layers", self.sizes.layers.is_some(), "sizes"),
            ("--width", self.sizes.width.is_some(), "sizes"),
            ("--heads", self.sizes.heads.is_some(), "sizes"),
            ("--feed-forward", self.sizes.feed_forward.is_some(), "sizes"),
            ("--kv-heads", self.kv_heads.is_some(), "sizes"),
            ("--share-keys", self.share_keys.is_some(), "layers"),
            ("--untied", self.untied, "layers"),
            ("--embedding-deviation", self.embedding_deviation.is_some(), "embeddings"),
            ("--tokenizer", self.tokenizer.is_some(), "a tokenizer"),
        ];
        self.common.start.check(&given)
    }

    /// That --lambda-warmup has an effect on some variant.
    ///
    /// # Errors
    /// If it has none.
    pub fn check_warmup(&self, variants: &[VariantConfig]) -> Result<(), String> {
        let used = variants.iter().any(|variant| variant.neutreno_lambda.is_some());
        match self.lambda_warmup {
            Some(1..) if !used => {
                Err("--lambda-warmup has no effect on the variants chosen: only \
                                       neutreno and neutreno+resformer have a λ (--variant)"
                    .into())
            }
            _ => Ok(()),
        }
    }
}

fn check(sizes: &LanguageSettings) -> Result<(), String> {
    let LanguageSettings { width, heads, key_value_heads, .. } = *sizes;
    check_heads(width, heads)?;
    if !(width / heads).is_multiple_of(2) {
        return Err(format!(
            "--width {width} with --heads {heads} gives a head {} channels; rotary positions need \
             an even number",
            width / heads
        ));
    }
    if sizes.share_keys > sizes.layers {
        return Err(format!(
            "--share-keys {} is more than the {} layers that could share",
            sizes.share_keys, sizes.layers
        ));
    }
    match key_value_heads {
        Some(key_value) if !heads.is_multiple_of(key_value) => {
            Err(format!("--kv-heads {key_value} does not divide --heads {heads}"))
        }
        _ => Ok(()),
    }
}
