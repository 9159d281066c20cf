//! Made-up results for the tests.

use super::RunMetrics;
use crate::run::{Data, Metric, Summary, Values, VariantSummary};
use serde_json::json;

const VARIANTS: [(&str, f64); 4] =
    [("transformer", 0.0), ("neutreno", -0.004), ("resformer", -0.03), ("svformer", 0.02)];

/// The results of all four variants with so many seeds.
pub(super) fn summary(seeds: u64) -> Summary {
    let run = |variant: &str, gain: f64, seed: u64| {
        let loss = 5.25 + gain + 0.015625 * (seed as f64 - 2.0);
        VariantSummary {
            version: "0.1.0".into(),
            variant: variant.to_owned(),
            seed,
            finished: true,
            parameters: 4_812_032,
            steps: 300,
            train_loss: loss - 0.125,
            results: Values::default()
                .with("kv_cache_bytes_per_token", if variant == "svformer" { 2560 } else { 4096 })
                .with("tokens_seen", 614_400)
                .with("tokens_per_second", 8450.5 + seed as f64)
                .with("validation_loss", loss)
                .with("validation_perplexity", loss.exp().round())
                .with("test_loss", loss - 0.0625)
                .with("test_perplexity", (loss - 0.0625).exp().round()),
            peak_memory_bytes: 327_575_142,
            wall_seconds: 72.5,
            device: "cpu".to_owned(),
            adapter: None,
            ranks: Vec::new(),
        }
    };
    let runs = |(variant, gain): (&'static str, f64)| {
        (1..=seeds).map(move |seed| run(variant, gain, seed)).collect::<Vec<_>>()
    };
    Summary {
        name: "2031-05-07-093000-language-modelling".to_owned(),
        task: "language-modelling".to_owned(),
        version: "0.1.0".to_owned(),
        started: "2031-05-07T09:30:00Z".to_owned(),
        data: Data {
            source: "folder /data/wikitext-2".to_owned(),
            path: Some("/data/wikitext-2".into()),
            name: "WikiText-2".to_owned(),
            hashes: [("wiki.train.tokens".to_owned(), "c0ffee".repeat(10))].into(),
        },
        unit: "token".to_owned(),
        settings: json!({ "layers": 4, "width": 128, "learning_rate": 0.001, "tied": true }),
        facts: Values::default()
            .with("official_words", true)
            .with("tokenizer", "words")
            .with("vocabulary", 33_278)
            .with("tokens_per_word", 1.0)
            .with("uniform_perplexity", 33_278.0)
            .with("unigram_perplexity", 1012.5)
            .with("unigram_loss", 6.92),
        baseline: None,
        growing: false,
        variants: VARIANTS.into_iter().flat_map(runs).collect(),
    }
}

/// Metrics that go with [`summary`]: falling losses, evaluation and a sample every 100 steps.
pub(super) fn metrics(summary: &Summary) -> Vec<RunMetrics> {
    let metric = |run: &VariantSummary, step: u64| {
        let noise = 0.3 * ((step * 7919 + run.seed * 104_729) as f64).sin();
        let gap = run.number("validation_loss") - 5.25;
        let loss = 5.1 + 5.3 / (1.0 + step as f64 / 20.0) + gap + noise;
        let evaluated = step.is_multiple_of(100);
        let mut values = Values::default()
            .with("tokens", step * 2048)
            .with("tokens_per_second", run.number("tokens_per_second"));
        if evaluated {
            values.set("validation_loss", loss - noise);
            values.set("validation_perplexity", (loss - noise).exp());
        }
        Metric {
            step,
            loss,
            learning_rate: 1e-3,
            gradient_norm: 1.0,
            seconds: step as f64 / 4.0,
            sample: evaluated.then(|| format!("The text of {} after {step} steps", run.variant)),
            values,
        }
    };
    let run = |run: &VariantSummary| RunMetrics {
        variant: run.variant.clone(),
        seed: run.seed,
        metrics: (1..=run.steps).map(|step| metric(run, step)).collect(),
        pictures: Vec::new(),
    };
    summary.variants.iter().map(run).collect()
}
