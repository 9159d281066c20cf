//! Segmentation of images as a task: mean intersection over union, pixels that are right.

mod scenes;

use super::images::batches::{
    dealt, images_scored, pixels, probe_images, test_images, training_batches, validation_images,
};
use super::images::confusion_matrix::confusion_matrix;
use super::images::facts::{data_of, facts};
use super::images::{Confusion, ImageSettings, ImageStart, linear_baseline};
use super::start_files::FROM;
use crate::data::Source;
use crate::data::images::{self, EvaluationImages, ImageBatch, ImageData};
use crate::engine::random::Key;
use crate::engine::{Builder, Device, Ids, Parameters, Tensor};
use crate::error::Error;
use crate::run::{Data, Picture, Values};
use crate::scoring::Shares;
use crate::settings::Settings;
use crate::task::{Batches, Best, Extent, Task};
use crate::trace::Trace;
use crate::variant::VariantConfig;
use crate::vision::{ImageSegmenter, Pass, VisionConfig, VisionTransfer};
use scenes::{Scene, scenes};
use serde_json::json;
use std::ops::Range;

/// Learning to tell what every pixel of an image belongs to.
#[derive(Clone, Debug)]
pub struct ImageSegmentation {
    /// The sizes.
    pub settings: ImageSettings,
    /// The images.
    pub data: ImageData,
    facts: Values,
    /// What models start from, if not from nothing.
    start: Option<ImageStart>,
    /// What is added to the logits of each class while it learns.
    offsets: Vec<f32>,
}

impl ImageSegmentation {
    /// The task of learning these images. For generated ones, it also finds out how well a linear
    /// model does, for comparison.
    ///
    /// # Errors
    /// If the device fails.
    ///
    /// # Panics
    /// If the data is for classification.
    pub fn new(
        data: ImageData,
        settings: ImageSettings,
        device: &Device,
    ) -> Result<ImageSegmentation, Error> {
        assert_eq!(data.task, images::Task::Segmentation);
        let mut facts = facts(&data);
        if matches!(data.source, Source::Generated(_)) {
            let linear = linear_baseline(&data, 300, device)?;
            facts.set("linear_mean_iou", linear.mean_iou());
        }
        let offsets = offsets(&data, settings.balance);
        Ok(ImageSegmentation { settings, data, facts, start: None, offsets })
    }

    /// The mean IoU that a linear model gets on the test images, known for generated ones.
    pub fn linear_baseline(&self) -> Option<f64> {
        self.facts.get("linear_mean_iou").and_then(serde_json::Value::as_f64)
    }

    /// The same with models that start from one that is trained already. The sizes are to be its own
    /// ([`ImageStart::sizes`]).
    #[must_use]
    pub fn starting_from(mut self, start: ImageStart) -> Self {
        self.facts.set(FROM, start.facts());
        self.start = Some(start);
        self
    }

    /// What a model of this configuration takes of the one that it starts from, if it does.
    pub fn transfer(&self, config: &VisionConfig) -> Option<VisionTransfer> {
        self.start.as_ref().map(|start| start.transfer(config))
    }

    fn score(
        &self,
        model: &ImageSegmenter,
        images: &EvaluationImages,
        shares: &Shares,
    ) -> Result<Score, Error> {
        let (nats, confusion) = score(model, dealt(shares, images))?;
        Ok(Score::of(&shares.gather(nats)?, confusion.gather(shares)?))
    }
}

