//! Chapter 11 of the walkthrough: writing. What a cache of keys and values saves, what it costs, what
//! each variant keeps, and how the next token is drawn. `cargo run --release --example 11_generation`

#[path = "common/mod.rs"]
mod common;
#[path = "common/writers.rs"]
mod writers;

use common::{Chapter, charts, milliseconds};
use neutreno::data::words::Words;
use neutreno::engine::half::Precision;
use neutreno::engine::random::{Generator, Key};
use neutreno::engine::{Device, Ids, Result, Tensor, no_grad};
use neutreno::language::{KeyValueCache, Sampling};
use neutreno::{LanguageModel, LanguageModelConfig, Variant};
use writers::{CONTEXT, learn, untrained};

const WIDTH: usize = 32; // of one layer of attention, by hand
const HEADS: usize = 2;

/// One layer of attention: what makes queries, keys and values of tokens x (time, width).
struct Layer([Tensor; 3]);

impl Layer {
    // ANCHOR: layer
    /// Queries, keys and values of tokens of which the first stands at this position.
    fn project(&self, x: &Tensor, position: usize) -> [Tensor; 3] {
        let shape = [1, x.shape()[0], HEADS, WIDTH / HEADS];
        let [q, k, v] = [0, 1, 2].map(|i| x.linear(&self.0[i], None).reshape(shape));
        [q.rope(position, 10_000.0), k.rope(position, 10_000.0), v]
    }

    /// What attention makes of all tokens at once.
    fn of_all(&self, x: &Tensor) -> Tensor {
        let [q, k, v] = self.project(x, 0);
        q.attention(&k, &v, None, true)
    }

    /// The same for the next token alone: the keys and values of those before it were kept.
    fn of_next(&self, x: &Tensor, keys: &mut Vec<Tensor>, values: &mut Vec<Tensor>) -> Tensor {
        let [q, k, v] = self.project(x, keys.len());
        keys.push(k);
        values.push(v);
        let joined = |kept: &[Tensor]| Tensor::concatenate(&kept.iter().collect::<Vec<_>>(), 1);
        q.attention(&joined(keys), &joined(values), None, true)
    }
    // ANCHOR_END: layer
}

/// Whether numbers are the same but for rounding.
fn compare(a: &Tensor, b: &Tensor) -> Result<&'static str> {
    let largest = a.subtract(b).abs().flatten(0, -1).max(&[0], false).to_scalar()?;
    Ok(if largest < 1e-4 { "the same" } else { "something else" })
}

fn layer(device: &Device) -> Result<()> {
    const TIME: usize = 5;
    let random = |name: &str, shape: [usize; 2]| {
        let numbers = Key::new(11).named(name).normals(shape[0] * shape[1], 0.0, 0.3);
        Tensor::new(&numbers, shape, device)
    };
    let layer = Layer(["query", "key", "value"].map(|name| random(name, [WIDTH, WIDTH])));
    let x = random("tokens", [TIME, WIDTH]);
    let all = layer.of_all(&x);
    let (mut keys, mut values) = (Vec::new(), Vec::new());
    for (time, x) in x.split(1, 0).iter().enumerate() {
        let next = layer.of_next(x, &mut keys, &mut values);
        let same = compare(&next, &all.narrow(1, time, 1))?;
        println!("token {time}: 1 query, {} keys, {same}", keys.len());
    }
    Ok(())
}

/// Goes on with a text: for each new token all that there are go through the model.
fn write_without(
    model: &LanguageModel,
    mut tokens: Vec<u32>,
    count: usize,
    mut draw: impl FnMut(&[f32]) -> u32,
) -> Result<Vec<u32>> {
    // ANCHOR: without
    for _ in 0..count {
        let ids = Ids::new(tokens.clone(), [1, tokens.len()]);
        let logits = model.next_logits(&ids, &[tokens.len() - 1]).to_vec()?;
        tokens.push(draw(&logits));
    }
    // ANCHOR_END: without
    Ok(tokens)
}

/// The same with a cache: only tokens that are not in it yet go through the model.
fn write_with(
    model: &LanguageModel,
    mut tokens: Vec<u32>,
    count: usize,
    mut draw: impl FnMut(&[f32]) -> u32,
) -> Result<Vec<u32>> {
    // ANCHOR: with
    let mut cache = KeyValueCache::new(model.config(), 1, CONTEXT, Precision::F32, model.device())?;
    let mut seen = 0;
    for _ in 0..count {
        let logits = model.extend(&mut cache, &[&tokens[seen..]]).to_vec()?;
        seen = tokens.len();
        tokens.push(draw(&logits));
    }
    // ANCHOR_END: with
    Ok(tokens)
}

