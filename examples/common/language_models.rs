//! The way from a path to trained language models, for programs that use them.

use super::program::Result;
use super::progress::Progress;
use super::which::Which;
use clap::Args;
use neutreno::LanguageModel;
use neutreno::data::Decoder;
use neutreno::data::tokenizer::Tokenizer;
use neutreno::engine::half::Precision;
use neutreno::engine::{Device, Parameters};
use neutreno::language::{LoadSettings, Loaded};
use neutreno::open::{Kind, Source, language_model};
use neutreno::report::{bytes, thousands};

/// Which models, and how they are loaded.
#[derive(Debug, Args)]
pub struct Models {
    #[command(flatten)]
    pub which: Which,
    /// How weight matrices are kept: f32, bf16 or f16. Computing is done in f32
    #[arg(long, value_name = "FORMAT", default_value_t = Precision::F32, help_heading = "Models")]
    pub precision: Precision,
    /// Refuse a model whose files have keys that are not known, instead of telling them
    #[arg(long, help_heading = "Models")]
    pub strict: bool,
}

/// A model's tokenizer, as those who write with the model ask it.
pub struct AnyTokenizer(pub Tokenizer);

impl Models {
    /// Finds the models, and the tokenizer that they share.
    ///
    /// # Errors
    /// If the path leads to none, or to those of something else than language.
    pub fn find(&self, progress: &Progress) -> Result<(Vec<Source>, AnyTokenizer)> {
        let models = self.which.find(progress)?;
        let tokenizer = AnyTokenizer::of(&models)?;
        Ok((models, tokenizer))
    }

    /// Loads one, checks that it goes with the tokenizer, and says what it is.
    ///
    /// # Errors
    /// If it cannot be loaded, or does not fit.
    pub fn load(
        &self,
        found: &Source,
        tokenizer: &AnyTokenizer,
        device: &Device,
        progress: &Progress,
    ) -> Result<Loaded> {
        let settings = LoadSettings {
            strict: self.strict,
            precision: self.precision,
            ..LoadSettings::default()
        };
        let load = || language_model(found, device, &settings);
        let loaded = progress.during(&format!("loading {}", found.name), load)?;
        let notices = loaded.notices.iter().cloned();
        notices.chain(tokenizer.check(&loaded.model)?).for_each(|line| progress.line(&line));
        let config = loaded.model.config();
        // In half precision most of them are no parameters that could be trained.
        let build = |builder: &mut _| LanguageModel::new(config, builder);
        let (_, all) = Parameters::build(&Device::plan(), 0, build);
        progress.line(&format!(
            "{}: {} parameters, {} in {}, a context of {} tokens",
            found.name,
            thousands(all.count() as u64),
            bytes(loaded.weight_bytes),
            self.precision,
            thousands(config.max_position_embeddings as u64),
        ));
        Ok(loaded)
    }
}

impl AnyTokenizer {
    /// The one that models share: that of their run, or that in the model's folder.
    ///
    /// # Errors
    /// If the models are of something else than language, or it cannot be read.
    pub fn of(models: &[Source]) -> Result<AnyTokenizer> {
        for source in models {
            if let kind @ (Kind::Classifier | Kind::Segmenter) = source.kind()? {
                let kind = if kind == Kind::Segmenter { "segmenter" } else { "vit" };
                return Err(format!(
                    "{}: its models are of images ({kind}), and this program needs language models",
                    source.folder.display()
                )
                .into());
            }
        }
        let source = models.first().ok_or("there are no models")?;
        let path = match &source.of_run {
            Some(of_run) => of_run.run.tokenizer_json(),
            None => source.folder.join("tokenizer.json"),
        };
        if !path.exists() {
            return Err(format!(
                "{}: it has no tokenizer.json, and without that no text can be read",
                path.parent().unwrap_or(&path).display()
            )
            .into());
        }
        Ok(AnyTokenizer(Tokenizer::load(path)?))
    }

    /// The tokens of a text, with those at its beginning that the tokenizer's file asks for if
    /// `special`.
    ///
    /// # Errors
    /// If it has no tokens for the text.
    pub fn encode(&self, text: &str, special: bool) -> Result<Vec<u32>> {
        Ok(match &self.0 {
            Tokenizer::Pretrained(tokenizer) => tokenizer.encode(text, special)?,
            own => own.encode(text),
        })
    }

    /// The id of a special token by its name.
    pub fn id_of(&self, token: &str) -> Option<u32> {
        match &self.0 {
            Tokenizer::Pretrained(tokenizer) => tokenizer.id_of(token),
            _ => None,
        }
    }

    /// How many tokens it has.
    pub fn size(&self) -> usize {
        match &self.0 {
            Tokenizer::Pretrained(tokenizer) => tokenizer.largest() as usize + 1,
            own => own.vocabulary(),
        }
    }

    /// The token that stands for what is unknown, if it says nothing to a reader.
    pub fn unknown(&self) -> Option<u32> {
        match &self.0 {
            Tokenizer::Pretrained(_) => None,
            own => own.unknown(),
        }
    }

    /// How many tokens of a text stand for words that it does not know.
    pub fn unknown_in(&self, text: &str) -> usize {
        self.0.unknown_in(text).len()
    }

    /// Whether it goes with a model; a line to tell if that has more tokens.
    fn check(&self, model: &LanguageModel) -> Result<Option<String>> {
        let vocabulary = model.config().vocab_size;
        match &self.0 {
            Tokenizer::Pretrained(tokenizer) => Ok(tokenizer.check(vocabulary)?),
            own if own.vocabulary() != vocabulary => Err(format!(
                "the tokenizer has {} tokens and the model {vocabulary}: it is not the one that it was \
                 trained with",
                own.vocabulary()
            )
            .into()),
            _ => Ok(None),
        }
    }
}

impl Decoder for AnyTokenizer {
    fn bytes(&self, id: u32) -> Option<Vec<u8>> {
        self.0.bytes(id)
    }

    fn text(&self, ids: &[u32]) -> String {
        self.0.text(ids)
    }
}