/// Scores a segmenter on batches of images: `loss` (nats a pixel), `mean_iou`, `pixel_accuracy`,
/// `mean_class_accuracy`; and what was taken for what. Pixels that are void do not count.
///
/// ```
/// use neutreno::data::Splits;
/// use neutreno::data::images::{EvaluationImages, ImageData, Task};
/// use neutreno::engine::{Device, Parameters};
/// use neutreno::tasks::segmentation::evaluate_segmenter;
/// use neutreno::vision::{ImageSegmenter, ImageSize, VisionConfig};
/// let data =
///     ImageData::generated_of(Task::Segmentation, Splits { train: 8, validation: 4, test: 4 });
/// let size = ImageSize::new(data.shape.height, data.shape.width);
/// let config = VisionConfig::new(size, 8, 16, 2, 2, &data.classes).segmenting(1);
/// let build = |builder: &mut _| ImageSegmenter::new(&config, builder);
/// let (model, _) = Parameters::build(&Device::cpu(), 1, build);
/// let batches = EvaluationImages::new(&data, data.splits.test.clone(), 4);
/// let (scores, confusion) = evaluate_segmenter(&model, batches.iter().map(Ok))?;
/// assert_eq!(scores.number("mean_iou"), confusion.mean_iou());
/// # Ok::<(), neutreno::training::Error>(())
/// ```
///
/// # Errors
/// That of a batch, or the device's.
pub fn evaluate_segmenter(
    model: &ImageSegmenter,
    batches: impl Iterator<Item = Result<ImageBatch, Error>>,
) -> Result<(Values, Confusion), Error> {
    let (nats, confusion) = score(model, batches)?;
    let score = Score::of(&nats.concat(), confusion);
    let values = Values::default()
        .with("loss", score.loss())
        .with("mean_iou", score.confusion.mean_iou())
        .with("pixel_accuracy", score.confusion.accuracy())
        .with("mean_class_accuracy", score.confusion.mean_class_accuracy());
    Ok((values, score.confusion))
}

/// The nats of each batch, and what was taken for what.
fn score(
    model: &ImageSegmenter,
    batches: impl Iterator<Item = Result<ImageBatch, Error>>,
) -> Result<(Vec<Vec<f64>>, Confusion), Error> {
    let (mut nats, mut confusion) = (Vec::new(), Confusion::new(model.config().classes()));
    for batch in batches {
        let batch = batch?;
        let (loss, given) = evaluate(model, &batch)?;
        let counted = batch.labels.iter().filter(|label| **label != Ids::IGNORED).count();
        // Where nothing is counted, there is no mean.
        let of_batch = (counted > 0).then(|| f64::from(loss) * counted as f64);
        nats.push(of_batch.into_iter().collect());
        confusion.add(&batch.labels, given.as_slice());
    }
    Ok((nats, confusion))
}

/// The mean loss of a batch, and the class given to each pixel.
fn evaluate(model: &ImageSegmenter, batch: &ImageBatch) -> Result<(f32, Ids), Error> {
    let images = pixels(batch, model.device());
    let logits = model.logits(&images);
    Ok((logits.cross_entropy(&labels(batch), 0.0).to_scalar()?, logits.argmax()?))
}

/// The labels of a batch's pixels.
fn labels(batch: &ImageBatch) -> Ids {
    let [images, _, height, width] = batch.shape;
    Ids::new(&batch.labels[..], [images, height, width])
}

/// For each class the logarithm of how frequent it is among the training pixels, times `balance`.
fn offsets(data: &ImageData, balance: f32) -> Vec<f32> {
    let counts = data.class_counts(&data.splits.train);
    let total = counts.iter().sum::<u64>() as f32;
    // One more of each, as there may be none.
    counts.iter().map(|count| balance * ((count + 1) as f32 / total).ln()).collect()
}

/// What the scores are made from.
struct Score {
    nats: f64,
    confusion: Confusion,
}

impl Score {
    /// The nats of batches in their order, and what was taken for what in all of them.
    fn of(nats: &[f64], confusion: Confusion) -> Score {
        Score { nats: nats.iter().fold(0.0, |sum, of_batch| sum + of_batch), confusion }
    }

    fn loss(&self) -> f64 {
        self.nats / self.confusion.total() as f64
    }
}

impl Task for ImageSegmentation {
    type Config = VisionConfig;
    type Model = ImageSegmenter;
    type Batch = ImageBatch;

