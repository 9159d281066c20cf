//! Segmentation of images: a class for every pixel.

use super::blocks::{Blocks, DEVIATION, Linear, Norm};
use super::config::VisionConfig;
use super::encoder::{Encoder, Pass, repeat};
use crate::engine::{Builder, Device, Initial, Tensor, no_grad};
use crate::trace::Trace;
use crate::variant::VariantConfig;

/// An encoder with Segmenter's mask transformer (Strudel et al. 2021, section 3.2). A class
/// embedding for each class goes through a few more blocks together with the patches. How well a
/// patch fits a class is the cosine between what becomes of them. A layer norm over the classes
/// makes scores of it, which are then stretched to the size of the image.
///
/// The mask transformer's blocks have a first value of their own, which their variant refers to. The
/// last layer norm's weights start at 3 instead of 1, so that a short training can become sure of a
/// class, and its ε is larger ([`mask_norm_eps`](VisionConfig::mask_norm_eps)).
///
/// With a [`mask_upscale`](VisionConfig::mask_upscale) of u a patch has u × u parts, each of which is
/// compared with the classes: `proj_parts` gives what is to be added to the patch's direction for each
/// of them. It starts at 0, so that a model begins as Segmenter itself, which has u = 1 and cannot tell
/// what is smaller than a patch from what surrounds it (as the sub-pixel convolutions of Aitken et al.
/// 2017 do). Directions are u times narrower than tokens, which keeps this cheap.
///
/// ```
/// use neutreno_models::engine::{Device, Ids, Parameters, Tensor};
/// use neutreno_models::vision::{ImageSegmenter, ImageSize, Pass, VisionConfig};
/// let device = Device::cpu();
/// let names = ["sky".to_string(), "road".to_string()];
/// let config = VisionConfig::new(ImageSize::new(8, 12), 4, 16, 2, 2, &names).segmenting(2);
/// let build = |builder: &mut _| ImageSegmenter::new(&config, builder);
/// let (model, _) = Parameters::build(&device, 1, build);
/// let images = Tensor::zeros([3, 3, 8, 12], &device);
/// let labels = Ids::new(vec![1; 3 * 8 * 12], [3, 8, 12]);
/// let logits = model.forward(&images, &Pass::evaluation());
/// assert_eq!(logits.shape().to_string(), "[3, 8, 12, 2]");
/// assert!(logits.cross_entropy(&labels, 0.0).to_scalar()? > 0.0);
/// # Ok::<(), neutreno_models::engine::Error>(())
/// ```
pub struct ImageSegmenter {
    encoder: Encoder,
    /// On the encoder's tokens.
    projection: Linear,
    class_embeddings: Tensor,
    blocks: Blocks,
    norm: Norm,
    project_patches: Tensor,
    /// None with a mask_upscale of 1.
    project_parts: Option<Tensor>,
    project_classes: Tensor,
    /// 1/√size everywhere: an RMS norm with these weights makes rows of length 1.
    unit: Tensor,
    mask_norm: Norm,
}

impl ImageSegmenter {
    /// Makes the parameters of a model: `vit...` and `decoder...`.
    ///
    /// # Panics
    /// If the configuration is not sound ([`VisionConfig::check`] tells beforehand) or has no
    /// decoder.
    pub fn new(config: &VisionConfig, builder: &mut Builder) -> ImageSegmenter {
        let layers = config.num_decoder_layers.expect("num_decoder_layers: a segmenter has some");
        let encoder = Encoder::new(config, &mut builder.scope("vit"));
        let (width, classes) = (config.hidden_size, config.classes());
        let mut scope = builder.scope("decoder");
        let projection = Linear::new(config, "proj_dec", [width, width], true, &scope);
        let initial = Initial::Normal { deviation: DEVIATION };
        let class_embeddings = scope.parameter("cls_emb", [1, classes, width], initial, false);
        // Which layers mix is said of the encoder's.
        let variant = VariantConfig { resformer_layers: None, ..config.variant.clone() };
        let blocks = Blocks::new(config, &variant, layers, 0.0, &mut scope);
        let epsilon = config.mask_norm_eps.unwrap_or(config.layer_norm_eps);
        let directions = width / config.mask_upscale;
        let parts = config.mask_upscale * config.mask_upscale;
        let initial = Initial::Normal { deviation: (width as f32).sqrt().recip() };
        ImageSegmenter {
            encoder,
            projection,
            class_embeddings,
            blocks,
            norm: Norm::new("decoder_norm", width, config.layer_norm_eps, &scope),
            project_patches: scope.parameter("proj_patch", [width, directions], initial, true),
            project_parts: (parts > 1).then(|| {
                scope.parameter("proj_parts", [width, parts * directions], Initial::Zeros, true)
            }),
            project_classes: scope.parameter("proj_classes", [width, directions], initial, true),
            unit: Tensor::full((directions as f32).sqrt().recip(), [directions], builder.device()),
            mask_norm: Norm::with_weight(3.0, "mask_norm", classes, epsilon, &scope),
        }
    }

    /// The encoder.
    pub fn encoder(&self) -> &Encoder {
        &self.encoder
    }

    /// The configuration.
    pub fn config(&self) -> &VisionConfig {
        self.encoder.config()
    }

