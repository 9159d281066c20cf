//! Rows of queries, keys and perhaps values that stand side by side, as
//! [`linear_merged`](super::linear_merged) makes them, cut into heads of each; queries and keys turned by
//! their positions on the way if wanted, as [`rope`](super::rope) does.
//!
//! Derivative: the gradients side by side, those of queries and keys turned back. Saves nothing. Cost an
//! element: 3 flops where it is turned, 8 bytes.

use super::rope::{Rope, Turn, rotate};
use crate::autograd::{GradientContext, Op, Saved, Saves, apply_from};
use crate::device::cpu::simd;
use crate::device::{Cost, Kernel, Origin, View, ViewMut};
use crate::gpu::{Binding, Recorder, Uniform};
use crate::proof::{Array64, Case, Proven};
use crate::{Shape, Tensor, uniforms};

impl Tensor {
    /// Cuts x (batch, time, Σ heads · size) into (batch, time, heads, size) for each number of heads: those of
    /// queries, of keys and, if there is a third, of values.
    ///
    /// # Panics
    /// If there are other than two or three numbers, or x has no three axes of which the last one fits.
    ///
    /// ```
    /// use neutreno_engine::{Device, Tensor};
    /// let x = Tensor::new(&[1.0, 2.0, 3.0, 4.0], [1, 1, 4], &Device::cpu());
    /// let parts = x.split_heads(&[2, 1, 1], 1);
    /// assert_eq!(parts[0].to_vec()?, [1.0, 2.0]);
    /// assert_eq!(parts[2].to_vec()?, [4.0]);
    /// # Ok::<(), neutreno_engine::Error>(())
    /// ```
    #[track_caller]
    pub fn split_heads(&self, heads: &[usize], size: usize) -> Vec<Tensor> {
        let op = SplitHeads { heads: heads.to_vec(), size, rope: None };
        apply_from(Origin::Engine, Box::new(op), &[self])
    }

    /// The same where queries and keys are turned by their positions, `offset` at the first time, by these
    /// frequencies: [`Tensor::rope_by`] of them, bit for bit on the CPU.
    ///
    /// # Panics
    /// As [`Tensor::split_heads`], with heads of twice as many coordinates as there are frequencies.
    ///
    /// ```
    /// use neutreno_engine::{Device, Tensor};
    /// let device = Device::cpu();
    /// let x = Tensor::new(&[1.0, 0.0, 0.0, 1.0, 3.0, 4.0], [1, 1, 6], &device);
    /// let parts = x.split_heads_and_turn(&[1, 1, 1], 1, &[0.25]);
    /// let q = Tensor::new(&[1.0, 0.0], [1, 1, 1, 2], &device);
    /// assert_eq!(parts[0].to_vec()?, q.rope_by(1, &[0.25]).to_vec()?);
    /// assert_eq!(parts[2].to_vec()?, [3.0, 4.0]);
    /// # Ok::<(), neutreno_engine::Error>(())
    /// ```
    #[track_caller]
    pub fn split_heads_and_turn(
        &self,
        heads: &[usize],
        offset: usize,
        frequencies: &[f64],
    ) -> Vec<Tensor> {
        let shape = self.shape();
        assert!(shape.rank() == 3, "split_heads: x must be (batch, time, width), not {shape}");
        let rope = Some(Rope::by(offset, shape[1], frequencies));
        let op = SplitHeads { heads: heads.to_vec(), size: 2 * frequencies.len(), rope };
        apply_from(Origin::Engine, Box::new(op), &[self])
    }
}

/// (batch, time, Σ heads · size) to (batch, time, heads, size) for each.
#[derive(Clone, Debug)]
pub struct SplitHeads {
    /// Of queries, of keys and perhaps of values.
    heads: Vec<usize>,
    /// The elements of one head.
    size: usize,
    /// How queries and keys are turned.
    rope: Option<Rope>,
}

impl SplitHeads {
    /// The elements of all heads of each, at one time; 0 if there are no values.
    fn widths(&self) -> [usize; 3] {
        [0, 1, 2].map(|part| self.heads.get(part).map_or(0, |heads| heads * self.size))
    }

    /// The same with what makes it be turned: the values are not.
    fn parts(&self) -> impl Iterator<Item = (usize, Option<&Rope>)> {
        self.widths().into_iter().zip([self.rope.as_ref(), self.rope.as_ref(), None])
    }

