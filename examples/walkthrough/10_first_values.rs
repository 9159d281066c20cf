//! Chapter 10: attention that has nowhere to go, and what the first layer's values do for it.

#[path = "common/mod.rs"]
mod common;
#[path = "common/idle_head.rs"]
mod idle_head;
#[path = "common/notes.rs"]
mod notes;

use common::Chapter;
use common::charts::{self, Line};
use idle_head::{Head, LETTERS, norm, texts};
use neutreno::engine::ops::attention::Mixing;
use neutreno::engine::optim::{AdamW, AdamWSettings, Optimizer};
use neutreno::engine::random::Key;
use neutreno::engine::{Device, Initial, Parameters, Result, Tensor};
use neutreno::measure::attention_map;
use neutreno::trace::Trace;
use neutreno::{LanguageModel, LanguageModelConfig, Variant, VariantConfig};
use notes::{CONTEXT, KEYS, Trained, asks, even};
use std::time::{Duration, Instant};

fn main() -> Result<()> {
    let chapter = Chapter::open();
    let device = chapter.device("cpu");
    nothing_wanted(&chapter, &device)?;
    let mut models = Vec::new();
    let steps = chapter.pick(1200, 80);
    let bar = chapter.progress("training four models", 4 * steps);
    for variant in Variant::ALL {
        models.push(Trained::new(variant, steps, &device, &bar)?);
    }
    bar.finish_and_clear();
    in_a_model(&chapter, &models[0])?;
    across_layers(&chapter, &models[0].trace)?;
    four_formulas(&chapter, &models[0].trace)?;
    all_four(&chapter, &models);
    costs(&chapter, &device)
}

fn nothing_wanted(chapter: &Chapter, device: &Device) -> Result<()> {
    chapter.section("A head that wants nothing");
    const STEPS: u64 = 1000;
    println!("                     step    error   idle query on key 1   value 1   others");
    let mut curves = ["weight of key 1", "norm of value 1", "norm of the others"]
        .map(|name| Line::new(name, Vec::new()));
    for (keys, what) in [(LETTERS, "letters alone"), (LETTERS + 1, "with a first token")] {
        let (head, parameters) = Parameters::build(device, 1, |b| Head::new(keys, b));
        let mut optimizer = AdamW::new(&parameters, AdamWSettings::default());
        let mut gradients = parameters.gradients();
        for step in 0..=STEPS {
            let texts = texts(keys, Key::new(2).fold(step), device);
            let [error, weight, first, others] = head.numbers(&texts)?;
            if [0, 100, STEPS].contains(&step) {
                println!(
                    "{what:<20} {step:>4} {error:>8.4} {weight:>21.3} {first:>9.3} {others:>8.3}"
                );
            }
            if keys > LETTERS && step <= 400 {
                let points = curves.iter_mut().zip([weight, first, others]);
                points.for_each(|(curve, y)| curve.points.push((step as f64, y)));
            }
            gradients.clear();
            head.loss(&texts).backward_into(&mut gradients)?;
            optimizer.step(&parameters, &gradients, 0.02, None);
        }
    }
    let title = "The first token becomes a place for nothing";
    chapter.picture("10_drain.svg", &charts::lines(title, "step", "", &curves));
    Ok(())
}

fn in_a_model(chapter: &Chapter, model: &Trained) -> Result<()> {
    chapter.section("In a trained Transformer");
    println!("questions answered rightly: {:.0} %", 100.0 * model.right);
    println!("block  concentration  share of the first token  value of the first token");
    let [concentration, share] = even();
    println!(" even {concentration:>14.2} {share:>25.2}");
    for block in 0..model.trace.layers.len() {
        let [concentration, share, drain] =
            ["attention_concentration", "first_token_importance", "value_drain"]
                .map(|name| model.numbers(name)[block]);
        println!("{:>5} {concentration:>14.2} {share:>25.2} {drain:>25.2}", block + 1);
    }
    // The head that gives most to the first token, and to whom that matters.
    let heads = model.numbers("first_token_importance_by_head");
    let most = (0..heads.len()).max_by(|a, b| heads[*a].total_cmp(&heads[*b])).unwrap_or(0);
    let (block, head) = (most / 2, most % 2);
    let layer = &model.trace.layers[block];
    let weights = weights(&by_head(&layer.query), &by_head(&layer.key)).to_vec()?;
    let first = |i: usize| weights[((i / CONTEXT * 2 + head) * CONTEXT + i % CONTEXT) * CONTEXT];
    let tokens = model.inputs.as_slice();
    println!("block {}, head {}: the first token's share,", block + 1, head + 1);
    for (what, wanted) in [("seen from questions", true), ("from notes", false)] {
        let of = |i: &usize| match wanted {
            true => asks(tokens, *i),
            false => i % CONTEXT > 8 && u64::from(tokens[*i]) > KEYS,
        };
        let shares: Vec<f32> = (0..tokens.len()).filter(of).map(first).collect();
        println!("{what:>20}: {:.2}", shares.iter().sum::<f32>() / shares.len() as f32);
    }
    let map = attention_map(&model.trace, block, head, 0)?;
    let rows: Vec<Vec<f64>> = map.weights.chunks(map.side).map(<[f64]>::to_vec).collect();
    let title = "Attention of the head with the largest sink";
    chapter.picture("10_sink.svg", &charts::heat_map(title, "query", "key", &rows));
    Ok(())
}

