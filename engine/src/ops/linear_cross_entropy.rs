//! Linear layer and cross-entropy in one: the loss of predicting an id a row from logits z = x Wᵀ,
//! which never exist as a whole. Of a large vocabulary they would be the largest tensor of all.
//!
//! A row's loss is ln Σᵥ e^zᵥ − (1 − ε) z_target − (ε / V) Σᵥ zᵥ, with ε the label smoothing
//! (Szegedy et al. 2016) and V the size of the vocabulary; the result is the mean over the rows
//! that count.
//!
//! Derivative: dz = (softmax(z) − (1 − ε) [v = target] − ε / V) · dy / rows that count, dx = dz W,
//! dW = dzᵀ x. When these will be needed they are made in the forward pass, while a chunk of z is
//! at hand, for dy = 1; they are what is saved, and backward multiplies them by dy. Cost: 2 flops a
//! row, id and input, three times that with gradients; x and W are read once for each chunk.

mod cpu;

use crate::autograd::{GradientContext, Op, Saved, Saves, apply_built_in, is_recording};
use crate::device::cpu::scratch::cut;
use crate::device::cpu::simd;
use crate::device::gpu::products::{Matrix, Product, Tiling};
use crate::device::{Cost, Kernel, View, ViewMut};
use crate::gpu::{Binding, Class, Recorder};
use crate::proof::{Array64, Case, Proven};
use crate::{Ids, Shape, Tensor, uniforms};

impl Tensor {
    /// The mean cross-entropy, in nats, of `targets` (an id a row) under the logits x Wᵀ, with x of
    /// shape (…, width) and `weight` of shape (vocabulary, width). Rows whose target is
    /// [`Ids::IGNORED`] are left out; if that is all of them the loss is 0. Of each target the
    /// share `label_smoothing` (0 to 1) is spread evenly over the vocabulary.
    ///
    /// # Panics
    /// If the shapes do not fit, a target is not in the vocabulary, or the smoothing is not
    /// between 0 and 1.
    ///
    /// ```
    /// use neutreno_engine::{Device, Ids, Tensor};
    /// let device = Device::cpu();
    /// let x = Tensor::new(&[0.0, 0.0], [1, 2], &device);
    /// let weight = Tensor::new(&[1.0; 8], [4, 2], &device);
    /// let loss = x.linear_cross_entropy(&weight, &Ids::new(vec![3], [1]), 0.0);
    /// assert!((loss.to_scalar()? - 4_f32.ln()).abs() < 1e-6);
    /// # Ok::<(), neutreno_engine::Error>(())
    /// ```
    #[track_caller]
    pub fn linear_cross_entropy(
        &self,
        weight: &Tensor,
        targets: &Ids,
        label_smoothing: f32,
    ) -> Tensor {
        let gradients = [self, weight].map(|input| is_recording(&[input]));
        let targets = targets.clone();
        let tiling = Tiling::default();
        let op = LinearCrossEntropy { targets, label_smoothing, gradients, by_row: false, tiling };
        let [loss] = apply_built_in(op, &[self, weight]);
        loss
    }

    /// The cross-entropy of each row, in nats, of shape (rows); 0 where the target is
    /// [`Ids::IGNORED`]. For evaluation: their sum over a whole text can be taken in f64. It has
    /// no derivative.
    ///
    /// # Panics
    /// As [`Tensor::linear_cross_entropy`], and if a gradient would be recorded: use it inside
    /// [`no_grad`](crate::no_grad).
    ///
    /// ```
    /// use neutreno_engine::{Device, Ids, Tensor};
    /// let device = Device::cpu();
    /// let x = Tensor::new(&[0.0; 4], [2, 2], &device);
    /// let weight = Tensor::new(&[1.0; 8], [4, 2], &device);
    /// let targets = Ids::new(vec![3, Ids::IGNORED], [2]);
    /// let nats = x.linear_cross_entropy_rows(&weight, &targets).to_vec()?;
    /// let sum: f64 = nats.iter().map(|nats| f64::from(*nats)).sum();
    /// assert!((sum - 4_f64.ln()).abs() < 1e-6);
    /// # Ok::<(), neutreno_engine::Error>(())
    /// ```
    #[track_caller]
    pub fn linear_cross_entropy_rows(&self, weight: &Tensor, targets: &Ids) -> Tensor {
        let op = LinearCrossEntropy {
            targets: targets.clone(),
            label_smoothing: 0.0,
            gradients: [false; 2],
            by_row: true,
            tiling: Tiling::default(),
        };
        let [losses] = apply_built_in(op, &[self, weight]);
        losses
    }
}

