//! How a model's makers want text to be written with it: Hugging Face's `generation_config.json`.

use super::sampling::Sampling;
use crate::json::{Keys, short};
use serde_json::{Value, json};

/// What a `generation_config.json` says.
///
/// ```
/// use neutreno_models::language::GenerationConfig;
/// let text = r#"{"do_sample": true, "temperature": 0.6, "top_p": 0.9, "eos_token_id": [2, 7],
///     "num_beams": 4}"#;
/// let file = GenerationConfig::parse(text.as_bytes())?;
/// assert_eq!(file.sampling.temperature, 0.6);
/// assert_eq!(file.sampling.top_k, Some(50));
/// assert_eq!(file.end_tokens, Some(vec![2, 7]));
/// assert_eq!(file.unused, ["num_beams (4)"]);
/// let problem = GenerationConfig::parse(br#"{"top_p": "much"}"#).unwrap_err();
/// assert_eq!(problem, r#"top_p is "much"; it must be a number"#);
/// # Ok::<(), String>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct GenerationConfig {
    /// How tokens are drawn. As in `transformers` it is the likeliest one without `do_sample`, and with
    /// it one of the 50 likeliest, if the file does not say how many (`top_k`; 0 for all).
    pub sampling: Sampling,
    /// The token that texts begin with (`bos_token_id`).
    pub begin_token: Option<u32>,
    /// The tokens after which a text is at its end (`eos_token_id`).
    pub end_tokens: Option<Vec<u32>>,
    /// How many tokens may be written (`max_new_tokens`).
    pub max_new_tokens: Option<usize>,
    /// How many a text may have together with its prompt (`max_length`).
    pub max_length: Option<usize>,
    /// The keys that were not used, each with its value: they are not known here, or ask for what is
    /// not done.
    pub unused: Vec<String>,
}

/// The likeliest tokens that `transformers` draws from where nothing else is said.
const TOP_K: usize = 50;

/// Keys that change nothing of what is written, or ask for nothing with the value that they have here.
fn without_effect(key: &str, value: &Value) -> bool {
    let harmless = [
        "_from_model_config",
        "cache_config",
        "cache_implementation",
        "compile_config",
        "disable_compile",
        "low_memory",
        "max_cache_len",
        "output_attentions",
        "output_hidden_states",
        "output_logits",
        "output_scores",
        "pad_token_id",
        "return_dict_in_generate",
        "transformers_version",
        "use_cache",
    ];
    let neutral = match key {
        "num_beams" | "num_beam_groups" | "num_return_sequences" => json!(1.0),
        "typical_p" | "length_penalty" | "encoder_repetition_penalty" => json!(1.0),
        "early_stopping" | "remove_invalid_values" | "renormalize_logits" | "token_healing" => {
            json!(false)
        }
        "min_length" | "no_repeat_ngram_size" | "encoder_no_repeat_ngram_size" => json!(0.0),
        "epsilon_cutoff" | "eta_cutoff" | "diversity_penalty" => json!(0.0),
        _ => Value::Null,
    };
    let same = match value.as_f64() {
        Some(number) => neutral == json!(number),
        None => *value == neutral,
    };
    harmless.contains(&key) || (same && !neutral.is_null())
}

impl GenerationConfig {
    /// Reads the text of a `generation_config.json`.
    ///
    /// # Errors
    /// What is no JSON, or a key whose value is of another kind or out of its range: a message that
    /// names it.
    pub fn parse(text: &[u8]) -> Result<GenerationConfig, String> {
        let mut keys = Keys::parse(text)?;
        let sampling = sampling(&mut keys)?;
        let begin_token = keys.tokens("bos_token_id")?.and_then(|ids| ids.first().copied());
        let end_tokens = keys.tokens("eos_token_id")?;
        let [max_new_tokens, max_length] = [keys.size("max_new_tokens")?, keys.size("max_length")?];
        let left = keys.rest().filter(|(key, value)| !without_effect(key, value));
        let unused = left.map(|(key, value)| format!("{key} ({})", short(value))).collect();
        Ok(GenerationConfig {
            sampling,
            begin_token,
            end_tokens,
            max_new_tokens,
            max_length,
            unused,
        })
    }
}