/// (batch, tokens, heads, channels) with the heads before the tokens.
fn by_head(x: &Tensor) -> Tensor {
    x.permute(&[0, 2, 1, 3])
}

/// A mask that hides from each query the keys after it, side by side as often as there are sets of keys.
fn mask(tokens: usize, sets: usize, device: &Device) -> Tensor {
    let number = |i: usize| if i % tokens > i / (sets * tokens) { -1e30 } else { 0.0 };
    let numbers: Vec<f32> = (0..tokens * sets * tokens).map(number).collect();
    Tensor::new(&numbers, [tokens, sets * tokens], device)
}

// ANCHOR: cross
/// P = softmax(Q Kᵀ / √d, masked): (batch, heads, tokens, tokens).
fn weights(query: &Tensor, keys: &Tensor) -> Tensor {
    let (tokens, channels) = (query.shape()[2], query.shape()[3]);
    let scores = query.matmul_with(keys, false, true).scale(1.0 / (channels as f32).sqrt());
    scores.add(&mask(tokens, keys.shape()[2] / tokens, query.device())).softmax(-1)
}

/// Attention to the keys and values of this layer and to those of the first.
fn cross_layer(query: &Tensor, own: [&Tensor; 2], first: [&Tensor; 2]) -> Tensor {
    let [keys, values] = [0, 1].map(|i| Tensor::concatenate(&[own[i], first[i]], 2));
    weights(query, &keys).matmul(&values)
}
// ANCHOR_END: cross

/// The norm of a difference by that of what should have come out.
fn apart(found: &Tensor, expected: &Tensor) -> Result<f64> {
    Ok(norm(&found.subtract(expected).to_vec()?) / norm(&expected.to_vec()?))
}

/// Whether two results are the same but for rounding.
fn agree(found: &Tensor, expected: &Tensor) -> Result<&'static str> {
    Ok(if apart(found, expected)? < 1e-5 { "equal to 1e-5" } else { "NOT EQUAL" })
}

fn across_layers(chapter: &Chapter, trace: &Trace) -> Result<()> {
    chapter.section("Across layers");
    let (last, first) = (&trace.layers[2], &trace.layers[0]);
    let [query, key, value] = [&last.query, &last.key, &last.value].map(by_head);
    let [first_key, first_value] = [&first.key, &first.value].map(by_head);
    let mixed = weights(&query, &key).matmul(&value.add(&first_value).scale(0.5));
    let same_keys = cross_layer(&query, [&key, &value], [&key, &first_value]);
    let true_keys = cross_layer(&query, [&key, &value], [&first_key, &first_value]);
    println!("half of both values under P, beside attention across layers, in block 3:");
    println!("  if the first layer's keys were those of block 3: {}", agree(&mixed, &same_keys)?);
    println!("  with the first layer's own keys: {:.2} of it apart", apart(&mixed, &true_keys)?);
    Ok(())
}

// ANCHOR: four
const LAMBDA: f32 = VariantConfig::NEUTRENO_LAMBDA;

/// What attention gives in the papers' own words: P, this layer's values and the first layer's.
fn formula(variant: Variant, p: &Tensor, v: &Tensor, v1: &Tensor) -> Tensor {
    match variant {
        Variant::Transformer => p.matmul(v),
        Variant::Neutreno => p.matmul(v).add(&v1.subtract(v).scale(LAMBDA)),
        Variant::Resformer => p.matmul(&v.scale(0.5).add(&v1.scale(0.5))),
        Variant::Svformer => p.matmul(v1),
    }
}
// ANCHOR_END: four

/// a, b and c of a variant's third layer of three.
fn coefficients(variant: Variant) -> [f32; 3] {
    VariantConfig::new(variant).coefficients(2, 3, 1).map(Option::unwrap_or_default)
}

