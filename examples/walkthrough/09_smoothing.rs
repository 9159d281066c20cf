//! Chapter 9: attention as a step downhill, tokens that become alike, and what NeuTRENO does about it.

#[path = "common/mod.rs"]
mod common;
#[path = "common/textures.rs"]
mod textures;

use common::Chapter;
use common::charts::{Line, lines};
use neutreno::data::images::{ImageBatch, ImageData};
use neutreno::engine::ops::attention::Mixing;
use neutreno::engine::random::Key;
use neutreno::engine::{Builder, Device, Initial, Parameters, Result, Tensor};
use neutreno::vision::ImageClassifier;
use textures::{WIDTH, accuracy, build, config, images, train};

fn main() -> Result<()> {
    let chapter = Chapter::open();
    let device = chapter.device("cpu");
    one_step(&chapter, &device)?;
    many_draws(&chapter, &device)?;
    many_steps(&chapter, &device)?;
    untrained(&chapter, &device)?;
    trained(&chapter, &device)
}

/// Random numbers, (tokens, channels) of one sequence and one head.
fn random(name: &str, seed: u64, [tokens, channels]: [usize; 2], device: &Device) -> Tensor {
    let numbers = Key::new(seed).named(name).normals(tokens * channels, 0.0, 1.0);
    Tensor::new(&numbers, [1, tokens, 1, channels], device)
}

// ANCHOR: kernel
/// k(x, y) = exp(q(x) · k(y) / √d): how much token x looks at token y.
fn kernel(query: &Tensor, key: &Tensor) -> Tensor {
    let [query, key] = [query, key].map(matrix);
    let root = (query.shape()[1] as f32).sqrt();
    query.matmul(&key.permute(&[1, 0])).scale(1.0 / root).exp()
}

/// J(u) = ½ Σ k(x, y) ‖u(x) − u(y)‖², over all pairs of tokens.
fn energy(kernel: &Tensor, u: &Tensor) -> Tensor {
    let [tokens, channels] = [u.shape()[1], u.shape()[3]];
    let x = u.reshape([tokens, 1, channels]);
    let y = u.reshape([1, tokens, channels]);
    let distances = (&x - &y).power(2.0).sum(&[2], false);
    kernel.multiply(&distances).sum_all().scale(0.5)
}
// ANCHOR_END: kernel

/// (1, tokens, 1, channels) as (tokens, channels).
fn matrix(x: &Tensor) -> Tensor {
    x.reshape([x.shape()[1], x.shape()[3]])
}

// ANCHOR: descend
/// d(x) = Σ K(x, y) over y, where K(x, y) = k(x, y) + k(y, x).
fn degrees(kernel: &Tensor) -> Tensor {
    kernel.add(&kernel.permute(&[1, 0])).sum(&[1], true)
}

/// One step down an energy: u(x) − ∂E/∂u(x) / d(x), with the engine's derivative.
fn descend(kernel: &Tensor, u: &Tensor, energy: impl Fn(&Tensor) -> Tensor) -> Result<Tensor> {
    let make = |builder: &mut Builder| builder.parameter("u", u.shape(), Initial::Zeros, false);
    let (leaf, _) = Parameters::build(u.device(), 0, make);
    leaf.overwrite(&u.to_vec()?);
    let gradients = energy(&leaf).backward()?;
    let slope = matrix(&gradients.get(&leaf).expect("the energy depends on u"));
    Ok(u - &slope.divide(&degrees(kernel)).reshape(u.shape()))
}
// ANCHOR_END: descend

// ANCHOR: by_hand
/// The same for J with the derivative found on paper: ∂J/∂u(x) = Σ K(x, y) (u(x) − u(y)).
fn descend_by_hand(kernel: &[f32], u: &[f32], tokens: usize) -> Vec<f32> {
    let channels = u.len() / tokens;
    let both = |x: usize, y: usize| kernel[x * tokens + y] + kernel[y * tokens + x];
    let mut after = u.to_vec();
    for x in 0..tokens {
        let degree: f32 = (0..tokens).map(|y| both(x, y)).sum();
        for c in 0..channels {
            let u = |token: usize| u[token * channels + c];
            let slope: f32 = (0..tokens).map(|y| both(x, y) * (u(x) - u(y))).sum();
            after[x * channels + c] -= slope / degree;
        }
    }
    after
}
// ANCHOR_END: by_hand

/// How far two tensors are apart at most.
fn apart(a: &Tensor, b: &Tensor) -> Result<String> {
    let (a, b) = (a.to_vec()?, b.to_vec()?);
    let most = a.iter().zip(&b).map(|(a, b)| (a - b).abs()).fold(1e-30, f32::max);
    Ok(if most < 1e-5 { "< 1e-5".to_owned() } else { format!("{most:.2}") })
}

