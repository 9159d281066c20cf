//! The command line.

use clap::{Parser, ValueEnum};
use neutreno::data::tokenizer::TokenizerChoice;
use neutreno::engine::optim::Curve;
use neutreno::training::Settings;
use neutreno::{ResformerKind, Variant, VariantConfig};
use std::path::PathBuf;

/// Trains small language models on WikiText, or any text, and compares four transformer variants:
/// Transformer, NeuTRENO, ResFormer, SVFormer.
///
/// With no flags it trains all four at a small size, on a GPU if there is one and on the CPU if
/// not, and writes a report to look at into runs/.
#[derive(Debug, Parser)]
#[command(version, name = "lm_wikitext", max_term_width = 100, after_help = AFTER_HELP)]
#[command(args_override_self = true)]
pub struct Arguments {
    /// What to train: one or several, separated by commas
    #[arg(long, value_enum, value_delimiter = ',', default_value = "all", help_heading = "What")]
    pub variant: Vec<VariantName>,
    /// A set of sizes and settings; flags below change single ones [default: tiny, or generated
    /// where there is only generated text]
    #[arg(long, value_parser = preset_names(), help_heading = "What")]
    pub preset: Option<String>,
    /// NeuTRENO's λ, the strength of its term λ(V₁ − V) [default: 0.4; 0.1 beside ResFormer]
    #[arg(long, value_name = "LAMBDA", help_heading = "What")]
    pub neutreno_lambda: Option<f32>,
    /// How ResFormer mixes the first layer's value with its own
    #[arg(long, value_enum, help_heading = "What")]
    pub resformer_kind: Option<KindName>,
    /// The factor on the first value, for the kinds constant and sparse [default: 2 and 5]
    #[arg(long, value_name = "LAMBDA", help_heading = "What")]
    pub resformer_lambda: Option<f32>,
    /// The layers that mix, from 0, for the kind sparse [default: the last three eighths]
    #[arg(long, value_name = "LAYER,...", value_delimiter = ',', help_heading = "What")]
    pub resformer_layers: Option<Vec<usize>>,

    /// Number of blocks
    #[arg(long, value_parser = positive, help_heading = "Model")]
    pub layers: Option<usize>,
    /// Width of the residual stream
    #[arg(long, value_parser = positive, help_heading = "Model")]
    pub width: Option<usize>,
    /// Number of query heads; must divide the width
    #[arg(long, value_parser = positive, help_heading = "Model")]
    pub heads: Option<usize>,
    /// Number of key and value heads; must divide the query heads [default: as many]
    #[arg(long, value_parser = positive, help_heading = "Model")]
    pub kv_heads: Option<usize>,
    /// Width inside the feed-forward part [default: 8/3 of the width]
    #[arg(long, value_parser = positive, help_heading = "Model")]
    pub feed_forward: Option<usize>,
    /// Give the output layer weights of its own instead of the embedding's
    #[arg(long, help_heading = "Model")]
    pub untied: bool,
    /// Tokens a training window
    #[arg(long, value_parser = positive, help_heading = "Model")]
    pub context: Option<usize>,