/// The cross-entropy of x Wᵀ: the mean, or a number a row.
#[derive(Clone, Debug)]
pub struct LinearCrossEntropy {
    /// An id a row.
    pub targets: Ids,
    /// The share of a target that is spread evenly.
    pub label_smoothing: f32,
    /// Whether the gradients of x and W are made.
    pub gradients: [bool; 2],
    /// Whether the result is each row's loss instead of the mean.
    pub by_row: bool,
    /// How a GPU makes the products.
    pub tiling: Tiling,
}

impl LinearCrossEntropy {
    /// The rows that count.
    fn counted(&self) -> usize {
        self.targets.as_slice().iter().filter(|target| **target != Ids::IGNORED).count()
    }

    /// The sizes that decide how the CPU cuts the work.
    fn sizes(&self, x: &Shape, weight: &Shape) -> cpu::Sizes {
        let (vocabulary, width) = (weight[0], weight[1]);
        let chunk = chunk(x.rows(), vocabulary);
        cpu::Sizes { width, vocabulary, chunk, needs_d_x: self.gradients[0] }
    }

    /// 1 / the rows that count.
    fn scale(&self) -> f32 {
        1.0 / self.counted().max(1) as f32
    }
}

/// The rows whose logits exist at the same time: chunks of like size, so that all are worth their
/// products.
fn chunk(rows: usize, vocabulary: usize) -> usize {
    const LOGITS: usize = 9 << 20;
    let most = (LOGITS / vocabulary).clamp(64, 1024);
    rows.div_ceil(rows.div_ceil(most)).next_multiple_of(16).min(rows)
}

/// The same on a GPU: whole squares of its products, so that none is made for few rows. On hardware they are
/// many, so that each dispatch has work for all of it, and W is read seldom: as many as fit into the
/// smallest binding that any GPU allows, and no more than it takes to be busy.
fn gpu_chunk(rows: usize, vocabulary: usize, class: Class) -> usize {
    const SQUARE: usize = 128;
    const LOGITS: usize = (128 << 20) / 4;
    const ENOUGH: usize = 2048;
    if !class.shared_tiles {
        return chunk(rows, vocabulary).next_multiple_of(SQUARE).min(rows);
    }
    let most = (LOGITS / vocabulary / SQUARE * SQUARE).clamp(SQUARE, ENOUGH);
    rows.div_ceil(rows.div_ceil(most)).next_multiple_of(SQUARE).min(rows)
}

/// Where among the kernel's outputs the saved gradients begin: after the mean and the losses.
const GRADIENTS: usize = 2;

