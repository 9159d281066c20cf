//! What the cache takes for each variant, with fewer heads for keys and values, with keys that layers
//! share, and in each precision: computed from the configuration, and measured on the device.

use crate::arguments::{Arguments, Table};
use crate::common::program::Result;
use crate::common::progress::Progress;
use crate::common::show;
use neutreno::engine::Device;
use neutreno::engine::half::Precision;
use neutreno::language::{ConfigFile, KeyValueCache};
use neutreno::report::{label, thousands};
use neutreno::run::RunFolder;
use neutreno::{LanguageModelConfig, Variant, VariantConfig};
use serde_json::json;
use std::fs;

/// Tokens of the caches that are measured.
const TOKENS: usize = 64;

/// Prints the table.
///
/// # Errors
/// If the sizes are those of no model, or a cache takes other memory than is computed.
pub fn show(arguments: &Arguments, device: &Device, progress: &Progress) -> Result<()> {
    let mut model = sizes(arguments)?;
    model.max_position_embeddings = model.max_position_embeddings.max(TOKENS);
    let heads = model.num_attention_heads;
    progress.line(&format!(
        "caches of a model of {} layers with {heads} heads of {} channels; measured for {TOKENS} tokens",
        model.num_hidden_layers,
        model.head_size(),
    ));
    let whole = of(&model, Variant::Transformer, heads, 1).kv_cache_bytes_per_token();
    let mut lines: Vec<String> = vec![
        "             key-value   layers  bytes a token                   part of the".into(),
        "variant          heads  sharing      f32  measured    bf16     f16 Transformer's".into(),
    ];
    let mut wrong = 0;
    for variant in Variant::ALL {
        for kept in (1..=heads).rev().filter(|kept| heads.is_multiple_of(*kept)) {
            for share in [1, 2] {
                let config = of(&model, variant, kept, share);
                let found = measure(&config, device)?;
                wrong += found.iter().filter(|[computed, measured]| computed != measured).count();
                let part = found[0][0] as f64 / whole as f64;
                if arguments.json {
                    let [f32, bf16, f16] = found.map(
                        |[computed, measured]| json!({"computed": computed, "measured": measured}),
                    );
                    show::json(&json!({
                        "variant": config.variant.name(),
                        "num_key_value_heads": kept,
                        "share_keys": share,
                        "bytes_per_token": {"f32": f32, "bf16": bf16, "f16": f16},
                        "part_of_transformer": part,
                    }));
                    continue;
                }
                let [f32, bf16, f16] = found.map(|of| of.map(|bytes| thousands(bytes as u64)));
                lines.push(format!(
                    "{:<12} {kept:>9} {share:>8} {:>8} {:>9} {:>7} {:>7} {part:>13.4}",
                    label(&config.variant.name()),
                    f32[0],
                    f32[1],
                    bf16[1],
                    f16[1]
                ));
            }
        }
    }
    if !arguments.json {
        show::result(lines.join("\n"));
    }
    match wrong {
        0 => Ok(()),
        wrong => Err(format!("{wrong} caches take other memory than was computed").into()),
    }
}

/// The sizes that were asked for, or those of a model.
fn sizes(arguments: &Arguments) -> Result<LanguageModelConfig> {
    let Table { layers, width, heads, .. } = arguments.table;
    let Some(path) = arguments.models.which.path() else {
        let config = LanguageModelConfig::new(2, width, layers, heads, TOKENS);
        config.check()?;
        return Ok(config);
    };
    let folder = match RunFolder::open(path) {
        Ok(run) => {
            let models = run.models()?;
            let first = models.into_iter().find(|model| model.folder.config_json().exists());
            first.ok_or("no model of this run is there yet")?.folder.path().to_owned()
        }
        Err(_) => path.clone(),
    };
    let path = folder.join("config.json");
    let failed = |problem: String| format!("{}: {problem}", path.display());
    let text = fs::read(&path).map_err(|error| failed(error.to_string()))?;
    Ok(ConfigFile::parse(&text).map_err(failed)?.config)
}

/// The configuration with other choices in it.
fn of(
    model: &LanguageModelConfig,
    variant: Variant,
    kept: usize,
    share: usize,
) -> LanguageModelConfig {
    LanguageModelConfig {
        num_key_value_heads: kept,
        share_keys: share,
        variant: VariantConfig::new(variant),
        ..model.clone()
    }
}

/// The bytes of a token, computed and measured, in each precision.
fn measure(config: &LanguageModelConfig, device: &Device) -> Result<[[usize; 2]; 3]> {
    let mut found = [[0; 2]; 3];
    for (precision, found) in Precision::ALL.into_iter().zip(&mut found) {
        let before = device.memory().in_use;
        let cache = KeyValueCache::new(config, 1, TOKENS, precision, device)?;
        let taken = device.memory().in_use - before;
        drop(cache);
        *found = [config.kv_cache_bytes_per_token_in(precision), taken as usize / TOKENS];
    }
    Ok(found)
}
