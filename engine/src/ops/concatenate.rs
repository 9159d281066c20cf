//! Concatenate: tensors one after the other along an axis, copied.
//!
//! Derivative: each input's gradient is its slice of dy. Saves nothing. Cost an element: 8 bytes.
//! On a GPU each input is placed by the shader of [`slice`](super::slice)'s derivative.

use super::slice::{Slice, record_placement, runs};
use crate::autograd::{GradientContext, Op, Saved, Saves, apply_built_in};
use crate::device::cpu::simd;
use crate::device::{Cost, Kernel, View, ViewMut};
use crate::gpu::{Binding, Recorder};
use crate::proof::{Array64, Case, Proven};
use crate::{Shape, Tensor};

impl Tensor {
    /// The tensors one after the other along `axis` (negative: from the end). Their other sizes
    /// must be the same.
    ///
    /// # Panics
    /// If there are no tensors or no such axis, or the shapes do not fit.
    ///
    /// ```
    /// use neutreno_engine::{Device, Tensor};
    /// let device = Device::cpu();
    /// let a = Tensor::new(&[1.0, 2.0, 3.0, 4.0], [2, 2], &device);
    /// let b = Tensor::new(&[5.0, 6.0], [2, 1], &device);
    /// let joined = Tensor::concatenate(&[&a, &b], 1);
    /// assert_eq!(joined.to_vec()?, [1.0, 2.0, 5.0, 3.0, 4.0, 6.0]);
    /// # Ok::<(), neutreno_engine::Error>(())
    /// ```
    #[track_caller]
    pub fn concatenate(tensors: &[&Tensor], axis: isize) -> Tensor {
        assert!(!tensors.is_empty(), "concatenate: there are no tensors");
        let shape = tensors[0].shape();
        let axis = shape.resolve(axis, "concatenate");
        let mut count = 0;
        let mut parts = Vec::with_capacity(tensors.len());
        for tensor in tensors {
            let other = tensor.shape();
            let fits = other.rank() == shape.rank() && other.with(axis, shape[axis]) == shape;
            assert!(fits, "concatenate: {shape} and {other} differ in more than axis {axis}");
            let (before, own, after) = other.around(axis);
            count += own;
            parts.push(tensor.reshape([before, own, after]));
        }
        let [y] = apply_built_in(Concatenate, &parts.iter().collect::<Vec<_>>());
        y.reshape(shape.with(axis, count))
    }
}

/// y of shape (before, Σ counts, after) from inputs of shapes (before, count, after).
#[derive(Clone, Debug)]
pub struct Concatenate;

impl Kernel for Concatenate {
    fn name(&self) -> &'static str {
        "concatenate"
    }

    fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>, String> {
        let [before, _, after] = inputs[0].three_axes()?;
        for input in inputs {
            let [its_before, _, its_after] = input.three_axes()?;
            if [its_before, its_after] != [before, after] {
                return Err(format!(
                    "{} and {input} differ in more than the middle axis",
                    inputs[0]
                ));
            }
        }
        Ok(vec![inputs[0].with(1, inputs.iter().map(|input| input[1]).sum())])
    }

    fn cost(&self, inputs: &[Shape]) -> Cost {
        let elements = inputs.iter().map(|input| input.elements()).sum();
        Cost::elementwise(elements, 0, 2 * elements)
    }

    fn cpu(&self, inputs: &[View], outputs: &mut [ViewMut]) {
        let lengths: Vec<usize> = inputs.iter().map(|x| x.shape[1] * x.shape[2]).collect();
        let mut total = 0;
        let ends: Vec<usize> = lengths
            .iter()
            .map(|length| {
                total += length;
                total
            })
            .collect();
        simd::for_chunks(&mut outputs[0], |start, chunk| {
            runs(start, chunk, &ends, |i, part, within, chunk| {
                let x = &inputs[part].data[i * lengths[part] + within..];
                chunk.copy_from_slice(&x[..chunk.len()]);
            });
        });
    }

    fn gpu(&self, inputs: &[Binding], outputs: &[Binding], gpu: &mut Recorder) {
        let mut start = 0;
        for x in inputs {
            record_placement(x, &outputs[0], start, gpu);
            start += x.shape[1];
        }
    }
}

impl Op for Concatenate {
    fn saves(&self) -> Saves {
        Saves::default()
    }

    fn backward(&self, saved: &Saved, context: &mut GradientContext) {
        let gradient = context.of_output(0);
        let mut start = 0;
        for input in 0..saved.inputs() {
            let length = saved.input_shape(input)[1];
            if context.needs(input) {
                context.accumulate_with(&Slice { start, length }, &[&gradient], &[input]);
            }
            start += length;
        }
    }
}

impl Proven for Concatenate {
    fn reference(&self, inputs: &[Array64]) -> Vec<Array64> {
        let (before, _, after) = inputs[0].shape.around(1);
        let mut data = Vec::new();
        for i in 0..before {
            for x in inputs {
                let length = x.shape[1] * after;
                data.extend_from_slice(&x.data[i * length..(i + 1) * length]);
            }
        }
        let count = inputs.iter().map(|x| x.shape[1]).sum();
        vec![Array64::new(data, [before, count, after])]
    }

    fn cases() -> Vec<Case> {
        let case = |(before, counts, after): (usize, &[usize], usize)| {
            let case = Case::new(format!("{before} of {counts:?} of {after}"), Concatenate);
            counts.iter().fold(case, |case, count| case.input([before, *count, after]))
        };
        let sizes: [(usize, &[usize], usize); 5] = [
            (1, &[1], 1),
            (1, &[3, 2], 1),
            (3, &[1, 4, 2], 5),
            (17, &[63, 1, 65], 9),
            (2, &[1; 12], 3),
        ];
        sizes.map(case).into()
    }
}