    /// Where the parameters are.
    pub fn device(&self) -> &Device {
        self.encoder.device()
    }

    /// The logits (batch, height, width, classes) of images (batch, channels, height, width), as numbers
    /// to look at: nothing is kept for gradients.
    ///
    /// # Panics
    /// If the images do not have the configured size.
    #[track_caller]
    pub fn logits(&self, images: &Tensor) -> Tensor {
        self.encoder.check_images(images);
        no_grad(|| self.forward(images, &Pass::evaluation()))
    }

    /// The same for a loss of one's own: they can be differentiated.
    ///
    /// # Panics
    /// As [`ImageSegmenter::logits`].
    #[track_caller]
    pub fn forward(&self, images: &Tensor, pass: &Pass) -> Tensor {
        let (config, batch) = (self.config(), images.shape()[0]);
        let ([rows, columns], upscale) = (config.patches(), config.mask_upscale);
        let scores = self.scores(images, pass, None);
        let scores = scores
            .reshape([batch, rows, columns, upscale, upscale, config.classes()])
            .permute(&[0, 1, 3, 2, 4, 5])
            .reshape([batch, rows * upscale, columns * upscale, config.classes()]);
        scores.resize_bilinear(config.image_size.height(), config.image_size.width())
    }

    /// What the layers compute of the images, to be measured: those of the encoder, and after them
    /// those of the mask transformer, where the tokens are the patches and then the classes, and
    /// V₁ is that of its own first layer.
    ///
    /// # Panics
    /// If the images do not have the configured size.
    #[track_caller]
    pub fn trace(&self, images: &Tensor) -> Trace {
        let mut trace = self.encoder.new_trace();
        self.encoder.check_images(images);
        no_grad(|| self.scores(images, &Pass::evaluation(), Some(&mut trace)));
        trace
    }

    /// How well each part of each patch fits each class: (batch, patches · parts, classes).
    #[track_caller]
    fn scores(&self, images: &Tensor, pass: &Pass, mut trace: Option<&mut Trace>) -> Tensor {
        let mut tokens = self.encoder.traced(images, pass, trace.as_deref_mut());
        let [batch, count] = [tokens.shape()[0], tokens.shape()[1]];
        if self.config().class_token {
            tokens = tokens.slice(1, 1..count);
        }
        let patches = tokens.shape()[1];
        let tokens = self.projection.forward(&tokens);
        let class_embeddings = repeat(&self.class_embeddings, batch);
        let tokens = Tensor::concatenate(&[&tokens, &class_embeddings], 1);
        let tokens = self.blocks.forward(&tokens, pass.stochastic_depth, trace);
        let tokens = self.norm.forward(&tokens);
        let of_parts = self.directions_of_parts(&tokens.slice(1, 0..patches));
        let of_classes = tokens.slice(1, patches..patches + self.config().classes());
        let of_classes = of_classes.matmul(&self.project_classes).rms_norm(&self.unit, 1e-12);
        self.mask_norm.forward(&of_parts.matmul_with(&of_classes, false, true))
    }

    /// A direction of length 1 for each part of each patch: (batch, patches · parts, size).
    #[track_caller]
    fn directions_of_parts(&self, patches: &Tensor) -> Tensor {
        let ([batch, count], size) =
            ([patches.shape()[0], patches.shape()[1]], self.unit.elements());
        let mut directions = patches.matmul(&self.project_patches);
        if let Some(project_parts) = &self.project_parts {
            let parts = patches.matmul(project_parts);
            let parts = parts.reshape([batch * count, usize::MAX, size]);
            let parts = parts.add(&directions.reshape([batch * count, 1, size]));
            directions = parts.reshape([batch, usize::MAX, size]);
        }
        directions.rms_norm(&self.unit, 1e-12)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Parameters;
    use crate::variant::Variant;
    use crate::vision::config::ImageSize;

    /// The trace has the layers of both stacks, each with a first value of its own.
    #[test]
    fn encoder_and_mask_transformer_are_traced() {
        let names = ["sky".to_string(), "road".to_string()];
        let mut config =
            VisionConfig::new(ImageSize::new(8, 12), 4, 16, 3, 2, &names).segmenting(2);
        config.variant = VariantConfig::new(Variant::Svformer);
        let build = |builder: &mut _| ImageSegmenter::new(&config, builder);
        let (model, _) = Parameters::build(&Device::cpu(), 1, build);
        let image: Vec<f32> = (0..3 * 8 * 12).map(|i| (i as f32).sin()).collect();
        let trace = model.trace(&Tensor::new(&image, [1, 3, 8, 12], model.device()));

        let tokens = 6 + usize::from(config.class_token);
        let of_states: Vec<usize> = trace.states.iter().map(|states| states.shape()[1]).collect();
        assert_eq!(of_states, [tokens, tokens, tokens, tokens, 6 + 2, 6 + 2]);
        let first: Vec<_> =
            trace.layers.iter().map(|layer| layer.first_value.to_vec().unwrap()).collect();
        assert_eq!(first.len(), 3 + 2);
        assert_eq!(first[0], first[2]);
        assert_eq!(first[3], first[4]);
        assert_ne!(first[2].len(), first[3].len());
    }
}
