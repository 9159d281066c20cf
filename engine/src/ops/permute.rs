//! Permute: the axes in another order, copied, since a tensor's memory is always row-major.
//!
//! Derivative: the permutation back. Saves nothing. Cost an element: 8 bytes.

use crate::autograd::{GradientContext, Op, Saved, Saves, apply_built_in};
use crate::device::cpu::simd;
use crate::device::{Cost, Kernel, View, ViewMut};
use crate::gpu::{Binding, Recorder};
use crate::proof::{Array64, Case, Proven};
use crate::shape::MAX_RANK;
use crate::{Shape, Tensor, uniforms};

impl Tensor {
    /// The axes in the order given: axis `order[i]` (negative: from the end) becomes axis i.
    ///
    /// # Panics
    /// If the order does not name every axis once.
    ///
    /// ```
    /// use neutreno_engine::{Device, Tensor};
    /// let x = Tensor::zeros([2, 3, 4], &Device::cpu());
    /// assert_eq!(x.permute(&[2, 0, 1]).shape().to_string(), "[4, 2, 3]");
    /// ```
    #[track_caller]
    pub fn permute(&self, order: &[isize]) -> Tensor {
        let shape = self.shape();
        let axes: Vec<usize> = order.iter().filter_map(|axis| shape.axis(*axis)).collect();
        let named = (0..shape.rank()).all(|axis| axes.contains(&axis));
        let complete = named && order.len() == shape.rank();
        assert!(complete, "permute: {order:?} does not name every axis of {shape} once");
        if axes.is_sorted() {
            return self.clone();
        }
        let [y] = apply_built_in(Permute { axes }, &[self]);
        y
    }

    /// Axes `a` and `b` (negative: from the end) exchanged.
    ///
    /// # Panics
    /// If there is no such axis.
    ///
    /// ```
    /// use neutreno_engine::{Device, Tensor};
    /// let x = Tensor::new(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [2, 3], &Device::cpu());
    /// assert_eq!(x.transpose(0, 1).to_vec()?, [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
    /// # Ok::<(), neutreno_engine::Error>(())
    /// ```
    #[track_caller]
    pub fn transpose(&self, a: isize, b: isize) -> Tensor {
        let shape = self.shape();
        let [Some(first), Some(second)] = [a, b].map(|axis| shape.axis(axis)) else {
            panic!("transpose: {shape} does not have both axes {a} and {b}");
        };
        let mut order: Vec<isize> = (0..shape.rank() as isize).collect();
        order.swap(first, second);
        self.permute(&order)
    }
}

/// y with axis i of y being axis `axes[i]` of x.
#[derive(Clone, Debug)]
pub struct Permute {
    /// Every axis once.
    pub axes: Vec<usize>,
}

/// The names of the axes' sizes and strides in the shader.
const SIZES: [&str; MAX_RANK] = ["size_0", "size_1", "size_2", "size_3", "size_4", "size_5"];
const STRIDES: [&str; MAX_RANK] = ["x_0", "x_1", "x_2", "x_3", "x_4", "x_5"];

/// An axis of y: its size, and how far apart neighbours lie in x.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Axis {
    size: usize,
    stride: usize,
}

impl Permute {
    /// The axes of y, those joined that lie in x as they do in y.
    fn walk(&self, x: &Shape) -> Vec<Axis> {
        let strides = x.strides();
        let mut walk: Vec<Axis> = Vec::new();
        for axis in self.axes.iter().map(|axis| Axis { size: x[*axis], stride: strides[*axis] }) {
            match walk.last_mut() {
                Some(last) if last.stride == axis.size * axis.stride => {
                    *last = Axis { size: last.size * axis.size, stride: axis.stride };
                }
                _ => walk.push(axis),
            }
        }
        walk
    }
}

