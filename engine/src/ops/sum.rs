//! Sum over axes: y = Σ x over the chosen axes.
//!
//! Derivative: dx = dy, repeated along those axes. Saves nothing. Cost an element: 1 flop, 4 bytes.

use super::broadcast;
use crate::autograd::{GradientContext, Op, Saved, Saves, apply_built_in};
use crate::device::cpu::simd;
use crate::device::cpu::tasks::Tasks;
use crate::device::{Cost, Kernel, View, ViewMut};
use crate::gpu::{Binding, Recorder};
use crate::proof::{Array64, Case, Proven};
use crate::tensor::launch;
use crate::{Shape, Tensor, uniforms};
use rayon::prelude::*;

impl Tensor {
    /// The sum over `axes` (negative ones count from the end). They stay as axes of size 1 if
    /// `keep`, else they go.
    ///
    /// # Panics
    /// If an axis does not exist or is named twice.
    ///
    /// ```
    /// use neutreno_engine::{Device, Tensor};
    /// let x = Tensor::new(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [2, 3], &Device::cpu());
    /// assert_eq!(x.sum(&[0], false).to_vec()?, [5.0, 7.0, 9.0]);
    /// assert_eq!(x.sum(&[-1], true).shape().to_string(), "[2, 1]");
    /// # Ok::<(), neutreno_engine::Error>(())
    /// ```
    #[track_caller]
    pub fn sum(&self, axes: &[isize], keep: bool) -> Tensor {
        let axes = resolve_axes("sum", &self.shape(), axes);
        let mut total = self.clone();
        // Neighbouring axes are summed together.
        for group in axes.chunk_by(|a, b| a + 1 == *b).rev() {
            let (first, last) = (group[0], group[group.len() - 1]);
            let (before, ..) = total.shape().around(first);
            let (.., after) = total.shape().around(last);
            let kept = group.iter().fold(total.shape(), |shape, axis| shape.with(*axis, 1));
            let [sum] = apply_built_in(Sum, &[&total.reshape([before, usize::MAX, after])]);
            total = sum.reshape(kept);
        }
        if keep { total } else { total.reshape(without_axes(&self.shape(), &axes)) }
    }

    /// The sum of all elements, a scalar.
    #[track_caller]
    pub fn sum_all(&self) -> Tensor {
        let [sum] = apply_built_in(Sum, &[&self.reshape([1, self.elements(), 1])]);
        sum.reshape([])
    }

    /// The mean over `axes`, which are given and kept as by [`Tensor::sum`].
    ///
    /// # Panics
    /// If an axis does not exist or is named twice.
    ///
    /// ```
    /// use neutreno_engine::{Device, Tensor};
    /// let x = Tensor::new(&[1.0, 2.0, 3.0, 6.0], [2, 2], &Device::cpu());
    /// assert_eq!(x.mean(&[0], false).to_vec()?, [2.0, 4.0]);
    /// # Ok::<(), neutreno_engine::Error>(())
    /// ```
    #[track_caller]
    pub fn mean(&self, axes: &[isize], keep: bool) -> Tensor {
        let total = self.sum(axes, keep);
        let summed = self.elements() as f32 / total.elements() as f32;
        total.scale(1.0 / summed)
    }

    /// The mean of all elements, a scalar.
    #[track_caller]
    pub fn mean_all(&self) -> Tensor {
        self.sum_all().scale(1.0 / self.elements() as f32)
    }
}

/// The axes in ascending order, counted from the front.
///
/// # Panics
/// If one does not exist or is named twice.
#[track_caller]
pub(super) fn resolve_axes(name: &str, shape: &Shape, axes: &[isize]) -> Vec<usize> {
    let mut resolved = Vec::with_capacity(axes.len());
    for axis in axes {
        resolved.push(shape.resolve(*axis, name));
    }
    resolved.sort_unstable();
    assert!(resolved.windows(2).all(|pair| pair[0] < pair[1]), "{name}: axes {axes:?} repeat");
    resolved
}

/// The shape without the axes named.
pub(super) fn without_axes(shape: &Shape, axes: &[usize]) -> Shape {
    let kept = (0..shape.rank()).filter(|axis| !axes.contains(axis)).map(|axis| shape[axis]);
    Shape::new(&kept.collect::<Vec<_>>())
}

