//! The vision transformer that both models share: images to tokens.

use super::blocks::{Blocks, DEVIATION, Norm};
use super::config::VisionConfig;
use crate::engine::random::Key;
use crate::engine::{Builder, Device, Initial, Tensor, no_grad};
use crate::trace::Trace;
use crate::variant::VariantConfig;

/// Positions start about as large as patches, so that attention can tell them apart from the
/// first step on. With ViT's 0.02, a short training is half over before it does.
const POSITION_DEVIATION: f32 = 0.5;

/// What one pass through a model of images needs to know beside the images.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pass {
    /// The key that decides which samples skip which branches (stochastic depth); `None` for no
    /// skipping, as in evaluation. A fresh one for each micro-batch.
    pub stochastic_depth: Option<Key>,
}

impl Pass {
    /// A training pass.
    pub fn training(stochastic_depth: Key) -> Pass {
        Pass { stochastic_depth: Some(stochastic_depth) }
    }

    /// A pass in which nothing is left to chance.
    pub fn evaluation() -> Pass {
        Pass::default()
    }
}

/// Patches become tokens by a linear layer, learned positions are added, and blocks and a last
/// layer norm follow. With a class token, that is token 0.
pub struct Encoder {
    config: VisionConfig,
    /// (width, channels, patch, patch): a convolution whose kernel is a patch, as ViT keeps it.
    patch_weight: Tensor,
    patch_bias: Tensor,
    class_token: Option<Tensor>,
    positions: Tensor,
    blocks: Blocks,
    norm: Norm,
}

impl Encoder {
    /// Makes the parameters, named `embeddings...`, `encoder...` and `layernorm...` below the
    /// builder's scope.
    ///
    /// # Panics
    /// If the configuration is not sound; [`VisionConfig::check`] tells beforehand.
    pub fn new(config: &VisionConfig, builder: &mut Builder) -> Encoder {
        if let Err(problem) = config.check() {
            panic!("vision model: {problem}");
        }
        let VisionConfig { hidden_size: width, patch_size: patch, num_channels, .. } = *config;
        let mut embeddings = builder.scope("embeddings");
        let initial = Initial::Normal { deviation: DEVIATION };
        let class_token = config
            .class_token
            .then(|| embeddings.parameter("cls_token", [1, 1, width], initial, false));
        let positions = [1, config.tokens(), width];
        let initial = Initial::Normal { deviation: POSITION_DEVIATION };
        let positions = embeddings.parameter("position_embeddings", positions, initial, false);
        let mut projection = embeddings.scope("patch_embeddings.projection");
        let shape = [width, num_channels, patch, patch];
        let inputs = (num_channels * patch * patch) as f32;
        let initial = Initial::Normal { deviation: inputs.sqrt().recip() };
        let patch_weight = projection.parameter("weight", shape, initial, true);
        let patch_bias = projection.parameter("bias", [width], Initial::Zeros, false);
        let (layers, drop_path) = (config.num_hidden_layers, config.drop_path_rate);
        let mut scope = builder.scope("encoder");
        Encoder {
            config: config.clone(),
            patch_weight,
            patch_bias,
            class_token,
            positions,
            blocks: Blocks::new(config, &config.variant, layers, drop_path, &mut scope),
            norm: Norm::new("layernorm", width, config.layer_norm_eps, builder),
        }
    }

    /// The configuration.
    pub fn config(&self) -> &VisionConfig {
        &self.config
    }

    /// Where the parameters are.
    pub fn device(&self) -> &Device {
        self.positions.device()
    }

    /// The tokens (batch, tokens, width) of images (batch, channels, height, width).
    ///
    /// # Panics
    /// If the images do not have the configured size.
    #[track_caller]
    pub fn forward(&self, images: &Tensor, pass: &Pass) -> Tensor {
        self.traced(images, pass, None)
    }

    /// What the layers compute of the images, to be measured.
    ///
    /// # Panics
    /// If the images do not have the configured size.
    #[track_caller]
    pub fn trace(&self, images: &Tensor) -> Trace {
        let mut trace = self.new_trace();
        self.check_images(images);
        no_grad(|| self.traced(images, &Pass::evaluation(), Some(&mut trace)));
        trace
    }

    /// A trace for a pass of this model to fill.
    pub(super) fn new_trace(&self) -> Trace {
        let usual = VariantConfig::NEUTRENO_LAMBDA_OF_IMAGES;
        Trace::new(false, self.config.variant.energy_lambda(usual))
    }

    /// [`Encoder::forward`], which leaves what it computes in `trace`, if there is one.
    #[track_caller]
    pub(super) fn traced(
        &self,
        images: &Tensor,
        pass: &Pass,
        mut trace: Option<&mut Trace>,
    ) -> Tensor {
        self.check_images(images);
        let mut tokens = self.embed_patches(images);
        if let Some(class_token) = &self.class_token {
            let class_token = repeat(class_token, images.shape()[0]);
            tokens = Tensor::concatenate(&[&class_token, &tokens], 1);
        }
        let tokens = tokens.add(&self.positions);
        if let Some(trace) = &mut trace {
            trace.keep_states(&tokens);
        }
        self.norm.forward(&self.blocks.forward(&tokens, pass.stochastic_depth, trace))
    }

    /// That images have the configured size. Closures forget where the caller is, so whoever uses
    /// [`no_grad`] asks this before.
    #[track_caller]
    pub(super) fn check_images(&self, images: &Tensor) {
        let VisionConfig { num_channels, image_size, .. } = self.config;
        let (shape, wanted) =
            (images.shape(), [num_channels, image_size.height(), image_size.width()]);
        let fits = shape.rank() == 4 && shape[1..] == wanted;
        assert!(fits, "images are (batch, {wanted:?}), not {shape}");
    }

    /// Each patch, its channels one after another, through a linear layer: (batch, patches, width).
    #[track_caller]
    fn embed_patches(&self, images: &Tensor) -> Tensor {
        let [patch, channels] = [self.config.patch_size, self.config.num_channels];
        let [rows, columns] = self.config.patches();
        let shape = images.shape();
        let patches = images
            .reshape([shape[0], channels, rows, patch, columns, patch])
            .permute(&[0, 2, 4, 1, 3, 5])
            .reshape([shape[0], rows * columns, channels * patch * patch]);
        let weight = self.patch_weight.reshape([self.config.hidden_size, usize::MAX]);
        patches.linear(&weight, Some(&self.patch_bias))
    }
}

/// A tensor of shape (1, ...) as many times as there are samples.
pub(super) fn repeat(one: &Tensor, batch: usize) -> Tensor {
    let shape = one.shape().with(0, batch);
    Tensor::zeros(shape, one.device()).add(one)
}