impl Kernel for Permute {
    fn name(&self) -> &'static str {
        "permute"
    }

    fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>, String> {
        let mut axes = self.axes.clone();
        axes.sort_unstable();
        if !axes.iter().copied().eq(0..inputs[0].rank()) {
            return Err(format!("{:?} are not the axes of {}, each once", self.axes, inputs[0]));
        }
        let sizes: Vec<usize> = self.axes.iter().map(|axis| inputs[0][*axis]).collect();
        Ok(vec![Shape::new(&sizes)])
    }

    fn cost(&self, inputs: &[Shape]) -> Cost {
        Cost::elementwise(inputs[0].elements(), 0, 2 * inputs[0].elements())
    }

    fn adds(&self, _output: usize) -> bool {
        true
    }

    fn cpu(&self, inputs: &[View], outputs: &mut [ViewMut]) {
        let x = inputs[0].data;
        let walk = self.walk(&inputs[0].shape);
        let Some((inner, outer)) = walk.split_last() else { return };
        let add = outputs[0].add;
        simd::for_chunks(&mut outputs[0], |start, chunk| {
            let mut done = 0;
            while done < chunk.len() {
                let along = (start + done) % inner.size;
                let mut rest = (start + done) / inner.size;
                let mut at = along * inner.stride;
                for axis in outer.iter().rev() {
                    at += rest % axis.size * axis.stride;
                    rest /= axis.size;
                }
                let run = (inner.size - along).min(chunk.len() - done);
                copy_run(&mut chunk[done..done + run], &x[at..], inner.stride, add);
                done += run;
            }
        });
    }

    fn gpu(&self, inputs: &[Binding], outputs: &[Binding], gpu: &mut Recorder) {
        let elements = inputs[0].shape.elements();
        let walk = self.walk(&inputs[0].shape);
        let axis = |index: usize| match (index + walk.len()).checked_sub(MAX_RANK) {
            Some(index) => walk[index],
            None => Axis { size: 1, stride: 0 },
        };
        let mut uniforms = uniforms! { elements, add: outputs[0].add }.to_vec();
        uniforms.extend((0..MAX_RANK).map(|index| (SIZES[index], axis(index).size.into())));
        uniforms.extend((0..MAX_RANK).map(|index| (STRIDES[index], axis(index).stride.into())));
        let (inputs, outputs) = ([&inputs[0]], [&outputs[0]]);
        gpu.dispatch_elements("permute_forward", &inputs, &outputs, &uniforms, elements);
    }
}

/// y = x or y += x, where elements of x lie `stride` apart.
#[inline(always)]
fn copy_run(y: &mut [f32], x: &[f32], stride: usize, add: bool) {
    match (stride, add) {
        (1, false) => y.copy_from_slice(&x[..y.len()]),
        (1, true) => y.iter_mut().zip(x).for_each(|(y, x)| *y += x),
        (_, false) => y.iter_mut().zip(x.iter().step_by(stride)).for_each(|(y, x)| *y = *x),
        (_, true) => y.iter_mut().zip(x.iter().step_by(stride)).for_each(|(y, x)| *y += x),
    }
}

impl Op for Permute {
    fn saves(&self) -> Saves {
        Saves::default()
    }

    fn backward(&self, _saved: &Saved, context: &mut GradientContext) {
        let mut axes = vec![0; self.axes.len()];
        self.axes.iter().enumerate().for_each(|(to, axis)| axes[*axis] = to);
        let gradient = context.of_output(0);
        context.accumulate_with(&Permute { axes }, &[&gradient], &[0]);
    }
}

impl Proven for Permute {
    fn reference(&self, inputs: &[Array64]) -> Vec<Array64> {
        let x = &inputs[0];
        let sizes: Vec<usize> = self.axes.iter().map(|axis| x.shape[*axis]).collect();
        let element = |mut index: usize| {
            let mut position = vec![0; sizes.len()];
            for (axis, size) in self.axes.iter().zip(&sizes).rev() {
                position[*axis] = index % size;
                index /= size;
            }
            x.data[position.iter().zip(&x.shape[..]).fold(0, |at, (along, size)| at * size + along)]
        };
        vec![Array64::from_fn(&sizes[..], element)]
    }

    fn cases() -> Vec<Case> {
        let shapes: [(&[usize], &[usize]); 7] = [
            (&[1, 1], &[1, 0]),
            (&[3, 5], &[1, 0]),
            (&[2, 3, 4], &[1, 0, 2]),
            (&[2, 3, 1, 4], &[3, 1, 2, 0]),
            (&[2, 3, 2, 2, 3, 2], &[5, 3, 0, 4, 1, 2]),
            (&[65, 257], &[1, 0]),
            (&[17, 3, 63, 9], &[0, 2, 1, 3]),
        ];
        let case = |(shape, axes): (&[usize], &[usize])| {
            Case::new(format!("{shape:?} to {axes:?}"), Permute { axes: axes.into() }).input(shape)
        };
        shapes.map(case).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn joins_axes_that_stay_together() {
        let walk = Permute { axes: vec![2, 0, 1] }.walk(&Shape::from([2, 3, 4]));
        assert_eq!(walk, [Axis { size: 4, stride: 1 }, Axis { size: 6, stride: 4 }]);
    }
}
