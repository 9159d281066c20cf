//! Activation recomputation: less memory, and the same numbers.

mod common;

use common::devices;
use neutreno::engine::random::Key;
use neutreno::engine::{Device, Ids, Parameters};
use neutreno::language::Pass;
use neutreno::{LanguageModel, LanguageModelConfig, Variant, VariantConfig};

/// The loss, all gradients, and the most memory that a pass took.
fn pass(config: &LanguageModelConfig, recompute: bool, device: &Device) -> (Vec<f32>, u64) {
    let build = |builder: &mut _| LanguageModel::new(config, builder);
    let (model, parameters) = Parameters::build(device, 1, build);
    let ids =
        |first: u32| Ids::new((first..first + 256).map(|i| i % 19).collect::<Vec<_>>(), [4, 64]);
    device.reset_peak();
    let pass = Pass { recompute, ..Pass::training(Some(Key::new(3))) };
    let loss = model.loss(&ids(0), &ids(1), &pass);
    let mut numbers = loss.to_vec().unwrap();
    let gradients = loss.backward().unwrap();
    let peak = device.memory().peak;
    for (_, tensor) in parameters.iter() {
        numbers.extend(gradients.get(tensor).unwrap().to_vec().unwrap());
    }
    (numbers, peak)
}

#[test]
fn less_memory_and_the_same_numbers() {
    for (name, device) in devices() {
        for variant in Variant::ALL {
            let mut config = LanguageModelConfig::new(19, 32, 6, 2, 64);
            config.variant = VariantConfig::new(variant);
            config.dropout = 0.1;
            let (kept, most) = pass(&config, false, &device);
            let (again, least) = pass(&config, true, &device);
            assert_eq!(kept[0], again[0], "{variant} on {name}: the loss");
            for (kept, again) in kept.iter().zip(&again) {
                let error = (kept - again).abs();
                assert!(
                    error <= 1e-5 * (kept.abs() + 0.01),
                    "{variant} on {name}: {kept}, {again}"
                );
            }
            assert!(2 * least < most, "{variant} on {name}: {least} of {most} bytes");
        }
    }
}
