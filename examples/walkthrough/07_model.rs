//! Chapter 7 of the walkthrough: a block and a model by hand, the graph of a step, and where memory
//! goes. `cargo run --release --example 07_model`

#[path = "common/mod.rs"]
mod common;

use common::{Chapter, milliseconds};
use neutreno::engine::autograd::{Graph, NodeKind};
use neutreno::engine::device::bytes;
use neutreno::engine::optim::{AdamW, AdamWSettings, Optimizer, clip};
use neutreno::engine::random::Key;
use neutreno::engine::{Device, Gradients, Ids, Parameters, Result, Tensor};
use neutreno::language::Pass;
use neutreno::{LanguageModel, LanguageModelConfig};

const VOCABULARY: usize = 40;
const HEADS: usize = 4;
const BASE: f64 = 10_000.0; // of the wavelengths of rotary positions

// ANCHOR: norm
/// Each row divided by its root mean square, times a learnt number for each channel.
fn norm(x: &Tensor, weight: &Tensor) -> Tensor {
    let mean_square = (x * x).mean(&[-1], true);
    x / (mean_square + 1e-5).sqrt() * weight
}
// ANCHOR_END: norm

// ANCHOR: rotate
/// Turns heads x (batch, time, heads, d): channels i and i + d/2 are a point in a plane, which turns by
/// an angle that is the position times 10,000^(−2i/d).
fn rotate(x: &Tensor, first_position: usize) -> Tensor {
    let shape = x.shape();
    let (time, half) = (shape[1], shape[3] / 2);
    let angle = |i: usize| {
        let position = (first_position + i / half) as f64;
        position * BASE.powf(-((i % half) as f64) / half as f64)
    };
    let angles = |function: fn(f64) -> f64| {
        let numbers: Vec<f32> = (0..time * half).map(|i| function(angle(i)) as f32).collect();
        Tensor::new(&numbers, [time, 1, half], x.device())
    };
    let (cos, sin) = (angles(f64::cos), angles(f64::sin));
    let [a, b] = [x.narrow(-1, 0, half), x.narrow(-1, half, half)];
    Tensor::concatenate(&[&(&a * &cos - &b * &sin), &(&b * &cos + &a * &sin)], -1)
}
// ANCHOR_END: rotate

/// The model by hand: what it learns, by the names that the library gives it.
struct ByHand<'a> {
    parameters: &'a Parameters,
    layers: usize,
    /// Whether what a part makes is added to what went in.
    residual: bool,
}

impl ByHand<'_> {
    fn weight(&self, name: &str) -> &Tensor {
        self.parameters.get(&format!("model.{name}.weight")).expect("the library has that name")
    }

    fn linear(&self, x: &Tensor, name: &str) -> Tensor {
        x.linear(self.weight(name), None) // x Wᵀ
    }

    // ANCHOR: block
    fn block(&self, x: &Tensor, layer: usize) -> Tensor {
        let name = |part: &str| format!("layers.{layer}.{part}");
        let normed = norm(x, self.weight(&name("input_layernorm")));
        let x = self.plus(x, &self.attention(&normed, name));
        let normed = norm(&x, self.weight(&name("post_attention_layernorm")));
        self.plus(&x, &self.feed_forward(&normed, name))
    }

    fn attention(&self, x: &Tensor, name: impl Fn(&str) -> String) -> Tensor {
        let [batch, time, width] = [0, 1, 2].map(|axis| x.shape()[axis]);
        let heads =
            |part: &str| self.linear(x, &name(part)).reshape([batch, time, HEADS, width / HEADS]);
        let [q, k, v] = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"].map(heads);
        let gathered = rotate(&q, 0).attention_unfused(&rotate(&k, 0), &v, None, true);
        self.linear(&gathered.reshape([batch, time, width]), &name("self_attn.o_proj"))
    }

    fn feed_forward(&self, x: &Tensor, name: impl Fn(&str) -> String) -> Tensor {
        let [gate, up] = ["mlp.gate_proj", "mlp.up_proj"].map(|part| self.linear(x, &name(part)));
        let inner = &gate * gate.sigmoid() * up; // SwiGLU
        self.linear(&inner, &name("mlp.down_proj"))
    }
    // ANCHOR_END: block

    fn plus(&self, x: &Tensor, added: &Tensor) -> Tensor {
        if self.residual { x + added } else { added.clone() }
    }

    // ANCHOR: model
    fn loss(&self, tokens: &Ids, targets: &Ids) -> Tensor {
        let embedding = self.weight("embed_tokens");
        let x =
            (0..self.layers).fold(embedding.embedding(tokens), |x, layer| self.block(&x, layer));
        let logits = norm(&x, self.weight("norm")).linear(embedding, None);
        logits.cross_entropy(targets, 0.0)
    }
    // ANCHOR_END: model
}