    /// Windows in a batch
    #[arg(long, value_parser = positive, help_heading = "Training")]
    pub batch: Option<usize>,
    /// Batches whose gradients are averaged in one step
    #[arg(long, value_parser = positive, help_heading = "Training")]
    pub accumulate: Option<usize>,
    /// Number of steps
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..), conflicts_with = "minutes", help_heading = "Training")]
    pub steps: Option<u64>,
    /// Minutes of training for each model, evaluation not counted; sets the number of steps
    #[arg(long, value_parser = minutes, help_heading = "Training")]
    pub minutes: Option<f64>,
    /// The largest learning rate
    #[arg(long, value_parser = non_negative, help_heading = "Training")]
    pub lr: Option<f64>,
    /// Steps in which the learning rate rises
    #[arg(long, help_heading = "Training")]
    pub warmup: Option<u64>,
    /// How the learning rate falls afterwards
    #[arg(long, value_enum, help_heading = "Training")]
    pub decay: Option<DecayName>,
    /// AdamW's weight decay
    #[arg(long, value_parser = non_negative, help_heading = "Training")]
    pub weight_decay: Option<f64>,
    /// The norm to which larger gradients are shortened; 0 for never
    #[arg(long, value_parser = non_negative, help_heading = "Training")]
    pub clip: Option<f64>,
    /// The probability with which dropout drops
    #[arg(long, value_parser = share, help_heading = "Training")]
    pub dropout: Option<f32>,
    /// The share of each target that goes to all tokens alike
    #[arg(long, value_parser = share, help_heading = "Training")]
    pub label_smoothing: Option<f32>,
    /// The seed of weights, order of data and dropout; the first one with --seeds
    #[arg(long, default_value_t = 1, help_heading = "Training")]
    pub seed: u64,
    /// Train everything with so many seeds and report the spread
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=1000), help_heading = "Training")]
    pub seeds: u64,

    /// Folder with wiki.{train,valid,test}.tokens (or .raw, or {train,valid,test}.txt), or any
    /// text file [default: WikiText-2 from the cache or the network, else generated text]
    #[arg(long, value_name = "DIR", help_heading = "Text")]
    pub data: Option<PathBuf>,
    /// Never touch the network
    #[arg(long, help_heading = "Text")]
    pub offline: bool,
    /// Stop if there is no real text, instead of going on with generated text
    #[arg(long, help_heading = "Text")]
    pub require_real_text: bool,
    /// words, bytes or bpe:N (N tokens) [default: words where the text is split into words, else
    /// bytes]
    #[arg(long, value_name = "KIND", help_heading = "Text")]
    pub tokenizer: Option<TokenizerChoice>,

    /// auto, cpu, gpu, gpu:N, or part of a GPU's name (software ones only so)
    #[arg(long, default_value = "auto", help_heading = "Machine")]
    pub device: String,
    /// Threads on the CPU; 0 for one a core. Results do not depend on it
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u16).range(0..=1024), help_heading = "Machine")]
    pub threads: u16,
    /// List the devices and stop
    #[arg(long, help_heading = "Machine")]
    pub list_devices: bool,

    /// The run's folder; it must be new or empty [default: runs/TIME-language-modelling]
    #[arg(long, value_name = "DIR", help_heading = "Output")]
    pub out: Option<PathBuf>,
    /// Validate every so many steps; 0 for only at the end
    #[arg(long, value_name = "STEPS", help_heading = "Output")]
    pub eval_every: Option<u64>,
    /// Score so many tokens of each text at the end [default: all]
    #[arg(long, value_name = "TOKENS", value_parser = at_least_two, help_heading = "Output")]
    pub eval_tokens: Option<usize>,
    /// Write a sample of text every so many steps; 0 for only at the end
    #[arg(long, value_name = "STEPS", help_heading = "Output")]
    pub sample_every: Option<u64>,
    /// Print the results as one line of JSON, the last on standard output
    #[arg(long, help_heading = "Output")]
    pub json: bool,
    /// Print results only
    #[arg(long, short, help_heading = "Output")]
    pub quiet: bool,
}

const AFTER_HELP: &str = "\
Examples:
  lm_wikitext                                    all four variants, a few minutes
  lm_wikitext --variant resformer --minutes 10 --preset wikitext2
  lm_wikitext --data my.txt --tokenizer bpe:2000 --layers 6 --width 192 --heads 6
  lm_wikitext --variant transformer,svformer --seeds 3 --steps 500";

/// A variant as typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum VariantName {
    /// All four
    All,
    /// Plain attention
    Transformer,
    /// Adds λ(V₁ − V), against over-smoothing
    Neutreno,
    /// Attends to a mix of the first layer's value and its own
    Resformer,
    /// Attends to the first layer's value alone
    Svformer,
    /// Both NeuTRENO's term and ResFormer's mix
    #[value(name = "neutreno+resformer")]
    NeutrenoResformer,
}