fn one_step(chapter: &Chapter, device: &Device) -> Result<()> {
    chapter.section("One step");
    let size = [16, 4];
    let draw = |name: &str| random(name, 1, size, device);
    let [query, other, u] = ["query", "key", "u"].map(draw);
    println!("                    J before   J after   apart from attention   by hand");
    for (name, key) in [("keys = queries", &query), ("other keys", &other)] {
        let kernel = kernel(&query, key);
        let attended = query.attention(key, &u, None, false);
        let stepped = descend(&kernel, &u, |u| energy(&kernel, u))?;
        let by_hand = descend_by_hand(&kernel.to_vec()?, &u.to_vec()?, size[0]);
        let by_hand = Tensor::new(&by_hand, u.shape(), device);
        let [before, after] = [&u, &stepped].map(|u| energy(&kernel, u).to_scalar());
        let [engine, hand] = [apart(&stepped, &attended)?, apart(&by_hand, &attended)?];
        println!("{name:<18}{:>10.0}{:>10.0}{engine:>23}{hand:>10}", before?, after?);
    }
    Ok(())
}

/// In how many draws J falls: by attention, and by the step that is a descent for certain.
fn many_draws(chapter: &Chapter, device: &Device) -> Result<()> {
    chapter.section("How often J falls");
    for (name, same) in [("keys = queries", true), ("other keys", false)] {
        let mut fell = [0; 2];
        for seed in 0..200 {
            let draw = |name: &str| random(name, seed, [8, 4], device).scale(2.0);
            let [query, other, u] = ["query", "key", "u"].map(draw);
            let key = if same { &query } else { &other };
            let kernel = kernel(&query, key);
            let before = energy(&kernel, &u).to_scalar()?;
            let descent = descend(&kernel, &u, |u| energy(&kernel, u))?;
            for (fell, after) in
                fell.iter_mut().zip([query.attention(key, &u, None, false), descent])
            {
                *fell += usize::from(energy(&kernel, &after).to_scalar()? < before);
            }
        }
        println!("{name:<18}attention: {} of 200   descent: {} of 200", fell[0], fell[1]);
    }
    Ok(())
}

// ANCHOR: similarity
/// The mean cosine between two different tokens: 1 where all point the same way.
fn similarity(tokens: &[f32], width: usize) -> f64 {
    let dot = |a: &[f32], b: &[f32]| -> f64 { a.iter().zip(b).map(|(a, b)| (a * b) as f64).sum() };
    let tokens: Vec<&[f32]> = tokens.chunks(width).collect();
    let norms: Vec<f64> = tokens.iter().map(|token| dot(token, token).sqrt()).collect();
    let mut sum = 0.0;
    for x in 0..tokens.len() {
        for y in 0..x {
            sum += dot(tokens[x], tokens[y]) / (norms[x] * norms[y]).max(1e-30);
        }
    }
    sum / (tokens.len() * (tokens.len() - 1) / 2) as f64
}
// ANCHOR_END: similarity

// ANCHOR: fidelity
/// E(u) = J(u) + ½ Σ λ d(x) ‖u(x) − f(x)‖².
fn with_fidelity(kernel: &Tensor, u: &Tensor, first: &Tensor, lambda: f32) -> Tensor {
    let distances = matrix(&(u - first).power(2.0)).sum(&[1], true);
    let fidelity = degrees(kernel).multiply(&distances).sum_all().scale(0.5 * lambda);
    &energy(kernel, u) + &fidelity
}
// ANCHOR_END: fidelity

const STEPS: [usize; 7] = [0, 1, 2, 4, 8, 16, 24];

fn many_steps(chapter: &Chapter, device: &Device) -> Result<()> {
    chapter.section("Step after step");
    let size = [32, 16];
    let draw = |name: &str| random(name, 1, size, device);
    let [query, first] = ["query", "u"].map(draw);
    let kernel = kernel(&query, &query);
    let mut curves = Vec::new();
    println!("{:<18}{}", "step", STEPS.map(|step| format!("{step:>8}")).concat());
    for lambda in [0.0, 0.1, 0.6] {
        // ANCHOR: steps
        let mixing = Mixing { fidelity: lambda.into(), ..Mixing::PLAIN };
        let mut u = first.clone();
        let mut seen = [vec![], vec![], vec![]];
        for _ in 0..=STEPS[6] {
            seen[0].push(similarity(&u.to_vec()?, size[1]));
            seen[1].push(energy(&kernel, &u).to_scalar()?.into());
            seen[2].push(with_fidelity(&kernel, &u, &first, lambda).to_scalar()?.into());
            u = query.attention(&query, &u, Some((&first, &mixing)), false);
        }
        // ANCHOR_END: steps
        for (name, digits, numbers) in
            [("alike", 2, &seen[0]), ("J", 0, &seen[1]), ("E", 0, &seen[2])]
        {
            let numbers = STEPS.map(|step| format!("{:>8.*}", digits, numbers[step])).concat();
            println!("λ = {lambda:<3}   {name:<8}{numbers}");
        }
        let stepped = descend(&kernel, &u, |u| with_fidelity(&kernel, u, &first, lambda))?;
        let attended = query.attention(&query, &u, Some((&first, &mixing)), false);
        println!(
            "one more step, and one down E by the engine: {} apart\n",
            apart(&attended, &stepped)?
        );
        let points = (0..).map(f64::from).zip(seen[0].iter().copied()).collect();
        curves.push(Line::new(format!("λ = {lambda}"), points));
    }
    let title = "Attention upon attention: how alike tokens become";
    chapter.picture("09_steps.svg", &lines(title, "step", "token similarity", &curves));
    Ok(())
}

