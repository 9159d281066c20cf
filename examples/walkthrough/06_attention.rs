//! Chapter 6 of the walkthrough: attention from small ops, then tile by tile in memory that grows
//! with the length of the text and not its square, and both ways back.
//! `cargo run --release --example 06_attention`

#[path = "common/mod.rs"]
mod common;

use common::{Chapter, charts, milliseconds};
use neutreno::engine::device::bytes;
use neutreno::engine::random::Key;
use neutreno::engine::{Device, Result, Tensor, no_grad};
use std::ops::Range;

const TILE: usize = 64; // keys at a time, where attention is made tile by tile
const CHANNELS: usize = 32; // of the head whose memory is measured
const HIDDEN: f32 = -1e30; // is added to the score of a key that a query must not see

/// Words, each with its kind and with the kind that it looks for.
const WORDS: [(&str, usize, usize); 7] = [
    ("the", ARTICLE, VERB),
    ("old", ADJECTIVE, ARTICLE),
    ("cat", NOUN, ADJECTIVE),
    ("sees", VERB, NOUN),
    ("the", ARTICLE, VERB),
    ("small", ADJECTIVE, ARTICLE),
    ("dog", NOUN, ADJECTIVE),
];
const ARTICLE: usize = 0;
const ADJECTIVE: usize = 1;
const NOUN: usize = 2;
const VERB: usize = 3;

// ANCHOR: whole
/// The weights P = softmax(Q Kᵀ / √d) of queries and keys (time, d): (time, time).
fn weights(q: &Tensor, k: &Tensor) -> Tensor {
    let [time, d] = [q.shape()[0], q.shape()[1]];
    let scores = q.matmul_with(k, false, true) / (d as f32).sqrt();
    (scores + causal_mask(time, 0..time, q.device())).softmax(-1)
}

/// Attention with the whole of P in memory.
fn whole(q: &Tensor, k: &Tensor, v: &Tensor) -> Tensor {
    weights(q, k).matmul(v)
}
// ANCHOR_END: whole

/// 0 where a query may see a key of this range, else a number that leaves it no weight.
fn causal_mask(time: usize, keys: Range<usize>, device: &Device) -> Tensor {
    let rows = (0..time).flat_map(|query| keys.clone().map(move |key| key > query));
    let numbers: Vec<f32> = rows.map(|hidden| if hidden { HIDDEN } else { 0.0 }).collect();
    Tensor::new(&numbers, [time, keys.len()], device)
}

// ANCHOR: fused
/// The same by the engine's op. It takes (batch, time, heads, d).
fn fused(q: &Tensor, k: &Tensor, v: &Tensor) -> Tensor {
    let [q, k, v] = [q, k, v].map(|x| x.reshape([1, x.shape()[0], 1, x.shape()[1]]));
    q.attention(&k, &v, None, true).flatten(0, 2)
}
// ANCHOR_END: fused

// ANCHOR: row
/// Softmax of some scores times their values, a tile at a time: the output, and the log-sum-exp.
fn one_row(scores: &[f32], values: &[f32], tile: usize) -> (f32, f32) {
    let (mut largest, mut sum, mut output) = (f32::NEG_INFINITY, 0.0, 0.0);
    for (scores, values) in scores.chunks(tile).zip(values.chunks(tile)) {
        let new_largest = scores.iter().copied().fold(largest, f32::max);
        let factor = (largest - new_largest).exp(); // what is there was relative to the old largest
        (sum, output) = (factor * sum, factor * output);
        for (score, value) in scores.iter().zip(values) {
            let exponential = (score - new_largest).exp();
            sum += exponential;
            output += exponential * value;
        }
        largest = new_largest;
        tell(scores, largest, factor, sum, output);
    }
    (output / sum, largest + sum.ln())
}
// ANCHOR_END: row

fn tell(scores: &[f32], largest: f32, factor: f32, sum: f32, output: f32) {
    let mean = output / sum;
    println!(
        "{scores:?}: largest {largest}, factor {factor:.3}, sum {sum:.3}, output / sum {mean:.3}"
    );
}

/// The scores of all queries with the keys of one tile, masked.
fn tile_of_scores(q: &Tensor, k: &Tensor, tile: &Range<usize>) -> Tensor {
    let [time, d] = [q.shape()[0], q.shape()[1]];
    let scores = q.matmul_with(&k.slice(0, tile.clone()), false, true) / (d as f32).sqrt();
    scores + causal_mask(time, tile.clone(), q.device())
}

fn tiles(k: &Tensor) -> impl Iterator<Item = Range<usize>> {
    let time = k.shape()[0];
    (0..time).step_by(TILE).map(move |start| start..time.min(start + TILE))
}