/// A model of the library's.
fn build(width: usize, layers: usize, device: &Device) -> (LanguageModel, Parameters) {
    let config = LanguageModelConfig::new(VOCABULARY, width, layers, HEADS, 512);
    Parameters::build(device, 1, |builder| LanguageModel::new(&config, builder))
}

/// Some tokens, and those that follow them.
fn batch(rows: usize, time: usize) -> [Ids; 2] {
    let ids = Key::new(7).uniforms(rows * time + 1, 0.0, VOCABULARY as f32);
    let ids: Vec<u32> = ids.into_iter().map(|id| id as u32).collect();
    [0, 1].map(|shift| Ids::new(ids[shift..][..rows * time].to_vec(), [rows, time]))
}

/// The score of a query and a key at two positions.
fn positions(device: &Device) -> Result<()> {
    let vector = |name: &str| {
        Tensor::new(&Key::new(3).named(name).normals(16, 0.0, 1.0), [1, 1, 1, 16], device)
    };
    let [query, key] = ["query", "key"].map(vector);
    let score = |of_query: usize, of_key: usize| {
        (rotate(&query, of_query) * rotate(&key, of_key)).sum_all().to_scalar()
    };
    println!("query at   key at   apart   score");
    for (of_query, of_key) in [(0, 0), (9, 8), (109, 108), (9, 4), (109, 104), (9, 0)] {
        let (apart, score) = (of_query - of_key, score(of_query, of_key)?);
        println!("{of_query:8}   {of_key:6}   {apart:5}   {score:6.3}");
    }
    Ok(())
}

/// The largest difference of two gradients, as a share of the largest number in them.
fn difference(name: &str, leaf: &Tensor, one: &Gradients, other: &Gradients) -> Result<f32> {
    let [a, b] =
        [one, other].map(|all| all.get(leaf).unwrap_or_else(|| panic!("{name}: no gradient")));
    let largest = |x: &Tensor| x.abs().flatten(0, -1).max(&[0], false).to_scalar();
    Ok(largest(&(&a - &b))? / largest(&a)?)
}

fn compare(device: &Device) -> Result<()> {
    let (model, parameters) = build(32, 2, device);
    for (name, tensor) in parameters.iter() {
        // Larger than at first, so that every part has a say.
        let mean = if name.contains("norm") { 1.0 } else { 0.0 };
        tensor.overwrite(&Key::new(2).named(name).normals(tensor.elements(), mean, 0.3));
    }
    let [tokens, targets] = batch(2, 12);
    let by_hand = ByHand { parameters: &parameters, layers: 2, residual: true };
    let by_hand = by_hand.loss(&tokens, &targets);
    let library = model.loss(&tokens, &targets, &Pass::training(None));
    let losses = [by_hand.to_scalar()?, library.to_scalar()?];
    println!("loss by hand {:.5}, of the library {:.5}", losses[0], losses[1]);
    let (by_hand, library) = (by_hand.backward()?, library.backward()?);
    let differences =
        parameters.iter().map(|(name, leaf)| difference(name, leaf, &by_hand, &library));
    let largest = differences.collect::<Result<Vec<f32>>>()?.into_iter().fold(0.0, f32::max);
    let count = parameters.names().count();
    println!("gradients of {count} tensors, largest difference {largest:.0e}");
    Ok(())
}

/// How large the gradient is that comes to the first layer, by the depth of the model.
fn residuals(device: &Device) -> Result<()> {
    let [tokens, targets] = batch(4, 16);
    println!("           weights around 0.02           weights around 0.18");
    println!("layers     residuals    without          residuals    without");
    for layers in [1, 4, 16] {
        let gradient = |deviation: f32, residual: bool| -> Result<f32> {
            let (_, parameters) = build(32, layers, device);
            for (name, tensor) in parameters.iter().filter(|(name, _)| name.contains("_proj")) {
                let numbers = Key::new(2).named(name).normals(tensor.elements(), 0.0, deviation);
                tensor.overwrite(&numbers);
            }
            let model = ByHand { parameters: &parameters, layers, residual };
            let gradients = model.loss(&tokens, &targets).backward()?;
            let first = model.weight("layers.0.self_attn.v_proj");
            let gradient = gradients.get(first).expect("the loss depends on it");
            (&gradient * &gradient).sum_all().sqrt().to_scalar()
        };
        let [a, b, c, d] = [(0.02, true), (0.02, false), (0.18, true), (0.18, false)]
            .map(|(deviation, residual)| gradient(deviation, residual));
        println!("{layers:6}     {:9.1e}    {:7.1e}          {:9.1e}    {:7.1e}", a?, b?, c?, d?);
    }
    Ok(())
}