/// The same as the op takes them.
fn mixing([a, b, c]: [f32; 3]) -> Mixing {
    Mixing { own: a.into(), first: b.into(), fidelity: c.into() }
}

fn four_formulas(chapter: &Chapter, trace: &Trace) -> Result<()> {
    chapter.section("Four formulas, one op");
    let layer = &trace.layers[2];
    let [query, key, value] = [&layer.query, &layer.key, &layer.value];
    let p = weights(&by_head(query), &by_head(key));
    println!("variant          a     b     c    formula and op");
    for variant in Variant::ALL {
        let written_out = formula(variant, &p, &by_head(value), &by_head(&layer.first_value));
        let [a, b, c] = coefficients(variant);
        let mixing = mixing([a, b, c]);
        let fused = query.attention(key, value, Some((&layer.first_value, &mixing)), true);
        let equal = agree(&by_head(&fused), &written_out)?;
        println!("{:<12} {a:>5.1} {b:>5.1} {c:>5.1}    {equal}", variant.name());
    }
    Ok(())
}

fn all_four(chapter: &Chapter, models: &[Trained]) {
    chapter.section("All four, trained");
    println!("                          share of the first token    value of the first token");
    println!("variant      right    block 1  block 2  block 3    block 1  block 2  block 3");
    for model in models {
        print!("{:<12} {:>3.0} % ", model.variant.name(), 100.0 * model.right);
        for name in ["first_token_importance", "value_drain"] {
            print!("  ");
            model.numbers(name).iter().for_each(|number| print!("{number:>9.2}"));
        }
        println!();
    }
    let curve = |model: &Trained| {
        let shares = model.numbers("first_token_importance").iter();
        let points = (1..).zip(shares).map(|(block, share)| (f64::from(block), *share));
        Line::new(model.variant.name(), points.collect())
    };
    let curves: Vec<Line> = models.iter().map(curve).collect();
    let title = "Share of attention that the first token gets";
    chapter.picture("10_share.svg", &charts::lines(title, "block", "share", &curves));
}

/// The least of some times that forward and backward take.
fn clock(device: &Device, work: impl Fn() -> Tensor) -> Result<Duration> {
    let mut least = Duration::MAX;
    for _ in 0..5 {
        let start = Instant::now();
        work().sum(&[0, 1, 2, 3], false).backward()?;
        device.synchronize()?;
        least = least.min(start.elapsed());
    }
    Ok(least)
}

fn costs(chapter: &Chapter, device: &Device) -> Result<()> {
    const SHAPE: [usize; 4] = [2, 256, 8, 32];
    let ([q, k, v, k1, v1], _) = Parameters::build(device, 1, |builder| {
        let start = Initial::Normal { deviation: 1.0 };
        ["q", "k", "v", "k1", "v1"].map(|name| builder.parameter(name, SHAPE, start, true))
    });
    let heads = || [&q, &k, &v, &k1, &v1].map(by_head);
    let plain_of_small_ops = || {
        let [q, k, v, ..] = heads();
        weights(&q, &k).matmul(&v)
    };
    let across = || {
        let [q, k, v, k1, v1] = heads();
        cross_layer(&q, [&k, &v], [&k1, &v1])
    };
    chapter.section("What it costs in time");
    let plain = clock(device, || q.attention(&k, &v, None, true))?;
    let show = |what: &str, time: Duration| {
        println!("{what:<28} {:>5.2}", time.as_secs_f64() / plain.as_secs_f64());
    };
    println!("forward and backward, by the time of plain attention as one op");
    for variant in Variant::ALL {
        let mixing = mixing(coefficients(variant));
        let own = if variant == Variant::Svformer { &v1 } else { &v };
        let first = (variant != Variant::Svformer).then_some((&v1, &mixing));
        show(variant.name(), clock(device, || q.attention(&k, own, first, true))?);
    }
    show("plain, of small ops", clock(device, plain_of_small_ops)?);
    show("across layers, of small ops", clock(device, across)?);

    chapter.section("What it costs in memory");
    println!("8 blocks of width 256, 8 heads     parameters   cache, bytes a token");
    for variant in Variant::ALL {
        let mut config = LanguageModelConfig::new(1000, 256, 8, 8, 128);
        config.variant = VariantConfig::new(variant);
        let build = |builder: &mut _| LanguageModel::new(&config, builder);
        let (_, parameters) = Parameters::build(&Device::plan(), 1, build);
        let (count, cache) = (parameters.count(), config.kv_cache_bytes_per_token());
        println!("{:<34} {count:>10} {cache:>22}", variant.name());
    }
    Ok(())
}