/// A kind of ResFormer as typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum KindName {
    /// ½ and ½
    Identity,
    /// a fixed factor on the first value
    Constant,
    /// the same on some layers only
    Sparse,
    /// both factors learned, layer by layer
    Learnable,
    /// the layers' factors are learned shares of a learned total
    LearnablePlus,
}

/// A decay as typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DecayName {
    /// not at all
    Constant,
    /// in a straight line
    Linear,
    /// along half a cosine
    Cosine,
}

fn preset_names() -> clap::builder::PossibleValuesParser {
    Settings::PRESETS
        .map(|preset| clap::builder::PossibleValue::new(preset.name).help(preset.purpose))
        .into()
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("\"{text}\" is not such a number"))
}

fn positive(text: &str) -> Result<usize, String> {
    match number(text)? {
        0 => Err("must be at least 1".into()),
        value => Ok(value),
    }
}

fn at_least_two(text: &str) -> Result<usize, String> {
    match number(text)? {
        0 | 1 => Err("must be at least 2: the first token is not scored".into()),
        value => Ok(value),
    }
}

fn non_negative(text: &str) -> Result<f64, String> {
    let value: f64 = number(text)?;
    let sound = value.is_finite() && value >= 0.0;
    if sound { Ok(value) } else { Err("must be a finite number, 0 or larger".into()) }
}

fn share(text: &str) -> Result<f32, String> {
    let value: f32 = number(text)?;
    let sound = (0.0..1.0).contains(&value);
    if sound { Ok(value) } else { Err("must be at least 0 and less than 1".into()) }
}

fn minutes(text: &str) -> Result<f64, String> {
    let value: f64 = number(text)?;
    let sound = value.is_finite() && value > 0.0;
    if sound { Ok(value) } else { Err("must be a finite number larger than 0".into()) }
}

impl Arguments {
    /// The preset, `usual` if none was asked for, with what the flags change.
    ///
    /// # Errors
    /// What contradicts what, by the names of the flags.
    pub fn settings(&self, usual: &str) -> Result<Settings, String> {
        let preset = self.preset.as_deref().unwrap_or(usual);
        let mut settings = Settings::preset(preset).expect("clap knows the presets");
        fn set<T: Clone>(value: &mut T, flag: &Option<T>) {
            if let Some(flag) = flag {
                *value = flag.clone();
            }
        }
        set(&mut settings.layers, &self.layers);
        set(&mut settings.width, &self.width);
        set(&mut settings.heads, &self.heads);
        set(&mut settings.context, &self.context);
        set(&mut settings.batch, &self.batch);
        set(&mut settings.accumulate, &self.accumulate);
        set(&mut settings.steps, &self.steps);
        set(&mut settings.learning_rate, &self.lr);
        set(&mut settings.warmup, &self.warmup);
        set(&mut settings.weight_decay, &self.weight_decay);
        set(&mut settings.clip, &self.clip);
        set(&mut settings.dropout, &self.dropout);
        set(&mut settings.label_smoothing, &self.label_smoothing);
        set(&mut settings.evaluate_every, &self.eval_every);
        set(&mut settings.sample_every, &self.sample_every);
        settings.key_value_heads = self.kv_heads.or(settings.key_value_heads);
        settings.feed_forward = self.feed_forward.or(settings.feed_forward);
        settings.tied &= !self.untied;
        if let Some(tokens) = self.eval_tokens {
            settings.final_evaluation_tokens = Some(tokens);
            settings.evaluation_tokens = settings.evaluation_tokens.min(tokens);
        }
        if let Some(decay) = self.decay {
            settings.decay = match decay {
                DecayName::Constant => Curve::Constant,
                DecayName::Linear => Curve::Linear,
                DecayName::Cosine => Curve::Cosine,
            };
        }
        check(&settings)?;
        Ok(settings)
    }

