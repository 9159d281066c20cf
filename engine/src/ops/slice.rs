//! Slice: y\[i, k, j\] = x\[i, start + k, j\], a copy of a range along one axis.
//!
//! Derivative: dy in its place and zeros elsewhere; added to a gradient that exists, only the
//! range is touched. Saves nothing. Cost an element: 8 bytes.

use crate::autograd::{GradientContext, Op, Saved, Saves, apply_built_in};
use crate::device::cpu::simd;
use crate::device::{Cost, Kernel, View, ViewMut};
use crate::gpu::{Binding, Recorder, Uniform};
use crate::proof::{Array64, Case, Proven};
use crate::{Shape, Tensor, uniforms};
use std::ops::Range;

impl Tensor {
    /// The part of the tensor that lies in `range` along `axis` (negative: from the end).
    ///
    /// # Panics
    /// If there is no such axis or the range goes beyond it.
    ///
    /// ```
    /// use neutreno_engine::{Device, Tensor};
    /// let x = Tensor::new(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [2, 3], &Device::cpu());
    /// assert_eq!(x.slice(1, 1..3).to_vec()?, [2.0, 3.0, 5.0, 6.0]);
    /// # Ok::<(), neutreno_engine::Error>(())
    /// ```
    #[track_caller]
    pub fn slice(&self, axis: isize, range: Range<usize>) -> Tensor {
        let shape = self.shape();
        let axis = shape.resolve(axis, "slice");
        let fits = range.start <= range.end && range.end <= shape[axis];
        assert!(fits, "slice: {range:?} is not within axis {axis} of {shape}");
        let (before, count, after) = shape.around(axis);
        let op = Slice { start: range.start, length: range.len() };
        let [y] = apply_built_in(op, &[&self.reshape([before, count, after])]);
        y.reshape(shape.with(axis, range.len()))
    }
}

/// y\[i, k, j\] = x\[i, start + k, j\].
#[derive(Clone, Debug)]
pub struct Slice {
    /// Where the range starts.
    pub start: usize,
    /// How long it is.
    pub length: usize,
}

impl Kernel for Slice {
    fn name(&self) -> &'static str {
        "slice"
    }

    fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>, String> {
        let [_, count, _] = inputs[0].three_axes()?;
        if self.start.checked_add(self.length).is_none_or(|end| end > count) {
            let Slice { start, length } = self;
            return Err(format!("{length} from {start} on, of {count}"));
        }
        Ok(vec![inputs[0].with(1, self.length)])
    }

    fn cost(&self, inputs: &[Shape]) -> Cost {
        let elements = inputs[0].with(1, self.length).elements();
        Cost::elementwise(elements, 0, 2 * elements)
    }

    fn adds(&self, _output: usize) -> bool {
        true
    }

    fn cpu(&self, inputs: &[View], outputs: &mut [ViewMut]) {
        let (_, count, after) = inputs[0].shape.around(1);
        let (x, add) = (inputs[0].data, outputs[0].add);
        let length = self.length * after;
        simd::for_chunks(&mut outputs[0], |start, chunk| {
            runs(start, chunk, &[length], |i, _, within, chunk| {
                let x = &x[(i * count + self.start) * after + within..];
                if add {
                    chunk.iter_mut().zip(x).for_each(|(y, x)| *y += x);
                } else {
                    chunk.copy_from_slice(&x[..chunk.len()]);
                }
            });
        });
    }

    fn gpu(&self, inputs: &[Binding], outputs: &[Binding], gpu: &mut Recorder) {
        let (before, count, after) = inputs[0].shape.around(1);
        let elements = before * self.length * after;
        let uniforms = placement([self.length, count, self.start], after, &outputs[0], elements);
        let (inputs, outputs) = ([&inputs[0]], [&outputs[0]]);
        gpu.dispatch_elements("slice_forward", &inputs, &outputs, &uniforms, elements);
    }
}

/// Cuts a chunk of an array, which starts at element `start` of it, where its parts meet. The
/// array repeats parts that end at `ends`; `body` gets the number of the repetition, the number of
/// the part, the position within the part, and the chunk's elements there.
#[inline(always)]
pub(super) fn runs(
    start: usize,
    mut chunk: &mut [f32],
    ends: &[usize],
    mut body: impl FnMut(usize, usize, usize, &mut [f32]),
) {
    let period = ends[ends.len() - 1];
    let mut index = start;
    while !chunk.is_empty() {
        let (repetition, at) = (index / period, index % period);
        let part = ends.partition_point(|end| *end <= at);
        let begin = if part == 0 { 0 } else { ends[part - 1] };
        let (run, rest) = chunk.split_at_mut(chunk.len().min(ends[part] - at));
        index += run.len();
        body(repetition, part, at - begin, run);
        chunk = rest;
    }
}

