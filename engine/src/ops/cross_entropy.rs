//! Cross-entropy of logits x (rows, classes) with target classes t, averaged over the rows that
//! count: the loss of a row is −Σ_c q_c log p_c with p = softmax(x) and, with label smoothing ε,
//! q_c = (1 − ε)·[c = t] + ε / classes (Szegedy et al. 2016; as PyTorch computes it).
//!
//! With the maximum m of a row: log p_c = (x_c − m) − log Σ exp(x − m), which neither overflows nor
//! loses the small difference of large logits. Derivative: dx = dloss · (p − q) / count.
//! Saves the logits, and m and the logarithm of each row. Cost an element: 4 flops and 4 bytes
//! forward; 5 flops and 8 bytes backward.

use super::rows;
use crate::autograd::{GradientContext, Op, Saved, Saves, apply_built_in};
use crate::device::cpu::tasks::Tasks;
use crate::device::cpu::{math, simd};
use crate::device::{Cost, Kernel, View, ViewMut};
use crate::gpu::{Binding, Recorder};
use crate::proof::{Array64, Case, Proven};
use crate::{Ids, Shape, Tensor, uniforms};
use rayon::prelude::*;

impl Tensor {
    /// The mean cross-entropy, in nats, of these logits (…, classes) with `targets` (…), a scalar.
    /// Rows whose target is [`Ids::IGNORED`] are left out of the mean and get no gradient; if all
    /// are, the loss is 0. `label_smoothing` is the part of each target that is spread evenly over
    /// all classes, from 0 to 1.
    ///
    /// # Panics
    /// If the shapes do not fit, a target is not below the number of classes, or the smoothing is
    /// outside 0..=1.
    ///
    /// ```
    /// use neutreno_engine::{Device, Ids, Tensor};
    /// let logits = Tensor::zeros([2, 4], &Device::cpu());
    /// let targets = Ids::new(vec![3, Ids::IGNORED], [2]);
    /// let loss = logits.cross_entropy(&targets, 0.0).to_scalar()?;
    /// assert!((loss - 4f32.ln()).abs() < 1e-6);
    /// # Ok::<(), neutreno_engine::Error>(())
    /// ```
    #[track_caller]
    pub fn cross_entropy(&self, targets: &Ids, label_smoothing: f32) -> Tensor {
        let (shape, rows) = (self.shape(), targets.shape());
        let fits = shape.rank() > 0 && shape[..shape.rank() - 1] == rows[..];
        assert!(fits, "cross_entropy: logits of shape {shape} and targets of shape {rows}");
        let smoothing = label_smoothing;
        assert!((0.0..=1.0).contains(&smoothing), "cross_entropy: label smoothing of {smoothing}");
        let [loss] = apply_built_in(CrossEntropy::new(targets, smoothing), &[self]);
        loss
    }
}

/// The mean loss. Outputs: the loss; for each row, the maximum m and log Σ exp(x − m).
#[derive(Clone, Debug)]
pub struct CrossEntropy {
    targets: Ids,
    smoothing: f32,
    /// 1 / the number of rows that count; 0 if there are none.
    factor: f32,
}

impl CrossEntropy {
    /// The loss for these targets, each a class or [`Ids::IGNORED`].
    pub fn new(targets: &Ids, smoothing: f32) -> CrossEntropy {
        let counted = targets.as_slice().iter().filter(|target| **target != Ids::IGNORED).count();
        let factor = if counted == 0 { 0.0 } else { 1.0 / counted as f32 };
        CrossEntropy { targets: targets.clone(), smoothing, factor }
    }
}