    /// The variants asked for, each once.
    ///
    /// # Errors
    /// A flag that none of them uses, or that does not fit.
    pub fn variants(&self, layers: usize) -> Result<Vec<VariantConfig>, String> {
        let all = || Variant::ALL.map(VariantConfig::new).to_vec();
        let mut variants: Vec<VariantConfig> = Vec::new();
        for name in &self.variant {
            variants.extend(match name {
                VariantName::All => all(),
                VariantName::Transformer => vec![VariantConfig::new(Variant::Transformer)],
                VariantName::Neutreno => vec![VariantConfig::new(Variant::Neutreno)],
                VariantName::Resformer => vec![VariantConfig::new(Variant::Resformer)],
                VariantName::Svformer => vec![VariantConfig::new(Variant::Svformer)],
                VariantName::NeutrenoResformer => vec![VariantConfig::neutreno_resformer()],
            });
        }
        let mut used = [false; 4];
        for variant in &mut variants {
            self.apply_constants(variant, &mut used);
            variant.check(layers).map_err(|problem| flags(&problem))?;
        }
        let given = [
            ("--neutreno-lambda", self.neutreno_lambda.is_some()),
            ("--resformer-kind", self.resformer_kind.is_some()),
            ("--resformer-lambda", self.resformer_lambda.is_some()),
            ("--resformer-layers", self.resformer_layers.is_some()),
        ];
        for ((flag, given), used) in given.into_iter().zip(used) {
            if given && !used {
                return Err(format!(
                    "{flag} has no effect on the variants and kind chosen (--variant, \
                     --resformer-kind)"
                ));
            }
        }
        let mut distinct: Vec<VariantConfig> = Vec::new();
        variants.retain(|variant| {
            let fresh = !distinct.contains(variant);
            distinct.push(variant.clone());
            fresh
        });
        Ok(variants)
    }

    /// Sets the constants that this variant uses, and marks which flags those were.
    fn apply_constants(&self, config: &mut VariantConfig, used: &mut [bool; 4]) {
        if config.neutreno_lambda.is_some() {
            config.neutreno_lambda = self.neutreno_lambda.or(config.neutreno_lambda);
            used[0] = true;
        }
        if config.variant != Variant::Resformer {
            return;
        }
        used[1] = true;
        if let Some(kind) = self.resformer_kind {
            config.resformer_kind = Some(match kind {
                KindName::Identity => ResformerKind::Identity,
                KindName::Constant => ResformerKind::Constant,
                KindName::Sparse => ResformerKind::Sparse,
                KindName::Learnable => ResformerKind::Learnable,
                KindName::LearnablePlus => ResformerKind::LearnablePlus,
            });
        }
        let kind = config.resformer_kind;
        if matches!(kind, Some(ResformerKind::Constant | ResformerKind::Sparse)) {
            config.resformer_lambda = self.resformer_lambda;
            used[2] = true;
        }
        if kind == Some(ResformerKind::Sparse) {
            config.resformer_layers = self.resformer_layers.clone();
            used[3] = true;
        }
    }
}

fn check(settings: &Settings) -> Result<(), String> {
    let Settings { width, heads, key_value_heads, .. } = *settings;
    if !width.is_multiple_of(heads) {
        return Err(format!(
            "--heads {heads} does not divide --width {width}; each head gets an equal part"
        ));
    }
    if !(width / heads).is_multiple_of(2) {
        return Err(format!(
            "--width {width} with --heads {heads} gives a head {} channels; rotary positions need \
             an even number",
            width / heads
        ));
    }
    match key_value_heads {
        Some(key_value) if !heads.is_multiple_of(key_value) => {
            Err(format!("--kv-heads {key_value} does not divide --heads {heads}"))
        }
        _ => Ok(()),
    }
}

/// A message about keys of a configuration, told by the names of the flags that set them.
fn flags(problem: &str) -> String {
    ["neutreno_lambda", "resformer_kind", "resformer_lambda", "resformer_layers"]
        .iter()
        .fold(problem.into(), |text: String, key| {
            text.replace(key, &format!("--{}", key.replace('_', "-")))
        })
}
