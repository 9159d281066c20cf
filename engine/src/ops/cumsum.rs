//! Cumulative sum: y\[i, k, j\] = Σ x\[i, l, j\] over l ≤ k.
//!
//! Derivative: dx\[i, k, j\] = Σ dy\[i, l, j\] over l ≥ k, the cumulative sum from the end. Saves nothing.
//! Cost an element: 1 flop, 8 bytes, in both directions (on a GPU 2 flops and 12 bytes).
//!
//! The CPU adds in f64, one after the other; rows, and not parts of one, are what threads share. On a
//! GPU a workgroup has a row: each invocation adds up a stretch of it, and goes through it again from
//! the sum of the stretches before.

use crate::autograd::{GradientContext, Op, Saved, Saves, apply_built_in};
use crate::device::cpu::tasks::Tasks;
use crate::device::{Cost, Kernel, View, ViewMut};
use crate::gpu::{Binding, Recorder};
use crate::proof::{Array64, Case, Proven};
use crate::{Shape, Tensor, uniforms};
use rayon::prelude::*;

impl Tensor {
    /// The sums of the elements along `axis` (negative: from the end), from the first up to each.
    ///
    /// # Panics
    /// If there is no such axis.
    ///
    /// ```
    /// use neutreno_engine::{Device, Tensor};
    /// let x = Tensor::new(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [2, 3], &Device::cpu());
    /// assert_eq!(x.cumsum(1).to_vec()?, [1.0, 3.0, 6.0, 4.0, 9.0, 15.0]);
    /// assert_eq!(x.cumsum(0).to_vec()?, [1.0, 2.0, 3.0, 5.0, 7.0, 9.0]);
    /// # Ok::<(), neutreno_engine::Error>(())
    /// ```
    #[track_caller]
    pub fn cumsum(&self, axis: isize) -> Tensor {
        let shape = self.shape();
        let axis = shape.resolve(axis, "cumsum");
        let (before, count, after) = shape.around(axis);
        let [y] =
            apply_built_in(Cumsum { reversed: false }, &[&self.reshape([before, count, after])]);
        y.reshape(shape)
    }
}

/// The sums up to each element of the middle axis, or from each on.
#[derive(Clone, Debug)]
pub struct Cumsum {
    /// Whether it begins at the end.
    pub reversed: bool,
}

impl Kernel for Cumsum {
    fn name(&self) -> &'static str {
        "cumsum"
    }

    fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>, String> {
        inputs[0].three_axes()?;
        Ok(vec![inputs[0]])
    }

    fn cost(&self, inputs: &[Shape]) -> Cost {
        let elements = inputs[0].elements();
        Cost::elementwise(elements, 1, 2 * elements)
    }

    fn adds(&self, _output: usize) -> bool {
        true
    }

    fn cpu(&self, inputs: &[View], outputs: &mut [ViewMut]) {
        let (_, count, after) = inputs[0].shape.around(1);
        let (x, add) = (inputs[0].data, outputs[0].add);
        let size = count * after;
        let blocks = outputs[0].par_chunks_mut(size).zip(x.par_chunks(size));
        blocks.each(|(y, x)| {
            for first in (0..after).step_by(COLUMNS) {
                let columns = first..after.min(first + COLUMNS);
                let mut totals = [0.0_f64; COLUMNS];
                for step in 0..count {
                    let k = if self.reversed { count - 1 - step } else { step };
                    let row = k * after + columns.start..k * after + columns.end;
                    let elements = y[row.clone()].iter_mut().zip(&x[row]);
                    for ((y, x), total) in elements.zip(&mut totals) {
                        *total += f64::from(*x);
                        *y = if add { *y } else { 0.0 } + *total as f32;
                    }
                }
            }
        });
    }

    fn gpu(&self, inputs: &[Binding], outputs: &[Binding], gpu: &mut Recorder) {
        let (before, count, after) = inputs[0].shape.around(1);
        let rows = before * after;
        let uniforms =
            uniforms! { rows, count, after, reversed: self.reversed, add: outputs[0].add };
        gpu.dispatch_rows("cumsum_forward", &[&inputs[0]], &[&outputs[0]], uniforms, rows);
    }
}

/// How many sums go on side by side: those of a line of the cache.
const COLUMNS: usize = 16;

impl Op for Cumsum {
    fn saves(&self) -> Saves {
        Saves::default()
    }

    fn backward(&self, _saved: &Saved, context: &mut GradientContext) {
        let gradient = context.of_output(0);
        context.accumulate_with(&Cumsum { reversed: !self.reversed }, &[&gradient], &[0]);
    }
}

impl Proven for Cumsum {
    fn reference(&self, inputs: &[Array64]) -> Vec<Array64> {
        let x = &inputs[0];
        let (_, count, after) = x.shape.around(1);
        let mut y = x.data.clone();
        for index in 0..y.len() {
            let index = if self.reversed { y.len() - 1 - index } else { index };
            let k = index / after % count;
            if self.reversed && k + 1 < count {
                y[index] += y[index + after];
            } else if !self.reversed && k > 0 {
                y[index] += y[index - after];
            }
        }
        vec![Array64::new(y, x.shape)]
    }

    fn cases() -> Vec<Case> {
        let case = |(shape, reversed): ([usize; 3], bool)| {
            let from = if reversed { ", from the end" } else { "" };
            Case::new(format!("{shape:?}{from}"), Cumsum { reversed }).input(shape)
        };
        [
            ([1, 1, 1], false),
            ([3, 17, 1], false),
            ([3, 17, 1], true),
            ([2, 3, 5], false),
            ([2, 65, 63], false),
            ([1, 257, 3], true),
            ([1, 9_001, 1], false),
            ([70_000, 2, 1], false),
        ]
        .map(case)
        .into()
    }
}
