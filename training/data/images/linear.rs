//! What a linear model reaches: how much of the data is too easy to need a better one.

use super::{Augmentation, EvaluationImages, ImageBatch, ImageData, Task, TrainingImages};
use crate::engine::optim::{AdamW, AdamWSettings, Curve, Optimizer, Schedule};
use crate::engine::random::Key;
use crate::engine::{Device, Ids, Initial, Parameters, Result, Tensor, no_grad};

/// How well a linear model does on the test images.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LinearScore {
    /// The share of labels that are right, void left out.
    pub accuracy: f64,
    /// The mean over the classes of right / (right + wrongly given + wrongly not given); for
    /// segmentation the mean intersection over union.
    pub mean_iou: f64,
}

/// Trains logistic regression for `steps` steps and scores it on the test images: the logits are a
/// linear function of the pixels of the whole image for classification, and of the patch of up to
/// 8×8 pixels around them for segmentation.
///
/// # Errors
/// If the device failed.
pub fn linear_baseline(data: &ImageData, steps: u64, device: &Device) -> Result<LinearScore> {
    let (classes, patch) = (data.classes.len(), patch(data));
    let labels = if data.task == Task::Classification { 1 } else { patch[0] * patch[1] };
    let inputs = data.shape.channels * patch[0] * patch[1];
    let ((weight, bias), parameters) = Parameters::build(device, 1, |builder| {
        let outputs = labels * classes;
        let weight = builder.parameter("weight", [outputs, inputs], Initial::Zeros, true);
        (weight, builder.parameter("bias", [outputs], Initial::Zeros, false))
    });
    let logits = |batch: &ImageBatch| {
        let rows = in_patches(batch, patch);
        let rows = Tensor::new(&rows, [rows.len() / inputs, inputs], device);
        rows.linear(&weight, Some(&bias)).reshape([usize::MAX, classes])
    };
    // The labels in the order of the patches.
    let targets = |batch: &ImageBatch| match data.task {
        Task::Classification => batch.labels.clone(),
        Task::Segmentation => {
            in_patches_of(&batch.labels, [batch.shape[0], 1, batch.shape[2], batch.shape[3]], patch)
        }
    };

    // Segmentation has many labels an image.
    let batch = if data.task == Task::Classification { 128 } else { 16 };
    let mut batches = TrainingImages::new(data, batch, Augmentation::none(), Key::new(1));
    let mut optimizer = AdamW::new(&parameters, AdamWSettings::default());
    let schedule = Schedule { curve: Curve::Cosine, peak: 1e-3, ..Schedule::new(steps) };
    let mut gradients = parameters.gradients();
    for step in 0..steps {
        let batch = batches.batch(step);
        let targets = targets(&batch);
        let targets = Ids::new(targets.clone(), [targets.len()]);
        gradients.clear();
        logits(&batch).cross_entropy(&targets, 0.0).backward_into(&mut gradients)?;
        optimizer.step(&parameters, &gradients, schedule.at(step), None);
    }

    // How often each class is right, given, and true.
    let mut counts = vec![[0_u64; 3]; classes];
    for batch in EvaluationImages::new(data, data.splits.test.clone(), batch).iter() {
        let given = no_grad(|| logits(&batch).argmax())?;
        for (given, label) in given.as_slice().iter().zip(targets(&batch)) {
            if label == Ids::IGNORED {
                continue;
            }
            let (given, label) = (*given as usize, label as usize);
            counts[label][0] += u64::from(given == label);
            counts[given][1] += 1;
            counts[label][2] += 1;
        }
    }
    let sum = |which: usize| counts.iter().map(|count| count[which]).sum::<u64>() as f64;
    let present: Vec<_> = counts.iter().filter(|[_, _, labels]| *labels > 0).collect();
    let iou = present
        .iter()
        .map(|[right, given, labels]| *right as f64 / (given + labels - right) as f64);
    Ok(LinearScore { accuracy: sum(0) / sum(2), mean_iou: iou.sum::<f64>() / present.len() as f64 })
}

/// Height and width of what one row of logits is made from.
fn patch(data: &ImageData) -> [usize; 2] {
    let sizes = [data.shape.height, data.shape.width];
    match data.task {
        Task::Classification => sizes,
        Task::Segmentation => sizes.map(|size| {
            (1..=8).rev().find(|patch| size % patch == 0).expect("1 divides all sizes")
        }),
    }
}

/// The pixels of a batch, (image, row of patches, column of patches, channel, row, column).
fn in_patches(batch: &ImageBatch, patch: [usize; 2]) -> Vec<f32> {
    in_patches_of(&batch.pixels, batch.shape, patch)
}

fn in_patches_of<T: Copy>(numbers: &[T], shape: [usize; 4], patch: [usize; 2]) -> Vec<T> {
    let [images, channels, height, width] = shape;
    let mut result = Vec::with_capacity(numbers.len());
    for image in 0..images {
        for top in (0..height).step_by(patch[0]) {
            for left in (0..width).step_by(patch[1]) {
                for channel in 0..channels {
                    for row in top..top + patch[0] {
                        let start = ((image * channels + channel) * height + row) * width + left;
                        result.extend_from_slice(&numbers[start..start + patch[1]]);
                    }
                }
            }
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::corpus::Splits;

    /// Guessing gives a tenth, or the background alone; that is nearly all that a linear model can.
    #[test]
    fn generated_images_are_too_hard_for_a_linear_model() {
        let device = Device::cpu();
        let score = |task, train| {
            let lengths = Splits { train, validation: 10, test: 300 };
            let data = ImageData::generated_of(task, lengths);
            linear_baseline(&data, 100, &device).unwrap()
        };
        let LinearScore { accuracy, .. } = score(Task::Classification, 3_000);
        assert!((0.05..0.25).contains(&accuracy), "{accuracy}");
        let LinearScore { mean_iou, .. } = score(Task::Segmentation, 200);
        assert!((0.05..0.3).contains(&mean_iou), "{mean_iou}");
    }
}
