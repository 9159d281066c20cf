//! Classification of images as a task: top-1, top-5, the images that were mistaken.

mod mistakes;
mod score;

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
use crate::engine::{Builder, Device, Parameters, Tensor};
use crate::error::Error;
use crate::run::{Data, Picture, Values};
use crate::scoring::Shares;
use crate::settings::Settings;
use crate::task::{Batches, Best, Extent, Task};
use crate::trace::Trace;
use crate::variant::VariantConfig;
use crate::vision::{ImageClassifier, Pass, SoftTargets, VisionConfig, VisionTransfer};
use mistakes::{Mistake, mistakes};
use score::{Score, most_likely, outcome};
use std::ops::Range;

/// Learning to tell what an image shows.
#[derive(Clone, Debug)]
pub struct ImageClassification {
    /// The sizes.
    pub settings: ImageSettings,
    /// The images.
    pub data: ImageData,
    facts: Values,
    /// What models start from, if not from nothing.
    start: Option<ImageStart>,
}

impl ImageClassification {
    /// The task of learning these images. For generated ones, it also finds out how well a linear
    /// model does, for comparison.
    ///
    /// # Errors
    /// If the device fails.
    ///
    /// # Panics
    /// If the data is for segmentation.
    pub fn new(
        data: ImageData,
        settings: ImageSettings,
        device: &Device,
    ) -> Result<ImageClassification, Error> {
        assert_eq!(data.task, images::Task::Classification);
        let mut facts = facts(&data);
        if matches!(data.source, Source::Generated(_)) {
            let linear = linear_baseline(&data, 300, device)?;
            facts.set("linear_top1_accuracy", linear.accuracy());
        }
        Ok(ImageClassification { settings, data, facts, start: None })
    }

    /// The share of test images that a linear model gets right, known for generated images.
    pub fn linear_baseline(&self) -> Option<f64> {
        self.facts.get("linear_top1_accuracy").and_then(serde_json::Value::as_f64)
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

    fn classes(&self) -> usize {
        self.data.classes.len()
    }

    fn score(
        &self,
        model: &ImageClassifier,
        images: &EvaluationImages,
        shares: &Shares,
    ) -> Result<Score, Error> {
        let (outcomes, _) = score(model, dealt(shares, images))?;
        Ok(Score::of(&shares.gather(outcomes)?))
    }
}

/// Scores a classifier on batches of images: `loss` (nats an image), `top1_accuracy`, of more than five
/// classes `top5_accuracy`, `mean_class_accuracy`; and what was taken for what.
///
/// ```
/// use neutreno::data::Splits;
/// use neutreno::data::images::{EvaluationImages, ImageData, Task};
/// use neutreno::engine::{Device, Parameters};
/// use neutreno::tasks::classification::evaluate_classifier;
/// use neutreno::vision::{ImageClassifier, ImageSize, VisionConfig};
/// let data = ImageData::generated_of(
///     Task::Classification,
///     Splits { train: 20, validation: 10, test: 10 },
/// );
/// let config = VisionConfig::new(ImageSize::new(32, 32), 8, 16, 2, 2, &data.classes);
/// let build = |builder: &mut _| ImageClassifier::new(&config, builder);
/// let (model, _) = Parameters::build(&Device::cpu(), 1, build);
/// let batches = EvaluationImages::new(&data, data.splits.test.clone(), 4);
/// let (scores, confusion) = evaluate_classifier(&model, batches.iter().map(Ok))?;
/// assert!(scores.number("loss") > 0.0 && scores.number("top1_accuracy") <= 1.0);
/// assert_eq!(confusion.total(), 10);
/// # Ok::<(), neutreno::training::Error>(())
/// ```
///
/// # Errors
/// That of a batch, or the device's.
pub fn evaluate_classifier(
    model: &ImageClassifier,
    batches: impl Iterator<Item = Result<ImageBatch, Error>>,
) -> Result<(Values, Confusion), Error> {
    let (outcomes, confusion) = score(model, batches)?;
    let score = Score::of(&outcomes.concat());
    let mut values = Values::default();
    for (name, value) in score.values("of_", model.config().classes()) {
        values.set(name.trim_start_matches("of_"), value);
    }
    values.set("mean_class_accuracy", confusion.mean_class_accuracy());
    Ok((values, confusion))
}

/// The outcomes of the images of each batch, and what was taken for what.
fn score(
    model: &ImageClassifier,
    batches: impl Iterator<Item = Result<ImageBatch, Error>>,
) -> Result<(Vec<Vec<f64>>, Confusion), Error> {
    let classes = model.config().classes();
    let (mut outcomes, mut confusion) = (Vec::new(), Confusion::new(classes));
    for batch in batches {
        let batch = batch?;
        let logits = evaluate(model, &batch)?;
        let mut of_batch = Vec::new();
        for (logits, label) in logits.chunks_exact(classes).zip(&batch.labels) {
            of_batch.extend(outcome(logits, *label as usize));
            confusion.add(&[*label], &[most_likely(logits).0]);
        }
        outcomes.push(of_batch);
    }
    Ok((outcomes, confusion))
}

/// The logits of a batch, on the host.
fn evaluate(model: &ImageClassifier, batch: &ImageBatch) -> Result<Vec<f32>, Error> {
    let images = pixels(batch, model.device());
    Ok(model.logits(&images).to_vec()?)
}

impl Task for ImageClassification {
    type Config = VisionConfig;
    type Model = ImageClassifier;
    type Batch = ImageBatch;