impl Kernel for LinearCrossEntropy {
    fn name(&self) -> &'static str {
        "linear_cross_entropy"
    }

    fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>, String> {
        let [x, weight] = [inputs[0], inputs[1]];
        if weight.rank() != 2 || x.rank() == 0 || x.last() != weight[1] {
            return Err("it takes (…, width) and a weight of (vocabulary, width)".into());
        }
        let (rows, vocabulary) = (x.rows(), weight[0]);
        if rows == 0 || vocabulary == 0 {
            return Err("there is nothing to predict".into());
        }
        self.targets.check_targets(rows, vocabulary)?;
        if !(0.0..=1.0).contains(&self.label_smoothing) {
            return Err(format!("a label smoothing of {}, not 0 to 1", self.label_smoothing));
        }
        let losses = Shape::from([rows]);
        let mut outputs = if self.by_row { vec![losses] } else { vec![Shape::from([]), losses] };
        let needed = inputs.iter().zip(self.gradients).filter(|(_, needed)| *needed);
        outputs.extend(needed.map(|(shape, _)| *shape));
        Ok(outputs)
    }

    fn cost(&self, inputs: &[Shape]) -> Cost {
        let [x, weight] = [inputs[0], inputs[1]];
        let products = 1 + self.gradients.iter().filter(|needed| **needed).count();
        let chunks = x.rows().div_ceil(chunk(x.rows(), weight[0]).max(1));
        let moved = products * (x.elements() + chunks * weight.elements());
        let logits = x.rows() * weight[0];
        Cost::elementwise(logits, (2 * products * weight[1] + 4) as u64, moved)
    }

    fn scratch(&self, inputs: &[Shape], _threads: usize) -> Option<usize> {
        let sizes = self.sizes(&inputs[0], &inputs[1]);
        Some(sizes.chunk * sizes.vocabulary + sizes.scratch())
    }

    fn cpu(&self, inputs: &[View], outputs: &mut [ViewMut]) {
        let [x, weight] = [&inputs[0], &inputs[1]];
        let (scratch, outputs) = outputs.split_last_mut().expect("the working memory");
        let (mean, outputs) = outputs.split_at_mut(usize::from(!self.by_row));
        let mut outputs = outputs.iter_mut().map(|output| &mut *output.data);
        let losses = outputs.next().expect("losses");
        let [d_x, d_weight] = self
            .gradients
            .map(|needed| if needed { outputs.next().expect("a gradient") } else { &mut [] });
        let sizes = self.sizes(&x.shape, &weight.shape);
        let mut scratch: &mut [f32] = scratch;
        let logits = cut(&mut scratch, sizes.chunk * sizes.vocabulary);
        let problem = cpu::Problem {
            x: x.data,
            weight: weight.data,
            targets: self.targets.as_slice(),
            sizes,
            label_smoothing: self.label_smoothing,
            scale: self.scale(),
        };
        let results = cpu::Results { losses: &mut *losses, d_x, d_weight, logits, scratch };
        cpu::run(&problem, results);
        if let [mean] = mean {
            let sum: f64 = losses.iter().map(|loss| f64::from(*loss)).sum();
            mean[0] = (sum / self.counted().max(1) as f64) as f32;
        }
    }

    fn gpu(&self, inputs: &[Binding], outputs: &[Binding], gpu: &mut Recorder) {
        let (rows, width) = (inputs[0].shape.rows(), inputs[0].shape.last());
        let vocabulary = inputs[1].shape[0];
        let (mean, outputs) = outputs.split_at(usize::from(!self.by_row));
        let losses = &outputs[0];
        let mut gradients = outputs[1..].iter();
        let [d_x, d_weight] =
            self.gradients.map(|needed| if needed { gradients.next() } else { None });
        let x = Matrix::new(&inputs[0], rows, width);
        let weight = Matrix::new(&inputs[1], vocabulary, width);
        let targets = gpu.ids(&self.targets);
        let needed = self.gradients.contains(&true);
        let tiling = self.tiling;
        let step = gpu_chunk(rows, vocabulary, gpu.class());
        let logits_memory = &gpu.scratch([step, vocabulary]);
        for first in (0..rows).step_by(step) {
            let count = step.min(rows - first);
            let x = x.rows(first, count);
            let logits = Matrix::new(logits_memory, count, vocabulary);
            let product = Product::new(logits, x, weight.transposed_if(true));
            Product { tiling, ..product }.record(gpu);
            let uniforms = uniforms! {
                rows: count,
                first,
                vocabulary,
                has_gradient: needed,
                label_smoothing: self.label_smoothing,
                scale: self.scale(),
            };
            let results = [logits_memory, losses];
            gpu.dispatch_rows("linear_cross_entropy_rows", &[&targets], &results, uniforms, count);
            if let Some(d_x) = d_x {
                let d_x = Matrix::new(d_x, rows, width).rows(first, count);
                Product { tiling, ..Product::new(d_x, logits, weight) }.record(gpu);
            }
            if let Some(d_weight) = d_weight {
                let d_weight = Matrix::new(d_weight, vocabulary, width);
                let product = Product::new(d_weight, logits.transposed_if(true), x);
                Product { tiling, add: first > 0, ..product }.record(gpu);
            }
        }
        if let [mean] = mean {
            let uniforms = uniforms! { rows, scale: self.scale() };
            gpu.dispatch_rows("cross_entropy_mean", &[losses], &[mean], uniforms, 1);
        }
    }
}

impl Op for LinearCrossEntropy {
    fn saves(&self) -> Saves {
        let outputs: &[usize] = match self.gradients {
            [true, true] => &[GRADIENTS, GRADIENTS + 1],
            [false, false] => &[],
            _ => &[GRADIENTS],
        };
        Saves { inputs: &[], outputs }
    }

    fn no_derivative(&self) -> Option<&'static str> {
        self.by_row.then_some("losses by row are for evaluation, inside no_grad")
    }

    fn backward(&self, saved: &Saved, context: &mut GradientContext) {
        let factor = context.of_output(0);
        let made = [0, 1].into_iter().filter(|input| self.gradients[*input]);
        for (index, input) in made.enumerate() {
            context.accumulate_with(&ScaleBy, &[saved.get(index), &factor], &[input]);
        }
    }
}

