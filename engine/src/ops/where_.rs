//! Where: y = a where a mask is not 0, else b, with broadcasting.
//!
//! Derivative: da = dy where the mask is not 0, and 0 elsewhere; db the other way round; each summed over
//! the axes along which the operand was repeated. Nothing of the side that was not chosen is computed
//! with, so a NaN or an infinity there reaches neither y nor a gradient. The mask is a constant and gets
//! no gradient. Saves the mask. Cost an element: 1 flop, 16 bytes; for each gradient the same.

use super::TensorOrNumber;
use super::broadcast::{self, Walk};
use super::sum::sum_to;
use crate::autograd::{GradientContext, Op, Saved, Saves, apply_built_in};
use crate::device::cpu::simd::for_chunks;
use crate::device::{Cost, Kernel, View, ViewMut};
use crate::gpu::{Binding, Recorder};
use crate::proof::{Array64, Case, Proven};
use crate::tensor::launch;
use crate::{Shape, Tensor};

impl Tensor {
    /// `yes` where `mask` is not 0, else `no`, element by element, each a tensor or a number; axes of
    /// size 1 are repeated to fit. What is not chosen has no influence, not even as NaN or infinity,
    /// on the result, and its gradient is 0. (An op that made it multiplies this 0 by its own
    /// derivative, which gives NaN if that is infinite or NaN, as in PyTorch: replace numbers that an
    /// op can not take before it.)
    ///
    /// # Panics
    /// If the shapes do not broadcast.
    ///
    /// ```
    /// use neutreno_engine::{Device, Tensor};
    /// let x = Tensor::new(&[-1.0, 4.0], [2], &Device::cpu());
    /// assert_eq!(Tensor::where_(&x.greater(0.0), &x, 0.5).to_vec()?, [0.5, 4.0]);
    /// # Ok::<(), neutreno_engine::Error>(())
    /// ```
    #[track_caller]
    pub fn where_(mask: &Tensor, yes: impl TensorOrNumber, no: impl TensorOrNumber) -> Tensor {
        let [yes, no] = [yes.tensor(mask.device()), no.tensor(mask.device())];
        let [y] = apply_built_in(Where, &[mask, &yes, &no]);
        y
    }

    /// `value` where `mask` is not 0, else x, as [`Tensor::where_`].
    ///
    /// # Panics
    /// If the shapes do not broadcast.
    ///
    /// ```
    /// use neutreno_engine::{Device, Tensor};
    /// let device = Device::cpu();
    /// let x = Tensor::new(&[1.0, 2.0, 3.0, 4.0], [2, 2], &device);
    /// let mask = Tensor::new(&[0.0, 1.0], [2], &device);
    /// assert_eq!(x.masked_fill(&mask, -9.0).to_vec()?, [1.0, -9.0, 3.0, -9.0]);
    /// # Ok::<(), neutreno_engine::Error>(())
    /// ```
    #[track_caller]
    pub fn masked_fill(&self, mask: &Tensor, value: f32) -> Tensor {
        Tensor::where_(mask, value, self)
    }
}

/// y = a where the mask is not 0, else b. Inputs: the mask, a and b.
#[derive(Clone, Debug)]
pub struct Where;

impl Kernel for Where {
    fn name(&self) -> &'static str {
        "where_"
    }

    fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>, String> {
        broadcast::shapes(inputs)
    }

    fn cost(&self, inputs: &[Shape]) -> Cost {
        broadcast::cost(inputs)
    }

    fn cpu(&self, inputs: &[View], outputs: &mut [ViewMut]) {
        let [mask, a, b] = [inputs[0].data, inputs[1].data, inputs[2].data];
        let shapes = [&inputs[0].shape, &inputs[1].shape, &inputs[2].shape];
        let walk = Walk::new(&outputs[0].shape, shapes);
        let [in_mask, in_a, in_b] = walk.inner;
        for_chunks(&mut outputs[0], |start, chunk| {
            walk.runs(start, chunk.len(), |at, [mask_at, a_at, b_at], count| {
                for (k, y) in chunk[at..at + count].iter_mut().enumerate() {
                    let (yes, no) = (a[a_at + k * in_a], b[b_at + k * in_b]);
                    *y = if mask[mask_at + k * in_mask] != 0.0 { yes } else { no };
                }
            });
        });
    }

    fn gpu(&self, inputs: &[Binding], outputs: &[Binding], gpu: &mut Recorder) {
        broadcast::dispatch("where_forward", inputs, outputs, gpu);
    }
}

impl Op for Where {
    fn saves(&self) -> Saves {
        Saves { inputs: &[0], outputs: &[] }
    }

    fn backward(&self, saved: &Saved, context: &mut GradientContext) {
        let gradient = context.of_output(0);
        let mask = saved.get(0);
        let zero = Tensor::zeros([], gradient.device());
        for (input, sides) in [(1, [&gradient, &zero]), (2, [&zero, &gradient])] {
            if context.needs(input) {
                let [part] = launch(&Where, &[mask, sides[0], sides[1]], gradient.device());
                context.accumulate(input, sum_to(&part, saved.input_shape(input)));
            }
        }
    }
}

impl Proven for Where {
    fn reference(&self, inputs: &[Array64]) -> Vec<Array64> {
        // The mask of a case is 0 or ±1; the proof also moves it a little, which is to change nothing.
        let if_chosen = |mask: f64, a: f64| if mask.abs() > 0.5 { a } else { 0.0 };
        let if_not = |mask: f64, b: f64| if mask.abs() > 0.5 { 0.0 } else { b };
        let [a, b] = [inputs[0].zip(&inputs[1], if_chosen), inputs[0].zip(&inputs[2], if_not)];
        vec![a.zip(&b, |a, b| a + b)]
    }

    fn cases() -> Vec<Case> {
        let shapes: [[&[usize]; 3]; 8] = [
            [&[1], &[1], &[1]],
            [&[17], &[17], &[17]],
            [&[3, 5], &[5], &[]],
            [&[5], &[3, 5], &[3, 1]],
            [&[2, 1, 4], &[1, 3, 1], &[4]],
            [&[63, 1], &[], &[65]],
            [&[257], &[65, 257], &[65, 257]],
            [&[2, 1, 1, 130], &[2, 3, 70, 130], &[]],
        ];
        let case = |[mask, a, b]: [&[usize]; 3]| {
            let elements: usize = mask.iter().product();
            let values: Vec<f32> = (0..elements).map(|i| [1.0, 0.0, 0.0, -1.0][i % 4]).collect();
            let label = format!("{mask:?}, {a:?} and {b:?}");
            Case::new(label, Where).values(&values, mask).input(a).input(b)
        };
        let mut cases: Vec<Case> = shapes.map(case).into();
        let bad =
            Case::new("no numbers where not chosen", Where).values(&[1.0, 0.0, 1.0, 0.0], [4]);
        let bad = bad.values(&[1.0, f32::NAN, 2.0, f32::INFINITY], [4]);
        cases.push(bad.values(&[f32::NEG_INFINITY, 3.0, f32::NAN, 4.0], [4]));
        cases
    }
}
