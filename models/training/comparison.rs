//! A run: several variants and seeds on the same data, in the same order, and what came out.

use super::evaluation::{Score, TokenizedText};
use super::trainer::{Outcome, Plan, Training, plan, seconds_per_step};
use super::{Error, Observer, Settings, Started};
use crate::config::LanguageModelConfig;
use crate::data::batches::{uniform_nats, unigram_nats};
use crate::data::corpus::{Corpus, Splits};
use crate::data::tokenizer::{Tokenizer, TokenizerChoice};
use crate::engine::Device;
use crate::report::{
    Data, RunFolder, RunMetrics, Summary, VariantSummary, page, read_metrics, write_atomically,
    write_json,
};
use crate::variant::VariantConfig;
use serde_json::json;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

/// What to compare.
pub struct Comparison<'a> {
    /// The text.
    pub corpus: &'a Corpus,
    /// How to make it into tokens.
    pub tokenizer: TokenizerChoice,
    /// The variants, each trained with every seed.
    pub variants: &'a [VariantConfig],
    /// The seeds.
    pub seeds: &'a [u64],
    /// The settings, the same for all.
    pub settings: Settings,
    /// Minutes of training for each model. The number of steps then follows from the speed of
    /// the first variant, and is the same for all.
    pub minutes: Option<f64>,
    /// Where the models are trained.
    pub device: &'a Device,
    /// The folder in which the run's own folder is made.
    pub parent: PathBuf,
    /// The name of the run's folder; `None` to make one from the time.
    pub name: Option<String>,
    /// When the run began, in RFC 3339.
    pub started: String,
    /// Becomes true when the user wants to stop.
    pub interrupted: &'a AtomicBool,
}

impl Comparison<'_> {
    /// Trains all models and writes the run's folder: `run.json`, `tokenizer.json`, a folder for
    /// each model, and after each model `summary.json` and `report.html` anew.
    ///
    /// # Errors
    /// Anything that stops the run; what was finished until then is in its folder.
    pub fn run(mut self, observer: &mut dyn Observer) -> Result<(Summary, RunFolder), Error> {
        let (tokenizer, texts) = self.tokenize()?;
        self.check(&tokenizer, &texts)?;
        if let Some(minutes) = self.minutes {
            let config = self.settings.model(tokenizer.vocabulary(), &self.variants[0]);
            let seconds = seconds_per_step(&config, &self.settings, &texts, self.device)?;
            self.settings.steps = ((60.0 * minutes / seconds) as u64).max(1);
            observer.notice(&format!(
                "{minutes} minutes are {} steps of {:.0} ms each; every model takes as many",
                self.settings.steps,
                1e3 * seconds
            ));
        }
        self.settings.warmup = self.settings.warmup.min(self.settings.steps / 2);
        let task = "language-modelling";
        let folder = RunFolder::create(&self.parent, self.name.as_deref(), task, &self.started)?;
        let mut summary = self.empty_summary(&folder, task, &tokenizer, &texts);
        write_json(&folder.run_json(), &self.facts(&summary))?;
        tokenizer.save(folder.tokenizer_json())?;
        let total = self.seeds.len() * self.variants.len();
        let models = self.seeds.iter().flat_map(|seed| self.variants.iter().map(|v| (*seed, v)));
        for (number, (seed, variant)) in (1..).zip(models) {
            let config = self.settings.model(tokenizer.vocabulary(), variant);
            let run =
                Run { comparison: &self, folder: &folder, tokenizer: &tokenizer, texts: &texts };
            let result = run.model(&config, seed, (number, total), observer)?;
            observer.finished(&result);
            summary.variants.push(result);
            self.write_results(&folder, &summary)?;
            if self.interrupted.load(Ordering::Relaxed) {
                break;
            }
        }
        Ok((summary, folder))
    }

    fn tokenize(&self) -> Result<(Tokenizer, Splits<TokenizedText>), Error> {
        let texts = &self.corpus.splits;
        let tokenizer = self.tokenizer.build(&texts.train)?;
        let tokenized = texts.as_ref().map(|text| TokenizedText::new(text, &tokenizer));
        Ok((tokenizer, tokenized))
    }

    /// Finds what cannot work before anything is allocated or written.
    fn check(&self, tokenizer: &Tokenizer, texts: &Splits<TokenizedText>) -> Result<(), Error> {
        for variant in self.variants {
            let config = self.settings.model(tokenizer.vocabulary(), variant);
            config.check().map_err(Error::Settings)?;
        }
        let (vocabulary, width) = (tokenizer.vocabulary(), self.settings.width);
        if vocabulary * width > self.device.largest_tensor() {
            return Err(Error::Settings(format!(
                "{vocabulary} tokens of width {width} are more than one tensor can hold on \
                 {}; choose a smaller --width, or fewer tokens with --tokenizer bpe:N",
                self.device
            )));
        }
        let context = self.settings.context;
        let named =
            [("training", &texts.train), ("validation", &texts.validation), ("test", &texts.test)];
        for (name, text) in named {
            let needed = if name == "training" { context + 1 } else { 2 };
            if text.tokens.len() < needed {
                return Err(Error::Settings(format!(
                    "the {name} text has {} tokens and needs at least {needed} with a context of \
                     {context}; choose a smaller --context or more text (--data)",
                    text.tokens.len()
                )));
            }
        }
        Ok(())
    }

    fn empty_summary(
        &self,
        folder: &RunFolder,
        task: &str,
        tokenizer: &Tokenizer,
        texts: &Splits<TokenizedText>,
    ) -> Summary {
        let (validation, vocabulary) = (&texts.validation, tokenizer.vocabulary());
        let perplexity = |nats: f64| Score::new(nats, validation).perplexity();
        let hashes = &self.corpus.hashes;
        let hashes =
            [("train", &hashes.train), ("validation", &hashes.validation), ("test", &hashes.test)];
        Summary {
            name: folder.name(),
            task: task.into(),
            version: env!("CARGO_PKG_VERSION").into(),
            started: self.started.clone(),
            data: Data {
                source: self.corpus.source.to_string(),
                name: self.corpus.name.clone(),
                hashes: BTreeMap::from(hashes.map(|(name, hash)| (name.into(), hash.clone()))),
            },
            official_words: self.corpus.official_words,
            tokenizer: tokenizer.name(),
            vocabulary: vocabulary as u64,
            tokens_per_word: validation.tokens.len() as f64 / validation.words as f64,
            settings: json!(self.settings),
            uniform_perplexity: perplexity(uniform_nats(&validation.tokens, vocabulary)),
            unigram_perplexity: perplexity(unigram_nats(
                &texts.train.tokens,
                &validation.tokens,
                vocabulary,
            )),
            entropy_floor: self.corpus.entropy,
            variants: Vec::new(),
        }
    }

    /// The contents of `run.json`: everything that is known before training.
    fn facts(&self, summary: &Summary) -> serde_json::Value {
        let variants: Vec<_> = self.variants.iter().map(|variant| json!(variant)).collect();
        json!({
            "name": summary.name,
            "task": summary.task,
            "version": summary.version,
            "started": summary.started,
            "data": summary.data,
            "tokenizer": summary.tokenizer,
            "vocabulary": summary.vocabulary,
            "variants": variants,
            "seeds": self.seeds,
            "minutes": self.minutes,
            "settings": self.settings,
            "device": self.device.kind(),
            "adapter": self.device.name(),
        })
    }

    fn write_results(&self, folder: &RunFolder, summary: &Summary) -> Result<(), Error> {
        write_json(&folder.summary_json(), summary)?;
        let metrics = summary.variants.iter().map(|model| {
            let path = folder.model(&model.variant, model.seed)?.metrics_jsonl();
            let metrics = read_metrics(&path)?;
            Ok(RunMetrics { variant: model.variant.clone(), seed: model.seed, metrics })
        });
        let metrics: Vec<RunMetrics> = metrics.collect::<Result<_, Error>>()?;
        write_atomically(&folder.report_html(), page(summary, &metrics).as_bytes())?;
        Ok(())
    }
}