    /// How many rows there are, and what the shader is told: with 1 it turns, with -1 it turns back.
    fn uniforms(&self, part: &Shape, add: bool, sign: f32) -> (usize, [Uniform; 10]) {
        let [queries, keys, values] = self.widths();
        let (time, rows) = (part[1], part[0] * part[1]);
        let offset = self.rope.as_ref().map_or(0, Rope::offset);
        let (size, turns) = (self.size, self.rope.is_some());
        let uniforms = uniforms! {
            rows, time, queries, keys, values, size, offset, turns, add, sign
        };
        (rows, *uniforms)
    }
}

impl Kernel for SplitHeads {
    fn name(&self) -> &'static str {
        "split_heads"
    }

    fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>, String> {
        let (x, size) = (inputs[0], self.size);
        let [batch, time, width] = x.three_axes()?;
        if !(2..=3).contains(&self.heads.len()) {
            return Err("there are heads of queries, of keys and perhaps of values".into());
        }
        if self.widths().iter().sum::<usize>() != width {
            return Err(format!("rows of {width} for {:?} heads of {size}", self.heads));
        }
        let outputs: Vec<Shape> =
            self.heads.iter().map(|heads| Shape::from([batch, time, *heads, size])).collect();
        match &self.rope {
            Some(rope) => rope.shapes(&outputs[..1]).map(|_| outputs),
            None => Ok(outputs),
        }
    }

    fn cost(&self, inputs: &[Shape]) -> Cost {
        let elements = inputs[0].elements();
        Cost::elementwise(elements, if self.rope.is_some() { 3 } else { 0 }, 2 * elements)
    }

    fn cpu(&self, inputs: &[View], outputs: &mut [ViewMut]) {
        let [_, time, stride] = [inputs[0].shape[0], inputs[0].shape[1], inputs[0].shape[2]];
        let mut start = 0;
        for ((width, rope), y) in self.parts().zip(outputs) {
            let x = &inputs[0].data[start.min(inputs[0].len())..];
            let part = Part { x, stride, width, time, size: self.size, rope };
            simd::for_long_rows(y, width, &part);
            start += width;
        }
    }

    fn gpu(&self, inputs: &[Binding], outputs: &[Binding], gpu: &mut Recorder) {
        let (rows, uniforms) = self.uniforms(&outputs[0].shape, false, 1.0);
        let table = self.rope.as_ref().map(|rope| gpu.ids(&rope.table()));
        let unused = gpu.scratch([1]);
        let inputs = [&inputs[0], table.as_ref().unwrap_or(&inputs[0])];
        let outputs = [&outputs[0], &outputs[1], outputs.get(2).unwrap_or(&unused)];
        gpu.dispatch_rows("split_heads_forward", &inputs, &outputs, &uniforms, rows);
    }
}

/// The columns of one part.
struct Part<'a> {
    /// From its first column on.
    x: &'a [f32],
    /// From a row to the next.
    stride: usize,
    width: usize,
    time: usize,
    size: usize,
    rope: Option<&'a Rope>,
}

impl simd::Rows for Part<'_> {
    #[inline(always)]
    fn make(&self, first: usize, rows: &mut [f32]) {
        for (row, y) in (first..).zip(rows.chunks_exact_mut(self.width)) {
            let x = &self.x[row * self.stride..][..self.width];
            turn_or_copy(
                x,
                y,
                self.size,
                self.rope.map(|rope| (rope.turn(row % self.time), 1.0)),
                false,
            );
        }
    }
}

/// The heads of one row, turned by an angle (its cosines and sines) in that direction if there is one.
#[inline(always)]
fn turn_or_copy(x: &[f32], y: &mut [f32], size: usize, turn: Option<(Turn, f32)>, add: bool) {
    match turn {
        Some((turn, sign)) => {
            for (y, x) in y.chunks_exact_mut(size).zip(x.chunks_exact(size)) {
                rotate(x, y, turn, sign, add);
            }
        }
        None if add => y.iter_mut().zip(x).for_each(|(y, x)| *y += x),
        None => y.copy_from_slice(x),
    }
}

impl Op for SplitHeads {
    fn results(&self) -> usize {
        self.heads.len()
    }

    fn saves(&self) -> Saves {
        Saves::default()
    }

    fn backward(&self, _saved: &Saved, context: &mut GradientContext) {
        let gradients: Vec<Tensor> =
            (0..self.heads.len()).map(|part| context.of_output(part)).collect();
        let kernel = Backward(self.clone());
        context.accumulate_with(&kernel, &gradients.iter().collect::<Vec<_>>(), &[0]);
    }
}