// ANCHOR: tiles
/// All rows at once, from tensors: O, and for each row the log-sum-exp of its scores.
fn tiled(q: &Tensor, k: &Tensor, v: &Tensor) -> [Tensor; 2] {
    let column = |number| Tensor::full(number, [q.shape()[0], 1], q.device());
    let (mut largest, mut sum, mut output) = (column(HIDDEN), column(0.0), v.zeros_like());
    for tile in tiles(k) {
        let scores = tile_of_scores(q, k, &tile);
        let new_largest = largest.maximum(&scores.max(&[1], true));
        let factor = (&largest - &new_largest).exp();
        let exponentials = (scores - &new_largest).exp();
        sum = &factor * sum + exponentials.sum(&[1], true);
        output = factor * output + exponentials.matmul(&v.slice(0, tile));
        largest = new_largest;
    }
    [output / &sum, largest + sum.log()]
}
// ANCHOR_END: tiles

/// dQ, dK and dV from dO. P is made once more, a tile at a time, from the log-sum-exps.
fn tiled_backward(
    [q, k, v]: [&Tensor; 3],
    [output, log_sums]: &[Tensor; 2],
    d_output: &Tensor,
) -> [Tensor; 3] {
    let root = (q.shape()[1] as f32).sqrt();
    let (mut dq, mut dk, mut dv) = (q.zeros_like(), Vec::new(), Vec::new());
    // ANCHOR: backward
    let row_sums = (d_output * output).sum(&[1], true); // rowsum(dO ⊙ O)
    for tile in tiles(k) {
        let p = (tile_of_scores(q, k, &tile) - log_sums).exp();
        dv.push(p.matmul_with(d_output, true, false)); // dV = Pᵀ dO
        let dp = d_output.matmul_with(&v.slice(0, tile.clone()), false, true); // dP = dO Vᵀ
        let ds = p * (dp - &row_sums) / root; // dS = P ⊙ (dP − rowsum(dO ⊙ O)) / √d
        dq = dq + ds.matmul(&k.slice(0, tile)); // dQ = dS K
        dk.push(ds.matmul_with(q, true, false)); // dK = dSᵀ Q
    }
    // ANCHOR_END: backward
    let rows = |tiles: Vec<Tensor>| Tensor::concatenate(&tiles.iter().collect::<Vec<_>>(), 0);
    [dq, rows(dk), rows(dv)]
}

/// Queries, keys, values and dO of one head, at random.
fn operands(time: usize, device: &Device) -> [Tensor; 4] {
    ["query", "key", "value", "gradient"].map(|name| {
        let numbers = Key::new(6).named(name).normals(time * CHANNELS, 0.0, 1.0);
        Tensor::new(&numbers, [time, CHANNELS], device)
    })
}

/// dQ, dK and dV by the engine's backward pass, through any way to make attention.
fn gradients(
    attention: fn(&Tensor, &Tensor, &Tensor) -> Tensor,
    [q, k, v, d_output]: &[Tensor; 4],
) -> Result<[Tensor; 3]> {
    let leaves = [q, k, v].map(Tensor::tracked);
    // The derivative of Σ O ⊙ dO by O is dO.
    let loss = attention(&leaves[0], &leaves[1], &leaves[2]).multiply(d_output).sum_all();
    let gradients = loss.backward()?;
    Ok(leaves.map(|leaf| gradients.get(&leaf).expect("attention depends on all three")))
}

/// The same tile by tile, with no help of the engine's backward pass.
fn gradients_by_tiles(operands: &[Tensor; 4]) -> [Tensor; 3] {
    let [q, k, v, d_output] = operands;
    no_grad(|| tiled_backward([q, k, v], &tiled(q, k, v), d_output))
}

fn largest_difference(a: &Tensor, b: &Tensor) -> Result<f32> {
    a.subtract(b).abs().max(&[0, 1], false).to_scalar()
}

/// One head that was made by hand: who looks where, and what it brings.
fn words(chapter: &Chapter, device: &Device) -> Result<()> {
    let one_hot = |kinds: [usize; 7], size: f32| {
        let numbers = kinds.map(|kind| [0, 1, 2, 3].map(|at| if at == kind { size } else { 0.0 }));
        Tensor::new(numbers.as_flattened(), [7, 4], device)
    };
    let keys = one_hot(WORDS.map(|(_, kind, _)| kind), 1.0);
    let queries = one_hot(WORDS.map(|(_, _, sought)| sought), 8.0);
    let values: Vec<f32> = WORDS
        .iter()
        .flat_map(|(word, ..)| ["old", "small"].map(|w| if *word == w { 1.0 } else { 0.0 }))
        .collect();
    let values = Tensor::new(&values, [7, 2], device);

    let p = weights(&queries, &keys).to_vec()?;
    println!("{:>17} {}", "", WORDS.map(|(word, ..)| format!("{word:>5}")).join(" "));
    for ((word, ..), row) in WORDS.iter().zip(p.chunks(7)) {
        let numbers: Vec<String> = row.iter().map(|p| format!("{p:5.2}")).collect();
        println!("{word:>5} looks at     {}", numbers.join(" "));
    }
    let gathered = whole(&queries, &keys, &values).to_vec()?;
    for word in [2, 6] {
        let [old, small] = [gathered[2 * word], gathered[2 * word + 1]];
        println!("\"{}\" is now {old:.2} old and {small:.2} small.", WORDS[word].0);
    }
    let rows: Vec<Vec<f64>> =
        p.chunks(7).map(|row| row.iter().map(|p| f64::from(*p)).collect()).collect();
    let title = "P of \"the old cat sees the small dog\"";
    let words = WORDS.map(|(word, ..)| word);
    let map = charts::heat_map_of(&words, title, ["queries", "keys"], &rows);
    chapter.picture("06_weights.svg", &map);
    Ok(())
}