/// What all models of a run share.
struct Run<'a> {
    comparison: &'a Comparison<'a>,
    folder: &'a RunFolder,
    tokenizer: &'a Tokenizer,
    texts: &'a Splits<TokenizedText>,
}

impl Run<'_> {
    fn model(
        &self,
        config: &LanguageModelConfig,
        seed: u64,
        (number, models): (usize, usize),
        observer: &mut dyn Observer,
    ) -> Result<VariantSummary, Error> {
        let Comparison { settings, device, interrupted, .. } = self.comparison;
        let variant = config.variant.name();
        let folder = self.folder.model(&variant, seed)?;
        write_json(&folder.config_json(), config)?;
        let Plan { memory, parameters } = plan(config, settings)?;
        observer.started(&Started {
            variant: variant.clone(),
            seed,
            number,
            models,
            parameters,
            steps: settings.steps,
            planned_memory_bytes: memory.peak,
        });
        device.reset_peak();
        let training = Training {
            settings,
            texts: self.texts,
            tokenizer: self.tokenizer,
            seed,
            device,
            folder: &folder,
            interrupted,
        };
        let outcome = device.install(|| training.run(config, observer))?;
        let Outcome { finished, steps, train_loss, validation, test, training_seconds, seconds } =
            outcome;
        let tokens_seen = steps * settings.tokens_per_step();
        Ok(VariantSummary {
            variant,
            seed,
            finished,
            parameters,
            kv_cache_bytes_per_token: config.kv_cache_bytes_per_token() as u64,
            steps,
            tokens_seen,
            train_loss,
            validation_loss: validation.loss(),
            validation_perplexity: validation.perplexity(),
            test_loss: test.loss(),
            test_perplexity: test.perplexity(),
            bits_per_byte: test.bits_per_byte(),
            tokens_per_second: tokens_seen as f64 / training_seconds,
            peak_memory_bytes: device.memory().peak,
            wall_seconds: seconds,
            device: device.kind().into(),
            adapter: (device.kind() == "gpu").then(|| device.name()),
        })
    }
}