/// dx, from the gradients of the parts.
#[derive(Clone, Debug)]
struct Backward(SplitHeads);

impl Kernel for Backward {
    fn name(&self) -> &'static str {
        "split_heads_backward"
    }

    fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>, String> {
        let width = self.0.widths().iter().sum();
        Ok(vec![Shape::from([inputs[0][0], inputs[0][1], width])])
    }

    fn cost(&self, inputs: &[Shape]) -> Cost {
        let elements = inputs.iter().map(Shape::elements).sum();
        Cost::elementwise(elements, if self.0.rope.is_some() { 3 } else { 0 }, 2 * elements)
    }

    fn adds(&self, _output: usize) -> bool {
        true
    }

    fn cpu(&self, inputs: &[View], outputs: &mut [ViewMut]) {
        let (time, width) = (outputs[0].shape[1], outputs[0].shape[2]);
        let add = outputs[0].add;
        let parts = self.0.parts().zip(inputs).map(|((width, rope), dy)| (dy.data, width, rope));
        let body = Merging { parts: parts.collect(), width, time, size: self.0.size, add };
        simd::for_long_rows(&mut outputs[0], width, &body);
    }

    fn gpu(&self, inputs: &[Binding], outputs: &[Binding], gpu: &mut Recorder) {
        let (rows, uniforms) = self.0.uniforms(&inputs[0].shape, outputs[0].add, -1.0);
        let table = self.0.rope.as_ref().map(|rope| gpu.ids(&rope.table()));
        let dv = inputs.get(2).unwrap_or(&inputs[0]);
        let inputs = [&inputs[0], table.as_ref().unwrap_or(&inputs[0]), &inputs[1], dv];
        gpu.dispatch_rows("split_heads_backward", &inputs, &[&outputs[0]], &uniforms, rows);
    }
}

/// Whole rows, from those of each part: its numbers, how many there are in a row, and how it was turned.
struct Merging<'a> {
    parts: Vec<(&'a [f32], usize, Option<&'a Rope>)>,
    width: usize,
    time: usize,
    size: usize,
    add: bool,
}

impl simd::Rows for Merging<'_> {
    #[inline(always)]
    fn make(&self, first: usize, rows: &mut [f32]) {
        for (row, mut y) in (first..).zip(rows.chunks_exact_mut(self.width)) {
            for (dy, width, rope) in &self.parts {
                let (part, rest) = y.split_at_mut(*width);
                let turn = rope.map(|rope| (rope.turn(row % self.time), -1.0));
                turn_or_copy(&dy[row * width..][..*width], part, self.size, turn, self.add);
                y = rest;
            }
        }
    }
}

impl Proven for SplitHeads {
    fn reference(&self, inputs: &[Array64]) -> Vec<Array64> {
        let (x, size) = (&inputs[0], self.size);
        let [batch, time] = [x.shape[0], x.shape[1]];
        let mut start = 0;
        let parts = self.heads.iter().enumerate().map(|(number, heads)| {
            let first = start;
            start += heads * size;
            let part = Array64::from_fn([batch, time, *heads, size], |index| {
                let (row, column) = (index / (heads * size), index % (heads * size));
                x.row(row)[first + column]
            });
            match &self.rope {
                Some(rope) if number < 2 => rope.reference(&[part]).remove(0),
                _ => part,
            }
        });
        parts.collect()
    }

    fn cases() -> Vec<Case> {
        let case =
            |[batch, time]: [usize; 2], heads: &[usize], size: usize, offset: Option<usize>| {
                let frequencies: Vec<f64> =
                    (0..size / 2).map(|pair| 0.7f64.powi(pair as i32)).collect();
                let rope = offset.map(|offset| Rope::by(offset, time, &frequencies));
                let label =
                    format!("[{batch}, {time}] of {heads:?} heads of {size}, from {offset:?}");
                let op = SplitHeads { heads: heads.to_vec(), size, rope };
                Case::new(label, op).input([batch, time, heads.iter().sum::<usize>() * size])
            };
        vec![
            case([1, 1], &[1, 1, 1], 2, Some(0)),
            case([2, 5], &[3, 1, 1], 8, Some(7)),
            case([3, 70], &[4, 4, 4], 6, Some(0)),
            case([2, 3], &[2, 1], 34, Some(100)),
            case([2, 5], &[3, 3, 3], 7, None),
            case([1, 9], &[1, 1, 2], 1, None),
            case([2, 2], &[5, 1], 4, None),
        ]
    }
}
