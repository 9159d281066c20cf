//! Training as a whole: the same losses on every device, the same bits for any number of threads and
//! in every repetition, and steps that are left out.

mod common;

use common::devices;
use common::training::{STEPS, batches, config, settings, task};
use common::unsteady::{Unsteady, Wrong};
use neutreno::engine::Device;
use neutreno::ranks::Alone;
use neutreno::run::read_metrics;
use neutreno::training::{
    Comparison, Error, Learner, Observer, OnNonFinite, Safety, Settings, seconds_per_step,
};
use neutreno::{Variant, VariantConfig};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

fn losses(variant: Variant, device: &Device) -> Vec<f32> {
    let task = task();
    let mut learner = Learner::new(&task, &config(variant), &settings(), 1, device).unwrap();
    let mut batches = batches();
    (0..STEPS)
        .map(|step| learner.step(step, &mut batches).unwrap().loss.to_scalar().unwrap())
        .collect()
}

fn parameters(variant: Variant, device: &Device) -> Vec<Vec<u32>> {
    let task = task();
    let mut learner = Learner::new(&task, &config(variant), &settings(), 1, device).unwrap();
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

/// Keeps what is said.
#[derive(Default)]
struct Said(Vec<String>);

impl Observer for Said {
    fn notice(&mut self, line: &str) {
        self.0.push(line.into());
    }
}

/// What minutes are turned into steps by: the time of a step with each of its micro-batches.
#[test]
fn a_step_is_timed_with_all_its_micro_batches() {
    const ACCUMULATE: usize = 21;
    let task = Unsteady::new(&[]);
    let settings = Settings { accumulate: ACCUMULATE, ..task.settings() };
    let config = config(Variant::Transformer);
    seconds_per_step(&task, &config, &settings, &Device::cpu()).unwrap();
    let asked = task.asked.load(Ordering::Relaxed) as usize;
    // At least four steps are made, and at most forty.
    assert!((4..=40).any(|steps| asked == steps * ACCUMULATE), "{asked} micro-batches");
}

/// Steps that are said to be skipped leave nothing behind: whether the loss or a gradient is not
/// finite, the run ends with the bits of one in which they never came, the average's too. A run that
/// stops instead has the weights of before.
#[test]
fn skipped_steps_leave_nothing_behind() {
    use Wrong::{Gradients, Loss, Nothing};
    for (name, device) in devices() {
        let train = |wrong: &[Wrong], on_nonfinite, said: &mut Said| {
            let (task, parent) = (Unsteady::new(wrong), tempfile::tempdir().unwrap());
            let settings = task.settings();
            let comparison = Comparison {
                task: &task,
                variants: &[VariantConfig::new(Variant::Neutreno)],
                seeds: &[1],
                settings,
                minutes: None,
                device: device.clone(),
                ranks: &Alone,
                shard_optimizer: false,
                open: &|| unreachable!("nothing fails"),
                parent: parent.path().into(),
                name: Some("run".into()),
                resume: None,
                longer: None,
                baseline: None,
                safety: Safety { on_nonfinite, ..Safety::default() },
                show_every: Duration::MAX,
                arguments: Vec::new(),
                started: "2031-05-07T09:30:00Z".into(),
                interrupted: &AtomicBool::new(false),
                checkpoint: &AtomicBool::new(false),
                tensorboard: false,
            };
            let result = comparison.run(said).map(drop);
            let model = parent.path().join("run/neutreno-seed1");
            let metrics = read_metrics(&model.join("metrics.jsonl")).unwrap();
            (result, std::fs::read(model.join("model.safetensors")).unwrap(), metrics)
        };
        let mut said = Said::default();
        let (result, expected, _) = train(&[Nothing; 4], OnNonFinite::Stop, &mut said);
        result.unwrap();
        let wrong = [Nothing, Loss, Nothing, Gradients, Loss, Gradients, Loss, Nothing, Nothing];
        let (result, weights, metrics) = train(&wrong, OnNonFinite::Skip, &mut said);
        result.unwrap();
        assert!(weights == expected, "{name}: other weights");
        // The norm of a step whose loss alone overflowed is there to be read.
        assert!(metrics[1].loss.is_nan() && metrics[1].gradient_norm.is_finite(), "{name}");
        assert!(metrics[3].loss.is_nan() && metrics[3].gradient_norm.is_nan(), "{name}");
        let skipped = said.0.iter().filter(|line| line.contains("the step is skipped")).count();
        assert_eq!(skipped, 5, "{name}: {:?}", said.0);

        let (_, before, _) = train(&[Nothing; 1], OnNonFinite::Stop, &mut said);
        let (result, weights, _) = train(&[Nothing, Loss], OnNonFinite::Stop, &mut said);
        let error = result.unwrap_err();
        assert!(matches!(error, Error::NotFinite { what: "loss", step: 2, .. }), "{name}: {error}");
        assert!(weights == before, "{name}: the step was made");
    }
}