impl Kernel for CrossEntropy {
    fn name(&self) -> &'static str {
        "cross_entropy"
    }

    fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>, String> {
        rows::check_rows(&inputs[0])?;
        self.targets.check_targets(inputs[0].rows(), inputs[0].last())?;
        Ok(vec![Shape::from([]), Shape::from([inputs[0].rows(), 2])])
    }

    fn cost(&self, inputs: &[Shape]) -> Cost {
        Cost::elementwise(inputs[0].elements(), 4, inputs[0].elements())
    }

    fn scratch(&self, inputs: &[Shape], _threads: usize) -> Option<usize> {
        Some(inputs[0].rows())
    }

    fn cpu(&self, inputs: &[View], outputs: &mut [ViewMut]) {
        let (x, width) = (inputs[0].data, inputs[0].shape.last());
        let [loss, statistics, losses] = outputs else {
            unreachable!("the loss, the statistics and the working memory")
        };
        let rows = simd::rows_per_task(width);
        let tasks = losses.par_chunks_mut(rows).zip(statistics.par_chunks_mut(2 * rows));
        tasks.enumerate().each(|(task, (losses, statistics))| {
            let targets = &self.targets.as_slice()[task * rows..];
            let x = &x[task * rows * width..];
            simd::vectorized(Forward { op: self, x, width, targets, losses, statistics });
        });
        loss[0] = simd::vectorized(|| simd::sum(losses)) * self.factor;
    }

    fn gpu(&self, inputs: &[Binding], outputs: &[Binding], gpu: &mut Recorder) {
        let (rows, width) = (inputs[0].shape.rows(), inputs[0].shape.last());
        let losses = gpu.scratch([rows]);
        let targets = gpu.ids(&self.targets);
        let made = [&losses, &outputs[1]];
        let uniforms = uniforms! { rows, width, smoothing: self.smoothing };
        gpu.dispatch_rows("cross_entropy_forward", &[&inputs[0], &targets], &made, uniforms, rows);
        let uniforms = uniforms! { rows, scale: self.factor };
        gpu.dispatch_rows("cross_entropy_mean", &[&losses], &[&outputs[0]], uniforms, 1);
    }
}

/// Some rows.
struct Forward<'a> {
    op: &'a CrossEntropy,
    x: &'a [f32],
    width: usize,
    targets: &'a [u32],
    losses: &'a mut [f32],
    statistics: &'a mut [f32],
}

impl simd::Body for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let x = self.x.chunks_exact(self.width).zip(self.targets);
        let results = self.losses.iter_mut().zip(self.statistics.chunks_exact_mut(2));
        for ((x, target), (loss, statistics)) in x.zip(results) {
            let largest = simd::maximum(x);
            let log_sum = simd::sum_of(x, |x| math::exp(x - largest)).ln();
            statistics.copy_from_slice(&[largest, log_sum]);
            *loss = self.op.row_loss(x, *target, largest, log_sum);
        }
    }
}

impl CrossEntropy {
    #[inline(always)]
    fn row_loss(&self, x: &[f32], target: u32, largest: f32, log_sum: f32) -> f32 {
        if target == Ids::IGNORED {
            return 0.0;
        }
        let loss = log_sum - (1.0 - self.smoothing) * (x[target as usize] - largest);
        if self.smoothing == 0.0 {
            return loss;
        }
        loss - self.smoothing * simd::sum_of(x, |x| x - largest) / x.len() as f32
    }
}

/// dx from x, the statistics of its rows, and dloss.
#[derive(Clone, Debug)]
struct CrossEntropyBackward(CrossEntropy);

impl Kernel for CrossEntropyBackward {
    fn name(&self) -> &'static str {
        "cross_entropy_backward"
    }

    fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>, String> {
        Ok(vec![inputs[0]])
    }

    fn cost(&self, inputs: &[Shape]) -> Cost {
        Cost::elementwise(inputs[0].elements(), 5, 2 * inputs[0].elements())
    }

    fn cpu(&self, inputs: &[View], outputs: &mut [ViewMut]) {
        let [x, statistics, dloss] = [0, 1, 2].map(|input| inputs[input].data);
        let (width, factor) = (inputs[0].shape.last(), dloss[0] * self.0.factor);
        let body = Backward { op: &self.0, x, width, statistics, factor };
        simd::for_long_rows(&mut outputs[0], width, &body);
    }

    fn gpu(&self, inputs: &[Binding], outputs: &[Binding], gpu: &mut Recorder) {
        let CrossEntropy { targets, smoothing, factor } = &self.0;
        let shape = inputs[0].shape;
        let (rows, width) = (shape.rows(), shape.last());
        let uniforms = uniforms! { rows, width, smoothing: *smoothing, scale: *factor };
        let targets = gpu.ids(targets);
        let inputs = [&inputs[0], &targets, &inputs[1], &inputs[2]];
        let elements = shape.elements();
        let entry_point = "cross_entropy_backward";
        gpu.dispatch_elements(entry_point, &inputs, &[&outputs[0]], uniforms, elements);
    }
}

