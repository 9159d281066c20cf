//! A language model with its tokenizer.

use super::card::About;
use super::model::{Model, pretty, unfinished};
use crate::data::tokenizer::Tokenizer;
use crate::engine::half::Half;
use crate::engine::{Device, Parameters};
use crate::error::Error;
use crate::exchange::{self, Tokens};
use crate::language::{ConfigFile, LanguageModel, LanguageModelConfig};
use crate::open::{OfRun, Source, load_weights};
use serde_json::{Value, json};

/// The class of `transformers` that takes everything from `tokenizer.json`, in both versions.
const TOKENIZER_CLASS: &str = "PreTrainedTokenizerFast";

/// Loads a model, and says what stands beside it.
pub(super) fn model(
    source: &Source,
    precision: Option<Half>,
    device: &Device,
) -> Result<Model, Error> {
    let Loaded { config, parameters, tokens, mut notices } = load(source, device)?;
    let tokenizer = tokenizer(source, &config)?;
    notices.extend(exchange::misgivings(&config));
    let mut json = exchange::language_config(&config, precision, &tokens);
    let generation = exchange::generation_config(&config, &tokens);
    let mut files = vec![("generation_config.json", pretty(&generation))];
    if let Some(tokenizer) = &tokenizer {
        json["tokenizer_class"] = TOKENIZER_CLASS.into();
        files.push(("tokenizer.json", tokenizer.to_hugging_face()));
        files.push(("tokenizer_config.json", pretty(&tokenizer_config(&config))));
    } else if !source.folder.join("tokenizer.json").is_file() {
        notices.push("there is no tokenizer.json beside the model, so none was exported".into());
    }
    let kind = tokenizer.map_or("a tokenizer of its own".into(), |tokenizer| tokenizer.name());
    let about = About::language_model(&config, json["dtype"].as_str().unwrap_or_default(), &kind);
    let variant = config.variant;
    let class = "AutoModelForCausalLM";
    Ok(Model { json, class, variant, parameters, about, files, notices })
}

/// A model with its weights.
struct Loaded {
    config: LanguageModelConfig,
    parameters: Parameters,
    tokens: Tokens,
    notices: Vec<String>,
}

fn load(source: &Source, device: &Device) -> Result<Loaded, Error> {
    let (text, failed) = source.config()?;
    if let Some(weights) = source.checkpoint() {
        let ConfigFile { config, .. } = ConfigFile::parse(&text).map_err(failed)?;
        let build = |builder: &mut _| LanguageModel::new(&config, builder);
        let (_, parameters) = Parameters::build(device, 0, build);
        load_weights(weights, &parameters)?;
        let notices = vec![unfinished(weights)];
        return Ok(Loaded { config, parameters, tokens: Tokens::default(), notices });
    }
    let loaded = LanguageModel::load(&source.folder, device)?;
    let json: Value = serde_json::from_slice(&text).unwrap_or_default();
    let padding = json["pad_token_id"].as_u64().and_then(|id| u32::try_from(id).ok());
    let tokens = Tokens { begin: loaded.begin_token, end: loaded.end_tokens, padding };
    let config = loaded.model.config().clone();
    Ok(Loaded { config, parameters: loaded.parameters, tokens, notices: loaded.notices })
}

/// The tokenizer of a run.
fn tokenizer(source: &Source, config: &LanguageModelConfig) -> Result<Option<Tokenizer>, Error> {
    let Some(OfRun { run, .. }) = &source.of_run else { return Ok(None) };
    let tokenizer = Tokenizer::load(run.tokenizer_json())?;
    let (theirs, ours) = (tokenizer.vocabulary(), config.vocab_size);
    if theirs != ours {
        return Err(Error::Settings(format!(
            "{} has {theirs} tokens, and the model {ours}: it is not the one that it was trained with",
            run.tokenizer_json().display()
        )));
    }
    Ok(Some(tokenizer))
}

fn tokenizer_config(config: &LanguageModelConfig) -> Value {
    json!({
        "tokenizer_class": TOKENIZER_CLASS,
        "model_max_length": config.max_position_embeddings,
        "model_input_names": ["input_ids", "attention_mask"],
        // Version 4 would take spaces away before full stops and commas.
        "clean_up_tokenization_spaces": false,
    })
}
