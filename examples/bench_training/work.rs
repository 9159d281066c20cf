//! The training job that is measured: a small decoder-only model on one fixed batch, with weights
//! and tokens by a rule, so that other frameworks can be given exactly the same work and must
//! find the same losses.

use neutreno::engine::optim::{AdamW, AdamWSettings, Optimizer, clip};
use neutreno::engine::{Device, Error, Gradients, Group, Ids, Parameters, Reading};
use neutreno::language::Pass;
use neutreno::{LanguageModel, LanguageModelConfig, VariantConfig};

/// The sizes of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    pub layers: usize,
    pub width: usize,
    pub heads: usize,
    pub context: usize,
    pub batch: usize,
    pub vocabulary: usize,
    /// Whether the embedding serves as output layer too.
    pub tied: bool,
    /// Whether blocks are run again on the way back instead of keeping what they computed.
    pub recompute: bool,
    /// Whether the gradients are clipped by their norm, and steps that are not finite left out.
    pub clip: bool,
}

impl Sizes {
    /// 0.9M parameters.
    pub const S: Sizes = Sizes {
        layers: 4,
        width: 128,
        heads: 4,
        context: 128,
        batch: 16,
        vocabulary: 256,
        tied: false,
        recompute: false,
        clip: false,
    };
    /// 9M parameters.
    #[allow(dead_code, reason = "the test of the losses runs the small size only")]
    pub const M: Sizes = Sizes {
        layers: 6,
        width: 256,
        heads: 8,
        context: 256,
        batch: 8,
        vocabulary: 8192,
        tied: false,
        recompute: false,
        clip: false,
    };

    pub fn config(&self, variant: VariantConfig) -> LanguageModelConfig {
        let Sizes { layers, width, heads, context, vocabulary, .. } = *self;
        let config = LanguageModelConfig::new(vocabulary, width, layers, heads, context);
        LanguageModelConfig { variant, tie_word_embeddings: self.tied, ..config }
    }

    fn tokens(&self, offset: usize) -> Ids {
        let Sizes { context, batch, vocabulary, .. } = *self;
        let token = |index: usize| (mix((1 << 60) + index as u64) % vocabulary as u64) as u32;
        let index = |i: usize| i / context * (context + 1) + i % context + offset;
        let tokens: Vec<u32> = (0..batch * context).map(|i| token(index(i))).collect();
        Ids::new(tokens, [batch, context])
    }
}

/// A model with its optimiser and its one batch.
pub struct Work {
    model: LanguageModel,
    pub parameters: Parameters,
    gradients: Gradients,
    optimizer: AdamW,
    inputs: Ids,
    targets: Ids,
    pass: Pass,
    clip: bool,
}

impl Work {
    pub fn new(sizes: &Sizes, variant: VariantConfig, device: &Device) -> Work {
        let config = sizes.config(variant);
        // In this job the norms decay too.
        let all = |_: &str, _, _| Group::default();
        let build = |builder: &mut _| LanguageModel::new(&config, builder);
        let (model, parameters) = Parameters::build_with_groups(device, 0, all, build);
        for (name, tensor) in parameters.iter() {
            let [outputs, inputs] = match *tensor.shape() {
                [outputs, inputs] => [outputs, inputs],
                _ => continue,
            };
            let numbers = match stream(name, sizes.layers) {
                Some(stream) => turned(&numbers(stream, tensor.elements()), inputs, outputs),
                // The embedding is a table of rows, not a matrix that multiplies.
                None => numbers(0, tensor.elements()),
            };
            tensor.overwrite(&numbers);
        }
        let settings = AdamWSettings { beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weight_decay: 0.1 };
        Work {
            optimizer: AdamW::new(&parameters, settings),
            gradients: parameters.gradients(),
            model,
            parameters,
            inputs: sizes.tokens(0),
            targets: sizes.tokens(1),
            pass: Pass { recompute: sizes.recompute, ..Pass::training(None) },
            clip: sizes.clip,
        }
    }

    /// Forward, backward and the update; the loss is on its way to the host.
    pub fn step(&mut self) -> Result<Reading, Error> {
        self.gradients.clear();
        let loss = self.model.loss(&self.inputs, &self.targets, &self.pass);
        loss.backward_into(&mut self.gradients)?;
        let clipped = self.clip.then(|| clip(&self.parameters, &self.gradients, 1.0));
        self.optimizer.step(&self.parameters, &self.gradients, 1e-3, clipped.as_ref());
        Ok(loss.read())
    }
}

/// The last part of SplitMix64, after its increment.
fn mix(z: u64) -> u64 {
    let z = z.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
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
    (0..matrix.len()).map(|index| matrix[index % inputs * outputs + index / inputs]).collect()
}

/// The stream of random numbers of a matrix; `None` for the embedding.
fn stream(name: &str, layers: usize) -> Option<u64> {
    if name == "lm_head.weight" {
        return Some(1 + 9 * layers as u64 + 1);
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