struct Backward<'a> {
    op: &'a CrossEntropy,
    x: &'a [f32],
    width: usize,
    statistics: &'a [f32],
    /// dloss / the number of rows that count.
    factor: f32,
}

impl simd::Rows for Backward<'_> {
    #[inline(always)]
    fn make(&self, first: usize, rows: &mut [f32]) {
        let Backward { op, x, width, statistics, factor } = *self;
        let even = op.smoothing / width as f32;
        for (row, dx) in (first..).zip(rows.chunks_exact_mut(width)) {
            let target = op.targets.as_slice()[row];
            if target == Ids::IGNORED {
                dx.fill(0.0);
                continue;
            }
            let [largest, log_sum] = [statistics[2 * row], statistics[2 * row + 1]];
            for (dx, x) in dx.iter_mut().zip(&x[row * width..(row + 1) * width]) {
                *dx = factor * (math::exp((x - largest) - log_sum) - even);
            }
            dx[target as usize] -= factor * (1.0 - op.smoothing);
        }
    }
}

impl Op for CrossEntropy {
    fn saves(&self) -> Saves {
        Saves { inputs: &[0], outputs: &[1] }
    }

    fn backward(&self, saved: &Saved, context: &mut GradientContext) {
        let gradient = context.of_output(0);
        let kernel = CrossEntropyBackward(self.clone());
        context.accumulate_with(&kernel, &[saved.get(0), saved.get(1), &gradient], &[0]);
    }
}

impl Proven for CrossEntropy {
    fn reference(&self, inputs: &[Array64]) -> Vec<Array64> {
        let width = inputs[0].shape.last();
        let smoothing = f64::from(self.smoothing);
        let targets = self.targets.as_slice().iter().enumerate();
        let losses: Vec<f64> = targets
            .filter(|(_, target)| **target != Ids::IGNORED)
            .map(|(row, target)| {
                let x = inputs[0].row(row);
                let largest = x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let sum: f64 = x.iter().map(|x| (x - largest).exp()).sum();
                let log_p = |class: usize| x[class] - largest - sum.ln();
                let mean = (0..width).map(log_p).sum::<f64>() / width as f64;
                -(1.0 - smoothing) * log_p(*target as usize) - smoothing * mean
            })
            .collect();
        vec![Array64::full(
            Shape::from([]),
            losses.iter().sum::<f64>() / losses.len().max(1) as f64,
        )]
    }

    fn cases() -> Vec<Case> {
        let case = |rows: usize, classes: usize, smoothing: f32, size: f32, ignored: usize| {
            // Every so many rows are ignored.
            let target = |row: usize| match row % ignored {
                0 => Ids::IGNORED,
                _ => (row * 7 % classes) as u32,
            };
            let targets: Vec<u32> = (0..rows).map(target).collect();
            let op = CrossEntropy::new(&Ids::new(targets, [rows]), smoothing);
            let label =
                format!("[{rows}, {classes}] up to {size}, smoothing {smoothing}, {ignored}");
            Case::new(label, op).between([rows, classes], -size, size)
        };
        vec![
            case(2, 1, 0.0, 1.0, 9),
            case(3, 3, 0.1, 1.0, 9),
            case(3, 5, 0.0, 1.0, 1),
            case(17, 65, 1.0, 1.0, 4),
            case(63, 257, 0.1, 5.0, 4),
            case(5, 9_001, 0.0, 1.0, 9),
            case(3_000, 17, 0.05, 1.0, 4),
            case(4, 17, 0.1, 1e4, 9),
        ]
    }
}