/// A row of scores, in tiles of two.
fn row(_: &Chapter) {
    let (scores, values) = ([1.0, 3.0, 2.0, 5.0, 0.0, 4.0], [10.0, 20.0, 30.0, 40.0, 50.0, 60.0]);
    let (output, log_sum) = one_row(&scores, &values, 2);
    let exponentials = scores.map(f32::exp);
    let sum: f32 = exponentials.iter().sum();
    let whole: f32 = exponentials.iter().zip(values).map(|(e, value)| e / sum * value).sum();
    println!("In one piece:  output {whole:.3}, log of the sum {:.3}", sum.ln());
    println!("Tile by tile:  output {output:.3}, log of the sum {log_sum:.3}");
    let higher = scores.map(|score| score + 100.0);
    println!("e^105 in f32 is {}; with all scores higher by 100:", higher[3].exp());
    one_row(&higher, &values, 2);
}

/// The most memory that a forward and a backward pass took beside the operands.
fn memory_of(device: &Device, work: impl FnOnce() -> Result<[Tensor; 3]>) -> Result<u64> {
    let before = device.memory().in_use;
    device.reset_peak();
    drop(work()?);
    Ok(device.memory().peak - before)
}

fn memory(chapter: &Chapter, device: &Device) -> Result<()> {
    let names = ["P whole", "tiles of small ops", "fused"];
    let mut lines = names.map(|name| charts::Line::new(name, Vec::new()));
    println!("tokens  {:>12}  {:>18}  {:>10}", names[0], names[1], names[2]);
    for time in [128, 256, 512, 1024, 1536, 2048] {
        let operands = operands(time, device);
        let memory = [
            memory_of(device, || gradients(whole, &operands))?,
            memory_of(device, || Ok(gradients_by_tiles(&operands)))?,
            memory_of(device, || gradients(fused, &operands))?,
        ];
        let [a, b, c] = memory.map(bytes);
        println!("{time:6}  {a:>12}  {b:>18}  {c:>10}");
        for (line, memory) in lines.iter_mut().zip(memory) {
            line.points.push((time as f64, memory as f64 / f64::from(1 << 20)));
        }
    }
    let chart = charts::lines("Forward and backward of one head", "tokens", "MiB", &lines);
    chapter.picture("06_memory.svg", &chart);
    Ok(())
}

/// The shortest of a few runs, in milliseconds.
fn time_of(device: &Device, work: impl Fn() -> Result<[Tensor; 3]>) -> Result<f64> {
    milliseconds(5, || {
        drop(work()?);
        device.synchronize()
    })
}

fn main() -> Result<()> {
    let chapter = Chapter::open();
    let device = chapter.device("cpu");

    chapter.section("Who looks where");
    words(&chapter, &device)?;

    chapter.section("One row, two scores at a time");
    row(&chapter);

    chapter.section("The same numbers");
    let four = operands(300, &device);
    let [q, k, v, _] = &four;
    let right = [&[whole(q, k, v)][..], &gradients(whole, &four)?].concat();
    let by_tiles = [&[tiled(q, k, v)[0].clone()][..], &gradients_by_tiles(&four)].concat();
    let by_fused = [&[fused(q, k, v)][..], &gradients(fused, &four)?].concat();
    println!("largest difference from P whole:       O      dQ      dK      dV");
    for (name, results) in [("tiles of small ops", by_tiles), ("fused", by_fused)] {
        let differences = results.iter().zip(&right).map(|(a, b)| largest_difference(a, b));
        let differences: Vec<f32> = differences.collect::<Result<_>>()?;
        let texts: Vec<String> = differences.iter().map(|d| format!("{d:.0e}")).collect();
        println!("  {name:18}                {}", texts.join("    "));
    }

    chapter.section("Memory");
    // Each thread takes working memory of its own.
    let one_thread = Device::cpu_with_threads(1);
    memory(&chapter, if device.kind() == "cpu" { &one_thread } else { &device })?;

    chapter.section("Time");
    let four = operands(1024, &device);
    println!("milliseconds for both ways with 1,024 tokens:");
    println!("  P whole            {:6.1}", time_of(&device, || gradients(whole, &four))?);
    println!("  tiles of small ops {:6.1}", time_of(&device, || Ok(gradients_by_tiles(&four)))?);
    println!("  fused              {:6.1}", time_of(&device, || gradients(fused, &four))?);
    Ok(())
}