impl Proven for LinearCrossEntropy {
    fn reference(&self, inputs: &[Array64]) -> Vec<Array64> {
        let [x, weight] = [&inputs[0], &inputs[1]];
        let smoothing = f64::from(self.label_smoothing);
        let loss = |(row, target): (usize, &u32)| {
            if *target == Ids::IGNORED {
                return 0.0;
            }
            let product = |id: usize| x.row(row).iter().zip(weight.row(id)).map(|(x, w)| x * w);
            let logits: Vec<f64> =
                (0..weight.shape[0]).map(|id| product(id).sum::<f64>()).collect();
            let largest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let sum: f64 = logits.iter().map(|logit| (logit - largest).exp()).sum();
            let mean = logits.iter().sum::<f64>() / logits.len() as f64;
            let aim = (1.0 - smoothing) * logits[*target as usize] + smoothing * mean;
            largest + sum.ln() - aim
        };
        let losses: Vec<f64> = self.targets.as_slice().iter().enumerate().map(loss).collect();
        let counted = losses.len() - ignored(self.targets.as_slice());
        let mean = losses.iter().sum::<f64>() / counted.max(1) as f64;
        let result = match self.by_row {
            true => Array64::new(losses, [x.shape.rows()]),
            false => Array64::new(vec![mean], []),
        };
        vec![result.with_magnitude(1.0)]
    }

    fn cases() -> Vec<Case> {
        let mut cases = Vec::new();
        for tiling in [Tiling::Shared, Tiling::Registers] {
            let case = |label: &str, shape: &[usize], vocabulary: usize, size: f32, smoothing| {
                let shape = Shape::new(shape);
                let target = |row: usize| match row % 5 {
                    3 => Ids::IGNORED,
                    _ => (row * 7919 % vocabulary) as u32,
                };
                let targets: Vec<u32> = (0..shape.rows()).map(target).collect();
                let op = LinearCrossEntropy {
                    targets: Ids::new(targets, [shape.rows()]),
                    label_smoothing: smoothing,
                    gradients: [label != "losses by row"; 2],
                    by_row: label == "losses by row",
                    tiling,
                };
                Case::new(format!("{label}, {tiling:?}"), op)
                    .between(shape, -size, size)
                    .input([vocabulary, shape.last()])
            };
            cases.push(case("one id", &[1, 1], 1, 1.0, 0.0));
            cases.push(case("few", &[3, 5], 3, 1.0, 0.0));
            cases.push(case("smoothed", &[2, 4, 3], 17, 1.0, 0.25));
            cases.push(case("several blocks", &[65, 9], 257, 1.0, 0.1));
            cases.push(case("several chunks", &[1100, 3], 40, 1.0, 0.1));
            cases.push(case("a large vocabulary", &[5, 2], 8301, 1.0, 0.0));
            cases.push(case("large logits", &[7, 4], 63, 300.0, 0.0).tolerance(1e-4));
            cases.push(case("losses by row", &[2, 9, 5], 65, 1.0, 0.0));
        }
        cases
    }
}

fn ignored(targets: &[u32]) -> usize {
    targets.iter().filter(|target| **target == Ids::IGNORED).count()
}

/// y = x · s with a number s that is on the device, or y += that.
#[derive(Clone, Debug)]
struct ScaleBy;

impl Kernel for ScaleBy {
    fn name(&self) -> &'static str {
        "linear_cross_entropy_scale"
    }

    fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>, String> {
        Ok(vec![inputs[0]])
    }

    fn cost(&self, inputs: &[Shape]) -> Cost {
        Cost::elementwise(inputs[0].elements(), 1, 2 * inputs[0].elements())
    }

    fn adds(&self, _output: usize) -> bool {
        true
    }

    fn cpu(&self, inputs: &[View], outputs: &mut [ViewMut]) {
        let (x, factor) = (inputs[0].data, inputs[1][0]);
        let add = outputs[0].add;
        simd::for_chunks(&mut outputs[0], |start, y| {
            let pairs = y.iter_mut().zip(&x[start..]);
            if add {
                pairs.for_each(|(y, x)| *y += factor * x);
            } else {
                pairs.for_each(|(y, x)| *y = factor * x);
            }
        });
    }

    fn gpu(&self, inputs: &[Binding], outputs: &[Binding], gpu: &mut Recorder) {
        let elements = inputs[0].shape.elements();
        let uniforms = uniforms! { elements, add: outputs[0].add };
        let (name, inputs) = (self.name(), [&inputs[0], &inputs[1]]);
        gpu.dispatch_elements(name, &inputs, &[&outputs[0]], uniforms, elements);
    }
}