/// Records y\[i, start + k, j\] = x\[i, k, j\], or += where y says so; the rest of y stays.
pub(super) fn record_placement(x: &Binding, y: &Binding, start: usize, gpu: &mut Recorder) {
    let (_, length, after) = x.shape.around(1);
    let elements = x.shape.elements();
    let uniforms = placement([length, y.shape[1], start], after, y, elements);
    gpu.dispatch_elements("slice_backward", &[x], &[y], &uniforms, elements);
}

/// The uniforms of both shaders: the sizes of the middle axis in the shorter and in the longer array,
/// and where the shorter one begins in the longer.
fn placement(
    [short, long, start]: [usize; 3],
    after: usize,
    output: &Binding,
    elements: usize,
) -> [Uniform; 5] {
    *uniforms! {
        elements,
        short_length: short * after,
        long_length: long * after,
        start: start * after,
        add: output.add,
    }
}

/// dx from dy.
#[derive(Clone, Debug)]
struct SliceBackward {
    start: usize,
    /// The size of the middle axis of x.
    count: usize,
}

impl Kernel for SliceBackward {
    fn name(&self) -> &'static str {
        "slice_backward"
    }

    fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>, String> {
        Ok(vec![inputs[0].with(1, self.count)])
    }

    fn cost(&self, inputs: &[Shape]) -> Cost {
        let written = inputs[0].with(1, self.count).elements();
        Cost::elementwise(inputs[0].elements(), 0, inputs[0].elements() + written)
    }

    fn adds(&self, _output: usize) -> bool {
        true
    }

    fn cpu(&self, inputs: &[View], outputs: &mut [ViewMut]) {
        let (_, length, after) = inputs[0].shape.around(1);
        let (dy, add) = (inputs[0].data, outputs[0].add);
        let ends = [self.start, self.start + length, self.count].map(|size| size * after);
        simd::for_chunks(&mut outputs[0], |start, chunk| {
            runs(start, chunk, &ends, |i, part, within, chunk| match (part, add) {
                (1, true) => {
                    let dy = &dy[i * length * after + within..];
                    chunk.iter_mut().zip(dy).for_each(|(dx, dy)| *dx += dy);
                }
                (1, false) => {
                    let dy = &dy[i * length * after + within..];
                    chunk.copy_from_slice(&dy[..chunk.len()]);
                }
                (_, true) => {}
                (_, false) => chunk.fill(0.0),
            });
        });
    }

    fn gpu(&self, inputs: &[Binding], outputs: &[Binding], gpu: &mut Recorder) {
        let dx = &outputs[0];
        if !dx.add {
            gpu.fill(dx, 0.0);
        }
        record_placement(&inputs[0], dx, self.start, gpu);
    }
}

impl Op for Slice {
    fn saves(&self) -> Saves {
        Saves::default()
    }

    fn backward(&self, saved: &Saved, context: &mut GradientContext) {
        let gradient = context.of_output(0);
        let kernel = SliceBackward { start: self.start, count: saved.input_shape(0)[1] };
        context.accumulate_with(&kernel, &[&gradient], &[0]);
    }
}

impl Proven for Slice {
    fn reference(&self, inputs: &[Array64]) -> Vec<Array64> {
        let (_, count, after) = inputs[0].shape.around(1);
        let element = |index: usize| {
            let (row, column) = (index / after, index % after);
            let (i, k) = (row / self.length, row % self.length);
            inputs[0].data[(i * count + self.start + k) * after + column]
        };
        vec![Array64::from_fn(inputs[0].shape.with(1, self.length), element)]
    }

    fn cases() -> Vec<Case> {
        let case = |(shape, range): ([usize; 3], Range<usize>)| {
            let op = Slice { start: range.start, length: range.len() };
            Case::new(format!("{range:?} of {shape:?}"), op).input(shape)
        };
        [
            ([1, 1, 1], 0..1),
            ([2, 5, 1], 1..4),
            ([3, 4, 2], 2..4),
            ([17, 65, 63], 3..60),
            ([1, 257, 129], 100..101),
        ]
        .map(case)
        .into()
    }
}