// ANCHOR: depth
/// How alike an image's tokens are before the first block and after each, the mean over images.
fn over_depth(model: &ImageClassifier, data: &ImageData) -> Result<Vec<f64>> {
    let ImageBatch { pixels, shape, .. } = data.validation_images(0..32);
    let trace = model.encoder().trace(&Tensor::new(&pixels, shape, model.device()));
    let of_block = |states: &Tensor| -> Result<f64> {
        let [images, tokens] = [states.shape()[0], states.shape()[1]];
        let states = states.to_vec()?;
        let alike = states.chunks(tokens * WIDTH).map(|image| similarity(image, WIDTH));
        Ok(alike.sum::<f64>() / images as f64)
    };
    trace.states.iter().map(of_block).collect()
}
// ANCHOR_END: depth

/// A line of a table, and one of a chart with its band, of what each seed has at the places of `x`.
fn over_seeds(name: String, x: &[u64], shown: &[u64], seeds: &[Vec<f64>]) -> Line {
    let range = |place: usize| {
        let of_seed = seeds.iter().map(|of| of[place]);
        (of_seed.clone().fold(f64::MAX, f64::min), of_seed.fold(f64::MIN, f64::max))
    };
    let ranges: Vec<(f64, f64)> = (0..x.len()).map(range).collect();
    let numbers = x.iter().zip(&ranges).filter(|(x, _)| shown.contains(x));
    let numbers = numbers.map(|(_, (low, high))| format!("{low:>7.2}–{high:.2}"));
    println!("{name:<14}{}", numbers.collect::<String>());
    let middle = ranges.iter().map(|(low, high)| (low + high) / 2.0);
    let points = x.iter().map(|x| *x as f64).zip(middle).collect();
    let spread = ranges.iter().map(|(low, high)| (high - low) / 2.0).collect();
    Line { name, points, spread }
}

fn heading(name: &str, shown: &[u64]) {
    println!("{name:<14}{}", shown.iter().map(|x| format!("{x:>12}")).collect::<String>());
}

fn untrained(chapter: &Chapter, device: &Device) -> Result<()> {
    chapter.section("Models that have learnt nothing");
    let (data, shown) = (images(), [0, 1, 4, 8, 16, 24]);
    heading("after block", &shown);
    let (mut curves, blocks) = (Vec::new(), Vec::from_iter(0..=24));
    for lambda in [0.0, 0.2, 0.6] {
        let of_seed = |seed| over_depth(&build(&config(24, lambda), seed, device).0, &data);
        let seeds: Vec<_> = (1..=3).map(of_seed).collect::<Result<_>>()?;
        curves.push(over_seeds(format!("λ = {lambda}"), &blocks, &shown, &seeds));
    }
    let title = "24 blocks with random weights, three seeds";
    chapter.picture("09_untrained.svg", &lines(title, "block", "token similarity", &curves));
    Ok(())
}

fn trained(chapter: &Chapter, device: &Device) -> Result<()> {
    chapter.section("Models that learn");
    let data = images();
    let marks = [0, 1, 2, 4, 8, 16, 24].map(|part| part * chapter.pick(50, 2));
    let bar = chapter.progress("training", 6);
    let mut of_lambda = Vec::new();
    for lambda in [0.0, 0.6] {
        let (mut over_training, mut at_end, mut right) = (vec![], vec![], String::new());
        for seed in 1..=3 {
            let (model, parameters) = build(&config(8, lambda), seed, device);
            let mut alike = Vec::new();
            train(&model, &parameters, &data, seed, marks[6], |step| {
                if marks.contains(&step) {
                    alike.push(over_depth(&model, &data)?[8]);
                }
                Ok(())
            })?;
            over_training.push(alike);
            at_end.push(over_depth(&model, &data)?);
            right += &format!("{:>12.3}", accuracy(&model, &data)?);
            bar.inc(1);
        }
        of_lambda.push((format!("λ = {lambda}"), over_training, at_end, right));
    }
    bar.finish_and_clear();
    heading("after step", &marks);
    let mut curves = Vec::new();
    for (name, over_training, _, _) in &of_lambda {
        curves.push(over_seeds(name.clone(), &marks, &marks, over_training));
    }
    println!();
    heading("after block", &[0, 1, 2, 4, 6, 8]);
    for (name, _, at_end, _) in &of_lambda {
        over_seeds(name.clone(), &[0, 1, 2, 3, 4, 5, 6, 7, 8], &[0, 1, 2, 4, 6, 8], at_end);
    }
    println!();
    heading("accuracy, seed", &[1, 2, 3]);
    of_lambda.iter().for_each(|(name, _, _, right)| println!("{name:<14}{right}"));
    let title = "After the last of 8 blocks, three seeds";
    chapter.picture("09_trained.svg", &lines(title, "step", "token similarity", &curves));
    Ok(())
}
