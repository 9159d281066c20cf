//! A small vision transformer that tells striped figures from chequered ones, and its training.

use crate::common::training;
use neutreno::data::Splits;
use neutreno::data::images::{Augmentation, ImageBatch, ImageData, Task, TrainingImages};
use neutreno::engine::optim::Schedule;
use neutreno::engine::random::Key;
use neutreno::engine::{Device, Parameters, Result, Tensor};
use neutreno::vision::{ImageClassifier, ImageSize, Pass, SoftTargets, VisionConfig};
use neutreno::{Variant, VariantConfig};

pub const WIDTH: usize = 32;

/// Blocks of full attention over 16 patches of 8 × 8 pixels; λ = 0 is a plain Transformer.
pub fn config(layers: usize, lambda: f32) -> VisionConfig {
    let classes = ["striped", "chequered"].map(String::from);
    let mut config = VisionConfig::new(ImageSize::new(32, 32), 8, WIDTH, layers, 2, &classes);
    config.initializer_range = 1.0 / (WIDTH as f32).sqrt();
    let neutreno = VariantConfig::new(Variant::Neutreno);
    config.variant = VariantConfig { neutreno_lambda: Some(lambda), ..neutreno };
    config
}

pub fn build(config: &VisionConfig, seed: u64, device: &Device) -> (ImageClassifier, Parameters) {
    Parameters::build(device, seed, |builder| ImageClassifier::new(config, builder))
}

pub fn images() -> ImageData {
    let lengths = Splits { train: 2_000, validation: 500, test: 10 };
    ImageData::generated_of(Task::Classification, lengths)
}

/// The share of validation images whose texture the model tells.
pub fn accuracy(model: &ImageClassifier, data: &ImageData) -> Result<f64> {
    let ImageBatch { pixels, shape, labels, .. } = data.validation_images(0..500);
    let logits = model.logits(&Tensor::new(&pixels, shape, model.device())).to_vec()?;
    let told = logits.chunks(2).map(|row| u32::from(row[1] > row[0]));
    let right = told.zip(&labels).filter(|(told, label)| *told == **label % 2);
    Ok(right.count() as f64 / labels.len() as f64)
}

/// Trains, and calls `watch` with the number of each step before it, and with `steps` at the end.
pub fn train(
    model: &ImageClassifier,
    parameters: &Parameters,
    data: &ImageData,
    seed: u64,
    steps: u64,
    mut watch: impl FnMut(u64) -> Result<()>,
) -> Result<()> {
    let schedule = Schedule { peak: 3e-3, warmup_steps: steps / 10, ..Schedule::new(steps) };
    let mut batches = TrainingImages::new(data, 16, Augmentation::none(), Key::new(seed));
    training::train(parameters, schedule, |step| {
        watch(step)?;
        let batch = batches.batch(step);
        let textures: Vec<u32> = batch.labels.iter().map(|label| label % 2).collect();
        let images = Tensor::new(&batch.pixels, batch.shape, model.device());
        let targets = SoftTargets::new(&textures, 2, 0.0);
        Ok(model.loss(&images, &targets, &Pass::evaluation()))
    })?;
    watch(steps)
}