    fn name(&self) -> &'static str {
        "image-segmentation"
    }

    fn unit(&self) -> &'static str {
        "image"
    }

    fn units(&self, batch: usize) -> u64 {
        batch as u64
    }

    fn best(&self) -> Best {
        Best::Highest("mean_iou")
    }

    fn config(&self, variant: &VariantConfig, _device: &Device) -> Result<VisionConfig, Error> {
        let mut config = self.settings.model(&self.data, variant);
        if let Some(start) = &self.start {
            config = start.adapt(config, &self.data)?;
        }
        config.check().map_err(Error::Settings)?;
        Ok(config)
    }

    fn build(&self, config: &VisionConfig, builder: &mut Builder) -> ImageSegmenter {
        ImageSegmenter::new(config, builder)
    }

    fn start(
        &self,
        config: &VisionConfig,
        seed: u64,
        device: &Device,
    ) -> Result<(ImageSegmenter, Parameters), Error> {
        let build = |builder: &mut Builder| self.build(config, builder);
        ImageStart::begin(self.start.as_ref(), config, (seed, device), build)
    }

    fn check_start(&self) -> Result<(), Error> {
        self.start.as_ref().map_or(Ok(()), ImageStart::check)
    }

    fn batches(&self, seed: u64, batch: usize) -> Result<Batches<'_, ImageBatch>, Error> {
        training_batches(&self.data, &self.settings, seed, batch)
    }

    fn loss(&self, model: &ImageSegmenter, batch: &ImageBatch, dropout: Key) -> Tensor {
        let device = model.device();
        let mut logits = model.forward(&pixels(batch, device), &Pass::training(dropout));
        if self.settings.balance != 0.0 {
            logits = logits.add(&Tensor::new(&self.offsets, [self.offsets.len()], device));
        }
        logits.cross_entropy(&labels(batch), self.settings.label_smoothing)
    }

    fn scored(&self, _settings: &Settings, extent: Extent) -> Values {
        images_scored(&self.data, &self.settings, extent)
    }

    fn evaluate(
        &self,
        model: &ImageSegmenter,
        settings: &Settings,
        extent: Extent,
        shares: &Shares,
    ) -> Result<Values, Error> {
        let batch = settings.batch;
        let validation = validation_images(&self.data, &self.settings, batch, extent);
        let score = self.score(model, &validation, shares)?;
        let ious = |score: &Score| -> serde_json::Map<String, serde_json::Value> {
            let names = self.data.classes.iter().cloned();
            names.zip(score.confusion.ious().iter().map(|iou| json!(iou))).collect()
        };
        let mut scores = Values::default()
            .with("validation_loss", score.loss())
            .with("mean_iou", score.confusion.mean_iou())
            .with("pixel_accuracy", score.confusion.accuracy());
        if extent == Extent::All {
            scores.set("class_iou", ious(&score));
            let test = self.score(model, &test_images(&self.data, batch), shares)?;
            scores.set("test_loss", test.loss());
            scores.set("test_mean_iou", test.confusion.mean_iou());
            scores.set("test_pixel_accuracy", test.confusion.accuracy());
            scores.set("test_class_iou", ious(&test));
        }
        Ok(scores)
    }

    /// Some validation images with what they are and what the model sees, and the confusion
    /// matrix of all their pixels.
    fn pictures(&self, model: &ImageSegmenter) -> Result<Vec<Picture>, Error> {
        const SHOWN: usize = 6;
        let mut confusion = Confusion::new(self.data.classes.len());
        let mut shown: Vec<Scene> = Vec::new();
        let images = self.data.splits.validation.len();
        // Evenly spread, since neighbours are often alike.
        let apart = images.div_ceil(SHOWN);
        let batches = validation_images(&self.data, &self.settings, 1, Extent::All);
        for (image, batch) in batches.iter().enumerate() {
            let (_, given) = evaluate(model, &batch)?;
            confusion.add(&batch.labels, given.as_slice());
            if image % apart == apart / 2 {
                shown.push(Scene { image, given: given.as_slice().to_vec() });
            }
        }
        Ok(vec![
            scenes(&self.data, &shown),
            confusion_matrix(&confusion, &self.data.classes, "pixels"),
        ])
    }

    /// The encoder and the mask transformer on validation images.
    fn trace(&self, model: &ImageSegmenter, probes: Range<usize>) -> Result<Option<Trace>, Error> {
        Ok(probe_images(&self.data, model.device(), probes).map(|images| model.trace(&images)))
    }

    fn settings(&self) -> Values {
        Values::of(&self.settings)
    }

    fn data(&self) -> Data {
        data_of(&self.data)
    }

    fn facts(&self) -> Values {
        self.facts.clone()
    }

    fn model_facts(&self, config: &VisionConfig) -> Values {
        let transfer = self.transfer(config);
        transfer.map_or_else(Values::default, |of| Values::default().with("start", of.sentence()))
    }
}