    fn name(&self) -> &'static str {
        "image-classification"
    }

    fn unit(&self) -> &'static str {
        "image"
    }

    fn units(&self, batch: usize) -> u64 {
        batch as u64
    }

    fn best(&self) -> Best {
        Best::Highest("top1_accuracy")
    }

    fn config(&self, variant: &VariantConfig, _device: &Device) -> Result<VisionConfig, Error> {
        let mut config = self.settings.model(&self.data, variant);
        if let Some(start) = &self.start {
            config = start.adapt(config, &self.data)?;
        }
        config.check().map_err(Error::Settings)?;
        Ok(config)
    }

    fn build(&self, config: &VisionConfig, builder: &mut Builder) -> ImageClassifier {
        ImageClassifier::new(config, builder)
    }

    fn start(
        &self,
        config: &VisionConfig,
        seed: u64,
        device: &Device,
    ) -> Result<(ImageClassifier, Parameters), Error> {
        let build = |builder: &mut Builder| self.build(config, builder);
        ImageStart::begin(self.start.as_ref(), config, (seed, device), build)
    }

    fn check_start(&self) -> Result<(), Error> {
        self.start.as_ref().map_or(Ok(()), ImageStart::check)
    }

    fn batches(&self, seed: u64, batch: usize) -> Result<Batches<'_, ImageBatch>, Error> {
        training_batches(&self.data, &self.settings, seed, batch)
    }

    fn loss(&self, model: &ImageClassifier, batch: &ImageBatch, dropout: Key) -> Tensor {
        let soft = |labels: &[u32]| {
            SoftTargets::new(labels, self.classes(), self.settings.label_smoothing)
        };
        let mut targets = soft(&batch.labels);
        if let Some(mixed) = &batch.mixed {
            targets = targets.mix(&soft(&mixed.labels), mixed.share);
        }
        model.loss(&pixels(batch, model.device()), &targets, &Pass::training(dropout))
    }

    fn scored(&self, _settings: &Settings, extent: Extent) -> Values {
        images_scored(&self.data, &self.settings, extent)
    }

    fn evaluate(
        &self,
        model: &ImageClassifier,
        settings: &Settings,
        extent: Extent,
        shares: &Shares,
    ) -> Result<Values, Error> {
        let batch = settings.batch;
        let mut scores = Values::default();
        let validation = validation_images(&self.data, &self.settings, batch, extent);
        for (name, score) in self.score(model, &validation, shares)?.values("", self.classes()) {
            scores.set(&name, score);
        }
        if extent == Extent::All {
            let test = self.score(model, &test_images(&self.data, batch), shares)?;
            for (name, score) in test.values("test_", self.classes()) {
                scores.set(&name, score);
            }
        }
        Ok(scores)
    }

    /// The confusion matrix of the validation images, and those that were mistaken most surely.
    fn pictures(&self, model: &ImageClassifier) -> Result<Vec<Picture>, Error> {
        const BATCH: usize = 64;
        let mut confusion = Confusion::new(self.classes());
        let mut mistaken: Vec<Mistake> = Vec::new();
        let images = validation_images(&self.data, &self.settings, BATCH, Extent::All);
        for (number, batch) in images.iter().enumerate() {
            let logits = evaluate(model, &batch)?;
            let rows = logits.chunks_exact(self.classes()).zip(&batch.labels).enumerate();
            for (index, (logits, label)) in rows {
                let (given, probability) = most_likely(logits);
                confusion.add(&[*label], &[given]);
                if given != *label {
                    let image = number * BATCH + index;
                    mistaken.push(Mistake { image, label: *label, given, probability });
                }
            }
        }
        mistaken.sort_by(|a, b| b.probability.total_cmp(&a.probability));
        Ok(vec![
            mistakes(&self.data, &mistaken),
            confusion_matrix(&confusion, &self.data.classes, "images"),
        ])
    }

    /// The encoder on validation images.
    fn trace(&self, model: &ImageClassifier, probes: Range<usize>) -> Result<Option<Trace>, Error> {
        let images = probe_images(&self.data, model.device(), probes);
        Ok(images.map(|images| model.encoder().trace(&images)))
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