/// Tokens with a number each, the largest first.
fn ranked(numbers: &[f32]) -> Vec<(u32, f32)> {
    let mut ranked: Vec<(u32, f32)> = (0..).zip(numbers.iter().copied()).collect();
    ranked.sort_by(|a, b| b.1.total_cmp(&a.1));
    ranked
}

fn times(chapter: &Chapter, device: &Device) -> Result<()> {
    let model = untrained(Variant::Transformer, 128, 4, device);
    let names = ["without a cache", "with a cache"];
    let mut lines = names.map(|name| charts::Line::new(name, Vec::new()));
    println!("tokens before   without a cache   with a cache   (milliseconds for the next token)");
    for before in [32, 64, 128, 256, 384, 511] {
        let ids = Ids::new(vec![1; before + 1], [1, before + 1]);
        let mut cache = KeyValueCache::new(model.config(), 1, 512, Precision::F32, device)?;
        model.extend(&mut cache, &[&ids.as_slice()[..before]]);
        let times = [
            milliseconds(15, || model.next_logits(&ids, &[before]).to_vec().map(drop))?,
            milliseconds(20, || {
                cache.truncate(0, before);
                model.extend(&mut cache, &[&[1]]).to_vec().map(drop)
            })?,
        ];
        println!("{before:13}   {:15.1}   {:12.1}", times[0], times[1]);
        for (line, time) in lines.iter_mut().zip(times) {
            line.points.push((before as f64, time));
        }
    }
    let chart = charts::lines("Time for the next token", "tokens before it", "ms", &lines);
    chapter.picture("11_time.svg", &chart);
    Ok(())
}

// ANCHOR: formula
/// The bytes kept of a token: K and V of each layer; in an SVFormer K of each layer, and V once.
fn bytes_by_formula(config: &LanguageModelConfig) -> usize {
    let kept = match config.variant.variant {
        Variant::Svformer => config.num_hidden_layers + 1,
        _ => 2 * config.num_hidden_layers,
    };
    kept * config.num_key_value_heads * config.head_size() * size_of::<f32>()
}
// ANCHOR_END: formula

fn kept(chapter: &Chapter, device: &Device) -> Result<()> {
    let mut bars = Vec::new();
    println!("variant      kv heads   by formula   measured   logits with and without");
    for kv_heads in [8, 2] {
        for variant in Variant::ALL {
            let model = untrained(variant, 256, kv_heads, device);
            let config = model.config();
            let before = device.memory().in_use;
            let mut cache = KeyValueCache::new(config, 1, 64, Precision::F32, device)?;
            let measured = (device.memory().in_use - before) / 64;
            let tokens: Vec<u32> = (0..16).map(|i| 37 * i % 200).collect();
            let whole = model.next_logits(&Ids::new(tokens.clone(), [1, 16]), &[15]);
            let mut last = whole.zeros_like();
            tokens.iter().for_each(|token| last = model.extend(&mut cache, &[&[*token]]));
            let same = compare(&last, &whole)?;
            let (name, formula) = (variant.name(), bytes_by_formula(config));
            println!("{name:11}  {kv_heads:8}   {formula:10}   {measured:8}   {same}");
            bars.push((format!("{variant}, {kv_heads} kv heads"), measured as f64));
        }
    }
    let chart = charts::bars("Kept of each token: 8 layers of 8 heads", "bytes", &bars, None);
    chapter.picture("11_kept.svg", &chart);
    Ok(())
}

fn speed(device: &Device) -> Result<()> {
    const WORK: [(usize, usize); 3] = [(1, 64), (1, 1), (8, 1)]; // texts, new tokens of each
    let models = Variant::ALL.map(|variant| untrained(variant, 256, 8, device));
    let mut fastest = [[0.0_f64; 3]; Variant::ALL.len()];
    // They take turns, so that whatever else the machine does meets all of them.
    for _ in 0..5 {
        for (model, fastest) in models.iter().zip(&mut fastest) {
            for ((texts, new), fastest) in WORK.into_iter().zip(fastest) {
                let tokens = vec![&[1; 64][..new]; texts];
                let config = model.config();
                let mut cache = KeyValueCache::new(config, texts, 512, Precision::F32, device)?;
                let work = || model.extend(&mut cache, &tokens).to_vec().map(drop);
                *fastest = fastest.max(1e3 * (texts * new) as f64 / milliseconds(2, work)?);
            }
        }
    }
    println!("tokens a second    prefill   decoding   decoding 8 texts at once");
    for (variant, [prefill, one, eight]) in Variant::ALL.iter().zip(fastest) {
        println!("{:15}   {prefill:8.0}   {one:8.0}   {eight:8.0}", variant.name());
    }
    Ok(())
}

