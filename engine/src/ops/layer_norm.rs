//! Layer norm: y = w ⊙ x̂ + b with x̂ = (x − μ) / σ, μ = mean(x) and σ = √(mean((x − μ)²) + ε), over
//! the last axis (Ba et al. 2016, "Layer normalization").
//!
//! Derivative, with g = w ⊙ dy: dx = (g − mean(g) − x̂ · mean(g ⊙ x̂)) / σ; dw = Σ dy ⊙ x̂ and
//! db = Σ dy over the rows. Saves x, w, and μ and 1/σ of each row. Cost an element: 7 flops and
//! 8 bytes forward; 13 flops and 12 bytes backward.
//!
//! The CPU makes dx and its parts of dw and db in one pass over each block of rows; then the parts
//! are summed in the order of the blocks.

use super::rows;
use crate::autograd::{GradientContext, Op, Saved, Saves, apply_built_in};
use crate::device::cpu::scratch::{Slots, cut};
use crate::device::cpu::simd;
use crate::device::cpu::tasks::Tasks;
use crate::device::{Cost, Kernel, View, ViewMut};
use crate::gpu::{Binding, Recorder};
use crate::proof::{Array64, Case, Proven};
use crate::{Shape, Tensor, uniforms};
use rayon::prelude::*;

impl Tensor {
    /// Each row of the last axis with its mean taken off and divided by its standard deviation,
    /// times `weight`, plus `bias` (one number a column each). `epsilon` is added to the variance.
    ///
    /// # Panics
    /// If the weight or the bias does not have the size of the last axis.
    ///
    /// ```
    /// use neutreno_engine::{Device, Tensor};
    /// let device = Device::cpu();
    /// let x = Tensor::new(&[1.0, 3.0], [2], &device);
    /// let (weight, bias) = (Tensor::full(1.0, [2], &device), Tensor::full(0.5, [2], &device));
    /// assert_eq!(x.layer_norm(&weight, &bias, 0.0).to_vec()?, [-0.5, 1.5]);
    /// # Ok::<(), neutreno_engine::Error>(())
    /// ```
    #[track_caller]
    pub fn layer_norm(&self, weight: &Tensor, bias: &Tensor, epsilon: f32) -> Tensor {
        let [y] = apply_built_in(LayerNorm { epsilon }, &[self, weight, bias]);
        y
    }
}

/// y = w ⊙ x̂ + b. Outputs: y; μ and 1/σ of each row.
#[derive(Clone, Debug)]
pub struct LayerNorm {
    /// Added to the variance.
    pub epsilon: f32,
}

impl Kernel for LayerNorm {
    fn name(&self) -> &'static str {
        "layer_norm"
    }

    fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>, String> {
        rows::check_weight("weight", &inputs[0], &inputs[1])?;
        rows::check_weight("bias", &inputs[0], &inputs[2])?;
        Ok(vec![inputs[0], Shape::from([inputs[0].rows(), 2])])
    }

    fn cost(&self, inputs: &[Shape]) -> Cost {
        Cost::elementwise(inputs[0].elements(), 7, 2 * inputs[0].elements())
    }

    fn cpu(&self, inputs: &[View], outputs: &mut [ViewMut]) {
        let [x, weight, bias] = [0, 1, 2].map(|input| inputs[input].data);
        let [y, statistics] = outputs else { unreachable!("y and the statistics") };
        let width = weight.len();
        let rows = simd::rows_per_task(width);
        let tasks = y.par_chunks_mut(rows * width).zip(statistics.par_chunks_mut(2 * rows));
        tasks.enumerate().each(|(task, (y, statistics))| {
            let x = &x[task * rows * width..];
            simd::vectorized(Forward { x, weight, bias, epsilon: self.epsilon, y, statistics });
        });
    }

    fn gpu(&self, inputs: &[Binding], outputs: &[Binding], gpu: &mut Recorder) {
        let shape = inputs[0].shape;
        let uniforms = uniforms! {
            rows: shape.rows(),
            width: shape.last(),
            epsilon: self.epsilon,
        };
        let inputs: Vec<&Binding> = inputs.iter().collect();
        let outputs: Vec<&Binding> = outputs.iter().collect();
        gpu.dispatch_rows("layer_norm_forward", &inputs, &outputs, uniforms, shape.rows());
    }
}

/// Some rows.
struct Forward<'a> {
    x: &'a [f32],
    weight: &'a [f32],
    bias: &'a [f32],
    epsilon: f32,
    y: &'a mut [f32],
    statistics: &'a mut [f32],
}

