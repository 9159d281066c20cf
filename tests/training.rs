//! Training as a whole: the same losses on every device, and the same bits for any number of
//! threads and in every repetition.

mod common;

use common::devices;
use common::training::{STEPS, batches, config, settings, task};
use neutreno::Variant;
use neutreno::engine::Device;
use neutreno::training::Learner;

fn losses(variant: Variant, device: &Device) -> Vec<f32> {
    let task = task();
    let mut learner = Learner::new(&task, &config(variant), &settings(), 1, device);
    let mut batches = batches();
    (0..STEPS)
        .map(|step| learner.step(step, &mut batches).unwrap().loss.to_scalar().unwrap())
        .collect()
}

fn parameters(variant: Variant, device: &Device) -> Vec<Vec<u32>> {
    let task = task();
    let mut learner = Learner::new(&task, &config(variant), &settings(), 1, device);
    let mut batches = batches();
    for step in 0..STEPS {
        learner.step(step, &mut batches).unwrap();
    }
    let bits = |numbers: Vec<f32>| numbers.into_iter().map(f32::to_bits).collect();
    learner.parameters.iter().map(|(_, tensor)| bits(tensor.to_vec().unwrap())).collect()
}

/// The CPU's losses at the first, tenth and last step.
const PINNED: [(Variant, [f32; 3]); 4] = [
    (Variant::Transformer, [3.964_925, 2.975_89, 2.448_141]),
    (Variant::Neutreno, [3.966_859, 2.996_043, 2.470_812]),
    (Variant::Resformer, [3.965_368, 2.983_964, 2.445_105]),
    (Variant::Svformer, [3.964_809, 2.996_618, 2.465_365]),
];

#[test]
fn losses_are_the_same_on_every_device_and_as_they_were() {
    for (variant, pinned) in PINNED {
        let mut on_cpu: Vec<f32> = Vec::new();
        for (name, device) in devices() {
            let losses = losses(variant, &device);
            if on_cpu.is_empty() {
                let kept = [losses[0], losses[9], losses[19]];
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
