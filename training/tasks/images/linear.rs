//! What a linear model reaches: how much of the data is too easy to need a better one.

use super::Confusion;
use crate::data::images::{
    Augmentation, EvaluationImages, ImageBatch, ImageData, Task, TrainingImages,
};
use crate::engine::optim::{AdamW, AdamWSettings, Curve, Optimizer, Schedule};
use crate::engine::random::Key;
use crate::engine::{Device, Ids, Initial, Parameters, Result, Tensor, no_grad};

/// Trains logistic regression for `steps` steps and counts what it takes the test images, or their
/// pixels, for. The logits are a linear function of the pixels of the whole image for
/// classification, and of the patch of up to 8×8 pixels around them for segmentation.
///
/// # Errors
/// If the device failed.
pub fn linear_baseline(data: &ImageData, steps: u64, device: &Device) -> Result<Confusion> {
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
    let mut confusion = Confusion::new(classes);
    for batch in EvaluationImages::new(data, data.splits.test.clone(), batch).iter() {
        let given = no_grad(|| logits(&batch).argmax())?;
        confusion.add(&targets(&batch), given.as_slice());
    }
    Ok(confusion)
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
    use crate::data::Splits;

    /// Guessing gives a tenth, or the background alone; that is nearly all that a linear model can.
    #[test]
    fn generated_images_are_too_hard_for_a_linear_model() {
        let device = Device::cpu();
        let score = |task, train| {
            let lengths = Splits { train, validation: 10, test: 300 };
            let data = ImageData::generated_of(task, lengths);
            linear_baseline(&data, 100, &device).unwrap()
        };
        let accuracy = score(Task::Classification, 3_000).accuracy();
        assert!((0.05..0.25).contains(&accuracy), "{accuracy}");
        let mean_iou = score(Task::Segmentation, 200).mean_iou();
        assert!((0.05..0.3).contains(&mean_iou), "{mean_iou}");
    }
}