fn sampling(keys: &mut Keys) -> Result<Sampling, String> {
    let samples = keys.flag("do_sample")?.unwrap_or(false);
    let any = Sampling {
        excluded: keys.tokens("suppress_tokens")?.unwrap_or_default(),
        repetition_penalty: keys.number("repetition_penalty")?.unwrap_or(1.0),
        temperature: keys.number("temperature")?.unwrap_or(1.0),
        top_k: Some(keys.size("top_k")?.unwrap_or(TOP_K)).filter(|most| *most > 0),
        top_p: keys.number("top_p")?.unwrap_or(1.0),
        min_p: keys.number("min_p")?.unwrap_or(0.0),
    };
    any.check()?;
    if samples {
        return Ok(any);
    }
    let Sampling { excluded, repetition_penalty, .. } = any;
    Ok(Sampling { excluded, repetition_penalty, ..Sampling::GREEDY })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(value: Value) -> Result<GenerationConfig, String> {
        GenerationConfig::parse(value.to_string().as_bytes())
    }

    #[test]
    fn a_file_that_says_nothing_takes_the_likeliest() {
        let said = json!({"_from_model_config": true, "transformers_version": "5.24.0",
            "use_cache": true, "pad_token_id": 2, "num_beams": 1, "length_penalty": 1.0,
            "early_stopping": false, "no_repeat_ngram_size": 0});
        for file in [json!({}), said] {
            let found = read(file).unwrap();
            assert_eq!(found.sampling, Sampling::GREEDY);
            assert_eq!((found.end_tokens, found.unused), (None, vec![]));
        }
        // Not drawn from, so without effect.
        let found = read(json!({"temperature": 0.7, "repetition_penalty": 1.1})).unwrap();
        assert_eq!(found.sampling, Sampling { repetition_penalty: 1.1, ..Sampling::GREEDY });
    }

    #[test]
    fn every_setting_is_honoured() {
        let found = read(json!({
            "do_sample": true, "temperature": 0.5, "top_k": 7, "top_p": 0.9, "min_p": 0.05,
            "repetition_penalty": 1.2, "suppress_tokens": [3, 4], "bos_token_id": 1,
            "eos_token_id": 2, "max_new_tokens": 20, "max_length": 300
        }));
        let sampling = Sampling {
            excluded: vec![3, 4],
            repetition_penalty: 1.2,
            temperature: 0.5,
            top_k: Some(7),
            top_p: 0.9,
            min_p: 0.05,
        };
        let expected = GenerationConfig {
            sampling,
            begin_token: Some(1),
            end_tokens: Some(vec![2]),
            max_new_tokens: Some(20),
            max_length: Some(300),
            unused: Vec::new(),
        };
        assert_eq!(found, Ok(expected));
        let top_k =
            |value: Value| read(json!({"do_sample": true, "top_k": value})).unwrap().sampling.top_k;
        assert_eq!([top_k(json!(0)), top_k(json!(null))], [None, Some(50)]);
    }

    #[test]
    fn what_is_not_done_is_told() {
        let found = read(json!({"num_beams": 4, "typical_p": 0.9, "colour": null})).unwrap();
        assert_eq!(found.unused, ["colour (null)", "num_beams (4)", "typical_p (0.9)"]);
    }

    #[test]
    fn values_of_another_kind_or_out_of_range_are_named() {
        for (file, words) in [
            (json!({"do_sample": 1}), "do_sample is 1; it must be true or false"),
            (json!({"temperature": "hot"}), "temperature is \"hot\"; it must be a number"),
            (json!({"temperature": -1}), "a temperature of -1"),
            (json!({"top_k": 1.5}), "top_k is 1.5; it must be a whole number"),
            (json!({"top_p": 2}), "a top-p of 2"),
            (json!({"min_p": -0.5}), "a min-p of -0.5"),
            (json!({"repetition_penalty": 0}), "a repetition penalty of 0"),
            (json!({"eos_token_id": "</s>"}), "eos_token_id is \"</s>\"; it must be the id"),
            (json!({"eos_token_id": -1}), "eos_token_id is -1; it must be the id"),
            (json!({"max_new_tokens": -1}), "max_new_tokens is -1; it must be a whole number"),
            (json!({"max_length": true}), "max_length is true; it must be a whole number"),
            (json!([]), "expected an object"),
        ] {
            let problem = read(file.clone()).expect_err(&file.to_string());
            assert!(problem.contains(words), "{file}: {problem}");
        }
    }
}
