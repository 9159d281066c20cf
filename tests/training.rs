//! Training as a whole: the same losses on every device, the same bits for any number of threads
//! and in every repetition, and memory that does not grow.

mod common;

use common::{devices, finalise};
use neutreno::data::batches::TrainingBatches;
use neutreno::engine::Device;
use neutreno::engine::random::Key;
use neutreno::training::Settings;
use neutreno::training::trainer::{Learner, plan};
use neutreno::{LanguageModelConfig, Variant, VariantConfig};

const STEPS: u64 = 20;

fn settings() -> Settings {
    Settings {
        layers: 3,
        width: 32,
        heads: 4,
        key_value_heads: Some(2),
        context: 16,
        batch: 4,
        accumulate: 2,
        steps: STEPS,
        learning_rate: 1e-2,
        warmup: 5,
        dropout: 0.1,
        ..Settings::preset("tiny").expect("a preset")
    }
}

fn config(variant: Variant) -> LanguageModelConfig {
    settings().model(50, &VariantConfig::new(variant))
}

/// Tokens with something to learn: mostly the successor of the token before.
fn batches() -> TrainingBatches {
    let mut token = 0;
    let next = |index: u64| {
        let random = finalise(index);
        token = if random.is_multiple_of(4) { (random >> 8) % 50 } else { (token + 1) % 50 };
        token as u32
    };
    let tokens: Vec<u32> = (0..5_000).map(next).collect();
    let Settings { context, batch, .. } = settings();
    TrainingBatches::new(tokens.into(), context, batch, Key::new(1)).expect("enough tokens")
}

fn losses(variant: Variant, device: &Device) -> Vec<f32> {
    let mut learner = Learner::new(&config(variant), &settings(), 1, device);
    let mut batches = batches();
    (0..STEPS)
        .map(|step| learner.step(step, &mut batches).unwrap().loss.to_scalar().unwrap())
        .collect()
}

fn parameters(variant: Variant, device: &Device) -> Vec<Vec<u32>> {
    let mut learner = Learner::new(&config(variant), &settings(), 1, device);
    let mut batches = batches();
    for step in 0..STEPS {
        learner.step(step, &mut batches).unwrap();
    }
    let bits = |numbers: Vec<f32>| numbers.into_iter().map(f32::to_bits).collect();
    learner.parameters.iter().map(|(_, tensor)| bits(tensor.to_vec().unwrap())).collect()
}

/// The CPU's losses at the first, tenth and last step.
const PINNED: [(Variant, [f32; 3]); 4] = [
    (Variant::Transformer, [0.0, 0.0, 0.0]),
    (Variant::Neutreno, [0.0, 0.0, 0.0]),
    (Variant::Resformer, [0.0, 0.0, 0.0]),
    (Variant::Svformer, [0.0, 0.0, 0.0]),
];

#[test]
fn losses_are_the_same_on_every_device_and_as_they_were() {
    for (variant, pinned) in PINNED {
        let mut on_cpu: Vec<f32> = Vec::new();
        for (name, device) in devices() {
            let losses = losses(variant, &device);
            if on_cpu.is_empty() {
                let kept = [losses[0], losses[9], losses[19]];
                println!("{variant}: {kept:?}");
                for (loss, pinned) in kept.iter().zip(pinned) {
                    approx::assert_abs_diff_eq!(*loss, pinned, epsilon = 1e-4);
                }
                on_cpu = losses;
                continue;
            }
            for (step, (loss, expected)) in losses.iter().zip(&on_cpu).enumerate() {
                let difference = (loss - expected).abs();
                assert!(
                    difference <= 1e-3 * expected,
                    "{variant} on {name}, step {step}: {loss}, on the CPU {expected}"
                );
            }
        }
    }
}

#[test]
fn training_gives_the_same_bits_again() {
    for variant in Variant::ALL {
        let one = parameters(variant, &Device::cpu_with_threads(1));
        for threads in [2, 4] {
            let several = parameters(variant, &Device::cpu_with_threads(threads));
            assert!(one == several, "{variant}: {threads} threads differ from one");
        }
    }
    for (name, device) in devices() {
        let [first, second] = [(); 2].map(|()| parameters(Variant::Neutreno, &device));
        assert!(first == second, "{name}: a repetition differs");
    }
}

#[test]
fn memory_is_flat_and_known_in_advance() {
    let settings = Settings { accumulate: 1, steps: 300, ..settings() };
    let config = config(Variant::Resformer);
    let planned = plan(&config, &settings).unwrap();
    for (name, device) in devices() {
        let mut learner = Learner::new(&config, &settings, 1, &device);
        let mut batches = batches();
        let mut early = (0, 0, None);
        for step in 0..300 {
            let result = learner.step(step, &mut batches).unwrap();
            // As in training, some results are read and some are not.
            if step % 3 == 0 {
                result.loss.to_scalar().unwrap();
            }
            if step == 3 {
                let memory = device.memory();
                early = (memory.reserved, memory.allocations, process_memory());
            }
        }
        let memory = device.memory();
        assert_eq!((memory.reserved, memory.allocations), (early.0, early.1), "{name}");
        let error = (memory.peak as f64 / planned.peak as f64 - 1.0).abs();
        assert!(error < 0.05, "{name}: peak {}, planned {}", memory.peak, planned.peak);
        if let (Some(before), Some(after)) = (early.2, process_memory()) {
            let grown = after.saturating_sub(before);
            assert!(grown < 8 << 20, "{name}: the process grew by {grown} bytes");
        }
    }
}

/// The bytes of memory that this process has, where the system tells.
fn process_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = status.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * 4096)
}