impl simd::Body for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let width = self.weight.len();
        let pairs = self.x.chunks_exact(width).zip(self.y.chunks_exact_mut(width));
        for ((x, y), statistics) in pairs.zip(self.statistics.chunks_exact_mut(2)) {
            let mean = simd::sum(x) / width as f32;
            let squares = simd::sum_of(x, |x| (x - mean) * (x - mean));
            let inverse = 1.0 / (squares / width as f32 + self.epsilon).sqrt();
            statistics.copy_from_slice(&[mean, inverse]);
            let columns = self.weight.iter().zip(self.bias);
            for ((y, x), (w, b)) in y.iter_mut().zip(x).zip(columns) {
                *y = (x - mean) * inverse * w + b;
            }
        }
    }
}

/// dx, dw and db, those that are needed, from x, w, the statistics and dy.
#[derive(Clone, Debug)]
struct LayerNormBackward {
    needs: [bool; 3],
}

impl Kernel for LayerNormBackward {
    fn name(&self) -> &'static str {
        "layer_norm_backward"
    }

    fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>, String> {
        let shapes = [inputs[0], inputs[1], inputs[1]];
        Ok(rows::targets(&self.needs).iter().map(|input| shapes[*input]).collect())
    }

    fn cost(&self, inputs: &[Shape]) -> Cost {
        Cost::elementwise(inputs[0].elements(), 13, 3 * inputs[0].elements())
    }

    fn adds(&self, _output: usize) -> bool {
        true
    }

    fn scratch(&self, inputs: &[Shape], threads: usize) -> Option<usize> {
        let (rows, width) = (inputs[0].rows(), inputs[0].last());
        let tasks = simd::row_tasks(rows, width);
        let weights = self.needs[1..].iter().filter(|needed| **needed).count();
        Some(
            weights * (tasks * width + rows::parts_scratch(tasks, width))
                + Slots::elements(2 * width, tasks, threads),
        )
    }

    fn cpu(&self, inputs: &[View], outputs: &mut [ViewMut]) {
        let [x, weight, statistics, dy] = [0, 1, 2, 3].map(|input| inputs[input].data);
        let width = weight.len();
        let rows = simd::rows_per_task(width);
        let count = inputs[0].shape.rows().div_ceil(rows);
        let (scratch, outputs) = outputs.split_last_mut().expect("the working memory");
        let mut scratch: &mut [f32] = scratch;
        let [dx, dw, db] = rows::needed(self.needs, outputs.iter_mut());
        let (dx, add) = rows::elements(dx);
        let sizes = [count * width, rows::parts_scratch(count, width)];
        let mut memory = |output: &Option<&mut ViewMut>| {
            sizes.map(|size| cut(&mut scratch, if output.is_some() { size } else { 0 }))
        };
        let [[dw_parts, of_dw], [db_parts, of_db]] = [memory(&dw), memory(&db)];
        let buffers = Slots::new(scratch, 2 * width);
        let dx_chunks = simd::chunks_or_empty(dx, rows * width, count).into_par_iter();
        let dw_chunks = simd::chunks_or_empty(dw_parts, width, count).into_par_iter();
        let db_chunks = simd::chunks_or_empty(db_parts, width, count).into_par_iter();
        let tasks = dx_chunks.zip(dw_chunks).zip(db_chunks).enumerate();
        tasks.each(|(task, ((dx, dw), db))| {
            let first = task * rows;
            let statistics = &statistics[2 * first..statistics.len().min(2 * (first + rows))];
            let [x, dy] = [x, dy].map(|values| &values[first * width..]);
            let buffers = &mut buffers.take()[..2 * width];
            simd::vectorized(Backward { x, dy, weight, statistics, dx, dw, db, buffers, add });
        });
        for (output, parts, scratch) in [(dw, dw_parts, of_dw), (db, db_parts, of_db)] {
            if let Some(output) = output {
                rows::sum_parts(parts, output, scratch);
            }
        }
    }

    fn gpu(&self, inputs: &[Binding], outputs: &[Binding], gpu: &mut Recorder) {
        let shape = inputs[0].shape;
        let (count, width) = (shape.rows(), shape.last());
        let inputs: Vec<&Binding> = inputs.iter().collect();
        let [dx, dw, db] = rows::needed(self.needs, outputs);
        let dx = dx.cloned().unwrap_or_else(|| gpu.scratch(shape));
        let (block, blocks) = (rows::BLOCK, count.div_ceil(rows::BLOCK));
        let parts = gpu.scratch([blocks, 2 * width]);
        let uniforms = uniforms! { rows: count, width, block, add: dx.add };
        gpu.dispatch_rows("layer_norm_backward", &inputs, &[&dx, &parts], uniforms, blocks);
        if dw.is_none() && db.is_none() {
            return;
        }
        let [dw, db] = [dw, db].map(|d| d.cloned().unwrap_or_else(|| gpu.scratch([width])));
        let columns = 2 * width;
        let uniforms = uniforms! { columns, blocks, add_weight: dw.add, add_bias: db.add };
        let entry_point = "layer_norm_sums";
        gpu.dispatch_elements(entry_point, &[&parts], &[&dw, &db], uniforms, columns);
    }
}