// ANCHOR: probabilities
/// The probabilities of tokens: logits divided by the temperature, of which only the likeliest are left.
fn probabilities(logits: &[f32], temperature: f32, top_k: usize, top_p: f32) -> Vec<(u32, f32)> {
    let mut tokens = ranked(logits);
    let largest = tokens[0].1;
    tokens.truncate(top_k);
    tokens.iter_mut().for_each(|token| token.1 = ((token.1 - largest) / temperature).exp());
    let sum: f32 = tokens.iter().map(|token| token.1).sum();
    let mut reached = 0.0;
    tokens.retain(|token| {
        reached += token.1 / sum;
        reached - token.1 / sum < top_p
    });
    let sum: f32 = tokens.iter().map(|token| token.1).sum();
    tokens.into_iter().map(|(token, weight)| (token, weight / sum)).collect()
}
// ANCHOR_END: probabilities

/// One of them: the token in whose part of the line from 0 to 1 a random number falls.
fn draw(probabilities: &[(u32, f32)], random: &mut Generator) -> u32 {
    let (drawn, mut reached) = (random.uniform(), 0.0);
    for (token, probability) in probabilities {
        reached += probability;
        if drawn < reached {
            return *token;
        }
    }
    probabilities[0].0 // where rounding left a little
}

/// One distribution, changed in several ways.
fn distribution(model: &LanguageModel, words: &Words) -> Result<()> {
    let prompt = words.encode(" = school = \n Ida meets Hugo before the school . She");
    let ids = Ids::new(prompt.clone(), [1, prompt.len()]);
    let logits = model.next_logits(&ids, &[prompt.len() - 1]).to_vec()?;
    let all = usize::MAX;
    let ways = [(0.5, all, 1.0), (1.0, all, 1.0), (2.0, all, 1.0), (1.0, 3, 1.0), (1.0, all, 0.5)];
    println!("{} ...", words.decode(&prompt).replace('\n', " / "));
    println!("temperature       0.5       1.0       2.0   top-k 3 top-p 0.5");
    let columns = ways.map(|(t, k, p)| probabilities(&logits, t, k, p));
    for (token, _) in &columns[1][..8] {
        let of = columns.each_ref().map(|column| {
            let found = column.iter().find(|(other, _)| other == token);
            found.map_or(format!("{:>10}", "-"), |(_, p)| format!("{p:10.2}"))
        });
        println!("{:10} {}", words.decode(&[*token]), of.concat());
    }
    let sampling = Sampling { top_p: 0.5, ..Sampling::default() };
    let mut random = Key::new(4).generator();
    let drawn: Vec<_> = (0..10_000).map(|_| sampling.draw(&logits, &[], &mut random)).collect();
    let share = |token| drawn.iter().filter(|d| **d == Some(token)).count() as f64 / 1e4;
    let shares: Vec<_> =
        columns[4].iter().map(|(token, _)| format!("{:.2}", share(*token))).collect();
    println!("10,000 draws by the library with top-p 0.5: {}", shares.join(", "));
    Ok(())
}

fn main() -> Result<()> {
    let chapter = Chapter::open();
    let device = chapter.device("cpu");

    chapter.section("One layer, token by token");
    no_grad(|| layer(&device))?;

    chapter.section("A model that has learnt a little");
    let (model, words) = learn(&chapter, &device)?;

    chapter.section("The same text");
    let prompt = words.encode(" = school = \n");
    let text = write_with(&model, prompt.clone(), 40, |logits| ranked(logits)[0].0)?;
    println!("{}", words.decode(&text));
    let without = write_without(&model, prompt.clone(), 40, |logits| ranked(logits)[0].0)?;
    println!("without a cache: {}", if text == without { "the same" } else { "another text" });

    chapter.section("Time for a token");
    times(&chapter, &device)?;

    chapter.section("What is kept of a token");
    kept(&chapter, &device)?;

    chapter.section("Tokens a second");
    speed(&device)?;

    chapter.section("One distribution");
    distribution(&model, &words)?;

    chapter.section("Three temperatures");
    for temperature in [0.3, 1.0, 2.0] {
        let mut random = Key::new(3).generator();
        let draw = |logits: &[f32]| {
            draw(&probabilities(logits, temperature, usize::MAX, 1.0), &mut random)
        };
        let text = write_with(&model, prompt.clone(), 30, draw)?;
        println!("{temperature}: {}", words.decode(&text[prompt.len()..]).replace('\n', " / "));
    }
    Ok(())
}