/// The gradient of an operand of shape `shape` that was repeated to the shape of `gradient`.
pub(super) fn sum_to(gradient: &Tensor, shape: Shape) -> Tensor {
    let padded = shape.padded(gradient.shape().rank());
    let mut total = gradient.clone();
    let mut axis = padded.rank();
    while axis > 0 {
        let end = axis;
        let repeated = |axis: usize| padded[axis] == 1 && gradient.shape()[axis] != 1;
        while axis > 0 && repeated(axis - 1) {
            axis -= 1;
        }
        if axis == end {
            axis -= 1;
            continue;
        }
        let (before, ..) = total.shape().around(axis);
        let (.., after) = total.shape().around(end - 1);
        let kept = (axis..end).fold(total.shape(), |shape, axis| shape.with(axis, 1));
        let count = total.shape()[axis..end].iter().product();
        let grouped = total.reshape([before, count, after]);
        let [sum] = launch(&Sum, &[&grouped], total.device());
        total = sum.into_shape(kept);
    }
    total.reshape(shape)
}

/// y\[i, 1, j\] = Σₖ x\[i, k, j\].
#[derive(Clone, Debug)]
pub struct Sum;

impl Kernel for Sum {
    fn name(&self) -> &'static str {
        "sum"
    }

    fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>, String> {
        inputs[0].three_axes()?;
        Ok(vec![inputs[0].with(1, 1)])
    }

    fn cost(&self, inputs: &[Shape]) -> Cost {
        Cost::elementwise(inputs[0].elements(), 1, inputs[0].elements())
    }

    fn scratch(&self, inputs: &[Shape], _threads: usize) -> Option<usize> {
        let (before, count, after) = inputs[0].around(1);
        Some(before * scratch_each(count, after))
    }

    fn cpu(&self, inputs: &[View], outputs: &mut [ViewMut]) {
        let (_, count, after) = inputs[0].shape.around(1);
        let x = inputs[0].data;
        let [y, scratch] = outputs else { unreachable!("y and the working memory") };
        let sum = |index: usize, y: &mut [f32], scratch: &mut [f32]| {
            let x = &x[index * count * after..(index + 1) * count * after];
            if after == 1 {
                y[0] = sum_row(x, scratch);
            } else {
                sum_columns(x, y, scratch);
            }
        };
        let sums = y.par_chunks_mut(after.max(1)).enumerate();
        match scratch_each(count, after) {
            0 => sums.each(|(index, y)| sum(index, y, &mut [])),
            each => sums
                .zip(scratch.par_chunks_mut(each))
                .each(|((index, y), scratch)| sum(index, y, scratch)),
        }
    }

    fn gpu(&self, inputs: &[Binding], outputs: &[Binding], gpu: &mut Recorder) {
        let (before, count, after) = inputs[0].shape.around(1);
        let outputs_count = before * after;
        let [x, y] = [&inputs[0], &outputs[0]];
        if after > 1 {
            return record_columns(x, [before, count, after], y, gpu);
        }
        // A long sum is cut into parts for many workgroups, and the parts are summed in turn.
        let parts = if outputs_count < 64 { count.div_ceil(4096).clamp(1, 1024) } else { 1 };
        if parts == 1 {
            let uniforms = uniforms! { outputs: outputs_count, count, after, length: count };
            return gpu.dispatch_rows("sum_forward", &[x], &[y], uniforms, outputs_count);
        }
        let length = count.div_ceil(parts);
        let parts = count.div_ceil(length);
        let partial = gpu.scratch([before, parts, after]);
        let groups = outputs_count * parts;
        let uniforms = uniforms! { outputs: groups, count, after, length };
        gpu.dispatch_rows("sum_forward", &[x], &[&partial], uniforms, groups);
        let uniforms = uniforms! { outputs: outputs_count, count: parts, after, length: parts };
        gpu.dispatch_rows("sum_forward", &[&partial], &[y], uniforms, outputs_count);
    }
}

/// Sums of x (before, count, after) over the middle axis, where neighbours in memory are summed apart: y, or y
/// += where it says so. What is long is summed in parts, and these in turn.
pub(super) fn record_columns(
    x: &Binding,
    [before, count, after]: [usize; 3],
    y: &Binding,
    gpu: &mut Recorder,
) {
    const LENGTH: usize = 64;
    let sum = |x: &Binding, count: usize, length: usize, y: &Binding, gpu: &mut Recorder| {
        let elements = before * count.div_ceil(length) * after;
        let uniforms = uniforms! { elements, count, after, length, add: y.add };
        gpu.dispatch_elements("sum_columns", &[x], &[y], uniforms, elements);
    };
    if count == 0 {
        if !y.add {
            gpu.fill(y, 0.0);
        }
        return;
    }
    if count <= 4 * LENGTH {
        return sum(x, count, count, y, gpu);
    }
    let length = LENGTH.max(count.div_ceil(LENGTH));
    let parts = count.div_ceil(length);
    let partial = gpu.scratch([before, parts, after]);
    sum(x, count, length, &partial, gpu);
    sum(&partial, parts, parts, y, gpu);
}