/// Some rows of dx and their parts of dw and db; each is left out where its slice is empty.
struct Backward<'a> {
    x: &'a [f32],
    dy: &'a [f32],
    weight: &'a [f32],
    statistics: &'a [f32],
    dx: &'a mut [f32],
    dw: &'a mut [f32],
    db: &'a mut [f32],
    /// Room for x̂ and for w ⊙ dy of a row.
    buffers: &'a mut [f32],
    add: bool,
}

impl simd::Body for Backward<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let width = self.weight.len();
        let (centred, weighted) = self.buffers.split_at_mut(width);
        self.dw.fill(0.0);
        self.db.fill(0.0);
        for (row, statistics) in self.statistics.chunks_exact(2).enumerate() {
            let (mean, inverse) = (statistics[0], statistics[1]);
            let [x, dy] = [self.x, self.dy].map(|values| &values[row * width..][..width]);
            for (centred, x) in centred.iter_mut().zip(x) {
                *centred = (x - mean) * inverse;
            }
            for (dw, (dy, x)) in self.dw.iter_mut().zip(dy.iter().zip(&*centred)) {
                *dw += dy * x;
            }
            self.db.iter_mut().zip(dy).for_each(|(db, dy)| *db += dy);
            let Some(dx) = self.dx.chunks_exact_mut(width).nth(row) else { continue };
            for ((weighted, dy), w) in weighted.iter_mut().zip(dy).zip(self.weight) {
                *weighted = dy * w;
            }
            let shift = simd::sum(weighted) / width as f32;
            let slope = simd::dot(weighted, centred) / width as f32;
            let terms = weighted.iter().zip(&*centred);
            if self.add {
                for (dx, (g, x)) in dx.iter_mut().zip(terms) {
                    *dx += inverse * (g - shift - x * slope);
                }
            } else {
                for (dx, (g, x)) in dx.iter_mut().zip(terms) {
                    *dx = inverse * (g - shift - x * slope);
                }
            }
        }
    }
}

impl Op for LayerNorm {
    fn saves(&self) -> Saves {
        Saves { inputs: &[0, 1], outputs: &[1] }
    }

    fn backward(&self, saved: &Saved, context: &mut GradientContext) {
        let gradient = context.of_output(0);
        let needs = [0, 1, 2].map(|input| context.needs(input));
        let inputs = [saved.get(0), saved.get(1), saved.get(2), &gradient];
        context.accumulate_with(&LayerNormBackward { needs }, &inputs, &rows::targets(&needs));
    }
}

impl Proven for LayerNorm {
    fn reference(&self, inputs: &[Array64]) -> Vec<Array64> {
        let [x, weight, bias] = [&inputs[0], &inputs[1], &inputs[2]];
        let width = x.shape.last();
        let row = |row: usize| {
            let x = x.row(row);
            let mean = x.iter().sum::<f64>() / width as f64;
            let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / width as f64;
            let deviation = (variance + f64::from(self.epsilon)).sqrt();
            let columns = weight.data.iter().zip(&bias.data);
            x.iter().zip(columns).map(move |(x, (w, b))| (x - mean) / deviation * w + b)
        };
        vec![Array64::new((0..x.shape.rows()).flat_map(row).collect(), x.shape)]
    }

    fn cases() -> Vec<Case> {
        let case = |shape: &[usize], [low, high]: [f32; 2]| {
            let width = shape[shape.len() - 1];
            Case::new(format!("{shape:?} from {low} to {high}"), LayerNorm { epsilon: 1e-5 })
                .between(shape, low, high)
                .input([width])
                .input([width])
        };
        let shapes: [&[usize]; 6] =
            [&[1, 1], &[17], &[2, 3, 5], &[63, 65], &[3, 257], &[1_030, 17]];
        let mut cases: Vec<Case> = shapes.iter().map(|shape| case(shape, [-1.0, 1.0])).collect();
        cases.push(case(&[5, 33], [-1e4, 1e4]));
        // A mean far from 0 costs the digits that x itself does not have.
        cases.push(case(&[5, 33], [99.0, 101.0]).tolerance(1e-4));
        cases.push(case(&[5, 33], [-1e-3, 1e-3]).forward_only());
        cases
    }
}
