//! How many dispatches a GPU is sent for a training step: each takes its share of the host's time and of the
//! GPU's, however small it is.

use neutreno::engine::gpu::Class;
use neutreno::engine::optim::{AdamW, AdamWSettings, Optimizer, clip};
use neutreno::engine::{Device, Ids, Parameters};
use neutreno::language::Pass;
use neutreno::{LanguageModel, LanguageModelConfig, Variant, VariantConfig};

/// Of a step of the benchmark's size S with so many layers, clipped.
fn of_a_step(layers: usize, variant: Variant) -> usize {
    let [width, heads, context, batch, vocabulary] = [128, 4, 128, 16, 256];
    let config = LanguageModelConfig {
        variant: VariantConfig::new(variant),
        ..LanguageModelConfig::new(vocabulary, width, layers, heads, context)
    };
    let device = Device::plan_for_gpu(Class::HARDWARE);
    let build = |builder: &mut _| LanguageModel::new(&config, builder);
    let (model, parameters) = Parameters::build(&device, 1, build);
    let mut adamw = AdamW::new(&parameters, AdamWSettings::default());
    let mut gradients = parameters.gradients();
    let ids = Ids::new(vec![1; batch * context], [batch, context]);
    device.planned_dispatches();
    let loss = model.loss(&ids, &ids, &Pass::training(None));
    loss.backward_into(&mut gradients).unwrap();
    let clip = clip(&parameters, &gradients, 1.0).with_loss(&loss);
    adamw.step(&parameters, &gradients, 1e-3, Some(&clip));
    device.planned_dispatches().len()
}

#[test]
fn a_layer_takes_few() {
    let of_a_layer = |variant| of_a_step(6, variant) - of_a_step(5, variant);
    assert_eq!(Variant::ALL.map(of_a_layer), [30, 31, 32, 30], "{:?}", Variant::ALL);
}

#[test]
fn a_step_takes_few() {
    assert_eq!(of_a_step(4, Variant::Transformer), 141);
}
