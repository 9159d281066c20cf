//! The small training job that PyTorch, candle and burn were given too: the same weights and
//! tokens by a rule, the same optimiser. All three start at a loss of 5.57341 and reach 3.44568
//! after 20 steps; so do we.

mod common;

use common::{GOLDEN, finalise};
use neutreno::engine::optim::{AdamW, AdamWSettings, Optimizer};
use neutreno::engine::{Device, Ids, Parameters};
use neutreno::language_model::Pass;
use neutreno::{LanguageModel, LanguageModelConfig};

const LAYERS: usize = 4;
const WIDTH: usize = 128;
const HEADS: usize = 4;
const CONTEXT: usize = 128;
const BATCH: usize = 16;
const VOCABULARY: usize = 256;

fn mix(z: u64) -> u64 {
    finalise(z.wrapping_add(GOLDEN))
}

/// Uniform numbers of deviation 0.02.
fn numbers(stream: u64, count: usize) -> Vec<f32> {
    let number = |index: u64| {
        let uniform = (mix(index + (stream << 40)) >> 40) as f32 / (1u32 << 24) as f32;
        (uniform * 2.0 - 1.0) * 0.034_641_016
    };
    (0..count as u64).map(number).collect()
}

/// A matrix given as [inputs, outputs], turned to [outputs, inputs].
fn turned(matrix: &[f32], inputs: usize, outputs: usize) -> Vec<f32> {
    (0..matrix.len()).map(|place| matrix[place % inputs * outputs + place / inputs]).collect()
}

/// The stream of random numbers of a parameter; `None` for norms, which start at 1.
fn stream(name: &str) -> Option<u64> {
    if name == "lm_head.weight" {
        return Some(1 + 9 * LAYERS as u64 + 1);
    }
    let mut parts = name.strip_prefix("model.layers.")?.split('.');
    let layer: u64 = parts.next()?.parse().ok()?;
    let matrices = [
        ("q_proj", 1),
        ("k_proj", 2),
        ("v_proj", 3),
        ("o_proj", 4),
        ("gate_proj", 6),
        ("up_proj", 7),
        ("down_proj", 8),
    ];
    let (_, number) = matrices.iter().find(|(matrix, _)| name.contains(matrix))?;
    Some(1 + 9 * layer + number)
}

fn tokens(offset: usize) -> Ids {
    let token = |index: usize| (mix((1 << 60) + index as u64) % VOCABULARY as u64) as u32;
    let place = |i: usize| i / CONTEXT * (CONTEXT + 1) + i % CONTEXT + offset;
    let tokens: Vec<u32> = (0..BATCH * CONTEXT).map(|i| token(place(i))).collect();
    Ids::new(tokens, [BATCH, CONTEXT])
}

#[test]
fn losses_equal_those_of_other_frameworks() {
    let mut config = LanguageModelConfig::new(VOCABULARY, WIDTH, LAYERS, HEADS, CONTEXT);
    config.tie_word_embeddings = false;
    let device = Device::cpu();
    // In this job the norms decay too.
    let all = |_: &str, _, _| true;
    let build = |builder: &mut _| LanguageModel::new(&config, builder);
    let (model, parameters) = Parameters::build_with_decay(&device, 0, all, build);
    for (name, tensor) in parameters.iter() {
        let [outputs, inputs] = match *tensor.shape() {
            [outputs, inputs] => [outputs, inputs],
            _ => continue,
        };
        let numbers = match stream(name) {
            Some(stream) => turned(&numbers(stream, tensor.elements()), inputs, outputs),
            // The embedding is a table of rows, not a matrix that multiplies.
            None => numbers(0, tensor.elements()),
        };
        tensor.overwrite(&numbers);
    }
    let settings = AdamWSettings { beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weight_decay: 0.1 };
    let mut optimizer = AdamW::new(&parameters, settings);
    let mut gradients = parameters.gradients();
    let (inputs, targets) = (tokens(0), tokens(1));
    let mut losses = Vec::new();
    for _ in 0..21 {
        gradients.clear();
        let loss = model.loss(&inputs, &targets, &Pass::training(None));
        loss.backward_into(&mut gradients).unwrap();
        optimizer.step(&parameters, &gradients, 1e-3, None);
        losses.push(loss.to_scalar().unwrap());
    }
    approx::assert_abs_diff_eq!(losses[0], 5.57341, epsilon = 1e-4);
    approx::assert_abs_diff_eq!(losses[20], 3.44568, epsilon = 1e-4);
}