/// The working memory for each i.
fn scratch_each(count: usize, after: usize) -> usize {
    if after == 1 { row_scratch(count) } else { columns_scratch(count, after) }
}

/// A long row is summed in fixed chunks, in parallel, and their sums in turn.
fn sum_row(row: &[f32], scratch: &mut [f32]) -> f32 {
    if row.len() <= simd::CHUNK {
        return simd::vectorized(|| simd::sum(row));
    }
    let (sums, rest) = scratch.split_at_mut(row.len().div_ceil(simd::CHUNK));
    let chunks = sums.par_iter_mut().zip(row.par_chunks(simd::CHUNK));
    chunks.each(|(sum, chunk)| *sum = simd::vectorized(|| simd::sum(chunk)));
    sum_row(sums, rest)
}

/// The working memory of [`sum_row`] for a row of `count` numbers.
fn row_scratch(count: usize) -> usize {
    let chunks = count.div_ceil(simd::CHUNK);
    if count <= simd::CHUNK { 0 } else { chunks + row_scratch(chunks) }
}

/// y\[j\] = Σₖ x\[k, j\]: tall matrices in fixed blocks of rows, in parallel, and their sums in turn.
/// The working memory is that of [`columns_scratch`].
pub(super) fn sum_columns(x: &[f32], y: &mut [f32], scratch: &mut [f32]) {
    let width = y.len();
    let block = block_rows(width) * width;
    if x.len() <= block {
        return add_rows(x, y);
    }
    let (sums, rest) = scratch.split_at_mut(x.len().div_ceil(block) * width);
    let blocks = sums.par_chunks_mut(width).zip(x.par_chunks(block));
    blocks.each(|(sum, rows)| add_rows(rows, sum));
    sum_columns(sums, y, rest);
}

/// The working memory of [`sum_columns`] for a matrix of these sizes.
pub(super) fn columns_scratch(rows: usize, width: usize) -> usize {
    let blocks = rows.div_ceil(block_rows(width));
    if blocks <= 1 { 0 } else { blocks * width + columns_scratch(blocks, width) }
}

/// The rows of a matrix that one task adds up.
fn block_rows(width: usize) -> usize {
    simd::rows_per_task(width).max(64)
}

fn add_rows(x: &[f32], y: &mut [f32]) {
    y.fill(0.0);
    simd::vectorized(|| {
        for row in x.chunks_exact(y.len()) {
            y.iter_mut().zip(row).for_each(|(y, x)| *y += x);
        }
    });
}

impl Op for Sum {
    fn saves(&self) -> Saves {
        Saves::default()
    }

    fn backward(&self, saved: &Saved, context: &mut GradientContext) {
        let gradient = context.of_output(0);
        let kernel = Repeat { shape: saved.input_shape(0) };
        context.accumulate_with(&kernel, &[&gradient], &[0]);
    }
}

/// y = x, repeated along axes of size 1.
#[derive(Clone, Debug)]
struct Repeat {
    shape: Shape,
}

impl Kernel for Repeat {
    fn name(&self) -> &'static str {
        "sum_backward"
    }

    fn shapes(&self, _inputs: &[Shape]) -> Result<Vec<Shape>, String> {
        Ok(vec![self.shape])
    }

    fn cost(&self, inputs: &[Shape]) -> Cost {
        Cost::elementwise(self.shape.elements(), 0, inputs[0].elements() + self.shape.elements())
    }

    fn cpu(&self, inputs: &[View], outputs: &mut [ViewMut]) {
        let zero = View { shape: Shape::from([]), data: &[0.0] };
        broadcast::zip(&mut outputs[0], &inputs[0], &zero, |x, zero| x + zero);
    }

    fn gpu(&self, inputs: &[Binding], outputs: &[Binding], gpu: &mut Recorder) {
        let zero = gpu.scratch([]);
        gpu.fill(&zero, 0.0);
        broadcast::dispatch("broadcast_add", &[inputs[0].clone(), zero], outputs, gpu);
    }
}

impl Proven for Sum {
    fn reference(&self, inputs: &[Array64]) -> Vec<Array64> {
        let x = &inputs[0];
        let [before, count, after] = [x.shape[0], x.shape[1], x.shape[2]];
        let total = |i: usize| {
            (0..count).map(|k| x.data[(i / after * count + k) * after + i % after]).sum()
        };
        vec![Array64::from_fn([before, 1, after], total).with_magnitude(0.5 * count as f64)]
    }

    fn cases() -> Vec<Case> {
        [[1, 1, 1], [3, 17, 1], [2, 3, 5], [1, 65, 1], [5, 257, 3], [1, 70_001, 1], [1, 9_001, 63]]
            .map(|shape| Case::new(format!("{shape:?}"), Sum).input(shape))
            .into()
    }
}