fn graph(chapter: &Chapter, device: &Device) -> Result<()> {
    let (model, parameters) = build(32, 1, device);
    let [tokens, targets] = batch(2, 12);
    let by_hand = ByHand { parameters: &parameters, layers: 1, residual: true };
    let library = model.loss(&tokens, &targets, &Pass::training(None));
    for (name, loss) in [("by hand", by_hand.loss(&tokens, &targets)), ("library", library)] {
        // ANCHOR: graph
        let mut graph = Graph::of(&loss)?.with_names(parameters.iter());
        graph.backward(&loss)?;
        let svg = graph.svg();
        // ANCHOR_END: graph
        let ops = graph.nodes().iter().filter(|node| node.kind == NodeKind::Op).count();
        println!("{name}: {ops} ops, which save {}", bytes(graph.saved_bytes()));
        if name == "library" {
            chapter.picture("07_graph.svg", &svg);
        }
    }
    Ok(())
}

/// The memory that each part of a step takes, and the most that is taken at any time.
fn memory_of_step(
    [width, layers, rows, time]: [usize; 4],
    recompute: bool,
    device: &Device,
) -> Result<[u64; 5]> {
    // ANCHOR: step
    let mut marks = vec![device.memory().in_use];
    let mut mark = || marks.push(device.memory().in_use);
    let (model, parameters) = build(width, layers, device);
    mark();
    let mut gradients = parameters.gradients();
    mark();
    let mut optimizer = AdamW::new(&parameters, AdamWSettings::default());
    mark();
    let [tokens, targets] = batch(rows, time);
    device.reset_peak();
    let loss = model.loss(&tokens, &targets, &Pass { recompute, ..Pass::training(None) });
    mark();
    loss.backward_into(&mut gradients)?;
    let clip = clip(&parameters, &gradients, 1.0);
    optimizer.step(&parameters, &gradients, 1e-3, Some(&clip));
    // ANCHOR_END: step
    let parts = [0, 1, 2, 3].map(|part| marks[part + 1] - marks[part]);
    Ok([parts[0], parts[1], parts[2], parts[3], device.memory().peak - marks[0]])
}

fn memory(device: &Device) -> Result<()> {
    let (small, large) = ([64, 8, 8, 64], [512, 12, 16, 256]);
    let plan = device.plan_for();
    println!("{:25} parameters  gradients  optimiser   forward      peak", "");
    for (name, sizes, recompute, device) in [
        ("8 layers of 64, measured", small, false, device),
        ("  the same, planned", small, false, &plan),
        ("  recomputing, measured", small, true, device),
        ("12 layers of 512, planned", large, false, &plan),
        ("  recomputing, planned", large, true, &plan),
    ] {
        let [a, b, c, d, e] = memory_of_step(sizes, recompute, device)?.map(bytes);
        println!("{name:25} {a:>10} {b:>10} {c:>10} {d:>9} {e:>9}");
    }
    Ok(())
}

/// The milliseconds of a forward and a backward pass, the fastest of some.
fn time(device: &Device) -> Result<()> {
    let (model, _) = build(64, 8, device);
    let [tokens, targets] = batch(8, 64);
    let mut losses = Vec::new();
    for (name, recompute) in [("all kept", false), ("recomputing", true)] {
        let pass = Pass { recompute, ..Pass::training(None) };
        losses.push(model.loss(&tokens, &targets, &pass).to_scalar()?.to_bits());
        let fastest = milliseconds(5, || {
            drop(model.loss(&tokens, &targets, &pass).backward()?);
            device.synchronize()
        })?;
        println!("{name:12} {fastest:6.1} ms");
    }
    println!("losses: {}", if losses[0] == losses[1] { "the same bits" } else { "other bits" });
    Ok(())
}

fn main() -> Result<()> {
    let chapter = Chapter::open();
    let device = chapter.device("cpu");

    chapter.section("Positions");
    positions(&device)?;

    chapter.section("By hand and by the library");
    compare(&device)?;

    chapter.section("What residuals are for");
    residuals(&device)?;

    chapter.section("Its graph");
    graph(&chapter, &device)?;

    chapter.section("Where memory goes");
    // Each thread takes working memory of its own.
    let one_thread = Device::cpu_with_threads(1);
    memory(if device.kind() == "cpu" { &one_thread } else { &device })?;

    chapter.section("What recomputing costs");
    time(&device)
}
